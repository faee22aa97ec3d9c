"""A stream transport: its listening socket, and where its connections come from."""

from __future__ import annotations

import asyncio
import errno
import socket

import pytest

from callmeter.errors import ConnectionFailed
from callmeter.transport import stream

LOOPBACK = "127.0.0.1"


class Listener:
    """A listening socket whose first `accept` calls fail."""

    def __init__(self, sock, errors):
        self._sock = sock
        self._errors = iter(errors)
        self.calls = 0

    def accept(self):
        self.calls += 1
        error = next(self._errors, None)
        if error is not None:
            raise OSError(error, "as told")
        return self._sock.accept()

    def __getattr__(self, name):
        return getattr(self._sock, name)


def failing(side, *errors):
    side.transport._listener = Listener(side.transport._listener, errors)
    return side.transport._listener


async def test_a_port_that_is_taken_is_told_in_words(make_side):
    side = make_side()
    loop = asyncio.get_running_loop()
    with pytest.raises(ConnectionFailed, match=f"cannot listen on TCP {LOOPBACK}:{side.port}: "):
        stream.StreamTransport(
            loop,
            side.pool,
            "TCP",
            client_layers=lambda hop: (),
            server_layers=lambda: (),
            bind=LOOPBACK,
            port=side.port,
        )


async def test_a_transport_that_does_not_listen_has_no_port(make_side):
    side = make_side(listens=False)
    assert not side.transport.listens
    assert side.transport.local == (LOOPBACK, 0)
    side.transport.close()


async def test_messages_go_both_ways_over_ipv6(make_side, options):
    server, client = make_side(bind="::1"), make_side(bind="::1", listens=False)
    server.echo()
    client.transport.send(options(1), server.hop)
    await client.user.until(lambda: client.user.messages)
    assert client.user.messages == [options(1)]
    assert server.user.sources[0].host == "::1"


async def test_a_closed_transport_accepts_nobody(make_side, make_bare):
    side = make_side()
    where = side.transport.local
    side.transport.close()
    side.transport.close()
    assert not side.transport.listens
    with socket.socket() as late, pytest.raises(ConnectionRefusedError):
        late.connect(where)
    # A turn that was due already.
    side.transport._on_acceptable()


async def test_many_connections_at_once_are_all_accepted(make_side, make_bare, until):
    side = make_side(inbound=500, inbound_per_host=500)
    for _ in range(200):
        await make_bare(side)
    await until(lambda: len(side.pool) == 200)


async def test_without_a_free_descriptor_accepting_waits_and_does_not_spin(
    make_side, make_bare, monkeypatch, until
):
    monkeypatch.setattr(stream, "PAUSE_S", 0.2)
    side = make_side()
    listener = failing(side, errno.EMFILE, errno.ENFILE)
    await make_bare(side)
    begun = asyncio.get_running_loop().time()
    await until(lambda: len(side.pool) == 1)
    assert asyncio.get_running_loop().time() - begun >= 0.35
    assert listener.calls <= 5


async def test_a_transport_can_be_closed_while_it_waits_for_a_descriptor(
    make_side, make_bare, until
):
    side = make_side()
    failing(side, errno.EMFILE)
    await make_bare(side)
    await until(lambda: side.transport._paused is not None)
    side.transport.close()
    assert side.transport._paused is None


async def test_a_peer_that_has_gone_again_does_not_keep_the_next_out(make_side, make_bare, until):
    side = make_side()
    failing(side, errno.ECONNABORTED, errno.EINTR, errno.EPROTO)
    await make_bare(side)
    await make_bare(side)
    await until(lambda: len(side.pool) == 2)


async def test_a_turn_accepts_a_bounded_number(make_side, make_bare, until, monkeypatch):
    monkeypatch.setattr(stream, "ACCEPTS_A_TURN", 2)
    side = make_side()
    side.transport._loop.remove_reader(side.transport._listener.fileno())
    for _ in range(5):
        await make_bare(side)
    side.transport._on_acceptable()
    assert len(side.pool) == 2
    side.transport._on_acceptable()
    side.transport._on_acceptable()
    assert len(side.pool) == 5
