"""What a stream plays. Audio is encoded once and sent from tables; nothing is computed per tick.

A source gives `Frames`: every payload of the audio, in order, and whether it starts again at the
end. The same source object may be played by any number of streams. A source that has samples, in
place of payloads of its own, is a `PcmSource`. One that cannot know its audio beforehand (an echo)
is a `LiveSource`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol, runtime_checkable

import numpy as np

from callmeter.errors import ConfigurationError
from callmeter.media.codecs import find_codec, silent_payload
from callmeter.media.wave_file import read_wave, resample, rounded

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    import numpy.typing as npt

    from callmeter.media.codecs import AudioCodec

__all__ = [
    "AudioSource",
    "Frames",
    "LiveLine",
    "LiveSource",
    "PcmSource",
    "Silence",
    "Tone",
    "WavFile",
]

FULL_SCALE_DBM0: Final = 3.17
"""A sine of full scale in mu-law (ITU-T G.711)."""
FULL_SCALE: Final = 32124
RESOLUTION_HZ: Final = 10
"""Tones are cut to tenths of a hertz, so that a table of whole periods has at most ten seconds."""


@dataclass(frozen=True, slots=True)
class Frames:
    """Encoded audio, cut into packets.

    Attributes:
        payloads: One payload per packet, at least one. Those of one length are sent in batches.
        loop: Whether the first follows the last.
    """

    payloads: Sequence[bytes]
    loop: bool


@runtime_checkable
class AudioSource(Protocol):
    """Audio known beforehand."""

    def frames(self, codec: str, samples_per_frame: int) -> Frames:
        """The audio in this codec, cut into frames of so many samples.

        Samples are those of the audio: G.722 has 16,000 a second, Opus 48,000.
        """
        ...


class LiveLine(Protocol):
    """One playing of a live source; it also hears the stream, as an `AudioSink` does."""

    def next_frame(self, codec: str, samples_per_frame: int) -> bytes | None:
        """The payload to send now, or None when the source is exhausted."""
        ...

    def open(self, schedule: object) -> None:
        """Called when it is attached."""

    def write(
        self, codec: str, sequence: int, timestamp: int, arrival: float, payload: bytes
    ) -> None:
        """A packet that was received."""

    def close(self) -> None:
        """Called when it is detached."""


@runtime_checkable
class LiveSource(Protocol):
    """Audio that is made while it plays."""

    def line(self) -> LiveLine:
        """A new, independent playing."""
        ...


class PcmSource(ABC):
    """Audio that is known as samples, for any codec.

    It is encoded once per codec and frame length, and the result is kept.

    Attributes:
        loop: Whether it starts again at its end.
    """

    loop: bool

    def __init__(self) -> None:
        self._encoded: dict[tuple[AudioCodec, int], Frames] = {}

    def frames(self, codec: str, samples_per_frame: int) -> Frames:
        """The audio in this codec, cut into frames of so many samples."""
        return self.encoded(find_codec(codec), samples_per_frame)

    def encoded(self, codec: AudioCodec, samples_per_frame: int) -> Frames:
        """The same, for a codec with settings of its own."""
        key = (codec, samples_per_frame)
        frames = self._encoded.get(key)
        if frames is None:
            samples = self.samples(codec.sample_rate, samples_per_frame)
            padding = -len(samples) % samples_per_frame or (samples_per_frame * (not len(samples)))
            padded = np.pad(samples, (0, padding))
            payloads = codec.frames(padded, samples_per_frame, loop=self.loop)
            frames = self._encoded[key] = Frames(payloads, self.loop)
        return frames

    def has_encoded(self, codec: AudioCodec, samples_per_frame: int) -> bool:
        """Whether this is there already, or made at once."""
        return codec.immediate or (codec, samples_per_frame) in self._encoded

    @abstractmethod
    def samples(self, rate: int, multiple: int) -> npt.NDArray[np.int16]:
        """The audio at this rate; a loop has a multiple of so many samples."""


class Silence(PcmSource):
    """Digital silence for ever."""

    loop = True

    def encoded(self, codec: AudioCodec, samples_per_frame: int) -> Frames:
        """One packet, for ever."""
        return Frames((silent_payload(codec, samples_per_frame),), loop=True)

    def samples(self, rate: int, multiple: int) -> npt.NDArray[np.int16]:
        """One frame of zeros."""
        del rate
        return np.zeros(multiple, np.int16)


class Tone(PcmSource):
    """A sine for ever, without a click where the table starts again.

    Args:
        frequency_hz: Above 0 and below 4000, to a tenth of a hertz.
        level_dbm0: Its level; -10 is loud and far from clipping, 3 the loudest there is.

    Raises:
        ConfigurationError: A frequency or level that G.711 cannot carry.
    """

    loop = True

    def __init__(self, frequency_hz: float = 440, level_dbm0: float = -10) -> None:
        super().__init__()
        if not 1 / RESOLUTION_HZ <= frequency_hz < 4000:  # noqa: PLR2004  half of 8 kHz
            raise ConfigurationError(f"a tone of {frequency_hz} Hz does not fit 8 kHz audio")
        if not -70 <= level_dbm0 <= 3:  # noqa: PLR2004  the range G.711 resolves
            raise ConfigurationError(f"a tone of {level_dbm0} dBm0 is not between -70 and 3")
        self.frequency_hz = round(frequency_hz * RESOLUTION_HZ) / RESOLUTION_HZ
        self.level_dbm0 = level_dbm0

    def __repr__(self) -> str:
        return f"Tone({self.frequency_hz:g}, level_dbm0={self.level_dbm0:g})"

    def samples(self, rate: int, multiple: int) -> npt.NDArray[np.int16]:
        """Whole periods in whole frames."""
        tenths = round(self.frequency_hz * RESOLUTION_HZ)
        period = rate * RESOLUTION_HZ // math.gcd(rate * RESOLUTION_HZ, tenths)
        count = math.lcm(period, multiple)
        amplitude = FULL_SCALE * 10 ** ((self.level_dbm0 - FULL_SCALE_DBM0) / 20)
        phase = np.arange(count) * (2 * math.pi * self.frequency_hz / rate)
        return rounded(amplitude * np.sin(phase))


class WavFile(PcmSource):
    """A WAV file, once or for ever.

    Args:
        path: Any rate and any number of channels; PCM, float, mu-law or A-law.
        loop: Start again at the end.

    Raises:
        ConfigurationError: The file cannot be read or played.
    """

    def __init__(self, path: str | os.PathLike[str], *, loop: bool = False) -> None:
        super().__init__()
        self.path = path
        self.loop = loop
        self._rate, self._samples = read_wave(path)

    def __repr__(self) -> str:
        return f"WavFile({str(self.path)!r}, loop={self.loop})"

    @property
    def seconds(self) -> float:
        """Its length."""
        return len(self._samples) / self._rate

    def samples(self, rate: int, multiple: int) -> npt.NDArray[np.int16]:
        """The file at this rate."""
        del multiple
        return resample(self._samples, self._rate, rate)
