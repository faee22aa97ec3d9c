"""Signalling load, placed: over loopback sockets and against phones that are scripts."""

from __future__ import annotations

import asyncio
import socket

import pytest

from callmeter.config import StackConfig, TimerConfig, Transport
from callmeter.errors import ConfigurationError, ConnectionFailed, LocalProtocolError
from callmeter.load import SignalingAnswerer, SignalingCaller
from callmeter.transport.udp import UdpTransport

LOOPBACK = "127.0.0.1"
PATIENCE = 20


@pytest.fixture
def free_udp_socket():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound:
        bound.bind((LOOPBACK, 0))
        yield bound


def config(**settings):
    return StackConfig(bind=LOOPBACK, **settings)


def target(answerer, name="UDP"):
    return f"sip:service@{LOOPBACK}:{answerer.transport.listening(name)[1]}"


@pytest.mark.parametrize("rate", [100, 1000])
async def test_a_call_is_held_and_one_that_rings_too_long_is_cancelled(rate):
    hasty = config(timers=TimerConfig(ring_timeout=0.1))
    async with asyncio.timeout(PATIENCE), SignalingAnswerer(config()) as answerer:
        async with SignalingCaller(target(answerer), config(), hold=0.05) as caller:
            counters = await caller.run(calls=3, rate=rate)
        assert (counters.ended, counters.statuses) == (3, {200: 3})
    async with asyncio.timeout(PATIENCE), SignalingAnswerer(config(), answer_after=60) as answerer:
        async with SignalingCaller(target(answerer), hasty) as caller:
            counters = await caller.run(calls=2, rate=rate)
        assert (counters.refused, counters.statuses) == (2, {487: 2})
        assert answerer.counters.cancelled == 2


@pytest.mark.parametrize("name", ["UDP", "TCP"])
async def test_calls_by_the_thousand_a_second_come_to_the_same_end(name):
    async with asyncio.timeout(PATIENCE), SignalingAnswerer(config()) as answerer:
        uri = f"{target(answerer, name)};transport={name.lower()}"
        async with SignalingCaller(uri, config()) as caller:
            for calls in (200, 3):
                before = caller.counters.ended
                counters = await caller.run(calls=calls, rate=1000)
                assert counters.ended - before == calls
                assert (counters.failed, caller.live, caller.unreachable) == (0, 0, 0)
        taken = answerer.counters
    assert (taken.answered, taken.confirmed, taken.ended) == (203, 203, 203)


@pytest.mark.parametrize(("segmentation", "refused"), [(True, False), (True, True), (False, False)])
async def test_what_is_alike_leaves_together_or_else_alone(monkeypatch, segmentation, refused):
    sent = {"together": 0, "alone": 0}

    def together(transport, datagrams, hop, send=UdpTransport.send_alike):
        count = 0 if refused else send(transport, datagrams, hop)
        sent["together"] += count
        return count

    def alone(transport, data, hop, send=UdpTransport.send):
        sent["alone"] += 1
        send(transport, data, hop)

    monkeypatch.setattr(UdpTransport, "send_alike", together)
    monkeypatch.setattr(UdpTransport, "send", alone)
    settings = config(segmentation=segmentation, timers=TimerConfig(t1=4.0, t2=8.0))
    async with asyncio.timeout(PATIENCE), SignalingAnswerer(settings) as answerer:
        async with SignalingCaller(target(answerer), settings, pace=0.05) as caller:
            counters = await caller.run(calls=200, rate=2000)
            assert (counters.ended, counters.failed, caller.unreachable) == (200, 0, 0)
        assert answerer.counters.repeated == 0
    # INVITE, ACK and BYE; 180, 200 and the 200 of the BYE.
    assert sum(sent.values()) == 6 * 200
    assert (sent["together"] > 200) is (segmentation and not refused)


