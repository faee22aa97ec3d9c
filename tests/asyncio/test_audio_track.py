"""What is agreed on of audio: codecs, packet time, events, noise."""

from __future__ import annotations

import secrets

import pytest

from callmeter.config import MediaConfig
from callmeter.media_session import MediaSession

LOOPBACK = "127.0.0.1"


@pytest.fixture
def pair(stack):
    opened = []

    def agreed(**settings):
        for _ in range(2):
            config = MediaConfig(**settings)
            opened.append(MediaSession(stack.media, config, LOOPBACK, entropy=secrets.token_bytes))
        calling, called = opened[-2:]
        calling.accept_answer(called.accept_offer(calling.create_offer()))
        return calling, called

    yield agreed
    for one in opened:
        one.close()


async def test_both_ends_agree_on_codec_packet_time_and_events(pair):
    for end in pair(codecs=("opus", "PCMA"), ptime=40, comfort_noise=True):
        assert (end.codec, end.ptime_ms) == ("opus", 40)
        codec, samples = end.coding
        assert (codec.name, samples) == ("opus", 1920)
        parameters = end.stream._parameters
        assert set(parameters.receive_payload_types.values()) == {"opus", "PCMA"}
        assert parameters.telephone_event_rate == 48_000
        assert sorted(parameters.receive_telephone_events.values()) == [8000, 48_000]


async def test_a_call_that_ended_does_not_begin_again(pair):
    calling, _ = pair()
    agreed = calling._agreed
    calling.close()
    calling._begin(*agreed)
    assert calling.stream is None


async def test_calls_share_a_port_where_they_can_be_told_apart(pair):
    for settings, shared in (({"shared_port": True}, True), ({}, False)):
        calling, _ = pair(**settings)
        assert calling.stream.shared is shared
