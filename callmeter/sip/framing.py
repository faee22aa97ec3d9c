"""Messages out of a stream of octets: TCP and TLS (RFC 3261 section 18.3, RFC 5626)."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from callmeter.errors import SipSyntaxError
from callmeter.sip.parser import DEFAULT_LIMITS, Head, ParserLimits, usual_message

if TYPE_CHECKING:
    from callmeter.sip.message import Request, Response

__all__ = ["KeepAlive", "StreamFramer"]


class KeepAlive(Enum):
    """Line breaks between messages (RFC 5626 section 4.4.1)."""

    PING = "ping"
    """A double CRLF: the peer wants a single CRLF back."""
    PONG = "pong"
    """A single CRLF: the answer to a ping. It is never answered."""


class StreamFramer:
    """Cuts one connection's octets into messages.

    How the octets are chunked makes no difference, except that a chunk of exactly one CRLF
    is a pong at once, while the first half of a ping that arrives octet by octet is held
    until the next octet tells which it is.

    Args:
        limits: What is refused; nothing is kept of what is over a limit.

    Attributes:
        error: What `feed` raises as soon as it is called again, or None: a chunk held good
            messages and then a bad one.
        in_sync: Whether the stream can be read on after an error. False means that the end
            of the bad message is not known: answer `error.partial` if there is one, and close.
    """

    __slots__ = ("_buffer", "_head", "_length", "_limits", "_searched", "error", "in_sync")

    def __init__(self, limits: ParserLimits = DEFAULT_LIMITS) -> None:
        self._limits = limits
        self._buffer = bytearray()
        self._searched = 0
        self._head: Head | None = None
        self._length = 0
        self.error: SipSyntaxError | None = None
        self.in_sync = True

    @property
    def pending(self) -> bool:
        """Whether a message has begun and not ended: the shell limits how long that lasts."""
        return self._head is not None or bool(self._buffer.strip(b"\r\n"))

    def feed(self, data: bytes) -> list[Request | Response | KeepAlive]:
        """Take octets and give the messages and line breaks they complete, in order.

        Args:
            data: What was read. Empty only looks for more in what was fed before.

        Raises:
            SipSyntaxError: A message is bad; see `in_sync` for what can be done.
        """
        if self.error is not None:
            error = self.error
            if self.in_sync:
                self.error = None
                self._buffer += data
            raise error
        if not self._buffer and self._head is None:
            if data == b"\r\n":
                return [KeepAlive.PONG]
            message = usual_message(bytes(data), self._limits)
            if message is not None:
                return [message]
        self._buffer += data
        found: list[Request | Response | KeepAlive] = []
        try:
            while (item := self._next()) is not None:
                found.append(item)
        except SipSyntaxError as error:
            if found or not self.in_sync:
                self.error = error
            if not found:
                raise
        return found

    def _next(self) -> Request | Response | KeepAlive | None:
        if self._head is None:
            if self._buffer[:1] == b"\r":
                return self._line_breaks()
            if not self._read_head():
                return None
        return self._read_body()

    def _line_breaks(self) -> KeepAlive | None:
        buffer = self._buffer
        if buffer[:4] == b"\r\n\r\n":
            del buffer[:4]
            return KeepAlive.PING
        if b"\r\n\r\n".startswith(buffer):
            return None
        if buffer[:2] == b"\r\n":
            del buffer[:2]
            return KeepAlive.PONG
        self._lose()
        raise SipSyntaxError("a CR alone", rfc="RFC 3261 section 7", excerpt=bytes(buffer[:80]))

    def _read_head(self) -> bool:
        buffer, limits = self._buffer, self._limits
        end = buffer.find(b"\r\n\r\n", self._searched)
        if end < 0 and len(buffer) <= limits.head + 3:
            self._searched = max(0, len(buffer) - 3)
            return False
        try:
            self._head, self._length = _read_head(buffer, end, limits)
        except SipSyntaxError:
            self._lose()
            raise
        del buffer[: end + 4]
        self._searched = 0
        return True

    def _read_body(self) -> Request | Response | None:
        buffer, head = self._buffer, self._head
        if head is None or len(buffer) < self._length:
            return None
        body = bytes(buffer[: self._length])
        del buffer[: self._length]
        self._head = None
        return head.message(body)

    def _lose(self) -> None:
        self.in_sync = False
        self._buffer = bytearray()


def _read_head(buffer: bytearray, end: int, limits: ParserLimits) -> tuple[Head, int]:
    if end < 0 or end > limits.head:
        cut = bytes(buffer[: limits.head])
        head = Head(cut[: max(cut.rfind(b"\r\n"), 0)] or cut, limits)
        raise head.error("the headers are too long", status=513)
    head = Head(bytes(buffer[:end]), limits)
    length = head.content_length()
    if length is None:
        raise head.error("no Content-Length on a stream", rfc="RFC 3261 section 20.14")
    if end + 4 + length > limits.message:
        raise head.error("the message is too long", status=513)
    return head, length
