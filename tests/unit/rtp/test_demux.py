from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from callmeter.rtp.demux import MINIMUM_OCTETS, PacketKind, classify, classify_batch


@given(st.binary(max_size=40))
def test_one_datagram_and_a_batch_of_it_are_of_the_same_kind(datagram):
    first, second = (datagram + bytes(2))[:2]
    batch = classify_batch(
        np.array([first], np.uint8), np.array([second], np.uint8), np.array([len(datagram)])
    )
    single = classify(datagram)
    assert isinstance(single, PacketKind)
    assert batch[0] == single or not datagram


@pytest.mark.parametrize(
    ("first", "second", "kind"),
    [
        (0, 1, PacketKind.STUN),
        (22, 0xFE, PacketKind.DTLS),
        (16, 0, PacketKind.ZRTP),
        (64, 0, PacketKind.TURN_CHANNEL),
        (0x80, 0, PacketKind.RTP),
        (0x80, 200, PacketKind.RTCP),
    ],
)
def test_a_datagram_shorter_than_one_header_of_its_kind_is_dropped(first, second, kind):
    length = MINIMUM_OCTETS[kind]
    datagram = bytes([first, second]) + bytes(length - 2)
    assert classify(datagram) is kind
    assert classify(datagram[:-1]) is PacketKind.DROP
    octets = np.full(2, first, np.uint8), np.full(2, second, np.uint8)
    assert classify_batch(*octets, np.array([length, length - 1])).tolist() == [kind, 0]


@pytest.mark.parametrize("datagram", [b"", b"\x80", b"\x16", b"\x00", b"\xff"])
def test_empty_and_single_octets_are_dropped(datagram):
    assert classify(datagram) is PacketKind.DROP


def test_a_batch_without_lengths_goes_by_its_octets_alone():
    first, second = np.array([0x80, 0x80, 5], np.uint8), np.array([0, 223, 0], np.uint8)
    assert classify_batch(first, second).tolist() == [PacketKind.RTP, PacketKind.RTCP, 0]
