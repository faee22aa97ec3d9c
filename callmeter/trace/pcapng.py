"""The pcapng file format, as far as a capture of calls needs it (draft-ietf-opsawg-pcapng).

A file is one section: its header, the interfaces, the secrets, then the packets. Packets may name
interfaces of different link types: datagrams as raw IP, and what was decrypted as the protocol
itself ("exported PDU"), which needs no address or port that would say otherwise.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import TYPE_CHECKING, BinaryIO, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Flow", "LinkType", "PcapngWriter"]

_SECTION_HEADER: Final = 0x0A0D0D0A
_INTERFACE: Final = 1
_ENHANCED_PACKET: Final = 6
_SECRETS: Final = 10
_BYTE_ORDER: Final = 0x1A2B3C4D
_UNKNOWN_LENGTH: Final = -1
_TLS_KEY_LOG: Final = 0x544C534B
_SNAP_LENGTH: Final = 262_144

_END_OF_OPTIONS: Final = 0
_COMMENT: Final = 1
_IF_NAME: Final = 2
_IF_DESCRIPTION: Final = 3
_IF_RESOLUTION: Final = 9
_USER_APPLICATION: Final = 4
_PACKET_FLAGS: Final = 2
_NANOSECONDS: Final = 9


class LinkType(IntEnum):
    """What the octets of a packet begin with."""

    RAW_IP = 101
    """An IPv4 or IPv6 header."""
    UPPER_PDU = 252
    """Tags that name the protocol, then its octets."""


class Flow(IntEnum):
    """Which way a packet went."""

    INBOUND = 1
    OUTBOUND = 2


class PcapngWriter:
    """Writes one section.

    Args:
        file: Binary, open for writing; the caller closes it.
        application: What wrote it.
        comment: About the whole capture.
    """

    def __init__(self, file: BinaryIO, *, application: str, comment: str = "") -> None:
        self._file = file
        self._interfaces = 0
        options = [(_USER_APPLICATION, application.encode())]
        if comment:
            options.append((_COMMENT, comment.encode()))
        head = struct.pack("<IHHq", _BYTE_ORDER, 1, 0, _UNKNOWN_LENGTH)
        self._write(_SECTION_HEADER, head + _options(options))

    def add_interface(self, link_type: LinkType, name: str, description: str = "") -> int:
        """Describe an interface; returns its number, for `add_packet`."""
        options = [(_IF_NAME, name.encode())]
        if description:
            options.append((_IF_DESCRIPTION, description.encode()))
        options.append((_IF_RESOLUTION, bytes((_NANOSECONDS,))))
        self._write(_INTERFACE, struct.pack("<HHI", link_type, 0, _SNAP_LENGTH) + _options(options))
        self._interfaces += 1
        return self._interfaces - 1

    def add_key_log(self, lines: Iterable[str]) -> None:
        """Give secrets in the format of SSLKEYLOGFILE, before the packets that need them."""
        log = "".join(f"{line}\n" for line in lines).encode("ascii", "replace")
        self._write(_SECRETS, struct.pack("<II", _TLS_KEY_LOG, len(log)) + _padded(log))

    def add_packet(
        self, interface: int, wall: float, octets: bytes, *, flow: Flow, comment: str = ""
    ) -> None:
        """Write a packet.

        Args:
            interface: Number of its interface.
            wall: Seconds since 1970.
            octets: As its link type says.
            flow: Which way it went.
            comment: About this packet.
        """
        stamp = int(wall) * 10**9 + round(wall % 1 * 1e9)
        options = [(_PACKET_FLAGS, struct.pack("<I", flow))]
        if comment:
            options.append((_COMMENT, comment.encode()))
        head = struct.pack(
            "<IIIII", interface, stamp >> 32, stamp & 0xFFFF_FFFF, len(octets), len(octets)
        )
        self._write(_ENHANCED_PACKET, head + _padded(octets) + _options(options))

    def _write(self, kind: int, body: bytes) -> None:
        length = len(body) + 12
        self._file.write(struct.pack("<II", kind, length) + body + struct.pack("<I", length))


def _padded(octets: bytes) -> bytes:
    return octets + bytes(-len(octets) % 4)


def _options(options: Iterable[tuple[int, bytes]]) -> bytes:
    written = b"".join(
        struct.pack("<HH", code, len(value)) + _padded(value) for code, value in options
    )
    return written + struct.pack("<HH", _END_OF_OPTIONS, 0)
