"""janus: SDES-SRTP in both directions, mandatory and optional, judged by what each end heard.

A browser's place behind the gateway is taken by aiortc.
"""

from __future__ import annotations

import asyncio

import pytest

from callmeter import SrtpConfig, SrtpMethod, SrtpPolicy, SrtpSuite
from peers.conversation import ITS_TONE, OWN_TONE, assert_heard, talk
from peers.kamailio import PASSWORD

SUITES = pytest.mark.parametrize(
    "suite", [SrtpSuite.AES_CM_128_HMAC_SHA1_80, SrtpSuite.AES_CM_128_HMAC_SHA1_32]
)
MODES = pytest.mark.parametrize(
    ("mode", "profile"), [("sdes_mandatory", "RTP/SAVP"), ("sdes_optional", "RTP/AVP")]
)


def sdes(suite, *, optional=False):
    """This suite by SDES."""
    policy = SrtpPolicy.OFFERED if optional else SrtpPolicy.REQUIRED
    return SrtpConfig(method=SrtpMethod.SDES, policy=policy, suites=(suite,), osrtp=optional)


@pytest.mark.interop("janus")
@SUITES
@MODES
async def test_a_call_from_janus_is_heard_at_both_ends(
    phone, janus, expect, tmp_path, suite, mode, profile
):
    expected = expect(
        peer="janus",
        role="caller",
        keying="sdes",
        suite=suite,
        profile=profile,
        rtcp_mux=False,
        rtcp=True,
    )
    carol = janus(tone=ITS_TONE)
    await carol.begin("sip:carol@127.0.0.1")
    heard = tmp_path / "heard.wav"
    async with phone(srtp=sdes(suite)) as alice, asyncio.TaskGroup() as tasks:
        calling = tasks.create_task(carol.call(str(alice.contact), srtp=mode, suite=suite))
        incoming = await alice.next_call(20)
        async with await incoming.answer() as call:
            await calling
            await talk(call, heard, rtcp=expected.rtcp)
            await carol.hang_up()
            async with asyncio.timeout(20):
                await call.ended()
    expected.assert_met(call.report().to_dict())
    assert_heard(heard, ITS_TONE)
    assert_heard(carol.recording, OWN_TONE)


@pytest.mark.interop("janus", "kamailio")
@SUITES
@MODES
async def test_a_call_to_janus_is_heard_at_both_ends(
    phone, janus, kamailio, expect, tmp_path, suite, mode, profile
):
    expected = expect(
        peer="janus",
        role="callee",
        keying="sdes",
        suite=suite,
        profile=profile,
        rtcp_mux=False,
        rtcp=True,
    )
    proxy = kamailio()
    carol = janus(tone=ITS_TONE)
    registrar = f"sip:{proxy.address}"
    await carol.begin("sip:carol@example.test", registrar=registrar, password=PASSWORD)
    heard = tmp_path / "heard.wav"
    srtp = sdes(suite, optional=mode == "sdes_optional")
    async with phone(proxy=proxy.address, srtp=srtp) as alice, asyncio.TaskGroup() as tasks:
        answering = tasks.create_task(carol.answer())
        async with alice.call("sip:carol@example.test") as call:
            await answering
            await talk(call, heard, rtcp=expected.rtcp)
            await carol.hang_up()
            async with asyncio.timeout(20):
                await call.ended()
    expected.assert_met(call.report().to_dict())
    assert_heard(heard, ITS_TONE)
    assert_heard(carol.recording, OWN_TONE)