@pytest.mark.parametrize(("rate", "pace"), [(100, 0.01), (1000, 0.01), (1000, 0), (1000, 0.05)])
async def test_a_peer_that_is_silent_fails_the_call(free_udp_socket, rate, pace):
    hasty = config(timers=TimerConfig(t1=1 / 640, t2=0.01, t4=0.01))
    port = free_udp_socket.getsockname()[1]
    async with asyncio.timeout(PATIENCE):
        async with SignalingCaller(f"sip:nobody@{LOOPBACK}:{port}", hasty, pace=pace) as caller:
            counters = await caller.run(calls=2, rate=rate)
    assert (counters.invites, counters.failed, counters.answered) == (2, 2, 0)


@pytest.mark.parametrize("rate", [100, 1000])
async def test_what_fails_while_calls_are_placed_is_raised(monkeypatch, rate):
    def fail(*_):
        raise RuntimeError("no more calls")

    async with (
        asyncio.timeout(PATIENCE),
        SignalingAnswerer(config()) as answerer,
        SignalingCaller(target(answerer), config()) as caller,
    ):
        assert (await caller.run(calls=0, rate=rate)).invites == 0
        monkeypatch.setattr(caller, "_place", fail)
        with pytest.raises(RuntimeError, match="no more calls"):
            await caller.run(calls=1, rate=rate)


@pytest.mark.parametrize("rate", [10, 1000])
async def test_placing_can_be_cancelled(rate):
    async with (
        asyncio.timeout(PATIENCE),
        SignalingAnswerer(config()) as answerer,
        SignalingCaller(target(answerer), config(), hold=3600) as caller,
        asyncio.TaskGroup() as tasks,
    ):
        running = tasks.create_task(caller.run(calls=1_000_000, rate=rate))
        await answerer._until(lambda: answerer.counters.confirmed > 0)
        running.cancel()
        await answerer.ended(1)
        placed = caller.counters.invites
        await caller._until(lambda: not caller.live)
        assert caller.counters.invites == placed


async def test_timers_run_on_when_all_calls_have_ended():
    hasty = config(timers=TimerConfig(t1=1 / 64, t2=0.05, t4=0.05))
    async with (
        asyncio.timeout(PATIENCE),
        SignalingAnswerer(config()) as answerer,
        SignalingCaller(target(answerer), hasty) as caller,
    ):
        await caller.run(calls=5, rate=1000)
        await caller._until(lambda: not caller.transactions)


async def test_a_run_that_is_cancelled_hangs_up():
    async with (
        asyncio.timeout(PATIENCE),
        SignalingAnswerer(config()) as answerer,
        SignalingCaller(target(answerer), config(), hold=3600) as caller,
    ):
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(caller.run(calls=1, rate=1))
            await answerer._until(lambda: answerer.counters.confirmed > 0)
            running.cancel()
        counters = await answerer.ended(1)
    assert counters.ended == 1


async def test_a_connection_that_is_lost_fails_the_calls_that_follow():
    listening = config(transports=(Transport.TCP,), timers=TimerConfig(t1=1 / 32, t2=0.05))
    async with asyncio.timeout(PATIENCE):
        async with SignalingAnswerer(listening) as answerer:
            uri = target(answerer, "TCP")
            hasty = config(transports=(Transport.UDP,), timers=listening.timers)
            caller = SignalingCaller(uri, hasty, transport=Transport.TCP, hold=0.2)
            async with caller:
                assert (await caller.run(calls=1, rate=10)).ended == 1
                answerer.transport.pool.close()
                counters = await caller.run(calls=1, rate=10)
    assert counters.ended + counters.failed == 2


async def test_a_target_without_an_address_is_refused():
    with pytest.raises(ConnectionFailed):
        async with SignalingCaller("sip:service@example.invalid", config()):
            pass
    with pytest.raises(ConfigurationError):
        SignalingCaller("mailto:service")


async def test_nothing_is_told_before_it_is_entered():
    caller = SignalingCaller("sip:service@127.0.0.1")
    with pytest.raises(LocalProtocolError):
        _ = caller.counters
