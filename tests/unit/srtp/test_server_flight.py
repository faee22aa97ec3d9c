"""A client shows OpenSSL one whole flight, signed for it, and nothing that others put between."""

from __future__ import annotations

import itertools
import os
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa
from cryptography.x509.oid import NameOID

from callmeter.srtp import dtls_records
from callmeter.srtp.server_flight import MAX_ALTERNATIVES, MAX_OCTETS, ServerFlight

CLIENT_RANDOM = bytes(range(32))
CURVE = b"\x03\x00\x1d\x04" + b"spot"


def certificate_of(key):
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "server")])
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=1))
    )
    edwards = isinstance(key, ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey)
    made = builder.sign(key, None if edwards else hashes.SHA256())
    return made.public_bytes(serialization.Encoding.DER)


def sign(key, scheme, data):
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return key.sign(data, ec.ECDSA(hashes.SHA256()))
    if isinstance(key, rsa.RSAPrivateKey) and scheme == 0x0804:
        pss = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
        return key.sign(data, pss, hashes.SHA256())
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(data, padding.PKCS1v15(), hashes.SHA256())
    return key.sign(data)


@pytest.fixture(scope="module")
def keys():
    return {
        "ecdsa": (ec.generate_private_key(ec.SECP256R1()), 0x0403),
        "rsa": (rsa.generate_private_key(65_537, 2048), 0x0401),
        "pss": (rsa.generate_private_key(65_537, 2048), 0x0804),
        "ed25519": (ed25519.Ed25519PrivateKey.generate(), 0x0807),
        "ed448": (ed448.Ed448PrivateKey.generate(), 0x0808),
    }


class Server:
    """Writes the messages of a flight, each in a record of its own."""

    def __init__(self, record, message, key, scheme):
        self._record, self._message = record, message
        self.key, self.scheme = key, scheme
        self.certificate = certificate_of(key)
        self.numbers = itertools.count()
        self.random = os.urandom(32)

    def record(self, octets):
        made = self._record(22, octets, sequence=next(self.numbers))
        (record,) = dtls_records.records(made)
        return record

    def hello(self, random=None):
        body = b"\xfe\xfd" + (random or self.random) + b"\0\xc0\x2b\0"
        return self._message(2, body, sequence=0)

    def shown(self, certificate=None):
        der = self.certificate if certificate is None else certificate
        entry = len(der).to_bytes(3, "big") + der
        return self._message(11, len(entry).to_bytes(3, "big") + entry, sequence=1)

    def exchange(self, scheme=None):
        signature = sign(self.key, self.scheme, CLIENT_RANDOM + self.random + CURVE)
        scheme = self.scheme if scheme is None else scheme
        tail = scheme.to_bytes(2, "big") + len(signature).to_bytes(2, "big") + signature
        return self._message(12, CURVE + tail, sequence=2)

    def request(self):
        return self._message(13, b"\x01\x40\0\0\0\0", sequence=3)

    def done(self, sequence=4):
        return self._message(14, b"", sequence=sequence)

    def flight(self):
        parts = (self.hello(), self.shown(), self.exchange(), self.request(), self.done())
        return [self.record(part) for part in parts]


@pytest.fixture
def make_server(dtls_record, dtls_message, keys):
    return lambda kind="ecdsa": Server(dtls_record, dtls_message, *keys[kind])


@pytest.fixture
def server(make_server):
    return make_server()


@pytest.fixture
def gather(server):
    return ServerFlight(lambda certificate: certificate == server.certificate)


def add(gathered, records):
    """What each record led to."""
    return [gathered.add(record, CLIENT_RANDOM) for record in records]


def kinds(records):
    return [each.kind for record in records for each in dtls_records.fragments(record)]


