"""Concealment of lost audio by its own last pitch periods, after ITU-T G.711 appendix I.

A gap is filled with the last period of what was heard; from 10 ms on with the last two, then three,
so that it does not buzz; each 10 ms after the first lose a fifth of the level, and from 60 ms on
there is silence. What is heard next is faded in. Unlike the appendix, nothing is delayed: the seam
before the gap is left as it is. It works on samples of any rate, and so for any codec.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Samples = npt.NDArray[np.int16]
    Floats = npt.NDArray[np.float64]

__all__ = ["Concealment"]

HIGHEST_PITCH_HZ: Final = 200
LOWEST_PITCH_HZ: Final = 66
COMPARED_S: Final = 0.02
STEP_S: Final = 0.01
FADE_PER_STEP: Final = 0.2
MOST_PERIODS: Final = 3
MERGED_S: Final = 0.004
"""Overlap with what is heard next, beyond a quarter of a period, for each 10 ms that were lost."""
LONGEST_MERGE_S: Final = 0.01
QUIET: Final = 1.0
"""Mean square below which there is no pitch to look for."""


class Concealment:
    """Fills the gaps of one stream.

    Args:
        rate: Samples a second.
    """

    __slots__ = ("_buffers", "_history", "_lost", "_period", "_rate", "_step")

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._step = round(rate * STEP_S)
        longest = rate // LOWEST_PITCH_HZ
        self._history: Floats = np.zeros(MOST_PERIODS * longest + longest // 4 + self._step)
        self._period = longest
        self._buffers: list[Floats] = []
        self._lost = 0

    def heard(self, samples: Samples) -> Samples:
        """Take in what was decoded; after a gap its beginning is merged with the concealment."""
        if self._lost and len(samples):
            samples = self._merged(samples)
        self._lost = 0
        kept = np.concatenate([self._history, samples])
        self._history = kept[-len(self._history) :]
        return samples

    def fill(self, count: int) -> Samples:
        """So many samples in place of what was lost."""
        if not self._lost:
            self._begin()
        made = self._made(count)
        self._lost += count
        return made.round().astype(np.int16)

    def _begin(self) -> None:
        self._period = self._pitch()
        quarter = self._period // 4
        rise = np.linspace(0, 1, quarter, endpoint=False)
        self._buffers = []
        for periods in range(1, MOST_PERIODS + 1):
            length = periods * self._period
            buffer = self._history[-length:].copy()
            # Its end flows into its beginning.
            before = self._history[-length - quarter : -length]
            buffer[-quarter:] = buffer[-quarter:] * (1 - rise) + before * rise
            self._buffers.append(buffer)

    def _pitch(self) -> int:
        """Samples after which the history resembles itself most."""
        history = self._history
        compared = round(self._rate * COMPARED_S)
        low, high = self._rate // HIGHEST_PITCH_HZ, self._rate // LOWEST_PITCH_HZ
        recent = history[-compared:]
        if np.mean(recent**2) < QUIET:
            return high
        earlier = np.lib.stride_tricks.sliding_window_view(
            history[-compared - high : -low], compared
        )
        energy = np.sqrt((earlier**2).sum(axis=1))
        likeness = earlier @ recent / np.maximum(energy, 1.0)
        return high - int(likeness.argmax())

    def _made(self, count: int) -> Floats:
        """The concealment from where it stands."""
        numbers = np.arange(self._lost, self._lost + count)
        made = np.zeros(count)
        quarter = max(1, self._period // 4)
        for periods, buffer in enumerate(self._buffers, 1):
            first = (periods - 1) * self._step
            # One buffer takes over from the one before within a quarter of a period.
            share = np.clip((numbers - first) / quarter, 0, 1) if first else np.ones(count)
            made += share * (buffer[numbers % len(buffer)] - made)
        return made * np.clip(1 - FADE_PER_STEP * (numbers / self._step - 1), 0, 1)

    def _merged(self, samples: Samples) -> Samples:
        steps = self._lost / self._step
        overlap = self._period / 4 + steps * self._rate * MERGED_S
        count = min(int(overlap), round(self._rate * LONGEST_MERGE_S), len(samples))
        rise = np.linspace(0, 1, count, endpoint=False)
        merged = samples.astype(np.float64)
        merged[:count] = merged[:count] * rise + self._made(count) * (1 - rise)
        return merged.round().astype(np.int16)
