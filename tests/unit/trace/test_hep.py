from __future__ import annotations

import struct

import pytest

from callmeter.trace.hep import MAX_PACKET, encode_hep
from callmeter.trace.message_log import MessageLog

SECRET = b'Authorization: Digest username="alice", response="0123456789abcdef"\r\n'
REGISTER = (
    b"REGISTER sip:example.com SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKa\r\n"
    b"From: <sip:alice@example.com>;tag=a\r\nTo: <sip:alice@example.com>\r\n"
    b"Call-ID: one@example.com\r\nCSeq: 1 REGISTER\r\n" + SECRET + b"Content-Length: 0\r\n\r\n"
)
ADDRESSES = {4: ("192.0.2.1:5060", "192.0.2.2:5080"), 6: ("[2001:db8::1]:5060", "[::2]:5080")}


def entry(*, version=4, direction="sent", transport="UDP", raw=REGISTER, **changes):
    local, peer = ADDRESSES[version]
    given = {"wall": 1_700_000_000.25, "time": 5.0, "local": local, "peer": peer} | changes
    return MessageLog(redact=False).add(raw=raw, direction=direction, transport=transport, **given)


def chunks(packet):
    assert packet[:4] == b"HEP3"
    assert int.from_bytes(packet[4:6], "big") == len(packet)
    found, rest = {}, packet[6:]
    while rest:
        vendor, kind, length = struct.unpack_from("!HHH", rest)
        assert vendor == 0
        assert kind not in found
        found[kind] = rest[6:length]
        rest = rest[length:]
    return found


def test_a_message_has_its_ends_its_time_and_its_call():
    found = chunks(encode_hep(entry(), agent=7, password="pass", node="lab"))
    payload = found.pop(15)
    assert found == {
        1: b"\x02",
        2: b"\x11",
        3: b"\xc0\x00\x02\x01",
        4: b"\xc0\x00\x02\x02",
        7: struct.pack("!H", 5060),
        8: struct.pack("!H", 5080),
        9: struct.pack("!I", 1_700_000_000),
        10: struct.pack("!I", 250_000),
        11: b"\x01",
        12: struct.pack("!I", 7),
        14: b"pass",
        17: b"one@example.com",
        19: b"lab",
    }
    assert payload.startswith(b"REGISTER sip:example.com SIP/2.0\r\n")


def test_no_secret_of_a_message_is_sent_even_where_the_log_keeps_them():
    kept = entry()
    assert b"0123456789abcdef" in kept.raw
    assert b"0123456789abcdef" not in encode_hep(kept)


def test_what_was_received_comes_from_the_peer():
    found = chunks(encode_hep(entry(direction="received", transport="TLS")))
    assert (found[3], found[4]) == (b"\xc0\x00\x02\x02", b"\xc0\x00\x02\x01")
    assert (found[7], found[2]) == (struct.pack("!H", 5080), b"\x06")
    assert not {14, 19} & found.keys()


def test_ipv6_has_chunks_of_its_own():
    found = chunks(encode_hep(entry(version=6)))
    assert found[1] == b"\x0a"
    assert (len(found[5]), len(found[6])) == (16, 16)
    assert not {3, 4} & found.keys()


@pytest.mark.parametrize(
    ("version", "direction", "unknown", "known"),
    [(4, "sent", 3, 4), (6, "sent", 5, 6), (6, "received", 6, 5)],
)
def test_an_own_address_that_nobody_knows_is_that_of_no_host(version, direction, unknown, known):
    found = chunks(encode_hep(entry(version=version, direction=direction, local="")))
    assert not any(found[unknown])
    assert any(found[known])


def test_a_message_of_a_log_without_wall_clock_has_the_time_of_the_log():
    found = chunks(encode_hep(entry(wall=None)))
    assert found[9] == struct.pack("!I", 5)


def test_what_fits_no_datagram_is_not_sent():
    head = len(encode_hep(entry())) - len(entry().filled)
    longest = REGISTER + b"x" * (MAX_PACKET - head - len(entry().filled))
    assert len(encode_hep(entry(raw=longest))) == MAX_PACKET
    assert encode_hep(entry(raw=longest + b"x")) is None
