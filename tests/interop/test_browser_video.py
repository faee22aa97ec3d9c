"""Chromium with JsSIP and with SIP.js: video both ways beside the audio, counted frame by frame."""

from __future__ import annotations

import asyncio
import sys
from contextlib import asynccontextmanager

import pytest

from callmeter import SrtpConfig, SrtpMethod, SrtpPolicy, SrtpSuite, TestPattern, VideoConfig
from peers.browser import LIBRARIES
from peers.certificates import Certificates
from peers.kamailio import DOMAIN, PASSWORD

pytestmark = pytest.mark.interop("kamailio", "chromium")

WEBRTC = {
    "srtp": SrtpConfig(method=SrtpMethod.DTLS, policy=SrtpPolicy.REQUIRED),
    "rtcp_mux": True,
    "feedback": True,
    "ice": True,
}
CAMERA = {"width": 320, "height": 240, "frameRate": 15}
SHARE = 0.05
"""By how much the two ends may count differently."""
FRAMES = 100
NAMES = {"jssip": "JsSIP", "sipjs": "SIP.js"}
LIBRARY = pytest.mark.parametrize("library", LIBRARIES)
CALLER = pytest.mark.parametrize("caller", ["callmeter", "browser"])
CODEC = pytest.mark.parametrize("codec", ["VP8", "H264"])


@pytest.fixture
def tell(record_property, capsys):
    """Print a figure, for whoever runs this."""

    def record(name, value):
        record_property(name, value)
        with capsys.disabled():
            sys.stdout.write(f"\n{name}: {value}")

    return record


@pytest.fixture
def meet(phone, kamailio, chromium):
    """Alice and a browser with a camera, in a call: `async with meet(...) as (call, page)`."""
    certificates = Certificates()
    browser = chromium()

    @asynccontextmanager
    async def met(library, caller, *, camera=CAMERA, video=None, **more):
        proxy = kamailio(certificates=certificates)
        options = {
            "proxy": proxy.reached_by("wss"),
            "transport": "wss",
            "certificates": certificates,
        }
        async with (
            phone("alice", **options, **WEBRTC, video=video) as alice,
            alice.registered(),
            browser.phone(
                library,
                server=f"wss://{proxy.reached_by('wss')}",
                uri=f"sip:carol@{DOMAIN}",
                user="carol",
                password=PASSWORD,
                video=camera,
                **more,
            ) as page,
        ):
            if caller == "callmeter":
                call = await alice.invite(f"sip:carol@{DOMAIN}")
                await call.answered(20)
            else:
                await page.call(f"sip:alice@{DOMAIN}")
                call = await (await alice.next_call(20)).answer()
            async with call:
                await page.noted("confirmed")
                # What comes before its handshakes are over the browser does not see.
                await page.until("connection.connectionState === 'connected'")
                yield call, page
                await page.act("hangup")
                async with asyncio.timeout(20):
                    await call.ended()

    return met


async def stopped(page):
    """What the browser counted, once its camera is off and its last frame has long arrived."""
    await page.act("stopCamera")
    before = None
    while (now := (await page.stats())["video"]) != before:
        before = now
        await asyncio.sleep(0.5)
    return now


