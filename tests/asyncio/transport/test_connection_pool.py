"""The connections of a stack: found again, capped, swept, closed."""

from __future__ import annotations

import asyncio
import errno
import socket
from dataclasses import replace

import pytest

from callmeter.errors import ConfigurationError, ConnectionFailed, FlowLost
from callmeter.sip.transaction.effects import Hop
from callmeter.transport import connection_pool
from callmeter.transport.base import Received
from callmeter.transport.connection import ConnectionState

LOOPBACK = "127.0.0.1"


def hop_of(listener, **changes):
    return replace(Hop("TCP", *listener.getsockname()), **changes)


async def test_a_second_message_to_an_address_takes_the_connection_of_the_first(
    make_side, options, until
):
    server, client = make_side(), make_side(listens=False)
    first = await client.opened(server.hop)
    assert client.transport.connection(server.hop) is first
    client.transport.send(options(1), server.hop)
    client.transport.send(options(2), server.hop)
    await server.user.until(lambda: len(server.user.messages) == 2)
    assert len(server.pool) == len(client.pool) == 1


async def test_a_connection_is_not_shared_by_who_must_be_certified_as_somebody_else(
    make_side, listener
):
    side = make_side(listens=False)
    plain = side.transport.connection(hop_of(listener))
    named = side.transport.connection(hop_of(listener, name="example.com"))
    other = side.transport.connection(hop_of(listener, name="example.com", tls=1))
    assert len({plain, named, other}) == 3
    assert side.pool.find(hop_of(listener, name="example.com")) is named


async def test_an_answer_takes_the_connection_its_request_came_by(make_side, make_bare, options):
    side = make_side()
    side.echo()
    one, two = await make_bare(side), await make_bare(side)
    await two.send(options(2))
    assert await two.exactly(len(options(2))) == options(2)
    await one.send(options(1))
    assert await one.exactly(len(options(1))) == options(1)


async def test_an_answer_whose_connection_has_gone_is_told(make_side, make_bare, options):
    side = make_side()
    bare = await make_bare(side)
    await bare.send(options(1))
    await side.user.until(lambda: side.user.messages)
    bare.close()
    await side.user.until(lambda: side.user.lost)
    with pytest.raises(ConnectionFailed, match="has ended"):
        side.transport.send(options(1), side.user.sources[0])


# aliases (RFC 5923)


async def test_requests_to_the_port_a_peer_names_take_the_connection_it_opened(
    make_side, make_bare, options
):
    side = make_side()
    bare = await make_bare(side)
    await bare.send(options(1))
    await side.user.until(lambda: side.user.sources)
    number = side.user.sources[0].connection
    side.pool.alias(number, 5070)
    side.pool.alias(number, 5070)
    named = Hop("TCP", LOOPBACK, 5070)
    assert side.pool.find(named).hop == side.user.sources[0]
    side.transport.send(options(2), named)
    assert await bare.exactly(len(options(2))) == options(2)
    bare.close()
    await side.user.until(lambda: side.user.lost)
    assert side.pool.find(named) is None
    side.pool.alias(number, 5070)
    assert side.pool.find(named) is None


async def test_a_second_connection_does_not_take_an_alias_away(make_side, make_bare, options):
    side = make_side()
    first, second = await make_bare(side), await make_bare(side)
    for bare in (first, second):
        await bare.send(options(1))
    await side.user.until(lambda: len(side.user.sources) == 2)
    for source in side.user.sources:
        side.pool.alias(source.connection, 5070)
    assert side.pool.find(Hop("TCP", LOOPBACK, 5070)).hop == side.user.sources[0]
    side.pool.get(side.user.sources[1].connection).fail(FlowLost("gone"))
    assert side.pool.find(Hop("TCP", LOOPBACK, 5070)).hop == side.user.sources[0]


