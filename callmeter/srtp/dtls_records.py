"""DTLS 1.2 records and handshake headers, as far as they stand in clear (RFC 6347 section 4).

Everything before ChangeCipherSpec can be forged by anybody. What is plainly wrong in it is found
here, before OpenSSL sees it: one bad header would end the handshake of the genuine peer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

__all__ = [
    "ALERT",
    "CHANGE_CIPHER_SPEC",
    "CLIENT_HELLO",
    "CLIENT_KEY_EXCHANGE",
    "HANDSHAKE",
    "SERVER_HELLO",
    "Fragment",
    "Record",
    "alert_name",
    "client_random",
    "describe",
    "fragments",
    "pack",
    "records",
    "starts_server_flight",
]

CHANGE_CIPHER_SPEC: Final = 20
ALERT: Final = 21
HANDSHAKE: Final = 22
_CONTENT_TYPES: Final = range(20, 24)

CLIENT_HELLO: Final = 1
SERVER_HELLO: Final = 2
_HELLO_VERIFY_REQUEST: Final = 3
CLIENT_KEY_EXCHANGE: Final = 16

_VERSIONS: Final = (b"\xfe\xff", b"\xfe\xfd")
"""DTLS 1.0, which the first ClientHello carries for old servers' sake, and DTLS 1.2."""
_HEADER: Final = 13
_MAX_FRAGMENT: Final = 2**14 + 256
_MESSAGE_HEADER: Final = 12
_MAX_MESSAGE: Final = 32_768
"""Octets of a handshake message: certificates for media are small."""
_MAX_MESSAGE_SEQUENCE: Final = 16
_RANDOM_AT: Final = 2
_RANDOM: Final = 32
_FATAL: Final = 2

_MESSAGES: Final = {
    0: "HelloRequest",
    CLIENT_HELLO: "ClientHello",
    SERVER_HELLO: "ServerHello",
    _HELLO_VERIFY_REQUEST: "HelloVerifyRequest",
    4: "NewSessionTicket",
    11: "Certificate",
    12: "ServerKeyExchange",
    13: "CertificateRequest",
    14: "ServerHelloDone",
    15: "CertificateVerify",
    CLIENT_KEY_EXCHANGE: "ClientKeyExchange",
}
_ALERTS: Final = {
    0: "close_notify",
    10: "unexpected_message",
    20: "bad_record_mac",
    22: "record_overflow",
    40: "handshake_failure",
    42: "bad_certificate",
    43: "unsupported_certificate",
    44: "certificate_revoked",
    45: "certificate_expired",
    46: "certificate_unknown",
    47: "illegal_parameter",
    48: "unknown_ca",
    49: "access_denied",
    50: "decode_error",
    51: "decrypt_error",
    70: "protocol_version",
    71: "insufficient_security",
    80: "internal_error",
    86: "inappropriate_fallback",
    90: "user_canceled",
    100: "no_renegotiation",
    109: "missing_extension",
    110: "unsupported_extension",
    116: "certificate_required",
}


@dataclass(frozen=True, slots=True)
class Record:
    """One record (RFC 6347 section 4.1).

    Attributes:
        content: Content type, 20 to 23.
        epoch: 0 in clear, 1 under the keys of the handshake.
        octets: The whole record.
    """

    content: int
    epoch: int
    octets: bytes

    @property
    def body(self) -> bytes:
        """What follows the header."""
        return self.octets[_HEADER:]

    def renumbered(self, sequence_number: int) -> bytes:
        """The record with another sequence number; only records in clear can be changed so."""
        return b"".join((self.octets[:5], sequence_number.to_bytes(6, "big"), self.octets[11:]))


@dataclass(frozen=True, slots=True)
class Fragment:
    """A handshake message or a part of one (RFC 6347 section 4.2.2).

    Attributes:
        kind: Handshake type.
        sequence: Which message of its sender this is, from 0.
        offset: Where in the message the part starts.
        body: The part.
        length: Octets of the whole message.
    """

    kind: int
    sequence: int
    offset: int
    body: bytes
    length: int


