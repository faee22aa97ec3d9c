"""The flight of a DTLS server, gathered before OpenSSL sees a record of it (RFC 6347 section 4.2).

Its messages come in clear, and nothing in a ServerHello shows that it answers our ClientHello: one
that somebody else made would end the handshake. So a client keeps what comes until a whole flight
is there whose key exchange is signed for its ServerHello and for our random octets, which whoever
is not on the path does not know. A flight with the certificate of the session description comes
before others.
"""

from __future__ import annotations

from itertools import islice, product
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

from callmeter.srtp import dtls_records
from callmeter.srtp.dtls_records import HANDSHAKE, SERVER_HELLO, Record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from callmeter.srtp.dtls_records import Fragment

__all__ = ["ServerFlight"]

HELLO_VERIFY_REQUEST: Final = 3
CERTIFICATE: Final = 11
SERVER_KEY_EXCHANGE: Final = 12
CERTIFICATE_REQUEST: Final = 13
SERVER_HELLO_DONE: Final = 14
_OF_FLIGHT: Final = frozenset(
    {SERVER_HELLO, CERTIFICATE, SERVER_KEY_EXCHANGE, CERTIFICATE_REQUEST, SERVER_HELLO_DONE}
)
_KNOWN_ORDERS: Final = frozenset(
    {
        (SERVER_HELLO, CERTIFICATE, SERVER_KEY_EXCHANGE, SERVER_HELLO_DONE),
        (SERVER_HELLO, CERTIFICATE, SERVER_KEY_EXCHANGE, CERTIFICATE_REQUEST, SERVER_HELLO_DONE),
    }
)
"""All cipher suites offered here have a signed key exchange."""

MAX_OCTETS: Final = 131_072
MAX_ALTERNATIVES: Final = 4
"""Messages kept for one place in the flight."""
MAX_CHOICES: Final = 64

_NUMBER: Final = slice(5, 11)
_RANDOM: Final = slice(2, 34)
_CURVE: Final = 4
"""Octets before the point of a key exchange: kind of curve, curve, length."""
_COOKIE: Final = 2
"""Octets before a cookie: the version. Then comes its length."""
_DER: Final = 6
"""Octets before the first certificate: length of all, length of this one."""
_HASHES: Final[Mapping[int, Callable[[], hashes.HashAlgorithm]]] = {
    2: hashes.SHA1,
    4: hashes.SHA256,
    5: hashes.SHA384,
    6: hashes.SHA512,
}
_RSA_PSS: Final[Mapping[int, Callable[[], hashes.HashAlgorithm]]] = {
    0x0804: hashes.SHA256,
    0x0805: hashes.SHA384,
    0x0806: hashes.SHA512,
}


class _Message:
    """A handshake message as far as its fragments are there."""

    __slots__ = ("_parts", "kind", "length", "records")

    def __init__(self, kind: int, length: int) -> None:
        self.kind = kind
        self.length = length
        self.records: list[Record] = []
        self._parts: dict[int, bytes] = {}

    def add(self, fragment: Fragment, record: Record) -> int:
        """Keep a part; returns the octets that this took."""
        known = self._parts.get(fragment.offset)
        if known is not None and len(known) >= len(fragment.body):
            return 0
        self._parts[fragment.offset] = fragment.body
        self.records.append(record)
        return len(fragment.body)

    @property
    def body(self) -> bytes | None:
        """The whole message, None while a part is missing."""
        body = b""
        for offset in sorted(self._parts):
            if offset > len(body):
                return None
            body = body[:offset] + self._parts[offset] + body[offset + len(self._parts[offset]) :]
        return body if len(body) == self.length else None


