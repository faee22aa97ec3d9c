"""The tap copies, and changes nothing of what the back-end does."""

from __future__ import annotations

import pytest

from callmeter.config import CaptureConfig
from callmeter.media.arena import Arena
from callmeter.media.capture import MediaCapture
from callmeter.media.datagrams import Received, new_backend
from callmeter.media.datagrams.tap import TappedBackend
from callmeter.media.ports import bind_socket

HOSTS = {4: "127.0.0.1", 6: "::1"}
SLOTS = 64


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("name", ["portable", "mmsg"])
def test_what_one_socket_sends_another_receives_and_both_captures_have(name, version):
    backend = TappedBackend(new_backend(name), lambda: 5.0)
    here, there = (bind_socket(HOSTS[version], 0, 0) for _ in range(2))
    other = bind_socket(HOSTS[version], 0, 0)
    captures = [MediaCapture(CaptureConfig()) for _ in range(2)]
    for bound, capture in zip((here, there), captures, strict=True):
        capture.begin(backend.to_host_port)
        backend.tap(bound, capture)
        backend.add(bound)
    assert backend.tapping
    ends = [(HOSTS[version], bound.getsockname()[1]) for bound in (here, there)]
    arena, received = Arena(SLOTS), Received(SLOTS)
    for slot in range(3):
        arena.octets[slot, :4] = slot
        arena.lengths[slot] = 4
    target = backend.to_native(here, *ends[1])
    outlets = [backend.outlet(here)] * 2 + [backend.outlet(other)]
    assert backend.send(arena, 3, outlets, [target] * 3) == []
    assert backend.send_one(backend.outlet(here), b"last", target)
    assert backend.send_one(backend.outlet(other), b"unseen", target)
    backend.receive(arena, received)
    assert received.count == 5
    sent, arrived = (list(capture) for capture in captures)
    assert [each.octets for each in sent] == [bytes(4), b"\1\1\1\1", b"last"]
    assert {(each.sent, each.wall, each.local, each.remote) for each in sent} == {
        (True, 5.0, *ends)
    }
    assert [each.octets for each in arrived] == [
        bytes(4), b"\1\1\1\1", b"\2\2\2\2", b"last", b"unseen",
    ]  # fmt: skip
    assert all(each.wall > 1e9 or each.wall == 5.0 for each in arrived)
    for bound in (here, there):
        backend.untap(bound)
        backend.remove(bound)
    assert not backend.tapping
    backend.untap(other)
    for bound in (here, there, other):
        bound.close()
    backend.close()
