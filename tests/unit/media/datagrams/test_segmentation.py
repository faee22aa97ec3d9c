"""What goes to one address leaves as one message, and arrives as it would have alone."""

from __future__ import annotations

import ctypes
import errno
import socket

import numpy as np
import pytest

from callmeter.media.arena import Arena
from callmeter.media.datagrams import MmsgBackend, mmsg, segmentation

LOOPBACK = "127.0.0.1"
SIZE = 182


class RecordingLibrary:
    """The C library, with a word on how much each call was to send."""

    def __init__(self, failures=()):
        self.failures = list(failures)
        self.calls = []

    def sendmmsg(self, descriptor, address, count, flags):
        self.calls.append(count)
        if self.failures:
            ctypes.set_errno(self.failures.pop(0))
            return -1
        return mmsg._load().sendmmsg(descriptor, address, count, flags)


@pytest.fixture
def bound():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as opened:
        opened.bind((LOOPBACK, 0))
        yield opened


@pytest.fixture
def peers():
    opened = []
    for _ in range(2):
        peer = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        peer.settimeout(0)
        peer.bind((LOOPBACK, 0))
        opened.append(peer)
    yield opened
    for peer in opened:
        peer.close()


@pytest.fixture
def arena():
    filled = Arena(64)
    filled.octets[:, :SIZE] = np.arange(64, dtype=np.uint8)[:, np.newaxis]
    filled.lengths[:] = SIZE
    return filled


@pytest.fixture
def backend():
    made = MmsgBackend()
    yield made
    made.close()


def heads_of(backend, bound, peers, pattern):
    heads = [
        int.from_bytes(backend.to_native(bound, *peer.getsockname())[:8], "little")
        for peer in peers
    ]
    return np.array([heads[number] for number in pattern], np.uint64)


def bound_to(bound, heads):
    """The socket of each slot: one."""
    return np.full(len(heads), bound.fileno())


def received(peer):
    found = []
    while True:
        try:
            found.append(peer.recv(65_535))
        except BlockingIOError:
            return found


def test_addresses_are_grouped_and_each_keeps_its_order():
    chosen = segmentation.plan(np.array([7, 3, 7, 3, 7, 3], np.uint64), 64)
    assert chosen.order.tolist() == [1, 3, 5, 0, 2, 4]
    assert chosen.starts.tolist() == [0, 3]
    assert chosen.counts.tolist() == [3, 3]
    assert segmentation.slots_of(chosen, 1) == [0, 2, 4]


def test_a_message_has_no_more_segments_than_the_kernel_takes():
    chosen = segmentation.plan(np.full(150, 9, np.uint64), 64)
    assert chosen.counts.tolist() == [64, 64, 22]


def test_addresses_of_their_own_are_not_grouped():
    assert segmentation.plan(np.arange(50, dtype=np.uint64), 64) is None


def test_long_datagrams_stay_within_what_one_message_may_hold(arena):
    heads = np.full(64, 9, np.uint64)
    chosen = segmentation.Segmentation(arena).plan(heads, 1400)
    assert int(chosen.counts.max()) * 1400 <= 65_000


def test_plans_are_kept_and_their_number_is_bounded(arena):
    tables = segmentation.Segmentation(arena)
    first = np.full(4, 1, np.uint64)
    assert tables.plan(first, SIZE) is tables.plan(first.copy(), SIZE)
    for number in range(2, 40):
        tables.plan(np.full(4, number, np.uint64), SIZE)
    assert len(tables._plans) <= segmentation.MAX_PLANS


def test_every_peer_receives_its_datagrams_one_by_one(backend, bound, peers, arena, monkeypatch):
    pattern = [0, 1] * 20
    library = RecordingLibrary()
    monkeypatch.setattr(mmsg, "_LIBRARY", library)
    heads = heads_of(backend, bound, peers, pattern)
    assert backend.send_to_heads(arena, 40, bound_to(bound, heads), heads) == []
    for number, peer in enumerate(peers):
        expected = [bytes([slot]) * SIZE for slot in range(40) if slot % 2 == number]
        assert received(peer) == expected
    assert library.calls == [2]


def test_datagrams_of_several_lengths_are_not_grouped(backend, bound, peers, arena, monkeypatch):
    arena.lengths[3] = SIZE - 6
    library = RecordingLibrary()
    monkeypatch.setattr(mmsg, "_LIBRARY", library)
    heads = heads_of(backend, bound, peers, [0] * 8)
    assert backend.send_to_heads(arena, 8, bound_to(bound, heads), heads) == []
    assert [len(datagram) for datagram in received(peers[0])] == [182, 182, 182, 176] + [182] * 4
    assert library.calls == [8]


def test_who_does_not_want_it_sends_one_by_one(bound, peers, arena, monkeypatch):
    backend = MmsgBackend(segmentation=False)
    library = RecordingLibrary()
    monkeypatch.setattr(mmsg, "_LIBRARY", library)
    heads = heads_of(backend, bound, peers, [0] * 8)
    assert backend.send_to_heads(arena, 8, bound_to(bound, heads), heads) == []
    assert len(received(peers[0])) == 8
    assert library.calls == [8]
    backend.close()


def test_where_the_kernel_cannot_cut_all_leave_alone_and_it_is_not_asked_again(
    backend, bound, peers, arena, monkeypatch
):
    library = RecordingLibrary([errno.EIO])
    monkeypatch.setattr(mmsg, "_LIBRARY", library)
    heads = heads_of(backend, bound, peers, [0, 1] * 4)
    assert backend.send_to_heads(arena, 8, bound_to(bound, heads), heads) == []
    assert [len(received(peer)) for peer in peers] == [4, 4]
    assert backend.send_errors.total == 0
    assert backend.send_to_heads(arena, 8, bound_to(bound, heads), heads) == []
    assert library.calls == [2, *[1] * 8, 8]


def test_a_message_the_kernel_refuses_refuses_all_that_is_in_it(
    backend, bound, peers, arena, monkeypatch
):
    monkeypatch.setattr(mmsg, "_LIBRARY", RecordingLibrary([errno.ENOBUFS]))
    heads = heads_of(backend, bound, peers, [0, 1] * 4)
    refused = backend.send_to_heads(arena, 8, bound_to(bound, heads), heads)
    assert len(refused) == 4
    assert backend.send_errors.by_name == {"ENOBUFS": 4}
    assert sum(len(received(peer)) for peer in peers) == 4


def test_each_batch_goes_where_it_is_sent_whatever_was_sent_before(backend, bound, peers, arena):
    patterns = [0, 1] * 20, [0] * 20 + [1] * 20
    for pattern, size in ((0, SIZE), (0, SIZE), (1, SIZE), (0, SIZE), (0, SIZE - 8), (0, SIZE)):
        arena.lengths[:] = size
        heads = heads_of(backend, bound, peers, patterns[pattern])
        assert backend.send_to_heads(arena, 40, bound_to(bound, heads), heads) == []
        for number, peer in enumerate(peers):
            slots = [slot for slot in range(40) if patterns[pattern][slot] == number]
            assert received(peer) == [bytes([slot]) * size for slot in slots]
