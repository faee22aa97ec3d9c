"""baresip with a camera: VP8 both ways in clear, by SDES and by DTLS, counted at both ends."""

from __future__ import annotations

import asyncio
import re

import pytest

from callmeter import SrtpConfig, SrtpMethod, SrtpPolicy, SrtpSuite, TestPattern, VideoConfig
from peers.program import PeerError

pytestmark = pytest.mark.interop("baresip")

CM_80 = SrtpSuite.AES_CM_128_HMAC_SHA1_80
SDES = SrtpConfig(method=SrtpMethod.SDES, policy=SrtpPolicy.REQUIRED)
DTLS = SrtpConfig(method=SrtpMethod.DTLS, policy=SrtpPolicy.REQUIRED)
WITHOUT_AVPF, WITH_AVPF = VideoConfig(feedback=False), VideoConfig()
FRAMES = 45
ROLES = pytest.mark.parametrize("role", ["callee", "caller"])
COUNTED = re.compile(r"video +Transmit: +Receive:\s+packets: +(\d+) +(\d+)")
CASES = [
    ("", SrtpConfig(), WITHOUT_AVPF, "none", {"callee": "RTP/AVP", "caller": "RTP/AVP"}),
    ("srtp-mand", SDES, WITHOUT_AVPF, "sdes", {"callee": "RTP/SAVP", "caller": "RTP/SAVP"}),
    ("srtp-mandf", SDES, WITH_AVPF, "sdes", {"callee": "RTP/SAVPF", "caller": "RTP/SAVPF"}),
    (
        "dtls_srtp",
        DTLS,
        WITHOUT_AVPF,
        "dtls",
        {"callee": "UDP/TLS/RTP/SAVP", "caller": "UDP/TLS/RTP/SAVPF"},
    ),
]


async def begin(role, alice, bob, control):
    if role == "callee":
        call = await alice.invite(bob.uri)
        await call.answered(20)
        return call
    await control.command("dial", str(alice.contact))
    return await (await alice.next_call(20)).answer()


async def packets_of(bob):
    """How many packets of video it says that it sent and received, once the call is over."""
    for _ in range(250):
        found = COUNTED.search(bob.output())
        if found is not None:
            return int(found[1]), int(found[2])
        await asyncio.sleep(0.02)
    raise PeerError(f"baresip told no figures\n{bob.tail()}")


@ROLES
@pytest.mark.parametrize(
    ("encryption", "srtp", "video", "keying", "profiles"), CASES, ids=[row[0] for row in CASES]
)
async def test_both_ends_count_the_same_packets_and_show_the_picture(
    phone, baresip, expect, role, encryption, srtp, video, keying, profiles
):
    avpf = encryption == "srtp-mandf"
    expected = expect(
        peer="baresip",
        role=role,
        keying=keying,
        suite=CM_80 if srtp.enabled else None,
        profile=profiles[role],
        rtcp_mux=True,
        note="video VP8",
    )
    bob = baresip(encryption=encryption, video=True, rtcp_mux=True)
    async with phone(srtp=srtp, rtcp_mux=True, feedback=avpf, video=video) as alice:
        control = await bob.control()
        call = await begin(role, alice, bob, control)
        async with call, asyncio.timeout(60):
            await call.media.keyed()
            shown = call.media.video
            await shown.play(TestPattern(), seconds=FRAMES / 15)
            await shown.wait_for_frames(FRAMES // 2)
        sent, received = await packets_of(bob)
        await control.close()
    report = call.report().to_dict()
    seen = report["media"][1]
    expected.assert_met({**report, "media": [seen]})
    assert (seen["kind"], seen["codec"], seen["feedback"]) == (
        "video",
        "VP8",
        "F" in seen["profile"],
    )
    assert seen["receive"]["frames_received"] >= FRAMES // 2
    assert seen["receive"]["keyframes_received"] >= 1
    assert seen["receive"]["resolution_megapixels"] == pytest.approx(0.077)
    # The two count for as long as they are in the call, which is not to the packet the same.
    assert seen["receive"]["packets_received"] == pytest.approx(sent, rel=0.1)
    assert seen["send"]["packets_sent"] == received
    assert "receiving with resolution 320 x 240" in bob.output()
    assert "failed to decrypt" not in bob.output()


@ROLES
async def test_a_peer_that_knows_no_avpf_has_audio_alone_unless_it_is_left_out(
    phone, baresip, role
):
    bob = baresip(encryption="srtp-mand", video=True)
    async with phone(srtp=SDES, video=WITH_AVPF) as alice:
        control = await bob.control()
        call = await begin(role, alice, bob, control)
        async with call:
            # It decides by what it is offered; what it offers is answered as it is.
            assert (call.media.video is None) is (role == "callee")
        await control.close()


@ROLES
async def test_a_key_frame_comes_when_it_is_asked_for(phone, baresip, role):
    bob = baresip(encryption="srtp-mandf", video=True, rtcp_mux=True)
    async with phone(srtp=SDES, feedback=True, rtcp_mux=True, video=WITH_AVPF) as alice:
        control = await bob.control()
        call = await begin(role, alice, bob, control)
        async with call, asyncio.timeout(60):
            video = call.media.video
            await video.wait_for_frames(20)
            before = call.statistics().media[1].receive["keyframes_received"]
            video.request_key_frame()
            while call.statistics().media[1].receive["keyframes_received"] == before:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        await control.close()
    assert call.report().media[1].receive["keyframe_requests_sent"] >= 1
