"""HEP version 3: SIP messages for a collector such as Homer (EEP/HEP3 network protocol).

A packet is `HEP3`, its length, and chunks of vendor, type, length and value.
"""

from __future__ import annotations

import ipaddress
import struct
from typing import TYPE_CHECKING, Final

from callmeter.trace.frames import parse_address

if TYPE_CHECKING:
    from callmeter.trace.message_log import LoggedMessage

__all__ = ["encode_hep"]

_MAGIC: Final = b"HEP3"
_HEAD: Final = len(_MAGIC) + 2
_CHUNK: Final = struct.Struct("!HHH")
_GENERIC: Final = 0
"""The vendor of the chunks that everybody knows."""
_FAMILIES: Final = {4: 2, 6: 10}
_UDP: Final = 17
_TCP: Final = 6
_SIP: Final = 1
MAX_PACKET: Final = 65_507
"""Octets of a UDP datagram; the length field would hold a few more."""

_IP_FAMILY, _IP_PROTOCOL = 1, 2
_SOURCE_4, _DESTINATION_4, _SOURCE_6, _DESTINATION_6 = 3, 4, 5, 6
_SOURCE_PORT, _DESTINATION_PORT = 7, 8
_SECONDS, _MICROSECONDS, _PROTOCOL, _AGENT = 9, 10, 11, 12
_PASSWORD, _PAYLOAD, _CORRELATION, _NODE = 14, 15, 17, 19


def encode_hep(
    entry: LoggedMessage, *, agent: int = 0, password: str | None = None, node: str | None = None
) -> bytes | None:
    """The packet for one SIP message, without its secrets.

    Args:
        entry: From a message log.
        agent: Number of the capture agent, 32 bits.
        password: What the collector wants to hear.
        node: Name of the capture agent.

    Returns:
        A datagram, or None when the message is too long for one.
    """
    source, destination = parse_address(entry.sender), parse_address(entry.receiver)
    sender, receiver = (ipaddress.ip_address(host) for host, _ in (source, destination))
    if sender.version != receiver.version:
        # Nobody knows the own address of a message that never left.
        unknown = ipaddress.ip_address("::" if receiver.version == 6 else "0.0.0.0")  # noqa: PLR2004, S104
        sender, receiver = (unknown, receiver) if sender.is_unspecified else (sender, unknown)
    six = sender.version == 6  # noqa: PLR2004
    wall = entry.time if entry.wall is None else entry.wall
    chunks = [
        (_IP_FAMILY, bytes((_FAMILIES[sender.version],))),
        (_IP_PROTOCOL, bytes((_UDP if entry.transport == "UDP" else _TCP,))),
        (_SOURCE_6 if six else _SOURCE_4, sender.packed),
        (_DESTINATION_6 if six else _DESTINATION_4, receiver.packed),
        (_SOURCE_PORT, struct.pack("!H", source[1])),
        (_DESTINATION_PORT, struct.pack("!H", destination[1])),
        (_SECONDS, struct.pack("!I", int(wall) & 0xFFFF_FFFF)),
        (_MICROSECONDS, struct.pack("!I", int(wall % 1 * 1_000_000))),
        (_PROTOCOL, bytes((_SIP,))),
        (_AGENT, struct.pack("!I", agent)),
    ]
    for number, text in ((_PASSWORD, password), (_NODE, node), (_CORRELATION, entry.call_id)):
        if text:
            chunks.append((number, text.encode("utf-8", "surrogateescape")))
    chunks.append((_PAYLOAD, entry.filled))
    if sum(_CHUNK.size + len(value) for _, value in chunks) > MAX_PACKET - _HEAD:
        return None
    body = b"".join(
        _CHUNK.pack(_GENERIC, number, _CHUNK.size + len(value)) + value for number, value in chunks
    )
    return _MAGIC + struct.pack("!H", _HEAD + len(body)) + body
