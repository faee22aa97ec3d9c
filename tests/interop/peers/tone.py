"""Tones in WAV files: written for a peer to play, found again in what a peer recorded."""

from __future__ import annotations

import wave
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

RATE = 8_000
AMPLITUDE = 8_000
SILENCE = 1e-3
"""Of the power of the loudest piece."""
NEAR_HZ = 45
"""How broad the window of 50 ms makes a tone, to each side."""


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

    The first 300 ms are left out: jitter buffers start there. Three quarters of the pieces of
    50 ms that are not silent have that share at least: who was kept from its processor for a
    moment goes on at another phase, and two pieces of one tone are no tone together. The shorter
    the pieces, the fewer of them it spoils. Silence gives (0.0, 0.0).
    """
    samples, rate = read_samples(path)
    samples = samples[int(rate * 0.3) :].astype(float)
    if samples.size < rate // 4 or not samples.any():
        return 0.0, 0.0
    hertz = int(_power(samples).argmax()) * rate / samples.size
    size = rate // 20
    pieces = [samples[start : start + size] for start in range(0, samples.size - size + 1, size)]
    powers = [float(_power(piece).sum()) for piece in pieces]
    audible = [
        _share(piece, hertz, rate)
        for piece, power in zip(pieces, powers, strict=True)
        if power > SILENCE * max(powers)
    ]
    return float(hertz), float(np.quantile(audible, 0.25))


def _power(samples: np.ndarray) -> np.ndarray:
    return np.abs(np.fft.rfft(samples * np.hanning(samples.size))) ** 2


def _share(piece: np.ndarray, hertz: float, rate: int) -> float:
    """What `NEAR_HZ` to each side of a tone hold of the power of a piece."""
    power = _power(piece)
    near = np.abs(np.arange(power.size) * rate / piece.size - hertz) <= NEAR_HZ
    whole = power.sum()
    return float(power[near].sum() / whole) if whole else 0.0
