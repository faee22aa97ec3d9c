"""What kind of packet a datagram on a media port is (RFC 7983, RFC 5761).

The first octet separates the protocols, the second RTP from RTCP. Classification looks at no
state and never raises; a datagram too short for its own kind is `DROP`.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["MINIMUM_OCTETS", "PacketKind", "classify", "classify_batch"]


class PacketKind(IntEnum):
    """The protocols that share a media port."""

    DROP = 0
    """Nothing this library knows: counted and dropped."""
    STUN = 1
    ZRTP = 2
    """Counted and dropped."""
    DTLS = 3
    TURN_CHANNEL = 4
    RTP = 5
    RTCP = 6


MINIMUM_OCTETS = {
    PacketKind.DROP: 0,
    PacketKind.STUN: 20,
    PacketKind.ZRTP: 12,
    PacketKind.DTLS: 13,
    PacketKind.TURN_CHANNEL: 4,
    PacketKind.RTP: 12,
    PacketKind.RTCP: 8,
}
"""Shortest datagram of each kind: one header."""

_FIRST_RTCP = 192
_LAST_RTCP = 223


def _first_octet_table() -> NDArray[np.uint8]:
    table = np.zeros(256, np.uint8)
    table[0:4] = PacketKind.STUN
    table[16:20] = PacketKind.ZRTP
    table[20:64] = PacketKind.DTLS
    table[64:80] = PacketKind.TURN_CHANNEL
    table[128:192] = PacketKind.RTP
    return table


def _both_octets_table() -> NDArray[np.uint8]:
    table = np.repeat(_FIRST[:, np.newaxis], 256, axis=1)
    rtp = table[128:192]
    # RFC 5761 section 4: payload types 64 to 95 with the marker bit are RTCP packet types.
    rtp[:, _FIRST_RTCP : _LAST_RTCP + 1] = PacketKind.RTCP
    return table.reshape(-1)


_FIRST = _first_octet_table()
_BOTH = _both_octets_table()
_KINDS = tuple(PacketKind(kind) for kind in _FIRST.tolist())
_SHORTEST = np.array([MINIMUM_OCTETS[kind] for kind in PacketKind], np.int64)


def classify(datagram: bytes | bytearray | memoryview) -> PacketKind:
    """The kind of one datagram.

    Args:
        datagram: As it came from the network, any length.
    """
    length = len(datagram)
    if length == 0:
        return PacketKind.DROP
    kind = _KINDS[datagram[0]]
    if kind is PacketKind.RTP and length > 1 and _FIRST_RTCP <= datagram[1] <= _LAST_RTCP:
        kind = PacketKind.RTCP
    return kind if length >= MINIMUM_OCTETS[kind] else PacketKind.DROP


def classify_batch(
    first: NDArray[np.uint8],
    second: NDArray[np.uint8],
    lengths: NDArray[np.integer] | None = None,
) -> NDArray[np.uint8]:
    """The kinds of many datagrams.

    Args:
        first: First octets, shape (n,).
        second: Second octets, shape (n,).
        lengths: Datagram lengths, shape (n,); without them no datagram is too short.

    Returns:
        `PacketKind` values, shape (n,).
    """
    kinds: NDArray[np.uint8] = _BOTH[(first.astype(np.intp) << 8) | second]
    if lengths is not None:
        kinds[lengths < _SHORTEST[kinds]] = PacketKind.DROP
    return kinds
