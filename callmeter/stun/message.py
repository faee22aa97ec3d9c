"""Binding requests of connectivity checks and their answers (RFC 8489, RFC 8445 section 7).

The messages are aioice's. It reads what it is given in good faith; a media port takes datagrams of
anybody, so the structure is checked here before, and only what MESSAGE-INTEGRITY covers counts.
"""

from __future__ import annotations

import hmac
import struct
from dataclasses import dataclass, field
from typing import Final

from aioice import stun

__all__ = ["MAX_ATTRIBUTES", "BindingRequest", "error_response", "read_request", "success_response"]

MAX_ATTRIBUTES: Final = 32
REASONS: Final = {
    400: "Bad Request",
    401: "Unauthorized",
    420: "Unknown Attribute",
    487: "Role Conflict",
}

_HEAD: Final = struct.Struct("!HHI12s")
_ATTRIBUTE: Final = struct.Struct("!HH")
_REQUEST: Final = stun.Method.BINDING | stun.Class.REQUEST
_MESSAGE_INTEGRITY: Final = 0x0008
_UNKNOWN_ATTRIBUTES: Final = 0x000A
_OPTIONAL: Final = 0x8000
"""Attributes from here on may be ignored by who does not know them (RFC 8489 section 14)."""


@dataclass(frozen=True, slots=True)
class BindingRequest:
    """A Binding request that is well-formed; whether it is authentic is another question.

    Attributes:
        transaction_id: What an answer repeats.
        username: `"ours:theirs"`, None when there is none under MESSAGE-INTEGRITY.
        priority: What the sender gives the pair, 0 when it does not say.
        use_candidate: It nominates the pair (RFC 8445 section 7.1.2).
        controlled: Its sender takes the role that is ours (RFC 8445 section 7.3.1.1).
        unknown: Attributes that have to be understood and are not.
    """

    transaction_id: bytes
    username: str | None = None
    priority: int = 0
    use_candidate: bool = False
    controlled: bool = False
    unknown: tuple[int, ...] = ()
    _covered: bytes | None = field(default=None, repr=False)
    _integrity: bytes = field(default=b"", repr=False)

    @property
    def signed(self) -> bool:
        """Whether there is a MESSAGE-INTEGRITY."""
        return self._covered is not None

    def is_authentic(self, key: bytes) -> bool:
        """Whether MESSAGE-INTEGRITY was made with this key (RFC 8489 section 14.5)."""
        if self._covered is None:
            return False
        return hmac.compare_digest(stun.message_integrity(self._covered, key), self._integrity)


def read_request(data: bytes) -> BindingRequest | None:
    """The Binding request that a datagram is; None for all else."""
    if len(data) < _HEAD.size or data[:2] != _REQUEST.to_bytes(2, "big"):
        return None
    _, length, cookie, transaction_id = _HEAD.unpack_from(data)
    if cookie != stun.COOKIE or length % 4 or length != len(data) - _HEAD.size:
        return None
    found = _attributes(data)
    if found is None:
        return None
    try:
        values = stun.parse_message(data).attributes
    except (ValueError, struct.error):
        return None
    signed_at = next((at for kind, at in found if kind == _MESSAGE_INTEGRITY), None)
    before = [kind for kind, at in found if signed_at is None or at < signed_at]
    names = {stun.ATTRIBUTES_BY_TYPE[kind][1] for kind in before if _is_known(kind)}
    return BindingRequest(
        transaction_id,
        username=values["USERNAME"] if "USERNAME" in names else None,
        priority=values["PRIORITY"] if "PRIORITY" in names else 0,
        use_candidate="USE-CANDIDATE" in names,
        controlled="ICE-CONTROLLED" in names,
        unknown=tuple(kind for kind in before if kind < _OPTIONAL and not _is_known(kind)),
        _covered=None if signed_at is None else data[:signed_at],
        _integrity=values.get("MESSAGE-INTEGRITY", b""),
    )


def success_response(request: BindingRequest, source: tuple[str, int], key: bytes) -> bytes:
    """The answer to a check: where it came from, signed (RFC 8445 section 7.3.1.2).

    Args:
        request: What is answered.
        source: IP address and port it came from.
        key: Own password.
    """
    message = stun.Message(
        stun.Method.BINDING,
        stun.Class.RESPONSE,
        request.transaction_id,
        {"XOR-MAPPED-ADDRESS": source},
    )
    return _sealed(bytes(message), key)


def error_response(request: BindingRequest, status: int, key: bytes | None = None) -> bytes:
    """Refuse a request with one of `REASONS`.

    Args:
        request: What is answered.
        status: 400, 401, 420 or 487.
        key: Own password, None where the request did not prove that it knows it.
    """
    message = stun.Message(
        stun.Method.BINDING,
        stun.Class.ERROR,
        request.transaction_id,
        {"ERROR-CODE": (status, REASONS[status])},
    )
    data = bytes(message)
    if request.unknown:
        kinds = b"".join(kind.to_bytes(2, "big") for kind in request.unknown)
        data = _with(data, _UNKNOWN_ATTRIBUTES, kinds)
    return _sealed(data, key)


def _sealed(data: bytes, key: bytes | None) -> bytes:
    """With MESSAGE-INTEGRITY, if there is a key, and FINGERPRINT."""
    if key is not None:
        data = _with(data, _MESSAGE_INTEGRITY, stun.message_integrity(data, key))
    fingerprint = stun.ATTRIBUTES_BY_NAME["FINGERPRINT"][0]
    return _with(data, fingerprint, stun.message_fingerprint(data).to_bytes(4, "big"))


def _with(data: bytes, kind: int, value: bytes) -> bytes:
    """A message with one more attribute."""
    data += _ATTRIBUTE.pack(kind, len(value)) + value + bytes(-len(value) % 4)
    return stun.set_body_length(data, len(data) - _HEAD.size)


def _is_known(kind: int) -> bool:
    return kind in stun.ATTRIBUTES_BY_TYPE


def _attributes(data: bytes) -> list[tuple[int, int]] | None:
    """Types and places; None where they do not fill the message or a known one comes twice."""
    found: list[tuple[int, int]] = []
    seen: set[int] = set()
    at = _HEAD.size
    while at < len(data):
        # The length of a message is a multiple of four: there is room for the next head.
        kind, length = _ATTRIBUTE.unpack_from(data, at)
        if kind in seen or len(found) == MAX_ATTRIBUTES:
            return None
        if _is_known(kind):
            seen.add(kind)
        found.append((kind, at))
        at += _ATTRIBUTE.size + length + -length % 4
    return found if at == len(data) else None
