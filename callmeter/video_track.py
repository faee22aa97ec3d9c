"""VideoTrack: the m= line of a call's video, and what is done with it."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from callmeter.errors import CallFailed, LocalProtocolError
from callmeter.media.video import AnnexBRecorder, IvfRecorder
from callmeter.media.video_parameters import VideoFormat, VideoParameters
from callmeter.media_track import MediaTrack
from callmeter.sdp.attributes import RtcpFb
from callmeter.sdp.codecs import VIDEO_ENCODINGS, formats_for
from callmeter.sdp.h264_format import H264Parameters
from callmeter.video_config import VideoConfig

if TYPE_CHECKING:
    from pathlib import Path

    from callmeter.media.video import VideoSink, VideoSource
    from callmeter.media.video_stream import VideoStream
    from callmeter.media_agreement import Formats
    from callmeter.sdp.codecs import PayloadFormat
    from callmeter.sdp.remote_track import RemoteTrack

__all__ = ["VideoTrack"]


class VideoTrack(MediaTrack):
    """The video of one call: `play`, `record`, `request_key_frame`, `statistics`.

    Attributes:
        refused: Why there is no video, though it was offered; empty while there may be.
    """

    kind: ClassVar[str] = "video"
    refused: str = ""
    _stream: VideoStream | None

    def __repr__(self) -> str:
        return f"<VideoTrack {self.codec or 'no codec yet'} {self.direction}>"

    # what is sent and seen

    async def play(self, source: VideoSource, *, seconds: float | None = None) -> float:
        """Send video until the source ends, `seconds` have passed, or the call ends.

        What a source of your own raises ends it, and is raised here.

        Args:
            source: `TestPattern`, `IvfFile`, `AnnexBFile`: one for each call, it keeps its place.
            seconds: How long, time on hold included; None plays a source to its end.

        Returns:
            Seconds it took: fewer than asked for when the call ended first, 0.0 when it was over.

        Raises:
            LocalProtocolError: There is no video, the peer does not take the codec, or a frame of
                the source cannot be sent.
            ConfigurationError: The file cannot be read as video.
        """
        stream = self._running()
        if stream is None:
            return 0.0
        # Reading a file and encoding a pattern take a moment, in which calls have to go on.
        await asyncio.to_thread(source.prepare)
        if self._stream is not stream:
            return 0.0
        playing = stream.play(source, seconds=seconds)
        return await self._until_played(playing, seconds, partial(stream.play, None))

    def attach(self, sink: VideoSink) -> None:
        """Give whole frames to `sink`, from the next key frame on, which is asked for.

        It is closed when the call ends.
        """
        if stream := self._running():
            stream.attach(sink)
        else:
            sink.close()

    def record(self, path: str | Path) -> IvfRecorder | AnnexBRecorder:
        """Record what arrives until the call ends, as it is: IVF of VP8, Annex B of H.264.

        Before anything has come, it is made for the codec that is sent.

        Args:
            path: The file to write.

        Raises:
            ConfigurationError: The file cannot be made.
        """
        stream = self._running()
        codec = (stream and stream.received_codec) or self.codec
        recorder = IvfRecorder(path) if codec == "VP8" else AnnexBRecorder(path)
        self.attach(recorder)
        return recorder

    def request_key_frame(self) -> None:
        """Ask the peer for a key frame, by PLI or else by FIR.

        Raises:
            LocalProtocolError: There is no video, or no such message was agreed on.
        """
        if stream := self._running():
            stream.request_key_frame()

    async def wait_for_frames(self, count: int = 1) -> None:
        """Wait until so many whole frames have come in all.

        Raises:
            LocalProtocolError: There is no video.
            CallFailed: The call ended before.
        """
        stream, ended = self._running(), f"the video ended before {count} frames had come"
        if stream is None:
            raise CallFailed(ended)
        waiting = stream.frames(count)
        try:
            await waiting
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            raise CallFailed(ended) from None

    @property
    def stream(self) -> VideoStream | None:
        """The running stream, lower stability."""
        return self._stream

    def _running(self) -> VideoStream | None:
        """None once it is over: a peer may hang up between two lines of who uses it."""
        if not self._begun:
            raise LocalProtocolError("the call has no video: it is not agreed on")
        return self._stream

    # what is agreed on

    @property
    def _video(self) -> VideoConfig:
        return self.config.video or VideoConfig()

    def _formats(self) -> Formats:
        return formats_for(self._video.codecs)

    def _carries(self, item: PayloadFormat) -> bool:
        return item.encoding.upper() in VIDEO_ENCODINGS

    @property
    def _wants_feedback(self) -> bool:
        return self._video.feedback

    @property
    def _own_feedback(self) -> tuple[RtcpFb, ...]:
        return tuple(RtcpFb.parse(f"* {words}") for words in self._video.feedback_messages)

    @property
    def _bandwidth(self) -> int | None:
        return self._video.bandwidth

    def _new_stream(self, *, rtcp_mux: bool) -> VideoStream:
        return self._engine.open_video_stream(
            self._address, rtcp_mux=rtcp_mux, ports=self.config.ports, dscp=self._video.dscp
        )

    def _begin(self, track: RemoteTrack, formats: Formats, receivable: Formats) -> None:
        taken = tuple(_format(item) for item in formats if self._carries(item))
        first = taken[0]
        transport = self._transport(track, first.payload_type)
        self.codec = first.codec
        stream = self._stream
        if stream is None:
            return  # The call has ended meanwhile.
        self._begun = True
        # The ports were opened with the settings of the first offer.
        stream.mark(self._video.dscp)
        stream.start(
            VideoParameters(
                codec=first.codec,
                payload_type=first.payload_type,
                receive_payload_types={
                    item.payload_type: item.encoding.upper()
                    for item in receivable
                    if self._carries(item)
                },
                formats=taken,
                bandwidth=self._video.bandwidth,
                **transport,
            )
        )


def _format(item: PayloadFormat) -> VideoFormat:
    codec = item.encoding.upper()
    mode = H264Parameters.parse(item.fmtp).packetization_mode if codec == "H264" else 1
    return VideoFormat(codec, item.payload_type, mode)
