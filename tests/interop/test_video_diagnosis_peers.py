"""baresip with a camera, and no picture: the diagnosis tells why, and that the audio is well."""

from __future__ import annotations

import asyncio

import pytest

from callmeter import SrtpConfig, SrtpMethod, SrtpPolicy, SrtpSuite, TestPattern, VideoConfig
from peers.alg import SipAlg, alter_key
from peers.lossy_relay import LateRelay
from peers.program import HOST

pytestmark = pytest.mark.interop("baresip")

PATIENCE = 30
SDES = SrtpConfig(
    method=SrtpMethod.SDES,
    policy=SrtpPolicy.REQUIRED,
    suites=(SrtpSuite.AES_CM_128_HMAC_SHA1_80,),
)
SETTINGS = {"srtp": SDES, "rtcp_mux": True, "feedback": True, "video": VideoConfig(codecs=("VP8",))}
ROLES = pytest.mark.parametrize("role", ["callee", "caller"])
"""Of baresip."""


def alter_video_key(message):
    """What a SIP ALG does that counts lines: only the second key suffers."""
    head, mark, video = message.partition(b"m=video")
    return head + mark + alter_key(video)


@pytest.fixture
def bob(baresip):
    return baresip(encryption="srtp-mandf", video=True, rtcp_mux=True)


async def begin(role, alice, bob, control, alg):
    """Alice calls baresip through the ALG, or baresip calls her."""
    if role == "callee":
        call = await alice.invite(f"sip:bob@{HOST}:{alg.port}")
        await call.answered(PATIENCE)
        return call
    await control.command("dial", f"sip:alice@{HOST}:{alg.port}")
    return await (await alice.next_call(PATIENCE)).answer()


def target(role, alice, bob):
    return (HOST, bob.port if role == "callee" else alice.stack.transport.listening()[1])


async def complained(call, check):
    """Speak and show a picture until the diagnosis says this and nothing else."""
    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as tasks:
        playing = [
            tasks.create_task(call.media.play()),
            tasks.create_task(call.media.video.play(TestPattern())),
        ]
        while bad(call) != [check]:  # noqa: ASYNC110  a diagnosis is asked for
            await asyncio.sleep(0.05)
        for task in playing:
            task.cancel()
    return next(one for one in call.diagnosis() if one.check == check)


def bad(call):
    return [one.check for one in call.diagnosis() if one.status in {"warn", "fail"}]


@ROLES
async def test_a_key_of_the_video_altered_on_its_way_here_is_named(phone, bob, role):
    way = "backward" if role == "callee" else "forward"
    async with phone(**SETTINGS) as alice:
        control = await bob.control()
        async with SipAlg(target(role, alice, bob), **{way: alter_video_key}) as alg:
            call = await begin(role, alice, bob, control, alg)
            async with call:
                found = await complained(call, "video_key_intact")
                assert "the peer uses another key" in found.detail
                assert "from UDP to TLS" in found.remedy
            assert alg.altered
        await control.close()
    assert [stream.receive["srtp_decrypt_failures"] > 0 for stream in call.report().media] == [
        False,
        True,
    ]


async def test_a_key_of_the_video_altered_on_its_way_there_leaves_the_peer_without_a_picture(
    phone, bob
):
    async with (
        phone(**SETTINGS) as alice,
        SipAlg((HOST, bob.port), forward=alter_video_key) as alg,
    ):
        call = await alice.invite(f"sip:bob@{HOST}:{alg.port}")
        await call.answered(PATIENCE)
        async with call:
            found = await complained(call, "video_media_both_ways")
            assert "cannot decrypt them" in found.detail
        assert call.report().media[1].receive["frames_received"]


@ROLES
async def test_a_key_frame_that_nobody_answers_for_is_named(phone, bob, role):
    async with phone(**SETTINGS) as alice, LateRelay(role, seconds=1.0) as relay:
        control = await bob.control()
        alg = SipAlg(target(role, alice, bob), forward=relay.forward, backward=relay.backward)
        async with alg:
            call = await begin(role, alice, bob, control, alg)
            async with call:
                found = await complained(call, "video_key_frame_came")
                assert "no whole key frame: no picture" in found.detail
                assert " PLI went unanswered" in found.detail
                assert call.report().media[1].receive["packets_lost"] == 0
        await control.close()


async def test_video_that_the_peer_refuses_for_its_profile_is_named(phone, baresip):
    knows_no_avpf = baresip(encryption="srtp-mand", video=True)
    async with phone(srtp=SDES, video=VideoConfig()) as alice:
        async with alice.call(knows_no_avpf.uri) as call:
            assert bad(call) == ["video_agreed"]
        found = next(one for one in call.diagnosis() if one.check == "video_agreed")
    assert "RTP/SAVPF with VP8, H264" in found.detail
    assert "VideoConfig(feedback=False)" in found.remedy
