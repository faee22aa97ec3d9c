"""What every audio codec can do, and G.711."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np

from callmeter.rtp import g711

if TYPE_CHECKING:
    import numpy.typing as npt

    Samples = npt.NDArray[np.int16]

__all__ = ["AudioCodec", "Decoder", "Encoder", "G711Codec"]

WARM_UP_FRAMES: Final = 10
"""Frames after which a coder that adapts is where it would be in a steady signal."""


class Encoder(Protocol):
    """Encodes one stream; what it makes of a frame may depend on those before."""

    def encode(self, samples: Samples) -> bytes:
        """The payload of one packet."""
        ...


class Decoder(Protocol):
    """Decodes one stream, in order."""

    def decode(self, payload: bytes) -> Samples:
        """The samples of one packet; none when it is damaged."""
        ...


class AudioCodec(ABC):
    """One codec.

    Attributes:
        name: Encoding name of RFC 3551 or of the IANA registry.
        clock_rate: RTP timestamp units a second.
        sample_rate: Samples a second of the audio itself: not the same for G.722.
        octet_rate: Octets a second of a payload that can be cut anywhere; None when it cannot.
        immediate: Encoding is a look into a table.
        discontinuous: Silence need not be sent: the decoder knows what to make of a pause.
    """

    name: str
    clock_rate: int
    sample_rate: int
    octet_rate: int | None = None
    immediate: bool = False
    discontinuous: bool = False

    @abstractmethod
    def encoder(self, samples_per_frame: int) -> Encoder:
        """A new encoder for packets of so many samples."""

    @abstractmethod
    def decoder(self) -> Decoder:
        """A new decoder."""

    @abstractmethod
    def samples_of(self, payload: bytes) -> int:
        """Samples a payload decodes to; 0 when it is damaged."""

    def frames(self, samples: Samples, samples_per_frame: int, *, loop: bool) -> tuple[bytes, ...]:
        """The payloads of so much audio.

        Args:
            samples: Whole frames.
            samples_per_frame: Samples of each packet.
            loop: The first frame follows the last one again, so the coder is brought there first.
        """
        encoder = self.encoder(samples_per_frame)
        cut = samples.reshape(-1, samples_per_frame)
        if loop:
            for frame in np.resize(cut, (WARM_UP_FRAMES * len(cut), samples_per_frame))[
                -WARM_UP_FRAMES:
            ]:
                encoder.encode(frame)
        return tuple(encoder.encode(frame) for frame in cut)

    def encode(self, samples: Samples) -> bytes:
        """The payload of one packet that stands alone."""
        return self.encoder(len(samples)).encode(samples)

    def decode(self, payload: bytes) -> Samples:
        """The samples of one packet that stands alone."""
        return self.decoder().decode(payload)

    def silent_frame(self, samples: int) -> bytes:
        """Digital silence of so many samples."""
        return self.frames(np.zeros(samples, np.int16), samples, loop=True)[0]


@dataclass(frozen=True)
class G711Codec(AudioCodec):
    """G.711, which is a table: it is encoder and decoder itself.

    Attributes:
        law: Which of the two.
    """

    law: g711.Law

    clock_rate = sample_rate = octet_rate = 8000
    immediate = True

    # Where the protocol has an attribute: only read.
    @property
    def name(self) -> str:  # type: ignore[override]
        """Encoding name of RFC 3551."""
        return self.law.value

    def encoder(self, samples_per_frame: int) -> Encoder:
        """Itself."""
        del samples_per_frame
        return self

    def decoder(self) -> Decoder:
        """Itself."""
        return self

    def samples_of(self, payload: bytes) -> int:
        """As many as octets."""
        return len(payload)

    def frames(self, samples: Samples, samples_per_frame: int, *, loop: bool) -> tuple[bytes, ...]:
        """All at once."""
        del loop
        octets = self.encode(samples)
        places = range(0, len(octets), samples_per_frame)
        return tuple(octets[start : start + samples_per_frame] for start in places)

    def encode(self, samples: Samples) -> bytes:
        """An octet a sample."""
        return g711.encode(samples, self.law).tobytes()

    def decode(self, payload: bytes) -> Samples:
        """A sample an octet."""
        return g711.decode(payload, self.law)

    def silent_frame(self, samples: int) -> bytes:
        """The octet of silence, so often."""
        return bytes([self.law.silence]) * samples
