"""TLS in memory: two layers back to back, and what one of them does when the other lies."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtensionOID

from callmeter.config import ClientCertificates, TlsConfig, TlsVerify
from callmeter.errors import ConfigurationError, FlowLost, TlsError, TransportError
from callmeter.testing.certificates import Authority, Issued
from callmeter.transport.tls import TlsLayer
from callmeter.transport.tls_settings import TlsSettings

AUTHORITY = Authority()
STRANGER = Authority("stranger")
PEER = "sip.example"
TLS12, TLS13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
VERSIONS = pytest.mark.parametrize("version", [TLS12, TLS13], ids=["1.2", "1.3"])
OPTIONS = b"OPTIONS sip:sip.example SIP/2.0\r\n\r\n"


def settings(issued=None, *, verify=TlsVerify.CUSTOM, ca=AUTHORITY.pem, **more):
    issued = issued or Issued(None, None)
    return TlsSettings.of(
        TlsConfig(
            verify=verify,
            ca=ca,
            certificate=issued.certificate,
            private_key=issued.private_key,
            **more,
        )
    )


def server_settings(issued=None, version=None, **more):
    made = settings(issued or AUTHORITY.issue(PEER), **more)
    if version is not None:
        made.server.minimum_version = made.server.maximum_version = version
    return made


def connect(client, server):
    """Shake hands; what either side raises comes out, after the other has heard its alert."""
    towards_server = client.start()
    assert server.start() == b""
    while towards_server:
        try:
            answer = server.receive(towards_server).outgoing
        except TransportError:
            client.receive(server.close())
            raise
        try:
            towards_server = client.receive(answer).outgoing if answer else b""
        except TransportError:
            farewell = client.close()
            if farewell:
                server.receive(farewell)
            raise


def pair(version=TLS13, *, client=None, server=None, name=PEER):
    return (
        TlsLayer.client(client or settings(), name, destination="TLS 192.0.2.1:5061"),
        TlsLayer.server(server or server_settings(version=version)),
    )


def connected(version=TLS13, **more):
    client, server = pair(version, **more)
    connect(client, server)
    return client, server


@VERSIONS
def test_two_layers_agree_and_carry_octets_both_ways(version):
    client, server = connected(version)
    assert client.established
    assert server.established
    assert client.receive(server.send(OPTIONS)).data == (OPTIONS,)
    assert server.receive(client.send(OPTIONS)).data == (OPTIONS,)
    assert client.version == server.version == f"TLSv1.{version.name[-1]}"
    assert client.cipher == server.cipher is not None


def test_nothing_is_known_before_the_handshake():
    client, _ = pair()
    assert not client.established
    assert not client.verified
    assert client.version is None
    assert client.cipher is None
    assert client.peer_certificate is None
    assert client.peer_identities == ()


def test_the_client_knows_whom_it_talks_to():
    issued = AUTHORITY.issue("sip:sip.example", "other.example")
    client, server = connected(server=server_settings(issued))
    assert client.verified
    assert client.match.presented == PEER
    assert client.peer_identities == (PEER,)
    assert client.warnings == ()
    der = x509.load_pem_x509_certificate(issued.certificate.encode()).public_bytes(Encoding.DER)
    assert client.peer_certificate == der
    assert not server.verified
    assert server.peer_certificate is None
    assert server.peer_identities == ()


def test_each_side_vouches_for_the_names_in_the_certificate_of_the_other():
    mutual = {"ca": AUTHORITY.pem, "client_certificates": ClientCertificates.REQUIRED}
    caller = AUTHORITY.issue("caller.example")
    client, server = connected(
        server=server_settings(AUTHORITY.issue(PEER), **mutual),
        client=settings(caller),
    )
    assert server.vouches_for("caller.example")
    assert client.vouches_for(PEER)
    assert not server.vouches_for(PEER)
    anonymous, _ = connected()
    assert not pair()[0].vouches_for(PEER)
    assert anonymous.vouches_for(PEER)


def test_a_certificate_that_cannot_be_read_vouches_for_nobody():
    caller = with_alternatives(b"\x30\x0d\x82\x0bsip\xff.example")
    mutual = {"ca": AUTHORITY.pem, "client_certificates": ClientCertificates.REQUIRED}
    _, server = connected(
        server=server_settings(AUTHORITY.issue(PEER), **mutual),
        client=settings(caller),
    )
    assert server.verified
    assert not server.vouches_for(PEER)


@VERSIONS
def test_a_handshake_in_single_octets_gives_the_same(version):
    client, server = pair(version)
    to_server, to_client = client.start(), b""
    while to_server or to_client:
        to_client = b"".join(
            server.receive(to_server[n : n + 1]).outgoing for n in range(len(to_server))
        )
        to_server = b"".join(
            client.receive(to_client[n : n + 1]).outgoing for n in range(len(to_client))
        )
    assert client.established
    assert server.established
    sealed = server.send(OPTIONS)
    read = [client.receive(sealed[n : n + 1]).data for n in range(len(sealed))]
    assert [each for each in read if each] == [(OPTIONS,)]


def test_much_at_once_comes_out_whole():
    client, server = connected()
    text = bytes(range(256)) * 400
    assert b"".join(client.receive(server.send(text)).data) == text
    assert client.receive(server.send(b"a") + server.send(b"b")).data == (b"ab",)


def test_data_right_behind_the_handshake_is_not_lost():
    client, server = pair(TLS13)
    flight = server.receive(client.start()).outgoing
    last = client.receive(flight).outgoing
    received = server.receive(last + client.send(OPTIONS))
    assert received.data == (OPTIONS,)


# identity


@VERSIONS
def test_no_octet_of_sip_goes_to_somebody_else(version):
    client, server = pair(version, server=server_settings(AUTHORITY.issue("x.example"), version))
    with pytest.raises(TlsError) as caught:
        connect(client, server)
    assert caught.value.kind == "name_mismatch"
    assert caught.value.destination == "TLS 192.0.2.1:5061"
    assert str(caught.value) == (
        "TLS handshake failure: certificate is valid for x.example, not sip.example"
    )
    assert not client.established
    assert not client.verified


def test_an_impostor_does_not_see_our_certificate():
    own = AUTHORITY.issue("alice.example")
    client, server = pair(
        client=settings(own),
        server=server_settings(
            AUTHORITY.issue("x.example"), client_certificates=ClientCertificates.REQUIRED
        ),
    )
    with pytest.raises(TlsError):
        connect(client, server)
    assert server.peer_certificate is None
    assert not server.established
    assert client.close() == b""


def test_a_common_name_will_do_under_a_given_authority_with_a_warning():
    server = server_settings(AUTHORITY.issue(common_name=PEER))
    client, _ = connected(server=server)
    assert client.verified
    assert client.warnings == ("the certificate names sip.example in its Common Name only",)


def test_a_common_name_will_not_do_under_the_system_authorities(monkeypatch, tmp_path):
    (tmp_path / "ca.pem").write_text(AUTHORITY.pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    system = settings(verify=TlsVerify.SYSTEM, ca=None)
    assert connected(client=system)[0].verified
    with pytest.raises(TlsError, match=r"valid for sip.example \(Common Name only\), not sip\.ex"):
        connected(client=system, server=server_settings(AUTHORITY.issue(common_name=PEER)))


def test_strict_wildcards_refuse_what_is_taken_otherwise():
    server = server_settings(AUTHORITY.issue("*.example.com"))
    assert connected(server=server, name="a.example.com")[0].verified
    with pytest.raises(TlsError, match=r"valid for \*\.example\.com, not a\.example\.com"):
        connected(server=server, name="a.example.com", client=settings(strict_wildcards=True))


def test_without_verification_anybody_will_do_and_it_is_said():
    skip = settings(verify=TlsVerify.SKIP, ca=None)
    client, _ = connected(
        client=skip, server=server_settings(STRANGER.issue("x.example"), ca=STRANGER.pem)
    )
    assert client.established
    assert not client.verified
    assert client.match is None
    assert client.warnings == ("the server certificate was not verified (TlsVerify.SKIP)",)
    assert client.peer_identities == ("x.example",)


def with_alternatives(content):
    """A certificate whose subjectAltName holds these octets."""
    made = AUTHORITY.issue(PEER)
    now = datetime.now(UTC)
    certificate = x509.load_pem_x509_certificate(made.certificate.encode())
    builder = x509.CertificateBuilder(
        subject_name=x509.Name([]),
        issuer_name=AUTHORITY.certificate.subject,
        public_key=certificate.public_key(),
        serial_number=1,
        not_valid_before=now - timedelta(days=1),
        not_valid_after=now + timedelta(days=99),
    ).add_extension(
        x509.UnrecognizedExtension(ExtensionOID.SUBJECT_ALTERNATIVE_NAME, content), critical=False
    )
    signed = builder.sign(AUTHORITY.key, hashes.SHA256())
    return Issued(signed.public_bytes(Encoding.PEM).decode(), made.private_key)


def test_a_name_that_cannot_be_read_names_nobody():
    server = server_settings(with_alternatives(b"\x30\x0d\x82\x0bsip\xff.example"))
    with pytest.raises(TlsError) as caught:
        connected(server=server)
    assert caught.value.kind == "name_mismatch"
    assert "certificate cannot be read" in str(caught.value)
    client, _ = connected(server=server, client=settings(verify=TlsVerify.SKIP))
    assert client.peer_identities == ()


@pytest.mark.parametrize(
    ("name", "sni"),
    [("SIP.example.", "sip.example"), ("127.0.0.1", None), ("::1", None)],
)
def test_the_server_is_told_the_name_but_never_an_address(name, sni):
    seen = []
    server = server_settings(AUTHORITY.issue(PEER, "127.0.0.1", "::1"))
    server.server.sni_callback = lambda _object, asked, _context: seen.append(asked)
    assert connected(server=server, name=name)[0].verified
    assert seen == [sni]


def test_a_name_that_is_none_fails_as_a_mismatch():
    with pytest.raises(TlsError, match=r"valid for sip.example, not a b"):
        connected(name="a b")


# client certificates


@VERSIONS
@pytest.mark.parametrize("wish", [ClientCertificates.OPTIONAL, ClientCertificates.REQUIRED])
def test_a_server_knows_a_client_that_proves_who_it_is(version, wish):
    own = AUTHORITY.issue("sip:alice.example", "alice-host.example")
    client, server = connected(
        version,
        client=settings(own),
        server=server_settings(version=version, client_certificates=wish),
    )
    assert server.verified
    assert server.peer_identities == ("alice.example",)
    assert client.confirmed is (version is TLS12)
    client.receive(server.send(OPTIONS))
    assert client.confirmed


def test_an_optional_certificate_may_be_left_out():
    _, server = connected(server=server_settings(client_certificates=ClientCertificates.OPTIONAL))
    assert server.established
    assert not server.verified


@VERSIONS
@pytest.mark.parametrize(
    ("own", "words", "server_words"),
    [
        (None, "server wants a client certificate", "client sent no certificate"),
        (
            STRANGER.issue("alice.example"),
            "client certificate not trusted by the server",
            "client certificate signed by unknown authority",
        ),
    ],
    ids=["none", "unknown"],
)
def test_a_refused_client_is_told_so_and_knows_when(version, own, words, server_words):
    client, server = pair(
        version,
        client=settings(own, ca=AUTHORITY.pem + STRANGER.pem),
        server=server_settings(version=version, client_certificates=ClientCertificates.REQUIRED),
    )
    first = server.receive(client.start())
    last = client.receive(first.outgoing)
    assert client.established is (version is TLS13)
    assert not client.confirmed
    with pytest.raises(TlsError) as at_server:
        server.receive(last.outgoing)
    assert at_server.value.kind == "client_cert_rejected"
    assert str(at_server.value) == f"TLS handshake failure: bad certificate: {server_words}"
    with pytest.raises(TlsError) as caught:
        client.receive(server.close())
    assert caught.value.kind == "client_cert_rejected"
    assert str(caught.value) == f"TLS handshake failure: bad certificate: {words}"


EARLY = "bad certificate: server closed the connection before its first answer"


def test_a_server_that_leaves_without_a_word_did_not_like_our_certificate():
    client, _ = connected(TLS13)
    with pytest.raises(TlsError, match=EARLY) as caught:
        client.receive(b"")
    assert caught.value.kind == "client_cert_rejected"


def test_so_did_one_that_leaves_in_good_order():
    client, server = connected(TLS13)
    with pytest.raises(TlsError, match=EARLY):
        client.receive(server.close())


@VERSIONS
def test_after_the_first_answer_an_end_is_just_an_end(version):
    for how in ("close_notify", "eof"):
        client, server = connected(version)
        client.receive(server.send(OPTIONS))
        received = client.receive(server.close() if how == "close_notify" else b"")
        assert received.closed
        assert received.data == ()


def test_with_tls_1_2_an_end_is_no_refusal():
    client, _ = connected(TLS12)
    assert client.confirmed
    assert client.receive(b"").closed


def test_what_a_peer_says_before_it_leaves_is_heard():
    client, server = connected()
    received = client.receive(server.send(OPTIONS) + server.close() + b"more")
    assert received.data == (OPTIONS,)
    assert received.closed
    assert client.receive(b"").closed


def test_both_sides_say_goodbye_once():
    client, server = connected(TLS12)
    assert server.receive(client.close()).closed
    assert client.close() == b""
    with pytest.raises(FlowLost, match="TLS: protocol is shutdown"):
        client.send(OPTIONS)


@VERSIONS
def test_both_sides_may_say_goodbye_at_once(version):
    client, server = connected(version)
    client.receive(server.send(OPTIONS))
    from_client, from_server = client.close(), server.close()
    assert client.receive(from_server).closed
    assert server.receive(from_client).closed


# broken


@VERSIONS
def test_an_octet_that_was_changed_ends_an_open_connection(version):
    client, server = connected(version)
    client.receive(server.send(OPTIONS))
    sealed = bytearray(server.send(OPTIONS))
    sealed[-1] ^= 1
    with pytest.raises(FlowLost, match=r"^TLS 192\.0\.2\.1:5061: TLS: .*bad record mac") as caught:
        client.receive(bytes(sealed))
    assert caught.value.destination == "TLS 192.0.2.1:5061"


def test_what_came_before_a_broken_octet_is_delivered():
    client, server = connected()
    good, bad = server.send(OPTIONS), bytearray(server.send(OPTIONS))
    bad[-1] ^= 1
    received = client.receive(good + bytes(bad))
    assert received.data == (OPTIONS,)
    assert received.closed
    assert received.outgoing  # the alert


def test_a_failure_sends_an_alert():
    client, server = pair(server=server_settings(STRANGER.issue(PEER), ca=STRANGER.pem))
    flight = server.receive(client.start()).outgoing
    with pytest.raises(TlsError, match="certificate signed by unknown authority"):
        client.receive(flight)
    with pytest.raises(TlsError) as caught:
        server.receive(client.close())
    assert caught.value.kind == "handshake"
    assert str(caught.value) == (
        "TLS handshake failure: client did not accept the certificate (unknown ca)"
    )


@pytest.mark.parametrize("octets", [b"SIP/2.0 400 Bad Request\r\n\r\n", b"\r\n", b"\0"])
def test_a_peer_that_does_not_speak_tls_is_found_out_at_its_first_octet(octets):
    for layer in pair():
        layer.start()
        with pytest.raises(TlsError, match=r"^TLS handshake failure: peer does not sp") as caught:
            layer.receive(octets)
        assert caught.value.kind == "not_tls"
        assert layer.close() == b""


def test_a_record_of_no_version_is_not_tls():
    client, _ = pair()
    client.start()
    with pytest.raises(TlsError) as caught:
        client.receive(b"\x16SIP/2.0 is not TLS")
    assert caught.value.kind == "not_tls"


def test_a_peer_that_hangs_up_before_its_hello_does_not_speak_tls():
    client, server = pair()
    client.start()
    with pytest.raises(TlsError, match="peer does not speak TLS") as caught:
        client.receive(b"")
    assert caught.value.kind == "not_tls"
    with pytest.raises(TlsError, match="peer closed the connection") as caught:
        server.receive(b"")
    assert caught.value.kind == "handshake"


def test_a_server_that_hangs_up_after_its_hello_speaks_tls():
    client, server = pair(TLS12)
    flight = server.receive(client.start()).outgoing
    client.receive(flight)
    with pytest.raises(TlsError) as caught:
        client.receive(b"")
    assert (caught.value.kind, str(caught.value)) == (
        "handshake",
        "TLS handshake failure: peer closed the connection",
    )


def test_a_server_without_tls_1_2_is_refused_by_name():
    client, _ = pair()
    client.start()
    protocol_version = b"\x15\x03\x01\x00\x02\x02\x46"
    with pytest.raises(
        TlsError, match=r"^TLS handshake failure: server offers no TLS 1.2 or"
    ) as caught:
        client.receive(protocol_version)
    assert caught.value.kind == "version"


@pytest.mark.parametrize(
    ("version", "kind"),
    [(b"\x03\x01", "version"), (b"\x03\x02", "version"), (b"\x03\x03", "handshake")],
)
def test_a_server_that_finds_no_suite_for_its_old_version_has_an_old_version(version, kind):
    client, _ = pair()
    client.start()
    for octet in b"\x15" + version + b"\x00\x02\x02":
        client.receive(bytes([octet]))
    with pytest.raises(TlsError) as caught:
        client.receive(b"\x28")
    assert caught.value.kind == kind


def test_a_client_without_tls_1_3_is_refused_by_a_server_that_wants_it():
    client, server = pair(TLS13)
    client._settings.client.maximum_version = TLS12
    client = TlsLayer.client(client._settings, PEER)
    with pytest.raises(TlsError, match=r"client offers no TLS 1.2 or newer"):
        server.receive(client.start())


def test_a_handshake_that_takes_too_long_says_how_long():
    client, _ = pair()
    error = client.timed_out("timed out after 10 s")
    assert str(error) == "TLS handshake failure: timed out after 10 s"
    assert (error.kind, error.destination) == ("timeout", "TLS 192.0.2.1:5061")


def test_tls_has_no_keep_alive_of_its_own_and_keeps_no_messages():
    client, server = connected()
    assert client.ping() is None
    assert not server.keeps_messages


def test_a_server_needs_a_certificate():
    with pytest.raises(ConfigurationError, match="a TLS server needs a certificate"):
        TlsLayer.server(settings())
