"""What a media stream reports: edges, never packets.

Every event is a frozen value with `at`, the loop time in seconds of the packet that caused it
(the kernel's arrival stamp) or of the tick that noticed.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from callmeter.srtp.trial import FailureCause

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator, Callable

__all__ = [
    "AuthenticationFailing",
    "ConsentExpired",
    "DigitReceived",
    "EventLog",
    "FeedbackReceived",
    "FirstPacket",
    "MediaEvent",
    "PeerLeft",
    "ReportReceived",
    "Silent",
    "SourceChanged",
    "SsrcChanged",
]

MAX_KEPT = 256

EventT = TypeVar("EventT")


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaEvent:
    """The root of all media events."""

    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstPacket(MediaEvent):
    """The first RTP packet was accepted (the end of `time_to_first_media_ms`)."""

    source: tuple[str, int]
    ssrc: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SsrcChanged(MediaEvent):
    """The peer's SSRC changed in the running stream (RFC 3550 section 8.2)."""

    previous: int
    ssrc: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceChanged(MediaEvent):
    """Media now comes from another address than before; a symmetric stream sends there too."""

    previous: tuple[str, int]
    source: tuple[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class DigitReceived(MediaEvent):
    """A DTMF digit was heard (RFC 4733); once per key press."""

    digit: str
    duration_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Silent(MediaEvent):
    """No packet came for a while though the peer should send; once per gap."""

    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthenticationFailing(MediaEvent):
    """A run of packets failed SRTP authentication with no good one between; once per run.

    Attributes:
        count: Failures in a row.
        cause: What a trial of one of them says.
    """

    count: int
    cause: FailureCause

    @property
    def looks_like_plain_rtp(self) -> bool:
        """Whether the packets have the length of unencrypted audio of this codec."""
        return self.cause is FailureCause.PLAIN_RTP


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportReceived(MediaEvent):
    """An RTCP sender or receiver report came (RFC 3550 section 6.4).

    Attributes:
        rtt_s: Round trip from LSR and DLSR, or None when the peer has no SR of ours yet.
        fraction_lost: Loss of our packets since the previous report, 0 to 1; None: no block.
        jitter_s: Jitter of our packets at the peer, seconds; None: no block.
    """

    rtt_s: float | None
    fraction_lost: float | None
    jitter_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedbackReceived(MediaEvent):
    """An RTCP feedback message about the own stream came (RFC 4585).

    Attributes:
        kind: `"nack"`, `"pli"`, `"fir"` or `"sli"`.
        lost: Sequence numbers that a NACK names.
        repeated: It is a FIR that came before, with the same number.
    """

    kind: str
    lost: tuple[int, ...] = ()
    repeated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerLeft(MediaEvent):
    """An RTCP BYE came for the stream (RFC 3550 section 6.6)."""

    ssrc: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsentExpired(MediaEvent):
    """A peer that used to check its pair has stopped to: it wants no more media (RFC 7675).

    Attributes:
        peer: The pair's remote end.
        seconds: How long nothing was heard.
    """

    peer: tuple[str, int]
    seconds: float


class EventLog(Generic[EventT]):
    """The last 256 events of something; readers never hold one up and start with the oldest.

    Args:
        future: Makes the futures readers wait on, usually `loop.create_future`.
    """

    __slots__ = ("_closed", "_count", "_events", "_future", "_waiters")

    def __init__(self, future: Callable[[], asyncio.Future[None]]) -> None:
        self._events: deque[EventT] = deque(maxlen=MAX_KEPT)
        self._count = 0
        self._closed = False
        self._future = future
        self._waiters: list[tuple[asyncio.Future[None], tuple[type, ...]]] = []

    def append(self, event: EventT) -> None:
        """Keep an event and wake the readers."""
        self._events.append(event)
        self._count += 1
        if self._waiters:
            self._wake(event)

    def close(self) -> None:
        """End every reader once it has read what is kept."""
        self._closed = True
        self._wake(None)

    async def read(self, *, unmoved_by: tuple[type, ...] = ()) -> AsyncIterator[EventT]:
        """Yield the kept events, then each new one, until the log is closed.

        Args:
            unmoved_by: Kinds of events that do not wake the reader; it gets them with the next
                other one, if they are still kept.
        """
        position = 0
        while True:
            kept_from = self._count - len(self._events)
            position = max(position, kept_from)
            if position < self._count:
                event = self._events[position - kept_from]
                position += 1
                yield event
            elif self._closed:
                return
            else:
                waiter = self._future()
                self._waiters.append((waiter, unmoved_by))
                await waiter

    def _wake(self, event: EventT | None) -> None:
        waiting, self._waiters = self._waiters, []
        for waiter, unmoved_by in waiting:
            if isinstance(event, unmoved_by):
                self._waiters.append((waiter, unmoved_by))
            elif not waiter.done():
                waiter.set_result(None)
