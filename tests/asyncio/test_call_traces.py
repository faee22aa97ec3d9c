"""Traces of live calls: what is in the files, and what is not."""

from __future__ import annotations

import asyncio

import pytest

from callmeter.config import CaptureConfig, MediaConfig, SrtpConfig, SrtpMethod, SrtpPolicy
from callmeter.rtp import PacketKind, classify

PATIENCE = 20
SDES = SrtpConfig(policy=SrtpPolicy.REQUIRED)
DTLS = SrtpConfig(policy=SrtpPolicy.REQUIRED, method=SrtpMethod.DTLS)
DUAL = SrtpConfig(policy=SrtpPolicy.REQUIRED, method=SrtpMethod.DUAL)


@pytest.fixture
def talk(make_endpoint, until):
    """A short call; both ends, after it."""

    async def make(media, *, meanwhile=lambda call: None):
        alice = await make_endpoint("alice", media=media)
        bob = await make_endpoint("bob", media=media)

        async def answer():
            incoming = await bob.next_call(PATIENCE)
            async with await incoming.answer():
                await incoming.ended()
            return incoming

        async with asyncio.TaskGroup() as tasks:
            answering = tasks.create_task(answer())
            async with alice.call(str(bob.contact)) as call:
                meanwhile(call)
                await until(lambda: call.media.statistics().receive.packets_received > 10)
        return call, answering.result(), alice

    return make


def kinds(call):
    return {classify(datagram.octets) for datagram in call.media.captured}


@pytest.mark.parametrize("srtp", [SDES, DTLS, DUAL], ids=["sdes", "dtls", "dual"])
async def test_a_capture_begins_with_the_first_datagram_and_ends_with_the_last(talk, srtp):
    calling, called, _ = await talk(MediaConfig(srtp=srtp, capture=CaptureConfig()))
    by_dtls = {PacketKind.DTLS} if srtp is not SDES else set()
    for call in (calling, called):
        captured = call.media.captured
        assert kinds(call) == {PacketKind.RTP, PacketKind.RTCP} | by_dtls
        assert captured.secrets == []
        sent = [each for each in captured if each.sent and is_rtp(each)]
        assert len(sent) == call.media.statistics().send.packets_sent


def is_rtp(datagram):
    return classify(datagram.octets) is PacketKind.RTP


async def test_a_capture_may_begin_in_the_middle(talk):
    calling, called, _ = await talk(MediaConfig(), meanwhile=lambda call: call.media.capture())
    assert len(calling.media.captured) > 10
    assert called.media.captured is None
    assert len(called.media.capture()) == 0
    assert called.media.captured is None


async def test_a_trace_of_packets_has_no_secret_unless_it_was_asked_for(talk, tmp_path):
    path = tmp_path / "call.pcapng"
    for secrets in (False, True):
        for srtp in (SDES, DTLS):
            capture = CaptureConfig(secrets=secrets)
            call, _, _ = await talk(MediaConfig(srtp=srtp, capture=capture))
            call.trace(path)
            octets = path.read_bytes()
            lines = {line for period in call.media.captured.key_periods for line in period[1:3]}
            keys = [line.keys[0].to_text().encode() for line in lines]
            assert all((key in octets) is secrets for key in keys)
            assert len(keys) == 2
            assert (b"CLIENT_RANDOM" in octets) is (secrets and srtp is DTLS)
            assert b"INVITE sip:" in octets


async def test_the_trace_of_an_endpoint_has_the_media_of_the_calls_it_is_given(talk, tmp_path):
    call, _, alice = await talk(MediaConfig(capture=CaptureConfig()))
    for calls in ((), (call,)):
        alice.trace(tmp_path / "all.pcapng", *calls)
        octets = (tmp_path / "all.pcapng").read_bytes()
        assert octets.count(b"BYE sip:") == 1
        first = next(iter(call.media.captured)).octets
        assert (first in octets) is bool(calls)
    alice.trace(tmp_path / "all.txt")
    call.trace(tmp_path / "call.txt")
    assert " INVITE sip:" in (tmp_path / "all.txt").read_text()
    assert "--- " in (tmp_path / "call.txt").read_text()
