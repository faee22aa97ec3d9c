from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callmeter.errors import LocalProtocolError, RtcpSyntaxError
from callmeter.rtp.feedback import (
    FeedbackCounts,
    FullIntraRequest,
    GenericNack,
    IntraRequest,
    PictureLossIndication,
    SliceLoss,
    SliceLossIndication,
    concerns,
    parse_feedback,
)
from callmeter.rtp.rtcp import ReceiverReport, UnknownRtcp, build_compound, parse_rtcp

OWN, PEER = 0xCAFE, 0xBEEF
SSRCS = struct.pack("!II", OWN, PEER)

words = st.integers(0, 2**32 - 1)
runs = st.lists(st.integers(1, 40), min_size=1, max_size=30)
messages = st.one_of(
    st.builds(PictureLossIndication, words, words),
    st.builds(
        SliceLossIndication,
        words,
        words,
        st.lists(
            st.builds(SliceLoss, st.integers(0, 8191), st.integers(0, 8191), st.integers(0, 63)),
            min_size=1,
            max_size=8,
        ).map(tuple),
    ),
    st.builds(
        FullIntraRequest,
        words,
        st.lists(st.builds(IntraRequest, words, st.integers(0, 255)), min_size=1, max_size=8).map(
            tuple
        ),
    ),
)


def packet(kind, message_format, body):
    return struct.pack("!BBH", 0x80 | message_format, kind, len(body) // 4) + body


def wire(kind, message_format, control):
    return packet(kind, message_format, SSRCS + control)


# Written octet by octet from the figures of RFC 4585 section 6 and RFC 5104 section 4.3.1.
ON_THE_WIRE = [
    (GenericNack(OWN, PEER, (10,)), wire(205, 1, bytes.fromhex("000a 0000"))),
    (GenericNack(OWN, PEER, (10, 11, 26)), wire(205, 1, bytes.fromhex("000a 8001"))),
    (GenericNack(OWN, PEER, (10, 27)), wire(205, 1, bytes.fromhex("000a 0000 001b 0000"))),
    (GenericNack(OWN, PEER, (65_535, 0, 1)), wire(205, 1, bytes.fromhex("ffff 0003"))),
    (PictureLossIndication(OWN, PEER), wire(206, 1, b"")),
    (
        SliceLossIndication(OWN, PEER, (SliceLoss(1, 2, 3), SliceLoss(8191, 8191, 63))),
        wire(206, 2, struct.pack("!II", 1 << 19 | 2 << 6 | 3, 0xFFFF_FFFF)),
    ),
    (
        FullIntraRequest(OWN, (IntraRequest(PEER, 7), IntraRequest(1, 255))),
        packet(
            206,
            4,
            bytes.fromhex("0000cafe 00000000 0000beef 07000000 00000001 ff000000"),
        ),
    ),
]


@pytest.mark.parametrize(("message", "octets"), ON_THE_WIRE)
def test_a_message_is_on_the_wire_as_its_rfc_draws_it(message, octets):
    assert build_compound([message]) == octets
    assert parse_rtcp(octets, reduced_size=True) == [message]
    compound = build_compound([ReceiverReport(OWN), message])
    assert parse_rtcp(compound) == [ReceiverReport(OWN), message]


@given(messages)
def test_what_was_built_is_read_back(message):
    assert parse_rtcp(build_compound([message]), reduced_size=True) == [message]


@given(st.integers(0, 65_535), runs)
def test_a_nack_names_each_lost_packet_once_and_in_order(first, steps):
    lost = [first]
    for step in steps:
        lost.append((lost[-1] + step) % 65_536)
    built = build_compound([GenericNack(OWN, PEER, tuple(lost))])
    assert parse_rtcp(built, reduced_size=True) == [GenericNack(OWN, PEER, tuple(lost))]


def test_a_number_twice_costs_an_entry_of_its_own():
    built = build_compound([GenericNack(OWN, PEER, (5, 5))])
    assert parse_rtcp(built, reduced_size=True) == [GenericNack(OWN, PEER, (5, 5))]


@pytest.mark.parametrize(
    ("kind", "message_format"), [(205, 3), (205, 4), (205, 15), (206, 3), (206, 15)]
)
def test_formats_that_are_not_known_here_are_kept_as_they_came(kind, message_format):
    # TMMBR, TMMBN, transport-wide feedback, RPSI, REMB.
    octets = wire(kind, message_format, b"REMB\x01\x12\x34\x56")
    kept = UnknownRtcp(kind, message_format, SSRCS + b"REMB\x01\x12\x34\x56")
    assert parse_rtcp(octets, reduced_size=True) == [kept]
    assert build_compound([kept]) == octets
    assert parse_feedback(kind, message_format, b"") is None


@pytest.mark.parametrize(
    ("octets", "message"),
    [
        (packet(205, 1, SSRCS[:4]), "two SSRCs"),
        (wire(205, 1, b""), "wrong length"),
        (wire(206, 2, b""), "wrong length"),
        (wire(206, 4, b"abcd"), "wrong length"),
        (wire(206, 1, b"abcd"), "no control information"),
    ],
)
def test_a_message_of_impossible_length_is_refused_by_name(octets, message):
    with pytest.raises(RtcpSyntaxError, match=message) as caught:
        parse_rtcp(octets + bytes.fromhex("81cb0001 00000001"), reduced_size=True)
    assert caught.value.rfc == "RFC 4585 section 6.1"


@pytest.mark.parametrize(
    "message",
    [
        GenericNack(OWN, PEER, ()),
        SliceLossIndication(OWN, PEER, ()),
        FullIntraRequest(OWN, ()),
        SliceLossIndication(OWN, PEER, (SliceLoss(8192, 0, 0),)),
        SliceLossIndication(OWN, PEER, (SliceLoss(0, -1, 0),)),
        SliceLossIndication(OWN, PEER, (SliceLoss(0, 0, 64),)),
        GenericNack(OWN, PEER, (70_000,)),
        FullIntraRequest(OWN, (IntraRequest(PEER, 256),)),
        PictureLossIndication(OWN, 1 << 32),
    ],
)
def test_a_message_that_no_packet_can_hold_is_not_built(message):
    with pytest.raises(LocalProtocolError):
        build_compound([message])


def test_messages_are_counted_by_their_kind():
    counts = FeedbackCounts()
    names = [counts.note(message) for message, _ in ON_THE_WIRE]
    assert names == ["nack"] * 4 + ["pli", "sli", "fir"]
    assert counts == FeedbackCounts(nack=4, pli=1, fir=1, sli=1)


def test_a_full_intra_request_names_its_streams_behind_the_header():
    request = FullIntraRequest(OWN, (IntraRequest(1, 0), IntraRequest(2, 0)))
    assert concerns(request, 2)
    assert not concerns(request, OWN)
    assert concerns(PictureLossIndication(OWN, PEER), PEER)
    assert not concerns(PictureLossIndication(OWN, PEER), OWN)