def records(datagram: bytes) -> Iterator[Record]:
    """The records of a datagram, up to the first whose header is wrong."""
    at = 0
    while at + _HEADER <= len(datagram):
        length = int.from_bytes(datagram[at + 11 : at + _HEADER], "big")
        end = at + _HEADER + length
        wrong = datagram[at] not in _CONTENT_TYPES or datagram[at + 1 : at + 3] not in _VERSIONS
        if wrong or not 0 < length <= _MAX_FRAGMENT or end > len(datagram):
            return
        epoch = int.from_bytes(datagram[at + 3 : at + 5], "big")
        yield Record(datagram[at], epoch, datagram[at:end])
        at = end


def fragments(record: Record) -> tuple[Fragment, ...]:
    """The handshake messages in a record in clear; none when one of their headers is wrong."""
    found = []
    body = record.body
    while body:
        length, part = int.from_bytes(body[1:4], "big"), int.from_bytes(body[9:12], "big")
        sequence, offset = int.from_bytes(body[4:6], "big"), int.from_bytes(body[6:9], "big")
        end = _MESSAGE_HEADER + part
        if len(body) < end or offset + part > length or length > _MAX_MESSAGE:
            return ()
        if sequence > _MAX_MESSAGE_SEQUENCE or (length and not part):
            return ()
        found.append(Fragment(body[0], sequence, offset, body[_MESSAGE_HEADER:end], length))
        body = body[end:]
    return tuple(found)


def client_random(datagram: bytes) -> bytes | None:
    """The random octets of the ClientHello that starts in a datagram, None when none does."""
    for record in records(datagram):
        if record.content == HANDSHAKE and record.epoch == 0:
            for fragment in fragments(record):
                random = fragment.body[_RANDOM_AT : _RANDOM_AT + _RANDOM]
                if fragment.kind == CLIENT_HELLO and not fragment.offset and len(random) == _RANDOM:
                    return random
    return None


def starts_server_flight(datagram: bytes) -> bool:
    """Whether a ServerHello or HelloVerifyRequest stands in a datagram."""
    return any(
        fragment.kind in {SERVER_HELLO, _HELLO_VERIFY_REQUEST}
        for record in records(datagram)
        if record.content == HANDSHAKE and record.epoch == 0
        for fragment in fragments(record)
    )


def alert_name(record: Record) -> str | None:
    """What a fatal alert in clear says, None when it is only a warning or malformed."""
    body = record.body
    if len(body) != 2 or body[0] != _FATAL:  # noqa: PLR2004  level and description
        return None
    return _ALERTS.get(body[1], f"number {body[1]}")


def describe(flight: Iterable[Record]) -> str:
    """Name the messages of a flight, `"ClientKeyExchange, ChangeCipherSpec, Finished"`."""
    names: list[str] = []
    for record in flight:
        for name in _names(record):
            if names[-1:] != [name]:
                names.append(name)
    return ", ".join(names)


def _names(record: Record) -> Sequence[str]:
    if record.content == CHANGE_CIPHER_SPEC:
        return ("ChangeCipherSpec",)
    if record.content == ALERT:
        return ("alert",) if record.epoch else (f"alert {alert_name(record) or 'warning'}",)
    if record.content == HANDSHAKE and record.epoch:
        # Encrypted: in a whole handshake nothing else is.
        return ("Finished",)
    if record.content == HANDSHAKE:
        found = fragments(record)
        return [_MESSAGES.get(each.kind, f"message {each.kind}") for each in found]
    return ("application data",)


def pack(octets: Iterable[bytes], mtu: int) -> list[bytes]:
    """Put records into as few datagrams as their order and the MTU allow."""
    datagrams: list[bytes] = []
    for record in octets:
        if datagrams and len(datagrams[-1]) + len(record) <= mtu:
            datagrams[-1] += record
        else:
            datagrams.append(record)
    return datagrams
