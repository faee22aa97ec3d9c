from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callmeter.errors import LocalProtocolError, RtpSyntaxError
from callmeter.rtp.vp8 import describe, frame_of, frame_size, packetize

KEY_FRAME = bytes.fromhex("b05c00 9d012a 4001f000") + b"first partition and so on"
"""320 x 240, RFC 6386 section 9.1."""
INTER_FRAME = bytes.fromhex("b10c00") + b"what moved"


def test_a_small_frame_is_one_payload_with_one_octet_before_it():
    assert packetize(KEY_FRAME, 1200) == [b"\x10" + KEY_FRAME]


def test_a_frame_is_cut_at_the_limit_and_only_its_first_payload_starts_it():
    payloads = packetize(KEY_FRAME, 16)
    assert [len(payload) for payload in payloads] == [16, 16, 6]
    assert [payload[0] for payload in payloads] == [0x10, 0, 0]


def test_a_picture_number_of_15_bits_goes_with_every_payload():
    payloads = packetize(KEY_FRAME, 20, picture_id=0x8000 + 0x1234)
    assert [payload[:4] for payload in payloads] == [
        b"\x90\x80\x92\x34",
        b"\x80\x80\x92\x34",
        b"\x80\x80\x92\x34",
    ]
    assert [describe(payload).picture_id for payload in payloads] == [0x1234] * 3


@pytest.mark.parametrize(
    ("frame", "limit", "picture_id"),
    [(b"", 1200, None), (KEY_FRAME, 1, None), (KEY_FRAME, 4, 7)],
)
def test_nothing_and_no_room_cannot_be_sent(frame, limit, picture_id):
    with pytest.raises(LocalProtocolError, match="room"):
        packetize(frame, limit, picture_id)


def test_the_first_payload_tells_a_key_frame_and_its_size():
    first, second, _ = packetize(KEY_FRAME, 16)
    assert describe(first)[:4] == (True, True, (320, 240), None)
    assert describe(second)[:4] == (False, None, None, None)


def test_an_inter_frame_is_no_key_frame_and_has_no_size():
    assert describe(b"\x10" + INTER_FRAME)[:4] == (True, False, None, None)


def test_a_key_frame_that_is_cut_within_its_header_has_no_size():
    assert describe(b"\x10" + KEY_FRAME[:9])[:4] == (True, True, None, None)


def test_the_scale_of_a_picture_is_not_taken_for_its_size():
    scaled = KEY_FRAME[:6] + bytes.fromhex("4041f0c0")
    assert frame_size(scaled) == (320, 240)


def test_a_key_frame_without_its_start_code_is_refused():
    with pytest.raises(RtpSyntaxError, match="start code") as caught:
        describe(b"\x10" + KEY_FRAME[:3] + b"\x9d\x01\x2b" + KEY_FRAME[6:])
    assert caught.value.rfc == "RFC 6386 section 9.1"


def test_a_later_partition_does_not_start_the_frame():
    assert not describe(b"\x11" + KEY_FRAME).starts_frame


@pytest.mark.parametrize(
    ("descriptor", "picture_id"),
    [
        ("90 00", None),  # an extension octet that announces nothing
        ("90 80 11", 0x11),
        ("90 80 91 22", 0x1122),
        ("90 40 05", None),  # TL0PICIDX
        ("90 20 40", None),  # TID
        ("90 10 03", None),  # KEYIDX
        ("90 30 43", None),  # both share an octet
        ("90 f0 11 05 43", 0x11),
        ("b0 f0 91 22 05 43", 0x1122),  # a frame nothing refers to
    ],
)
def test_every_form_of_descriptor_is_read(descriptor, picture_id):
    head = bytes.fromhex(descriptor)
    assert describe(head + KEY_FRAME)[:4] == (True, True, (320, 240), picture_id)
    assert frame_of([head + KEY_FRAME]) == KEY_FRAME
    for cut in range(len(head) + 1):
        with pytest.raises(RtpSyntaxError, match="cut off") as caught:
            describe(head[:cut])
        assert caught.value.rfc == "RFC 7741 section 4.2"


def test_a_frame_that_does_not_begin_at_its_first_payload_is_not_put_together():
    first, second, third = packetize(KEY_FRAME, 16)
    for wrong in ([second, third], [first, second, first]):
        with pytest.raises(RtpSyntaxError, match="starts once"):
            frame_of(wrong)


def test_no_payloads_are_no_octets():
    assert frame_of([]) == b""


@given(
    st.binary(min_size=1, max_size=400),
    st.integers(5, 300),
    st.none() | st.integers(0, 1 << 17),
)
def test_what_was_cut_is_put_together_again(body, limit, picture_id):
    frame = INTER_FRAME + body
    payloads = packetize(frame, limit, picture_id)
    assert max(map(len, payloads)) <= limit
    assert frame_of(payloads) == frame
    assert [describe(payload).starts_frame for payload in payloads] == [
        number == 0 for number in range(len(payloads))
    ]
