"""Clients that begin TLS or a WebSocket and never finish: what they cost, and whom."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from contextlib import asynccontextmanager

import pytest

from callmeter.config import (
    ConnectionLimits,
    EndpointConfig,
    StackConfig,
    TlsConfig,
    TlsVerify,
    Transport,
)
from callmeter.endpoint import Endpoint
from callmeter.stack import Stack
from callmeter.testing.certificates import Authority

LOOPBACK = "127.0.0.1"
ELSEWHERE = "127.0.0.2"
"""Where the slow clients connect from: caps by host are to hit them, and not the good client."""
LONG = bool(os.environ.get("CALLMETER_LONG"))
CLIENTS = 1_000 if LONG else 100
HANDSHAKE_S = ConnectionLimits().accept_handshake if LONG else 1.5
LAST_ENDS_S = 5.0 if LONG else 2.5
"""Deadlines are looked at twice a second, and a hundred endings at a time."""
LATENCY_S = 0.050
"""What a good client waits at most (p99) in the long run, which has the machine for itself."""
OPTIONS_EVERY_S = 0.01
HELD_UP_S = 0.1
LEAST = 20
"""Round trips of a good client while the others stand: by events, for others share the machine."""
KIB_AN_IDLE_CONNECTION = 96
PATIENCE = 60

CLIENT = r"""
import json, os, select, socket, ssl, sys, threading, time

port, count, kind, seconds = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], float(sys.argv[4])
context = ssl.create_default_context()
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
hello = context.wrap_bio(incoming, outgoing)
try:
    hello.do_handshake()
except ssl.SSLWantReadError:
    pass
hello = outgoing.read()
poll, sockets, begun, refused = select.poll(), {}, {}, 0
late, opened = 0.0, threading.Event()

def watch():
    # For how long this process got no processor while it opens: what waits for the server is not
    # its own lateness.
    global late
    looked = time.monotonic()
    while not opened.wait(0.01):
        late += max(0.0, time.monotonic() - looked - 0.03)
        looked = time.monotonic()
    late += max(0.0, time.monotonic() - looked - 0.03)

