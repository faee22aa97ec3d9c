"""baresip: policies, fallback and hold under SDES, judged by the tone heard at each end."""

from __future__ import annotations

import pytest

from callmeter import (
    CallRejected,
    NoCommonSuite,
    SrtpConfig,
    SrtpMethod,
    SrtpPolicy,
    Tone,
)
from peers.baresip import held_and_resumed
from peers.conversation import PACKETS, talk
from peers.tone import loudest

pytestmark = pytest.mark.interop("baresip")

OWN_TONE = 440
ITS_TONE = 880
SDES = SrtpConfig(method=SrtpMethod.SDES, policy=SrtpPolicy.REQUIRED)


def assert_heard(recording, hertz):
    found, share = loudest(recording)
    assert found == pytest.approx(hertz, abs=5)
    assert share > 0.9


async def assert_both_heard(recording, bob):
    assert_heard(recording, ITS_TONE)
    assert_heard(await bob.heard(), OWN_TONE)
    assert "failed to decrypt" not in bob.tail()


def assert_clean(report, *, keying, suite=None):
    """A call that went well, as its report tells it."""
    assert report["outcome"] == "SUCCESS"
    [audio] = report["media"]
    assert (audio["keying"], audio["suite"]) == (keying, suite)
    received = audio["receive"]
    assert received["packets_received"] >= PACKETS
    assert received["packets_lost"] == 0
    assert received["srtp_decrypt_failures"] == 0
    assert [check for check in report["diagnosis"] if check["status"] == "fail"] == []


@pytest.mark.parametrize("codec", ["pcmu", "pcma"])
async def test_a_clear_call_is_heard_at_both_ends(phone, baresip, tmp_path, codec):
    bob = baresip(tone=ITS_TONE, codecs=codec)
    heard = tmp_path / "heard.wav"
    async with phone() as alice:
        async with alice.call(bob.uri) as call:
            await talk(call, heard)
        report = call.report().to_dict()
    assert_clean(report, keying="none")
    assert report["media"][0]["codec"] == codec.upper()
    await assert_both_heard(heard, bob)


async def test_all_default_suites_are_offered_and_one_is_taken(phone, baresip, tmp_path):
    bob = baresip(encryption="srtp-mand", tone=ITS_TONE)
    async with phone(srtp=SDES) as alice:
        async with alice.call(bob.uri) as call:
            await talk(call, tmp_path / "heard.wav")
        report = call.report().to_dict()
    assert_clean(report, keying="sdes", suite="AES_CM_128_HMAC_SHA1_80")


async def test_a_peer_that_insists_on_srtp_refuses_a_clear_offer(phone, baresip):
    bob = baresip(encryption="srtp-mand")
    async with phone() as alice:
        with pytest.raises(CallRejected) as caught:
            async with alice.call(bob.uri):
                pass
    assert caught.value.status == 488


async def test_a_required_call_to_a_clear_peer_fails_and_is_explained(phone, baresip):
    bob = baresip()
    async with phone(srtp=SDES) as alice:
        with pytest.raises(NoCommonSuite) as caught:
            async with alice.call(bob.uri):
                pass
    assert caught.value.report.to_dict()["final_status_code"] == 488


async def test_an_opportunistic_call_to_a_clear_peer_falls_back_and_says_so(
    phone, baresip, tmp_path
):
    bob = baresip(tone=ITS_TONE)
    srtp = SrtpConfig(method=SrtpMethod.SDES, policy=SrtpPolicy.OFFERED, osrtp=True)
    heard = tmp_path / "heard.wav"
    async with phone(srtp=srtp) as alice:
        async with alice.call(bob.uri) as call:
            await talk(call, heard)
        report = call.report().to_dict()
    assert report["outcome"] == "COMPLETED_WITH_WARNINGS"
    assert report["media"][0]["keying"] == "none"
    assert_heard(heard, ITS_TONE)


@pytest.mark.parametrize("holder", ["callmeter", "baresip"])
async def test_hold_and_resume_keep_the_secure_call_audible(
    phone, baresip, tmp_path, until, holder
):
    bob = baresip(encryption="srtp-mand", tone=ITS_TONE)
    heard = tmp_path / "heard.wav"
    control = await bob.control()
    async with phone(srtp=SDES) as alice:
        async with alice.call(bob.uri) as call:
            await control.event("CALL_ESTABLISHED")
            await call.media.play(Tone(OWN_TONE), seconds=0.4)
            await held_and_resumed(holder, call, control, until)
            await talk(call, heard)
        report = call.report().to_dict()
    await control.close()
    assert_clean(report, keying="sdes", suite="AES_CM_128_HMAC_SHA1_80")
    assert report["counters"]["hold_count"] == 1
    assert_heard(heard, ITS_TONE)
