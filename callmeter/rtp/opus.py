"""What an Opus packet says of itself: the length of its audio, without decoding (RFC 6716).

RTP carries one Opus packet as payload, nothing around it (RFC 7587 section 4.2). Its timestamps
count 48,000 a second whatever the audio is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["CLOCK_RATE", "join", "packet_samples"]

CLOCK_RATE: Final = 48_000
LONGEST: Final = 5760
"""Samples of 120 ms: no packet has more (RFC 6716 section 3.2.5)."""

_SILK, _HYBRID = 12, 16
_SILK_FRAMES = (480, 960, 1920, 2880)
_HYBRID_FRAMES = (480, 960)
_CELT_FRAMES = (120, 240, 480, 960)
_CODE = 0b11
_COUNTED = 3
_COUNT = 0x3F
_VARIABLE = 0x80
_TWO_OCTETS_FROM = 252


def _frame_samples(toc: int) -> int:
    """Samples of each frame (RFC 6716 section 3.1, table 2)."""
    configuration = toc >> 3
    if configuration < _SILK:
        return _SILK_FRAMES[configuration & 3]
    if configuration < _HYBRID:
        return _HYBRID_FRAMES[configuration & 1]
    return _CELT_FRAMES[configuration & 3]


def packet_samples(payload: bytes) -> int:
    """Samples at 48 kHz of an Opus packet; 0 when it is none."""
    if not payload:
        return 0
    code = payload[0] & _CODE
    if code < _COUNTED:
        count = min(code, 1) + 1
    elif len(payload) == 1:
        return 0
    else:
        count = payload[1] & _COUNT
    samples = count * _frame_samples(payload[0])
    return samples if samples <= LONGEST else 0


def join(packets: Sequence[bytes]) -> bytes:
    """One packet of several that hold one frame each (RFC 6716 section 3.2.5).

    All frames of a packet are of one kind. Of a packet of another kind, or one that is not a plain
    frame, an empty frame is left, which a decoder takes for a lost one.

    Args:
        packets: 1 to 48, with a frame each.
    """
    if len(packets) == 1:
        return packets[0]
    plain = (packet[0] for packet in packets if not packet[0] & _CODE)
    kind = next(plain, packets[0][0] & ~_CODE)
    frames = [packet[1:] if packet[0] == kind else b"" for packet in packets]
    head = bytes([kind | _COUNTED])
    if len({len(frame) for frame in frames}) == 1:
        return head + bytes([len(frames)]) + b"".join(frames)
    lengths = b"".join(_length(frame) for frame in frames[:-1])
    return head + bytes([_VARIABLE | len(frames)]) + lengths + b"".join(frames)


def _length(frame: bytes) -> bytes:
    """Length of a frame in one octet or two (RFC 6716 section 3.2.1)."""
    length = len(frame)
    if length < _TWO_OCTETS_FROM:
        return bytes([length])
    low = _TWO_OCTETS_FROM + (length & 3)
    return bytes([low, (length - low) >> 2])
