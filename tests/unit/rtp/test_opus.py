"""What an Opus packet says of itself."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callmeter.rtp.opus import join, packet_samples

MS = 48
LENGTHS = [*[10, 20, 40, 60] * 3, *[10, 20] * 2, *[2.5, 5, 10, 20] * 4]
"""Of the 32 configurations, in order (RFC 6716 section 3.1, table 2)."""


@pytest.mark.parametrize(("number", "length"), list(enumerate(LENGTHS)))
def test_each_configuration_has_its_length(number, length):
    assert packet_samples(bytes([number << 3, 1, 2])) == length * MS


def test_two_frames_last_twice_as_long_whether_their_lengths_are_equal_or_not():
    assert packet_samples(bytes([31 << 3 | 1])) == 40 * MS
    assert packet_samples(bytes([31 << 3 | 2])) == 40 * MS


def test_a_number_of_frames_is_told_by_the_second_octet():
    assert packet_samples(bytes([31 << 3 | 3, 6])) == 120 * MS
    assert packet_samples(bytes([31 << 3 | 3, 0x80 | 0x40 | 3])) == 60 * MS


@pytest.mark.parametrize(
    "payload",
    [b"", bytes([31 << 3 | 3]), bytes([31 << 3 | 3, 7]), bytes([3 << 3 | 3, 3])],
    ids=["empty", "no count", "140 ms", "180 ms"],
)
def test_what_is_no_packet_has_no_samples(payload):
    assert packet_samples(payload) == 0


def test_a_packet_alone_is_left_as_it_is():
    assert join([b"\xf8abc"]) == b"\xf8abc"


def test_frames_of_one_length_are_joined_without_their_lengths():
    assert join([b"\xf0ab", b"\xf0cd", b"\xf0ef"]) == b"\xf3\x03abcdef"


def test_frames_of_several_lengths_are_joined_with_the_lengths_of_all_but_the_last():
    assert join([b"\xf0abc", b"\xf0d", b"\xf0ef"]) == b"\xf3\x83\x03\x01abcdef"


@pytest.mark.parametrize("length", [251, 252, 255, 256, 700, 1275])
def test_a_long_frame_has_a_length_of_two_octets(length):
    packet = join([b"\xf0" + bytes(length), b"\xf0x"])
    size = packet[2] if packet[2] < 252 else packet[3] * 4 + packet[2]
    assert size == length
    assert len(packet) == 2 + (1 if length < 252 else 2) + length + 1


def test_a_frame_of_another_kind_is_left_empty():
    assert join([b"\xf0ab", b"\xd0cd"]) == b"\xf3\x82\x02ab"
    assert join([b"\xf3\x41ab", b"\xf0cd"]) == b"\xf3\x82\x00cd"
    assert join([b"\xf3\x41ab", b"\xf3\x41cd"]) == b"\xf3\x02"


@given(st.lists(st.binary(max_size=300), min_size=2, max_size=6))
def test_what_is_joined_lasts_as_long_as_its_parts(frames):
    assert packet_samples(join([b"\xf8" + frame for frame in frames])) == len(frames) * 20 * MS


@given(st.binary(max_size=20))
def test_no_packet_is_longer_than_120_ms(payload):
    assert 0 <= packet_samples(payload) <= 120 * MS
