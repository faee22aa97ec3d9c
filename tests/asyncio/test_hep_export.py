"""A collector gets a copy of every SIP message, and no call waits for it."""

from __future__ import annotations

import asyncio
import socket

import pytest

from callmeter.config import (
    Credentials,
    EndpointConfig,
    HepConfig,
    MediaConfig,
    SrtpConfig,
    SrtpPolicy,
    StackConfig,
)
from callmeter.endpoint import Endpoint
from callmeter.errors import ConfigurationError, ConnectionFailed
from callmeter.stack import Stack

LOOPBACK = "127.0.0.1"
PATIENCE = 20


@pytest.fixture
def collector():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound:
        bound.bind((LOOPBACK, 0))
        bound.settimeout(0)
        yield bound


def fetched(bound):
    packets = []
    while True:
        try:
            packets.append(bound.recv(65_535))
        except BlockingIOError:
            return packets


def config(bound, **settings):
    return HepConfig(f"{LOOPBACK}:{bound.getsockname()[1]}", **settings)


async def test_the_messages_of_all_endpoints_reach_the_collector(collector, registrar):
    media = MediaConfig(srtp=SrtpConfig(policy=SrtpPolicy.REQUIRED))
    shared = StackConfig(bind=LOOPBACK, hep=config(collector, node="lab"))
    async with Stack(shared) as stack:
        alice = EndpointConfig(
            registrar.aor("alice"), Credentials("alice", "wonderland"), media=media
        )
        bob = EndpointConfig(f"sip:bob@{LOOPBACK}", media=media)
        async with Endpoint(alice, stack) as calling, Endpoint(bob, stack) as called:

            async def answer():
                incoming = await called.next_call(PATIENCE)
                await incoming.answer()

            async with calling.registered(), asyncio.TaskGroup() as tasks:
                tasks.create_task(answer())
                async with calling.call(str(called.contact)) as call:
                    key = call.media.keys.sdes.local.to_attribute().key_params
            logged = len(calling.messages) + len(called.messages)
    packets = fetched(collector)
    assert len(packets) == logged == stack.export.sent
    assert stack.export.dropped == 0
    assert all(packet.startswith(b"HEP3") and b"lab" in packet for packet in packets)
    together = b"".join(packets)
    assert b"INVITE sip:" in together
    assert b"inline:x" in together
    assert key.partition(":")[2].encode() not in together


async def test_without_a_collector_nothing_is_exported(stack):
    assert stack.export is None


async def test_a_collector_that_is_not_there_costs_counts_alone(closed_port, make_endpoint):
    shared = StackConfig(bind=LOOPBACK, hep=HepConfig(f"{LOOPBACK}:{closed_port}"))
    async with Stack(shared) as stack:
        alice = await make_endpoint("alice", on=stack)
        bob = await make_endpoint("bob", on=stack)
        for _ in range(3):
            assert (await alice.options(str(bob.contact))).status == 200
        assert stack.export.dropped > 0
        assert stack.export.sent + stack.export.dropped == len(alice.messages) + len(bob.messages)


async def test_a_collector_without_a_route_is_named_on_entry():
    shared = StackConfig(bind=LOOPBACK, hep=HepConfig("255.255.255.255:9060"))
    with pytest.raises(ConnectionFailed, match=r"collector at 255\.255\.255\.255 port 9060"):
        async with Stack(shared):
            pytest.fail("the stack runs")


@pytest.mark.parametrize(
    ("text", "settings"),
    [
        ("192.0.2.1", {}),
        ("192.0.2.1:", {}),
        ("192.0.2.1:0", {}),
        ("192.0.2.1:65536", {}),
        ("192.0.2.1:x", {}),
        ("example.com:9060", {}),
        ("192.0.2.1:9060", {"agent": -1}),
        ("192.0.2.1:9060", {"agent": 2**32}),
    ],
)
def test_a_collector_that_cannot_be_is_refused(text, settings):
    with pytest.raises(ConfigurationError):
        HepConfig(text, **settings)


def test_a_collector_is_an_address_and_a_port():
    assert HepConfig("[2001:db8::9]:9060").address == ("2001:db8::9", 9060)
    assert "geheim" not in repr(HepConfig("192.0.2.9:9060", password="geheim"))
