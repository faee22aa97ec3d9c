"""G.722: 7 kHz of audio in 64 kbit/s, by PyAV."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from callmeter.media.codecs.audio import AudioCodec
from callmeter.media.codecs.libav import LibavDecoder, LibavEncoder

if TYPE_CHECKING:
    from callmeter.media.codecs.audio import Decoder, Encoder

__all__ = ["G722Codec"]


@dataclass(frozen=True)
class G722Codec(AudioCodec):
    """Two samples an octet; the RTP clock is half of what it should be (RFC 3551 section 4.5.2)."""

    name = "G722"
    clock_rate = octet_rate = 8000
    sample_rate = 16_000

    def encoder(self, samples_per_frame: int) -> Encoder:
        """A new encoder for packets of so many samples."""
        return LibavEncoder("g722", self.sample_rate, {"frame_size": str(samples_per_frame)})

    def decoder(self) -> Decoder:
        """A new decoder."""
        return LibavDecoder("g722", self.sample_rate)

    def silent_frame(self, samples: int) -> bytes:
        """An octet that keeps its value for ever: one of an encoder would drift when repeated."""
        return b"\xff" * (samples // 2)

    def samples_of(self, payload: bytes) -> int:
        """Two an octet."""
        return 2 * len(payload)
