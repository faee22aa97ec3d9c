"""The kernel's tables for many datagrams a call, as numpy sees them (64-bit Linux)."""

from __future__ import annotations

from typing import Final

import numpy as np

__all__ = ["CONTROL", "IPV4_NAME_OCTETS", "MESSAGE", "NAME_OCTETS", "STAMP_OCTETS", "VECTOR"]

# struct mmsghdr and struct iovec.
MESSAGE: Final = np.dtype(
    [
        ("name", "u8"), ("name_length", "u4"), ("_pad1", "u4"), ("iov", "u8"),
        ("iov_count", "u8"), ("control", "u8"), ("control_length", "u8"),
        ("flags", "i4"), ("_pad2", "i4"), ("length", "u4"), ("_pad3", "u4"),
    ]
)  # fmt: skip
VECTOR: Final = np.dtype([("base", "u8"), ("length", "u8")])
# A control message: length u8, level i4, type i4, then the data. The kernel writes the arrival
# stamp first and, once the socket has lost something, the drop count after it.
CONTROL: Final = np.dtype(
    [
        ("_length1", "u8"), ("_level1", "i4"), ("type1", "i4"), ("seconds", "i8"),
        ("nanoseconds", "i8"), ("_length2", "u8"), ("_level2", "i4"), ("type2", "i4"),
        ("dropped", "u4"), ("_pad", "u4"),
    ]
)  # fmt: skip
NAME_OCTETS: Final = 32
"""A `sockaddr_in6` has 28; a multiple of 8 makes columns of words of them."""
STAMP_OCTETS: Final = 32
"""Of the first control message."""
IPV4_NAME_OCTETS: Final = 16
