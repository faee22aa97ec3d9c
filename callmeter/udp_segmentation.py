"""UDP GSO: datagrams of one length to one address leave as one message, which the kernel cuts."""

from __future__ import annotations

import socket
from typing import Final

__all__ = ["MAX_OCTETS", "MAX_SEGMENTS", "SOL_UDP", "UDP_SEGMENT", "can_cut"]

SOL_UDP: Final = 17
UDP_SEGMENT: Final = 103
"""Linux values that the socket module does not name."""
MAX_SEGMENTS: Final = 64
"""What every kernel takes that takes any."""
MAX_OCTETS: Final = 65_000


def can_cut() -> bool:
    """Whether the kernel can cut; an old one would send all of it in one datagram."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.setsockopt(SOL_UDP, UDP_SEGMENT, 0)
        except OSError:
            return False
    return True
