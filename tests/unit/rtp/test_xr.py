"""RTCP extended reports (RFC 3611)."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callmeter.errors import LocalProtocolError, RtcpSyntaxError
from callmeter.rtp.rtcp import ReceiverReport, build_compound, parse_rtcp
from callmeter.rtp.xr import (
    DelaySinceReference,
    DelaySinceReferences,
    DuplicateRuns,
    ExtendedReport,
    LossRuns,
    ReceiptTimes,
    ReferenceTime,
    StatisticsSummary,
    UnknownBlock,
    VoipMetrics,
)

OWN, PEER = 0xCAFE, 0xBEEF
REPORT = ReceiverReport(OWN)
PLAIN = build_compound([REPORT])

octets = st.integers(0, 255)
halves = st.integers(0, 2**16 - 1)
words = st.integers(0, 2**32 - 1)
levels = st.integers(-128, 127)
thinning = st.integers(0, 15)
chunks = st.lists(st.integers(1, 2**16 - 1), max_size=9).map(tuple)
blocks = st.one_of(
    st.builds(LossRuns, words, halves, halves, chunks, thinning),
    st.builds(DuplicateRuns, words, halves, halves, chunks, thinning),
    st.builds(
        ReceiptTimes, words, halves, halves, st.lists(words, max_size=5).map(tuple), thinning
    ),
    st.builds(ReferenceTime, st.integers(0, 2**64 - 1)),
    st.builds(
        DelaySinceReferences,
        st.lists(st.builds(DelaySinceReference, words, words, words), max_size=4).map(tuple),
    ),
    st.builds(
        StatisticsSummary,
        ssrc=words,
        begin=halves,
        end=halves,
        lost=st.none() | words,
        duplicates=st.none() | words,
        jitter=st.none() | st.tuples(words, words, words, words),
        ttl=st.none() | st.tuples(octets, octets, octets, octets),
    ),
    st.builds(
        VoipMetrics,
        ssrc=words,
        loss_rate=octets,
        discard_rate=octets,
        burst_density=octets,
        gap_density=octets,
        burst_duration=halves,
        gap_duration=halves,
        round_trip_delay=halves,
        end_system_delay=halves,
        signal_level=levels,
        noise_level=levels,
        echo_return_loss=octets,
        gmin=octets,
        r_factor=octets,
        external_r_factor=octets,
        mos_lq=octets,
        mos_cq=octets,
        concealment=st.integers(0, 3),
        adaptive=st.integers(0, 3),
        adjustment=st.integers(0, 15),
        nominal_delay=halves,
        maximum_delay=halves,
        absolute_maximum_delay=halves,
    ),
    st.builds(
        UnknownBlock,
        st.integers(8, 255),
        octets,
        st.binary(max_size=16).map(lambda body: body[: len(body) // 4 * 4]),
    ),
)


def wire(body):
    return PLAIN + struct.pack("!BBH", 0x80, 207, len(body) // 4) + body


# Written octet by octet from the figures of RFC 3611 section 4.
ON_THE_WIRE = [
    (
        LossRuns(PEER, 2, 17, (0x4005, 0xFFFE), 3),
        "01030003 0000beef 00020011 4005fffe",
    ),
    (
        DuplicateRuns(PEER, 2, 17, (0x400F,)),
        "02000003 0000beef 00020011 400f0000",
    ),
    (
        ReceiptTimes(PEER, 1, 3, (160, 320)),
        "03000004 0000beef 00010003 000000a0 00000140",
    ),
    (ReferenceTime(0x0123456789ABCDEF), "04000002 01234567 89abcdef"),
    (
        DelaySinceReferences((DelaySinceReference(PEER, 0x456789AB, 65_536),)),
        "05000003 0000beef 456789ab 00010000",
    ),
    (
        StatisticsSummary(
            ssrc=PEER, begin=1, end=9, lost=2, jitter=(3, 4, 5, 6), ttl=(7, 8, 9, 10), ipv6=True
        ),
        "06b00009 0000beef 00010009 00000002 0000000000000003 00000004 00000005 00000006 0708090a",
    ),
    (
        VoipMetrics(
            ssrc=PEER,
            loss_rate=1,
            discard_rate=2,
            burst_density=3,
            gap_density=4,
            burst_duration=5,
            gap_duration=6,
            round_trip_delay=7,
            end_system_delay=8,
            signal_level=-20,
            noise_level=-70,
            r_factor=93,
            mos_lq=44,
            mos_cq=43,
            concealment=3,
            adaptive=2,
            adjustment=1,
            nominal_delay=60,
            maximum_delay=120,
            absolute_maximum_delay=200,
        ),
        "07000008 0000beef 01020304 00050006 00070008 ecba7f10 5d7f2c2b e100003c 007800c8",
    ),
    (UnknownBlock(9, 5, b"abcd"), "09050001 61626364"),
]


@given(words, st.lists(blocks, max_size=8).map(tuple))
def test_what_was_built_is_read_back(ssrc, content):
    report = ExtendedReport(ssrc, content)
    assert parse_rtcp(build_compound([REPORT, report])) == [REPORT, report]


@pytest.mark.parametrize(("block", "expected"), ON_THE_WIRE)
def test_each_block_is_laid_out_as_in_the_rfc(block, expected):
    built = build_compound([REPORT, ExtendedReport(OWN, (block,))])
    assert built == wire(struct.pack("!I", OWN) + bytes.fromhex(expected))
    assert parse_rtcp(built)[1].blocks == (block,)


def test_loss_runs_say_which_packets_were_received():
    received = [True] * 5 + [False] * 2 + [True] * 30
    block = LossRuns.of(PEER, 65_534, received)
    assert (block.begin, block.end) == (65_534, 35)
    assert list(block.flags.values()) == received
    assert [number % 65_536 for number, there in block.flags.items() if not there] == [3, 4]


def test_duplicate_runs_say_which_packets_came_once():
    block = DuplicateRuns.of(PEER, 10, [True, False, True])
    assert block.flags == {10: True, 11: False, 12: True}


def test_packets_that_the_chunks_do_not_tell_of_are_left_out():
    assert LossRuns(PEER, 10, 40, (0x4003,)).flags == {10: True, 11: True, 12: True}


def test_a_null_chunk_ends_the_chunks():
    body = struct.pack("!I", OWN) + bytes.fromhex("01000004 0000beef 0000000a 40020000 40054005")
    (block,) = parse_rtcp(wire(body))[1].blocks
    assert block.chunks == (0x4002,)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("", "without a sender"),
        ("0000cafe 04000003 0000000000000000", "beyond its packet"),
        ("0000cafe" + "09000000" * 65, "more than 64"),
    ],
)
def test_a_broken_report_is_refused_with_its_reason(body, reason):
    with pytest.raises(RtcpSyntaxError, match=reason) as caught:
        parse_rtcp(wire(bytes.fromhex(body)))
    assert caught.value.rfc.startswith("RFC 3611")


@pytest.mark.parametrize("kind", range(1, 8))
def test_a_block_of_a_wrong_length_is_kept_as_it_came(kind):
    body = bytes.fromhex(f"0000cafe {kind:02x}050001 61626364 04000002 0000000000000001")
    assert parse_rtcp(wire(body)) == [
        REPORT,
        ExtendedReport(OWN, (UnknownBlock(kind, 5, b"abcd"), ReferenceTime(1))),
    ]
    assert build_compound(parse_rtcp(wire(body))) == wire(body)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ((ReferenceTime(1),) * 65, "65 blocks"),
        ((LossRuns(PEER, 1, 2, (), 16),), "4 bits"),
        ((VoipMetrics(ssrc=PEER, concealment=4),), "2 bits"),
        ((VoipMetrics(ssrc=PEER, adjustment=-1),), "4 bits"),
        ((UnknownBlock(9, 0, b"abc"),), "multiple of 4"),
        ((ReferenceTime(2**64),), "does not fit"),
    ],
)
def test_what_does_not_fit_the_format_is_not_built(content, reason):
    with pytest.raises(LocalProtocolError, match=reason):
        build_compound([ExtendedReport(OWN, content)])
