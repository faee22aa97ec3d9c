"""A real peer behind a SIP ALG: the diagnosis tells what the firewall did, in both directions."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from callmeter import NoCommonSuite, SrtpConfig, SrtpMethod, SrtpPolicy, SrtpSuite, Tone
from peers.alg import SipAlg, alter_key, cut_key
from peers.program import HOST

pytestmark = pytest.mark.interop("baresip")

PATIENCE = 20
MEDIA_PACKETS = 100
"""Two seconds of them."""
SDES = SrtpConfig(
    method=SrtpMethod.SDES,
    policy=SrtpPolicy.REQUIRED,
    suites=(SrtpSuite.AES_CM_128_HMAC_SHA1_80,),
)


def failing(call):
    return [one.check for one in call.diagnosis() if one.status == "fail"]


def complaints(call):
    return [one.check for one in call.diagnosis() if one.status in {"warn", "fail"}]


def finding(report, check):
    return next(one for one in report.diagnosis if one.check == check)


async def named(call, check):
    """Speak until the diagnosis says this and nothing else; how many packets came until then."""
    async with asyncio.TaskGroup() as tasks, asyncio.timeout(PATIENCE):
        playing = tasks.create_task(call.media.play(Tone(440)))
        while complaints(call) != [check]:  # noqa: ASYNC110  a diagnosis is asked for
            await asyncio.sleep(0.05)
        playing.cancel()
    statistics = call.media.statistics()
    return statistics.receive.packets_received + sum(statistics.dropped.values())


@pytest.fixture
def bob(baresip):
    return baresip(encryption="srtp-mand")


def through(alg):
    return f"sip:bob@{HOST}:{alg.port}"


async def test_a_key_altered_in_the_answer_is_named_within_two_seconds_of_media(phone, bob):
    async with SipAlg((HOST, bob.port), backward=alter_key) as alg, phone(srtp=SDES) as alice:
        async with alice.call(through(alg)) as call:
            assert await named(call, "key_intact") <= MEDIA_PACKETS
        assert alg.altered
        assert failing(call) == ["key_intact"]
        assert "from UDP to TLS" in finding(call.report(), "key_intact").remedy
        assert "failed to decrypt" not in bob.tail()


async def test_a_key_altered_in_the_offer_leaves_the_peer_deaf_and_that_is_named(phone, bob):
    async with SipAlg((HOST, bob.port), forward=alter_key) as alg, phone(srtp=SDES) as alice:
        async with alice.call(through(alg)) as call:
            await named(call, "media_both_ways")
        assert alg.altered
        assert call.media.statistics().receive.packets_received
        found = finding(call.report(), "media_both_ways")
        assert "cannot decrypt them" in found.detail
        assert "accepted each other's key" in found.remedy


async def test_a_key_cut_by_a_wrong_content_length_is_named_in_the_answer(phone, bob):
    async with SipAlg((HOST, bob.port), backward=cut_key) as alg, phone(srtp=SDES) as alice:
        with pytest.raises(NoCommonSuite) as caught:
            async with alice.call(through(alg)):
                pytest.fail("the call has media")
        report = caught.value.report
        assert [one.check for one in report.diagnosis if one.status == "fail"] == ["key_intact"]
        assert "Content-Length says" in finding(report, "key_intact").detail


@pytest.mark.parametrize("mangle", [alter_key, cut_key])
async def test_a_key_spoilt_in_the_offer_of_the_peer_is_named(phone, bob, mangle):
    async with phone(srtp=SDES) as alice:
        local = alice.stack.transport.listening()
        async with SipAlg((HOST, local[1]), forward=mangle) as alg:
            control = await bob.control()
            await control.command("dial", f"sip:alice@{HOST}:{alg.port}")
            incoming = await alice.next_call(PATIENCE)
            if mangle is cut_key:
                with pytest.raises(NoCommonSuite) as caught:
                    await incoming.answer()
                report = caught.value.report
            else:
                async with await incoming.answer() as call:
                    assert await named(call, "key_intact") <= MEDIA_PACKETS
                report = call.report()
            await control.close()
        assert [one.check for one in report.diagnosis if one.status == "fail"] == ["key_intact"]


async def test_srtcp_tags_that_the_peer_shortens_are_named(phone, bob):
    short = replace(SDES, suites=(SrtpSuite.AES_CM_128_HMAC_SHA1_32,))
    async with phone(srtp=short) as alice:
        async with alice.call(bob.uri) as call:
            await named(call, "srtcp_consistent")
        assert "a tag of 32 bits" in finding(call.report(), "srtcp_consistent").detail