@pytest.mark.parametrize("kind", ["ecdsa", "rsa", "pss", "ed25519", "ed448"])
def test_a_flight_is_shown_when_it_is_whole(make_server, kind):
    server = make_server(kind)
    gathered = ServerFlight(lambda certificate: certificate == server.certificate)
    *waiting, shown = add(gathered, server.flight())
    assert waiting == [[]] * 4
    assert kinds(shown) == [2, 11, 12, 13, 14]


def test_a_flight_without_a_request_for_a_certificate_is_whole_too(server, gather):
    parts = (server.hello(), server.shown(), server.exchange(), server.done(3))
    assert kinds(add(gather, map(server.record, parts))[-1]) == [2, 11, 12, 14]


def test_it_does_not_matter_in_which_order_and_how_often_the_records_come(server, gather):
    flight = server.flight()
    shown = add(gather, [flight[4], flight[2], flight[2], flight[0], flight[3], flight[1]])
    assert kinds(shown[-1]) == [2, 11, 12, 13, 14]


def test_what_comes_after_the_flight_is_not_shown(server, gather):
    add(gather, server.flight())
    assert add(gather, server.flight()) == [[]] * 5


def test_a_server_hello_of_somebody_else_is_left_out(server, gather):
    forged = server.record(server.hello(bytes(32)))
    shown = add(gather, [forged, *server.flight()])[-1]
    assert kinds(shown) == [2, 11, 12, 13, 14]
    assert server.random in shown[0].octets


def test_a_forged_hello_alone_never_completes_a_flight(server, gather):
    _, *rest = server.flight()
    forged = server.record(server.hello(bytes(32)))
    assert add(gather, [forged, *rest]) == [[]] * 5
    (shown,) = add(gather, [server.record(server.hello())])
    assert kinds(shown) == [2, 11, 12, 13, 14]


def test_the_named_certificate_comes_before_another_that_is_signed_as_well(make_server):
    impostor, server = make_server("rsa"), make_server()
    gathered = ServerFlight(lambda certificate: certificate == server.certificate)
    flights = zip(impostor.flight()[:4], server.flight()[:4], strict=True)
    add(gathered, itertools.chain.from_iterable(flights))
    shown = add(gathered, [server.record(server.done())])[-1]
    assert server.certificate in shown[1].octets


def test_a_certificate_that_is_not_named_is_shown_when_there_is_no_other(server):
    gathered = ServerFlight(lambda _: False)
    assert kinds(add(gathered, server.flight())[-1]) == [2, 11, 12, 13, 14]


@pytest.mark.parametrize(
    "certificate", [b"", b"no certificate"], ids=["no certificate", "a certificate nobody reads"]
)
def test_what_only_openssl_can_judge_is_left_to_it(server, gather, certificate):
    parts = (server.hello(), server.shown(certificate), server.exchange(), server.done(3))
    assert kinds(add(gather, map(server.record, parts))[-1]) == [2, 11, 12, 14]


def test_a_scheme_nobody_knows_is_left_to_openssl(server, gather):
    parts = (server.hello(), server.shown(), server.exchange(0xFE03), server.done(3))
    assert kinds(add(gather, map(server.record, parts))[-1]) == [2, 11, 12, 14]


def test_an_empty_key_exchange_proves_nothing(server, gather, dtls_message):
    empty = dtls_message(12, b"", sequence=2)
    parts = (server.hello(), server.shown(), empty, server.done(3))
    shown = add(gather, map(server.record, parts))[-1]
    assert kinds(shown) in ([], [2, 11, 12, 14])


