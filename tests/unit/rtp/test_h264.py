from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callmeter.errors import LocalProtocolError, RtpSyntaxError
from callmeter.rtp.h264 import (
    begins_access_unit,
    describe,
    frame_of,
    nal_units,
    packetize,
)

SPS = bytes.fromhex("6742c00dda0507e840000003004000000f03c50aa8")
PPS = bytes.fromhex("68ce3c80")
SEI = b"\x06\x05\x02ab\x80"
DELIMITER = b"\x09\x10"
IDR = b"\x65\x88" + b"intra" * 20
SLICE = b"\x41\x9a" + b"inter" * 20
LATER_SLICE = b"\x41\x20" + b"lower half"
KEY_UNITS = [SPS, PPS, IDR]


def annex_b(*units):
    return b"".join(b"\0\0\0\1" + unit for unit in units)


def test_units_are_found_between_start_codes_of_three_and_four_octets():
    stream = b"\0\0\0\1" + SPS + b"\0\0\1" + PPS + b"\0\0\0\0\1" + IDR + b"\0\0"
    assert nal_units(stream) == KEY_UNITS
    assert nal_units(b"no start code") == []
    assert nal_units(b"\0\0\1\0\0\1" + PPS) == [PPS]


def test_parameter_sets_share_a_payload_and_a_small_picture_has_its_own():
    payloads = packetize(annex_b(*KEY_UNITS), 1200)
    together = b"\x78" + bytes([0, len(SPS)]) + SPS + bytes([0, len(PPS)]) + PPS
    assert payloads == [together, IDR]


def test_one_small_unit_is_not_aggregated():
    assert packetize(annex_b(SEI, IDR), 1200) == [SEI, IDR]
    assert packetize(annex_b(SLICE, SEI), 1200) == [SLICE, SEI]


def test_an_aggregate_has_the_importance_of_its_most_important_unit():
    assert packetize(annex_b(DELIMITER, SEI), 1200)[0][0] == 0x18
    assert packetize(annex_b(DELIMITER, b"\x28pps"), 1200)[0][0] == 0x38


def test_an_aggregate_stays_within_the_limit():
    payloads = packetize(annex_b(SPS, PPS, SEI, SEI), 31)
    assert [len(payload) for payload in payloads] == [1 + 2 + 21 + 2 + 4, 1 + 2 * (2 + 6)]
    assert packetize(annex_b(SPS, PPS, SEI), 22) == [SPS, b"\x78\0\4" + PPS + b"\0\6" + SEI]
    assert frame_of(packetize(annex_b(SPS, PPS), 12)) == annex_b(SPS, PPS)


def test_a_large_unit_is_cut_into_fragments_that_say_where_they_belong():
    payloads = packetize(annex_b(IDR), 50)
    assert [payload[:2] for payload in payloads] == [b"\x7c\x85", b"\x7c\x05", b"\x7c\x45"]
    assert b"".join(payload[2:] for payload in payloads) == IDR[1:]
    assert max(map(len, payloads)) == 50


def test_a_unit_of_just_the_limit_is_not_cut():
    assert packetize(annex_b(IDR), len(IDR)) == [IDR]
    assert len(packetize(annex_b(IDR), len(IDR) - 1)) == 2


@pytest.mark.parametrize("reserved", [b"\x60\1", b"\x78aggregate", b"\x7cfragment"])
@pytest.mark.parametrize("mode", [0, 1])
def test_units_that_mean_something_else_in_rtp_are_left_out(reserved, mode):
    assert packetize(annex_b(reserved, IDR, reserved), 1200, mode=mode) == [IDR]
    with pytest.raises(LocalProtocolError, match="one NAL unit or more"):
        packetize(annex_b(reserved), 1200, mode=mode)


def test_without_fragments_every_unit_is_a_payload():
    assert packetize(annex_b(*KEY_UNITS), len(IDR), mode=0) == KEY_UNITS


def test_without_fragments_a_large_unit_cannot_be_sent():
    with pytest.raises(LocalProtocolError, match=r"102 octets does not fit 101.*mode=0"):
        packetize(annex_b(*KEY_UNITS), 101, mode=0)


@pytest.mark.parametrize(("stream", "limit"), [(b"", 1200), (b"\0\0\1", 1200), (annex_b(IDR), 2)])
def test_nothing_and_no_room_cannot_be_sent(stream, limit):
    with pytest.raises(LocalProtocolError, match="NAL unit"):
        packetize(stream, limit)


