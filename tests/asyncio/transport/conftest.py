"""Sides of plain TCP connections on loopback, and a bare socket to be rude with."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
import struct
from dataclasses import replace

import pytest

from callmeter.config import ConnectionLimits
from callmeter.sip.parser import ParserLimits
from callmeter.sip.transaction.effects import Hop
from callmeter.transport.connection_pool import ConnectionPool
from callmeter.transport.stream import StreamTransport

LOOPBACK = "127.0.0.1"
PATIENCE = 20
NO_WAIT = struct.pack("ii", 1, 0)


class User:
    """Keeps what a transport tells; `answer`, if set, is called with each message."""

    def __init__(self):
        self.messages = []
        self.sources = []
        self.syntax_errors = []
        self.unreachable = []
        self.lost = []
        self.answer = None
        self.something = asyncio.Event()

    def on_message(self, message, data, source):
        self.messages.append(data)
        self.sources.append(source)
        if self.answer is not None:
            self.answer(data, source)
        self.something.set()

    def on_syntax_error(self, error, source):
        self.syntax_errors.append((error, source))
        self.something.set()

    def on_unreachable(self, destination, error):
        self.unreachable.append((destination, error))
        self.something.set()

    def on_flow_lost(self, flow, error):
        self.lost.append((flow, error))
        self.something.set()

    async def until(self, condition):
        async with asyncio.timeout(PATIENCE):
            while not condition():
                self.something.clear()
                await self.something.wait()


class Side:
    """A pool, its user and one transport."""

    def __init__(self, transport, pool, user):
        self.transport = transport
        self.pool = pool
        self.user = user

    @property
    def port(self):
        return self.transport.local[1]

    @property
    def hop(self):
        return Hop(self.transport.name, self.transport.local[0], self.port)

    def hop_to(self, port, name=None):
        """By this transport to a port of the loopback, under a name."""
        return Hop(self.transport.name, LOOPBACK, port, name=name)

    @property
    def connections(self):
        return list(self.pool._live.values())

    async def opened(self, hop):
        connection = self.transport.connection(hop)
        async with asyncio.timeout(PATIENCE):
            await self.pool.opened(connection)
        return connection

    def echo(self):
        self.user.answer = self.transport.send


class Bare:
    """A socket without any protocol."""

    def __init__(self, sock):
        self.socket = sock

    @property
    def name(self):
        return self.socket.getsockname()

    async def send(self, data):
        await asyncio.get_running_loop().sock_sendall(self.socket, data)

    async def receive(self, octets=65_536):
        async with asyncio.timeout(PATIENCE):
            return await asyncio.get_running_loop().sock_recv(self.socket, octets)

    async def exactly(self, octets):
        data = b""
        while len(data) < octets:
            more = await self.receive(octets - len(data))
            assert more, f"the end after {data!r}"
            data += more
        return data

    async def ends(self):
        """Read to the end; returns what came before it."""
        data = b""
        with contextlib.suppress(ConnectionResetError):
            while more := await self.receive():
                data += more
        return data

    def reset(self):
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_WAIT)
        self.socket.close()

    def close(self):
        self.socket.close()


@pytest.fixture
def make_side():
    sides = []

    def make(*, listens=True, bind=LOOPBACK, client=None, server=None, name="TCP", **limits):
        loop = asyncio.get_running_loop()
        user = User()
        pool = ConnectionPool(
            loop, user, replace(ConnectionLimits(), **limits), ParserLimits(), secrets.token_bytes
        )
        transport = StreamTransport(
            loop,
            pool,
            name,
            client_layers=client or (lambda hop: ()),
            server_layers=(server or (lambda: ())) if listens else None,
            bind=bind,
            port=0,
        )
        sides.append(Side(transport, pool, user))
        return sides[-1]

    yield make
    for side in sides:
        side.transport.close()
        side.pool.close()


@pytest.fixture
def make_bare():
    """Open a bare connection to a side."""
    made = []

    async def make(side, source=None):
        sock = socket.socket()
        sock.settimeout(0)
        if source is not None:
            sock.bind((source, 0))
        await asyncio.get_running_loop().sock_connect(sock, side.transport.local)
        made.append(Bare(sock))
        return made[-1]

    yield make
    for bare in made:
        bare.close()


@pytest.fixture
def listener():
    """A bare socket that listens, and accepts only if asked."""
    with socket.socket() as sock:
        sock.settimeout(0)
        sock.bind((LOOPBACK, 0))
        sock.listen(8)
        yield sock


@pytest.fixture
def accept(listener):
    made = []

    async def make():
        async with asyncio.timeout(PATIENCE):
            sock, _ = await asyncio.get_running_loop().sock_accept(listener)
        made.append(Bare(sock))
        return made[-1]

    yield make
    for bare in made:
        bare.close()


@pytest.fixture
def options():
    def make(number=1, body=b"", uri="sip:bob@example.com"):
        return (
            b"OPTIONS %b SIP/2.0\r\n"
            b"Via: SIP/2.0/TCP 192.0.2.1;branch=z9hG4bK%d\r\n"
            b"From: <sip:alice@example.com>;tag=1\r\nTo: <sip:bob@example.com>\r\n"
            b"Call-ID: %d\r\nCSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\n"
            b"Content-Length: %d\r\n\r\n%b" % (uri.encode(), number, number, len(body), body)
        )

    return make


@pytest.fixture
def until():
    """Wait for what no event tells of."""

    async def wait(condition):
        async with asyncio.timeout(PATIENCE):
            while not condition():  # noqa: ASYNC110  there is no event
                await asyncio.sleep(0.005)

    return wait
