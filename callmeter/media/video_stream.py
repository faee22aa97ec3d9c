"""One video stream: what is sent, seen, asked for and measured on top of `RtpStream`.

What is missing is asked for at once, by an early RTCP packet each time: the limits that RFC 4585
section 3.5 sets to the number of early packets are those of `VideoReception`, which asks again
only after a round trip and gives up after some.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from callmeter.errors import LocalProtocolError
from callmeter.media.events import FeedbackReceived
from callmeter.media.ports import widen
from callmeter.media.rtp_stream import RtpStream
from callmeter.media.statistics import VideoStatistics
from callmeter.media.video_receiver import VideoReceiver
from callmeter.media.video_sender import VideoSender
from callmeter.metrics.metric import Direction

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Mapping

    from callmeter.media.events import MediaEvent
    from callmeter.media.statistics import StreamStatistics
    from callmeter.media.video import VideoSink, VideoSource
    from callmeter.media.video_parameters import VideoParameters

    Value = int | float | str | None

__all__ = ["VideoStream"]

POLL_S: Final = 0.02
"""How often what is missing, and who waits for frames, is looked at."""
KEY_FRAME_REQUESTS: Final = ("nack pli", "ccm fir")
"""The first of them that was agreed on asks for a key frame."""


class VideoStream(RtpStream):
    """Video both ways. Made by `MediaEngine.open_video_stream`."""

    patient = False

    _sender: VideoSender
    _receiver: VideoReceiver
    _parameters: VideoParameters | None

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._poll_at: float | None = None
        self._begun_at: float | None = None
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []
        # A key frame is a burst of packets, and a tick comes every 20 ms.
        widen(self._rtp)
        self.measures.add(Direction.SEND, self._send_metrics)
        self.measures.add(Direction.RECEIVE, self._receive_metrics)

    def _new_receiver(self) -> VideoReceiver:
        engine = self._engine
        return VideoReceiver(self._row, engine.lanes, engine.reception, engine.backend, self.tell)

    def _new_sender(self) -> VideoSender:
        return VideoSender(self._row, self._engine)

    def _on_start(self, parameters: VideoParameters) -> None:
        del parameters
        if self._poll_at is None:
            self._begun_at = self._engine.now()
            self._poll_at = self._begun_at + POLL_S

    def _on_stop(self) -> None:
        # Nothing may follow the BYE.
        self._sender.flush()
        self._poll_at = None
        waiting, self._waiting = self._waiting, []
        for _, future in waiting:
            future.cancel()

    # --- the owner's side ---------------------------------------------------------------------

    def play(
        self, source: VideoSource | None, *, seconds: float | None = None
    ) -> asyncio.Future[None]:
        """Send the frames of a source in place of what is sent now; None sends nothing.

        Args:
            source: Whose `prepare` was called, off the event loop.
            seconds: Send no longer than this.

        Returns:
            Done when the source is exhausted or replaced, or the stream is stopped; it raises what
            the source raises.

        Raises:
            LocalProtocolError: The stream is stopped, or the peer does not take the codec.
        """
        if self._final is not None:
            raise LocalProtocolError("the stream is stopped")
        return self._sender.play(source, seconds)

    def attach(self, sink: VideoSink) -> None:
        """Give whole frames to a sink from now on.

        Raises:
            LocalProtocolError: The stream is stopped.
        """
        if self._final is not None:
            raise LocalProtocolError("the stream is stopped")
        self._receiver.view(sink)
        self._ask_for_key_frame()

    def detach(self, sink: VideoSink) -> None:
        """Close a sink that was attached; one that was not is left alone."""
        self._receiver.unview(sink)

    @property
    def received_codec(self) -> str:
        """What arrives is encoded with, which need not be what is sent; empty before."""
        return self._receiver.codec

    def request_key_frame(self) -> None:
        """Ask the peer for a key frame, by PLI or else by FIR.

        Raises:
            LocalProtocolError: Neither was agreed on, or the stream does not run.
        """
        if not self._ask_for_key_frame():
            raise LocalProtocolError("no way to ask the peer for a key frame was agreed on")

    def frames(self, count: int) -> asyncio.Future[None]:
        """Done when so many whole frames have come in all; cancelled when the stream stops.

        Raises:
            LocalProtocolError: The stream is stopped.
        """
        if self._final is not None:
            raise LocalProtocolError("the stream is stopped")
        future = self._engine.future()
        self._waiting.append((count, future))
        return future

    # --- the engine's side --------------------------------------------------------------------

    def tell(self, event: MediaEvent) -> None:
        """Take an event; one that asks for something is answered."""
        if isinstance(event, FeedbackReceived):
            if event.kind == "nack":
                self._sender.send_again(event.lost, self._engine.now())
            elif event.kind in {"pli", "fir"} and not event.repeated:
                self._sender.answer_request(self._engine.now())
        super().tell(event)

    def next_deadline(self) -> float | None:
        """When `on_deadline` has something to do."""
        others = super().next_deadline()
        if self._poll_at is None or others is None:
            return others if self._poll_at is None else self._poll_at
        return min(self._poll_at, others)

    def on_deadline(self, now: float) -> None:
        """End what waited too long, and ask for what is missing."""
        super().on_deadline(now)
        if self._poll_at is None or self._poll_at > now or self._final is not None:
            return
        self._poll_at = now + POLL_S
        receiver, reporter = self._receiver, self._reports.reporter
        if reporter is not None and reporter.schedule.rtt is not None:
            receiver.rtt_s = reporter.schedule.rtt
        lost = receiver.missing(now)
        if lost:
            self._ask("nack", tuple(lost))
        if receiver.needs_key_frame(now):
            self._ask_for_key_frame()
        receiver.show()
        if self._waiting:
            self._tell_waiting(receiver.frames(now))

    def _tell_waiting(self, frames: int) -> None:
        waiting, self._waiting = self._waiting, []
        for count, future in waiting:
            if frames < count and not future.done():
                self._waiting.append((count, future))
            elif not future.done():
                future.set_result(None)

    def on_gap(self, first: int, count: int, now: float) -> None:
        """Packets are missing: they are asked for by `on_deadline`."""
        self._losses.on_gap(first, count, now)
        self._watch()

    def _ask_for_key_frame(self) -> bool:
        return any(self._ask(kind) for kind in KEY_FRAME_REQUESTS)

    def _ask(self, kind: str, lost: tuple[int, ...] = ()) -> bool:
        """Send a feedback message now; False when it was not agreed on."""
        parameters = self._parameters
        if parameters is None or kind not in parameters.feedback or self._final is not None:
            return False
        if parameters.rtcp_destination[1]:
            now = self._engine.now()
            # What waits leaves first, so that there is room.
            self._reports.send(now, early=True)
            self._reports.request(kind, lost)
            self._reports.send(now, early=True)
        return True

    # --- figures ------------------------------------------------------------------------------

    def statistics(self, earlier: StreamStatistics | None = None) -> StreamStatistics:
        """What the stream did so far; bursts of losses are told of audio alone."""
        if self._final is not None:
            return self._final
        return replace(super().statistics(earlier), bursts=None, video=self._video_statistics())

    def _video_statistics(self) -> VideoStatistics:
        now, receiver, parameters = self._engine.now(), self._receiver, self._parameters
        return VideoStatistics(
            seconds=0.0 if self._begun_at is None else now - self._begun_at,
            feedback=frozenset() if parameters is None else parameters.feedback,
            reception=None if receiver.video is None else receiver.video.statistics(now),
            unanswered_s=self._sender.unanswered_s,
        )

    def _send_metrics(self) -> Mapping[str, Value]:
        reporter = self._reports.reporter
        counts = None if reporter is None else reporter.feedback.received
        asked = 0 if counts is None else counts.pli + counts.fir
        return self._sender.metrics(self._engine.now()) | {"keyframe_requests_received": asked}

    def _receive_metrics(self) -> Mapping[str, Value]:
        reporter = self._reports.reporter
        counts = None if reporter is None else reporter.feedback.sent
        asked = 0 if counts is None else counts.pli + counts.fir
        return self._receiver.metrics(self._engine.now()) | {"keyframe_requests_sent": asked}
