"""STUN Binding on the ports of SIP: what keeps a UDP flow alive (RFC 8489, RFC 5626 section 8)."""

from __future__ import annotations

import ipaddress
import struct
from typing import Final

__all__ = [
    "TRANSACTION_ID",
    "binding_request",
    "binding_success",
    "is_stun",
    "mapped_address",
    "response_to",
]

TRANSACTION_ID: Final = 12
"""Octets of a transaction id."""
_HEADER: Final = struct.Struct("!HHI12s")
_ATTRIBUTE: Final = struct.Struct("!HH")
_COOKIE: Final = 0x2112A442
_REQUEST: Final = 0x0001
_SUCCESS: Final = 0x0101
_ERROR: Final = 0x0111
_XOR_MAPPED_ADDRESS: Final = 0x0020
_FAMILIES: Final = {1: 4, 2: 16}
_LEADING: Final = 4
"""The first octet of a STUN message is 0 to 3, that of a SIP message a letter."""


def is_stun(data: bytes) -> bool:
    """Whether a datagram is a STUN message and no SIP (RFC 5626 section 8)."""
    if len(data) < _HEADER.size or data[0] >= _LEADING:
        return False
    length, cookie = int.from_bytes(data[2:4], "big"), int.from_bytes(data[4:8], "big")
    return cookie == _COOKIE and length % 4 == 0 and length == len(data) - _HEADER.size


def binding_request(transaction_id: bytes) -> bytes:
    """A Binding request without attributes.

    Args:
        transaction_id: 12 random octets.
    """
    return _HEADER.pack(_REQUEST, 0, _COOKIE, transaction_id)


def binding_success(data: bytes, host: str, port: int) -> bytes | None:
    """The answer to a Binding request; None to what is none.

    Args:
        data: A STUN message.
        host: IP address that it came from.
        port: Its port.
    """
    kind, _, _, transaction_id = _HEADER.unpack_from(data)
    if kind != _REQUEST:
        return None
    packed = ipaddress.ip_address(host).packed
    family = 1 if len(packed) == _FAMILIES[1] else 2
    value = struct.pack("!BBH", 0, family, port ^ (_COOKIE >> 16)) + _masked(packed, transaction_id)
    head = _HEADER.pack(_SUCCESS, _ATTRIBUTE.size + len(value), _COOKIE, transaction_id)
    return head + _ATTRIBUTE.pack(_XOR_MAPPED_ADDRESS, len(value)) + value


def response_to(data: bytes) -> bytes | None:
    """The transaction id that a Binding response answers; None for another message."""
    kind, _, _, transaction_id = _HEADER.unpack_from(data)
    return transaction_id if kind in {_SUCCESS, _ERROR} else None


def mapped_address(data: bytes) -> tuple[str, int] | None:
    """Where the server saw the request come from; None when the response does not say.

    Args:
        data: A STUN message.
    """
    _, _, _, transaction_id = _HEADER.unpack_from(data)
    at = _HEADER.size
    while at + _ATTRIBUTE.size <= len(data):
        kind, length = _ATTRIBUTE.unpack_from(data, at)
        at += _ATTRIBUTE.size
        value = data[at : at + length]
        if kind == _XOR_MAPPED_ADDRESS:
            if len(value) < _ATTRIBUTE.size or _FAMILIES.get(value[1]) != len(value) - 4:
                return None
            port = int.from_bytes(value[2:4], "big") ^ (_COOKIE >> 16)
            return str(ipaddress.ip_address(_masked(value[4:], transaction_id))), port
        at += length + -length % 4
    return None


def _masked(address: bytes, transaction_id: bytes) -> bytes:
    mask = _COOKIE.to_bytes(4, "big") + transaction_id
    return bytes(octet ^ key for octet, key in zip(address, mask, strict=False))
