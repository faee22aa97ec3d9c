"""What both ends of a signalling load share."""

from __future__ import annotations

import asyncio

import pytest

from callmeter.config import StackConfig
from callmeter.errors import ConfigurationError, ConnectionFailed, LocalProtocolError
from callmeter.load import SignalingAnswerer, SignalingCaller
from callmeter.load.signaling_shell import contact_uri, description
from callmeter.sdp.parser import parse_description
from callmeter.transport.layer import TransportLayer

LOOPBACK = "127.0.0.1"
PATIENCE = 20
LISTENING = StackConfig(bind=LOOPBACK)


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


@pytest.mark.parametrize("pace", [-0.01, float("nan"), float("inf")])
def test_a_pace_that_is_no_time_is_refused(pace):
    for make in (SignalingAnswerer, lambda **it: SignalingCaller("sip:x@127.0.0.1", **it)):
        with pytest.raises(ConfigurationError, match="pace is a number of seconds, 0 or more"):
            make(pace=pace)


@pytest.mark.parametrize(("settings", "pace"), [({}, 0.01), ({"pace": 0}, 0)])
async def test_an_answerer_has_much_read_in_the_pace_that_is_asked_for(monkeypatch, settings, pace):
    asked = []
    monkeypatch.setattr(TransportLayer, "pace_reading", lambda _, seconds: asked.append(seconds))
    async with SignalingAnswerer(LISTENING, **settings):
        assert asked == [pace]


async def test_calls_are_placed_in_the_pace_that_is_asked_for():
    async with asyncio.timeout(PATIENCE), SignalingAnswerer(LISTENING) as answerer:
        target = f"sip:x@{LOOPBACK}:{answerer.transport.listening('UDP')[1]}"
        async with SignalingCaller(target, LISTENING, pace=0.3) as caller:
            begun = asyncio.get_running_loop().time()
            counters = await caller.run(calls=2, rate=1000)
            # The second one, and then what answers it.
            assert asyncio.get_running_loop().time() - begun > 0.5
    assert counters.ended == 2
