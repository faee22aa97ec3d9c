"""The virtual network does to datagrams what it was told to, and repeats it exactly."""

from __future__ import annotations

from collections import Counter

import pytest

from callmeter.testing.clock import VirtualClock
from callmeter.testing.network import Datagram, Fates, LinkConditions, VirtualNetwork

A, B = ("192.0.2.1", 5060), ("192.0.2.2", 5060)


def run(conditions=None, *, count=1000, seed=1):
    """Send so many numbered datagrams 10 ms apart; what arrived, in order."""
    clock = VirtualClock()
    network = VirtualNetwork(clock, seed, conditions)
    arrived = []
    for number in range(count):
        network.send(Datagram(A, B, b"%d" % number))
        clock.advance(0.01)
        arrived += network.arrivals()
    clock.advance(60)
    arrived += network.arrivals()
    assert len(network) == 0
    return network, [int(datagram.data) for datagram in arrived]


def test_a_good_path_delivers_everything_in_order_after_its_delay():
    clock = VirtualClock()
    network = VirtualNetwork(clock, conditions=LinkConditions(delay=0.25))
    datagram = Datagram(A, B, b"x")
    network.send(datagram)
    assert network.next_deadline() == 0.25
    assert network.arrivals() == []
    clock.advance(0.25)
    assert network.arrivals() == [datagram]
    assert network.next_deadline() is None
    assert run()[1] == list(range(1000))


def test_a_share_of_the_datagrams_is_lost():
    network, arrived = run(LinkConditions(loss=0.2))
    assert 750 < len(arrived) < 850
    assert network.counters["lost"] == 1000 - len(arrived)
    assert run(LinkConditions(loss=1.0))[1] == []


def test_a_share_arrives_twice():
    network, arrived = run(LinkConditions(duplicate=0.2))
    assert 150 < len(arrived) - 1000 < 250
    assert network.counters["duplicated"] == len(arrived) - 1000
    assert set(arrived) == set(range(1000))


def test_a_share_has_one_bit_turned_round():
    clock = VirtualClock()
    network = VirtualNetwork(clock, 1, LinkConditions(corrupt=0.2))
    for _ in range(1000):
        network.send(Datagram(A, B, bytes(10)))
    network.send(Datagram(A, B, b""))
    clock.advance(1)
    bits = [int.from_bytes(each.data, "big").bit_count() for each in network.arrivals()]
    assert len(bits) == 1001
    assert set(bits) == {0, 1}
    assert 150 < sum(bits) < 250
    assert network.counters["corrupted"] == sum(bits)


def test_what_is_longer_than_the_mtu_is_lost():
    clock = VirtualClock()
    network = VirtualNetwork(clock, conditions=LinkConditions(mtu=100))
    for length in (99, 100, 101):
        network.send(Datagram(A, B, bytes(length)))
    clock.advance(1)
    assert [len(each.data) for each in network.arrivals()] == [99, 100]
    assert network.counters["too_long"] == 1


def test_a_share_is_overtaken():
    network, arrived = run(LinkConditions(reorder=0.1, reorder_delay=0.035))
    assert sorted(arrived) == list(range(1000))
    assert arrived != sorted(arrived)
    assert 50 < network.counters["reordered"] < 150


def test_jitter_spreads_the_arrivals():
    _, arrived = run(LinkConditions(jitter=0.1))
    assert arrived != sorted(arrived)


def test_the_seed_decides_everything():
    conditions = LinkConditions(loss=0.2, duplicate=0.2, jitter=0.1, reorder=0.1)
    assert run(conditions, seed=3)[1] == run(conditions, seed=3)[1]
    assert run(conditions, seed=3)[1] != run(conditions, seed=4)[1]


def test_conditions_and_partitions_hold_in_one_direction():
    clock = VirtualClock()
    network = VirtualNetwork(clock)
    network.set_conditions(LinkConditions(delay=5.0), *("192.0.2.2", "192.0.2.1"))
    network.partition("192.0.2.1", "192.0.2.2")
    there, back = Datagram(A, B, b"there"), Datagram(B, A, b"back")
    network.send(there)
    network.send(back)
    clock.advance(1)
    assert network.arrivals() == []
    clock.advance(4)
    assert network.arrivals() == [back]
    network.heal()
    network.send(there)
    clock.advance(1)
    assert network.arrivals() == [there]
    assert network.counters == {"sent": 3, "lost": 1, "delivered": 2}


def test_chosen_datagrams_are_lost_so_many_times():
    clock = VirtualClock()
    network = VirtualNetwork(clock)
    network.lose(lambda datagram: datagram.data == b"x", times=2)
    for data in (b"x", b"y", b"x", b"x"):
        network.send(Datagram(A, B, data))
    clock.advance(1)
    assert [datagram.data for datagram in network.arrivals()] == [b"y", b"x"]


def test_the_log_holds_what_was_sent_even_if_it_was_lost():
    clock = VirtualClock(3.0)
    network = VirtualNetwork(clock, conditions=LinkConditions(loss=1.0))
    network.send(Datagram(A, B, b"unlogged"))
    network.log = []
    network.send(Datagram(A, B, b"x"))
    assert network.log == [(3.0, Datagram(A, B, b"x"))]


@pytest.mark.parametrize(
    "wrong", [{"loss": 1.1}, {"duplicate": -0.1}, {"reorder": 2}, {"delay": -1}, {"jitter": -1}]
)
def test_conditions_that_cannot_be_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        LinkConditions(**wrong)


# the fate of one datagram


def test_a_datagram_has_a_fate_that_can_be_asked_for_without_a_network():
    counters = Counter()
    fates = Fates("a seed", counters)
    conditions = LinkConditions(delay=0.5, jitter=0.5, duplicate=1, reorder=1, reorder_delay=2)
    (first, data), (second, _) = fates.of(b"data", conditions)
    assert data == b"data"
    assert first != second
    assert all(2.5 <= delay <= 3 for delay in (first, second))
    assert counters == {"duplicated": 1, "reordered": 2}
