"""Sessions of many calls are made in a thread of their own, those of a few are not."""

from __future__ import annotations

import threading

import pytest

from callmeter.config import SrtpSuite
from callmeter.media import session_memory
from callmeter.media.session_memory import SessionMemory
from callmeter.srtp import SrtpContext, for_suite, generate
from callmeter.srtp.libsrtp import DOOR


class WatchedDoor:
    """The door, and which thread it was opened by."""

    name, suites, whole = DOOR.name, DOOR.suites, DOOR.whole

    def __init__(self):
        self.threads = []

    def open(self, policy):
        self.threads.append(threading.current_thread())
        return DOOR.open(policy)


@pytest.fixture
def door():
    return WatchedDoor()


@pytest.fixture
def memory(door):
    made = SessionMemory(door)
    yield made
    made.close()


def context(memory, direction="send"):
    line = generate(for_suite(SrtpSuite.AES_CM_128_HMAC_SHA1_80), 1, bytes)
    return SrtpContext(line, direction, door=memory)


def test_a_few_sessions_start_no_thread(memory, door):
    contexts = [context(memory) for _ in range(session_memory.FEW)]
    assert set(door.threads) == {threading.main_thread()}
    for each in contexts:
        each.close()


def test_many_sessions_are_made_in_one_thread_and_work_like_others(memory, door, rtp_packet):
    contexts = [context(memory) for _ in range(session_memory.FEW + 4)]
    others = set(door.threads[session_memory.FEW :])
    assert len(others) == 1
    assert threading.main_thread() not in others
    receiver = context(memory, "receive")
    assert receiver.unprotect(contexts[-1].protect(rtp_packet)) == rtp_packet
    for each in (*contexts, receiver):
        each.close()


def test_the_thread_ends_and_the_sessions_live_on(memory, door, rtp_packet):
    contexts = [context(memory) for _ in range(session_memory.FEW + 1)]
    memory.close()
    assert not door.threads[-1].is_alive()
    assert contexts[-1].protect(rtp_packet) is not None
    for each in contexts:
        each.close()


def test_a_session_that_is_asked_for_after_the_end_starts_no_thread(memory, door):
    contexts = [context(memory) for _ in range(session_memory.FEW + 1)]
    memory.close()
    contexts.append(context(memory))
    assert door.threads[-1] is threading.main_thread()
    for each in contexts:
        each.close()


@pytest.fixture
def rtp_packet():
    return bytes([0x80, 0]) + (7).to_bytes(2, "big") + bytes(8) + bytes(160)
