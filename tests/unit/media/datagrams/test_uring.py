"""When the ring is used, and what becomes of a process that gets none."""

from __future__ import annotations

import errno
from pathlib import Path

import numpy as np
import pytest

from callmeter.media.arena import Arena
from callmeter.media.datagrams import Received, UringBackend, uring
from callmeter.media.datagrams.ring import RECEIVE_MESSAGE, SEND_MESSAGE, Ring
from callmeter.media.ports import bind_socket

LOOPBACK = "127.0.0.1"

pytestmark = pytest.mark.io_uring


@pytest.fixture
def backend():
    made = UringBackend()
    yield made
    made.close()


@pytest.fixture
def receivers(backend):
    made = [bind_socket(LOOPBACK, 0, 0) for _ in range(uring.RING_PAYS)]
    for bound in made:
        backend.add(bound)
    yield made
    for bound in made:
        backend.remove(bound)
        bound.close()


def exchange(backend, receivers):
    """Send one datagram to each; how many arrived."""
    arena, received = Arena(32), Received(32)
    count = len(receivers)
    arena.lengths[:count] = 5
    outlets = [bound.fileno() for bound in receivers]
    places = [backend.to_native(bound, *bound.getsockname()) for bound in receivers]
    assert backend.send(arena, count, outlets, places) == [], backend.send_errors.by_name
    backend.receive(arena, received)
    assert np.all(arena.lengths[: received.count] == 5)
    return received.count


def descriptors():
    """How many this process has, and one for the question."""
    return len(list(Path("/proc/self/fd").iterdir()))


def test_few_sockets_need_no_ring_and_many_share_one(backend, receivers):
    before = descriptors()
    few = receivers[1:]
    assert exchange(backend, few) == len(few)
    assert descriptors() == before
    for _ in range(3):
        assert exchange(backend, receivers) == len(receivers)
    assert descriptors() > before
    backend.close()
    # The readiness set has one too.
    assert descriptors() == before - 1


def test_both_ways_go_through_the_ring(backend, receivers, monkeypatch):
    performed = []

    class Watched(Ring):
        def perform(self, operation, descriptors, *others):
            performed.append((operation, len(descriptors)))
            return super().perform(operation, descriptors, *others)

    monkeypatch.setattr(uring, "Ring", Watched)
    exchange(backend, receivers)
    count = len(receivers)
    assert performed == [(SEND_MESSAGE, count), (RECEIVE_MESSAGE, count)]


def test_the_ring_goes_with_the_last_socket_and_comes_back(backend, receivers):
    before = descriptors()
    for _ in range(2):
        assert exchange(backend, receivers) == len(receivers)
        assert descriptors() > before
        for bound in receivers:
            backend.remove(bound)
        assert descriptors() == before
        for bound in receivers:
            backend.add(bound)


def test_a_process_that_gets_no_ring_goes_on_without(backend, receivers, monkeypatch):
    asked = []

    def none_left(entries):
        asked.append(entries)
        raise OSError(errno.EMFILE, "too many open files")

    monkeypatch.setattr(uring, "Ring", none_left)
    for _ in range(3):
        assert exchange(backend, receivers) == len(receivers)
    assert len(asked) == 1
