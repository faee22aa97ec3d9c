"""Traces as files: text, or packets that a reader of pcapng gets back."""

from __future__ import annotations

import struct
from dataclasses import replace

import pytest

from callmeter.call_trace import write_trace
from callmeter.config import CaptureConfig, SrtpSuite
from callmeter.media.capture import KeyPeriod, MediaCapture
from callmeter.rtp.header import pack_header
from callmeter.rtp.rtcp import ReceiverReport, SourceDescription, build_compound
from callmeter.srtp import SrtpContext, for_suite, generate
from callmeter.trace.message_log import MessageLog

WALL = 1_700_000_000.0
LOCAL, REMOTE = ("192.0.2.1", 4000), ("192.0.2.2", 5000)
OPTIONS = (
    b"OPTIONS sip:bob@example.com SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKa\r\n"
    b"From: <sip:alice@example.com>;tag=a\r\nTo: <sip:bob@example.com>\r\n"
    b"Call-ID: one\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
)
REPORT = build_compound([ReceiverReport(1), SourceDescription.cname(1, "x")])


def packets(path):
    """Interface, time and octets of the packets; the key log; whether something was left out."""
    octets, found, log = path.read_bytes(), [], ""
    comment = b"no room" in octets[:200]
    while octets:
        kind, length = struct.unpack_from("<II", octets)
        body, octets = octets[8 : length - 4], octets[length:]
        if kind == 6:
            interface, high, low, size, _ = struct.unpack_from("<IIIII", body)
            found.append((interface, (high << 32 | low) / 1e9, body[20 : 20 + size]))
        elif kind == 10:
            log = body[8 : 8 + struct.unpack_from("<I", body, 4)[0]].decode()
    return found, log, comment


def log(*transports):
    messages = MessageLog()
    for number, transport in enumerate(transports):
        messages.add(
            raw=OPTIONS,
            time=float(number),
            direction="sent" if number % 2 else "received",
            transport=transport,
            local="192.0.2.1:5060",
            peer="192.0.2.2:5060",
            wall=WALL + number if number else None,
        )
    return tuple(messages)


def line(tag=1, fill=b"k"):
    return generate(for_suite(SrtpSuite.AES_CM_128_HMAC_SHA1_80), tag, lambda size: fill * size)


def rtp(sequence, ssrc=7):
    return pack_header(0, sequence, 160 * sequence, ssrc) + bytes(range(160))


class Recorded:
    """A capture that is filled by hand."""

    def __init__(self, **settings):
        self.capture = MediaCapture(CaptureConfig(**settings))
        self.at = WALL

    def keys(self, send=None, receive=None, rtcp=None, **rollovers):
        period = KeyPeriod(len(self.capture), send, receive, rtcp, {7: rollovers.get("roc", 0)})
        self.capture.key_periods.append(period)

    def add(self, octets, *, sent=True):
        self.at += 0.02
        self.capture.add(self.at, sent, LOCAL, REMOTE, octets)


def written(tmp_path, *captures, messages=()):
    path = tmp_path / "call.pcapng"
    write_trace(path, messages, captures)
    return packets(path)


def test_any_name_but_one_of_packets_gets_ladder_and_messages(tmp_path):
    path = tmp_path / "call.txt"
    write_trace(str(path), log("UDP", "UDP"))
    text = path.read_text()
    assert "OPTIONS sip:bob@example.com" in text.splitlines()[1]
    assert text.count("--- ") == 2


def test_messages_are_datagrams_segments_or_what_was_inside_tls(tmp_path):
    found, keys, comment = written(tmp_path, messages=log("UDP", "TCP", "TLS", "WSS"))
    by_time = [(interface, octets[9] if interface == 0 else None) for interface, _, octets in found]
    assert by_time == [(0, 17), (0, 6), (1, None), (1, None)]
    assert all(octets.endswith(OPTIONS) for _, _, octets in found)
    assert [wall for _, wall, _ in found] == [0.0, WALL + 1, WALL + 2, WALL + 3]
    assert found[0][2][12:20] == b"\xc0\x00\x02\x02\xc0\x00\x02\x01"
    assert found[1][2][12:20] == b"\xc0\x00\x02\x01\xc0\x00\x02\x02"
    assert (keys, comment) == ("", False)


def test_media_and_messages_are_in_the_order_of_their_time(tmp_path):
    media = Recorded()
    media.at = WALL + 0.5
    media.add(rtp(1))
    media.add(rtp(2), sent=False)
    found, _, _ = written(tmp_path, media.capture, messages=log("UDP", "UDP", "UDP"))
    assert [len(octets) for _, _, octets in found][2:4] != [len(found[0][2])] * 2
    assert [wall for _, wall, _ in found] == sorted(wall for _, wall, _ in found)
    assert [octets[28:] for _, _, octets in found if octets.endswith(rtp(1)[12:])] == [
        rtp(1),
        rtp(2),
    ]


