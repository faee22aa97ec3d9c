"""Run-length chunks of RTCP extended reports (RFC 3611 section 4.1)."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["chunks_of", "flags_of", "numbers_reported"]

_SEQUENCES: Final = 1 << 16
_VECTOR: Final = 0x8000
_VECTOR_BITS: Final = 15
_ONES: Final = 0x4000
_MAX_RUN: Final = 0x3FFF


def numbers_reported(begin: int, end: int, thinning: int) -> range:
    """The numbers from `begin` up to `end` that thinning leaves, not brought back to 16 bits.

    Args:
        begin: First sequence number.
        end: The last one plus one.
        thinning: Only multiples of 2 to this power are reported on.
    """
    step = 1 << thinning
    first = -(-begin // step) * step
    return range(first, begin + (end - begin) % _SEQUENCES, step)


def flags_of(chunks: Iterable[int], limit: int) -> list[bool]:
    """The bits that chunks stand for, `limit` of them at most: a chunk may tell of thousands."""
    flags: list[bool] = []
    for chunk in chunks:
        if chunk & _VECTOR:
            flags += [bool(chunk >> bit & 1) for bit in range(_VECTOR_BITS - 1, -1, -1)]
        else:
            flags += [bool(chunk & _ONES)] * min(chunk & _MAX_RUN, limit - len(flags))
        if len(flags) >= limit:
            break
    return flags[:limit]


def chunks_of(flags: Sequence[bool]) -> tuple[int, ...]:
    """Encode bits: runs where these are longer than a bit vector, vectors elsewhere."""
    lengths = [0] * len(flags)
    start = 0
    for _, run in groupby(flags):
        length = sum(1 for _ in run)
        for behind in range(length):
            lengths[start + behind] = length - behind
        start += length
    chunks = []
    position = 0
    while position < len(flags):
        run_length = min(lengths[position], _MAX_RUN)
        if run_length >= _VECTOR_BITS or position + run_length == len(flags):
            chunks.append(_ONES * bool(flags[position]) | run_length)
            position += run_length
        else:
            vector = flags[position : position + _VECTOR_BITS]
            bits = sum(1 << _VECTOR_BITS - 1 - place for place, bit in enumerate(vector) if bit)
            chunks.append(_VECTOR | bits)
            position += len(vector)
    return tuple(chunks)
