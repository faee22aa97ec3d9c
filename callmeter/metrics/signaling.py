"""Call timing and call result: what the signalling of one call measures."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum

__all__ = ["CallResult", "CallTimestamps", "CallTiming", "HoldTimes", "call_result"]


class CallResult(StrEnum):
    """What became of an INVITE, by its final status code."""

    ANSWERED = "answered"
    BUSY = "busy"
    REJECTED = "rejected"
    TIMEOUT = "timeout"
    CANCELLED = "cancelled"
    UNAVAILABLE = "unavailable"
    FAILED = "failed"


_BY_STATUS = {
    486: CallResult.BUSY,
    600: CallResult.BUSY,
    403: CallResult.REJECTED,
    603: CallResult.REJECTED,
    408: CallResult.TIMEOUT,
    487: CallResult.CANCELLED,
    480: CallResult.UNAVAILABLE,
    503: CallResult.UNAVAILABLE,
}


def call_result(final_status: int | None) -> CallResult | None:
    """The result a final status code stands for; None before there is one."""
    if final_status is None:
        return None
    if final_status // 100 == 2:  # noqa: PLR2004  every 2xx answers
        return CallResult.ANSWERED
    return _BY_STATUS.get(final_status, CallResult.FAILED)


@dataclass(frozen=True, slots=True, kw_only=True)
class CallTiming:
    """The one-shot timings of a call in milliseconds; None where it did not get that far.

    Attributes:
        time_to_trying_ms: INVITE to 100 (or the first response).
        post_dial_delay_ms: INVITE to ringing, or to early media.
        call_setup_time_ms: INVITE to the 200.
        time_to_first_media_ms: 200 to the first media packet; zero when media was there first.
        call_duration_ms: 200 to the BYE.
    """

    time_to_trying_ms: float | None = None
    post_dial_delay_ms: float | None = None
    call_setup_time_ms: float | None = None
    time_to_first_media_ms: float | None = None
    call_duration_ms: float | None = None

    def metrics(self) -> dict[str, float | None]:
        """The values by catalogue key."""
        return asdict(self)


class CallTimestamps:
    """When the milestones of a call happened, in seconds on one monotonic clock.

    Attributes:
        invite_sent_at: The INVITE was sent; received, on the side of the callee.
        trying_at: The first response came.
        ringing_at: The first 180, or 183 with a session description.
        answer_at: The 200.
        first_rtp_at: The first media packet that could be read.
        bye_at: The BYE, sent or received.
    """

    __slots__ = (
        "answer_at",
        "bye_at",
        "first_rtp_at",
        "invite_sent_at",
        "ringing_at",
        "trying_at",
    )

    def __init__(self) -> None:
        self.invite_sent_at: float | None = None
        self.trying_at: float | None = None
        self.ringing_at: float | None = None
        self.answer_at: float | None = None
        self.first_rtp_at: float | None = None
        self.bye_at: float | None = None

    def timing(self) -> CallTiming:
        """The timings these milestones give so far."""
        return CallTiming(
            time_to_trying_ms=_milliseconds(self.invite_sent_at, self.trying_at),
            post_dial_delay_ms=_milliseconds(self.invite_sent_at, self.ringing_at),
            call_setup_time_ms=_milliseconds(self.invite_sent_at, self.answer_at),
            time_to_first_media_ms=_milliseconds(self.answer_at, self.first_rtp_at),
            call_duration_ms=_milliseconds(self.answer_at, self.bye_at),
        )


def _milliseconds(start: float | None, end: float | None) -> float | None:
    # Early media comes before the answer: no wait, not a negative one.
    return None if start is None or end is None else max(0.0, (end - start) * 1e3)


class HoldTimes:
    """How often and how long a call was on hold (RFC 3264 section 8.4).

    Attributes:
        count: Changes to hold; resuming does not count.
    """

    __slots__ = ("_since", "_total", "count")

    def __init__(self) -> None:
        self.count = 0
        self._since: float | None = None
        self._total = 0.0

    def begin(self, now: float) -> None:
        """The call is on hold from now; nothing changes when it was."""
        if self._since is None:
            self._since = now
            self.count += 1

    def end(self, now: float) -> None:
        """The call was resumed, or ended."""
        self._total = self.total_ms(now)
        self._since = None

    def total_ms(self, now: float) -> float:
        """Milliseconds on hold, a hold that still lasts included."""
        return self._total + (0.0 if self._since is None else (now - self._since) * 1e3)
