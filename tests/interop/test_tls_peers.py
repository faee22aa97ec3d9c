"""TLS as others speak it: kamailio's certificates, baresip and linphone directly, sipp behind."""

from __future__ import annotations

import asyncio
import ssl

import pytest

from callmeter import (
    Credentials,
    Endpoint,
    EndpointConfig,
    SrtpConfig,
    SrtpMethod,
    SrtpPolicy,
    Stack,
    StackConfig,
    TlsConfig,
    TlsError,
    TlsVerify,
    Tone,
    Transport,
)
from callmeter.config import ClientCertificates
from callmeter.transport.tls_settings import TlsSettings
from peers.certificates import Certificates
from peers.conversation import converse, hear
from peers.tone import loudest

SDES = SrtpConfig(method=SrtpMethod.SDES, policy=SrtpPolicy.REQUIRED)
VERSIONS = {"TLSv1.2": ssl.TLSVersion.TLSv1_2, "TLSv1.3": ssl.TLSVersion.TLSv1_3}
PREFIX = "TLS handshake failure: "
SECONDS = 1.2


@pytest.fixture(scope="module")
def certificates():
    return Certificates()


def assert_heard(recording, hertz):
    found, share = loudest(recording)
    assert found == pytest.approx(hertz, abs=5)
    assert share > 0.9


def assert_secure(report, version="TLSv1.3"):
    assert report["outcome"] == "SUCCESS"
    assert report["media"][0]["keying"] == "sdes"
    assert report["media"][0]["receive"]["srtp_decrypt_failures"] == 0
    assert report["signaling"]["transport"] == "TLS"
    assert report["signaling"]["tls"]["version"] == version


# kamailio: every listener, by TLS 1.2 and 1.3


@pytest.fixture
def version(request, monkeypatch):
    """Hold the client at one version of TLS."""
    made = TlsSettings.of.__func__

    def of(cls, config):
        settings = made(cls, config)
        settings.client.maximum_version = VERSIONS[request.param]
        settings.client.minimum_version = VERSIONS[request.param]
        return settings

    monkeypatch.setattr(TlsSettings, "of", classmethod(of))
    return request.param


@pytest.fixture
def proxy(kamailio, certificates):
    return kamailio(certificates=certificates)


def register_and_call(phone, **options):
    """The error of registering, and that of calling."""

    async def attempt():
        errors = []
        async with phone(transport="tls", **options) as alice:
            for doing in (alice.registered, lambda: alice.call("sip:fail-486@example.test")):
                with pytest.raises(TlsError) as caught:
                    async with doing():
                        pass
                errors.append(caught.value)
        return errors

    return attempt()


BOTH = pytest.mark.parametrize("version", VERSIONS, indirect=True)


@pytest.mark.interop("kamailio")
@BOTH
@pytest.mark.parametrize("identity", [False, True], ids=["anonymous", "certified"])
async def test_kamailio_is_spoken_to_by_tls(phone, proxy, certificates, version, identity):
    listener = "mutual" if identity else "good"
    own = certificates.client() if identity else None
    options = {"certificates": certificates, "identity": own, "transport": "tls"}
    async with phone(proxy=proxy.tls_address(listener), **options) as alice:
        async with alice.registered() as binding:
            assert binding.bound
            call = await alice.invite("sip:fail-486@example.test")
            async with call:
                await call.ended()
        assert call.report().to_dict()["final_status_code"] == 486
        assert call.report().to_dict()["signaling"]["tls"]["version"] == version


@pytest.mark.interop("kamailio")
@BOTH
@pytest.mark.parametrize(
    ("listener", "identity", "kind", "text"),
    [
        ("expired", None, "expired", "certificate has expired"),
        ("wrong-name", None, "name_mismatch", "certificate is valid for other.invalid, not {host}"),
        ("untrusted", None, "unknown_ca", "certificate signed by unknown authority"),
        (
            "mutual",
            None,
            "client_cert_rejected",
            "bad certificate: server wants a client certificate",
        ),
        (
            "mutual",
            "stranger",
            "client_cert_rejected",
            "bad certificate: client certificate not trusted by the server",
        ),
    ],
)
async def test_a_certificate_that_kamailio_shows_or_refuses_is_told_in_words(
    phone, proxy, certificates, version, listener, identity, kind, text
):
    own = {
        None: lambda: None,
        "stranger": lambda: certificates.client(trusted=False),
    }[identity]()
    # An own certificate has to chain to what is trusted: the stranger's authority too, then.
    also = certificates.stranger.cert_pem.bytes().decode("ascii") if identity else ""
    errors = await register_and_call(
        phone,
        proxy=proxy.tls_address(listener),
        certificates=certificates,
        identity=own,
        also_trusted=also,
    )
    for error in errors:
        assert (error.kind, str(error)) == (kind, PREFIX + text.format(host="127.0.0.1"))
        assert error.destination == f"TLS {proxy.tls_address(listener)}"
    report = errors[1].report
    assert report is None or report.to_dict()["final_status_code"] is None
    assert version


