"""Fail-over of RFC 3263 section 4.3, end to end: a name server, servers of all moods, a stack.

The cases are named as the folders of the Asterisk testsuite, tests/channels/pjsip/resolver. Where
a server does not answer, Timer B and F are two seconds; elsewhere 32, longer than any test waits:
no request times out by itself, and what refuses is left for that and not for a timer.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections import Counter

import pytest

from callmeter.config import Credentials, EndpointConfig, StackConfig, TimerConfig, Transport
from callmeter.endpoint import Endpoint
from callmeter.errors import CallTimedOut, TransportError
from callmeter.metrics.phases import Outcome
from callmeter.sip.framing import KeepAlive, StreamFramer
from callmeter.sip.message import Request
from callmeter.sip.parser import parse_message
from callmeter.stack import Stack
from callmeter.testing.name_server import NameServer

LOOPBACK = "127.0.0.1"
DOMAIN = "example.test"
TIMER_F = 2.0
HASTY = TIMER_F / 64
"""T1 where Timer B and F are to run out."""
PATIENCE = 20
CALLS = 100 if os.environ.get("CALLMETER_LONG") else 20
UDP, TCP, AUTO = Transport.UDP, Transport.TCP, Transport.AUTO


class Server:
    """A SIP server on one port of UDP and TCP that does as its mood says.

    Attributes:
        mood: `"answers"`, `"unavailable"` (503 to everything) or `"silent"`.
        hangs_up: Close a TCP connection as soon as a request has come by it.
        received: Transport and request, in order; retransmissions included.
    """

    def __init__(self, mood="answers", host=LOOPBACK):
        self.mood = mood
        self.host = host
        self.hangs_up = False
        self.received = []
        self.streams = set()
        self.port = 0

    async def open(self, port=0):
        loop = asyncio.get_running_loop()
        for _ in range(20):
            self._udp, _ = await loop.create_datagram_endpoint(
                lambda: Datagrams(self), local_addr=(self.host, port)
            )
            self.port = self._udp.get_extra_info("sockname")[1]
            try:
                self._tcp = await loop.create_server(lambda: Stream(self), self.host, self.port)
            except OSError:
                self._udp.close()
            else:
                return self
        raise OSError("no port is free for UDP and TCP")

    def kill(self):
        """Gone: its ports are closed, and its connections reset."""
        self._udp.close()
        self._tcp.close()
        for stream in self.streams:
            stream.abort()

    def take(self, request, transport):
        """The response to a request; None for none."""
        self.received.append((transport, request))
        if self.mood == "silent" or request.method == "ACK":
            return None
        if self.mood == "unavailable":
            return request.create_response(503, to_tag="s").to_bytes()
        if request.method == "REGISTER":
            contact = str(request.contacts[0].uri)
            headers = (("Contact", f"<{contact}>;expires=600"),)
            return request.create_response(200, to_tag="s", headers=headers).to_bytes()
        headers, body = (), b""
        if request.method == "INVITE":
            headers = (
                ("Contact", f"<sip:bob@{DOMAIN};transport={transport.lower()}>"),
                ("Content-Type", "application/sdp"),
            )
            body = (
                f"v=0\r\no=- 1 1 IN IP4 {LOOPBACK}\r\ns=-\r\nc=IN IP4 {LOOPBACK}\r\nt=0 0\r\n"
                "m=audio 9 RTP/AVP 0\r\n"
            ).encode()
        return request.create_response(200, to_tag="s", headers=headers, body=body).to_bytes()

    def requests(self, method, transport=None):
        """The requests of one method, each once."""
        found = {}
        for how, request in self.received:
            if request.method == method and transport in {None, how}:
                found.setdefault(request.via.branch, request)
        return list(found.values())

    def __repr__(self):
        return f"<{self.mood} server with {[str(one[1].method) for one in self.received]}>"


class Datagrams(asyncio.DatagramProtocol):
    def __init__(self, server):
        self._server = server

    def connection_made(self, transport):
        self._transport = transport

    def datagram_received(self, data, addr):
        message = parse_message(data)
        if isinstance(message, Request):
            answer = self._server.take(message, "UDP")
            if answer is not None:
                self._transport.sendto(answer, addr)


class Stream(asyncio.Protocol):
    def __init__(self, server):
        self._server = server
        self._framer = StreamFramer()

    def connection_made(self, transport):
        self._transport = transport
        self._server.streams.add(transport)

    def connection_lost(self, exc):
        self._server.streams.discard(self._transport)

    def data_received(self, data):
        for message in self._framer.feed(data):
            if isinstance(message, KeepAlive) or not isinstance(message, Request):
                continue
            answer = self._server.take(message, "TCP")
            if self._server.hangs_up:
                self._transport.abort()
                return
            if answer is not None:
                self._transport.write(answer)


@pytest.fixture
async def names():
    async with NameServer("") as running:
        yield running


@pytest.fixture
async def make_server():
    opened = []

    async def make(mood="answers", *, host=LOOPBACK, port=0):
        server = await Server(mood, host).open(port)
        opened.append(server)
        return server

    yield make
    for server in opened:
        server.kill()


@pytest.fixture
async def make_gone(make_server):
    """A server that has gone already: its ports refuse."""

    async def make():
        server = await make_server()
        server.kill()
        await asyncio.sleep(0)
        return server

    return make


@pytest.fixture
def make_alice(entered, names):
    async def make(transport=AUTO, *, bind=LOOPBACK, t1=0.5, aor=f"sip:alice@{DOMAIN}"):
        timers = TimerConfig(t1=t1, t2=max(t1, 0.1), t4=0.1, ring_timeout=10)
        config = StackConfig(bind=bind, timers=timers, name_servers=(names.address,))
        stack = await entered.enter_async_context(Stack(config))
        settings = EndpointConfig(aor, Credentials("alice", "secret"), transport=transport)
        return await entered.enter_async_context(Endpoint(settings, stack))

    return make


def zone(*services, hosts=f"server A {LOOPBACK}"):
    """A zone of services `("_sip._udp", priority, weight, server)` that all run on one host."""
    lines = [
        f"{name} SRV {priority} {weight} {server.port} server"
        for name, priority, weight, server in services
    ]
    return "\n".join((*lines, hosts))


def pointers(*services):
    """NAPTR records `(order, preference, service, replacement)`."""
    return "\n".join(
        f'@ NAPTR {order} {preference} "s" "{service}" "" {replacement}'
        for order, preference, service, replacement in services
    )


async def ask(alice, target=f"sip:bob@{DOMAIN}"):
    async with asyncio.timeout(PATIENCE):
        return await alice.options(target)


def assert_sent_anew(alice, method, *servers):
    """The request went to these servers in this order: each time the same, in a new branch."""
    sent = alice.messages.requests(method).sent()
    seen = {}
    for entry in sent:
        seen.setdefault(entry.message.via.branch, (entry.peer, entry.message))
    assert [peer for peer, _ in seen.values()] == [f"{one.host}:{one.port}" for one in servers]
    for _, request in seen.values():
        first = sent[0].message
        assert (request.call_id, request.cseq) == (first.call_id, first.cseq)


# the address records


async def test_a(names, make_server, make_alice):
    alive = await make_server(host="127.0.0.3")
    names.load("phone A 127.0.0.2\nphone A 127.0.0.3")
    alice = await make_alice(UDP)
    for _ in range(4):
        response = await ask(alice, f"sip:bob@phone.{DOMAIN}:{alive.port}")
        assert response.status == 200
    assert len(alive.requests("OPTIONS", "UDP")) == 4
    assert {question.split()[0] for question in names.asked} == {"A"}


async def test_aaaa(names, make_server, make_alice):
    try:
        alive = await make_server(host="::1")
    except OSError:
        pytest.skip("there is no IPv6 here")
    gone = Server(host="::1")
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as bound:
        bound.bind(("::1", 0))
        gone.port = bound.getsockname()[1]
    names.load(zone(("_sip._udp", 1, 0, gone), ("_sip._udp", 2, 0, alive), hosts="server AAAA ::1"))
    alice = await make_alice(UDP, bind="::1")
    assert (await ask(alice)).status == 200
    assert len(alive.requests("OPTIONS", "UDP")) == 1
    assert f"AAAA server.{DOMAIN}" in names.asked


# SRV, and all is well


async def test_srv_priority(names, make_server, make_alice):
    first, second = await make_server(), await make_server()
    names.load(zone(("_sip._udp", 20, 0, second), ("_sip._udp", 10, 0, first)))
    alice = await make_alice(UDP)
    for _ in range(5):
        assert (await ask(alice)).status == 200
    assert len(first.requests("OPTIONS")) == 5
    assert not second.received


async def test_srv_weight(names, make_server, make_alice):
    heavy, light = await make_server(), await make_server()
    names.load(zone(("_sip._udp", 1, 90, heavy), ("_sip._udp", 1, 10, light)))
    alice = await make_alice(UDP)
    for _ in range(200):
        assert (await ask(alice)).status == 200
    served = {"heavy": heavy, "light": light}
    shares = Counter({name: len(server.requests("OPTIONS")) for name, server in served.items()})
    assert shares.total() == 200
    assert 2 <= shares["light"] <= 55  # by chance outside of it once in a million runs
    assert len(names.asked) == 2


@pytest.mark.parametrize(
    ("transport", "target", "expected"),
    [
        pytest.param(AUTO, ";transport=udp", "UDP", id="srv/transport_udp"),
        pytest.param(AUTO, ";transport=tcp", "TCP", id="srv/transport_tcp"),
        pytest.param(AUTO, "", "TCP", id="srv/transport_unspecified"),
        pytest.param(UDP, "", "UDP", id="srv/explicit_transport_configured"),
    ],
)
async def test_srv_of_a_transport(names, make_server, make_alice, transport, target, expected):
    servers = {"UDP": await make_server(), "TCP": await make_server()}
    names.load(zone(("_sip._udp", 1, 0, servers["UDP"]), ("_sip._tcp", 1, 0, servers["TCP"])))
    alice = await make_alice(transport)
    assert (await ask(alice, f"sip:bob@{DOMAIN}{target}")).status == 200
    assert len(servers.pop(expected).requests("OPTIONS", expected)) == 1
    assert not next(iter(servers.values())).received


# SRV, and the server fails


OUT_OF_DIALOG = [
    pytest.param(UDP, "", "UDP", id="srv/failover/out_of_dialog/transport_udp"),
    pytest.param(TCP, "", "TCP", id="srv/failover/out_of_dialog/transport_tcp"),
    pytest.param(AUTO, "", "TCP", id="srv/failover/out_of_dialog/transport_unspecified"),
]


@pytest.mark.parametrize(("transport", "target", "expected"), OUT_OF_DIALOG)
async def test_a_server_that_refuses_is_left_for_the_next(
    names, make_server, make_gone, make_alice, transport, target, expected
):
    gone, alive = await make_gone(), await make_server()
    name = f"_sip._{expected.lower()}"
    names.load(zone((name, 1, 0, gone), (name, 2, 0, alive)))
    # Timer B is 32 s: what takes less is not a time-out.
    alice = await make_alice(transport)
    begun = time.monotonic()
    async with asyncio.timeout(PATIENCE), alice.call(f"sip:bob@{DOMAIN}{target}"):
        pass
    assert time.monotonic() - begun < 16
    for method in ("INVITE", "ACK", "BYE"):
        assert len(alive.requests(method, expected)) == 1


@pytest.mark.parametrize("transport", [UDP, TCP])
async def test_a_server_that_says_503_is_left_for_the_next(
    names, make_server, make_alice, transport
):
    busy, alive = await make_server("unavailable"), await make_server()
    name = f"_sip._{transport.value}"
    names.load(zone((name, 1, 0, busy), (name, 2, 0, alive)))
    alice = await make_alice(transport)
    async with asyncio.timeout(PATIENCE), alice.call(f"sip:bob@{DOMAIN}"):
        pass
    assert_sent_anew(alice, "INVITE", busy, alive)
    assert len(busy.requests("ACK")) == 1  # of the 503, in its own transaction
    assert (await ask(alice)).status == 200
    assert len(alive.requests("OPTIONS")) == 1
    assert not busy.requests("OPTIONS")


@pytest.mark.parametrize("transport", [UDP, TCP])
async def test_the_503_of_the_last_server_is_the_answer(names, make_server, make_alice, transport):
    first, second = await make_server("unavailable"), await make_server("unavailable")
    name = f"_sip._{transport.value}"
    names.load(zone((name, 1, 0, first), (name, 2, 0, second)))
    alice = await make_alice(transport)
    assert (await ask(alice)).status == 503
    assert_sent_anew(alice, "OPTIONS", first, second)


@pytest.mark.parametrize(
    "transport",
    [pytest.param(one, id=f"srv/failover/out_of_dialog/timeout-{one.value}") for one in (UDP, TCP)],
)
async def test_a_server_that_is_silent_is_left_after_timer_b(
    names, make_server, make_alice, standstill, transport
):
    silent, alive = await make_server("silent"), await make_server()
    name = f"_sip._{transport.value}"
    names.load(zone((name, 1, 0, silent), (name, 2, 0, alive)))
    alice = await make_alice(transport, t1=HASTY)
    begun = time.monotonic()
    async with asyncio.timeout(PATIENCE), alice.call(f"sip:bob@{DOMAIN}"):
        waited = time.monotonic() - begun
    assert TIMER_F <= waited < 2 * TIMER_F + standstill.seconds
    assert_sent_anew(alice, "INVITE", silent, alive)
    # For a while, what did not answer comes last.
    assert (await ask(alice)).status == 200
    assert not silent.requests("OPTIONS")


async def test_with_no_server_left_the_last_failure_is_told(names, make_gone, make_alice):
    first, second = await make_gone(), await make_gone()
    names.load(zone(("_sip._tcp", 1, 0, first), ("_sip._tcp", 2, 0, second)))
    alice = await make_alice(TCP)
    with pytest.raises(TransportError, match=str(second.port)):
        await ask(alice)


async def test_with_no_server_left_that_answers_the_request_times_out(
    names, make_server, make_alice
):
    first, second = await make_server("silent"), await make_server("silent")
    names.load(zone(("_sip._udp", 1, 0, first), ("_sip._udp", 2, 0, second)))
    alice = await make_alice(UDP, t1=HASTY)
    with pytest.raises(CallTimedOut):
        await ask(alice)
    assert_sent_anew(alice, "OPTIONS", first, second)


IN_DIALOG = [
    pytest.param(UDP, "gone", "UDP", id="srv/failover/in_dialog/transport_udp"),
    pytest.param(TCP, "gone", "TCP", id="srv/failover/in_dialog/transport_tcp"),
    pytest.param(AUTO, "gone", "TCP", id="srv/failover/in_dialog/transport_unspecified"),
    pytest.param(UDP, "silent", "UDP", id="srv/failover/in_dialog/timeout-udp"),
    pytest.param(TCP, "silent", "TCP", id="srv/failover/in_dialog/timeout-tcp"),
]


@pytest.mark.parametrize(("transport", "mood", "expected"), IN_DIALOG)
async def test_a_bye_goes_to_the_next_server(
    names, make_server, make_alice, until, transport, mood, expected
):
    first, second = await make_server(), await make_server()
    name = f"_sip._{expected.lower()}"
    names.load(zone((name, 1, 0, first), (name, 2, 0, second)))
    # Only the silence of a server is noticed by a timer.
    alice = await make_alice(transport, **({"t1": HASTY} if mood == "silent" else {}))
    async with asyncio.timeout(PATIENCE), alice.call(f"sip:bob@{DOMAIN}") as call:
        await until(lambda: first.requests("ACK"))
        assert len(first.requests("ACK")) == 1
        if mood == "gone":
            first.kill()
            await asyncio.sleep(0.05)
        else:
            first.mood = "silent"
        assert not call.over
    assert len(second.requests("BYE", expected)) == 1
    assert second.requests("BYE")[0].call_id == first.requests("INVITE")[0].call_id
    assert call.report().outcome is Outcome.SUCCESS


# NAPTR


async def test_naptr_order(names, make_server, make_alice):
    first, second = await make_server(), await make_server()
    names.load(
        pointers((20, 1, "SIP+D2U", "_sip._udp"), (10, 9, "SIP+D2T", "_sip._tcp"))
        + "\n"
        + zone(("_sip._tcp", 1, 0, first), ("_sip._udp", 1, 0, second))
    )
    alice = await make_alice()
    assert (await ask(alice)).status == 200
    assert len(first.requests("OPTIONS", "TCP")) == 1
    assert not second.received


async def test_naptr_preference(names, make_server, make_alice):
    first, second = await make_server(), await make_server()
    names.load(
        pointers((10, 2, "SIP+D2T", "_sip._tcp"), (10, 1, "SIP+D2U", "_sip._udp"))
        + "\n"
        + zone(("_sip._udp", 1, 0, first), ("_sip._tcp", 1, 0, second))
    )
    alice = await make_alice()
    assert (await ask(alice)).status == 200
    assert len(first.requests("OPTIONS", "UDP")) == 1
    assert not second.received


@pytest.mark.parametrize("order", ["TCP first", "UDP first"])
async def test_naptr_preference_failover(names, make_server, make_gone, make_alice, order):
    gone, alive = await make_gone(), await make_server()
    services = [("SIP+D2T", "_sip._tcp"), ("SIP+D2U", "_sip._udp")]
    if order == "UDP first":
        services.reverse()
    (_, first), (_, second) = services
    names.load(
        pointers(*((10, number, *service) for number, service in enumerate(services)))
        + "\n"
        + zone((first, 1, 0, gone), (second, 1, 0, alive))
    )
    alice = await make_alice()
    async with asyncio.timeout(PATIENCE), alice.call(f"sip:bob@{DOMAIN}"):
        pass
    expected = second.removeprefix("_sip._").upper()
    for method in ("INVITE", "ACK", "BYE"):
        assert len(alive.requests(method, expected)) == 1


async def test_naptr_restricted_transport(names, make_server, make_alice):
    other, alive = await make_server(), await make_server()
    names.load(
        pointers((10, 1, "SIP+D2S", "_sip._sctp"), (20, 1, "SIP+D2U", "_sip._udp"))
        + "\n"
        + zone(("_sip._sctp", 1, 0, other), ("_sip._udp", 1, 0, alive))
    )
    alice = await make_alice()
    assert (await ask(alice)).status == 200
    assert len(alive.requests("OPTIONS", "UDP")) == 1
    assert f"SRV _sip._sctp.{DOMAIN}" not in names.asked


@pytest.mark.parametrize(
    ("transport", "target", "expected"),
    [
        pytest.param(AUTO, ";transport=udp", "UDP", id="naptr/transport_udp"),
        pytest.param(AUTO, ";transport=tcp", "TCP", id="naptr/transport_tcp"),
        pytest.param(AUTO, "", "UDP", id="naptr/transport_unspecified"),
        pytest.param(TCP, "", "TCP", id="naptr/explicit_transport_configured"),
    ],
)
async def test_naptr_and_a_transport(names, make_server, make_alice, transport, target, expected):
    servers = {"UDP": await make_server(), "TCP": await make_server()}
    names.load(
        pointers((10, 1, "SIP+D2U", "_sip._udp"), (20, 1, "SIP+D2T", "_sip._tcp"))
        + "\n"
        + zone(("_sip._udp", 1, 0, servers["UDP"]), ("_sip._tcp", 1, 0, servers["TCP"]))
    )
    alice = await make_alice(transport)
    assert (await ask(alice, f"sip:bob@{DOMAIN}{target}")).status == 200
    assert len(servers.pop(expected).requests("OPTIONS", expected)) == 1
    assert not next(iter(servers.values())).received


# the primary goes in the middle of a registration


async def test_a_udp_registrar_that_dies_over_a_register_is_left_within_timer_f(
    names, make_server, make_alice, standstill
):
    primary, second = await make_server("silent"), await make_server()
    names.load(zone(("_sip._udp", 1, 0, primary), ("_sip._udp", 2, 0, second)))
    alice = await make_alice(UDP, t1=HASTY)
    begun = time.monotonic()
    async with asyncio.timeout(PATIENCE), alice.registered() as binding:
        waited = time.monotonic() - begun
        assert binding.bound
    assert waited < 2 * TIMER_F + standstill.seconds
    assert len(primary.requests("REGISTER")) == 1
    # The binding and its removal.
    assert len(second.requests("REGISTER", "UDP")) == 2
    branches = {request.via.branch for request in primary.requests("REGISTER")}
    assert branches.isdisjoint(request.via.branch for request in second.requests("REGISTER"))


async def test_a_tcp_registrar_that_dies_over_a_register_is_left_at_once(
    names, make_server, make_alice
):
    primary, second = await make_server("silent"), await make_server()
    primary.hangs_up = True
    names.load(zone(("_sip._tcp", 1, 0, primary), ("_sip._tcp", 2, 0, second)))
    # Timer F is 32 s: what takes less is not a time-out.
    alice = await make_alice(TCP)
    begun = time.monotonic()
    async with asyncio.timeout(PATIENCE), alice.registered() as binding:
        waited = time.monotonic() - begun
        assert binding.bound
    assert waited < 16
    assert len(primary.requests("REGISTER", "TCP")) == 1
    assert len(second.requests("REGISTER", "TCP")) == 2


# the primary, or the DNS, goes in the middle of calls


@pytest.fixture
def make_calls(entered):
    """So many answered calls at once."""

    async def make(alice, until):
        async with asyncio.timeout(PATIENCE):
            calls = [
                await entered.enter_async_context(alice.call(f"sip:bob@{DOMAIN}"))
                for _ in range(CALLS)
            ]
        await until(lambda: all(not call.over for call in calls))
        return calls

    return make


def acknowledged(server):
    """How many calls; a 200 that came twice is acknowledged twice."""
    return len({request.call_id for request in server.requests("ACK")})


async def hang_up(calls):
    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as tasks:
        for call in calls:
            tasks.create_task(call.bye())
    assert {call.report().outcome for call in calls} == {Outcome.SUCCESS}


@pytest.mark.parametrize("transport", [UDP, TCP])
async def test_calls_outlive_their_server_and_end_at_the_next(
    names, make_server, make_alice, make_calls, until, transport
):
    primary, second = await make_server(), await make_server()
    name = f"_sip._{transport.value}"
    names.load(zone((name, 1, 0, primary), (name, 2, 0, second)))
    alice = await make_alice(transport)
    calls = await make_calls(alice, until)
    await until(lambda: acknowledged(primary) == CALLS)
    primary.kill()
    await asyncio.sleep(0.2)
    assert not any(call.over for call in calls)
    await hang_up(calls)
    told = {request.call_id for request in second.requests("BYE")}
    assert told == {request.call_id for request in primary.requests("INVITE")}
    assert len(told) == CALLS


@pytest.mark.parametrize("age", ["fresh", "outdated"])
@pytest.mark.parametrize("transport", [UDP, TCP])
async def test_calls_outlive_the_dns(
    names, make_server, make_alice, make_calls, until, monkeypatch, transport, age
):
    primary, second = await make_server(), await make_server()
    name = f"_sip._{transport.value}"
    names.load(zone((name, 1, 0, primary), (name, 2, 0, second)))
    alice = await make_alice(transport)
    calls = await make_calls(alice, until)
    await until(lambda: acknowledged(primary) == CALLS)
    names.close()
    if age == "outdated":
        # The TTL is over and nobody can be asked: the last good answer still counts.
        clock = asyncio.get_running_loop().time
        monkeypatch.setattr(alice.stack.transport.resolver, "_clock", lambda: clock() + 3600)
    await asyncio.sleep(0.05)
    await hang_up(calls)
    told = {request.call_id for request in primary.requests("BYE")}
    assert len(told) == CALLS
    assert not second.received
    # New calls find their way as well.
    async with asyncio.timeout(PATIENCE), alice.call(f"sip:bob@{DOMAIN}"):
        pass
    assert len(primary.requests("INVITE")) == CALLS + 1


@pytest.mark.parametrize("transport", [UDP, TCP])
async def test_calls_outlive_the_dns_and_their_server_together(
    names, make_server, make_alice, make_calls, until, transport
):
    primary, second = await make_server(), await make_server()
    name = f"_sip._{transport.value}"
    names.load(zone((name, 1, 0, primary), (name, 2, 0, second)))
    alice = await make_alice(transport)
    calls = await make_calls(alice, until)
    await until(lambda: acknowledged(primary) == CALLS)
    names.close()
    primary.kill()
    await asyncio.sleep(0.05)
    await hang_up(calls)
    assert len(second.requests("BYE")) == CALLS
