"""aiortc: DTLS-SRTP with the fingerprints it writes, judged by the tone heard at each end."""

from __future__ import annotations

import asyncio

import pytest

from callmeter import FingerprintMismatch, SrtpConfig, SrtpMethod, SrtpPolicy, SrtpSuite
from peers.aiortc import HASHES
from peers.conversation import ITS_TONE, OWN_TONE, assert_heard, talk

pytestmark = pytest.mark.interop("aiortc")

ONE_OR_ALL = pytest.mark.parametrize(
    "hashes", [HASHES, *((name,) for name in HASHES)], ids=["all", *HASHES]
)


def dtls(*suites):
    """DTLS-SRTP with these suites, or no call."""
    chosen = {"suites": suites} if suites else {}
    return SrtpConfig(method=SrtpMethod.DTLS, policy=SrtpPolicy.REQUIRED, **chosen)


@pytest.fixture
def conversation(phone, aiortc, expect, tmp_path):
    """One call in which both ends hear the other's tone."""

    async def converse(role, srtp, suite, hashes=HASHES, *, rtcp=False, ice=False):
        expected = expect(
            peer="aiortc",
            role=role,
            keying="dtls",
            suite=suite,
            profile="UDP/TLS/RTP/SAVPF",  # it answers with that too, whatever was offered
            rtcp_mux=True,
            rtcp=rtcp,
            note="ICE" if ice else "no ICE, " + ", ".join(hashes),
        )
        carol = aiortc(tone=ITS_TONE, hashes=hashes, ice=ice)
        await carol.begin()
        heard = tmp_path / "heard.wav"
        media = {"srtp": srtp, "rtcp_mux": True, "feedback": ice, "ice": ice}
        async with phone(**media) as alice, asyncio.TaskGroup() as tasks:
            if role == "callee":
                async with alice.call(carol.uri) as call:
                    await talk(call, heard, rtcp=rtcp)
            else:
                calling = tasks.create_task(carol.call(str(alice.contact)))
                incoming = await alice.next_call(20)
                async with await incoming.answer() as call:
                    await calling
                    await talk(call, heard, rtcp=rtcp)
            told = await carol.over()
        expected.assert_met(call.report().to_dict())
        assert call.report().to_dict()["media"][0]["ice"] is ice
        assert told["lost"] in {0, None}
        assert_heard(heard, ITS_TONE)
        assert_heard(carol.recording, OWN_TONE)

    return converse


@pytest.mark.parametrize("role", ["callee", "caller"])
async def test_a_whole_peer_connection_is_heard_at_both_ends(conversation, role):
    suite = SrtpSuite.AES_CM_128_HMAC_SHA1_80 if role == "callee" else SrtpSuite.AEAD_AES_128_GCM
    await conversation(role, dtls(), suite, rtcp=True, ice=True)


@ONE_OR_ALL
@pytest.mark.parametrize("role", ["callee", "caller"])
async def test_any_of_its_fingerprints_will_do(conversation, role, hashes):
    # The DTLS server chooses, and who is called is the client.
    suite = SrtpSuite.AES_CM_128_HMAC_SHA1_80 if role == "callee" else SrtpSuite.AEAD_AES_128_GCM
    await conversation(role, dtls(), suite, hashes, rtcp=len(hashes) > 1)


@pytest.mark.parametrize("role", ["callee", "caller"])
@pytest.mark.parametrize(
    "suite",
    [SrtpSuite.AES_CM_128_HMAC_SHA1_80, SrtpSuite.AEAD_AES_128_GCM, SrtpSuite.AEAD_AES_256_GCM],
)
async def test_a_suite_is_heard_at_both_ends(conversation, role, suite):
    await conversation(role, dtls(suite), suite)


@pytest.mark.parametrize(
    ("hashes", "wrong"), [*(((name,), name) for name in HASHES), (HASHES, "sha-512")]
)
async def test_a_fingerprint_of_another_certificate_ends_the_call(phone, aiortc, hashes, wrong):
    carol = aiortc(hashes=hashes, wrong=wrong)
    await carol.begin()
    async with phone(srtp=dtls(), rtcp_mux=True) as alice:
        with pytest.raises(FingerprintMismatch, match="does not match fingerprint") as caught:
            async with alice.call(carol.uri):
                pytest.fail("the call was answered")
    assert caught.value.report.to_dict()["media"] == []  # none was ever begun
    assert not carol.recording.exists()
