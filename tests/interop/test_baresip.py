"""baresip: SDES-SRTP in both directions, judged by the tone that was heard at each end."""

from __future__ import annotations

import asyncio

import pytest

from callmeter import (
    CallRejected,
    NoCommonSuite,
    SrtpConfig,
    SrtpMethod,
    SrtpPolicy,
    SrtpSuite,
    Tone,
)
from peers.tone import loudest

pytestmark = pytest.mark.interop("baresip")

OWN_TONE = 440
ITS_TONE = 880
SECONDS = 1.5
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
    assert received["packets_received"] >= 0.8 * SECONDS * 50
    assert received["packets_lost"] == 0
    assert received["srtp_decrypt_failures"] == 0
    assert [check for check in report["diagnosis"] if check["status"] == "fail"] == []


async def talk(call, heard):
    call.media.record(heard)
    await call.media.play(Tone(OWN_TONE), seconds=SECONDS)


@pytest.mark.parametrize("rtcp_mux", [False, True], ids=["two-ports", "rtcp-mux"])
@pytest.mark.parametrize(
    "suite",
    [
        SrtpSuite.AES_CM_128_HMAC_SHA1_80,
        SrtpSuite.AES_CM_128_HMAC_SHA1_32,
        SrtpSuite.AEAD_AES_128_GCM,
        SrtpSuite.AEAD_AES_256_GCM,
    ],
)
async def test_a_call_to_baresip_is_heard_at_both_ends(phone, baresip, tmp_path, suite, rtcp_mux):
    bob = baresip(encryption="srtp-mand", tone=ITS_TONE, rtcp_mux=rtcp_mux)
    srtp = SrtpConfig(method=SrtpMethod.SDES, policy=SrtpPolicy.REQUIRED, suites=(suite,))
    heard = tmp_path / "heard.wav"
    async with phone(srtp=srtp, rtcp_mux=rtcp_mux) as alice:
        async with alice.call(bob.uri) as call:
            await talk(call, heard)
        report = call.report().to_dict()
    assert_clean(report, keying="sdes", suite=suite.value)
    assert report["media"][0]["rtcp_mux"] is rtcp_mux
    await assert_both_heard(heard, bob)


@pytest.mark.parametrize("rtcp_mux", [False, True], ids=["two-ports", "rtcp-mux"])
@pytest.mark.parametrize(
    ("encryption", "profile"),
    [("srtp", "RTP/AVP"), ("srtp-mand", "RTP/SAVP"), ("srtp-mandf", "RTP/SAVPF")],
)
async def test_a_call_from_baresip_is_heard_at_both_ends(
    phone, baresip, tmp_path, encryption, profile, rtcp_mux
):
    bob = baresip(encryption=encryption, tone=ITS_TONE, rtcp_mux=rtcp_mux)
    heard = tmp_path / "heard.wav"
    control = await bob.control()
    async with phone(srtp=SDES, rtcp_mux=rtcp_mux) as alice:
        await control.command("dial", str(alice.contact))
        incoming = await alice.next_call(10)
        incoming.ring()
        async with await incoming.answer() as call:
            await control.event("CALL_ESTABLISHED")
            await talk(call, heard)
            await control.command("hangup")
            async with asyncio.timeout(5):
                await call.ended()
        report = call.report().to_dict()
    await control.close()
    assert_clean(report, keying="sdes", suite="AES_CM_128_HMAC_SHA1_80")
    assert report["media"][0]["profile"] == profile
    await assert_both_heard(heard, bob)


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


@pytest.mark.parametrize("rtcp_mux", [False, True], ids=["two-ports", "rtcp-mux"])
async def test_encrypted_reports_give_the_round_trip_time(phone, baresip, rtcp_mux):
    bob = baresip(encryption="srtp-mand", rtcp_mux=rtcp_mux)
    async with phone(srtp=SDES, rtcp_mux=rtcp_mux) as alice, alice.call(bob.uri) as call:
        round_trip = None
        for _ in range(40):  # both ends report every 2 to 6 seconds
            await call.media.play(Tone(OWN_TONE), seconds=0.5)
            round_trip = call.report().to_dict()["media"][0]["send"]["rtt_ms"]
            if round_trip is not None:
                break
    assert round_trip is not None
    assert 0 <= round_trip < 100  # milliseconds; 0 is what a loopback may round to
    assert "failed to decrypt" not in bob.tail()


@pytest.mark.parametrize("holder", ["callmeter", "baresip"])
async def test_hold_and_resume_keep_the_secure_call_audible(phone, baresip, tmp_path, holder):
    bob = baresip(encryption="srtp-mand", tone=ITS_TONE)
    heard = tmp_path / "heard.wav"
    control = await bob.control()
    async with phone(srtp=SDES) as alice:
        async with alice.call(bob.uri) as call:
            await control.event("CALL_ESTABLISHED")
            await call.media.play(Tone(OWN_TONE), seconds=0.4)
            if holder == "callmeter":
                await call.hold()
                await asyncio.sleep(0.4)
                await call.resume()
            else:
                await control.command("hold")
                await asyncio.sleep(0.4)
                assert call.media.on_hold
                await control.command("resume")
                await asyncio.sleep(0.2)
            assert not call.media.on_hold
            await talk(call, heard)
        report = call.report().to_dict()
    await control.close()
    assert_clean(report, keying="sdes", suite="AES_CM_128_HMAC_SHA1_80")
    assert report["counters"]["hold_count"] == 1
    assert_heard(heard, ITS_TONE)