@pytest.mark.interop("kamailio")
@BOTH
async def test_a_listener_of_tls_1_2_alone_takes_a_client_that_can_do_it(
    phone, proxy, certificates, version
):
    address = proxy.tls_address("tls12")
    if version == "TLSv1.3":
        [error, _] = await register_and_call(phone, proxy=address, certificates=certificates)
        # Our client was held at 1.3 for this test: by itself it always offers 1.2.
        assert error.kind == "version"
        return
    async with (
        phone(proxy=address, certificates=certificates, transport="tls") as alice,
        alice.registered() as binding,
    ):
        assert binding.bound


@pytest.mark.interop("kamailio")
@pytest.mark.parametrize("listener", ["expired", "wrong-name", "untrusted"])
async def test_verification_that_is_skipped_takes_any_certificate(proxy, listener):
    config = EndpointConfig(
        "sip:alice@example.test",
        Credentials("alice", "secret"),
        Transport.TLS,
        outbound_proxy=proxy.tls_address(listener),
        tls=TlsConfig(verify=TlsVerify.SKIP),
    )
    async with Endpoint(config) as alice, alice.registered():
        call = await alice.invite("sip:fail-486@example.test")
        async with call:
            await call.ended()
        assert call.report().to_dict()["signaling"]["tls"]["verified"] is False


# sipp behind kamailio: it has no TLS of its own


@pytest.mark.interop("kamailio", "sipp")
async def test_a_call_by_tls_reaches_a_sipp_behind_kamailio(phone, proxy, certificates, sipp):
    callee = sipp("uas", user="bob")
    await proxy.bind("bob", f"sip:bob@{callee.address}")
    options = {"certificates": certificates, "transport": "tls"}
    async with phone(proxy=proxy.tls_address(), **options) as alice:
        async with alice.call("sip:bob@example.test") as call:
            await hear(call, 40)  # sipp sends back what it hears
        verdict = await callee.result()
        report = call.report().to_dict()
    assert (verdict.status, verdict.successful, verdict.failed) == (0, 1, 0)
    assert report["outcome"] == "SUCCESS"
    assert report["signaling"]["transport"] == "TLS"


# baresip


@pytest.fixture
async def stack(certificates):
    """A stack that listens for TLS."""
    certificate, key = certificates.server()
    tls = TlsConfig(certificate=certificate, private_key=key)
    config = StackConfig(
        bind="127.0.0.1", transports=(Transport.UDP, Transport.TCP, Transport.TLS), tls=tls
    )
    async with Stack(config) as running:
        yield running


@pytest.mark.interop("baresip")
async def test_a_call_to_baresip_by_tls_is_heard_at_both_ends(
    phone, baresip, certificates, stack, tmp_path
):
    bob = baresip(encryption="srtp-mand", transport="tls", certificates=certificates)
    heard = tmp_path / "heard.wav"
    options = {"certificates": certificates, "stack": stack, "transport": "tls", "srtp": SDES}
    async with phone(**options) as alice:
        async with alice.call(bob.uri) as call:
            await converse(call, 440, heard)
        assert_secure(call.report().to_dict())
    assert_heard(heard, 880)
    assert_heard(await bob.heard(), 440)


