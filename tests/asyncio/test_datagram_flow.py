"""Registrations over UDP: kept alive by STUN, and made anew when the flow is lost (RFC 5626)."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager

import pytest

from callmeter import datagram_flow
from callmeter.config import EndpointConfig, StackConfig, TimerConfig
from callmeter.endpoint import Endpoint
from callmeter.sip.parser import parse_message
from callmeter.stack import Stack
from callmeter.stun.binding import (
    binding_request,
    binding_success,
    is_stun,
    mapped_address,
    response_to,
)

LOOPBACK = "127.0.0.1"
PATIENCE = 20


class UdpRegistrar:
    """Grants everything, and answers Binding requests as it is told to."""

    def __init__(self, bound):
        self.socket = bound
        self.port = bound.getsockname()[1]
        self.headers = [("Require", "outbound")]
        self.registers = []
        self.pings = []
        self.mute = 0
        self.offset = 0
        self.foreign = None

    async def serve(self):
        loop = asyncio.get_running_loop()
        while True:
            data, source = await loop.sock_recvfrom(self.socket, 65_535)
            if is_stun(data):
                self.on_stun(data, source)
            elif data == datagram_flow.PING:
                self.pings.append(data)
            else:
                self.on_register(parse_message(data), source)

    def on_stun(self, data, source):
        self.pings.append(data)
        answer = binding_success(data, source[0], source[1] + self.offset)
        if self.mute:
            self.mute -= 1
        elif self.foreign is not None:
            self.foreign.sendto(answer, source)
        else:
            self.socket.sendto(answer, source)

    def on_register(self, request, source):
        self.registers.append(request)
        headers = [("Contact", request.headers.get("Contact")), ("Expires", "600"), *self.headers]
        response = request.create_response(200, to_tag="r", headers=headers)
        self.socket.sendto(response.to_bytes(), source)


@pytest.fixture
async def registrar():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound:
        bound.bind((LOOPBACK, 0))
        bound.settimeout(0)
        served = UdpRegistrar(bound)
        serving = asyncio.get_running_loop().create_task(served.serve())
        yield served
        serving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await serving


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(datagram_flow, "PING_FROM", 0.02)
    monkeypatch.setattr(datagram_flow, "PING_TO", 0.03)
    monkeypatch.setattr(datagram_flow, "RTO", 0.01)


@asynccontextmanager
async def registering(registrar):
    config = StackConfig(bind=LOOPBACK, timers=TimerConfig(t1=0.05, t2=0.2, t4=0.2))
    aor = f"sip:alice@{LOOPBACK}:{registrar.port}"
    async with (
        Stack(config) as stack,
        Endpoint(EndpointConfig(aor), stack) as alice,
        alice.registered() as binding,
    ):
        yield stack, binding


async def until(fact):
    async with asyncio.timeout(PATIENCE):
        while not fact():  # noqa: ASYNC110  what the other end saw
            await asyncio.sleep(0.005)


async def test_a_registrar_that_keeps_flows_is_asked_by_stun(registrar):
    async with registering(registrar) as (_, binding):
        await until(lambda: len(registrar.pings) >= 3)
        assert all(is_stun(ping) for ping in registrar.pings)
        assert len(set(registrar.pings)) == len(registrar.pings)
        assert binding.refreshes == 0
    assert len(registrar.registers) == 2


async def test_the_flow_timer_says_how_often(registrar, monkeypatch):
    waits = []
    monkeypatch.setattr(
        datagram_flow.DatagramFlow, "_call", lambda _, wait, then: waits.append((wait, then))
    )
    registrar.headers = [("Flow-Timer", "120")]
    async with registering(registrar):
        assert [96 <= wait <= 120 for wait, _ in waits] == [True]


async def test_a_registrar_that_says_nothing_gets_empty_lines(registrar):
    registrar.headers = []
    async with registering(registrar):
        await until(lambda: len(registrar.pings) >= 2)
    assert set(registrar.pings) == {b"\r\n\r\n"}


async def test_a_lost_request_is_sent_again_and_loses_no_flow(registrar):
    registrar.mute = 3
    async with registering(registrar) as (_, binding):
        await until(lambda: len(registrar.pings) >= 6)
        assert len(set(registrar.pings[:4])) == 1
        assert registrar.pings[4] != registrar.pings[3]
        assert binding.refreshes == 0


async def test_a_flow_without_answers_is_registered_anew(registrar):
    registrar.mute = datagram_flow.REQUESTS
    async with registering(registrar) as (_, binding):
        await until(lambda: binding.refreshes == 1)
        assert len(set(registrar.pings[: datagram_flow.REQUESTS])) == 1


async def test_a_new_address_on_the_way_is_registered_anew(registrar):
    async with registering(registrar) as (_, binding):
        await until(lambda: len(registrar.pings) >= 2)
        registrar.offset = 1
        await until(lambda: binding.refreshes == 1)
        pings = len(registrar.pings)
        await until(lambda: len(registrar.pings) > pings + 2)
        assert binding.refreshes == 1


async def test_an_answer_from_elsewhere_does_not_count(registrar):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as foreign:
        foreign.bind((LOOPBACK, 0))
        registrar.foreign = foreign
        async with registering(registrar) as (_, binding):
            await until(lambda: binding.refreshes == 1)


async def test_nothing_is_sent_or_expected_after_the_registration(registrar):
    registrar.mute = 1_000
    async with registering(registrar) as (stack, _):
        await until(lambda: registrar.pings)
    assert stack._stun == {}


async def test_a_peers_binding_request_is_answered(stack):
    host, port = stack.transport.listening()
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.bind((LOOPBACK, 0))
        peer.settimeout(0)
        peer.sendto(binding_request(bytes(12)), (host, port))
        async with asyncio.timeout(PATIENCE):
            answer = await loop.sock_recv(peer, 1_000)
        assert response_to(answer) == bytes(12)
        assert mapped_address(answer) == peer.getsockname()
        # a response nobody asked for gets none, so that two ends never talk for ever
        peer.sendto(answer, (host, port))
        await until(lambda: stack.counters.keepalives == 2)
        with pytest.raises(BlockingIOError):
            peer.recv(1_000)
