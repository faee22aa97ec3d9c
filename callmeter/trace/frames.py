"""Packets around what was said: IP, UDP and TCP headers, and the tags of exported PDUs.

A program sees datagrams and messages, not packets. The headers made here say what is known of
them, and nothing else: addresses, ports, and an order of octets for TCP.
"""

from __future__ import annotations

import ipaddress
import struct
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv6Address

__all__ = ["Address", "TcpConversations", "exported_pdu", "parse_address", "udp_packet"]

Address = tuple[str, int]

_UDP: Final = 17
_TCP: Final = 6
_PUSH_ACK: Final = 0x5018
"""A header of five words, PSH and ACK."""
_WINDOW: Final = 65_535
_HOPS: Final = 64
_MAX_PAYLOAD: Final = 65_000
"""Of one segment, so that its packet has a length."""
_SEQUENCES: Final = 1 << 32
_IPV6: Final = 6

_TAG_END: Final = 0
_TAG_DISSECTOR: Final = 12
_TAG_IPV4: Final = (20, 21)
_TAG_IPV6: Final = (22, 23)
_TAG_PORT_TYPE: Final = 24
_TAG_PORTS: Final = (25, 26)
_PORT_TYPES: Final = {"": 0, "TCP": 2, "UDP": 3}


def parse_address(text: str) -> Address:
    """Host and port of `"192.0.2.1:5060"` or `"[2001:db8::1]:5060"`; no address is 0.0.0.0:0."""
    host, _, port = text.rpartition(":")
    try:
        return str(ipaddress.ip_address(host.strip("[]"))), int(port)
    except ValueError:
        return "0.0.0.0", 0  # noqa: S104  nothing is bound to it


def _pair(source: Address, destination: Address) -> tuple[IPv4Address | IPv6Address, ...]:
    """Both addresses, of one family: an unknown one takes that of the other."""
    ends = [ipaddress.ip_address(host.partition("%")[0]) for host, _ in (source, destination)]
    if ends[0].version != ends[1].version:
        ends = [
            end if end.version == _IPV6 else ipaddress.IPv6Address(f"::ffff:{end}") for end in ends
        ]
    return tuple(ends)


def _checksum(octets: bytes) -> int:
    octets += bytes(len(octets) % 2)
    total: int = sum(struct.unpack(f"!{len(octets) // 2}H", octets))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _ip_packet(
    source: Address, destination: Address, protocol: int, segment: bytes, checksum_at: int
) -> bytes:
    """An IP packet; the checksum of the segment is put where it belongs."""
    sender, receiver = _pair(source, destination)
    ends = sender.packed + receiver.packed
    pseudo = ends + struct.pack("!II", len(segment), protocol)
    # Zero would mean that there is none (RFC 768); TCP takes the other form of zero as well.
    checksum = _checksum(pseudo + segment) or 0xFFFF
    segment = b"".join(
        (segment[:checksum_at], struct.pack("!H", checksum), segment[checksum_at + 2 :])
    )
    if sender.version == _IPV6:
        head = struct.pack("!IHBB", 6 << 28, len(segment), protocol, _HOPS)
        return head + ends + segment
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(segment), 0, 0x4000, _HOPS, protocol, 0)
    head = head[:10] + struct.pack("!H", _checksum(head + ends))
    return head + ends + segment


def udp_packet(source: Address, destination: Address, payload: bytes) -> bytes:
    """An IP packet with one datagram."""
    head = struct.pack("!HHHH", source[1], destination[1], 8 + len(payload), 0)
    return _ip_packet(source, destination, _UDP, head + payload, 6)


class TcpConversations:
    """Gives the messages of connections their place in a stream of octets."""

    def __init__(self) -> None:
        self._sent: dict[tuple[Address, Address], int] = {}

    def packets(self, source: Address, destination: Address, payload: bytes) -> list[bytes]:
        """The IP packets that carry a message; an empty one needs none."""
        packets = []
        for start in range(0, len(payload), _MAX_PAYLOAD):
            part = payload[start : start + _MAX_PAYLOAD]
            sequence = self._sent.get((source, destination), 1)
            acknowledged = self._sent.get((destination, source), 1)
            head = struct.pack(
                "!HHIIHHHH",
                source[1],
                destination[1],
                sequence,
                acknowledged,
                _PUSH_ACK,
                _WINDOW,
                0,
                0,
            )
            packets.append(_ip_packet(source, destination, _TCP, head + part, 16))
            self._sent[source, destination] = (sequence + len(part)) % _SEQUENCES
        return packets


def exported_pdu(
    protocol: str, source: Address, destination: Address, payload: bytes, *, transport: str
) -> bytes:
    """What was inside an encrypted transport, with tags that say what it is.

    Args:
        protocol: Name of Wireshark's dissector, `"sip"` or `"rtp"`.
        source: Where it came from.
        destination: Where it went to.
        payload: Its octets.
        transport: `"TCP"` or `"UDP"`.
    """
    sender, receiver = _pair(source, destination)
    tags = _TAG_IPV6 if sender.version == _IPV6 else _TAG_IPV4
    fields = [
        (_TAG_DISSECTOR, protocol.encode()),
        (tags[0], sender.packed),
        (tags[1], receiver.packed),
        (_TAG_PORT_TYPE, struct.pack("!I", _PORT_TYPES[transport])),
        (_TAG_PORTS[0], struct.pack("!I", source[1])),
        (_TAG_PORTS[1], struct.pack("!I", destination[1])),
    ]
    head = b"".join(
        struct.pack("!HH", tag, len(value) + -len(value) % 4) + value + bytes(-len(value) % 4)
        for tag, value in fields
    )
    return head + struct.pack("!HH", _TAG_END, 0) + payload
