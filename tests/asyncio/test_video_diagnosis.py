"""Live calls with video in which one thing is wrong: the diagnosis says what, and of which stream.

The audio of these calls is well, so nothing that is bad may be said of it.
"""

from __future__ import annotations

import asyncio
import re
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

import pytest

from callmeter import call_setup
from callmeter.config import MediaConfig, SrtpConfig, SrtpMethod, SrtpPolicy, VideoConfig
from callmeter.diagnosis import CHECKS, VIDEO_CHECKS
from callmeter.errors import CallmeterError, FingerprintMismatch, NoCommonSuite
from callmeter.media.video import TestPattern
from callmeter.metrics.report import FindingStatus
from callmeter.sip.message import Response
from callmeter.srtp import CryptoLine, SrtpContext
from callmeter.testing.assertions import assert_secure
from callmeter.testing.network import LinkConditions

PATIENCE = 20
SOON_S = 20
FAULTS = {FindingStatus.WARN, FindingStatus.FAIL}
HELD_UP_S = 0.1
"""Less makes no freeze: that begins 150 ms after the picture is due."""
SDES = SrtpConfig(policy=SrtpPolicy.REQUIRED)
DTLS = SrtpConfig(policy=SrtpPolicy.REQUIRED, method=SrtpMethod.DTLS)
SECURE = MediaConfig(srtp=SDES, video=VideoConfig())
BY_DTLS = MediaConfig(srtp=DTLS, video=VideoConfig())
PLAIN = MediaConfig(video=VideoConfig())
SMALL = {"width": 160, "height": 120, "frame_rate": 20.0, "key_frame_interval_s": 1.0}


def bad(call):
    """What the checks find fault with: identifier and status.

    Both ends share this loop: when it was held up, the picture really stood still.
    """
    found = {
        finding.check: finding.status.value
        for finding in call.diagnosis()
        if finding.status in FAULTS
    }
    if max(track._engine.tick_lateness.maximum for track in call.media.tracks) > HELD_UP_S:
        found.pop("video_not_frozen", None)
    return found


def frozen(call):
    return any(
        finding.check == "video_not_frozen" and finding.status in FAULTS
        for finding in call.diagnosis()
    )


async def named(call, expected):
    """Wait until the diagnosis says so, and nothing else."""
    try:
        async with asyncio.timeout(SOON_S):
            while bad(call) != expected:  # noqa: ASYNC110  a diagnosis is asked for, not told
                await asyncio.sleep(0.05)
    except TimeoutError:
        assert bad(call) == expected, call.diagnosis()
    return next(finding for finding in call.diagnosis() if finding.check in expected)


class WithoutKeyFrames(TestPattern):
    """A camera whose key frames never leave, whoever asks for them."""

    def next_frame(self):
        while (frame := super().next_frame()) is not None and frame.key_frame:
            pass
        return frame

    def request_key_frame(self):
        pass


@pytest.fixture
def connected(make_endpoint):
    """A call between two endpoints of ours with audio and video; both ends, while it runs."""

    @asynccontextmanager
    async def connect(alice_media, bob_media, source=TestPattern):
        alice = await make_endpoint("alice", media=alice_media)
        bob = await make_endpoint("bob", media=bob_media)

        async def answer():
            incoming = await bob.next_call(PATIENCE)
            await incoming.answer()
            return incoming

        answering = asyncio.ensure_future(answer())  # noqa: TID251
        async with asyncio.TaskGroup() as tasks, alice.call(str(bob.contact)) as call:
            incoming = await answering
            for end, kind in ((call, TestPattern), (incoming, source)):
                tasks.create_task(end.media.play())
                video = end.media.video
                if video is not None and kind is not None:
                    tasks.create_task(video.play(kind(codec=video.codec, **SMALL)))
            yield call, incoming

    return connect


@pytest.fixture
def spoil(monkeypatch):
    """Have the m=video part of all answers changed on its way."""
    described = call_setup.session_description

    def install(change):
        def changed(message):
            body = described(message)
            head, mark, video = body.partition(b"m=video")
            return head + mark + change(video) if isinstance(message, Response) else body

        monkeypatch.setattr(call_setup, "session_description", changed)

    return install


@pytest.mark.parametrize("media", [SECURE, BY_DTLS, PLAIN], ids=["sdes", "dtls", "plain"])
async def test_a_call_with_audio_and_video_that_are_well_has_nothing_to_mend(connected, media):
    async with connected(media, media) as (alice, bob):
        for end in (alice, bob):
            await end.media.video.wait_for_frames(30)
            assert bad(end) == {}
    for end in (alice, bob):
        assert bad(end) == {}
        names = [finding.check for finding in end.diagnosis()]
        assert names == [check.identifier for check in (*CHECKS, *VIDEO_CHECKS)]
        told = {finding.check: finding.detail for finding in end.diagnosis()}
        assert told["srtp_negotiated"].startswith("audio: ")
        assert told["video_srtp_negotiated"].startswith("video: ")
        assert told["video_payload_readable"].endswith(" whole frames of VP8")