@pytest.mark.interop("baresip")
@pytest.mark.parametrize("hanging_up", ["callmeter", "baresip"])
async def test_a_call_from_baresip_by_tls_is_heard_at_both_ends(
    phone, baresip, certificates, stack, tmp_path, hanging_up
):
    bob = baresip(encryption="srtp-mand", transport="tls", certificates=certificates)
    heard = tmp_path / "heard.wav"
    control = await bob.control()
    port = stack.transport.listening("TLS")[1]
    async with phone(certificates=certificates, stack=stack, transport="tls", srtp=SDES) as alice:
        await control.command("dial", f"sip:alice@127.0.0.1:{port};transport=tls")
        incoming = await alice.next_call(20)
        async with await incoming.answer() as call:
            call.media.record(heard)
            await control.event("CALL_ESTABLISHED")
            await call.media.play(Tone(440), seconds=SECONDS)
            if hanging_up == "baresip":
                await control.command("hangup")
                async with asyncio.timeout(20):
                    await call.ended()
        assert_secure(call.report().to_dict())
    await control.close()
    assert_heard(heard, 880)
    assert_heard(await bob.heard(), 440)


# linphone


# Nobody can open a TLS connection to linphone: its listening point accepts and closes again, and
# its log says "New connection arriving on TLS, not handled !". It is called on one it has opened:
# to a registrar, or to us.


@pytest.mark.interop("linphone", "kamailio")
async def test_a_call_to_linphone_by_tls_is_secure(phone, linphone, proxy, certificates, tmp_path):
    carol = linphone(certificates=certificates, tone=880)
    port = proxy.tls_address().rpartition(":")[2]
    carol.command(f"register sip:carol@example.test sip:localhost:{port};transport=tls secret")
    await proxy.bound("carol")
    heard = tmp_path / "heard.wav"
    options = {"certificates": certificates, "transport": "tls", "srtp": SDES}
    async with phone(proxy=proxy.tls_address(), **options) as alice:
        async with alice.call("sip:carol@example.test") as call:
            call.media.record(heard)
            carol.play()
            await call.media.play(Tone(440), seconds=SECONDS + 0.5)
        assert_secure(call.report().to_dict())
    assert_heard(heard, 880)


@pytest.mark.interop("linphone")
async def test_a_call_from_linphone_by_tls_is_secure(
    phone, linphone, certificates, stack, tmp_path
):
    carol = linphone(certificates=certificates, tone=880)
    heard = tmp_path / "heard.wav"
    port = stack.transport.listening("TLS")[1]
    options = {"certificates": certificates, "stack": stack, "transport": "tls", "srtp": SDES}
    async with phone(**options) as alice:
        carol.command(f"call sip:alice@localhost:{port};transport=tls")
        incoming = await alice.next_call(20)
        async with await incoming.answer() as call:
            call.media.record(heard)
            await asyncio.sleep(0.2)
            carol.play()
            await call.media.play(Tone(440), seconds=SECONDS + 1)
            carol.command("terminate")
            async with asyncio.timeout(20):
                await call.ended()
        assert_secure(call.report().to_dict(), "TLSv1.2")  # linphone has no 1.3
    assert_heard(heard, 880)


@pytest.mark.interop("linphone")
async def test_linphone_is_called_by_tls_on_the_connection_it_has_opened(
    phone, linphone, certificates, tmp_path
):
    """RFC 3261 section 18, RFC 5923 section 9: its Contact is where the connection comes from."""
    certificate, key = certificates.server()
    tls = TlsConfig(
        certificate=certificate,
        private_key=key,
        ca=certificates.ca,
        client_certificates=ClientCertificates.REQUIRED,
    )
    config = StackConfig(bind="127.0.0.1", transports=(Transport.UDP, Transport.TLS), tls=tls)
    carol = linphone(certificates=certificates, tone=880)
    heard = tmp_path / "heard.wav"
    async with Stack(config) as stack:
        options = {"certificates": certificates, "stack": stack, "transport": "tls", "srtp": SDES}
        port = stack.transport.listening("TLS")[1]
        async with phone(**options) as alice:
            carol.command(f"call sip:alice@localhost:{port};transport=tls")
            incoming = await alice.next_call(20)
            incoming.reject(486)
            async with asyncio.timeout(20):
                while not (acks := alice.messages.requests("ACK").received()):  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            # By now it has learnt from `rport` where its connection comes from.
            contact = acks[0].message.contacts[0].uri
            async with alice.call(str(contact)) as call:
                call.media.record(heard)
                carol.play()
                await call.media.play(Tone(440), seconds=SECONDS + 0.5)
            assert_secure(call.report().to_dict(), "TLSv1.2")
            assert len(stack.transport.pool) == 1
    assert_heard(heard, 880)
