"""G.711 by look-up table, both laws (ITU-T G.711; the arithmetic is that of G.191).

PCM is 16 bits, signed. All forms take arrays of any shape: one packet (samples,) or a batch
(packets, samples) in one step.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["PCMA_TO_PCMU", "PCMU_TO_PCMA", "Law", "decode", "encode"]

_SEGMENT_BIAS = 33
_MU_CEILING = 0x1FFF


class Law(Enum):
    """The two laws of G.711, by their RTP encoding names."""

    PCMU = "PCMU"
    PCMA = "PCMA"

    @property
    def silence(self) -> int:
        """The octet of the quietest positive value."""
        return 0xFF if self is Law.PCMU else 0xD5


def _bit_lengths(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Bits needed for each value; 0 for 0."""
    return np.frexp(values)[1].astype(np.int64)


def _mu_decode_table() -> NDArray[np.int16]:
    code = ~np.arange(256) & 0xFF
    exponent, mantissa = (code >> 4) & 7, code & 0xF
    magnitude = (0x80 << exponent) + (8 << exponent) * mantissa + (4 << exponent)
    magnitude -= 4 * _SEGMENT_BIAS
    return np.where(code & 0x80, -magnitude, magnitude).astype(np.int16)


def _a_decode_table() -> NDArray[np.int16]:
    code = np.arange(256) ^ 0x55
    exponent, mantissa = (code >> 4) & 7, code & 0xF
    magnitude = ((mantissa + np.where(exponent > 0, 16, 0)) << 4) + 8
    magnitude <<= np.maximum(exponent - 1, 0)
    return np.where(code & 0x80, magnitude, -magnitude).astype(np.int16)


def _every_sample() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Each 16-bit sample in the order of its unsigned bits, and its one's complement magnitude."""
    samples = np.arange(65_536).astype(np.uint16).view(np.int16).astype(np.int64)
    return samples, np.where(samples < 0, ~samples, samples)


def _mu_encode_table() -> NDArray[np.uint8]:
    samples, magnitude = _every_sample()
    biased = np.minimum((magnitude >> 2) + _SEGMENT_BIAS, _MU_CEILING)
    segment = _bit_lengths(biased >> 6) + 1
    code = ((8 - segment) << 4) | (0xF - ((biased >> segment) & 0xF))
    table: NDArray[np.uint8] = (code | np.where(samples >= 0, 0x80, 0)).astype(np.uint8)
    return table


def _a_encode_table() -> NDArray[np.uint8]:
    samples, magnitude = _every_sample()
    magnitude >>= 4
    exponent = np.maximum(_bit_lengths(magnitude >> 4), 1)
    mantissa = magnitude >> (exponent - 1)
    code = np.where(magnitude > 15, mantissa - 16 + (exponent << 4), magnitude)  # noqa: PLR2004
    return ((code | np.where(samples >= 0, 0x80, 0)) ^ 0x55).astype(np.uint8)


_ENCODE = {Law.PCMU: _mu_encode_table(), Law.PCMA: _a_encode_table()}
_DECODE = {Law.PCMU: _mu_decode_table(), Law.PCMA: _a_decode_table()}


def encode(pcm: NDArray[np.int16], law: Law) -> NDArray[np.uint8]:
    """Compress PCM.

    Args:
        pcm: Samples, 16 bits signed, any shape.
        law: Which of the two.

    Returns:
        One octet a sample, the same shape; `.tobytes()` is the payload.
    """
    return _ENCODE[law][pcm.view(np.uint16)]


def decode(
    payload: bytes | bytearray | memoryview | NDArray[np.uint8], law: Law
) -> NDArray[np.int16]:
    """Expand a payload.

    Args:
        payload: Octets of one packet, or an array of any shape.
        law: Which of the two.

    Returns:
        PCM samples, 16 bits signed: shape (octets,), or that of the array.
    """
    if not isinstance(payload, np.ndarray):
        payload = np.frombuffer(payload, np.uint8)
    return _DECODE[law][payload]


PCMU_TO_PCMA: bytes = _ENCODE[Law.PCMA][_DECODE[Law.PCMU].view(np.uint16)].tobytes()
"""For `bytes.translate`: mu-law octets to A-law, by way of their PCM values."""
PCMA_TO_PCMU: bytes = _ENCODE[Law.PCMU][_DECODE[Law.PCMA].view(np.uint16)].tobytes()
"""For `bytes.translate`: A-law octets to mu-law, by way of their PCM values."""
