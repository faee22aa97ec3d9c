"""baresip: SDES and DTLS-SRTP in both directions, judged by the tone heard at each end."""

from __future__ import annotations

import asyncio

import pytest

from callmeter import SrtpConfig, SrtpMethod, SrtpPolicy, SrtpSuite
from peers.conversation import ITS_TONE, OWN_TONE, assert_heard, talk

pytestmark = pytest.mark.interop("baresip")

CM_80 = SrtpSuite.AES_CM_128_HMAC_SHA1_80
SUITES = (
    CM_80,
    SrtpSuite.AES_CM_128_HMAC_SHA1_32,
    SrtpSuite.AEAD_AES_128_GCM,
    SrtpSuite.AEAD_AES_256_GCM,
)
MUX = pytest.mark.parametrize("rtcp_mux", [False, True], ids=["two-ports", "rtcp-mux"])
ROLES = pytest.mark.parametrize("role", ["callee", "caller"])
DTLS_PROFILES = {"callee": "UDP/TLS/RTP/SAVP", "caller": "UDP/TLS/RTP/SAVPF"}


def required(method, *suites):
    """Keys by this method, or no call."""
    chosen = {"suites": suites} if suites else {}
    return SrtpConfig(method=method, policy=SrtpPolicy.REQUIRED, **chosen)


SHORT_TAGS = {SrtpSuite.AES_CM_128_HMAC_SHA1_32: "neither reads the other's SRTCP"}
"""It shortens the tags of SRTCP too under this suite."""


@pytest.fixture
def conversation(phone, baresip, tmp_path):
    """One call in which both ends hear the other's tone; the baresip, once it is over."""

    async def call_it(alice, bob, expected, heard):
        async with alice.call(bob.uri) as call:
            await talk(call, heard, rtcp=expected.rtcp)
        return call

    async def be_called(alice, bob, expected, heard):
        control = await bob.control()
        await control.command("dial", str(alice.contact))
        incoming = await alice.next_call(20)
        incoming.ring()
        async with await incoming.answer() as call:
            await control.event("CALL_ESTABLISHED")
            await talk(call, heard, rtcp=expected.rtcp)
            await control.command("hangup")
            async with asyncio.timeout(20):
                await call.ended()
        await control.close()
        return call

    async def converse(encryption, srtp, expected, *, its=None, **media):
        options = {"rtcp_mux": expected.rtcp_mux, **(its or {})}
        bob = baresip(encryption=encryption, tone=ITS_TONE, **options)
        heard = tmp_path / "heard.wav"
        async with phone(srtp=srtp, rtcp_mux=expected.rtcp_mux, **media) as alice:
            do = call_it if expected.role == "callee" else be_called
            call = await do(alice, bob, expected, heard)
        report = call.report().to_dict()
        expected.assert_met(report)
        assert report["media"][0]["codec"] == media.get("codecs", ("PCMU",))[0]
        assert_heard(heard, ITS_TONE)
        assert_heard(await bob.heard(), OWN_TONE)
        media_alone = expected.suite in SHORT_TAGS
        spoilt = "failed to decrypt RTP packet" if media_alone else "failed to decrypt"
        assert spoilt not in bob.output()
        return bob

    return converse


@MUX
@pytest.mark.parametrize("suite", SUITES)
async def test_each_suite_is_heard_at_both_ends(conversation, expect, suite, rtcp_mux):
    expected = expect(
        peer="baresip",
        role="callee",
        keying="sdes",
        suite=suite,
        profile="RTP/SAVP",
        rtcp_mux=rtcp_mux,
        rtcp=suite is CM_80,
        note=SHORT_TAGS.get(suite, ""),
    )
    await conversation("srtp-mand", required(SrtpMethod.SDES, suite), expected)


@MUX
@pytest.mark.parametrize(
    ("encryption", "profile"),
    [("srtp", "RTP/AVP"), ("srtp-mand", "RTP/SAVP"), ("srtp-mandf", "RTP/SAVPF")],
)
async def test_each_way_it_offers_sdes_is_heard_at_both_ends(
    conversation, expect, encryption, profile, rtcp_mux
):
    expected = expect(
        peer="baresip",
        role="caller",
        keying="sdes",
        suite=CM_80,
        profile=profile,
        rtcp_mux=rtcp_mux,
        rtcp=encryption == "srtp-mand",
    )
    await conversation(encryption, required(SrtpMethod.SDES), expected)


@MUX
@ROLES
async def test_a_dtls_call_is_heard_at_both_ends(conversation, expect, role, rtcp_mux):
    expected = expect(
        peer="baresip",
        role=role,
        keying="dtls",
        suite=CM_80,
        profile=DTLS_PROFILES[role],
        rtcp_mux=rtcp_mux,
        rtcp=True,
        note="" if rtcp_mux else "two associations",
    )
    bob = await conversation("dtls_srtp", required(SrtpMethod.DTLS), expected)
    for port, there in (("RTP", True), ("RTCP", not rtcp_mux)):
        assert (f"DTLS-SRTP complete (audio/{port}) Profile={CM_80}" in bob.output()) is there


@ROLES
@pytest.mark.parametrize("suite", SUITES[1:])
async def test_each_dtls_profile_is_heard_at_both_ends(conversation, expect, suite, role):
    expected = expect(
        peer="baresip",
        role=role,
        keying="dtls",
        suite=suite,
        profile=DTLS_PROFILES[role],
        rtcp_mux=True,
        note=SHORT_TAGS.get(suite, ""),
    )
    await conversation("dtls_srtp", required(SrtpMethod.DTLS, suite), expected)


CODECS = {"G722": {"codecs": "G722", "rate": 16_000}, "opus": {"codecs": "opus", "rate": 48_000}}
"""What baresip is told to use, and how its tone has to be sampled for that."""


@ROLES
@pytest.mark.parametrize("keying", ["none", "sdes", "dtls"])
@pytest.mark.parametrize("codec", CODECS)
async def test_each_codec_is_heard_at_both_ends(conversation, expect, codec, keying, role):
    encryption, srtp, profile = {
        "none": ("", None, "RTP/AVP"),
        "sdes": ("srtp-mand", required(SrtpMethod.SDES), "RTP/SAVP"),
        "dtls": ("dtls_srtp", required(SrtpMethod.DTLS), DTLS_PROFILES[role]),
    }[keying]
    expected = expect(
        peer="baresip",
        role=role,
        keying=keying,
        suite=None if keying == "none" else CM_80,
        profile=profile,
        rtcp_mux=True,
        rtcp=True,
        note=codec,
    )
    await conversation(encryption, srtp, expected, its=CODECS[codec], codecs=(codec,))


@ROLES
@pytest.mark.parametrize("ptime", [10, 40, 60])
async def test_packets_of_opus_of_every_length_are_heard(conversation, expect, ptime, role):
    expected = expect(
        peer="baresip",
        role=role,
        keying="none",
        suite=None,
        profile="RTP/AVP",
        rtcp_mux=True,
        note=f"opus, {ptime} ms offered here",
    )
    its = CODECS["opus"]
    await conversation("", None, expected, its=its, codecs=("opus",), ptime=ptime)
