"""Comfort noise (RFC 3389): what is sent once in a while in place of the packets of a pause."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self

from callmeter.errors import ConfigurationError

__all__ = ["PAYLOAD_TYPE", "ComfortNoise"]

PAYLOAD_TYPE: Final = 13
"""Of noise with a clock rate of 8000 (RFC 3551 table 4)."""

_QUIETEST: Final = 127
_MOST_COEFFICIENTS: Final = 32
_ZERO: Final = 127
_STEP: Final = 258 / 32_768
_LARGEST: Final = 254


@dataclass(frozen=True, slots=True)
class ComfortNoise:
    """One description of background noise.

    Attributes:
        level_dbov: Its level, 0 to -127 dBov.
        reflection: Reflection coefficients of the filter that colours it, each between -1 and 1;
            none is white noise.

    Raises:
        ConfigurationError: A level that cannot be written.
    """

    level_dbov: int
    reflection: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not -_QUIETEST <= self.level_dbov <= 0:
            raise ConfigurationError(f"noise of {self.level_dbov} dBov is not between -127 and 0")

    @classmethod
    def parse(cls, payload: bytes) -> Self | None:
        """The noise of a payload, None for an empty one (RFC 3389 section 3).

        An unused bit is ignored, and so are coefficients beyond the 32nd.
        """
        if not payload:
            return None
        quantized = payload[1 : 1 + _MOST_COEFFICIENTS]
        return cls(
            -(payload[0] & _QUIETEST),
            tuple((min(octet, _LARGEST) - _ZERO) * _STEP for octet in quantized),
        )

    def to_bytes(self) -> bytes:
        """The payload."""
        quantized = (round(value / _STEP) + _ZERO for value in self.reflection)
        return bytes([-self.level_dbov, *(min(max(octet, 0), _LARGEST) for octet in quantized)])
