"""GStreamer's video: its payloaders and depayloaders on plain RTP, its coders, its file readers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from peers.program import HOST, PeerError, Program, free_ports, udp_bound

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

WIDTH, HEIGHT, FRAME_RATE = 320, 240, 30
PAYLOAD_TYPE = 96

ENCODERS = {
    "VP8": "vp8enc deadline=1 cpu-used=8 keyframe-max-dist={key_distance}",
    "H264": "openh264enc gop-size={key_distance} slice-mode=auto multi-thread=1",
}
PAYLOADERS = {"VP8": "rtpvp8pay", "H264": "rtph264pay"}
DEPAYLOADERS = {"VP8": "rtpvp8depay", "H264": "rtph264depay ! h264parse"}
DECODERS = {"VP8": "vp8dec", "H264": "openh264dec"}
READERS = {"VP8": "ivfparse", "H264": "h264parse"}


class Pipeline(Program):
    """One pipeline, which ends by itself.

    Args:
        folder: Its own folder.
        codec: `"VP8"` or `"H264"`.
    """

    name = "gst-launch-1.0"

    def __init__(self, folder: Path, codec: str) -> None:
        super().__init__(folder)
        self.codec = codec
        self.raw = folder / "pictures.i420"

    def launch(self, *elements: str) -> None:
        """Start it, of elements that are linked one behind the other."""
        self.spawn(["gst-launch-1.0", *_words(elements)])

    def _to_raw(self) -> tuple[str, ...]:
        return (
            DECODERS[self.codec],
            "video/x-raw,format=I420",
            f"filesink location={self.raw} sync=false",
        )

    async def pictures(self, size: tuple[int, int]) -> np.ndarray:
        """What it decoded until it ended: brightness by picture, row and column."""
        if await self.ended(60):
            raise PeerError(f"GStreamer failed\n{self.tail()}")
        width, height = size
        octets = np.fromfile(self.raw, np.uint8).reshape(-1, height * 3 // 2, width)
        return octets[:, :height]


class VideoReceiver(Pipeline):
    """Takes so many RTP packets on a port, and decodes what they hold.

    Args:
        folder: Its own folder.
        codec: `"VP8"` or `"H264"`.
        packets: After which it ends.
    """

    def __init__(self, folder: Path, codec: str, packets: int) -> None:
        super().__init__(folder, codec)
        self.packets = packets
        self.port = free_ports()

    def start(self) -> None:
        caps = f"application/x-rtp,media=video,clock-rate=90000,encoding-name={self.codec}"
        self.launch(
            f"udpsrc address={HOST} port={self.port} num-buffers={self.packets} "
            f"caps={caps},payload={PAYLOAD_TYPE}",
            DEPAYLOADERS[self.codec],
            *self._to_raw(),
        )
        self.wait_until(lambda: udp_bound(self.port), seconds=60)


class VideoSender(Pipeline):
    """Sends a ball that flies about, in real time.

    Args:
        folder: Its own folder.
        codec: `"VP8"` or `"H264"`.
        port: It sends to.
        frames: After which it ends.
        key_distance: Frames from one key frame to the next.
        options: More of the payloader.
    """

    def __init__(
        self,
        folder: Path,
        codec: str,
        *,
        port: int,
        frames: int,
        key_distance: int = 30,
        options: str = "",
    ) -> None:
        super().__init__(folder, codec)
        self.port = port
        self.frames = frames
        self.key_distance = key_distance
        self.options = options

    def start(self) -> None:
        self.launch(
            f"videotestsrc is-live=true pattern=ball num-buffers={self.frames}",
            f"video/x-raw,format=I420,width={WIDTH},height={HEIGHT},framerate={FRAME_RATE}/1",
            ENCODERS[self.codec].format(key_distance=self.key_distance),
            f"{PAYLOADERS[self.codec]} pt={PAYLOAD_TYPE} {self.options}".rstrip(),
            f"udpsink host={HOST} port={self.port} sync=false",
        )


class FileDecoder(Pipeline):
    """Decodes a file.

    Args:
        folder: Its own folder.
        codec: `"VP8"` in an IVF file, or `"H264"` as a byte stream.
        path: Of the file.
    """

    def __init__(self, folder: Path, codec: str, path: Path) -> None:
        super().__init__(folder, codec)
        self.path = path

    def start(self) -> None:
        self.launch(f"filesrc location={self.path}", READERS[self.codec], *self._to_raw())


def _words(elements: Sequence[str]) -> list[str]:
    words: list[str] = []
    for element in elements:
        words += ["!"] * bool(words)
        words += element.split(" ")
    return words
