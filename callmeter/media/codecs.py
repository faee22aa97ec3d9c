"""The audio codecs the packet lane can speak: one octet a sample at 8 kHz so far."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from callmeter.errors import ConfigurationError
from callmeter.rtp import g711

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["AudioCodec", "find_codec"]


@dataclass(frozen=True, slots=True)
class AudioCodec:
    """One codec.

    Attributes:
        name: Encoding name of RFC 3551.
        sample_rate: Samples a second, which is also the RTP clock rate.
        law: The law of G.711.
    """

    name: str
    sample_rate: int
    law: g711.Law

    def encode(self, samples: npt.NDArray[np.int16]) -> bytes:
        """The payload of so many samples."""
        return g711.encode(samples, self.law).tobytes()

    def decode(self, payload: bytes) -> npt.NDArray[np.int16]:
        """The samples of a payload."""
        return g711.decode(payload, self.law)

    def silent_frame(self, samples: int) -> bytes:
        """Digital silence of so many samples."""
        return bytes([self.law.silence]) * samples


_CODECS: Final = {law.value: AudioCodec(law.value, 8000, law) for law in g711.Law}


def find_codec(name: Any) -> AudioCodec:
    """The codec of this name.

    Raises:
        ConfigurationError: There is none.
    """
    codec = _CODECS.get(str(name).upper())
    if codec is None:
        known = ", ".join(_CODECS)
        raise ConfigurationError(f"codec {name} is not supported; known are {known}")
    return codec
