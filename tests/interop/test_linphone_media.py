"""linphone: SDES and DTLS-SRTP in both directions, judged by the tone heard at each end."""

from __future__ import annotations

import asyncio

import pytest

from callmeter import SrtpConfig, SrtpMethod, SrtpPolicy, SrtpSuite
from peers.conversation import ITS_TONE, OWN_TONE, assert_heard, talk

pytestmark = pytest.mark.interop("linphone")

DTLS = SrtpConfig(method=SrtpMethod.DTLS, policy=SrtpPolicy.REQUIRED)
SUITES = (
    SrtpSuite.AES_CM_128_HMAC_SHA1_80,
    SrtpSuite.AES_CM_128_HMAC_SHA1_32,
    SrtpSuite.AES_256_CM_HMAC_SHA1_80,
    SrtpSuite.AES_256_CM_HMAC_SHA1_32,
)
MUX = pytest.mark.parametrize("rtcp_mux", [False, True], ids=["two-ports", "rtcp-mux"])


def sdes(suite):
    """This suite by SDES, or no call."""
    return SrtpConfig(method=SrtpMethod.SDES, policy=SrtpPolicy.REQUIRED, suites=(suite,))


@pytest.fixture
def conversation(phone, linphone, tmp_path):
    """One call in which both ends hear the other's tone; held to what is expected of it."""

    async def speak(call, carol, expected):
        await asyncio.to_thread(carol.record)
        await asyncio.to_thread(carol.play)
        await talk(call, tmp_path / "heard.wav", rtcp=expected.rtcp)

    async def call_it(alice, carol, expected):
        async with alice.call(carol.uri) as call:
            await speak(call, carol, expected)
        return call

    async def be_called(alice, carol, expected):
        await asyncio.to_thread(carol.command, f"call {alice.contact}")
        incoming = await alice.next_call(20)
        async with await incoming.answer() as call:
            await speak(call, carol, expected)
            await asyncio.to_thread(carol.command, "terminate")
            async with asyncio.timeout(20):
                await call.ended()
        return call

    async def converse(srtp, expected):
        encryption = "dtls" if expected.keying == "dtls" else "srtp"
        carol = linphone(encryption=encryption, tone=ITS_TONE, rtcp_mux=expected.rtcp_mux)
        async with phone(srtp=srtp, rtcp_mux=expected.rtcp_mux) as alice:
            do = call_it if expected.role == "callee" else be_called
            call = await do(alice, carol, expected)
        expected.assert_met(call.report().to_dict())
        assert_heard(tmp_path / "heard.wav", ITS_TONE)
        assert_heard(await carol.heard(), OWN_TONE)

    return converse


@pytest.mark.parametrize("role", ["callee", "caller"])
@pytest.mark.parametrize("suite", SUITES)
async def test_each_suite_of_its_own_is_heard_at_both_ends(conversation, expect, suite, role):
    first = suite is SUITES[0]
    how = {"peer": "linphone", "role": role, "keying": "sdes", "suite": suite}
    rtcp = first and role == "callee"
    expected = expect(**how, profile="RTP/SAVP", rtcp_mux=first, rtcp=rtcp)
    await conversation(sdes(suite), expected)


@MUX
@pytest.mark.parametrize("role", ["callee", "caller"])
async def test_a_dtls_call_is_heard_at_both_ends(conversation, expect, role, rtcp_mux):
    how = {"peer": "linphone", "role": role, "keying": "dtls", "suite": SUITES[0]}
    rtcp = role == "caller" and not rtcp_mux  # the keys of another association
    expected = expect(**how, profile="UDP/TLS/RTP/SAVP", rtcp_mux=rtcp_mux, rtcp=rtcp)
    await conversation(DTLS, expected)