class ServerFlight:
    """Takes the records of one association, in the order in which they come.

    Args:
        names: Whether the session description names a certificate, given in DER.
    """

    __slots__ = ("_done", "_messages", "_names", "_octets")

    def __init__(self, names: Callable[[bytes], bool]) -> None:
        self._names = names
        self._messages: dict[int, list[_Message]] = {}
        self._octets = 0
        self._done = False

    def add(self, record: Record, client_random: bytes) -> list[Record]:
        """Take a handshake record in clear.

        Args:
            record: One whose messages are all those of a server.
            client_random: Random octets of the ClientHello that was sent.

        Returns:
            What OpenSSL may see now: a whole flight, or a record that is no part of one.
        """
        fragments = dtls_records.fragments(record)
        kinds = {each.kind for each in fragments}
        if record.content != HANDSHAKE or not kinds & (_OF_FLIGHT | {HELLO_VERIFY_REQUEST}):
            return [record]
        if HELLO_VERIFY_REQUEST in kinds:
            return [record] if _asks_for_cookie(fragments) and not self._done else []
        if self._done or self._octets > MAX_OCTETS:
            return []
        for fragment in fragments:
            self._keep(fragment, record)
        found = self._choose(client_random)
        self._done = bool(found)
        return found

    def _keep(self, fragment: Fragment, record: Record) -> None:
        alternatives = self._messages.setdefault(fragment.sequence, [])
        whole = len(fragment.body) == fragment.length
        for message in alternatives:
            if (message.kind, message.length) == (fragment.kind, fragment.length):
                if message.body == fragment.body:
                    return
                if not whole and message.body is None:
                    self._octets += message.add(fragment, record)
                    return
        if len(alternatives) < MAX_ALTERNATIVES:
            message = _Message(fragment.kind, fragment.length)
            self._octets += message.add(fragment, record)
            alternatives.append(message)

    def _choose(self, client_random: bytes) -> list[Record]:
        """The flight to show: one with the certificate of the description, else another."""
        chosen: list[_Message] = []
        for flight in self._flights():
            named = self._is_named(flight)
            if (named or not chosen) and _is_signed(flight, client_random):
                chosen = flight
                if named:
                    break
        found: dict[bytes, Record] = {}
        for message in chosen:
            found |= {record.octets: record for record in message.records}
        return _numbered(list(found.values()))

    def _flights(self) -> Iterator[list[_Message]]:
        """Whole flights made of what is there, in every combination."""
        whole = {
            sequence: [message for message in messages if message.body is not None]
            for sequence, messages in self._messages.items()
        }
        for start, messages in whole.items():
            if not any(message.kind == SERVER_HELLO for message in messages):
                continue
            for length in (4, 5):
                places = [whole.get(start + step, []) for step in range(length)]
                for flight in islice(product(*places), MAX_CHOICES):
                    if tuple(message.kind for message in flight) in _KNOWN_ORDERS:
                        yield list(flight)

    def _is_named(self, flight: list[_Message]) -> bool:
        certificate = _first_certificate(flight[1].body or b"")
        return certificate is not None and self._names(certificate)


def _numbered(chosen: list[Record]) -> list[Record]:
    """The records numbered one after the other, up to the last number among them.

    Those of a flight that was sent many times are too far apart for the window against replays.
    """
    numbers = [int.from_bytes(record.octets[_NUMBER], "big") for record in chosen]
    first = max(numbers, default=0) - len(chosen) + 1
    return [
        Record(record.content, record.epoch, record.renumbered(max(first, 0) + place))
        for place, record in enumerate(chosen)
    ]


def _asks_for_cookie(fragments: tuple[Fragment, ...]) -> bool:
    """Whether this is one HelloVerifyRequest, and sound: OpenSSL would not forgive another."""
    body = fragments[0].body
    return len(fragments) == 1 and len(body) > _COOKIE and len(body) == _COOKIE + 1 + body[_COOKIE]


def _first_certificate(body: bytes) -> bytes | None:
    """That of the peer itself in a Certificate message (RFC 5246 section 7.4.2), in DER."""
    length = int.from_bytes(body[3:_DER], "big")
    return body[_DER : _DER + length] if 0 < length <= len(body) - _DER else None


def _is_signed(flight: list[_Message], client_random: bytes) -> bool:
    """Whether the key exchange is signed for this ServerHello and this ClientHello (RFC 8422).

    True also where only OpenSSL could tell.
    """
    hello, certificate, exchange = (message.body or b"" for message in flight[:3])
    point_end = _CURVE + (exchange[3] if len(exchange) > _CURVE else 0)
    parameters, rest = exchange[:point_end], exchange[point_end:]
    length = int.from_bytes(rest[2:4], "big")
    scheme, signature = int.from_bytes(rest[:2], "big"), rest[4 : 4 + length]
    signed = client_random + hello[_RANDOM] + parameters
    try:
        key = x509.load_der_x509_certificate(_first_certificate(certificate) or b"").public_key()
        if isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, signed, ec.ECDSA(_HASHES[scheme >> 8]()))
        elif isinstance(key, rsa.RSAPublicKey) and scheme in _RSA_PSS:
            chosen = _RSA_PSS[scheme]()
            pss = padding.PSS(padding.MGF1(chosen), chosen.digest_size)
            key.verify(signature, signed, pss, chosen)
        elif isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, signed, padding.PKCS1v15(), _HASHES[scheme >> 8]())
        elif isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(signature, signed)
    except InvalidSignature:
        return False
    except (UnsupportedAlgorithm, ValueError, KeyError):
        return True
    return True
