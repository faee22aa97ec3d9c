"""Datagrams that leave together."""

from __future__ import annotations

from random import Random

from callmeter.load.outbox import bursts
from callmeter.sip.transaction.effects import Hop

HERE, THERE = Hop("UDP", "192.0.2.1", 5060), Hop("UDP", "192.0.2.2", 5060)


def octets_of(found):
    return [[octets for octets, *_ in burst] for burst in found]


def test_what_is_of_one_length_and_goes_to_one_hop_is_side_by_side():
    posted = [
        (b"ack 1", HERE, None, 0),
        (b"bye one", HERE, ("c", 1), 1),
        (b"ack 2", HERE, None, 0),
        (b"ack 3", THERE, None, 0),
        (b"bye two", HERE, ("c", 2), 1),
        (b"ack 10", HERE, None, 0),
    ]
    assert octets_of(bursts(posted)) == [
        [b"ack 1", b"ack 2"],
        [b"ack 3"],
        [b"ack 10"],
        [b"bye one", b"bye two"],
    ]


def test_each_call_keeps_its_order_and_nothing_is_lost():
    random = Random(7)
    for _ in range(200):
        posted = [
            (b"x" * random.randint(1, 3), random.choice([HERE, THERE]), ("call", call), rank)
            for call in range(random.randint(1, 20))
            for rank in range(random.randint(1, 3))
        ]
        found = [each for burst in bursts(posted) for each in burst]
        assert sorted(map(repr, found)) == sorted(map(repr, posted))
        for call in {key for _, _, key, _ in posted}:
            ranks = [rank for _, _, key, rank in found if key == call]
            assert ranks == sorted(ranks)


def test_nothing_is_no_burst():
    assert bursts([]) == []