async def test_a_peer_without_a_certificate_gets_no_alias_over_tls(make_side, make_bare, until):
    class Layer:
        established, keeps_messages, verified = True, False, False

        def start(self):
            return b""

        def receive(self, data):
            return Received(data=(data,))

        def close(self):
            return b""

    layer = Layer()
    side = make_side(server=lambda: (layer,), name="TLS")
    await make_bare(side)
    await until(lambda: side.connections)
    number = side.connections[0].hop.connection
    layer.vouches_for = "a.example".__eq__
    named = Hop("TLS", LOOPBACK, 5061, name="a.example")
    side.pool.alias(number, 5061)
    assert side.pool.find(named) is None
    layer.verified = True
    side.pool.alias(number, 5061)
    assert side.pool.find(named) is side.connections[0]
    assert side.pool.find(replace(named, name="b.example")) is None
    assert side.pool.find(replace(named, name=None)) is None
    assert side.pool.find(replace(named, tls=3)) is None


async def test_a_connection_is_found_by_where_it_came_from(make_side, make_bare, until, options):
    side = make_side()
    bare = await make_bare(side)
    await until(lambda: side.connections)
    came_from = replace(side.connections[0].hop, connection=None)
    assert side.pool.find(came_from) is side.connections[0]
    side.transport.send(options(1), came_from)
    assert await bare.exactly(len(options(1))) == options(1)


# caps


async def refused(bare):
    return await bare.ends() == b""


async def test_connections_over_the_cap_are_refused_until_one_ends(make_side, make_bare, until):
    side = make_side(inbound=2)
    first, _ = await make_bare(side), await make_bare(side)
    await until(lambda: len(side.pool) == 2)
    assert await refused(await make_bare(side))
    assert side.pool.refused == 1
    first.close()
    await until(lambda: len(side.pool) == 1)
    await make_bare(side)
    await until(lambda: len(side.pool) == 2)
    assert side.pool.refused == 1


async def test_one_host_cannot_take_every_place(make_side, make_bare, until):
    side = make_side(inbound_per_host=1)
    first = await make_bare(side)
    await until(lambda: len(side.pool) == 1)
    assert await refused(await make_bare(side))
    await make_bare(side, source="127.0.0.2")
    await until(lambda: len(side.pool) == 2)
    first.close()
    await until(lambda: len(side.pool) == 1)
    await make_bare(side)
    await until(lambda: len(side.pool) == 2)


class Stalled:
    """A layer that never comes to its end, or fails at once."""

    established = keeps_messages = False

    def __init__(self, error=None):
        self.error = error

    def start(self):
        if self.error:
            raise self.error
        return b""

    def close(self):
        return b""

    def receive(self, data):
        return Received()


async def test_unfinished_handshakes_are_few_and_given_up(make_side, make_bare, until):
    side = make_side(server=lambda: (Stalled(),), unfinished_handshakes=2, accept_handshake=0.3)
    bares = [await make_bare(side) for _ in range(3)]
    assert await refused(bares[2])
    assert side.pool.refused == 1
    assert await refused(bares[0])
    assert await refused(bares[1])
    assert len(side.pool) == 0
    await make_bare(side)
    await until(lambda: len(side.pool) == 1)
    # Nobody is told of a connection that never was one.
    assert (side.user.lost, side.user.unreachable) == ([], [])


@pytest.mark.parametrize("error", [ConnectionFailed("no"), OSError("no"), ConfigurationError("no")])
async def test_layers_that_cannot_be_made_or_started_cost_one_connection(
    make_side, make_bare, until, error
):
    def fail():
        raise error

    for server in (fail, lambda: (Stalled(error),)):
        side = make_side(server=server, unfinished_handshakes=1)
        for _ in range(3):
            assert await refused(await make_bare(side))
        assert side.pool.refused == 0
        assert len(side.pool) == 0


# opening


async def test_a_descriptor_that_is_not_to_be_had_is_told(make_side, listener, monkeypatch):
    side = make_side(listens=False)

    def exhausted(*arguments):
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(connection_pool.socket, "socket", exhausted)
    with pytest.raises(ConnectionFailed, match="Too many open files"):
        side.transport.connection(hop_of(listener))
    assert len(side.pool) == 0


