"""Assertions about calls: what they hold, what they say when they do not."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from callmeter import Codec, Silence, Tone
from callmeter.errors import ConfigurationError
from callmeter.metrics.report import Finding, FindingStatus
from callmeter.testing.assertions import (
    assert_heard,
    assert_messages,
    assert_quality,
    assert_secure,
    wait_heard,
)
from callmeter.testing.ear import Ear

HELD_UP_S = 0.1
"""When the machine stood still for so long, a call need not sound well."""


@pytest.fixture
async def secured(phones):
    alice, bob = await phones("alice", srtp="sdes"), await phones("bob", srtp="sdes")
    async with alice.call(bob.aor) as call:
        async with asyncio.TaskGroup() as tasks:
            playing = tasks.create_task(call.media.play(Tone(1000)))
            await wait_heard(call, tone=1000)
            playing.cancel()
        yield call


@pytest.fixture
async def clear(phones):
    alice, bob = await phones("alice"), await phones("bob")
    async with alice.call(bob.aor) as call:
        yield call


def says(assertion, *arguments, **settings):
    with pytest.raises(AssertionError) as failed:
        assertion(*arguments, **settings)
    return str(failed.value)


# security


async def test_a_secure_call_is_secure_by_its_suite(secured):
    assert_secure(secured)
    assert_secure(secured, suite="AES_CM_128_HMAC_SHA1_80")


async def test_another_suite_is_told(secured):
    text = says(assert_secure, secured, suite="AEAD_AES_128_GCM")
    assert "the call of alice with bob uses the suite AES_CM_128_HMAC_SHA1_80" in text
    assert "expected    the suite AEAD_AES_128_GCM" in text


async def test_a_clear_call_is_told_with_its_cause(clear):
    text = says(assert_secure, clear)
    assert "is not secure: audio runs in the clear, by plain RTP/AVP" in text
    assert "because     this end offers and takes no keys" in text
    assert "|- INVITE (SDP: RTP/AVP)" in text


async def test_keys_that_only_one_end_wanted_have_no_such_cause(phones):
    settings = {"srtp": "sdes", "policy": "offered", "osrtp": True}
    alice, bob = await phones("alice", **settings), await phones("bob")
    async with alice.call(bob.aor) as call:
        text = says(assert_secure, call)
    assert "because" not in text
    assert "srtp_fallback" in text


async def test_a_call_without_media_is_not_secure(phones):
    alice, bob = await phones("alice"), await phones("bob", answer=False)
    call = await alice.invite(bob.aor)
    async with call:
        assert "is not secure: it has no media" in says(assert_secure, call)


def reported(call, monkeypatch, *, receive=None, finding=None):
    """Let a call report what a broken peer would make it report."""
    report = call.report()
    if receive is not None:
        stream = replace(report.media[0], receive={**report.media[0].receive, **receive})
        report = replace(report, media=(stream,))
    if finding is not None:
        report = replace(report, diagnosis=(finding,))
    monkeypatch.setattr(call, "report", lambda: report)


async def test_packets_of_which_none_could_be_decrypted_are_told(secured, monkeypatch):
    reported(secured, monkeypatch, receive={"packets_received": 0, "srtp_decrypt_failures": 9})
    assert "none of 9 packets could be decrypted" in says(assert_secure, secured)


async def test_a_failed_check_of_the_security_is_told(secured, monkeypatch):
    finding = Finding("srtcp_consistent", FindingStatus.FAIL, "SRTCP is clear", "Mend it.")
    reported(secured, monkeypatch, finding=finding)
    text = says(assert_secure, secured)
    assert "is not secure: SRTCP is clear" in text
    assert "expected    the check srtcp_consistent to pass" in text


# quality


async def test_a_call_on_loopback_is_good_enough(standstill, secured):
    held_up = standstill.seconds >= HELD_UP_S
    assert_quality(secured, mos=1.0 if held_up else 3.0, jitter_ms=500, loss=0.5)


async def test_every_limit_that_is_not_kept_is_told(secured, monkeypatch):
    figures = {"jitter_ms": 25.04, "fraction_lost": 12.5, "mos": 2.5, "rtt_ms": None}
    reported(secured, monkeypatch, receive=figures)
    text = says(assert_quality, secured, mos=4, jitter_ms=20, loss=0.01, rtt_ms=100)
    text = " ".join(text.split())
    assert "MOS is 2.50, jitter is 25.0 ms, loss is 12.50%, round trip is not known" in text
    assert (
        "MOS at least 4, jitter at most 20 ms, loss at most 1%, round trip at most 100 ms" in text
    )


async def test_without_a_score_in_the_report_one_is_made_of_what_was_measured(secured, monkeypatch):
    reported(secured, monkeypatch, receive={"mos": None, "jitter_ms": 1.0, "fraction_lost": 0.0})
    assert_quality(secured, mos=4.3)
    reported(secured, monkeypatch, receive={"mos": None, "jitter_ms": None})
    assert "MOS is not known" in says(assert_quality, secured, mos=1)


async def test_a_call_that_received_nothing_is_not_judged(phones):
    alice, bob = await phones("alice"), await phones("bob", answer=False)
    async with await alice.invite(bob.aor) as call:
        assert "received no media" in says(assert_quality, call, loss=0.5)


async def test_a_loss_in_per_cent_is_refused(secured):
    with pytest.raises(ConfigurationError, match="a share from 0 to 1, not 5"):
        assert_quality(secured, loss=5)


# what was heard


async def test_the_tone_that_came_back_is_heard_and_no_other(secured):
    assert_heard(secured)
    assert_heard(secured, tone=1000)
    text = says(assert_heard, secured, tone=440)
    assert "did not hear the tone: the nearest was 1000 Hz at -" in text
    assert "expected    440 Hz, 10 Hz more or less" in text


@pytest.mark.parametrize("codec", [*Codec])
async def test_a_tone_is_heard_in_every_codec(phones, codec):
    alice, bob = await phones("alice", codec=codec), await phones("bob", codec=codec)
    async with alice.call(bob.aor) as call:
        async with asyncio.TaskGroup() as tasks:
            playing = tasks.create_task(call.media.play(Tone(1000)))
            await wait_heard(call, tone=1000)
            playing.cancel()
        assert_heard(call, tone=1000)


async def test_a_tone_that_does_not_come_in_time_is_told(phones):
    alice, bob = await phones("alice"), await phones("bob")
    async with alice.call(bob.aor) as call, asyncio.TaskGroup() as tasks:
        playing = tasks.create_task(call.media.play(Tone(440)))
        await wait_heard(call)
        with pytest.raises(AssertionError, match="did not hear the tone: the nearest was 440 Hz"):
            await wait_heard(call, tone=1000, within=0.2)
        playing.cancel()


async def test_nobody_waits_for_what_nobody_hears(make_endpoint):
    alice, bob = await make_endpoint("alice"), await make_endpoint("bob")
    call = await alice.invite(str(bob.contact))
    await (await bob.next_call(20)).answer()
    await call.answered()
    with pytest.raises(ConfigurationError, match="nobody listened to this call"):
        await wait_heard(call)


async def test_silence_is_told_from_nothing(phones):
    alice, bob = await phones("alice"), await phones("bob")
    async with alice.call(bob.aor) as call:
        assert "heard nothing: no packet" in says(assert_heard, call)
        await call.media.play(Silence(), seconds=0.3)
        assert "heard only silence, for 0." in says(assert_heard, call)


async def test_an_ear_that_was_attached_can_be_asked(make_endpoint):
    alice, bob = await make_endpoint("alice"), await make_endpoint("bob")
    ear = Ear()
    call = await alice.invite(str(bob.contact))
    incoming = await bob.next_call(20)
    await incoming.answer()
    await call.answered()
    incoming.media.attach(ear)
    assert says(assert_heard, ear).startswith("the call heard nothing")
    async with asyncio.TaskGroup() as tasks:
        playing = tasks.create_task(call.media.play())
        await wait_heard(ear, tone=440)
        playing.cancel()
    with pytest.raises(ConfigurationError, match="nobody listened to this call"):
        assert_heard(call)
    text = says(assert_secure, call)
    assert text.startswith(f"the call with {call.remote} is not secure")
    assert "INVITE" in text
    await call.bye()


# messages


async def test_the_messages_came_in_order(secured):
    assert_messages(secured, "INVITE", 200, "ACK")
    assert_messages(secured, "invite", 100, "2xx", "ACK", exact=True)


@pytest.mark.parametrize(
    ("expected", "found"),
    [
        (("INVITE", 180, 200), "has no 180 where it is expected: after INVITE came 200"),
        (("BYE",), "has no BYE where it is expected: came INVITE"),
        (("INVITE", "ACK", 200), "has no 200 where it is expected: after ACK came nothing"),
    ],
)
async def test_the_first_that_is_missing_is_named(secured, expected, found):
    text = says(assert_messages, secured, *expected)
    assert found in text
    assert "seen        INVITE, 200, ACK" in text


async def test_exactly_means_nothing_between_and_nothing_after(secured):
    assert "has no ACK where it is expected" in says(
        assert_messages, secured, "INVITE", "ACK", exact=True
    )
    assert "went on with ACK" in says(assert_messages, secured, "INVITE", 200, exact=True)


async def test_a_retransmission_counts_once(phones, impaired):
    alice, bob = await phones("alice"), await phones("bob")
    impaired.lose(lambda source, destination, data: data.startswith(b"INVITE"))
    async with alice.call(bob.aor) as call:
        assert_messages(call, "INVITE", 100, 200, "ACK", exact=True)
    assert len([each for each in call.messages if each.raw.startswith(b"INVITE")]) == 2
