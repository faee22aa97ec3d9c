"""GStreamer's SRTP elements suite by suite: SRTP and SRTCP, both ways, judged by what was heard."""

from __future__ import annotations

import asyncio
import secrets
import time

import pytest

from callmeter import Tone
from callmeter.media import MediaEngine, WavRecorder
from callmeter.media.parameters import StreamParameters
from callmeter.rtp import parse_rtcp
from callmeter.rtp.rtcp import Goodbye, SenderReport
from callmeter.srtp import MasterKey, SrtpContext, profile
from callmeter.srtp.sdes import ALL_PROTECTED
from peers.conversation import ITS_TONE, OWN_TONE, assert_heard, exchanged
from peers.gstreamer import SSRC, SUITES

pytestmark = pytest.mark.interop("gstreamer")


@pytest.fixture
async def engine():
    clock = time.time  # noqa: TID251  the wall clock, for RTCP
    async with MediaEngine(entropy=secrets.token_bytes, wall_clock=clock) as running:
        yield running


async def read_reports(peer):
    """What the peer decrypted of our RTCP, once the goodbye is there."""
    for _ in range(1000):
        read = parse_rtcp(peer.reports.read_bytes())
        if isinstance(read[-1], Goodbye):
            return read
        await asyncio.sleep(0.02)
    pytest.fail(f"no goodbye, but {read}")


@pytest.mark.parametrize("suite", SUITES)
async def test_a_suite_is_heard_and_reported_at_both_ends(
    engine, gstreamer, expect, tmp_path, suite
):
    expect(
        peer="gstreamer",
        role="media",
        keying="given",
        suite=suite,
        profile="RTP/SAVP",
        rtcp_mux=False,
        rtcp=True,
    )
    master = [secrets.token_bytes(profile(suite).master_length) for _ in range(2)]
    stream = engine.open_stream("127.0.0.1", rtcp_mux=False)
    peer = gstreamer(stream=stream, suite=suite, keys=(master[1], master[0]), tone=ITS_TONE)
    contexts = [
        SrtpContext((profile(suite), MasterKey(key), ALL_PROTECTED), direction)
        for key, direction in zip(master, ("send", "receive"), strict=True)
    ]
    stream.start(
        StreamParameters(
            codec="PCMU",
            payload_type=0,
            remote=("127.0.0.1", peer.media_port),
            srtp_send=contexts[0],
            srtp_receive=contexts[1],
            symmetric=False,  # it sends from another port than the one it hears at
        )
    )
    heard = tmp_path / "heard.wav"
    stream.attach(WavRecorder(heard))
    stream.play(Tone(OWN_TONE))
    await exchanged(stream, rtcp=True)
    stream.stop()

    told = stream.statistics()
    assert told.remote_ssrc == SSRC
    assert told.receive.packets_lost == 0
    assert told.srtp_decrypt_failures == 0
    assert told.srtp_protect_failures == 0
    assert told.rtcp_encryption_mismatches == 0
    assert told.rtt_ms < 1000
    assert_heard(heard, ITS_TONE)
    read = await read_reports(peer)
    assert {report.ssrc for report in read if isinstance(report, SenderReport)} == {stream.ssrc}
    assert_heard(await peer.heard(), OWN_TONE)
