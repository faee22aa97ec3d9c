"""The SIP messages of an endpoint, in order, bounded, secrets removed."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from callmeter.errors import SipSyntaxError
from callmeter.sip.message import Request, Response
from callmeter.sip.parser import parse_message
from callmeter.trace.redaction import filled, redact

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["LoggedMessage", "MessageLog", "Selection"]

MAX_ENTRIES: Final = 10_000
MAX_OCTETS: Final = 32 * 1024 * 1024

_CALL_ID: Final = re.compile(
    rb"[\r\n](?:call-id|i)[ \t]*+:(?:[ \t]|\r?\n[ \t])*+(\S++)", re.IGNORECASE
)
_CONTENT_LENGTH: Final = re.compile(
    rb"([\r\n](?:content-length|l)[ \t]*+:\s*+)([0-9]{1,9})", re.IGNORECASE
)
_HEAD_END: Final = re.compile(rb"\n\r?\n")


@dataclass(frozen=True, slots=True)
class LoggedMessage:
    """One message as it was sent or received.

    Attributes:
        time: When, in seconds of the event loop's clock.
        direction: `"sent"` or `"received"`.
        transport: `"UDP"`, `"TCP"`, `"TLS"`, `"WS"` or `"WSS"`.
        local: Own address, `"192.0.2.1:5060"`.
        peer: The other end's address.
        raw: Its octets; without secrets unless the log was told to keep them.
        call_id: Its Call-ID, empty when it has none.
        wall: Seconds since 1970, None when nobody asked the wall clock.
        shortened: Octets by which redaction shortened the body.
    """

    time: float
    direction: str
    transport: str
    local: str
    peer: str
    raw: bytes = field(repr=False)
    call_id: str = ""
    wall: float | None = None
    shortened: int = field(default=0, repr=False)
    _parsed: list[Request | Response | None] = field(
        default_factory=list, init=False, repr=False, compare=False
    )

    def __str__(self) -> str:
        way = f"{self.direction} {self.transport} {self.sender} -> {self.receiver}"
        when = f"{self.time:.6f}"
        if self.wall is not None:
            when = datetime.fromtimestamp(self.wall, UTC).isoformat(timespec="microseconds")
        return f"--- {when} {way}\n" + self.text.replace("\r\n", "\n")

    @property
    def message(self) -> Request | Response | None:
        """The message parsed, None when it cannot be; parsed at the first asking."""
        if not self._parsed:
            try:
                self._parsed.append(parse_message(self._consistent()))
            except SipSyntaxError:
                self._parsed.append(None)
        return self._parsed[0]

    @property
    def text(self) -> str:
        """The message as text, without secrets even where the log kept them."""
        return redact(self.raw).decode("utf-8", "replace")

    @property
    def start_line(self) -> str:
        """Its first line, without secrets."""
        return self.text.partition("\n")[0].rstrip("\r")

    @property
    def sender(self) -> str:
        """Address it came from."""
        return self.local if self.direction == "sent" else self.peer

    @property
    def receiver(self) -> str:
        """Address it went to."""
        return self.peer if self.direction == "sent" else self.local

    @property
    def filled(self) -> bytes:
        """The octets for other programs to read: stand-ins where keys were, lengths that fit.

        Without secrets even where the log kept them.
        """
        octets = len(_split(self.raw)[1]) + self.shortened
        head, body = _split(filled(redact(self.raw)))
        return _with_length(head, octets - len(body)) + body

    def _consistent(self) -> bytes:
        """The octets with a Content-Length that is as right, or wrong, as it was on the wire."""
        if not self.shortened:
            return self.raw
        head, body = _split(self.raw)
        return _with_length(head, self.shortened) + body


def _with_length(head: bytes, shortened: int) -> bytes:
    """The head of a message whose body lost so many octets."""
    return _CONTENT_LENGTH.sub(
        lambda found: found[1] + b"%d" % max(0, int(found[2]) - shortened), head
    )


def _split(raw: bytes) -> tuple[bytes, bytes]:
    """Head with its empty line, and body."""
    end = _HEAD_END.search(raw)
    at = end.end() if end else len(raw)
    return raw[:at], raw[at:]


def _find_call_id(raw: bytes) -> str:
    found = _CALL_ID.search(_split(raw)[0])
    return found[1].decode("utf-8", "surrogateescape") if found else ""


class _Filters(Iterable[LoggedMessage]):
    """Ways to pick messages; each gives a `Selection`, so they can be chained."""

    __slots__ = ()

    def of_call(self, call_id: str) -> Selection:
        """The messages with this Call-ID."""
        return Selection(entry for entry in self if entry.call_id == call_id)

    def requests(self, method: str | None = None) -> Selection:
        """The requests, or those of one method."""
        return Selection(
            entry
            for entry in self
            if isinstance(entry.message, Request) and method in {None, entry.message.method}
        )

    def responses(self, status: int | None = None) -> Selection:
        """The responses, or those of one status code."""
        return Selection(
            entry
            for entry in self
            if isinstance(entry.message, Response) and status in {None, entry.message.status}
        )

    def sent(self) -> Selection:
        """The messages this side sent."""
        return Selection(entry for entry in self if entry.direction == "sent")

    def received(self) -> Selection:
        """The messages this side received."""
        return Selection(entry for entry in self if entry.direction == "received")

    def to_text(self) -> str:
        """All messages as text with a line of origin before each, without secrets."""
        return "\n".join(map(str, self))


class Selection(tuple[LoggedMessage, ...], _Filters):
    """Messages picked from a log."""

    __slots__ = ()


class MessageLog(_Filters):
    """The last messages of an endpoint.

    Args:
        entries: How many are kept; the oldest go first.
        octets: How many octets they may hold together.
        redact: False keeps secrets in `raw`; `text` never shows them.

    Attributes:
        dropped: Messages that had to go.
    """

    __slots__ = ("_by_call", "_kept", "_octets", "_redact", "_room", "dropped")

    def __init__(
        self, entries: int = MAX_ENTRIES, *, octets: int = MAX_OCTETS, redact: bool = True
    ) -> None:
        self._kept: deque[LoggedMessage] = deque()
        self._by_call: dict[str, list[LoggedMessage]] = {}
        self._room = (entries, octets)
        self._octets = 0
        self._redact = redact
        self.dropped = 0

    def add(
        self,
        *,
        raw: bytes,
        time: float,
        direction: str,
        transport: str,
        local: str,
        peer: str,
        message: Request | Response | None = None,
        wall: float | None = None,
    ) -> LoggedMessage:
        """Log one message.

        Args:
            raw: Its octets.
            time: When, in seconds of the event loop's clock.
            direction: Which way it went.
            transport: How.
            local: Own address.
            peer: The other end's address.
            message: The same message parsed, if it is at hand: saves looking for its Call-ID.
                It is not kept, for it changes on its way and has its secrets in it.
            wall: Seconds since 1970, if known.

        Returns:
            The entry.
        """
        kept, shortened = raw, 0
        if self._redact:
            kept = redact(raw)
            if kept != raw:
                shortened = len(_split(raw)[1]) - len(_split(kept)[1])
        call_id = _find_call_id(raw) if message is None else message.headers.get("Call-ID") or ""
        entry = LoggedMessage(
            time, direction, transport, local, peer, kept, call_id, wall, shortened
        )
        self._kept.append(entry)
        self._by_call.setdefault(call_id, []).append(entry)
        self._octets += len(kept)
        entries, octets = self._room
        while len(self._kept) > entries or self._octets > octets:
            self._drop_oldest()
        return entry

    def _drop_oldest(self) -> None:
        oldest = self._kept.popleft()
        self._octets -= len(oldest.raw)
        self.dropped += 1
        of_its_call = self._by_call[oldest.call_id]
        del of_its_call[0]
        if not of_its_call:
            del self._by_call[oldest.call_id]

    def of_call(self, call_id: str) -> Selection:
        """The messages with this Call-ID; as cheap in a full log as in an empty one."""
        return Selection(self._by_call.get(call_id, ()))

    def clear(self) -> None:
        """Forget all messages; `dropped` stays."""
        self._kept.clear()
        self._by_call.clear()
        self._octets = 0

    def __iter__(self) -> Iterator[LoggedMessage]:
        return iter(tuple(self._kept))

    def __len__(self) -> int:
        return len(self._kept)

    def __getitem__(self, index: int) -> LoggedMessage:
        return self._kept[index]

    def __repr__(self) -> str:
        return f"<MessageLog {len(self)} messages, {self.dropped} dropped>"
