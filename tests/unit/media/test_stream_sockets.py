"""Which sockets streams get, and when these are closed."""

from __future__ import annotations

import pytest

from callmeter.errors import TransportError

LOOPBACK = "127.0.0.1"


@pytest.fixture
def sockets(lab):
    return lab.engine.sockets


def test_a_stream_alone_has_one_port_under_mux_and_else_two_in_a_row(sockets):
    one, none = sockets.open(LOOPBACK, (0, 0), None, rtcp_mux=True)
    rtp, rtcp = sockets.open(LOOPBACK, (0, 0), None, rtcp_mux=False)
    assert none is None
    first = rtp.getsockname()[1]
    assert first % 2 == 0
    assert rtcp.getsockname()[1] == first + 1
    for row, bound in enumerate((one, rtp, rtcp)):
        sockets.close(bound, row)
        assert bound.fileno() == -1


def test_streams_share_one_socket_for_each_setting_until_the_last_has_left(lab, sockets):
    rows = [lab.engine._take_row() for _ in range(3)]
    first, second = (sockets.share(row, LOOPBACK, (0, 0), None, None) for row in rows[:2])
    other = sockets.share(rows[2], LOOPBACK, (0, 0), 46, None)
    assert first is second
    assert other is not first
    for row in rows[:2]:
        assert first.fileno() >= 0
        sockets.close(first, row)
    assert first.fileno() == -1
    assert other.fileno() >= 0
    sockets.close(other, rows[2])
    for row in rows:
        lab.engine._release_row(row)


def test_a_port_that_is_taken_is_not_shared(lab, sockets):
    port = lab.socket().getsockname()[1]
    row = lab.engine._take_row()
    with pytest.raises(TransportError):
        sockets.share(row, LOOPBACK, (port, port), None, None)
    assert row not in lab.engine.lanes.ports
    lab.engine._release_row(row)


def test_what_a_shared_port_has_dropped_stays_counted_when_it_is_gone(lab, sockets):
    stream, stranger = lab.open(shared=True), lab.socket()
    stream.start(lab.parameters(lab.socket(), symmetric=False))
    for number in range(3):
        stranger.sendto(lab.rtp(number), (LOOPBACK, stream.port))
    lab.run(0.05)
    assert sockets.dropped == lab.engine.dropped == {"unknown": 3}
    stream.stop()
    assert sockets.dropped == lab.engine.dropped == {"unknown": 3}
