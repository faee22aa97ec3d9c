"""Calls with video between two ends of ours, over loopback and a network that loses."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from callmeter.config import CaptureConfig, SrtpSuite, VideoConfig
from callmeter.errors import CallFailed, DtlsTimeout
from callmeter.events import Updated
from callmeter.media.video import AnnexBFile, IvfFile, TestPattern, decode, mean_luma
from callmeter.media.video_stream import VideoStream
from callmeter.srtp.libsrtp import supported_suites
from callmeter.testing.assertions import assert_quality, assert_secure
from callmeter.testing.network import LinkConditions

PATIENCE = 30
SMALL = {"width": 160, "height": 120, "frame_rate": 20.0, "key_frame_interval_s": 1.0}
FRAMES = 30
CODEC = pytest.mark.parametrize("codec", ["VP8", "H264"])


def pattern(codec="VP8"):
    return TestPattern(codec=codec, **SMALL)


@pytest.fixture
def meet(phones):
    """A call of two phones with video, and the other end of it: `await meet(...)`."""

    async def met(**settings):
        settings = {"srtp": "sdes", "video": VideoConfig(), **settings}
        alice, bob = await phones("alice", **settings), await phones("bob", **settings)
        call = await alice.invite(bob.aor)
        await call.answered(PATIENCE)
        (other,) = bob.calls
        await other.media.keyed()
        return call, other

    return met


async def send(call, other, codec="VP8", frames=FRAMES):
    """Send about so many frames one way, until all have come; how many there were."""
    async with asyncio.timeout(PATIENCE):
        await call.media.video.play(pattern(codec), seconds=frames / SMALL["frame_rate"] - 0.01)
        # A machine that is busy sends fewer, and says so.
        sent = video_of(call)["send"]["frames_sent"]
        await other.media.video.wait_for_frames(sent)
    return sent


def video_of(call):
    return call.report().to_dict()["media"][1]


@CODEC
@pytest.mark.parametrize("srtp", ["none", "sdes", "dtls"])
async def test_both_ends_count_the_same_frames(meet, standstill, codec, srtp):
    call, other = await meet(srtp=srtp, video=VideoConfig(codecs=(codec,)))
    async with call:
        await asyncio.gather(send(call, other, codec), send(other, call, codec))
        snapshot = call.statistics().media[1]
    assert (snapshot.kind, snapshot.codec) == ("video", codec)
    missed = SMALL["frame_rate"] * standstill.seconds
    # Of the last second.
    assert snapshot.receive["frame_rate_fps"] > 5 - missed
    for one, two in ((call, other), (other, call)):
        sent, received = video_of(one), video_of(two)
        assert sent["keying"] == srtp
        assert sent["send"]["frames_sent"] == received["receive"]["frames_received"]
        assert sent["send"]["frames_sent"] > FRAMES / 2 - missed
        assert sent["send"]["keyframes_sent"] == received["receive"]["keyframes_received"] >= 1
        assert received["receive"]["packets_lost"] == 0
        assert received["receive"]["resolution_megapixels"] == pytest.approx(0.019, abs=0.001)
        assert received["receive"]["mos"] is None
    report = call.report()
    assert not [check for check in report.diagnosis if check.check.startswith("srtp_missing")]
    assert f"video         {codec} sendrecv" in str(report)
    assert "key frames" in str(report)
    assert "<h3>Video</h3>" in report.to_html()
    if srtp != "none":
        assert_secure(call)
    # What a machine that stands still delays sounds worse.
    assert_quality(call, mos=3 if standstill.seconds < 0.1 else 1, loss=0.05)


async def test_the_callee_offers_video_where_the_invite_has_no_offer(phones):
    settings = {"srtp": "sdes", "video": VideoConfig()}
    alice, bob = await phones("alice", **settings), await phones("bob", **settings)
    async with alice.call(bob.aor, offer=False) as call:
        (other,) = bob.calls
        sent = await send(call, other, frames=5)
    assert video_of(other)["receive"]["frames_received"] == sent


async def test_rtcp_of_video_has_keys_of_its_own_without_mux(meet):
    call, other = await meet(srtp="dtls", rtcp_mux=False)
    async with call, asyncio.timeout(PATIENCE), asyncio.TaskGroup() as tasks:
        playing = tasks.create_task(call.media.video.play(pattern()))
        await other.media.video.wait_for_frames(10)
        other.media.video.request_key_frame()
        while not video_of(call)["send"]["pli_count"]:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        playing.cancel()
    assert not video_of(call)["rtcp_mux"]


@pytest.mark.parametrize("suite", sorted(supported_suites()))
async def test_every_suite_carries_video(meet, suite):
    call, other = await meet(suites=(suite,))
    async with call:
        sent = await send(call, other, frames=10)
    assert video_of(other)["suite"] == suite
    assert video_of(other)["receive"]["frames_received"] == sent
    assert video_of(other)["receive"]["srtp_decrypt_failures"] == 0


@CODEC
async def test_what_is_recorded_can_be_decoded_and_played_again(meet, tmp_path, codec):
    call, other = await meet(video=VideoConfig(codecs=(codec,)))
    file = tmp_path / ("heard.ivf" if codec == "VP8" else "heard.h264")
    async with call:
        recorder = other.media.video.record(file)
        sent = await send(call, other, codec)
        other.media.video.stream.detach(recorder)
        assert recorder.frames == sent
        source = IvfFile(file, loop=False) if codec == "VP8" else AnnexBFile(file, loop=False)
        async with asyncio.timeout(PATIENCE):
            await other.media.video.play(source)
            await call.media.video.wait_for_frames(sent)
    again = IvfFile(file, loop=False) if codec == "VP8" else AnnexBFile(file, loop=False)
    again.prepare()
    pictures = list(decode(iter(again.next_frame, None), codec))
    assert len(pictures) == sent
    assert pictures[0].shape == (120, 160)
    assert 20 < mean_luma(pictures[-1]) < 235


async def test_a_lost_packet_is_asked_for_and_heals(meet, impaired):
    call, other = await meet()

    def media(source, destination, data):
        return source == "alice" and len(data) > 600 and data[0] >> 6 == 2 and data[1] & 0x7F == 96

    async with call, asyncio.timeout(PATIENCE), asyncio.TaskGroup() as tasks:
        playing = tasks.create_task(
            call.media.video.play(pattern(), seconds=FRAMES / SMALL["frame_rate"] - 0.01)
        )
        await other.media.video.wait_for_frames(5)
        impaired.lose(media, times=2)
        await playing
        await other.media.video.wait_for_frames(video_of(call)["send"]["frames_sent"])
    sent, received = video_of(call), video_of(other)
    assert received["receive"]["frames_received"] == sent["send"]["frames_sent"]
    assert received["receive"]["nack_count"] == sent["send"]["nack_count"] >= 1
    assert received["receive"]["packets_lost"] == 0


async def test_a_path_that_loses_without_end_freezes_the_picture(meet, impaired):
    call, other = await meet(video=VideoConfig(feedback=False))
    async with call, asyncio.timeout(PATIENCE), asyncio.TaskGroup() as tasks:
        playing = tasks.create_task(call.media.video.play(pattern()))
        await other.media.video.wait_for_frames(20)
        impaired.impair(LinkConditions(loss=1), "alice", "bob", signaling=False)
        await asyncio.sleep(0.7)
        impaired.impair(LinkConditions(delay=0))
        before = video_of(other)["receive"]["frames_received"]
        await other.media.video.wait_for_frames(before + 45)
        playing.cancel()
    received = video_of(other)["receive"]
    assert received["freeze_count"] >= 1
    assert received["freeze_duration_ms"] >= 600
    assert received["nack_count"] == received["pli_count"] == 0


async def test_a_key_frame_that_is_asked_for_comes(meet):
    call, other = await meet()
    source = TestPattern(**SMALL | {"key_frame_interval_s": 10.0})
    async with call, asyncio.timeout(PATIENCE), asyncio.TaskGroup() as tasks:
        playing = tasks.create_task(call.media.video.play(source))
        await other.media.video.wait_for_frames(15)
        other.media.video.request_key_frame()
        while video_of(other)["receive"]["keyframes_received"] < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        playing.cancel()
    assert video_of(other)["receive"]["keyframe_requests_sent"] == 1
    assert video_of(call)["send"]["keyframe_requests_received"] == 1
    assert video_of(call)["send"]["pli_count"] == 1


async def test_the_call_goes_on_with_audio_where_the_peer_refuses_video(phones):
    alice = await phones("alice", srtp="sdes", video=VideoConfig())
    bob = await phones("bob", srtp="sdes")
    async with alice.call(bob.aor) as call:
        assert call.media.video is None
        assert call.media.video_refused == "by the peer: port 0"
        await call.media.play(seconds=0.5)
    report = call.report()
    assert report.outcome.value == "SUCCESS"
    assert [stream.kind for stream in report.media] == ["audio"]


async def test_video_is_held_and_resumed_with_the_audio(meet):
    call, other = await meet()
    async with call, asyncio.timeout(PATIENCE), asyncio.TaskGroup() as tasks:
        playing = tasks.create_task(other.media.video.play(pattern()))
        await call.media.video.wait_for_frames(10)
        await call.hold()
        assert other.media.video.direction == "recvonly"
        held = video_of(other)["send"]["frames_sent"]
        await asyncio.sleep(0.3)
        assert video_of(other)["send"]["frames_sent"] == held
        await call.resume()
        await call.media.video.wait_for_frames(held + 10)
        playing.cancel()
    assert video_of(call)["direction"] == "sendrecv"
    assert video_of(call)["receive"]["packets_lost"] == 0


async def test_video_is_added_to_a_running_call_and_given_up_again(meet):
    call, other = await meet(video=None)
    bob = other.media.config
    async with call:
        # The peer's side takes it only where its settings say so.
        other.media.config = replace(bob, video=VideoConfig())
        await call.update(replace(call.media.config, video=VideoConfig()))
        sent = await send(call, other, frames=10)
        await call.update(replace(call.media.config, video=None))
        assert call.media.video is None
        assert other.media.video is None
    assert video_of(other)["receive"]["frames_received"] == sent


@pytest.mark.parametrize("srtp", ["sdes", "dtls"])
async def test_a_rekey_gives_both_tracks_new_keys(meet, srtp):
    call, other = await meet(srtp=srtp)
    async with call:
        before = [track.keys.send for track in call.media.tracks]
        async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as tasks:
            playing = tasks.create_task(call.media.video.play(pattern()))
            await other.media.video.wait_for_frames(10)
            await call.rekey()
            seen = video_of(other)["receive"]["frames_received"]
            await other.media.video.wait_for_frames(seen + 10)
            playing.cancel()
        for track, context in zip(call.media.tracks, before, strict=True):
            assert track.keys.send is not context
    assert video_of(other)["receive"]["srtp_decrypt_failures"] == 0


async def test_who_waits_for_frames_of_a_call_that_ends_is_told(meet):
    call, other = await meet()
    async with asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(expect_failure(other))
        await asyncio.sleep(0)
        await call.bye()
        await waiting
    with pytest.raises(CallFailed, match="ended before 1 frames had come"):
        await other.media.video.wait_for_frames()


async def expect_failure(call):
    with pytest.raises(CallFailed, match="before 5 frames"):
        await call.media.video.wait_for_frames(5)


async def test_a_silent_video_line_is_told_in_the_report(meet):
    call, _ = await meet()
    async with call:
        await call.media.play(seconds=0.5)
    assert "no whole frame came" in str(call.report())
    assert call.report().outcome.value == "SUCCESS"


async def test_both_tracks_of_a_capture_are_in_the_trace(meet, tmp_path):
    call, other = await meet(capture=CaptureConfig())
    async with call:
        await send(call, other, frames=5)
    call.trace(tmp_path / "call.pcapng")
    assert (tmp_path / "call.pcapng").stat().st_size > 10_000
    assert call.media.video.suite == SrtpSuite.AES_CM_128_HMAC_SHA1_80


async def add_video(ends):
    """Begin to add video to a call of audio, as far as its answer."""
    for each in ends:
        each.media.config = replace(each.media.config, video=VideoConfig())
    adding = asyncio.get_running_loop().create_task(ends[0].update())
    async with asyncio.timeout(PATIENCE):
        async for event in ends[0].events():
            if isinstance(event, Updated):
                return adding
    raise AssertionError("the call ended")


async def test_video_that_is_added_can_be_used_at_once(meet):
    ends = await meet(srtp="dtls", video=None)
    async with ends[0]:
        await (await add_video(ends))
        assert ends[0].media.video.secure
        await ends[1].media.keyed()
        assert await send(*ends, frames=5)


async def test_video_whose_handshake_fails_is_an_error_of_the_update_alone(meet, monkeypatch):
    ends = await meet(srtp="dtls", video=None)
    monkeypatch.setattr(VideoStream, "send_datagram", lambda *_, **__: True)
    failure = DtlsTimeout("no DTLS handshake")
    async with ends[0]:
        adding = await add_video(ends)
        session = ends[0].media.video.keys.dtls._media
        session._failure = failure
        session._wake()
        with pytest.raises(DtlsTimeout) as caught:
            await adding
        assert caught.value.stream == "video"
        # What comes next does not wait for it again.
        await ends[0].update()
    assert ends[0].report().outcome.good


@pytest.mark.parametrize("end", [0, 1])
async def test_a_call_whose_later_video_has_no_keys_yet_ends_as_what_it_was(meet, monkeypatch, end):
    ends = await meet(srtp="dtls", video=None)
    monkeypatch.setattr(VideoStream, "send_datagram", lambda *_, **__: True)
    adding = await add_video(ends)
    async with asyncio.timeout(PATIENCE):
        assert ends[0].media.keys_pending
        await ends[end].bye()
        await ends[1 - end].ended()
        with pytest.raises(CallFailed, match="the call ended"):
            await adding
    for each in ends:
        report = each.report()
        assert (report.outcome.good, report.error) == (True, None)
