"""What is in the audio: the strongest tone and the level."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from callmeter.media.wave_file import read_wave

if TYPE_CHECKING:
    import os

    import numpy.typing as npt

__all__ = ["dominant_frequency", "level_dbov", "recorded_frequency"]

SILENCE_DBOV: Final = -127.0
FULL_SCALE: Final = 32768.0
MIN_SAMPLES: Final = 16


def dominant_frequency(samples: npt.NDArray[Any], rate: int) -> float:
    """The strongest frequency in Hz; 0 when there is only silence or a constant.

    Args:
        samples: Mono samples of any numeric type.
        rate: Samples a second.
    """
    values = np.asarray(samples, np.float64)
    if len(values) < MIN_SAMPLES:
        return 0.0
    values = values - values.mean()
    if not values.any():
        return 0.0
    power = np.abs(np.fft.rfft(values * np.hanning(len(values))))
    peak = int(power[1:].argmax()) + 1
    shift = 0.0
    if peak + 1 < len(power):
        # The peak of a parabola through three logarithmic bins lies between the bins.
        left, middle, right = np.log(power[peak - 1 : peak + 2] + 1e-12)
        curve = left - 2 * middle + right
        shift = float((left - right) / (2 * curve)) if curve else 0.0
    return (peak + shift) * rate / len(values)


def level_dbov(samples: npt.NDArray[Any]) -> float:
    """RMS level in dBov: 0 is a full-scale square wave, -127 silence (RFC 6464 section 3)."""
    values = np.asarray(samples, np.float64)
    if not len(values):
        return SILENCE_DBOV
    rms = math.sqrt(float(np.mean(values * values)))
    return max(SILENCE_DBOV, 20 * math.log10(rms / FULL_SCALE)) if rms else SILENCE_DBOV


def recorded_frequency(path: str | os.PathLike[str]) -> float:
    """The strongest frequency of a WAV file in Hz.

    Raises:
        ConfigurationError: The file cannot be read.
    """
    rate, samples = read_wave(path)
    return dominant_frequency(samples, rate)