async def test_a_call_without_video_has_the_findings_of_audio_alone(connected):
    audio = MediaConfig(srtp=SDES)
    async with connected(audio, audio) as (alice, bob):
        await asyncio.sleep(0.2)
    # Who does not want video has no word to hear of it, though it was offered.
    async with connected(SECURE, audio) as (_, refusing):
        await asyncio.sleep(0.2)
    for end in (alice, bob, refusing):
        assert [finding.check for finding in end.diagnosis()] == [
            check.identifier for check in CHECKS
        ]
        assert not any("audio: " in finding.detail for finding in end.diagnosis())


async def test_video_that_the_peer_refuses_is_named(connected):
    async with connected(SECURE, MediaConfig(srtp=SDES)) as (alice, _):
        finding = await named(alice, {"video_agreed": "warn"})
    assert finding.detail == (
        "video: the peer refuses m=video, port 0 (offered: RTP/SAVPF with VP8, H264)"
    )
    assert "VideoConfig(feedback=False)" in finding.remedy


async def test_video_without_a_common_codec_is_named_at_both_ends(connected):
    h264 = replace(SECURE, video=VideoConfig(codecs=("H264",)))
    vp8 = replace(SECURE, video=VideoConfig(codecs=("VP8",)))
    async with connected(vp8, h264) as (alice, bob):
        assert "with VP8)" in (await named(alice, {"video_agreed": "warn"})).detail
        finding = await named(bob, {"video_agreed": "warn"})
    assert "none of the codecs offered is known here: VP8" in finding.detail
    assert "VideoConfig.codecs" in finding.remedy


@pytest.mark.parametrize("codec", ["VP8", "H264"])
async def test_a_key_of_the_video_that_is_altered_on_its_way_is_named(connected, spoil, codec):
    def flip(found):
        return found[1] + (b"B" if found[2] == b"A" else b"A")

    spoil(lambda video: re.sub(rb"(inline:)(.)", flip, video))
    media = replace(SECURE, video=VideoConfig(codecs=(codec,)))
    async with connected(media, media) as (alice, _):
        finding = await named(alice, {"video_key_intact": "fail"})
        assert finding.detail.startswith("video: ")
        assert "the peer uses another key" in finding.detail
    report = alice.report()
    assert "video_key_intact" in str(report)
    assert "Video: " in report.to_html()
    with pytest.raises(AssertionError, match=r"video that .* opens"):
        assert_secure(alice)


async def test_a_key_of_the_video_that_is_cut_ends_the_call_and_is_named(make_endpoint, spoil):
    spoil(lambda video: re.sub(rb"(inline:\S+)\S{4}", rb"\1", video))
    alice = await make_endpoint("alice", media=SECURE)
    bob = await make_endpoint("bob", media=SECURE)

    async def answer():
        await (await bob.next_call(PATIENCE)).answer()

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(answer())
        with pytest.raises(NoCommonSuite, match="video: ") as caught:
            async with alice.call(str(bob.contact)):
                pytest.fail("the call was answered")
    failed = [one for one in caught.value.report.diagnosis if one.status is FindingStatus.FAIL]
    assert [one.check for one in failed] == ["video_key_intact"]
    assert failed[0].detail.count("video: ") == 1


async def test_a_fingerprint_of_the_video_that_is_altered_ends_the_call_and_is_named(
    make_endpoint, spoil
):
    others = bytes.maketrans(b"0123456789ABCDEF", b"123456789ABCDEF0")
    another = lambda found: found[0].translate(others)
    spoil(lambda video: re.sub(rb"(?<=fingerprint:sha-256 ).", another, video))
    alice = await make_endpoint("alice", media=BY_DTLS)
    bob = await make_endpoint("bob", media=BY_DTLS)

    async def answer():
        with suppress(CallmeterError):
            await (await bob.next_call(PATIENCE)).answer()

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(answer())
        with pytest.raises(FingerprintMismatch, match="video: ") as caught:
            async with alice.call(str(bob.contact)):
                pytest.fail("the call has media")
    failed = [one for one in caught.value.report.diagnosis if one.status is FindingStatus.FAIL]
    assert [one.check for one in failed] == ["video_fingerprint_valid"]
    assert caught.value.stream == "video"


