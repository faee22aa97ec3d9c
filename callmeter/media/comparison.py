"""What was heard against what was sent: delay, gaps, a clipped start, level.

Functions of samples, for tests that have both: `WavFile` sent here, `record` there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from callmeter.errors import ConfigurationError
from callmeter.media.analysis import FULL_SCALE, level_dbov

if TYPE_CHECKING:
    import numpy.typing as npt

    Samples = npt.NDArray[Any]
    Floats = npt.NDArray[np.float64]

__all__ = [
    "AudioComparison",
    "AudioPath",
    "Span",
    "compare",
    "goertzel_dbov",
    "has_tone",
    "one_way",
    "silent_spans",
]

FRAME_S: Final = 0.01
AUDIBLE_DBOV: Final = -50.0
"""Nobody hears what is below."""
MISSING_DB: Final = 20.0
"""Heard by so much less than the rest, a frame was not heard at all."""
LEAST_GAP_S: Final = 0.02
"""One packet."""
_TINY: Final = 1e-12


@dataclass(frozen=True, slots=True)
class Span:
    """A part of a recording in seconds from its beginning."""

    start: float
    end: float

    @property
    def seconds(self) -> float:
        """Its length."""
        return self.end - self.start


def goertzel_dbov(samples: Samples, rate: int, frequency: float) -> float:
    """Level of one frequency by the Goertzel algorithm; a sine of full scale has -3 dBov.

    Args:
        samples: Mono, 16 bits, of any numeric type.
        rate: Samples a second.
        frequency: Hz, below half the rate.

    Raises:
        ConfigurationError: A frequency that such samples cannot have.
    """
    if not 0 < frequency < rate / 2:
        raise ConfigurationError(f"at {rate} samples a second there is no {frequency} Hz")
    values = np.asarray(samples, np.float64) / FULL_SCALE
    if not len(values):
        return -127.0
    # The recursion of Goertzel is a scalar product with a rotating phasor.
    phasor = np.exp(-2j * math.pi * frequency / rate * np.arange(len(values)))
    amplitude = 2 * abs(complex(values @ phasor)) / len(values)
    return max(-127.0, 10 * math.log10(amplitude**2 / 2 + _TINY))


def has_tone(
    samples: Samples, rate: int, frequency: float, *, least_dbov: float = AUDIBLE_DBOV
) -> bool:
    """Whether a tone is there: audible, and most of what is to be heard.

    Args:
        samples: Mono, 16 bits.
        rate: Samples a second.
        frequency: Hz.
        least_dbov: Its level at least.

    Raises:
        ConfigurationError: A frequency that such samples cannot have.
    """
    level = goertzel_dbov(samples, rate, frequency)
    return level >= least_dbov and level >= level_dbov(samples) - 3


def silent_spans(
    samples: Samples, rate: int, *, below_dbov: float = AUDIBLE_DBOV, least_s: float = 0.2
) -> tuple[Span, ...]:
    """Where nothing is to be heard.

    Args:
        samples: Mono, 16 bits.
        rate: Samples a second.
        below_dbov: Level of a frame of 10 ms that counts as silence.
        least_s: Shorter silence is a pause.
    """
    levels = _frame_levels(np.asarray(samples, np.float64), rate)
    return _spans(levels < below_dbov, least_s)


@dataclass(frozen=True, slots=True)
class AudioPath:
    """Which end heard anything.

    Attributes:
        caller_heard, callee_heard: Whether its recording has anything audible.
    """

    caller_heard: bool
    callee_heard: bool

    @property
    def one_way(self) -> bool:
        """Whether one alone heard the other."""
        return self.caller_heard is not self.callee_heard


def one_way(caller: Samples, callee: Samples, rate: int, *, least_s: float = 0.1) -> AudioPath:
    """Find one-way audio in what both ends recorded.

    Args:
        caller: What the caller heard, mono, 16 bits.
        callee: What the callee heard.
        rate: Samples a second.
        least_s: How much of it has to be audible.
    """
    heard = [
        bool(
            (_frame_levels(np.asarray(end, np.float64), rate) >= AUDIBLE_DBOV).sum() * FRAME_S
            >= least_s
        )
        for end in (caller, callee)
    ]
    return AudioPath(*heard)


@dataclass(frozen=True, slots=True, kw_only=True)
class AudioComparison:
    """What became of a recording on its way.

    Attributes:
        delay_s: How much later it was heard; negative when what was heard begins within it.
        similarity: Correlation of the two once the delay is taken away, -1 to 1.
        level_db: How much louder it was heard, where it was heard; None when it never was.
        clipped_start_s: What is missing of its beginning.
        clipped_end_s: What is missing of its end.
        gaps: What is missing in between, in seconds of what was sent.
    """

    delay_s: float
    similarity: float
    level_db: float | None
    clipped_start_s: float
    clipped_end_s: float
    gaps: tuple[Span, ...]

    @property
    def lost_s(self) -> float:
        """All that is missing."""
        return self.clipped_start_s + self.clipped_end_s + sum(gap.seconds for gap in self.gaps)


def compare(sent: Samples, heard: Samples, rate: int) -> AudioComparison:
    """Compare a recording with the one it was made from.

    The delay is where the cross-correlation of the two is greatest. What was sent should not repeat
    itself: speech or a sweep has one place where it fits, a tone has many.

    Args:
        sent: The reference: mono, 16 bits.
        heard: What was recorded, at the same rate.
        rate: Samples a second.

    Raises:
        ConfigurationError: Nothing audible was sent, or one is shorter than 10 ms.
    """
    reference, recorded = (np.asarray(item, np.float64) for item in (sent, heard))
    frame = int(rate * FRAME_S)
    if min(len(reference), len(recorded)) < frame:
        raise ConfigurationError("a recording of less than 10 ms cannot be compared")
    wanted = _frame_levels(reference, rate)
    active = wanted >= AUDIBLE_DBOV
    if not active.any():
        raise ConfigurationError("what was sent is silent: there is nothing to be compared")
    delay = _delay(reference, recorded)
    aligned = _aligned(recorded, delay, len(reference))
    got = _frame_levels(aligned, rate)
    change = got - wanted
    audible = active & (got >= AUDIBLE_DBOV - MISSING_DB)
    usual = float(np.median(change[audible])) if audible.any() else 0.0
    missing = active & ((change < usual - MISSING_DB) | ~audible)
    present = active & ~missing
    spans = _missing_spans(missing, active)
    begin, end = _edges(active, present)
    return AudioComparison(
        delay_s=delay / rate,
        similarity=_similarity(reference, aligned),
        level_db=_level_change(reference, aligned, present, frame),
        clipped_start_s=begin * FRAME_S,
        clipped_end_s=end * FRAME_S,
        gaps=spans,
    )


def _frame_levels(values: Floats, rate: int) -> Floats:
    """Level of each whole frame of 10 ms in dBov."""
    frame = int(rate * FRAME_S)
    frames = values[: len(values) // frame * frame].reshape(-1, frame) / FULL_SCALE
    levels: Floats = 10 * np.log10((frames**2).mean(axis=1) + _TINY)
    return levels


def _spans(flags: npt.NDArray[np.bool_], least_s: float) -> tuple[Span, ...]:
    edges = np.flatnonzero(np.diff(np.concatenate(([False], flags, [False])).astype(np.int8)))
    spans = (
        Span(begin * FRAME_S, end * FRAME_S)
        for begin, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)
    )
    return tuple(span for span in spans if span.seconds >= least_s - FRAME_S / 2)


def _delay(reference: Floats, recorded: Floats) -> int:
    """By how many samples the second is behind the first."""
    size = 1 << (len(reference) + len(recorded) - 1).bit_length()
    spectrum = np.fft.rfft(recorded, size) * np.conj(np.fft.rfft(reference, size))
    likeness = np.fft.irfft(spectrum, size)
    best = int(likeness.argmax())
    return best if best < len(recorded) else best - size


def _aligned(recorded: Floats, delay: int, length: int) -> Floats:
    """What was heard at the time of what was sent; silence where it is not there."""
    aligned = np.zeros(length)
    begin, first = max(0, -delay), max(0, delay)
    count = min(length - begin, len(recorded) - first)
    if count > 0:
        aligned[begin : begin + count] = recorded[first : first + count]
    return aligned


def _similarity(reference: Floats, aligned: Floats) -> float:
    size = math.sqrt(float(reference @ reference) * float(aligned @ aligned))
    return float(reference @ aligned) / size if size else 0.0


def _level_change(
    reference: Floats, aligned: Floats, present: npt.NDArray[np.bool_], frame: int
) -> float | None:
    if not present.any():
        return None
    size = len(present) * frame
    before, after = (
        float((item[:size].reshape(-1, frame)[present] ** 2).sum()) for item in (reference, aligned)
    )
    return 10 * math.log10(after / before)


def _edges(active: npt.NDArray[np.bool_], present: npt.NDArray[np.bool_]) -> tuple[int, int]:
    """Audible frames that are missing at the beginning and at the end."""
    places = np.flatnonzero(present)
    if not len(places):
        return int(active.sum()), 0
    first, last = int(places[0]), int(places[-1])
    return int(active[:first].sum()), int(active[last + 1 :].sum())


def _missing_spans(
    missing: npt.NDArray[np.bool_], active: npt.NDArray[np.bool_]
) -> tuple[Span, ...]:
    """Gaps between frames that were heard."""
    present = np.flatnonzero(active & ~missing)
    inner = missing.copy()
    if not len(present):
        return ()
    inner[: present[0]] = False
    inner[present[-1] :] = False
    return _spans(inner, LEAST_GAP_S)
