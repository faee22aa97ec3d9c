"""WAV files: what callers play and what recordings become.

Read: PCM of 8 to 32 bits, IEEE float, mu-law and A-law, any rate, any number of channels.
Written: PCM, 16 bits, mono. (The standard library's `wave` knows PCM only.)
"""

from __future__ import annotations

import math
import os
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import numpy as np

from callmeter.errors import ConfigurationError
from callmeter.rtp import g711

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["WaveWriter", "open_for_writing", "read_wave", "resample", "rounded"]

PCM: Final = 1
IEEE_FLOAT: Final = 3
A_LAW: Final = 6
MU_LAW: Final = 7
EXTENSIBLE: Final = 0xFFFE
HEADER_OCTETS: Final = 44
FORMAT_OCTETS: Final = 16
EXTENSIBLE_OCTETS: Final = 26
MAX_DATA_OCTETS: Final = (1 << 32) - 2 * HEADER_OCTETS
MAX_RATE: Final = 384_000
MAX_FILE_OCTETS: Final = 1 << 28
FILTER_ZEROS: Final = 24
RESAMPLE_AT_ONCE: Final = 2048


def read_wave(path: str | os.PathLike[str]) -> tuple[int, npt.NDArray[np.int16]]:
    """Read a WAV file.

    Returns:
        Samples a second, and the samples as mono int16; channels are averaged.

    Raises:
        ConfigurationError: No such file, or not a WAV file this can read.
    """
    try:
        if Path(path).stat().st_size > MAX_FILE_OCTETS:
            raise ConfigurationError(f"{path} is longer than {MAX_FILE_OCTETS} octets")
        data = Path(path).read_bytes()
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror}") from error
    try:
        return _parse(data)
    except (ValueError, struct.error) as error:
        raise ConfigurationError(f"{path} cannot be played: {error}") from error


def _parse(data: bytes) -> tuple[int, npt.NDArray[np.int16]]:
    if data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        raise ValueError("not a RIFF WAVE file")
    header = b""
    position = 12
    while position + 8 <= len(data):
        (size,) = struct.unpack_from("<I", data, position + 4)
        body = data[position + 8 : position + 8 + size]
        kind = data[position : position + 4]
        if kind == b"fmt ":
            header = body
        elif kind == b"data":
            return _decode(header, body)
        position += 8 + size + size % 2
    raise ValueError("no data chunk")


