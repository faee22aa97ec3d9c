"""Ear: a sink that remembers the last of what it heard, so that a test can ask afterwards."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from callmeter.media.analysis import dominant_frequency, level_dbov
from callmeter.media.codecs import find_codec

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["Ear", "Sound"]

KEPT_PACKETS: Final = 1_500
"""Half a minute in packets of 20 ms."""
WINDOW_S: Final = 0.4
STEP_S: Final = 0.2
AUDIBLE_DBOV: Final = -50.0


@dataclass(frozen=True, slots=True)
class Sound:
    """What a piece of audio holds.

    Attributes:
        at: Seconds since the first packet that is remembered.
        frequency_hz: Its strongest frequency; 0 in silence.
        level_dbov: Its level; -127 is silence.
    """

    at: float
    frequency_hz: float
    level_dbov: float

    @property
    def audible(self) -> bool:
        """Whether it is more than silence and noise."""
        return self.level_dbov >= AUDIBLE_DBOV

    def __str__(self) -> str:
        if not self.audible:
            return f"silence ({self.level_dbov:.0f} dBov)"
        return f"{self.frequency_hz:.0f} Hz at {self.level_dbov:.0f} dBov"


class Ear:
    """Remembers the last half minute that a stream received; attach it as a sink.

    Attributes:
        packets: Packets heard, those that are forgotten included.
    """

    def __init__(self) -> None:
        self.packets = 0
        self._heard: deque[tuple[str, bytes]] = deque(maxlen=KEPT_PACKETS)

    def open(self, schedule: Any) -> None:
        """Nothing to prepare."""

    def write(
        self, codec: str, sequence: int, timestamp: int, arrival: float, payload: bytes
    ) -> None:
        """Remember one packet."""
        del sequence, timestamp, arrival
        self.packets += 1
        self._heard.append((codec, payload))

    def close(self) -> None:
        """What was heard stays."""

    @property
    def seconds(self) -> float:
        """How much audio is remembered."""
        samples, rate = self._samples()
        return len(samples) / rate

    def sounds(self) -> list[Sound]:
        """What was heard, window by window."""
        samples, rate = self._samples()
        window, step = int(WINDOW_S * rate), int(STEP_S * rate)
        starts = range(0, max(1, len(samples) - window + 1), step) if len(samples) else ()
        return [
            Sound(start / rate, dominant_frequency(piece, rate), level_dbov(piece))
            for start in starts
            if len(piece := samples[start : start + window])
        ]

    def _samples(self) -> tuple[npt.NDArray[np.int16], int]:
        """Everything remembered in the last codec."""
        heard = list(self._heard)
        if not heard:
            return np.zeros(0, np.int16), 8000
        codec = find_codec(heard[-1][0])
        decoder = codec.decoder()
        pieces = [decoder.decode(payload) for name, payload in heard if name == heard[-1][0]]
        return np.concatenate(pieces), codec.sample_rate
