"""The ring: every operation has the result its call would have had, whatever the kernel takes."""

from __future__ import annotations

import ctypes
import errno
import mmap
import socket
from pathlib import Path

import numpy as np
import pytest

from callmeter.media.datagrams import ring as rings
from callmeter.media.datagrams.ring import RECEIVE_MESSAGE, SEND_MESSAGE, Ring
from callmeter.media.datagrams.tables import MESSAGE, VECTOR

pytestmark = pytest.mark.io_uring


class Messages:
    """Some messages of eight octets, with nothing but their octets."""

    def __init__(self, count):
        self.octets = np.zeros((count, 8), np.uint8)
        self.vectors = np.zeros(count, VECTOR)
        self.vectors["base"] = self.octets.ctypes.data + 8 * np.arange(count)
        self.vectors["length"] = 8
        self.headers = np.zeros(count, MESSAGE)
        self.headers["iov"] = self.vectors.ctypes.data + VECTOR.itemsize * np.arange(count)
        self.headers["iov_count"] = 1
        first = self.headers.ctypes.data
        self.places = first + MESSAGE.itemsize * np.arange(count, dtype=np.uint64)


class Kernel:
    """Enters the ring, but first does what a kernel may do."""

    def __init__(self, call, answers):
        self.call = call
        self.answers = list(answers)

    def __call__(self, number, descriptor, submitted, *others):
        answer = self.answers.pop(0) if self.answers else None
        if isinstance(answer, BaseException):
            ctypes.set_errno(answer.errno)
            return -1
        if answer is not None:
            # It need not take all at once, and returns without waiting for more.
            return self.call(number, descriptor, answer, 0, *others[1:])
        return self.call(number, descriptor, submitted, *others)


@pytest.fixture
def ring():
    made = Ring(16)
    yield made
    made.close()


@pytest.fixture
def pairs():
    made = [socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(10)]
    yield made
    for pair in made:
        for end in pair:
            end.close()


def descriptors():
    """How many this process has, and one for the question."""
    return len(list(Path("/proc/self/fd").iterdir()))


def send(ring, pairs, value):
    messages = Messages(len(pairs))
    messages.octets[:] = value
    descriptors = [pair[0].fileno() for pair in pairs]
    results = ring.perform(SEND_MESSAGE, descriptors, messages.places, socket.MSG_DONTWAIT)
    return results.tolist()


def receive(ring, pairs):
    messages = Messages(len(pairs))
    descriptors = [pair[1].fileno() for pair in pairs]
    results = ring.perform(RECEIVE_MESSAGE, descriptors, messages.places, socket.MSG_DONTWAIT)
    return results.tolist(), messages.octets[:, 0].tolist()


def test_the_ring_goes_round(ring, pairs):
    for value in range(1, 40):
        assert send(ring, pairs, value) == [8] * 10
        assert receive(ring, pairs) == ([8] * 10, [value] * 10)


class PlayedKernel:
    """Does what the kernel does with both rings: each operation has its message as the result."""

    def __init__(self, ring):
        self.ring = ring

    def __call__(self, _number, _descriptor, submitted, *_):
        ring = self.ring
        for _ in range(submitted):
            head, tail = int(ring._head[0]), int(ring._done_tail[0])
            entry = ring._entries[ring._queue[head % ring.capacity]]
            ring._done[tail % len(ring._done)] = (entry["user_data"], entry["address"], 0)
            ring._head[0] = (head + 1) % (1 << 32)
            ring._done_tail[0] = (tail + 1) % (1 << 32)
        return submitted


def test_the_counters_of_both_rings_pass_their_end(ring):
    for counter in (ring._head, ring._tail, ring._done_head, ring._done_tail):
        counter[0] = (1 << 32) - 23
    ring._call = PlayedKernel(ring)
    for number in range(8):
        places = np.arange(10, dtype=np.uint64) + 100 * number
        assert ring.perform(SEND_MESSAGE, [5] * 10, places, 0).tolist() == places.tolist()
    assert ring._tail[0] == ring._head[0] == ring._done_head[0] == 80 - 23


def test_each_operation_has_a_result_of_its_own(ring, pairs):
    pairs[3][1].close()
    pairs[5][0].close()
    expected = [8] * 10
    expected[3], expected[5] = -errno.ECONNREFUSED, -errno.EBADF
    assert send(ring, pairs, 1) == expected
    assert receive(ring, pairs[:3] + pairs[5:6]) == ([8] * 3 + [-errno.EAGAIN], [1, 1, 1, 0])


def test_nothing_there_does_not_wait(ring, pairs):
    assert receive(ring, pairs)[0] == [-errno.EAGAIN] * 10


def test_what_the_kernel_takes_piece_by_piece_is_done_all_the_same(ring, pairs):
    ring._call = Kernel(ring._call, [3, InterruptedError(errno.EINTR, ""), 0, 5])
    assert send(ring, pairs, 9) == [8] * 10
    assert receive(ring, pairs) == ([8] * 10, [9] * 10)


def test_what_the_kernel_has_no_memory_for_is_not_done_and_not_done_later(ring, pairs):
    ring._call = Kernel(ring._call, [4, BlockingIOError(errno.EAGAIN, "")])
    assert send(ring, pairs, 7) == [8] * 4 + [-errno.ECANCELED] * 6
    assert receive(ring, pairs)[0] == [8] * 4 + [-errno.EAGAIN] * 6
    assert send(ring, pairs, 8) == [8] * 10
    assert receive(ring, pairs) == ([8] * 10, [8] * 10)


def test_a_ring_that_is_closed_leaves_no_descriptor_behind():
    before = descriptors()
    ring = Ring(8)
    assert descriptors() != before
    ring.close()
    ring.close()
    assert descriptors() == before


def test_where_no_ring_can_be_mapped_no_descriptor_is_left(monkeypatch):
    def no_memory(*_, **__):
        raise OSError(errno.ENOMEM, "no memory")

    before = descriptors()
    monkeypatch.setattr(mmap, "mmap", no_memory)
    with pytest.raises(OSError, match="no memory"):
        Ring(8)
    assert descriptors() == before


def refuse(*_):
    ctypes.set_errno(errno.EPERM)
    return -1


def test_a_system_that_gives_no_ring_has_none(monkeypatch):
    # As containers do by default.
    monkeypatch.setattr(rings, "_system_call", lambda: refuse)
    with pytest.raises(PermissionError):
        Ring(8)
    assert not rings.available.__wrapped__()
    monkeypatch.setattr(rings, "_system_call", lambda: None)
    with pytest.raises(OSError, match="no io_uring"):
        Ring(8)
    assert not rings.available.__wrapped__()


def test_a_kernel_of_which_the_operations_do_something_else_is_not_used(monkeypatch):
    assert rings.available.__wrapped__()
    monkeypatch.setattr(rings, "RECEIVE_MESSAGE", 0)
    assert not rings.available.__wrapped__()


def test_other_systems_do_without(monkeypatch):
    assert rings._system_call.__wrapped__() is not None
    monkeypatch.setattr("sys.platform", "darwin")
    assert rings._system_call.__wrapped__() is None
