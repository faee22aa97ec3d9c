"""Hostile DTLS datagrams are DTLS by their first octet, differ, and can be repeated."""

from __future__ import annotations

from random import Random

import pytest

from callmeter.rtp.demux import PacketKind, classify
from callmeter.srtp import dtls_records
from callmeter.testing.hostile import HOSTILE_DTLS


@pytest.mark.parametrize("kind", HOSTILE_DTLS)
def test_each_kind_reaches_the_dtls_of_a_media_port(kind):
    for seed in range(50):
        datagram = HOSTILE_DTLS[kind](Random(seed))
        assert classify(datagram) is PacketKind.DTLS
        assert datagram == HOSTILE_DTLS[kind](Random(seed))


def test_a_lie_about_lengths_is_in_the_datagrams_and_not_in_the_maker():
    hello = HOSTILE_DTLS["a ClientHello with the NULL suite"](Random(1))
    (record,) = dtls_records.records(hello)
    assert dtls_records.client_random(record.octets) is not None
    huge = HOSTILE_DTLS["a fragment of a huge message"](Random(1))
    assert huge[14:17] == b"\xff\xff\xff"
    assert len(huge) < 100
    cut = HOSTILE_DTLS["a ClientHello and a bad second record"](Random(1))
    assert len(list(dtls_records.records(cut))) == 1
