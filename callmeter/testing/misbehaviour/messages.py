"""Wrong SIP messages and session descriptions: octets in, octets out.

A message is altered as it would be on its way, so one that is sent again is altered the same way.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Final

from callmeter.sip.message import Response
from callmeter.testing.misbehaviour.kinds import SUITE_SPELLING, Misbehaviour

if TYPE_CHECKING:
    from collections.abc import Callable

    from callmeter.sip.message import Message

__all__ = ["MessageFault"]

NOTHING: Final = b"\r\n\r\n"
"""A keep-alive (RFC 5626 section 3.5.1) in place of a message that is lost."""
SUCCESS: Final = 200
_HEAD_END: Final = b"\r\n\r\n"
_CONTENT_LENGTH: Final = re.compile(rb"(?<=\r\nContent-Length: )[0-9]+")
_KEY: Final = re.compile(rb"(?<=inline:)([A-Za-z0-9+/]+)(=*)")
_FINGERPRINT: Final = re.compile(rb"(a=fingerprint:\S+ )([0-9A-Fa-f]{2})")
_FINGERPRINT_LINE: Final = re.compile(rb"a=fingerprint:[^\r\n]*\r\n")
_PROTOCOL: Final = re.compile(rb"(?m)(^m=audio [0-9]+ )(?:RTP/S?AVP)(?=F? )")
_SETUP: Final = re.compile(rb"(?<=a=setup:)[a-z]+")
_INFORMATION: Final = re.compile(rb"(?<=inline:)([A-Za-z0-9+/=]+)(?![|A-Za-z0-9+/=])")
_MIDDLE: Final = 10
"""Which character of a key is altered: one that carries six bits of it."""


class MessageFault:
    """What is wrong with the messages of one endpoint.

    Args:
        kind: What it does wrong.
        amount: How much of it.
    """

    def __init__(self, kind: Misbehaviour, amount: float) -> None:
        self._kind = kind
        self._amount = int(amount)
        self._lost: Counter[str] = Counter()
        self._first: dict[str, bytes] = {}

    def write(self, message: Message) -> bytes:
        """The octets of a message, with the fault in them."""
        data = message.to_bytes()
        head, end, body = data.partition(_HEAD_END)
        if not body.startswith(b"v=0"):
            return data
        if self._is_lost(message):
            return NOTHING
        if self._kind is Misbehaviour.CONTENT_LENGTH:
            length = max(0, len(body) + self._amount)
            return _with_length(head, length) + end + body
        body = self._describe(message.call_id, body)
        return _with_length(head, len(body)) + end + body

    def _is_lost(self, message: Message) -> bool:
        if self._kind is not Misbehaviour.LATE_ANSWER:
            return False
        if not isinstance(message, Response) or message.status != SUCCESS:
            return False
        self._lost[message.call_id] += 1
        return self._lost[message.call_id] <= self._amount

    def _describe(self, call_id: str, body: bytes) -> bytes:
        match self._kind:
            case Misbehaviour.TRUNCATED_KEY:
                cut = -self._amount
                return _KEY.sub(lambda key: (key[1] + key[2])[:cut], body)
            case Misbehaviour.EXPIRED_LIFETIME:
                return _INFORMATION.sub(rb"\1|2^%d" % self._amount, body)
            case Misbehaviour.LARGE_MESSAGES:
                return body + b"a=x-padding:" + b"x" * self._amount + b"\r\n"
            case Misbehaviour.IGNORED_REKEY:
                # The first description has the key that stays in use.
                first = self._first.setdefault(call_id, body)
                return body if body == first else _KEY.sub(_other_key, body)
            case kind:
                change = _CHANGES.get(kind)
                return body if change is None else change(body)


def _with_length(head: bytes, length: int) -> bytes:
    return _CONTENT_LENGTH.sub(b"%d" % length, head)


def _other_key(key: re.Match[bytes]) -> bytes:
    """The same key with one character altered."""
    text = key[1]
    other = b"A" if text[_MIDDLE : _MIDDLE + 1] != b"A" else b"B"
    return text[:_MIDDLE] + other + text[_MIDDLE + 1 :] + key[2]


def _other_fingerprint(found: re.Match[bytes]) -> bytes:
    return found[1] + (b"00" if found[2] != b"00" else b"01")


def _both_active(body: bytes) -> bytes:
    return _SETUP.sub(lambda setup: b"passive" if setup[0] == b"active" else setup[0], body)


_CHANGES: Final[dict[Misbehaviour, Callable[[bytes], bytes]]] = {
    Misbehaviour.WRONG_FINGERPRINT: lambda body: _FINGERPRINT.sub(_other_fingerprint, body),
    Misbehaviour.MISSING_FINGERPRINT: lambda body: _FINGERPRINT_LINE.sub(b"", body),
    Misbehaviour.ALTERED_KEY: lambda body: _KEY.sub(_other_key, body),
    Misbehaviour.UNPADDED_KEY: lambda body: _KEY.sub(rb"\1", body),
    Misbehaviour.MISSPELT_SUITE: lambda body: body.replace(
        SUITE_SPELLING[0].encode(), SUITE_SPELLING[1].encode()
    ),
    Misbehaviour.WRONG_PROFILE: lambda body: _PROTOCOL.sub(rb"\1UDP/TLS/RTP/SAVP", body),
    Misbehaviour.BOTH_ACTIVE: _both_active,
    Misbehaviour.BOTH_PASSIVE: lambda body: _SETUP.sub(b"active", body),
    Misbehaviour.MISSING_MKI: lambda body: _INFORMATION.sub(rb"\1|1:4", body),
}
