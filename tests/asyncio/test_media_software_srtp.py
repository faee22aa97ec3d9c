"""Media streams over loopback sockets under a suite that libsrtp does not do: no batches."""

from __future__ import annotations

import asyncio
import os
import time

import pytest

from callmeter.config import SrtpSuite
from callmeter.media import DigitReceived, Discard, MediaEngine, PeerLeft, StreamParameters, Tone
from callmeter.srtp import SrtpContext, for_suite, generate

PATIENCE = 20
LOOPBACK = "127.0.0.1"
SOFTWARE = [SrtpSuite.AES_192_CM_HMAC_SHA1_80, SrtpSuite.AES_192_CM_HMAC_SHA1_32]


class Pair:
    """Two streams that talk to each other, each with its own key."""

    def __init__(self, engine, rtcp_mux):
        self.ends = [engine.open_stream(LOOPBACK, rtcp_mux=rtcp_mux) for _ in range(2)]
        self._rtcp_mux = rtcp_mux

    def start(self, suite):
        lines = [generate(for_suite(suite), 1, os.urandom) for _ in self.ends]
        contexts = []
        for own, peer in ((0, 1), (1, 0)):
            send = SrtpContext(lines[own], "send")
            receive = SrtpContext(lines[peer], "receive")
            contexts += [send, receive]
            self.ends[own].start(
                StreamParameters(
                    codec="PCMU",
                    payload_type=0,
                    remote=(LOOPBACK, self.ends[peer].port),
                    rtcp_mux=self._rtcp_mux,
                    telephone_event=101,
                    receive_telephone_event=101,
                    srtp_send=send,
                    srtp_receive=receive,
                )
            )
        return contexts


async def until(condition):
    for _ in range(50 * PATIENCE):
        if condition():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it did not come to pass")


@pytest.fixture(params=["portable", "mmsg", pytest.param("uring", marks=pytest.mark.io_uring)])
async def engine(request):
    wall_clock = time.time  # noqa: TID251  the kernel's arrival stamps are wall clock
    async with MediaEngine(
        entropy=os.urandom, wall_clock=wall_clock, backend=request.param
    ) as running:
        yield running


def received(stream):
    return stream.statistics().receive.packets_received


@pytest.mark.parametrize(("suite", "rtcp_mux"), [(SOFTWARE[0], True), (SOFTWARE[1], False)])
async def test_audio_digits_and_reports_pass_both_ways(engine, suite, rtcp_mux):
    pair = Pair(engine, rtcp_mux)
    a, b = pair.ends
    contexts = pair.start(suite)
    assert [context.handle for context in contexts] == [None] * 4
    sink = Discard()
    b.attach(sink)
    a.play(Tone(440))
    async with asyncio.timeout(PATIENCE):
        await a.send_digits("4", duration_ms=100, gap_ms=40)
    await until(lambda: received(a) >= 50 and received(b) >= 50)
    await until(
        lambda: all(
            end.statistics().rtcp_packets_received and end.statistics().rtcp_packets_sent
            for end in (a, b)
        )
    )
    a.stop()
    async with asyncio.timeout(PATIENCE):
        seen = []
        async for event in b.events():
            seen.append(event)
            if isinstance(event, PeerLeft):
                break
    assert [event.digit for event in seen if isinstance(event, DigitReceived)] == ["4"]
    assert seen[-1].ssrc == a.ssrc
    assert sink.packets >= 40
    for own, peer in ((a, b), (b, a)):
        statistics = own.statistics()
        assert statistics.dropped == {}
        assert statistics.receive.packets_lost == 0
        assert statistics.srtp_decrypt_failures == statistics.srtp_protect_failures == 0
        assert statistics.remote_ssrc == peer.ssrc
    send, receive = contexts[0], contexts[3]
    assert send.packets == receive.packets


async def test_a_stream_changes_between_software_and_libsrtp_and_back(engine):
    pair = Pair(engine, rtcp_mux=True)
    a, b = pair.ends
    for suite in (SOFTWARE[0], SrtpSuite.AES_CM_128_HMAC_SHA1_80, SOFTWARE[1]):
        pair.start(suite)
        goal = received(a) + 20, received(b) + 20
        await until(lambda goal=goal: received(a) >= goal[0] and received(b) >= goal[1])
    for end in (a, b):
        statistics = end.statistics()
        assert statistics.dropped == {}
        assert statistics.receive.packets_lost == 0
        assert statistics.srtp_protect_failures == 0


async def test_many_such_streams_share_a_tick_with_those_of_libsrtp(engine):
    pairs = [Pair(engine, rtcp_mux=True) for _ in range(24)]
    suites = [SOFTWARE[0], SrtpSuite.AEAD_AES_128_GCM]
    for number, pair in enumerate(pairs):
        pair.start(suites[number % 2])
    ends = [end for pair in pairs for end in pair.ends]
    await until(lambda: all(received(end) >= 25 for end in ends))
    assert {name for end in ends for name in end.statistics().dropped} == set()
    assert sum(end.statistics().receive.packets_lost for end in ends) == 0
