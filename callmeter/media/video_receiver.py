"""The receiving side of one video stream: packets become frames that are counted.

Every packet is judged alone, as `StreamReceiver` does: video is not for batches. Nothing is
decoded; whole frames are put together only while somebody wants them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from callmeter.errors import RtpSyntaxError
from callmeter.media.receiver import REPLAYED, StreamReceiver
from callmeter.media.video import EncodedFrame
from callmeter.rtp import h264, vp8
from callmeter.rtp.header import payload_bounds
from callmeter.rtp.video_reception import VideoReception

if TYPE_CHECKING:
    from collections.abc import Hashable
    from types import ModuleType

    from callmeter.media.parameters import RtpParameters
    from callmeter.media.video import VideoSink
    from callmeter.rtp.header import RtpHeader

    Values = dict[str, int | float | str | None]

__all__ = ["VideoReceiver"]

CODECS: Final[dict[str, ModuleType]] = {"VP8": vp8, "H264": h264}
COUNTERS: Final = (
    "frames_received",
    "keyframes_received",
    "freeze_count",
    "freeze_duration_ms",
)
"""Figures that go on when the source or the codec changes."""
USUAL_RTT_S: Final = 0.1


class VideoReceiver(StreamReceiver):
    """A `StreamReceiver` of video.

    Attributes:
        video: The frames of the present source; None before its first packet.
        codec: What they are encoded with.
        malformed_frames: Frames that came whole and cannot be put together.
    """

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.video: VideoReception | None = None
        self.codec = ""
        self.rtt_s = USUAL_RTT_S
        self.malformed_frames = 0
        self._viewers: tuple[VideoSink, ...] = ()
        self._of: tuple[int, str] | None = None
        self._nack = False
        self._earlier: dict[str, int | float] = dict.fromkeys(COUNTERS, 0)
        self._unlike = 0

    def start(self, parameters: RtpParameters, source: Hashable, now: float) -> None:
        """Take what was negotiated, for the first time or again."""
        super().start(parameters, source, now)
        self._nack = "nack" in parameters.feedback
        if self.video is not None:
            self.video.nack = self._nack
            if not parameters.receive:
                # Who is on hold sees no picture that stands still.
                self.video.pause()

    def _take(self, header: RtpHeader, arrival: float, payload: bytes, codec: str) -> None:
        if (header.ssrc, codec) != self._of:
            self._follow(header.ssrc, codec, arrival)
        video = self.video
        if video is not None:
            video.receive(arrival, header.sequence, header.timestamp, header.marker, payload)
            if self._viewers and header.marker:
                self.show()

    def _follow(self, ssrc: int, codec: str, arrival: float) -> None:
        """Another source, or another codec of the same one: its frames begin anew."""
        self.show()
        if self.video is not None:
            for key, value in self.video.metrics(arrival).items():
                if key in self._earlier:
                    self._earlier[key] += value or 0
        self._of, self.codec = (ssrc, codec), codec
        self.video = VideoReception(
            CODECS[codec].describe,
            nack=self._nack,
            keep_frames=bool(self._viewers),
            rtt_s=self.rtt_s,
        )

    # --- why SRTP refuses it ------------------------------------------------------------------

    def on_failure(self, status: int, datagram: bytes, arrival: float) -> None:
        """Count a packet that SRTP refused, and see whether it has the form of clear video."""
        # What was recorded of encrypted video says nothing of what is sent now.
        self._unlike += status not in REPLAYED and not self._is_clear(datagram)
        super().on_failure(status, datagram, arrival)

    def _end_failures(self) -> None:
        super()._end_failures()
        self._unlike = 0

    def _looks_plain(self, datagram: bytes, parameters: RtpParameters) -> bool:
        """Whether all of them have: of ten that are encrypted one has not, as good as surely."""
        del datagram, parameters
        return not self._unlike

    def _is_clear(self, datagram: bytes) -> bool:
        bounds = payload_bounds(datagram)
        codec = self._codecs.get(datagram[1] & 0x7F) if bounds else None
        if bounds is None or codec is None:
            return False
        payload = datagram[slice(*bounds)]
        try:
            CODECS[codec].describe(payload)
        except RtpSyntaxError:
            return False
        return codec != "VP8" or not payload[0] & vp8.RESERVED

    # --- what to ask for ----------------------------------------------------------------------

    def missing(self, now: float) -> list[int]:
        """Sequence numbers to ask for now; also lets gaps be given up."""
        video = self.video
        if video is None:
            return []
        video.rtt_s = self.rtt_s
        return video.missing(now)

    def needs_key_frame(self, now: float) -> bool:
        """Whether nothing that may come can be decoded until there is one."""
        receiving = bool(self._lanes.receiving[self._row])
        return receiving and self.video is not None and self.video.needs_key_frame(now)

    # --- who looks on -------------------------------------------------------------------------

    def view(self, sink: VideoSink) -> None:
        """Give whole frames to a sink from now on."""
        self._viewers = (*self._viewers, sink)
        if self.video is not None:
            self.video.keep_frames = True

    def show(self) -> None:
        """Give the sinks what has come whole; one that fails is detached."""
        video = self.video
        if video is None:
            return
        for whole in video.whole_frames():
            try:
                data = CODECS[self.codec].frame_of(whole.payloads)
            except RtpSyntaxError:
                self.malformed_frames += 1
                continue
            frame = EncodedFrame(data, whole.timestamp, whole.key_frame)
            looking_on = self._viewers
            for viewer in looking_on:
                if self._viewers is not looking_on and not self._is_viewer(viewer):
                    continue
                try:
                    viewer.write(frame)
                except Exception as error:  # noqa: BLE001  foreign code may not stop the tick
                    self.sink_error = error
                    self.unview(viewer)

    def unview(self, sink: VideoSink) -> None:
        """The sink sees no more; one that did not is left alone."""
        if not self._is_viewer(sink):
            return
        self._viewers = tuple(viewer for viewer in self._viewers if viewer is not sink)
        if self.video is not None and not self._viewers:
            self.video.keep_frames = False
        try:
            sink.close()
        except Exception as error:  # noqa: BLE001  a sink is foreign code: it may not end a call
            self.sink_error = error

    def _is_viewer(self, sink: VideoSink) -> bool:
        return any(viewer is sink for viewer in self._viewers)

    def close_sinks(self) -> None:
        """Let all sinks finish."""
        self.show()
        for sink in self._viewers:
            self.unview(sink)
        super().close_sinks()

    # --- figures ------------------------------------------------------------------------------

    def frames(self, now: float) -> int:
        """Whole frames so far."""
        return int(self.metrics(now).get("frames_received") or 0)

    def metrics(self, now: float) -> Values:
        """By catalogue key."""
        values: Values = dict(self._earlier)
        if self.video is None:
            return values
        found: Values = dict(self.video.metrics(now))
        for key, before in self._earlier.items():
            value = found.get(key)
            if before and isinstance(value, int | float):
                found[key] = value + before
        return found
