"""Ports for the peers: tests run by several workers at once take none from each other."""

from __future__ import annotations

import itertools

import pytest

from peers.program import FIRST_PORT, LAST_PORT, PeerError, Ports, share


def test_the_workers_share_all_ports_and_each_has_its_own():
    shares = [set(share(f"gw{number}", "4")) for number in range(4)]
    assert sum(map(len, shares)) == len(set.union(*shares)) == LAST_PORT + 1 - FIRST_PORT


def test_a_single_process_has_all():
    assert share("gw0", "1") == range(FIRST_PORT, LAST_PORT + 1)


def test_what_was_given_out_last_is_not_given_again_where_the_range_begins_anew():
    ports = Ports(range(10_001, 10_301), 200, lambda _: True)
    given: list[set[int]] = []
    for count in itertools.islice(itertools.cycle((40, 1, 15, 4)), 60):
        first = ports.take(count)
        assert first % 2 == 0
        given.append(set(range(first, first + count)))
        assert given[-1] <= set(range(10_001, 10_301))
        assert all(given[-1].isdisjoint(before) for before in given[-8:-1])


def test_a_row_has_no_port_that_somebody_has():
    ports = Ports(range(10_000, 10_020), 0, lambda port: port != 10_005)
    assert [ports.take(4), ports.take(4), ports.take(4)] == [10_000, 10_006, 10_010]


def test_a_range_without_so_many_free_ports_is_an_error():
    with pytest.raises(PeerError, match="no 4 free ports in a row"):
        Ports(range(10_000, 10_020), 0, lambda port: port % 3 != 0).take(4)
