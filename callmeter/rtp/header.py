"""The RTP fixed header (RFC 3550 section 5.1), one packet at a time and in batches.

The batch forms work on a two-dimensional octet array, one packet a row: the arena of the media
engine. They create no object per packet.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "FIXED_HEADER",
    "MAX_CSRC",
    "PacketColumns",
    "RtpHeader",
    "header_length",
    "pack_header",
    "parse_header",
    "payload_bounds",
]

FIXED_HEADER = 12
"""Octets of the fixed header."""
MAX_CSRC = 15

_HEADER = struct.Struct("!BBHII")
_VERSION_2 = 0x80
_PADDING = 0x20
_EXTENSION = 0x10
_MARKER = 0x80
_EXTENSION_HEAD = 4
_WORD = 4


class RtpHeader(NamedTuple):
    """The fields of the fixed header.

    Attributes:
        payload_type: 0 to 127.
        sequence: 16 bits.
        timestamp: 32 bits, in units of the payload's clock.
        ssrc: 32 bits.
        marker: The marker bit.
        padding: Whether the packet ends in padding.
        extension: Whether a header extension follows the CSRC list.
        csrc_count: 0 to 15.
    """

    payload_type: int
    sequence: int
    timestamp: int
    ssrc: int
    marker: bool = False
    padding: bool = False
    extension: bool = False
    csrc_count: int = 0


def pack_header(
    payload_type: int, sequence: int, timestamp: int, ssrc: int, *, marker: bool = False
) -> bytes:
    """Build the twelve octets of a header without CSRC list, extension or padding.

    Sequence number, timestamp and SSRC are taken modulo their width, so a caller may count on.

    Args:
        payload_type: 0 to 127.
        sequence: Sequence number.
        timestamp: In units of the payload's clock.
        ssrc: Synchronisation source.
        marker: The marker bit.
    """
    return _HEADER.pack(
        _VERSION_2,
        (payload_type & 0x7F) | (_MARKER if marker else 0),
        sequence & 0xFFFF,
        timestamp & 0xFFFF_FFFF,
        ssrc & 0xFFFF_FFFF,
    )


def parse_header(packet: bytes | bytearray | memoryview) -> RtpHeader | None:
    """Read the fixed header; None when this is no RTP version 2 packet of 12 octets or more."""
    if len(packet) < FIXED_HEADER:
        return None
    first, second, sequence, timestamp, ssrc = _HEADER.unpack_from(packet)
    if first & 0xC0 != _VERSION_2:
        return None
    return RtpHeader(
        second & 0x7F,
        sequence,
        timestamp,
        ssrc,
        second >= _MARKER,
        first & _PADDING != 0,
        first & _EXTENSION != 0,
        first & 0x0F,
    )


def header_length(packet: bytes | bytearray | memoryview) -> int | None:
    """Octets of the whole header: fixed part, CSRC list and extension (RFC 3550 5.1, 5.3.1).

    It is checked before a packet goes to libsrtp, which trusts these lengths.

    Returns:
        The length, or None when the packet is shorter than its header claims.
    """
    length = len(packet)
    if length < FIXED_HEADER or packet[0] & 0xC0 != _VERSION_2:
        return None
    needed = FIXED_HEADER + _WORD * (packet[0] & 0x0F)
    if packet[0] & _EXTENSION:
        if length < needed + _EXTENSION_HEAD:
            return None
        words = (packet[needed + 2] << 8) | packet[needed + 3]
        needed += _EXTENSION_HEAD + _WORD * words
    return needed if needed <= length else None


def payload_bounds(packet: bytes | bytearray | memoryview) -> tuple[int, int] | None:
    """Where the payload of a plain (decrypted) packet starts and ends, padding taken off.

    Returns:
        Start and end offsets, or None when header and padding do not fit into the packet.
    """
    start = header_length(packet)
    if start is None:
        return None
    end = len(packet)
    if packet[0] & _PADDING:
        padding = packet[-1]
        if padding == 0 or start + padding > end:
            return None
        end -= padding
    return start, end


class PacketColumns:
    """The header fields of an arena as columns: views, so reading and writing go to the packets.

    Args:
        arena: Octets, shape (packets, slot size); the slot size is a multiple of 4 and at
            least 12, and rows are contiguous.

    Attributes:
        first: First octet of each packet: version, padding, extension, CSRC count.
        second: Second octet: marker and payload type.
        sequence: Sequence numbers, big-endian on the wire.
        timestamp: Timestamps.
        ssrc: Synchronisation sources.
    """

    __slots__ = ("first", "second", "sequence", "ssrc", "timestamp")

    def __init__(self, arena: NDArray[np.uint8]) -> None:
        self.first: NDArray[np.uint8] = arena[:, 0]
        self.second: NDArray[np.uint8] = arena[:, 1]
        self.sequence: NDArray[np.uint16] = arena.view(">u2")[:, 1]
        words = arena.view(">u4")
        self.timestamp: NDArray[np.uint32] = words[:, 1]
        self.ssrc: NDArray[np.uint32] = words[:, 2]

    def plain_headers(self, lengths: NDArray[np.integer]) -> NDArray[np.bool_]:
        """Which of the first `len(lengths)` packets have nothing but a fixed header.

        Version 2, no padding, no extension, no CSRC, at least 12 octets: their payload starts
        at octet 12. The others need `payload_bounds`.
        """
        count = len(lengths)
        plain: NDArray[np.bool_] = self.first[:count] == _VERSION_2
        plain &= lengths >= FIXED_HEADER
        return plain
