"""What both ends of a signalling load share."""

from __future__ import annotations

import asyncio

import pytest

from callmeter.config import StackConfig
from callmeter.errors import ConnectionFailed, LocalProtocolError
from callmeter.load import SignalingAnswerer, SignalingCaller
from callmeter.load.signaling_shell import contact_uri, description
from callmeter.sdp.parser import parse_description

LOOPBACK = "127.0.0.1"
PATIENCE = 20


async def test_it_is_entered_once_and_left_clean():
    async with SignalingAnswerer(StackConfig(bind=LOOPBACK)) as answerer:
        with pytest.raises(LocalProtocolError):
            await answerer.__aenter__()
    async with answerer:
        assert answerer.live == 0


async def test_a_port_that_is_taken_is_said_in_plain_words():
    async with SignalingAnswerer(StackConfig(bind=LOOPBACK)) as answerer:
        taken = StackConfig(bind=LOOPBACK, port=answerer.transport.listening("UDP")[1])
        with pytest.raises(ConnectionFailed, match="cannot listen"):
            await SignalingAnswerer(taken).__aenter__()


async def test_the_timers_stop_when_nothing_is_left_to_wait_for():
    listening = StackConfig(bind=LOOPBACK)
    async with asyncio.timeout(PATIENCE), SignalingAnswerer(listening) as answerer:
        target = f"sip:a@{LOOPBACK}:{answerer.transport.listening('TCP')[1]};transport=tcp"
        async with SignalingCaller(target, StackConfig(bind=LOOPBACK)) as caller:
            await caller.run(calls=1, rate=1)
            await answerer.ended(1)
            assert caller.live == 0


@pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::1"])
def test_the_description_is_one(host):
    parsed = parse_description(description(host))
    assert [media.port for media in parsed.media] == [9]


def test_a_contact_names_its_transport():
    assert contact_uri("", ("192.0.2.1", 5060), "UDP") == "sip:callmeter@192.0.2.1:5060"
    assert contact_uri("a", ("2001:db8::1", 0), "WSS") == "sip:a@[2001:db8::1];transport=ws"
