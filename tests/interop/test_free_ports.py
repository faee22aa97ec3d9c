"""Ports for the peers: tests run by several workers at once take none from each other."""

from __future__ import annotations

from peers.program import FIRST_PORT, LAST_PORT, share


def test_the_workers_share_all_ports_and_each_has_its_own():
    shares = [set(share(f"gw{number}", "4")) for number in range(4)]
    assert sum(map(len, shares)) == len(set.union(*shares)) == LAST_PORT + 1 - FIRST_PORT


def test_a_single_process_has_all():
    assert share("gw0", "1") == range(FIRST_PORT, LAST_PORT + 1)
