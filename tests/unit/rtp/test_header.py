from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from callmeter.rtp.header import (
    PacketColumns,
    RtpHeader,
    header_length,
    pack_header,
    parse_header,
    payload_bounds,
)

PLAIN = pack_header(8, 0x1234, 0x1122_3344, 0xAABB_CCDD, marker=True)


@given(
    st.integers(0, 127),
    st.integers(0, 65_535),
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**32 - 1),
    st.booleans(),
)
def test_what_was_packed_is_read_back(payload_type, sequence, timestamp, ssrc, marker):
    packed = pack_header(payload_type, sequence, timestamp, ssrc, marker=marker)
    assert parse_header(packed) == RtpHeader(payload_type, sequence, timestamp, ssrc, marker)


def test_the_header_is_laid_out_as_in_rfc_3550():
    assert PLAIN.hex() == "8088123411223344aabbccdd"


def test_numbers_count_on_beyond_their_width():
    assert pack_header(0, 65_536, 2**32 + 5, 2**32) == pack_header(0, 0, 5, 0)


def test_flags_and_counts_of_a_full_header_are_read():
    header = parse_header(bytes([0xB5]) + PLAIN[1:])
    assert header == (8, 0x1234, 0x1122_3344, 0xAABB_CCDD, True, True, True, 5)


@pytest.mark.parametrize("packet", [b"", PLAIN[:11], bytes([0x40]) + PLAIN[1:], bytes(12)])
def test_what_is_no_rtp_is_none(packet):
    assert parse_header(packet) is None
    assert header_length(packet) is None
    assert payload_bounds(packet) is None


def test_csrc_list_and_extension_belong_to_the_header():
    packet = bytes([0x92]) + PLAIN[1:] + bytes(8) + b"\xbe\xde\x00\x02" + bytes(8) + b"media"
    assert header_length(packet) == 32
    assert payload_bounds(packet) == (32, 37)


@pytest.mark.parametrize(
    "packet",
    [
        bytes([0x8F]) + PLAIN[1:] + bytes(59),
        bytes([0x90]) + PLAIN[1:] + bytes(3),
        bytes([0x90]) + PLAIN[1:] + b"\xbe\xde\xff\xff" + bytes(100),
        bytes([0x90]) + PLAIN[1:] + b"\xbe\xde\x00\x01" + bytes(3),
    ],
    ids=["csrc", "extension head", "huge extension", "extension body"],
)
def test_a_header_longer_than_its_packet_is_none(packet):
    assert header_length(packet) is None


def test_padding_is_taken_off_the_payload():
    assert payload_bounds(bytes([0xA0]) + PLAIN[1:] + b"media\0\0\x03") == (12, 17)


@pytest.mark.parametrize("tail", [b"media\x00", b"media\x07", b""])
def test_impossible_padding_is_none(tail):
    packet = bytes([0xA0]) + PLAIN[1:-1] + b"\xff" + tail
    assert payload_bounds(packet) is None


def test_columns_write_through_to_the_packets():
    arena = np.zeros((3, 32), np.uint8)
    columns = PacketColumns(arena)
    columns.first[:] = 0x80
    columns.second[1] = 8 | 0x80
    columns.sequence[1] = 0x1234
    columns.timestamp[1] = 0x1122_3344
    columns.ssrc[1] = 0xAABB_CCDD
    assert arena[1, :12].tobytes() == PLAIN


def test_only_whole_fixed_headers_are_plain():
    arena = np.zeros((5, 16), np.uint8)
    columns = PacketColumns(arena)
    columns.first[:] = [0x80, 0x81, 0x80, 0xA0, 0x80]
    assert columns.plain_headers(np.array([12, 16, 11, 16])).tolist() == [True, False, False, False]
