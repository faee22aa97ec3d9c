"""rtpengine between callers and callees with different keys, judged by what each end heard.

kamailio has it change the media: `X-Media` of the INVITE says what the callee is offered.
"""

from __future__ import annotations

import asyncio

import pytest

from callmeter import DtlsConfig, SrtpConfig, SrtpMethod, SrtpPolicy, SrtpSuite, Tone
from callmeter.srtp import profile
from peers.conversation import ITS_TONE, OWN_TONE, assert_heard, talk

pytestmark = pytest.mark.interop("kamailio", "rtpengine")

CLEAR = SrtpConfig()
HANDSHAKE = DtlsConfig(handshake_timeout=10)
"""Well below the patience of who waits for media: a handshake that fails says so first."""
CM_80 = SrtpSuite.AES_CM_128_HMAC_SHA1_80
GCM_128 = SrtpSuite.AEAD_AES_128_GCM
GCM_256 = SrtpSuite.AEAD_AES_256_GCM


def required(method, *suites):
    """Keys by this method, or no call."""
    chosen = {"suites": suites} if suites else {}
    return SrtpConfig(
        method=SrtpMethod[method], policy=SrtpPolicy.REQUIRED, dtls=HANDSHAKE, **chosen
    )


def without_padding(suite):
    """A key of this suite in a message as it is logged, its base64 without `=`."""
    octets = profile(suite).master_length
    return f"{suite} inline:[redacted {-(-octets * 4 // 3)} characters]"


@pytest.fixture
def bridged(phone, kamailio, rtpengine, tmp_path):
    """Call from alice to bob, each with keys of its own, and hold the reports to what is due."""

    async def call(caller, offered, callee, expected_of_caller, expected_of_callee):
        proxy = kamailio(rtpengine=rtpengine().address)
        heard = {name: tmp_path / f"{name}.wav" for name in ("alice", "bob")}
        answered = []

        async def answer(bob):
            incoming = await bob.next_call(20)
            answered.append(incoming)
            async with await incoming.answer() as call:
                call.media.record(heard["bob"])
                await call.media.play(Tone(ITS_TONE))
            return call

        async with (
            phone("alice", proxy=proxy.address, srtp=caller, rtcp_mux=True) as alice,
            phone("bob", proxy=proxy.address, srtp=callee, rtcp_mux=True) as bob,
            bob.registered(),
            asyncio.TaskGroup() as tasks,
        ):
            answering = tasks.create_task(answer(bob))
            async with alice.call("sip:bob@example.test", headers={"X-Media": offered}) as call:
                rtcp = expected_of_caller.rtcp
                await talk(call, heard["alice"], rtcp=rtcp, others=answered)
        expected_of_caller.assert_met(call.report().to_dict())
        expected_of_callee.assert_met(answering.result().report().to_dict())
        assert_heard(heard["alice"], ITS_TONE)
        assert_heard(heard["bob"], OWN_TONE)
        return "".join(entry.text for entry in (*alice.messages, *bob.messages))

    return call


@pytest.fixture
def leg(expect):
    """A row of the matrix for one side of a bridged call."""

    def build(role, *, rtcp_mux=False, **how):
        return expect(peer="rtpengine", role=role, rtcp_mux=rtcp_mux, **how)

    return build


async def test_a_caller_with_sdes_reaches_a_callee_with_dtls(bridged, leg):
    await bridged(
        required("SDES"),
        "dtls",
        required("DTLS"),
        leg("callee", keying="sdes", suite=CM_80, profile="RTP/SAVP", rtcp_mux=True, rtcp=True),
        # Of the profiles offered it takes the one it likes best.
        leg("caller", keying="dtls", suite=GCM_128, profile="UDP/TLS/RTP/SAVP", rtcp_mux=True),
    )


async def test_a_caller_with_dtls_reaches_a_callee_with_sdes(bridged, leg):
    await bridged(
        required("DTLS"),
        "sdes",
        required("SDES"),
        leg("callee", keying="dtls", suite=CM_80, profile="UDP/TLS/RTP/SAVP", rtcp_mux=True),
        leg("caller", keying="sdes", suite=CM_80, profile="RTP/SAVP"),
    )


@pytest.mark.parametrize(
    ("method", "keying", "suite", "own"),
    [
        ("SDES", "sdes", CM_80, ()),
        ("SDES", "sdes", GCM_256, (GCM_256,)),
        ("DTLS", "dtls", GCM_128, ()),
        ("DUAL", "dtls", GCM_128, ()),
    ],
)
async def test_the_twelve_suites_and_the_fingerprint_of_one_offer_are_answered_either_way(
    bridged, leg, method, keying, suite, own
):
    messages = await bridged(
        CLEAR,
        "dual",
        required(method, *own),
        leg("callee", keying="none", suite=None, profile="RTP/AVP", rtcp_mux=True),
        leg(
            "caller",
            keying=keying,
            suite=suite,
            profile="RTP/SAVP",
            rtcp_mux=True,
            note=f"its dual offer, method {method} here",
        ),
    )
    assert without_padding(GCM_256) in messages
    assert all(f"a=crypto:{number} " in messages for number in range(1, 13))


@pytest.mark.parametrize(
    "suite",
    [GCM_256, GCM_128, SrtpSuite.AES_256_CM_HMAC_SHA1_80, SrtpSuite.AES_192_CM_HMAC_SHA1_32],
)
async def test_a_key_without_base64_padding_is_taken(bridged, leg, suite):
    messages = await bridged(
        CLEAR,
        "sdes-unpadded",
        required("SDES", suite),
        leg("callee", keying="none", suite=None, profile="RTP/AVP", rtcp_mux=True),
        leg("caller", keying="sdes", suite=suite, profile="RTP/SAVP", note="a key without padding"),
    )
    assert without_padding(suite) in messages


async def test_a_key_without_base64_padding_is_taken_in_an_answer(bridged, leg):
    how = {"keying": "sdes", "suite": GCM_256, "profile": "RTP/SAVP", "rtcp_mux": True}
    messages = await bridged(
        required("SDES", GCM_256),
        "plain",
        CLEAR,
        leg("callee", **how, note="a key without padding"),
        leg("caller", keying="none", suite=None, profile="RTP/AVP"),
    )
    assert without_padding(GCM_256) in messages


async def test_rtpengine_takes_one_of_the_keys_of_our_dual_offer(bridged, leg):
    await bridged(
        required("DUAL"),
        "plain",
        CLEAR,
        leg(
            "callee",
            keying="dtls",
            suite=CM_80,
            profile="UDP/TLS/RTP/SAVP",
            rtcp_mux=True,
            note="a dual offer to it",
        ),
        leg("caller", keying="none", suite=None, profile="RTP/AVP"),
    )
