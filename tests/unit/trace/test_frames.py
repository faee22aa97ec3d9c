from __future__ import annotations

import struct

import pytest

from callmeter.trace.frames import TcpConversations, exported_pdu, parse_address, udp_packet

ALICE, BOB = ("192.0.2.1", 5060), ("192.0.2.2", 16_000)
ALICE6, BOB6 = ("2001:db8::1", 5060), ("fe80::2%eth0", 16_000)


def ones_complement(octets):
    octets += bytes(len(octets) % 2)
    total = sum(int.from_bytes(octets[at : at + 2], "big") for at in range(0, len(octets), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def transport(packet, protocol):
    """The segment of an IP packet whose checksums are right."""
    if packet[0] >> 4 == 4:
        assert ones_complement(packet[:20]) == 0xFFFF
        assert int.from_bytes(packet[2:4], "big") == len(packet)
        assert packet[9] == protocol
        ends, segment = packet[12:20], packet[20:]
    else:
        assert int.from_bytes(packet[4:6], "big") == len(packet) - 40
        assert packet[6] == protocol
        ends, segment = packet[8:40], packet[40:]
    pseudo = ends + struct.pack("!II", len(segment), protocol)
    assert ones_complement(pseudo + segment) == 0xFFFF
    return segment


@pytest.mark.parametrize(("source", "destination"), [(ALICE, BOB), (ALICE6, BOB6)])
@pytest.mark.parametrize("payload", [b"", b"odd", b"even", bytes(3000)])
def test_a_datagram_has_a_packet_with_right_lengths_and_checksums(source, destination, payload):
    segment = transport(udp_packet(source, destination, payload), 17)
    assert struct.unpack_from("!HHH", segment) == (5060, 16_000, 8 + len(payload))
    assert segment[8:] == payload


def test_a_checksum_of_zero_is_written_as_its_other_form():
    # Choose the payload so that the sum is all ones.
    plain = udp_packet(ALICE, BOB, b"\0\0")
    missing = int.from_bytes(transport(plain, 17)[6:8], "big")
    segment = transport(udp_packet(ALICE, BOB, struct.pack("!H", missing)), 17)
    assert segment[6:8] == b"\xff\xff"


def test_two_families_meet_in_mapped_addresses():
    packet = udp_packet(("192.0.2.1", 1), ("2001:db8::1", 2), b"x")
    transport(packet, 17)
    assert packet[8:24] == bytes(10) + b"\xff\xff\xc0\x00\x02\x01"


def test_messages_of_a_connection_follow_each_other_in_both_directions():
    connections = TcpConversations()
    steps = [(ALICE, BOB, b"one"), (BOB, ALICE, b"answer"), (ALICE, BOB, b"two")]
    seen = []
    for source, destination, payload in steps:
        (packet,) = connections.packets(source, destination, payload)
        segment = transport(packet, 6)
        ports, (sequence, acknowledged) = (
            struct.unpack_from("!HH", segment),
            struct.unpack_from("!II", segment, 4),
        )
        assert ports == (source[1], destination[1])
        assert segment[12:14] == b"\x50\x18"
        assert segment[20:] == payload
        seen.append((sequence, acknowledged))
    assert seen == [(1, 1), (1, 4), (4, 7)]


def test_a_long_message_of_a_connection_has_several_packets():
    packets = TcpConversations().packets(ALICE, BOB, bytes(65_500))
    segments = [transport(packet, 6) for packet in packets]
    assert [len(segment) - 20 for segment in segments] == [65_000, 500]
    assert struct.unpack_from("!I", segments[1], 4) == (65_001,)
    assert TcpConversations().packets(ALICE, BOB, b"") == []


def tags(octets):
    found = {}
    while True:
        tag, length = struct.unpack_from("!HH", octets)
        if not tag:
            return found, octets[4:]
        found[tag] = octets[4 : 4 + length]
        octets = octets[4 + length :]


@pytest.mark.parametrize(
    ("transport_name", "number"), [("", 0), ("TCP", 2), ("UDP", 3)], ids=["none", "tcp", "udp"]
)
def test_an_exported_pdu_names_its_protocol_and_ends(transport_name, number):
    found, payload = tags(exported_pdu("rtp", ALICE, BOB, b"\x80...", transport=transport_name))
    assert payload == b"\x80..."
    assert found == {
        12: b"rtp\0",
        20: b"\xc0\x00\x02\x01",
        21: b"\xc0\x00\x02\x02",
        24: struct.pack("!I", number),
        25: struct.pack("!I", 5060),
        26: struct.pack("!I", 16_000),
    }


def test_an_exported_pdu_of_ipv6_has_the_tags_of_ipv6():
    found, _ = tags(exported_pdu("sip", ALICE6, BOB6, b"", transport="TCP"))
    assert {22, 23} <= found.keys()
    assert not {20, 21} & found.keys()


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("192.0.2.1:5060", ("192.0.2.1", 5060)),
        ("[2001:db8::1]:5061", ("2001:db8::1", 5061)),
        ("", ("0.0.0.0", 0)),
        ("example.com:5060", ("0.0.0.0", 0)),
        ("192.0.2.1", ("0.0.0.0", 0)),
    ],
)
def test_addresses_are_read_as_logs_write_them(text, address):
    assert parse_address(text) == address
