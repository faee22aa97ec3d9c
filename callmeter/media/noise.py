"""What comfort noise sounds like: white noise through the filter its description has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from callmeter.rtp.comfort_noise import ComfortNoise

__all__ = ["NoiseMaker"]

FULL_SCALE: Final = 32_768.0


class NoiseMaker:
    """Makes noise, the same in each run.

    Args:
        noise: How it sounds.
    """

    __slots__ = ("_coefficients", "_level", "_random")

    def __init__(self, noise: ComfortNoise) -> None:
        self._random = np.random.default_rng(0)
        self._level = FULL_SCALE * 10 ** (noise.level_dbov / 20)
        self._coefficients = _prediction(noise.reflection)

    def samples(self, count: int) -> npt.NDArray[np.int16]:
        """So many samples, at any rate."""
        white = self._random.standard_normal(count)
        if len(self._coefficients) > 1 and count:
            # An all-pole filter, by its frequency response.
            size = max(count, len(self._coefficients))
            response = np.abs(np.fft.rfft(self._coefficients, size))
            coloured = np.fft.rfft(white, size) / np.maximum(response, 1e-3)
            white = np.fft.irfft(coloured, size)[:count]
            white /= max(float(np.sqrt(np.mean(white**2))), 1e-9)
        limited = np.clip((white * self._level).round(), -FULL_SCALE, FULL_SCALE - 1)
        return limited.astype(np.int16)


def _prediction(reflection: Sequence[float]) -> npt.NDArray[np.float64]:
    """The prediction filter of these reflection coefficients, by the step-up recursion."""
    filter_ = np.ones(1)
    for coefficient in reflection:
        longer = np.append(filter_, 0.0)
        filter_ = longer + coefficient * longer[::-1]
    return filter_