@pytest.mark.parametrize("decrypt", [True, False])
def test_srtp_that_the_keys_open_is_written_in_clear_if_wanted(tmp_path, decrypt):
    media = Recorded(decrypt=decrypt)
    ours, theirs = line(1, b"a"), line(1, b"b")
    media.keys(ours, theirs)
    send, receive = SrtpContext(ours, "send"), SrtpContext(theirs, "send")
    wire = [send.protect(rtp(1)), receive.protect(rtp(1, 9)), send.protect_rtcp(REPORT)]
    for octets, sent in zip(wire, (True, False, True), strict=True):
        media.add(octets, sent=sent)
    media.add(b"\x16\xfe\xfd" + bytes(20))
    media.add(rtp(5))
    found, keys, _ = written(tmp_path, media.capture)
    assert keys == ""
    expected = [rtp(1), rtp(1, 9), REPORT] if decrypt else wire
    for (interface, _, octets), clear in zip(found, expected, strict=False):
        assert interface == int(decrypt)
        assert octets.endswith(clear)
    if decrypt:
        assert [b"rtp\0" in found[0][2], b"rtcp" in found[2][2]] == [True, True]
    # DTLS, and what no key opens, stay as they were.
    assert [interface for interface, _, _ in found[3:]] == [0, 0]
    assert found[4][2].endswith(rtp(5))


def test_rtcp_with_keys_of_its_own_is_opened_with_them(tmp_path):
    media = Recorded()
    ours, own = line(1, b"a"), (line(1, b"c"), line(1, b"d"))
    media.keys(ours, ours, own)
    media.add(SrtpContext(own[0], "send").protect_rtcp(REPORT))
    media.add(SrtpContext(own[1], "send").protect_rtcp(REPORT), sent=False)
    found, _, _ = written(tmp_path, media.capture)
    assert [(interface, octets.endswith(REPORT)) for interface, _, octets in found] == [
        (1, True),
        (1, True),
    ]


def test_each_packet_is_opened_with_the_key_of_its_time_or_the_one_before(tmp_path):
    media = Recorded()
    old, new, newest = (line(1, fill) for fill in (b"a", b"b", b"c"))
    contexts = [SrtpContext(one, "send") for one in (old, new, newest)]
    media.keys(receive=old)
    media.add(contexts[0].protect(rtp(1)), sent=False)
    media.keys(receive=old)
    media.keys(receive=new)
    media.add(contexts[0].protect(rtp(2)), sent=False)
    media.add(contexts[1].protect(rtp(3)), sent=False)
    media.keys(receive=newest)
    media.add(contexts[0].protect(rtp(4)), sent=False)
    media.add(contexts[2].protect(rtp(5)), sent=False)
    found, _, _ = written(tmp_path, media.capture)
    assert [interface for interface, _, _ in found] == [1, 1, 1, 0, 1]


def test_a_capture_that_begins_late_knows_the_rollover_counter(tmp_path):
    media = Recorded()
    ours, sending = line(), SrtpContext(line(), "send")
    if not sending.set_roc(7, 3):
        pytest.fail("this build of libsrtp cannot set the counter")
    media.keys(ours, roc=3)
    media.add(sending.protect(rtp(1)))
    found, _, _ = written(tmp_path, media.capture)
    assert found[0][0] == 1


def test_secrets_are_in_the_file_only_where_they_were_asked_for(tmp_path):
    for wanted in (False, True):
        media = Recorded(secrets=wanted)
        media.capture.note_secret(b"CLIENT_RANDOM aa bb")
        media.keys(line(), replace(line(2, b"b"), tag=2))
        media.keys()
        _, keys, _ = written(tmp_path, media.capture)
        if not wanted:
            assert keys == ""
            assert b"inline" not in (tmp_path / "call.pcapng").read_bytes()
            continue
        assert keys.splitlines() == [
            "CLIENT_RANDOM aa bb",
            f"# SRTP sent: a=crypto:{line().to_attribute()}",
            f"# SRTP received: a=crypto:{line(2, b'b').to_attribute()}",
        ]


def test_the_file_says_when_packets_had_no_room(tmp_path):
    media = Recorded(octets=400)
    media.add(rtp(1))
    media.add(rtp(2))
    found, _, comment = written(tmp_path, media.capture)
    assert (len(found), comment) == (1, True)