watching = threading.Thread(target=watch)
watching.start()
for _ in range(count):
    sock = socket.socket()
    sock.bind(("127.0.0.2", 0))
    at = time.monotonic()
    try:
        sock.connect(("127.0.0.1", port))
        if kind == "half a hello":
            sock.sendall(hello[: len(hello) // 2])
        elif kind == "hello":
            sock.sendall(hello)
        elif kind in {"no upgrade", "half an upgrade", "idle"}:
            sock = context.wrap_socket(sock)
            if kind == "half an upgrade":
                sock.sendall(b"GET / HTTP/1.1\r\nHost: sip.example\r\nUpgrade: websocket\r\n")
    except OSError:
        refused += 1
        continue
    sockets[sock.fileno()], begun[sock.fileno()] = sock, at
    poll.register(sock, select.POLLIN)
opened.set()
watching.join()
ages, looked = [], time.monotonic()
end = looked + seconds
print("open", flush=True)
while sockets and time.monotonic() < end:
    found = poll.poll(100)
    for number, _ in found:
        try:
            data = os.read(number, 65536)
        except OSError:
            data = b""
        if not data:
            poll.unregister(number)
            sockets.pop(number).close()
            ages.append(time.monotonic() - begun.pop(number))
    # The whole turn: it may stand still anywhere.
    turn, looked = time.monotonic() - looked, time.monotonic()
    late += max(0.0, turn - 0.15)

told = {"ages": sorted(ages), "left": len(sockets), "refused": refused, "late": late}
print(json.dumps(told), flush=True)
"""

SERVER = r"""
import asyncio, gc, json, os, pathlib, sys
from callmeter.config import ConnectionLimits, StackConfig, TlsConfig, Transport
from callmeter.stack import Stack

async def main():
    transport = Transport(sys.argv[1])
    certificate, key = json.loads(sys.stdin.readline())
    limits = ConnectionLimits(
        accept_handshake=60, message=60, inbound=5000, inbound_per_host=5000,
        unfinished_handshakes=5000,
    )
    config = StackConfig(
        bind="127.0.0.1", transports=(transport,), connections=limits,
        tls=TlsConfig(certificate=certificate, private_key=key),
    )
    async with Stack(config) as stack:
        print(stack.transport.listening(transport.name)[1], flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            async with asyncio.timeout(60):
                while len(stack.transport.pool) != int(line):
                    await asyncio.sleep(0.05)
                await asyncio.sleep(0.3)
            gc.collect()
            pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
            print(pages * os.sysconf("SC_PAGE_SIZE"), flush=True)

asyncio.run(main())
"""


@pytest.fixture(scope="module")
def authority():
    return Authority()


@pytest.fixture
def make_pair(entered, authority):
    """Bob, who listens on TLS or WSS, and Alice, a good client with a connection of her own."""

    async def make(transport, **limits):
        issued = authority.issue(LOOPBACK)
        own = TlsConfig(certificate=issued.certificate, private_key=issued.private_key)
        serving = StackConfig(
            bind=LOOPBACK,
            transports=(transport,),
            tls=own,
            connections=ConnectionLimits(accept_handshake=HANDSHAKE_S, **limits),
        )
        trusting = TlsConfig(verify=TlsVerify.CUSTOM, ca=authority.pem)
        stack = await entered.enter_async_context(Stack(serving))
        await entered.enter_async_context(Endpoint(EndpointConfig(f"sip:bob@{LOOPBACK}"), stack))
        alice = await entered.enter_async_context(
            Endpoint(
                EndpointConfig(f"sip:alice@{LOOPBACK}", transport=transport, tls=trusting),
                await entered.enter_async_context(Stack(StackConfig(bind=LOOPBACK))),
            )
        )
        return alice, stack, stack.transport.listening(transport.name)[1]

    return make


class Clients:
    """Slow clients in a process of their own: their own slowness is not to count."""

    def __init__(self, process):
        self._process = process

    async def told(self):
        async with asyncio.timeout(PATIENCE):
            return (await self._process.stdout.readline()).decode().strip()

    async def outcome(self):
        return json.loads(await self.told())


@asynccontextmanager
async def slow_clients(port, kind, count=CLIENTS):
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        CLIENT,
        *(str(port), str(count), kind, str(PATIENCE)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield Clients(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def latencies(alice, port, until, standstill):
    """Round trips of OPTIONS, one after the other, until so it is.

    Returns:
        For each that was answered its seconds, and whether the machine stood still beside it: all
        that came meanwhile is read then at once.
    """
    lost = standstill.seconds
    loop = asyncio.get_running_loop()
    found = []
    async with asyncio.timeout(PATIENCE):
        while not until():
            begun = loop.time()
            assert (await alice.options(f"sip:bob@{LOOPBACK}:{port}")).status == 200
            found.append((loop.time() - begun, standstill.seconds >= lost + HELD_UP_S))
            lost = standstill.seconds
            await asyncio.sleep(OPTIONS_EVERY_S)
    return found


def figures(waits):
    """The 99th percentile and the longest."""
    return sorted(waits)[int(len(waits) * 0.99)], max(waits)


@asynccontextmanager
async def fresh_server(authority, transport):
    """A stack in a new process, where no earlier test has left memory to be used again."""
    issued = authority.issue(LOOPBACK)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        SERVER,
        transport,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )

    async def say(text):
        process.stdin.write(text.encode() + b"\n")
        async with asyncio.timeout(PATIENCE):
            return int(await process.stdout.readline())

    async def memory(connections):
        """Octets it takes, once it has so many open sockets."""
        return await say(str(connections))

    try:
        yield await say(json.dumps([issued.certificate, issued.private_key])), memory
    finally:
        process.kill()
        await process.communicate()


LIFTED = {"inbound": 5_000, "inbound_per_host": 5_000, "unfinished_handshakes": 5_000}
KINDS = [
    (Transport.TLS, "silence"),
    (Transport.TLS, "half a hello"),
    (Transport.TLS, "hello"),
    (Transport.WSS, "hello"),
    (Transport.WSS, "no upgrade"),
    (Transport.WSS, "half an upgrade"),
]


@pytest.mark.parametrize(("transport", "kind"), KINDS)
async def test_a_handshake_that_never_ends_is_ended_and_delays_nobody(
    make_pair, tell, standstill, transport, kind
):
    alice, stack, port = await make_pair(transport, **LIFTED)
    assert (await alice.options(f"sip:bob@{LOOPBACK}:{port}")).status == 200
    async with slow_clients(port, kind) as clients:
        opening = asyncio.get_running_loop().create_task(clients.told())
        waits = await latencies(alice, port, opening.done, standstill)
        assert await opening == "open"
        ending = asyncio.get_running_loop().create_task(clients.outcome())
        waits += await latencies(alice, port, ending.done, standstill)
    outcome = await ending
    assert outcome["refused"] == outcome["left"] == 0
    ages = outcome["ages"]
    assert len(ages) == CLIENTS
    assert ages[0] >= HANDSHAKE_S - 0.1
    # Where the machine stood still, deadlines are looked at late here and endings are seen late.
    assert ages[-1] <= LAST_ENDS_S + standstill.seconds + outcome["late"]
    assert len(stack.transport.pool) == 1
    assert len(waits) > LEAST
    p99, longest = figures([wait for wait, _ in waits])
    tell(
        f"{CLIENTS} x {kind}, {transport.name}",
        f"ended after {ages[0]:.2f} to {ages[-1]:.2f} s, "
        f"{len(waits)} OPTIONS, p99 {p99 * 1000:.1f} ms, max {longest * 1000:.1f} ms",
    )
    if LONG:
        undisturbed = [wait for wait, held_up in waits if not held_up]
        assert len(undisturbed) > LEAST
        assert figures(undisturbed)[0] < LATENCY_S


@pytest.mark.parametrize("transport", [Transport.TLS, Transport.WSS])
async def test_the_caps_turn_slow_clients_away_at_once(make_pair, standstill, transport):
    alice, stack, port = await make_pair(transport)
    assert (await alice.options(f"sip:bob@{LOOPBACK}:{port}")).status == 200
    most = ConnectionLimits().inbound_per_host
    async with slow_clients(port, "hello", 3 * most) as clients:
        assert await clients.told() == "open"
        assert len(stack.transport.pool) <= most + 1
        assert (await alice.options(f"sip:bob@{LOOPBACK}:{port}")).status == 200
        outcome = await clients.outcome()
    assert stack.transport.pool.refused == 2 * most
    # The others end with their deadline.
    assert outcome["refused"] + len(outcome["ages"]) == 3 * most
    soon, late = outcome["ages"][:-most], outcome["ages"][-most:]
    assert max(soon, default=0) < HANDSHAKE_S / 2 + standstill.seconds + outcome["late"]
    assert late[0] >= HANDSHAKE_S - 0.1


@pytest.mark.parametrize("kind", ["idle", "hello", "half an upgrade"])
async def test_a_connection_takes_tens_of_kib(authority, tell, kind):
    transport = "wss" if kind == "half an upgrade" else "tls"
    async with fresh_server(authority, transport) as (port, memory), slow_clients(port, "idle", 20):
        # What OpenSSL and the allocator take once is no matter of a connection.
        before = await memory(20)
        async with slow_clients(port, kind) as clients:
            assert await clients.told() == "open"
            each = (await memory(20 + CLIENTS) - before) / CLIENTS / 1024
    tell(f"memory of a connection, {transport}, {kind}", f"{each:.1f} KiB")
    assert 1 < each <= KIB_AN_IDLE_CONNECTION