class TestFragments:
    def cut(self, server, dtls_message, *places):
        """The certificate in fragments."""
        body = server.shown()[12:]
        ends = zip((0, *places), (*places, len(body)), strict=True)
        return [
            server.record(
                dtls_message(11, body[start:end], sequence=1, offset=start, length=len(body))
            )
            for start, end in ends
        ]

    def test_a_message_is_put_together(self, server, gather, dtls_message):
        hello, _, *rest = server.flight()
        pieces = self.cut(server, dtls_message, 100, 200)
        shown = add(gather, [hello, *rest, *reversed(pieces)])[-1]
        assert kinds(shown) == [2, 11, 11, 11, 12, 13, 14]

    def test_fragments_of_another_cut_fill_the_gaps(self, server, gather, dtls_message):
        hello, _, *rest = server.flight()
        first, _, last = self.cut(server, dtls_message, 100, 200)
        _, again = self.cut(server, dtls_message, 50)
        shown = add(gather, [hello, *rest, first, first, last, again])[-1]
        assert kinds(shown) == [2, 11, 11, 11, 12, 13, 14]

    def test_a_shorter_fragment_adds_nothing(self, server, gather, dtls_message):
        hello, _, *rest = server.flight()
        _, long = self.cut(server, dtls_message, 50)
        _, short, _ = self.cut(server, dtls_message, 50, 60)
        first, _ = self.cut(server, dtls_message, 50)
        shown = add(gather, [hello, *rest, long, short, first])[-1]
        assert kinds(shown) == [2, 11, 11, 12, 13, 14]

    def test_a_far_fragment_of_another_length_does_no_harm(self, server, gather, dtls_message):
        far = dtls_message(11, bytes(9), sequence=1, offset=30_000, length=30_009)
        shown = add(gather, [server.record(far), *server.flight()])[-1]
        assert kinds(shown) == [2, 11, 12, 13, 14]


def test_alternatives_are_limited(server, gather):
    for _ in range(MAX_ALTERNATIVES):
        add(gather, [server.record(server.hello(os.urandom(32)))])
    assert add(gather, server.flight()) == [[]] * 5
    assert len(gather._messages[0]) == MAX_ALTERNATIVES


def test_what_is_kept_is_limited(server, gather, dtls_message):
    for sequence in range(8):
        for kind in (11, 12):
            body = os.urandom(16_000)
            add(gather, [server.record(dtls_message(kind, body, sequence=sequence))])
    assert gather._octets < MAX_OCTETS + 16_001
    assert add(gather, server.flight()) == [[]] * 5


def test_a_flight_sent_too_often_for_the_replay_window_is_numbered_closely(server, gather):
    hello, *rest = server.flight()
    add(gather, [hello])
    server.numbers = itertools.count(900)
    shown = add(gather, [server.record(record.body) for record in rest])[-1]
    numbers = [int.from_bytes(record.octets[5:11], "big") for record in shown]
    assert numbers == [899, 900, 901, 902, 903]


class TestCookies:
    def ask(self, server, dtls_message, body):
        return server.record(dtls_message(3, body, sequence=0))

    def test_a_request_for_a_cookie_is_shown_at_once(self, server, gather, dtls_message):
        record = self.ask(server, dtls_message, b"\xfe\xff\x02ab")
        assert add(gather, [record]) == [[record]]

    @pytest.mark.parametrize("body", [b"", b"\xfe\xff", b"\xfe\xff\x05ab", b"\xfe\xff\x00ab"])
    def test_a_broken_one_is_not(self, server, gather, dtls_message, body):
        assert add(gather, [self.ask(server, dtls_message, body)]) == [[]]

    def test_one_beside_another_message_is_not(self, server, gather, dtls_message):
        both = dtls_message(3, b"\xfe\xff\x00", sequence=0) + server.done(1)
        assert add(gather, [server.record(both)]) == [[]]

    def test_one_after_the_flight_is_not(self, server, gather, dtls_message):
        add(gather, server.flight())
        assert add(gather, [self.ask(server, dtls_message, b"\xfe\xff\x00")]) == [[]]


def test_records_that_are_no_part_of_a_flight_pass(server, gather, dtls_record, dtls_message):
    ticket = server.record(dtls_message(4, bytes(10), sequence=5))
    (change,) = dtls_records.records(dtls_record(20, b"\x01"))
    assert add(gather, [ticket, change]) == [[ticket], [change]]
