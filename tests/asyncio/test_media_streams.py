"""Media streams in real time: loopback, the kernel's stamps, the loop's own clock."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import time
from pathlib import Path

import pytest

from callmeter.config import SrtpSuite
from callmeter.media import (
    AuthenticationFailing,
    DigitReceived,
    Echo,
    FirstPacket,
    MediaEngine,
    PeerLeft,
    ReportReceived,
    StreamParameters,
    Tone,
    WavFile,
    WavRecorder,
    recorded_frequency,
)
from callmeter.rtp import pack_header
from callmeter.srtp import SrtpContext, for_suite, generate

LOOPBACK = "127.0.0.1"
DEADLINE = 20
wall_clock = time.time  # noqa: TID251  the clock of RTCP and of the kernel's stamps


@pytest.fixture(params=["portable", "mmsg", pytest.param("uring", marks=pytest.mark.io_uring)])
async def engine(request):
    async with MediaEngine(
        entropy=os.urandom, wall_clock=wall_clock, backend=request.param
    ) as running:
        yield running


@pytest.fixture
def pair(engine):
    """Makes two streams that talk to each other."""

    def make(suite=None, **changes):
        ends = [engine.open_stream(LOOPBACK, rtcp_mux=False) for _ in range(2)]
        lines = [suite and generate(for_suite(suite), 1, os.urandom) for _ in ends]
        for own, peer in ((0, 1), (1, 0)):
            keys = {}
            if suite is not None:
                keys["srtp_send"] = SrtpContext(lines[own], "send")
                keys["srtp_receive"] = SrtpContext(lines[peer], "receive")
            values = {
                "codec": "PCMU",
                "payload_type": 0,
                "remote": (LOOPBACK, ends[peer].port),
                "telephone_event": 101,
                "receive_telephone_event": 101,
            }
            ends[own].start(StreamParameters(**values | keys | changes))
        return ends

    return make


async def first(stream, kind):
    """The first event of a kind."""
    async with asyncio.timeout(DEADLINE):
        async for event in stream.events():
            if isinstance(event, kind):
                return event
    raise AssertionError(f"the stream ended without {kind.__name__}")


async def until(condition):
    """Wait for what no event tells."""
    async with asyncio.timeout(DEADLINE):
        while not condition():  # noqa: ASYNC110  a counter has no event
            await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    "suite", [None, SrtpSuite.AES_CM_128_HMAC_SHA1_80, SrtpSuite.AEAD_AES_128_GCM]
)
async def test_media_flows_without_loss_and_is_metered_by_the_kernel_s_clock(pair, suite):
    a, b = pair(suite)
    event = await first(a, FirstPacket)
    assert event.source == (LOOPBACK, b.port)
    await until(lambda: a.statistics().receive.packets_received >= 60)
    b.stop()
    await first(a, PeerLeft)
    await until(lambda: a.statistics().receive.packets_received == b.statistics().send.packets_sent)
    statistics = a.statistics()
    assert statistics.receive.packets_lost == 0
    # The sender shares this loop: what it was late by itself, it says.
    engine = a._engine
    late_ms = 1e3 * engine.tick_lateness.maximum + 5 * engine.skipped_phases
    assert statistics.receive.avg_packet_spacing == pytest.approx(20, abs=2 + late_ms / 60)
    assert statistics.receive.jitter_ms < 10 + late_ms
    assert statistics.dropped == {}


async def test_reports_arrive_with_round_trip_and_loss(pair, standstill):
    a, b = pair()
    async with asyncio.timeout(DEADLINE):
        async for event in a.events():
            if isinstance(event, ReportReceived) and event.rtt_s is not None:
                break
    assert 0 <= event.rtt_s < 0.05 + standstill.seconds
    assert event.fraction_lost == 0
    assert a.statistics().rtt_ms == pytest.approx(event.rtt_s * 1e3)
    assert b.statistics().rtcp_packets_received >= 1


async def test_digits_are_heard_once_each(pair):
    a, b = pair(SrtpSuite.AES_CM_128_HMAC_SHA1_32)
    await first(b, FirstPacket)
    async with asyncio.timeout(DEADLINE):
        await a.send_digits("1#", duration_ms=100, gap_ms=60)
    b.stop()
    digits = [event.digit async for event in b.events() if isinstance(event, DigitReceived)]
    assert digits == ["1", "#"]


async def test_an_echo_returns_the_tone_and_the_recording_has_it(pair, standstill, tmp_path):
    a, b = pair(SrtpSuite.AES_CM_128_HMAC_SHA1_80)
    b.play(Echo())
    recorder = WavRecorder(tmp_path / "echo.wav")
    a.attach(recorder)
    async with asyncio.timeout(DEADLINE):
        await a.play(Tone(620), seconds=2)
    a.stop()
    assert recorded_frequency(recorder.path) == pytest.approx(620, abs=2)
    assert recorder.seconds == pytest.approx(2, abs=0.3 + standstill.seconds)


async def test_a_recorded_file_can_be_played_again(pair, tmp_path):
    a, b = pair()
    recorder = WavRecorder(tmp_path / "first.wav")
    b.attach(recorder)
    async with asyncio.timeout(DEADLINE):
        await a.play(Tone(350), seconds=1)
        b.detach(recorder)
        again = WavRecorder(tmp_path / "second.wav")
        b.attach(again)
        await a.play(WavFile(recorder.path))
    b.stop()
    assert recorded_frequency(again.path) == pytest.approx(350, abs=2)


async def test_a_wrong_key_is_named_and_hears_nothing(pair):
    a, b = pair(SrtpSuite.AES_CM_128_HMAC_SHA1_80)
    line = generate(for_suite(SrtpSuite.AES_CM_128_HMAC_SHA1_80), 1, os.urandom)
    for own, peer in ((a, b), (b, a)):
        own.start(
            StreamParameters(
                codec="PCMU",
                payload_type=0,
                remote=(LOOPBACK, peer.port),
                srtp_send=SrtpContext(line, "send"),
                srtp_receive=SrtpContext(generate(line.profile, 1, os.urandom), "receive"),
            )
        )
    event = await first(a, AuthenticationFailing)
    assert event.count == 100
    assert not event.looks_like_plain_rtp
    assert a.statistics().srtp_decrypt_failures >= 100


async def test_an_off_path_socket_gets_and_gives_nothing(pair):
    a, b = pair()
    await first(a, FirstPacket)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as attacker:
        attacker.settimeout(0)
        attacker.bind((LOOPBACK, 0))
        for sequence in range(500):
            packet = pack_header(0, sequence, 160 * sequence, b.ssrc) + bytes(160)
            attacker.sendto(packet, (LOOPBACK, a.port))
        await until(lambda: a.statistics().dropped.get("source", 0) == 500)
        with pytest.raises(BlockingIOError):
            attacker.recv(2048)
    assert a.statistics().receive.packets_lost == 0


async def test_media_that_came_just_before_the_start_counts(engine):
    stream = engine.open_stream(LOOPBACK, rtcp_mux=True)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.bind((LOOPBACK, 0))
        for sequence in range(3):
            packet = pack_header(0, sequence, 160 * sequence, 7) + bytes(160)
            peer.sendto(packet, (LOOPBACK, stream.port))
        stream.start(
            StreamParameters(codec="PCMU", payload_type=0, remote=peer.getsockname(), rtcp_mux=True)
        )
        await until(lambda: stream.statistics().receive.packets_received == 3)


async def test_a_hundred_streams_opened_and_closed_leave_nothing_behind(engine, pair):
    def descriptors():
        return len(list(Path("/proc/self/fd").iterdir()))

    gc.collect()  # What an earlier test left to the collector must not go between the counts.
    loop = asyncio.get_running_loop()
    before, timers = descriptors(), len(loop._scheduled)
    for _ in range(50):
        a, b = pair(SrtpSuite.AES_CM_128_HMAC_SHA1_80)
        a.play(Tone())
        await asyncio.sleep(0)
        a.stop()
        b.stop()
    gc.collect()
    assert descriptors() == before
    assert engine.streams == []
    assert sum(not timer.cancelled() for timer in loop._scheduled) <= timers
    assert len(engine.lanes) == len(engine.reception) == len(engine.send_table) == 0


async def test_a_blocked_loop_is_noticed_and_does_not_become_a_burst(engine, pair):
    a, b = pair()
    await first(a, FirstPacket)
    sent = b.statistics().send.packets_sent
    time.sleep(0.6)  # noqa: ASYNC251  this is what it is about
    await until(lambda: engine.skipped_phases > 0)
    assert engine.late_ticks >= 1
    assert b.statistics().send.packets_sent - sent < 15
