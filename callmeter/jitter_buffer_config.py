"""Settings of the jitter buffer that received streams are measured by."""

from __future__ import annotations

from dataclasses import dataclass

from callmeter.errors import ConfigurationError
from callmeter.setting_types import check_types

__all__ = ["JitterBufferSettings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class JitterBufferSettings:
    """How the buffer behaves; seconds.

    Attributes:
        adaptive: Whether the delay follows the jitter.
        delay: Of a fixed buffer, and of an adaptive one in the beginning.
        least, most: Limits of the delay of an adaptive buffer.
        room: A packet that would wait longer than this does not fit.
    """

    adaptive: bool = True
    delay: float = 0.06
    least: float = 0.02
    most: float = 0.2
    room: float = 0.5

    def __post_init__(self) -> None:
        check_types(self)
        if not 0 <= self.least <= self.delay <= self.most <= self.room:
            raise ConfigurationError(
                "of a jitter buffer 0 <= least <= delay <= most <= room holds, not "
                f"{self.least}, {self.delay}, {self.most}, {self.room}"
            )