async def test_an_own_address_that_is_none_leaves_no_socket(make_side, listener):
    side = make_side(listens=False, bind="192.0.2.1")
    with pytest.raises(ConnectionFailed, match="assign"):
        side.transport.connection(hop_of(listener))


async def test_connections_leave_from_the_address_that_is_bound(make_side, listener, accept):
    side = make_side(listens=False, bind="127.0.0.3")
    connection = await side.opened(hop_of(listener))
    assert connection.local[0] == "127.0.0.3"
    assert (await accept()).socket.getpeername() == connection.local
    anywhere = make_side(listens=False, bind="0.0.0.0")
    assert (await anywhere.opened(hop_of(listener))).local[0] == LOOPBACK


async def test_several_wait_for_one_opening(make_side, listener):
    side = make_side(listens=False)
    connection = side.transport.connection(hop_of(listener))
    async with asyncio.timeout(20):
        await asyncio.gather(*(side.pool.opened(connection) for _ in range(3)))
    await side.pool.opened(connection)
    assert connection.state is ConnectionState.OPEN


async def test_who_waits_for_an_opening_hears_that_the_stack_closes(make_side, listener):
    side = make_side(listens=False, client=lambda hop: (Stalled(),))
    connection = side.transport.connection(hop_of(listener))
    async with asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(fails(side.pool.opened(connection)))
        given_up = tasks.create_task(side.pool.opened(connection))
        await asyncio.sleep(0)
        given_up.cancel()
        await asyncio.sleep(0)
        side.pool.close()
    assert "closed" in str(waiting.result())
    side.pool.close()
    assert len(side.pool) == 0


async def fails(awaitable):
    with pytest.raises(FlowLost) as caught:
        await awaitable
    return caught.value


# time


async def test_pings_are_spread_over_the_last_fifth_of_their_interval(make_side):
    pool = make_side(keep_alive=120).pool
    waits = [pool.ping_interval() for _ in range(200)]
    assert 96 <= min(waits) < 100
    assert 116 < max(waits) <= 120
    assert 24 <= pool.ping_interval("WSS") <= 30
    assert 8 <= pool.ping_interval("TCP", 10) <= 10
    assert pool.ping_interval("TCP", 1_000) <= 120


async def test_many_endings_at_once_let_others_have_their_turn(
    make_side, make_bare, monkeypatch, until
):
    monkeypatch.setattr(connection_pool, "ENDINGS_A_TURN", 3)
    side = make_side(message=0.3)
    for _ in range(10):
        await make_bare(side)
    await until(lambda: len(side.pool) == 10)
    turns = []
    sweep = side.pool._sweep_on
    monkeypatch.setattr(
        side.pool, "_sweep_on", lambda rest: (turns.append(len(side.pool)), sweep(rest))
    )
    await until(lambda: not len(side.pool))
    assert turns[-4:] == [10, 7, 4, 1]
    await until(lambda: side.pool._timer is None)


async def test_a_stack_without_connections_has_no_timer(make_side, make_bare, until):
    side = make_side()
    assert side.pool._timer is None
    bare = await make_bare(side)
    await until(lambda: side.pool._timer is not None)
    bare.close()
    await until(lambda: side.pool._timer is None)


def test_a_socket_that_fails_is_closed(monkeypatch):
    made = []
    real = socket.socket

    class Refusing(real):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            made.append(self)

        def setsockopt(self, *arguments):
            raise OSError(errno.ENOPROTOOPT, "no such option")

        def bind(self, address):
            raise OSError(errno.EADDRINUSE, "in use")

    monkeypatch.setattr(connection_pool.socket, "socket", Refusing)
    with pytest.raises(OSError, match="in use"):
        connection_pool._client_socket(socket.AF_INET, LOOPBACK)
    assert made[0].fileno() == -1
