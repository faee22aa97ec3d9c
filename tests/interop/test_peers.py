"""The peers against each other: what fails here is not callmeter's fault."""

from __future__ import annotations

import asyncio
import socket
import ssl

import pytest

from peers.certificates import Certificates
from peers.tone import loudest
from peers.tshark import decode


@pytest.mark.interop("sipp")
@pytest.mark.parametrize("transport", ["udp", "tcp"])
@pytest.mark.parametrize(
    ("caller", "callee"),
    [("uac", "uas"), ("uac_486", "uas_486"), ("uac_cancel", "uas_cancel")],
)
async def test_sipp_callers_and_callees_fit_each_other(sipp, transport, caller, callee):
    listening = sipp(callee, transport=transport)
    calling = sipp(caller, target=listening.address, transport=transport)
    called, answered = await asyncio.gather(calling.result(), listening.result())
    assert (called.status, called.successful, called.failed) == (0, 1, 0)
    assert (answered.successful, answered.failed) == (1, 0)


@pytest.mark.interop("sipp")
async def test_a_sipp_scenario_that_is_not_followed_is_a_failure(sipp):
    listening = sipp("uas_486")
    called = await sipp("uac", target=listening.address).result()
    assert (called.status, called.successful, called.failed) == (1, 0, 1)


@pytest.mark.interop("kamailio", "sipp")
async def test_sipp_registers_at_kamailio(kamailio, sipp):
    proxy = kamailio()
    keys = {"domain": "example.test"}
    registered = await sipp("register", target=proxy.address, user="alice", keys=keys).result()
    assert registered.status == 0
    assert len(proxy.contacts("alice")) == 1


@pytest.mark.interop("kamailio", "sipp")
async def test_kamailio_refuses_a_wrong_password(kamailio, sipp):
    proxy = kamailio()
    options = {"user": "alice", "password": "wrong", "keys": {"domain": "example.test"}}
    refused = await sipp("register", target=proxy.address, **options).result()
    assert refused.status == 1
    assert proxy.contacts("alice") == []


@pytest.mark.interop("kamailio")
def test_kamailio_answers_over_tls(kamailio):
    certificates = Certificates()
    proxy = kamailio(certificates=certificates)
    version, answer = ask_over_tls(proxy.tls_address(), certificates)
    assert (version, answer[:11]) == ("TLSv1.3", b"SIP/2.0 200")
    version, answer = ask_over_tls(proxy.tls_address("tls12"), certificates)
    assert (version, answer[:11]) == ("TLSv1.2", b"SIP/2.0 200")


@pytest.mark.interop("kamailio")
@pytest.mark.parametrize(
    ("listener", "reason"),
    [
        ("expired", "certificate has expired"),
        ("wrong-name", "certificate is not valid for '127.0.0.1'"),
        ("untrusted", "unable to get local issuer certificate"),
    ],
)
def test_the_failing_certificates_of_kamailio_fail(kamailio, listener, reason):
    certificates = Certificates()
    proxy = kamailio(certificates=certificates)
    with pytest.raises(ssl.SSLCertVerificationError, match=reason):
        ask_over_tls(proxy.tls_address(listener), certificates)


@pytest.mark.interop("kamailio")
@pytest.mark.parametrize(("trusted", "alert"), [(None, "required"), (False, "unknown ca")])
def test_kamailio_wants_a_client_certificate_of_its_authority(kamailio, tmp_path, trusted, alert):
    certificates = Certificates()
    proxy = kamailio(certificates=certificates)
    address = proxy.tls_address("mutual")
    refused = None if trusted is None else certificates.client(trusted=trusted)
    with pytest.raises(ssl.SSLError, match=alert):
        ask_over_tls(address, certificates, refused, tmp_path)
    _, answer = ask_over_tls(address, certificates, certificates.client(), tmp_path)
    assert answer.startswith(b"SIP/2.0 200")


def ask_over_tls(address, certificates, client=None, folder=None):
    """OPTIONS to the server itself by way of Python's own TLS: version and answer."""
    host, _, port = address.partition(":")
    context = ssl.create_default_context(cadata=certificates.ca)
    if client is not None:
        (folder / "client.pem").write_text("".join(client), encoding="ascii")
        context.load_cert_chain(folder / "client.pem")
    request = (
        f"OPTIONS sip:{address};transport=tls SIP/2.0\r\n"
        f"Via: SIP/2.0/TLS 127.0.0.1:9;branch=z9hG4bK1;rport\r\nMax-Forwards: 70\r\n"
        f"From: <sip:a@example.test>;tag=1\r\nTo: <sip:{address}>\r\nCall-ID: 1\r\n"
        f"CSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
    )
    with (
        socket.create_connection((host, int(port)), timeout=5) as plain,
        context.wrap_socket(plain, server_hostname=host) as secure,
    ):
        secure.sendall(request.encode("ascii"))
        return secure.version(), secure.recv(4096)


@pytest.mark.interop("baresip", "kamailio", "tshark")
async def test_two_baresips_hear_each_other_through_kamailio(baresip, kamailio, capture):
    proxy = kamailio()
    bob = baresip("bob", tone=880, encryption="srtp-mand", registrar=proxy.address)
    carol = baresip("carol", tone=1320, encryption="srtp-mand", registrar=proxy.address)
    ranges = [f"udp portrange {one.media_port}-{one.media_port + 19}" for one in (bob, carol)]
    recorded = capture(" or ".join([f"udp port {proxy.port}", *ranges]))
    control = await bob.control()
    try:
        await proxy.bound("bob", "carol")
        await control.command("dial", "sip:carol@example.test")
        await control.event("CALL_ESTABLISHED")
        await asyncio.sleep(1.5)
        await control.command("hangup")
    finally:
        await control.close()
    await asyncio.sleep(0.3)
    for listener, expected in ((bob, 1320), (carol, 880)):
        hertz, share = loudest(await listener.heard())
        assert hertz == pytest.approx(expected, abs=5)
        assert share > 0.9
    recorded.stop()
    decoded = decode(recorded.file, [proxy.port])
    assert decoded.malformed() == []
    assert {"INVITE", "ACK", "BYE", "407"} <= set(decoded.methods())
    assert sorted(stream["lost"] for stream in decoded.rtp_streams()) == [0, 0]
