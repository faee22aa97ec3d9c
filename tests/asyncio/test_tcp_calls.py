"""Calls over connections: one for both directions, and what happens when it breaks."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import struct
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from callmeter.config import (
    ClientCertificates,
    ConnectionLimits,
    EndpointConfig,
    StackConfig,
    TimerConfig,
    TlsConfig,
    TlsVerify,
    Transport,
)
from callmeter.endpoint import Endpoint
from callmeter.errors import CallmeterError, TransportError
from callmeter.sip.parser import parse_message
from callmeter.stack import Stack
from callmeter.testing.certificates import Authority

LOOPBACK = "127.0.0.1"
PATIENCE = 20
LONG = bool(os.environ.get("CALLMETER_LONG"))
RESET_CALLS = 100 if LONG else 12
NO_WAIT = struct.pack("ii", 1, 0)
HASTY = TimerConfig(t1=3 / 64, t2=0.05, t4=0.05, ring_timeout=5)
EVERY = (Transport.UDP, Transport.TCP)
MANY = ConnectionLimits(inbound=5_000, inbound_per_host=5_000)


@asynccontextmanager
async def party(
    user, *, transport=Transport.TCP, listens=EVERY, bind=LOOPBACK, timers=HASTY, tls=None
):
    host = f"[{bind}]" if ":" in bind else bind
    tls = tls or TlsConfig()
    config = StackConfig(bind=bind, transports=listens, timers=timers, connections=MANY, tls=tls)
    own = EndpointConfig(f"sip:{user}@{host}", transport=transport, tls=tls)
    async with Stack(config) as stack, Endpoint(own, stack) as endpoint:
        yield endpoint


@pytest.fixture(scope="module")
def tls():
    """What both ends need to listen with TLS, and to trust each other."""
    authority = Authority()
    issued = authority.issue(LOOPBACK)
    return TlsConfig(
        verify=TlsVerify.CUSTOM,
        ca=authority.pem,
        certificate=issued.certificate,
        private_key=issued.private_key,
    )


@asynccontextmanager
async def serving(endpoint):
    """Answer every call, until the block ends."""

    async def answer(incoming):
        try:
            await incoming.answer()
        except CallmeterError:
            return
        await incoming.ended()

    async def serve():
        async with asyncio.TaskGroup() as tasks:
            async for incoming in endpoint.incoming():
                tasks.create_task(answer(incoming))

    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(serve())
        yield
        task.cancel()


def address(endpoint, transport=""):
    name = transport.rpartition("=")[2].upper() or "UDP"
    host, port = endpoint.stack.transport.listening(name)
    host = f"[{host}]" if ":" in host else host
    return f"sip:{endpoint.aor_user}@{host}:{port}{transport}"


def connections(endpoint):
    return list(endpoint.stack.transport.pool._live.values())


def reset(connection):
    """Have the other end read a reset, and this end find out by itself."""
    connection._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_WAIT)
    connection._socket.shutdown(socket.SHUT_RD)
    connection.close()
    pool = connection._pool
    pool._drop(connection, finished=True)


async def until(condition):
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110  there is no event
            await asyncio.sleep(0.005)


# one connection


@pytest.mark.parametrize("bind", [LOOPBACK, "::1"])
@pytest.mark.parametrize("word", ["", ";transport=tcp"])
async def test_a_call_goes_by_ipv4_and_ipv6_by_udp_and_tcp(bind, word):
    transport = Transport.TCP if word else Transport.UDP
    async with (
        party("alice", bind=bind, transport=transport) as alice,
        party("bob", bind=bind) as bob,
        serving(bob),
        alice.call(address(bob, word)) as call,
    ):
        await call.media.play(seconds=0.1)
        invite = alice.messages.requests("INVITE").sent()[0]
        assert invite.transport == ("TCP" if word else "UDP")
        answer = bob.messages.responses(200).sent()[0].message
        for message in (invite.message, answer):
            contact = message.contacts[0].uri
            assert contact.host == bind
            assert (contact.transport or "udp") == ("tcp" if word else "udp")


@pytest.mark.parametrize("transport", [Transport.TCP, Transport.TLS])
async def test_requests_of_both_sides_share_the_connection_of_the_first(tls, transport):
    mutual = replace(tls, client_certificates=ClientCertificates.REQUIRED)
    options = {"transport": transport, "listens": (transport,), "tls": mutual}
    word = f";transport={transport.value}"
    async with party("alice", **options) as alice, party("bob", **options) as bob:
        assert (await alice.options(address(bob, word))).status == 200
        assert (await bob.options(address(alice, word))).status == 200
        assert len(connections(alice)) == len(connections(bob)) == 1
        async with serving(bob), alice.call(address(bob, word)):
            pass
        async with serving(alice), bob.call(address(alice, word)):
            pass
        assert len(connections(alice)) == len(connections(bob)) == 1
        assert alice.stack.transport.pool._by_address


async def test_without_a_certificate_of_its_client_a_tls_connection_is_not_shared(tls):
    options = {"transport": Transport.TLS, "listens": (Transport.TLS,), "tls": tls}
    async with party("alice", **options) as alice, party("bob", **options) as bob:
        assert (await alice.options(address(bob, ";transport=tls"))).status == 200
        assert (await bob.options(address(alice, ";transport=tls"))).status == 200
        assert len(connections(alice)) == len(connections(bob)) == 2


async def test_the_callee_hangs_up_a_caller_that_does_not_listen():
    async with (
        party("alice", listens=(Transport.UDP,)) as alice,
        party("bob") as bob,
        asyncio.TaskGroup() as tasks,
    ):

        async def answer():
            incoming = await bob.next_call(PATIENCE)
            await incoming.answer()
            await incoming.bye()

        tasks.create_task(answer())
        async with alice.call(address(bob, ";transport=tcp")) as call:
            await call.ended()
        assert len(connections(alice)) == 1
        (bye,) = alice.messages.requests("BYE").received()
        assert bye.transport == "TCP"


async def test_alice_by_udp_and_bob_by_tcp_each_name_the_way_that_was_taken():
    async with party("alice", transport=Transport.UDP) as alice, party("bob") as bob:
        async with serving(bob), alice.call(address(bob)):
            pass
        async with serving(alice), bob.call(address(alice, ";transport=tcp")):
            pass
        udp = bob.messages.responses(200).sent()[0].message.contacts[0].uri
        tcp = alice.messages.responses(200).sent()
        contacts = [entry.message.contacts for entry in tcp if entry.transport == "TCP"]
        assert udp.transport is None
        assert contacts[0][0].uri.transport == "tcp"


async def test_nothing_is_sent_twice_over_tcp():
    """A server that takes its time, longer than any retransmission timer."""
    with socket.create_server((LOOPBACK, 0)) as listener:
        listener.settimeout(0)
        loop = asyncio.get_running_loop()
        async with party("alice", timers=TimerConfig(t1=0.05, t2=0.05)) as alice:
            port = listener.getsockname()[1]
            asking = loop.create_task(alice.options(f"sip:bob@{LOOPBACK}:{port};transport=tcp"))
            peer, _ = await loop.sock_accept(listener)
            with peer:
                data = await loop.sock_recv(peer, 65_536)
                await asyncio.sleep(0.4)
                with pytest.raises(BlockingIOError):
                    peer.recv(1)
                response = parse_message(data).create_response(200, to_tag="x")
                await loop.sock_sendall(peer, response.to_bytes())
                assert (await asking).status == 200


# requests too large for a datagram


LARGE = {"X-Large": "x" * 1_500}


async def test_a_request_too_large_for_a_datagram_goes_by_tcp():
    async with (
        party("alice", transport=Transport.UDP) as alice,
        party("bob") as bob,
        serving(bob),
        alice.call(address(bob), headers=LARGE),
    ):
        (invite,) = alice.messages.requests("INVITE").sent()
        assert invite.transport == "TCP"
        # What answers it may be small: the Contact is that of the transport that was asked for.
        assert invite.message.contacts[0].uri.transport is None
        assert invite.message.via.transport == "TCP"


async def test_a_large_request_goes_by_udp_where_nobody_listens_by_tcp():
    async with (
        party("alice", transport=Transport.UDP) as alice,
        party("bob", listens=(Transport.UDP,)) as bob,
        serving(bob),
        alice.call(address(bob), headers=LARGE),
    ):
        sent = alice.messages.requests("INVITE").sent()
        # By UDP it may have been repeated, in its own branch.
        branches = {entry.message.via.branch: entry.transport for entry in sent}
        assert list(branches.values()) == ["TCP", "UDP"]


# errors in words, and the next target


async def test_a_refused_connection_fails_the_request_in_the_systems_words():
    with socket.socket() as bound:
        bound.bind((LOOPBACK, 0))
        port = bound.getsockname()[1]
    for listens in (EVERY, (Transport.UDP,)):
        async with party("alice", listens=listens) as alice:
            with pytest.raises(TransportError, match="Connection refused"):
                await alice.options(f"sip:bob@{LOOPBACK}:{port};transport=tcp")
            assert alice.stack.idle


async def test_a_connection_closed_before_any_answer_is_tried_once_more_and_no_oftener():
    with socket.create_server((LOOPBACK, 0)) as listener:
        listener.settimeout(0)
        loop = asyncio.get_running_loop()
        port = listener.getsockname()[1]
        async with party("alice") as alice:
            asking = loop.create_task(alice.options(f"sip:bob@{LOOPBACK}:{port};transport=tcp"))
            branches = []
            for _ in range(2):
                peer, _ = await loop.sock_accept(listener)
                with peer:
                    data = await loop.sock_recv(peer, 65_536)
                    branches.append(parse_message(data).via.branch)
            with pytest.raises(TransportError):
                await asking
            assert len(branches) == 2
            assert len(set(branches)) == 1
            assert len(connections(alice)) == 0
            await until(lambda: alice.stack.idle)


# resets


@pytest.mark.slow
@pytest.mark.parametrize("transport", [Transport.TCP, Transport.TLS, Transport.WSS])
@pytest.mark.parametrize("side", ["alice", "bob"])
@pytest.mark.parametrize("hangs_up", ["alice", "bob"])
async def test_calls_outlive_a_reset_and_their_bye_arrives(tls, tell, transport, side, hangs_up):
    options = {"transport": transport, "listens": (transport,), "tls": tls}
    async with party("alice", **options) as alice, party("bob", **options) as bob:
        for _ in range(RESET_CALLS):
            async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as tasks:
                answered = asyncio.get_running_loop().create_future()

                async def answer(answered=answered):
                    incoming = await bob.next_call(PATIENCE)
                    await incoming.answer()
                    answered.set_result(incoming)
                    await incoming.ended()

                tasks.create_task(answer())
                call = await alice.invite(address(bob, f";transport={transport.value}"))
                async with call:
                    await call.answered(PATIENCE)
                    incoming = await answered
                    for connection in connections(alice if side == "alice" else bob):
                        reset(connection)
                    # At once: the end that was reset has not heard of it yet.
                    await (call if hangs_up == "alice" else incoming).bye()
        for endpoint in (alice, bob):
            byes = endpoint.messages.requests("BYE").received()
            arrived = len({entry.message.call_id for entry in byes})
            if endpoint.aor_user != hangs_up:
                tell(
                    f"{transport.name} reset by {side}, BYE of {hangs_up}",
                    f"{arrived} of {RESET_CALLS} arrived",
                )
            assert arrived == (RESET_CALLS if endpoint.aor_user != hangs_up else 0)
            assert endpoint.calls == []
            await until(lambda endpoint=endpoint: not len(endpoint.core))


BOTH_LISTEN = [(transport, True) for transport in (Transport.TCP, Transport.TLS, Transport.WSS)]
CALLER_ONLY_CONNECTS = [(transport, False) for transport, _ in BOTH_LISTEN]


@pytest.mark.parametrize(("transport", "listens"), BOTH_LISTEN + CALLER_ONLY_CONNECTS)
@pytest.mark.parametrize("side", ["alice", "bob"])
async def test_a_call_that_rings_outlives_a_reset(tls, transport, listens, side):
    # Nothing has to time out here, and a machine may stand still for a second.
    options = {"transport": transport, "tls": tls, "timers": TimerConfig()}
    async with (
        party("alice", listens=(transport,) if listens else (Transport.UDP,), **options) as alice,
        party("bob", listens=(transport,), **options) as bob,
        asyncio.TaskGroup() as tasks,
    ):
        rings = asyncio.get_running_loop().create_future()

        async def answer():
            incoming = await bob.next_call(PATIENCE)
            incoming.ring()
            rings.set_result(incoming)
            await repeated.wait()
            await incoming.answer()
            await incoming.ended()

        repeated = asyncio.Event()
        tasks.create_task(answer())
        call = await alice.invite(address(bob, f";transport={transport.value}"))
        async with call:
            await rings
            await until(lambda: len(alice.messages.responses(180).received()))
            for connection in connections(alice if side == "alice" else bob):
                reset(connection)
            if side == "alice":
                # The pool was told of no loss, as it was the test that ended it.
                alice.stack.on_flow_lost(connection.hop, "reset")
            await until(lambda: len(alice.messages.requests("INVITE").sent()) == 2)
            repeated.set()
            await call.answered(PATIENCE)
        first, second = alice.messages.requests("INVITE").sent()
        assert first.message.via.branch == second.message.via.branch
        await until(lambda: not alice.calls and not bob.calls)


async def test_a_call_that_rings_fails_when_its_peer_is_gone_for_good():
    async with party("alice", listens=(Transport.UDP,)) as alice:
        async with party("bob") as bob:
            call = await alice.invite(address(bob, ";transport=tcp"))
            incoming = await bob.next_call(PATIENCE)
            incoming.ring()
            await until(lambda: len(alice.messages.responses(180).received()))
            bob.stack.transport.close()
            await until(lambda: not connections(alice))
            with pytest.raises(TransportError, match="the connection was lost, and no answer came"):
                await call.answered(PATIENCE)
        assert call.report().to_dict()["outcome"] == "OSERROR"
        await until(lambda: alice.stack.idle)


async def test_an_answer_whose_connection_died_takes_another_to_the_sender():
    """RFC 3261 section 18.2.2: to the address in sent-by."""
    async with party("alice") as alice, party("bob") as bob, asyncio.TaskGroup() as tasks:

        async def answer():
            incoming = await bob.next_call(PATIENCE)
            for connection in connections(bob):
                connection.close()
                connection._pool._drop(connection, finished=True)
            await asyncio.sleep(0.05)
            await incoming.answer()
            await incoming.ended()

        tasks.create_task(answer())
        async with alice.call(address(bob, ";transport=tcp")):
            pass
        assert len(alice.messages.requests("INVITE").sent()) <= 2


@pytest.mark.slow
async def test_connect_invite_close_again_and_again_leaves_nothing(tell):
    cycles = 10_000 if LONG else 200
    async with party("bob") as bob, serving(bob):
        stack = bob.stack
        loop = asyncio.get_running_loop()
        where = stack.transport.listening("TCP")
        await asyncio.sleep(0)
        gc.collect()  # What earlier tests left is no business of a count.
        before = (len(asyncio.all_tasks()), descriptors())
        for number in range(cycles):
            sock = socket.socket()
            sock.settimeout(0)
            await loop.sock_connect(sock, where)
            await loop.sock_sendall(sock, invite(number, where, sock.getsockname()[1]))
            if number % 2:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_WAIT)
            if number % 3:
                await asyncio.sleep(0.002)
            sock.close()
        async with asyncio.timeout(60):
            while len(stack.transactions) or bob.calls or len(bob.core):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        await until(lambda: stack.idle and not connections(bob))
        await until(lambda: (len(asyncio.all_tasks()), descriptors()) <= before)
        tell(f"{cycles} x connect, INVITE, close", "0 tasks, descriptors, transactions, calls left")
    gc.collect()


def descriptors():
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def invite(number, where, port):
    body = (
        f"v=0\r\no=- 1 1 IN IP4 {LOOPBACK}\r\ns=-\r\nc=IN IP4 {LOOPBACK}\r\nt=0 0\r\n"
        "m=audio 9 RTP/AVP 0\r\n"
    )
    return (
        f"INVITE sip:bob@{where[0]}:{where[1]};transport=tcp SIP/2.0\r\n"
        f"Via: SIP/2.0/TCP {LOOPBACK}:{port};branch=z9hG4bK-{number}\r\n"
        f"From: <sip:m@{LOOPBACK}>;tag=m\r\nTo: <sip:bob@{LOOPBACK}>\r\n"
        f"Call-ID: cycle-{number}\r\nCSeq: 1 INVITE\r\nMax-Forwards: 70\r\n"
        f"Contact: <sip:m@{LOOPBACK}:{port};transport=tcp>\r\n"
        "Content-Type: application/sdp\r\n"
        f"Content-Length: {len(body)}\r\n\r\n{body}"
    ).encode()
