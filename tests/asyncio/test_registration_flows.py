"""Registrations over connections: kept alive, and made anew when the connection is lost."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import pairwise

import pytest

from callmeter import datagram_flow
from callmeter.config import ConnectionLimits, EndpointConfig, StackConfig, TimerConfig, Transport
from callmeter.endpoint import Endpoint
from callmeter.sip import register
from callmeter.sip.framing import KeepAlive, StreamFramer
from callmeter.stack import Stack

LOOPBACK = "127.0.0.1"
PATIENCE = 20


class TcpRegistrar:
    """Grants everything; `headers` are added to each answer."""

    def __init__(self):
        self.requests = []
        self.times = []
        self.pings = 0
        self.pongs = True
        self.headers = []
        self.writers = []

    async def serve(self, reader, writer):
        self.writers.append(writer)
        framer = StreamFramer()
        while data := await reader.read(65_536):
            for item in framer.feed(data):
                if item is KeepAlive.PING:
                    self.pings += 1
                    if self.pongs:
                        writer.write(b"\r\n")
                elif not isinstance(item, KeepAlive):
                    self.requests.append(item)
                    self.times.append(asyncio.get_running_loop().time())
                    contact = ("Contact", item.headers.get("Contact"))
                    response = item.create_response(
                        200, to_tag="r", headers=[contact, ("Expires", "600"), *self.headers]
                    )
                    writer.write(response.to_bytes())
        writer.close()

    def cut(self):
        self.writers[-1].transport.abort()


@pytest.fixture
async def registrar():
    served = TcpRegistrar()
    server = await asyncio.start_server(served.serve, LOOPBACK, 0)
    served.server = server
    served.port = server.sockets[0].getsockname()[1]
    yield served
    server.close()
    for writer in served.writers:
        writer.close()
    await asyncio.sleep(0)


@asynccontextmanager
async def registering(registrar, *, listens=(Transport.UDP, Transport.TCP), **limits):
    config = StackConfig(
        bind=LOOPBACK,
        transports=listens,
        connections=ConnectionLimits(**limits),
        timers=TimerConfig(t1=0.05, t2=0.2, t4=0.2),
    )
    aor = f"sip:alice@{LOOPBACK}:{registrar.port}"
    async with (
        Stack(config) as stack,
        Endpoint(EndpointConfig(aor, transport=Transport.TCP), stack) as alice,
        alice.registered() as binding,
    ):
        yield alice, binding


async def until(condition):
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110  there is no event
            await asyncio.sleep(0.005)


def outbound_of(request):
    (contact,) = request.contacts
    return contact.param("+sip.instance"), contact.param("reg-id")


async def test_the_registrations_of_a_stack_that_lost_their_connection_are_made_anew_in_turn(
    registrar, tell
):
    count = 60
    config = StackConfig(bind=LOOPBACK, transports=(Transport.UDP,))
    async with AsyncExitStack() as entered:
        stack = await entered.enter_async_context(Stack(config))
        bindings = []
        for number in range(count):
            aor = f"sip:u{number}@{LOOPBACK}:{registrar.port}"
            phone = Endpoint(EndpointConfig(aor, transport=Transport.TCP), stack)
            await entered.enter_async_context(phone)
            bindings.append(await entered.enter_async_context(phone.registered()))
        assert len(registrar.writers) == 1
        cut = asyncio.get_running_loop().time()
        registrar.cut()
        await until(lambda: all(binding.refreshes for binding in bindings))
        assert len(registrar.writers) == 2
        after = [at - cut for at in registrar.times[count:]]
        assert len(after) == count
        tell(f"{count} registrations made anew", f"within {after[-1]:.2f} s")
        # Load may make them late, never early.
        pace = 1 / register.RECOVERIES_A_SECOND
        assert all(at >= turn * pace * 0.9 for turn, at in enumerate(after))


async def test_a_lost_connection_is_replaced_and_the_binding_made_anew_with_the_same_identity(
    registrar,
):
    async with registering(registrar) as (_, binding):
        (first,) = registrar.requests
        registrar.cut()
        await until(lambda: binding.refreshes == 1)
        again = registrar.requests[1]
        assert outbound_of(again) == outbound_of(first)
        assert outbound_of(first)[1] == "1"
        assert again.call_id == first.call_id
        assert again.cseq.number == first.cseq.number + 1
        assert binding.bound
    assert registrar.requests[-1].expires == 0
    assert outbound_of(registrar.requests[-1]) == outbound_of(first)


async def test_a_phone_that_does_not_listen_binds_the_port_of_its_new_connection(registrar):
    async with registering(registrar, listens=(Transport.UDP,)) as (_, binding):
        registrar.cut()
        await until(lambda: binding.refreshes == 1)
        first, second = (request.contacts[0].uri.port for request in registrar.requests)
        assert first != second
        assert second == registrar.writers[-1].get_extra_info("peername")[1]


async def test_a_registrar_that_cuts_each_connection_is_not_asked_without_pause(
    registrar, monkeypatch, standstill
):
    monkeypatch.setattr(register, "RETRY_BASE", 0.4)
    async with registering(registrar) as (alice, binding):
        moments = [alice.stack.now]
        for number in range(1, 5):
            registrar.cut()
            await until(lambda number=number: binding.refreshes == number)
            moments.append(alice.stack.now)
        waits = [later - sooner for sooner, later in pairwise(moments)]
        assert waits[0] < 0.2 + standstill.seconds
        assert waits[1] >= 0.2
        assert waits[2] >= 0.4
        assert waits[3] >= 0.8


async def test_a_registrar_that_comes_back_later_gets_the_binding(registrar, monkeypatch):
    monkeypatch.setattr(register, "RETRY_BASE", 0.2)
    async with registering(registrar) as (_, binding):
        registrar.server.close()
        registrar.cut()
        await until(lambda: binding.error is not None)
        assert not binding.bound
        assert "refused" in str(binding.error)
        server = await asyncio.start_server(registrar.serve, LOOPBACK, registrar.port)
        await until(lambda: binding.bound)
        server.close()


async def test_the_connection_is_pinged_as_often_as_the_registrar_wants(registrar):
    registrar.headers = [("Flow-Timer", "1"), ("Require", "outbound")]
    async with registering(registrar) as (_, binding):
        await until(lambda: registrar.pings == 2)
        assert len(registrar.writers) == 1
        assert binding.refreshes == 0


async def test_a_registrar_that_promised_pongs_and_sends_none_gets_a_new_connection(registrar):
    registrar.headers = [("Flow-Timer", "1")]
    registrar.pongs = False
    async with registering(registrar, pong=0.1) as (_, binding):
        await until(lambda: binding.refreshes == 1)
        assert len(registrar.writers) == 2


async def test_a_registrar_that_promised_nothing_may_ignore_pings(registrar):
    registrar.pongs = False
    async with registering(registrar, keep_alive=0.1, pong=0.05) as (_, binding):
        await until(lambda: registrar.pings == 3)
        assert binding.refreshes == 0
        assert len(registrar.writers) == 1


async def test_the_loss_of_the_connection_after_leaving_changes_nothing(registrar):
    async with registering(registrar) as (alice, binding):
        await binding.__aexit__(None, None, None)
        count = len(registrar.requests)
        registrar.cut()
        await until(lambda: not len(alice.stack.transport.pool))
        await asyncio.sleep(0.05)
        assert len(registrar.requests) == count
        assert alice.stack._watchers == {}


async def test_two_registrations_share_a_connection_and_both_come_back(registrar):
    async with registering(registrar) as (alice, binding):
        config = EndpointConfig(f"sip:bob@{LOOPBACK}:{registrar.port}", transport=Transport.TCP)
        async with Endpoint(config, alice.stack) as bob, bob.registered() as other:
            assert len(registrar.writers) == 1
            registrar.cut()
            await until(lambda: binding.refreshes == other.refreshes == 1)
            assert len(registrar.writers) == 2
        registrar.cut()
        await until(lambda: alice.stack._watchers or not binding.bound)


async def test_over_datagrams_something_goes_out_every_half_minute(
    make_endpoint, peer, monkeypatch
):
    monkeypatch.setattr(datagram_flow, "PING_FROM", 0.05)
    monkeypatch.setattr(datagram_flow, "PING_TO", 0.06)
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(PATIENCE), Stack(StackConfig(bind=LOOPBACK)) as stack:
        config = EndpointConfig(f"sip:alice@{LOOPBACK}:{peer.port}")
        async with Endpoint(config, stack) as alice:
            binding = alice.registered()
            entering = loop.create_task(binding.__aenter__())
            request = await peer.receive()
            peer.answer(request, 200)
            await entering
            assert "outbound" in request.supported
            for _ in range(2):
                assert await loop.sock_recv(peer._socket, 100) == b"\r\n\r\n"
            leaving = loop.create_task(binding.__aexit__(None, None, None))
            while (data := await loop.sock_recv(peer._socket, 65_535)) == b"\r\n\r\n":
                pass
            assert data.startswith(b"REGISTER")
            assert binding._datagrams is None
            leaving.cancel()