@CODEC
@CALLER
@LIBRARY
async def test_both_ends_count_the_same_frames(meet, expect, tell, library, caller, codec):
    expected = expect(
        peer="chromium",
        role="caller" if caller == "browser" else "callee",
        keying="dtls",
        suite=SrtpSuite.AES_CM_128_HMAC_SHA1_80,
        profile="UDP/TLS/RTP/SAVPF",
        rtcp_mux=True,
        note=f"{NAMES[library]}, own ICE, video {codec}",
    )
    async with meet(library, caller, video=VideoConfig(codecs=(codec,))) as (call, page):
        video = call.media.video
        async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
            playing = tasks.create_task(video.play(TestPattern(codec=codec), seconds=FRAMES / 15))
            # A browser drops what comes before its decoder is there, and asks for a key frame.
            await page.until("stats().then(s => s.video.framesDecoded > 0)")
            first = (await page.stats())["video"], call.statistics().media[1]
            await playing
            await video.wait_for_frames(FRAMES // 2)
        theirs = await stopped(page)
        ours = call.statistics().media[1]
    report = call.report().to_dict()
    told = report["media"][1]
    expected.assert_met({**report, "media": [told]})
    assert (told["kind"], told["codec"], told["suite"]) == ("video", codec, expected.suite)
    # What the browser says it sent is what has arrived here.
    assert ours.receive["frames_received"] == pytest.approx(theirs["framesSent"], rel=SHARE)
    assert ours.receive["keyframes_received"] == theirs["keyFramesEncoded"]
    assert ours.receive["resolution_megapixels"] > 0
    # And what was sent here it has received, and decoded as soon as it could.
    assert theirs["packetsReceived"] == ours.send["packets_sent"]
    sent = ours.send["frames_sent"] - first[1].send["frames_sent"]
    decoded = theirs["framesDecoded"] - first[0]["framesDecoded"]
    assert sent > FRAMES / 2
    assert decoded == pytest.approx(sent, rel=SHARE)
    tell(
        f"{expected.note}, {caller} calls",
        f"it sent {theirs['framesSent']} frames, {ours.receive['frames_received']} were received; "
        f"it decoded {decoded} of {sent}",
    )
    assert (theirs["frameWidth"], theirs["frameHeight"]) == (320, 240)


@CALLER
@LIBRARY
async def test_each_end_can_ask_the_other_for_a_key_frame(meet, library, caller):
    async with meet(library, caller, video=VideoConfig()) as (call, page):
        video = call.media.video
        async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
            playing = tasks.create_task(video.play(TestPattern(codec=video.codec)))
            await video.wait_for_frames(15)
            before = video.statistics().receive_measures["keyframes_received"]
            video.request_key_frame()
            while video.statistics().receive_measures["keyframes_received"] == before:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
            playing.cancel()
        # The two are read one after the other, and one more may be on its way.
        end = asyncio.get_running_loop().time() + 20
        wanted, asked = None, 0
        while wanted != asked and asyncio.get_running_loop().time() < end:
            wanted = (await page.stats())["video"]["keyFramesWanted"]
            asked = video.statistics().feedback_sent.pli
    assert wanted == asked >= 1


class WithoutKeyFrames(TestPattern):
    """A source that nobody can begin to look at, and that hears no request."""

    def next_frame(self):
        while (frame := super().next_frame()) is not None and frame.key_frame:
            pass
        return frame

    def request_key_frame(self):
        pass


def bad(call):
    return {
        one.check: one.status.value for one in call.diagnosis() if one.status in {"warn", "fail"}
    }


@CODEC
@CALLER
async def test_a_source_that_gives_the_browser_no_picture_is_named(meet, tell, caller, codec):
    async with meet("jssip", caller, video=VideoConfig(codecs=(codec,))) as (call, page):
        async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
            playing = [
                tasks.create_task(call.media.play()),
                tasks.create_task(call.media.video.play(WithoutKeyFrames(codec=codec))),
            ]
            while bad(call) != {"video_key_frames_sent": "warn"}:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
            for task in playing:
                task.cancel()
        theirs = (await page.stats())["video"]
        [found] = [one for one in call.diagnosis() if one.check == "video_key_frames_sent"]
    # It has the packets, and nothing to show.
    assert theirs["packetsReceived"] > 0
    assert not theirs["framesDecoded"]
    tell(f"{codec}, {caller} calls", found.detail)


@CALLER
@LIBRARY
async def test_a_call_without_video_here_has_audio_alone(meet, library, caller):
    async with meet(library, caller) as (call, page):
        assert call.media.video is None
        await page.until("stats().then(s => s.packetsReceived > 20)")
        async with asyncio.timeout(20):
            while call.statistics().receive["packets_received"] < 20:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
    assert [stream.kind for stream in call.report().media] == ["audio"]


@LIBRARY
async def test_a_browser_that_insists_on_one_port_for_all_has_audio_alone(meet, library):
    bundled = {"bundlePolicy": "max-bundle"}
    async with meet(library, "browser", video=VideoConfig(), connection=bundled) as (call, page):
        assert call.media.video is None
        assert "BUNDLE" in call.media.video_refused
        await page.until("stats().then(s => s.packetsReceived > 20)")
        assert bad(call) == {"video_agreed": "warn"}
    assert [stream.kind for stream in call.report().media] == ["audio"]
