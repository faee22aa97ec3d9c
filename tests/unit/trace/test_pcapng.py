from __future__ import annotations

import io
import struct

from callmeter.trace.pcapng import Flow, LinkType, PcapngWriter

SECTION, INTERFACE, PACKET, SECRETS = 0x0A0D0D0A, 1, 6, 10


def blocks(octets):
    """Type and body of each block; both lengths and the alignment are checked."""
    found = []
    while octets:
        kind, length = struct.unpack_from("<II", octets)
        assert length % 4 == 0
        assert struct.unpack_from("<I", octets, length - 4) == (length,)
        found.append((kind, octets[8 : length - 4]))
        octets = octets[length:]
    return found


def options(octets):
    found = []
    while octets:
        code, length = struct.unpack_from("<HH", octets)
        found.append((code, octets[4 : 4 + length]))
        octets = octets[4 + length + -length % 4 :]
    assert found[-1] == (0, b"")
    return found[:-1]


def written(work=lambda writer: None, **settings):
    file = io.BytesIO()
    writer = PcapngWriter(file, application="callmeter", **settings)
    work(writer)
    return blocks(file.getvalue())


def test_a_section_says_its_byte_order_and_who_wrote_it():
    ((kind, body),) = written()
    assert kind == SECTION
    assert struct.unpack_from("<IHHq", body) == (0x1A2B3C4D, 1, 0, -1)
    assert options(body[16:]) == [(4, b"callmeter")]
    ((_, body),) = written(comment="caf\u00e9")
    assert options(body[16:])[1] == (1, "caf\u00e9".encode())


def test_interfaces_are_numbered_and_count_nanoseconds():
    numbers = []

    def work(writer):
        numbers.append(writer.add_interface(LinkType.RAW_IP, "callmeter"))
        numbers.append(writer.add_interface(LinkType.UPPER_PDU, "decrypted", "of TLS"))

    _, (kind, first), (_, second) = written(work)
    assert numbers == [0, 1]
    assert kind == INTERFACE
    assert struct.unpack_from("<HHI", first) == (101, 0, 262_144)
    assert options(first[8:]) == [(2, b"callmeter"), (9, b"\x09")]
    assert struct.unpack_from("<H", second) == (252,)
    assert options(second[8:]) == [(2, b"decrypted"), (3, b"of TLS"), (9, b"\x09")]


def test_a_packet_has_its_time_its_way_and_its_octets():
    wall = 1_700_000_000.25
    _, (kind, body) = written(
        lambda writer: writer.add_packet(0, wall, b"12345", flow=Flow.INBOUND)
    )
    assert kind == PACKET
    interface, high, low, captured, original = struct.unpack_from("<IIIII", body)
    assert (interface, captured, original) == (0, 5, 5)
    assert (high << 32 | low) == 1_700_000_000_250_000_000
    assert body[20:28] == b"12345\0\0\0"
    assert options(body[28:]) == [(2, struct.pack("<I", 1))]


def test_a_packet_may_have_a_comment():
    _, (_, body) = written(
        lambda writer: writer.add_packet(1, 0.0, b"1234", flow=Flow.OUTBOUND, comment="why")
    )
    assert options(body[24:]) == [(2, struct.pack("<I", 2)), (1, b"why")]


def test_secrets_are_lines_of_a_tls_key_log():
    _, (kind, body) = written(lambda writer: writer.add_key_log(["CLIENT_RANDOM a b", "# c\u20ac"]))
    assert kind == SECRETS
    secrets, length = struct.unpack_from("<II", body)
    assert secrets == 0x544C534B
    assert body[8 : 8 + length] == b"CLIENT_RANDOM a b\n# c?\n"
