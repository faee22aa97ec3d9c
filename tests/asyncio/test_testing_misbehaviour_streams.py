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
from callmeter.errors import ConfigurationError
from callmeter.media.sources import Tone
from callmeter.testing.misbehaviour import MisbehavingEndpoint, Misbehaviour

PATIENCE = 20
SDES = MediaConfig(srtp=SrtpConfig(policy=SrtpPolicy.REQUIRED))
DTLS = MediaConfig(srtp=SrtpConfig(policy=SrtpPolicy.REQUIRED, method=SrtpMethod.DTLS))


DUAL = MediaConfig(srtp=SrtpConfig(policy=SrtpPolicy.REQUIRED, method=SrtpMethod.DUAL))
PLAIN = MediaConfig()


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


@pytest.mark.parametrize(("media", "is_done"), [(SDES, True), (DTLS, False)])
async def test_what_did_not_come_up_in_a_call_was_done_no_time(
    make_endpoint, entered, stack, media, is_done
):
    alice = await make_endpoint("alice", media=media)
    config = EndpointConfig("sip:mallory@127.0.0.1", media=DUAL)
    mallory = await entered.enter_async_context(
        MisbehavingEndpoint(config, Misbehaviour.ALTERED_KEY, stack)
    )
    assert mallory.done == 0
    call = await alice.invite(str(mallory.contact))
    await (await mallory.next_call(PATIENCE)).answer()
    await call.answered()
    await call.bye()
    assert bool(mallory.done) == is_done


def test_a_word_stands_for_a_misbehaviour():
    config = EndpointConfig("sip:mallory@127.0.0.1", media=SDES)
    assert MisbehavingEndpoint(config, "altered_key").misbehaviour is Misbehaviour.ALTERED_KEY
    with pytest.raises(ConfigurationError, match="no misbehaviour 'altred_key': did you mean"):
        MisbehavingEndpoint(config, "altred_key")


@pytest.mark.parametrize(
    ("media", "kind", "amount", "told"),
    [
        (DTLS, Misbehaviour.ALTERED_KEY, None, "the SRTP method is DTLS: it would never happen"),
        (PLAIN, Misbehaviour.ALTERED_KEY, None, "the SRTP policy is DISABLED: it would never"),
        (SDES, Misbehaviour.ALTERED_KEY, 3, "ALTERED_KEY has no amount"),
    ],
)
def test_an_endpoint_that_could_not_misbehave_so_is_not_made(media, kind, amount, told):
    with pytest.raises(ConfigurationError, match=told):
        MisbehavingEndpoint(
            EndpointConfig("sip:mallory@127.0.0.1", media=media), kind, amount=amount
        )