@pytest.mark.parametrize("codec", ["VP8", "H264"])
async def test_plain_video_after_a_secure_answer_is_named(connected, codec):
    media = replace(SECURE, video=VideoConfig(codecs=(codec,)))
    async with connected(media, media) as (alice, bob):
        bob.media.video.stream._sender.context = None
        await named(alice, {"video_plain_for_secure": "fail"})


async def test_video_with_the_other_tag_length_is_named(connected):
    async with connected(SECURE, SECURE) as (alice, bob):
        stream = bob.media.video.stream
        line = stream._parameters.srtp_send.line
        other = CryptoLine(1, line.profile.other_tag_length, line.keys)
        stream.start(replace(stream._parameters, srtp_send=SrtpContext(other, "send")))
        await named(alice, {"video_tag_length": "fail"})


async def test_secure_video_where_plain_was_agreed_makes_no_frames_and_is_named(connected):
    async with connected(SECURE, SECURE) as (_, other):
        line = other.media.video.stream._parameters.srtp_send.line
    async with connected(PLAIN, PLAIN) as (alice, bob):
        bob.media.video.stream._sender.context = SrtpContext(line, "send")
        finding = await named(alice, {"video_payload_readable": "fail"})
        assert "sends no SRTP" in finding.remedy


async def test_a_peer_that_sends_no_key_frame_is_named_and_finds_it_itself(connected):
    async with connected(SECURE, SECURE, WithoutKeyFrames) as (alice, bob):
        finding = await named(alice, {"video_key_frame_came": "fail"})
        assert "no whole key frame" in finding.detail
        assert " PLI went unanswered" in finding.detail
        own = await named(bob, {"video_key_frames_sent": "warn"})
        assert "TestPattern" in own.remedy


async def test_a_missing_key_frame_that_nobody_could_ask_for_is_named(connected):
    without = replace(SECURE, video=VideoConfig(feedback=False))
    async with connected(without, without, WithoutKeyFrames) as (alice, bob):
        finding = await named(alice, {"video_key_frame_came": "fail"})
        assert "no way to ask for one" in finding.detail
        assert "VideoConfig.feedback" in finding.remedy
        assert bad(bob) == {}


async def test_a_peer_that_sends_no_video_is_named_and_finds_no_fault_with_itself(connected):
    async with connected(SECURE, SECURE, None) as (alice, bob):
        finding = await named(alice, {"video_media_both_ways": "warn"})
        assert "camera" in finding.remedy
        await bob.media.video.wait_for_frames(30)
        assert bad(bob) == {}


# over a network that loses


@pytest.fixture
def shown(phones, impaired):
    """Alice and bob show each other pictures: `async with shown() as (alice's call, bob's)`."""

    @asynccontextmanager
    async def show():
        settings = {"srtp": "sdes", "video": VideoConfig()}
        alice, bob = await phones("alice", **settings), await phones("bob", **settings)
        call = await alice.invite(bob.aor)
        await call.answered(PATIENCE)
        (other,) = bob.calls
        async with call, asyncio.timeout(PATIENCE), asyncio.TaskGroup() as tasks:
            playing = []
            for end in (call, other):
                playing += [
                    tasks.create_task(end.media.play()),
                    tasks.create_task(end.media.video.play(TestPattern(**SMALL))),
                ]
            await other.media.video.wait_for_frames(15)
            yield call, other
            for task in playing:
                task.cancel()

    return show


async def test_frames_that_no_nack_brings_back_are_named(shown, impaired):
    def picture(source, _, data):
        return source == "alice" and len(data) > 300 and data[0] >> 6 == 2 and data[1] & 0x7F == 96

    async with shown() as (call, other):
        call.media.video.stream._sender.send_again = lambda *_: None
        impaired.lose(picture, times=1)
        # The offer of both streams is too long for some paths, and that is told as well.
        expected = {"message_fits_udp": "warn", "video_losses_repaired": "warn"}
        await named(other, expected)
        told = {finding.check: finding.detail for finding in other.diagnosis()}
        assert "NACK were sent, and not one packet came again" in told["video_losses_repaired"]
        assert bad(call) == {}


async def test_a_picture_that_stands_still_is_named(shown, impaired):
    async with shown() as (call, other):
        impaired.impair(LinkConditions(loss=1), "alice", "bob", signaling=False)
        await asyncio.sleep(1)
        impaired.impair(LinkConditions(delay=0))
        async with asyncio.timeout(SOON_S):
            while not frozen(other):  # noqa: ASYNC110  a diagnosis is asked for, not told
                await asyncio.sleep(0.05)
        assert "video_not_frozen" not in bad(call)
