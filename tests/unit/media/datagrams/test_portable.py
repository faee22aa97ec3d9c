"""What only the back-end of the socket module has to stand."""

from __future__ import annotations

import select

import pytest

from callmeter.media.arena import Arena
from callmeter.media.datagrams import PortableBackend, Received
from callmeter.media.datagrams import portable as portable_module
from callmeter.media.ports import bind_socket


@pytest.fixture
def close():
    opened = []
    yield opened.append
    for each in opened:
        each.close()


def test_a_socket_that_is_ready_and_empty_is_passed_over(close):
    backend = PortableBackend()
    close(backend)
    bound = bind_socket("127.0.0.1", 0, 0)
    close(bound)
    backend.add(bound)
    answers = iter([[(bound.fileno(), select.POLLIN)], []])

    class Poller:
        @staticmethod
        def poll(_timeout):
            return next(answers)

        @staticmethod
        def close():
            pass

        @staticmethod
        def unregister(_descriptor):
            pass

    backend._poller.close()
    backend._poller = Poller
    received = Received(4)
    backend.receive(Arena(4), received)
    assert received.count == 0


def test_where_there_is_no_epoll_poll_does(monkeypatch, close):
    monkeypatch.delattr(select, "epoll")
    backend = PortableBackend()
    close(backend)
    receiver, sender = (bind_socket("127.0.0.1", 0, 0) for _ in range(2))
    close(receiver)
    close(sender)
    backend.add(receiver)
    sender.sendto(b"x", receiver.getsockname())
    arena, received = Arena(4), Received(4)
    backend.receive(arena, received)
    assert [arena.packet(slot) for slot in range(received.count)] == [b"x"]


def test_slices_of_a_few_lengths_are_kept_and_never_more(close):
    backend = PortableBackend()
    close(backend)
    sender, receiver = (bind_socket("127.0.0.1", 0, 0) for _ in range(2))
    close(sender)
    close(receiver)
    arena = Arena(2)
    outlet, destination = backend.outlet(sender), receiver.getsockname()
    for length in range(1, 60):
        arena.lengths[:] = length
        assert backend.send(arena, 2, [outlet] * 2, [destination] * 2) == []
        assert len(backend._views) <= portable_module.MAX_VIEW_LENGTHS
        assert len(receiver.recv(100)) == length
        receiver.recv(100)
    assert backend.send(arena, 0, [], []) == []
