"""baresip: the dual offer, and hold under DTLS-SRTP, judged by the tone heard at each end."""

from __future__ import annotations

import pytest

from callmeter import NoCommonSuite, SrtpConfig, SrtpMethod, SrtpPolicy, Tone
from peers.baresip import held_and_resumed
from peers.conversation import PACKETS, talk
from peers.tone import loudest

pytestmark = pytest.mark.interop("baresip")

OWN_TONE = 440
ITS_TONE = 880
DTLS = SrtpConfig(method=SrtpMethod.DTLS, policy=SrtpPolicy.REQUIRED)
DUAL = SrtpConfig(method=SrtpMethod.DUAL, policy=SrtpPolicy.REQUIRED)


def assert_heard(recording, hertz):
    found, share = loudest(recording)
    assert found == pytest.approx(hertz, abs=5)
    assert share > 0.9


async def assert_both_heard(recording, bob):
    assert_heard(recording, ITS_TONE)
    assert_heard(await bob.heard(), OWN_TONE)
    assert "failed to decrypt" not in bob.tail()


def assert_clean(report, keying, profile="UDP/TLS/RTP/SAVP"):
    assert report["outcome"] == "SUCCESS"
    [audio] = report["media"]
    assert (audio["keying"], audio["profile"]) == (keying, profile)
    assert audio["suite"] is not None
    assert audio["receive"]["packets_received"] >= PACKETS
    assert audio["receive"]["packets_lost"] == 0
    assert audio["receive"]["srtp_decrypt_failures"] == 0
    assert report["counters"]["dtls_rehandshakes"] == 0


@pytest.mark.parametrize(
    ("encryption", "osrtp", "keying"), [("srtp", True, "sdes"), ("dtls_srtp", False, "dtls")]
)
async def test_the_report_names_what_was_chosen_of_a_dual_offer(
    phone, baresip, tmp_path, encryption, osrtp, keying
):
    bob = baresip(encryption=encryption, tone=ITS_TONE, rtcp_mux=True)
    srtp = SrtpConfig(method=SrtpMethod.DUAL, policy=SrtpPolicy.OFFERED, osrtp=osrtp)
    heard = tmp_path / "heard.wav"
    async with phone(srtp=srtp) as alice:
        async with alice.call(bob.uri) as call:
            await talk(call, heard)
        report = call.report().to_dict()
    assert_clean(report, keying, "RTP/AVP" if osrtp else "UDP/TLS/RTP/SAVP")
    await assert_both_heard(heard, bob)


async def test_a_peer_without_dtls_that_reads_the_m_line_refuses_a_dual_offer(phone, baresip):
    bob = baresip(encryption="srtp-mand")
    async with phone(srtp=DUAL) as alice:
        with pytest.raises(NoCommonSuite) as caught:
            async with alice.call(bob.uri):
                pytest.fail("the call was answered")
    assert caught.value.report.to_dict()["final_status_code"] == 488


@pytest.mark.parametrize("holder", ["callmeter", "baresip"])
async def test_hold_and_resume_keep_the_association(phone, baresip, tmp_path, until, holder):
    bob = baresip(encryption="dtls_srtp", tone=ITS_TONE, rtcp_mux=True)
    heard = tmp_path / "heard.wav"
    control = await bob.control()
    async with phone(srtp=DTLS) as alice:
        async with alice.call(bob.uri) as call:
            await control.event("CALL_ESTABLISHED")
            await call.media.play(Tone(OWN_TONE), seconds=0.4)
            await held_and_resumed(holder, call, control, until)
            await talk(call, heard)
        report = call.report().to_dict()
    await control.close()
    assert_clean(report, "dtls")
    assert_heard(heard, ITS_TONE)