@pytest.mark.parametrize(
    ("unit", "starts", "key"),
    [
        (IDR, True, True),
        (SPS, True, True),
        (PPS, True, None),
        (SEI, True, None),
        (DELIMITER, True, None),
        (SLICE, True, False),
        (LATER_SLICE, False, False),
        (b"\x41", False, False),
        (b"\x43\x9a", False, False),  # data partition B
        (b"\x0c\xff", False, None),  # filler
        (b"\x6e\x9a", True, None),  # prefix of a scalable stream
    ],
)
def test_a_unit_tells_whether_it_starts_a_picture_and_a_key_frame(unit, starts, key):
    told = describe(unit)
    assert told[:2] == (starts, key)
    assert told.picture_id is None
    assert told.pictured is (key is False or unit is IDR)
    assert begins_access_unit(unit) is starts


def test_the_size_stands_in_the_parameter_set_also_within_an_aggregate():
    assert describe(SPS).size == (320, 240)
    aggregate, slices = packetize(annex_b(*KEY_UNITS), 1200)
    assert describe(aggregate) == (True, True, (320, 240), None, False)
    assert describe(slices).pictured
    assert describe(slices).size is None


def test_an_aggregate_of_slices_tells_as_they_do():
    def aggregate(*units):
        return b"\x78" + b"".join(len(unit).to_bytes(2, "big") + unit for unit in units)

    assert describe(aggregate(SLICE, LATER_SLICE))[:2] == (True, False)
    assert describe(aggregate(LATER_SLICE, SLICE))[:2] == (False, False)
    assert describe(aggregate(SEI, PPS))[:2] == (True, None)
    assert describe(aggregate(DELIMITER, SPS)).size == (320, 240)


def test_fragments_tell_a_key_frame_each_and_the_first_that_it_starts():
    told = [describe(payload)[:2] for payload in packetize(annex_b(IDR), 50)]
    assert told == [(True, True), (False, True), (False, True)]
    later = [describe(payload)[:2] for payload in packetize(annex_b(LATER_SLICE), 8)]
    assert later == [(False, False)] * 2


@pytest.mark.parametrize(
    ("payload", "section"),
    [
        (b"", "1.3"),
        (b"\xe5\x88", "1.3"),
        (b"\x60\x88", "5.2"),  # type 0
        (b"\x79\0\0\0\2\x41\x9a", "5.2"),  # STAP-B
        (b"\x7d\x85\0\0\x88", "5.2"),  # FU-B
        (b"\x7f\x88", "5.2"),
        (b"\x7c", "5.8"),
        (b"\x7c\x85", "5.8"),
        (b"\x7c\x80\x88", "5.8"),
        (b"\x7c\x9c\x88", "5.8"),
        (b"\x78", "5.7.1"),
        (b"\x78\0", "5.7.1"),
        (b"\x78\0\0", "5.7.1"),
        (b"\x78\0\2\x41", "5.7.1"),
        (b"\x78\0\1\x41\0", "5.7.1"),
        (b"\x78\0\2\x78\0", "5.7.1"),
        (b"\x78\0\2\x60\0", "5.7.1"),
    ],
)
def test_what_is_no_payload_is_refused_by_section(payload, section):
    for read in (describe, lambda octets: frame_of([octets])):
        with pytest.raises(RtpSyntaxError) as caught:
            read(payload)
        assert caught.value.rfc == f"RFC 6184 section {section}"


def test_fragments_that_miss_one_are_not_put_together():
    first, _, last = packetize(annex_b(IDR), 50)
    other = packetize(annex_b(SLICE), 50)
    for wrong in ([last], [first], [first, SEI], [first, first], [first, other[1]], [first, PPS]):
        with pytest.raises(RtpSyntaxError, match="fragment"):
            frame_of(wrong)


def test_no_payloads_are_no_octets():
    assert frame_of([]) == b""


def units():
    """NAL units that end as they must, with no start code inside."""
    heads = st.sampled_from([1, 2, 5, 6, 7, 8, 9, 12]).flatmap(
        lambda kind: st.sampled_from([kind, 0x20 | kind, 0x60 | kind])
    )
    bodies = st.lists(st.integers(1, 255), max_size=90).map(bytes)
    return st.builds(lambda head, body: bytes([head]) + body, heads, bodies)


@given(st.lists(units(), min_size=1, max_size=6), st.integers(3, 200))
def test_what_was_cut_is_put_together_again(access_unit, limit):
    stream = annex_b(*access_unit)
    payloads = packetize(stream, limit)
    assert max(map(len, payloads)) <= limit
    assert frame_of(payloads) == stream
    for payload in payloads:
        describe(payload)
