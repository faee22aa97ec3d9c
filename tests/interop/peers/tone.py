"""Tones in WAV files: written for a peer to play, found again in what a peer recorded."""

from __future__ import annotations

import wave
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

RATE = 8_000
AMPLITUDE = 8_000


def write_tone(path: Path, hertz: float, *, seconds: int, rate: int = RATE) -> None:
    """A sine wave, 16 bit mono."""
    at = np.arange(rate * seconds) / rate
    samples = (AMPLITUDE * np.sin(2 * np.pi * hertz * at)).astype("<i2")
    with wave.open(str(path), "wb") as output:
        output.setnchannels(1)
        output.setsampwidth(2)
        output.setframerate(rate)
        output.writeframes(samples.tobytes())


def is_complete(path: Path) -> bool:
    """Whether the header says how long the recording is: it is written last."""
    try:
        with wave.open(str(path), "rb") as recording:
            return recording.getnframes() > 0
    except (wave.Error, EOFError):
        return False


def read_samples(path: Path) -> tuple[np.ndarray, int]:
    """First channel and rate of a 16 bit file."""
    with wave.open(str(path), "rb") as recording:
        data = recording.readframes(recording.getnframes())
        return np.frombuffer(data, "<i2")[:: recording.getnchannels()], recording.getframerate()


def loudest(path: Path) -> tuple[float, float]:
    """Frequency in Hz of the strongest tone, and the share of the power it holds.

    The first 300 ms are left out: jitter buffers start there. Silence gives (0.0, 0.0).
    """
    samples, rate = read_samples(path)
    samples = samples[int(rate * 0.3) :].astype(float)
    if samples.size < rate // 4 or not samples.any():
        return 0.0, 0.0
    power = np.abs(np.fft.rfft(samples * np.hanning(samples.size))) ** 2
    peak = int(power.argmax())
    hertz = peak * rate / samples.size
    width = max(3, int(10 * samples.size / rate))  # 10 Hz to each side
    share = power[max(0, peak - width) : peak + width + 1].sum() / power.sum()
    return float(hertz), float(share)
