"""The echo: what arrives is sent back."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from callmeter.media.codecs import find_codec, silent_payload
from callmeter.media.wave_file import resample

if TYPE_CHECKING:
    from callmeter.media.codecs import AudioCodec, Decoder, Encoder

__all__ = ["Echo", "EchoLine"]

LIMIT_S: Final = 0.2
START_FRAMES: Final = 2


class Echo:
    """Sends back what arrives. It is played like a source and hears by itself."""

    def line(self) -> EchoLine:
        """The echo of one stream."""
        return EchoLine()


class EchoLine:
    """The echo of one stream: a short queue between hearing and speaking.

    It holds at most 200 ms; it begins, and begins again after it ran dry, with two frames, so
    that ordinary jitter does not tear the audio. Payloads go back as they came where codec and
    packet time allow it, else they are decoded and encoded again.
    """

    __slots__ = ("_coder", "_decoder", "_flowing", "_heard", "_made", "_octets", "_packets")

    def __init__(self) -> None:
        self._heard: AudioCodec | None = None
        self._octets = bytearray()
        self._packets: deque[bytes] = deque()
        self._flowing = False
        self._decoder: Decoder | None = None
        self._coder: tuple[AudioCodec, int, Encoder] | None = None
        self._made = np.zeros(0, np.int16)

    def open(self, schedule: Any) -> None:
        """Nothing to prepare."""

    def write(
        self, codec: str, sequence: int, timestamp: int, arrival: float, payload: bytes
    ) -> None:
        """Queue what was heard; the oldest goes when the queue is full."""
        del sequence, timestamp, arrival
        heard = self._heard
        if heard is None or heard.name != codec:
            self.close()
            heard = self._heard = find_codec(codec)
        if heard.octet_rate is not None:
            self._octets += payload
            del self._octets[: -round(LIMIT_S * heard.octet_rate)]
            return
        self._packets.append(payload)
        limit = LIMIT_S * heard.sample_rate
        while sum(map(heard.samples_of, self._packets)) > limit:
            self._packets.popleft()

    def next_frame(self, codec: str, samples_per_frame: int) -> bytes | None:
        """What was heard, or silence until there is enough of it."""
        wanted = 1 if self._flowing else START_FRAMES
        heard, own = self._heard, find_codec(codec)
        frame: bytes | None = None
        if heard is None:
            pass
        elif heard == own and own.octet_rate is not None:
            size = samples_per_frame * own.octet_rate // own.sample_rate
            if len(self._octets) >= wanted * size:
                frame = bytes(self._octets[:size])
                del self._octets[:size]
        elif heard == own and self._fit(own, samples_per_frame):
            if len(self._packets) >= wanted:
                frame = self._packets.popleft()
        else:
            frame = self._encoded(heard, own, samples_per_frame, wanted)
        self._flowing = frame is not None
        return silent_payload(own, samples_per_frame) if frame is None else frame

    def _fit(self, codec: AudioCodec, samples: int) -> bool:
        """Whether packets can go back as they came: nothing is left of one that could not."""
        return not len(self._made) and all(
            codec.samples_of(packet) == samples for packet in self._packets
        )

    def _encoded(
        self, heard: AudioCodec, own: AudioCodec, samples: int, wanted: int
    ) -> bytes | None:
        """A frame encoded anew."""
        if self._decoder is None:
            self._decoder = heard.decoder()
        queued = [bytes(self._octets)] if self._octets else [*self._packets]
        self._octets.clear()
        self._packets.clear()
        decoded = [self._decoder.decode(payload) for payload in queued]
        new = [resample(piece, heard.sample_rate, own.sample_rate) for piece in decoded]
        self._made = np.concatenate([self._made, *new])[-round(LIMIT_S * own.sample_rate) :]
        if len(self._made) < wanted * samples:
            return None
        if self._coder is None or self._coder[:2] != (own, samples):
            self._coder = own, samples, own.encoder(samples)
        frame, self._made = self._made[:samples], self._made[samples:]
        return self._coder[2].encode(frame)

    def close(self) -> None:
        """Forget what is queued."""
        self._octets.clear()
        self._packets.clear()
        self._made = self._made[:0]
        self._decoder = None