def _decode(header: bytes, body: bytes) -> tuple[int, npt.NDArray[np.int16]]:
    if len(header) < FORMAT_OCTETS:
        raise ValueError("no format before the data")
    tag, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", header)
    if tag == EXTENSIBLE and len(header) >= EXTENSIBLE_OCTETS:
        (tag,) = struct.unpack_from("<H", header, EXTENSIBLE_OCTETS - 2)
    if not channels or not 0 < rate <= MAX_RATE:
        raise ValueError(f"{channels} channels at {rate} Hz")
    samples = _to_int16(tag, bits, body)
    if channels > 1:
        samples = samples[: len(samples) // channels * channels].reshape(-1, channels)
        samples = samples.mean(axis=1).round().astype(np.int16)
    return rate, samples


def _to_int16(tag: int, bits: int, body: bytes) -> npt.NDArray[np.int16]:
    if tag == MU_LAW:
        return g711.decode(body, g711.Law.PCMU)
    if tag == A_LAW:
        return g711.decode(body, g711.Law.PCMA)
    whole = body[: len(body) // max(1, bits // 8) * max(1, bits // 8)]
    match tag, bits:
        case 1, 8:
            return ((np.frombuffer(whole, np.uint8).astype(np.int32) - 128) << 8).astype(np.int16)
        case 1, 16:
            return np.frombuffer(whole, "<i2").astype(np.int16)
        case 1, 24:
            octets = np.frombuffer(whole, np.uint8).reshape(-1, 3)
            return np.ascontiguousarray(octets[:, 1:]).view("<i2")[:, 0].astype(np.int16)
        case 1, 32:
            return (np.frombuffer(whole, "<i4") >> 16).astype(np.int16)
        case 3, 32 | 64:
            values = np.nan_to_num(np.frombuffer(whole, f"<f{bits // 8}"), posinf=1.0, neginf=-1.0)
            return rounded(values * 32767)
    raise ValueError(f"format {tag} of {bits} bits")


def resample(samples: npt.NDArray[np.int16], rate: int, wanted_rate: int) -> npt.NDArray[np.int16]:
    """Bring samples to another rate by windowed-sinc interpolation.

    The sinc is that of the lower of the two rates, so nothing folds. The places of the new
    samples between the old ones repeat, so a few kernels serve all of them.
    """
    if rate == wanted_rate or not len(samples):
        return samples
    common = math.gcd(rate, wanted_rate)
    up, down = wanted_rate // common, rate // common
    # 0.9 of the lower Nyquist frequency leaves the slope of the window below it.
    cutoff = min(1.0, wanted_rate / rate) * 0.9
    half = int(FILTER_ZEROS / cutoff)
    offsets = np.arange(-half, half + 1)
    windows = np.lib.stride_tricks.sliding_window_view(
        np.pad(samples.astype(np.float64), half), 2 * half + 1
    )
    count = -(-len(samples) * up // down)
    result = np.empty(count)
    for phase in range(min(up, count)):
        places = offsets - (phase * down % up) / up
        kernel = np.sinc(places * cutoff) * np.cos(places * (math.pi / 2 / (half + 1))) ** 2
        kernel /= kernel.sum()
        for start in range(phase, count, up * RESAMPLE_AT_ONCE):
            numbers = np.arange(start, min(start + up * RESAMPLE_AT_ONCE, count), up)
            result[numbers] = windows[numbers * down // up] @ kernel
    return rounded(result)


def rounded(values: npt.NDArray[Any]) -> npt.NDArray[np.int16]:
    """The nearest int16 samples."""
    samples: npt.NDArray[np.int16] = np.clip(values.round(), -32768, 32767).astype(np.int16)
    return samples


def open_for_writing(path: str | os.PathLike[str]) -> BinaryIO:
    """Make the file of a recording.

    Raises:
        ConfigurationError: It cannot be made.
    """
    try:
        return Path(path).open("wb")
    except OSError as error:
        raise ConfigurationError(f"cannot write {path}: {error.strerror}") from error


class WaveWriter:
    """Writes mono int16 samples; the header is right once `close` returns.

    Attributes:
        rate: Samples a second; may be changed before the first one is written.
        samples: Samples written.

    Raises:
        ConfigurationError: The file cannot be made.
    """

    __slots__ = ("_file", "rate", "samples")

    def __init__(self, path: str | os.PathLike[str], rate: int) -> None:
        self._file = open_for_writing(path)
        self.rate = rate
        self.samples = 0
        self._file.write(self._header())

    def write(self, samples: npt.NDArray[np.int16]) -> None:
        """Append samples."""
        self._file.write(samples.astype("<i2", copy=False).tobytes())
        self.samples += len(samples)

    def silence(self, samples: int) -> None:
        """Append silence; where the file system can, it takes no room."""
        self._file.seek(2 * samples, os.SEEK_CUR)
        self.samples += samples

    def close(self) -> None:
        """Write the true length into the header."""
        if not self._file.closed:
            self._file.truncate()
            self._file.seek(0)
            self._file.write(self._header())
            self._file.close()

    def _header(self) -> bytes:
        octets = min(2 * self.samples, MAX_DATA_OCTETS)
        return struct.pack(
            "<4sI4s4sIHHIIHH4sI",
            *(b"RIFF", HEADER_OCTETS - 8 + octets, b"WAVE"),
            *(b"fmt ", FORMAT_OCTETS, PCM, 1, self.rate, 2 * self.rate, 2, 16),
            *(b"data", octets),
        )
