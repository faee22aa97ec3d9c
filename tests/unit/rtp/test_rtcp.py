from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callmeter.errors import LocalProtocolError, RtcpSyntaxError
from callmeter.rtp.rtcp import (
    Goodbye,
    ReceiverReport,
    ReportBlock,
    SdesChunk,
    SdesItem,
    SenderReport,
    SourceDescription,
    UnknownRtcp,
    build_compound,
    ntp_middle,
    ntp_timestamp,
    parse_rtcp,
)

words = st.integers(0, 2**32 - 1)
word_octets = st.binary(max_size=16).map(lambda octets: octets[: len(octets) // 4 * 4])
blocks = st.lists(
    st.builds(
        ReportBlock,
        words,
        st.integers(0, 255),
        st.integers(-(2**23), 2**23 - 1),
        words,
        words,
        words,
        words,
    ),
    max_size=31,
).map(tuple)
reports = st.one_of(
    st.builds(
        SenderReport, words, st.integers(0, 2**64 - 1), words, words, words, blocks, word_octets
    ),
    st.builds(ReceiverReport, words, blocks, word_octets),
)
items = st.lists(st.builds(SdesItem, st.integers(1, 8), st.binary(max_size=255)), max_size=4)
others = st.one_of(
    st.builds(
        SourceDescription,
        st.lists(st.builds(SdesChunk, words, items.map(tuple)), max_size=3).map(tuple),
    ),
    st.builds(
        Goodbye,
        st.lists(words, max_size=31).map(tuple),
        st.none() | st.binary(max_size=255),
    ),
    st.builds(UnknownRtcp, st.integers(208, 223), st.integers(0, 31), word_octets),
)

REPORT = ReceiverReport(0x01020304)
PLAIN = build_compound([REPORT])


@given(reports, st.lists(others, max_size=3))
def test_what_was_built_is_read_back(report, rest):
    packets = [report, *rest]
    assert parse_rtcp(build_compound(packets)) == packets


def test_a_sender_report_is_laid_out_as_in_rfc_3550():
    report = SenderReport(
        1, 0x0000000200000003, 4, 5, 6, (ReportBlock(7, 255, -1, 8, 9, 10, 11),), b"abcd"
    )
    expected = struct.pack("!BBH6I", 0x81, 200, 13, 1, 2, 3, 4, 5, 6)
    expected += struct.pack("!6I", 7, 0xFFFFFFFF, 8, 9, 10, 11) + b"abcd"
    assert build_compound([report]) == expected


def test_a_source_description_ends_each_chunk_with_nulls_up_to_a_word():
    built = build_compound([REPORT, SourceDescription.cname(5, "a@b")])
    assert built[len(PLAIN) :] == bytes.fromhex(
        "81ca0003 00000005 0103 614062 000000".replace(" ", "")
    )


def test_a_goodbye_may_give_its_reason():
    built = build_compound([REPORT, Goodbye((5,), b"busy")])
    assert built[len(PLAIN) :] == bytes.fromhex(
        "81cb0003 00000005 04 62757379 000000".replace(" ", "")
    )
    assert parse_rtcp(built)[1] == Goodbye((5,), b"busy")


def test_counters_of_a_long_call_wrap_at_32_bits():
    built = build_compound([SenderReport(1, 2, 2**32 + 3, 2**32 + 4, 2**32 + 5)])
    assert parse_rtcp(built) == [SenderReport(1, 2, 3, 4, 5)]


def test_text_that_is_no_utf8_can_still_be_read():
    assert SdesItem(1, b"caf\xe9").text == "caf\ufffd"
    assert SdesItem(1, "café".encode()).text == "café"


def test_padding_of_the_last_packet_is_taken_off():
    feedback = struct.pack("!BBH", 0xA3, 206, 4) + b"abcdefgh" + b"\0\0\0\0\0\0\0\x08"
    assert parse_rtcp(PLAIN + feedback)[1] == UnknownRtcp(206, 3, b"abcdefgh")


def test_reduced_size_packets_are_read_where_they_were_agreed():
    feedback = build_compound([UnknownRtcp(206, 3, b"abcdefgh")])
    assert parse_rtcp(feedback, reduced_size=True) == [UnknownRtcp(206, 3, b"abcdefgh")]
    with pytest.raises(RtcpSyntaxError, match="begins with a report"):
        parse_rtcp(feedback)


def packet(first, kind, body, words=None):
    return struct.pack("!BBH", first, kind, len(body) // 4 if words is None else words) + body


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "shorter"),
        (PLAIN[:4], "shorter"),
        (PLAIN[:7], "shorter"),
        (packet(0x40, 201, bytes(4)), "version"),
        (PLAIN + b"\x80", "after the last packet"),
        (PLAIN + packet(0x00, 202, b""), "version"),
        (packet(0x80, 201, bytes(4), words=2), "beyond the datagram"),
        (packet(0x80, 202, bytes(4)), "begins with a report"),
        (packet(0xA0, 201, bytes(8)) + PLAIN, "padding before"),
        (PLAIN + packet(0xA0, 206, b""), "impossible padding"),
        (packet(0xA0, 201, bytes(7) + b"\0"), "impossible padding"),
        (packet(0xA0, 201, bytes(7) + b"\x03"), "impossible padding"),
        (packet(0xA0, 201, bytes(7) + b"\x0c"), "impossible padding"),
        (packet(0x80, 200, bytes(20)), "sender information"),
        (packet(0x82, 200, bytes(24 + 24)), "fewer report blocks"),
        (packet(0x81, 201, bytes(24)), "fewer report blocks"),
        (packet(0xA0, 201, bytes(3) + b"\x04"), "without a sender"),
        (PLAIN + packet(0x81, 202, bytes(4)), "fewer chunks"),
        (PLAIN + packet(0x82, 202, bytes(8)), "fewer chunks"),
        (
            PLAIN + packet(0x81, 202, bytes(4) + b"\x01\x03abc" + b"\x02\x00\x01"),
            "without a length",
        ),
        (PLAIN + packet(0x81, 202, bytes(4) + b"\x01\x09ab"), "beyond its packet"),
        (PLAIN + packet(0x81, 202, bytes(4) + b"\x01\x02ab"), "without an end"),
        (PLAIN + packet(0x82, 203, bytes(4)), "fewer sources"),
        (PLAIN + packet(0x81, 203, bytes(4) + b"\x04abc"), "reason beyond"),
        (PLAIN * 65, "more than 64"),
    ],
)
def test_a_broken_packet_is_refused_with_its_reason(data, reason):
    with pytest.raises(RtcpSyntaxError, match=reason) as caught:
        parse_rtcp(data)
    assert caught.value.rfc.startswith("RFC 3550")


def test_as_many_packets_as_allowed_are_read():
    assert len(parse_rtcp(PLAIN * 64)) == 64


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (ReceiverReport(1, (ReportBlock(1),) * 32), "32 entries"),
        (Goodbye(tuple(range(32))), "32 entries"),
        (SourceDescription.cname(1, "x" * 256), "256 octets"),
        (Goodbye((1,), b"x" * 256), "256 octets"),
        (UnknownRtcp(206, 1, b"abc"), "multiple of 4"),
        (ReceiverReport(2**32), "does not fit"),
    ],
)
def test_what_does_not_fit_the_format_is_not_built(bad, reason):
    with pytest.raises(LocalProtocolError, match=reason):
        build_compound([bad])


def test_ntp_time_counts_from_1900():
    assert ntp_timestamp(0.5) == (2_208_988_800 << 32) | 0x8000_0000
    assert ntp_middle(0x1111_2222_3333_4444) == 0x2222_3333
