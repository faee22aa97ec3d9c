"""What a misbehaving endpoint does wrong it goes on doing after a re-INVITE."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest

from callmeter.config import (
    EndpointConfig,
    MediaConfig,
    SrtpConfig,
    SrtpMethod,
    SrtpPolicy,
    VideoConfig,
)
from callmeter.media.sources import Tone
from callmeter.testing.misbehaviour import MisbehavingEndpoint, Misbehaviour

PATIENCE = 20
SDES = MediaConfig(srtp=SrtpConfig(policy=SrtpPolicy.REQUIRED))
DTLS = MediaConfig(srtp=SrtpConfig(policy=SrtpPolicy.REQUIRED, method=SrtpMethod.DTLS))


def failing(call):
    return [one.check for one in call.diagnosis() if one.status == "fail"]


@pytest.fixture
def conversation(make_endpoint, entered, stack):
    """A call to a misbehaving endpoint: the honest end of it."""

    @asynccontextmanager
    async def begin(kind, media):
        alice = await make_endpoint("alice", media=media)
        config = EndpointConfig("sip:mallory@127.0.0.1", media=media)
        mallory = await entered.enter_async_context(MisbehavingEndpoint(config, kind, stack))

        async def answer():
            other = await (await mallory.next_call(PATIENCE)).answer()
            await other.media.play(Tone(440))

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(answer())
            async with alice.call(str(mallory.contact)) as call:
                tasks.create_task(call.media.play(Tone(440)))
                yield call

    return begin


@pytest.mark.parametrize(
    ("kind", "media", "check"),
    [
        (Misbehaviour.OTHER_TAG_LENGTH, SDES, "tag_length"),
        (Misbehaviour.OTHER_TAG_LENGTH, DTLS, "tag_length"),
        (Misbehaviour.CLEAR_SRTCP, SDES, "srtcp_consistent"),
        (Misbehaviour.PLAIN_MEDIA, SDES, "plain_for_secure"),
        (Misbehaviour.SECURE_MEDIA, MediaConfig(), "secure_for_plain"),
    ],
)
async def test_hold_and_resume_mend_nothing(conversation, until, kind, media, check):
    async with conversation(kind, media) as call:
        await until(lambda: failing(call) == [check])
        await call.hold()
        await call.resume()
        before = call.media.statistics()
        seen = before.rtcp_in_clear + before.srtp_decrypt_failures + before.receive.packets_received

        def goes_on():
            now = call.media.statistics()
            after = now.rtcp_in_clear + now.srtp_decrypt_failures + now.receive.packets_received
            return after > seen + 20 and failing(call) == [check]

        await until(goes_on)


async def test_rtcp_in_clear_beside_dtls_is_named(conversation, until):
    async with conversation(Misbehaviour.CLEAR_SRTCP, DTLS) as call:
        await until(lambda: failing(call) == ["srtcp_consistent"])
        assert call.media.statistics().receive.packets_received


async def test_its_video_is_as_it_should_be(conversation, until):
    media = MediaConfig(video=VideoConfig())
    async with conversation(Misbehaviour.SECURE_MEDIA, media) as call:
        assert call.media.video is not None
        await until(lambda: failing(call) == ["secure_for_plain"])
