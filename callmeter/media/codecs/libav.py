"""The door to PyAV: one coder of libavcodec for one stream.

PyAV is loaded when the first coder is made: it takes a quarter of a second, and calls in G.711 do
without.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    Samples = npt.NDArray[np.int16]

__all__ = ["LibavDecoder", "LibavEncoder"]


class LibavEncoder:
    """A mono encoder that makes one packet of each frame.

    Args:
        name: Of libavcodec's encoder.
        rate: Samples a second.
        options: Its own options.
    """

    __slots__ = ("_context", "_frame", "_rate", "_sent")

    def __init__(self, name: str, rate: int, options: Mapping[str, str]) -> None:
        from av import AudioFrame, CodecContext  # noqa: PLC0415  see above

        context: Any = CodecContext.create(name, "w")
        context.sample_rate = rate
        context.format = "s16"
        context.layout = "mono"
        context.options = dict(options)
        self._context = context
        self._frame: Any = AudioFrame
        self._rate = rate
        self._sent = 0

    def encode(self, samples: Samples) -> bytes:
        """The packet of one frame."""
        frame = self._frame(format="s16", layout="mono", samples=len(samples))
        frame.sample_rate = self._rate
        frame.pts = self._sent
        self._sent += len(samples)
        frame.planes[0].update(samples.astype(np.int16, copy=False).tobytes())
        return b"".join(map(bytes, self._context.encode(frame)))


class LibavDecoder:
    """A decoder to mono; more channels are mixed.

    Args:
        name: Of libavcodec's decoder.
        rate: Samples a second.
    """

    __slots__ = ("_context", "_failure", "_packet")

    def __init__(self, name: str, rate: int) -> None:
        from av import CodecContext, FFmpegError, Packet  # noqa: PLC0415  see above

        context: Any = CodecContext.create(name, "r")
        context.sample_rate = rate
        context.layout = "mono"
        self._context = context
        self._packet: Any = Packet
        self._failure: type[Exception] = FFmpegError

    def decode(self, payload: bytes) -> Samples:
        """The samples of one packet; none when it is damaged."""
        # An empty packet would mean the end of the stream.
        if not payload:
            return np.zeros(0, np.int16)
        try:
            frames = self._context.decode(self._packet(payload))
        except self._failure:
            return np.zeros(0, np.int16)
        pieces = [frame.to_ndarray().reshape(-1).astype(np.int16) for frame in frames]
        return np.concatenate([*pieces, np.zeros(0, np.int16)])
