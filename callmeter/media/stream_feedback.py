"""The feedback of one stream: what is missing, what waits to be said, what was said (RFC 4585)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from callmeter.errors import LocalProtocolError
from callmeter.rtp.early_feedback import EarlyFeedback
from callmeter.rtp.feedback import (
    FeedbackCounts,
    FullIntraRequest,
    GenericNack,
    IntraRequest,
    PictureLossIndication,
    SliceLoss,
    SliceLossIndication,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from callmeter.rtp.feedback import Feedback
    from callmeter.rtp.report_schedule import ReportSchedule
    from callmeter.rtp.stream_table import StreamTable

__all__ = ["StreamFeedback"]

REORDERED_S: Final = 0.02
"""A packet that is late by no more than this was overtaken, not lost."""
MAX_AGE_S: Final = 0.5
"""Audio that is missing for longer is of no use any more."""
MAX_GAPS: Final = 64
MAX_QUEUED: Final = 16
MAX_SENDERS: Final = 16
"""Whose last full intra request is remembered; the newest count."""


class _Gap(NamedTuple):
    first: int
    length: int
    noticed: float
    ssrc: int


class StreamFeedback:
    """Knows nothing of sockets and keys; `StreamRtcp` sends what `take` gives.

    Args:
        row: The stream's row.
        reception: Received streams.
        entropy: Random octets, for the dither in groups.

    Attributes:
        sent, received: Messages by kind; those received are about the own stream.
        due: When `take` is to be called, None while nothing waits or a report takes it along.
    """

    __slots__ = (
        "_agreed",
        "_early",
        "_gaps",
        "_intra_heard",
        "_intra_requests",
        "_queued",
        "_reception",
        "_row",
        "due",
        "received",
        "sent",
    )

    def __init__(self, row: int, reception: StreamTable, entropy: Callable[[int], bytes]) -> None:
        self._row = row
        self._reception = reception
        self._early = EarlyFeedback(entropy)
        self._agreed: frozenset[str] = frozenset()
        self._gaps: list[_Gap] = []
        self._queued: list[Feedback] = []
        self._intra_requests = 0
        self._intra_heard: dict[int, int] = {}
        self.sent = FeedbackCounts()
        self.received = FeedbackCounts()
        self.due: float | None = None

    @property
    def _media(self) -> int:
        """The peer's SSRC; all ones before its first packet."""
        return int(self._reception.ssrc[self._row]) & 0xFFFF_FFFF

    def start(self, agreed: frozenset[str]) -> None:
        """Take what was negotiated: the words after the payload type in a=rtcp-fb."""
        self._agreed = agreed

    def on_gap(self, first: int, count: int, now: float, schedule: ReportSchedule) -> None:
        """Packets are missing, from this number (with its cycles) on."""
        if "nack" in self._agreed and len(self._gaps) < MAX_GAPS:
            self._gaps.append(_Gap(first, count, now, self._media))
            self._plan(now + REORDERED_S, schedule)

    def request(
        self, kind: str, own: int, now: float, schedule: ReportSchedule, lost: tuple[int, ...]
    ) -> None:
        """Say something on purpose.

        Args:
            kind: `"nack"`, `"nack pli"`, `"nack sli"` or `"ccm fir"`.
            own: The own SSRC.
            now: Loop time.
            schedule: When the next regular report is due.
            lost: Sequence numbers, for `"nack"` alone.

        Raises:
            LocalProtocolError: It was not agreed on, too many wait already, or a NACK names
                nothing.
        """
        if kind not in self._agreed:
            raise LocalProtocolError(f"the peer did not agree to a=rtcp-fb {kind!r}")
        if (kind == "nack") != bool(lost):
            raise LocalProtocolError("a NACK names packets, and nothing else does")
        if len(self._queued) >= MAX_QUEUED:
            raise LocalProtocolError(f"{MAX_QUEUED} feedback messages wait already")
        media = self._media
        message: Feedback
        match kind:
            case "nack":
                message = GenericNack(own, media, lost)
            case "nack pli":
                message = PictureLossIndication(own, media)
            case "nack sli":
                message = SliceLossIndication(own, media, (SliceLoss(0, 1, 0),))
            case _:
                request = IntraRequest(media, self._intra_requests % 256)
                message = FullIntraRequest(own, (request,))
                self._intra_requests += 1
        self._queued.append(message)
        self._plan(now, schedule)

    def _plan(self, now: float, schedule: ReportSchedule) -> None:
        next_report = schedule.next_deadline()
        if self.due is None and next_report is not None:
            self.due = self._early.due_at(
                now,
                interval=schedule.feedback_interval,
                members=schedule.members,
                next_report=next_report,
            )

    def repeats(self, message: Feedback, own: int) -> bool:
        """Whether it asks once more for the key frame that its sender has asked for before.

        A full intra request may be sent again, and keeps its number: who receives it has to answer
        it once (RFC 5104 section 4.3.1.2).

        Args:
            message: One that came, about the own stream.
            own: The own SSRC.
        """
        if not isinstance(message, FullIntraRequest):
            return False
        heard, before = self._intra_heard, self._intra_heard.pop(message.sender, None)
        number = next(each.sequence for each in message.requests if each.ssrc == own)
        heard[message.sender] = number
        if len(heard) > MAX_SENDERS:
            del heard[next(iter(heard))]
        return number == before

    def take(self, own: int, now: float) -> tuple[Feedback, ...]:
        """What is to be said now; nothing waits afterwards.

        Args:
            own: The own SSRC.
            now: Loop time.
        """
        gaps, messages = self._gaps, self._queued
        self._gaps, self._queued, self.due = [], [], None
        lost = [
            number
            for gap in gaps
            if now - gap.noticed <= MAX_AGE_S and gap.ssrc == self._media
            for number in self._reception.still_missing(self._row, gap.first, gap.length)
        ]
        if lost:
            messages.insert(0, GenericNack(own, self._media, tuple(lost)))
        return tuple(messages)

    def on_sent(
        self, messages: tuple[Feedback, ...], now: float, schedule: ReportSchedule, *, early: bool
    ) -> None:
        """They have left, with a regular report or before it."""
        for message in messages:
            self.sent.note(message)
        if early:
            self._early.on_early(now, schedule.feedback_interval)
        else:
            self._early.on_regular()
