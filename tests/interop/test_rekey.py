"""New media keys in the middle of a call, with peers that nobody here wrote."""

from __future__ import annotations

import asyncio
import base64
import re

import pytest

from callmeter import CallRejected, DtlsConfig, SrtpConfig, SrtpMethod, SrtpPolicy, SrtpSuite, Tone
from callmeter.errors import DtlsTimeout
from peers.conversation import ITS_TONE, OWN_TONE, assert_heard, talk

REKEYS = 3
PATIENCE = 20
TURN = 0.4
HANDSHAKE_S = 10.0
"""Well below the patience of who waits for media: a handshake that fails says so first."""
REFUSED_S = 5.0
"""Until a peer that begins no new association is given up: it limits the first handshake too."""
CM_80 = SrtpSuite.AES_CM_128_HMAC_SHA1_80
LINPHONE_SUITES = (
    CM_80,
    SrtpSuite.AES_CM_128_HMAC_SHA1_32,
    SrtpSuite.AES_256_CM_HMAC_SHA1_80,
)
KEYS = {
    f"{name}_key": base64.b64encode(bytes([number]) * 30).decode()
    for number, name in enumerate(("first", "second", "third"))
}


def required(method, *suites, timeout=HANDSHAKE_S):
    """Keys by this method, or no call."""
    chosen = {"suites": suites} if suites else {}
    return SrtpConfig(
        method=SrtpMethod[method],
        policy=SrtpPolicy.REQUIRED,
        dtls=DtlsConfig(handshake_timeout=timeout),
        **chosen,
    )


async def rekey(call):
    """New keys a few times, and media under each; how many packets are sent while they change."""
    loop = asyncio.get_running_loop()
    meanwhile = 0
    for _ in range(REKEYS):
        begun = loop.time()
        async with asyncio.timeout(PATIENCE):
            await call.rekey()
        # One more is on its way when it begins, and one when it ends.
        meanwhile += int((loop.time() - begun) / 0.020) + 2
        await asyncio.sleep(TURN)
    return meanwhile


def assert_good(report, *, lost):
    """A call that lost no more than this, and to which the diagnosis has no objection."""
    assert report["outcome"] == "SUCCESS"
    assert [check for check in report["diagnosis"] if check["status"] == "fail"] == []
    receive = report["media"][0]["receive"]
    assert receive["packets_lost"] <= lost
    assert receive["srtp_decrypt_failures"] == 0


# rtpengine, with kamailio in front


@pytest.mark.interop("kamailio", "rtpengine")
@pytest.mark.parametrize("asking", ["caller", "callee"])
@pytest.mark.parametrize(
    ("caller", "offered", "callee"), [("SDES", "dtls", "DTLS"), ("DTLS", "sdes", "SDES")]
)
async def test_rtpengine_follows_new_keys_of_either_kind(
    phone, kamailio, rtpengine, tmp_path, caller, offered, callee, asking
):
    proxy = kamailio(rtpengine=rtpengine().address)
    heard = {name: tmp_path / f"{name}.wav" for name in ("alice", "bob")}
    rekeyed = asyncio.get_running_loop().create_future()
    answered = []

    async def answer(bob):
        incoming = await bob.next_call(PATIENCE)
        answered.append(incoming)
        async with await incoming.answer() as call:
            call.media.record(heard["bob"])
            call.media.stream.play(Tone(ITS_TONE))
            if asking == "callee":
                rekeyed.set_result(await rekey(call))
            await call.ended()
        return call

    async with (
        phone("alice", proxy=proxy.address, srtp=required(caller), rtcp_mux=True) as alice,
        phone("bob", proxy=proxy.address, srtp=required(callee), rtcp_mux=True) as bob,
        bob.registered(),
        asyncio.TaskGroup() as tasks,
    ):
        answering = tasks.create_task(answer(bob))
        async with alice.call("sip:bob@example.test", headers={"X-Media": offered}) as call:
            call.media.stream.play(Tone(OWN_TONE))
            if asking == "caller":
                rekeyed.set_result(await rekey(call))
            async with asyncio.timeout(PATIENCE * REKEYS):
                meanwhile = await rekeyed
            await talk(call, heard["alice"], others=answered)
    incoming = answering.result()
    asker, method = (call, caller) if asking == "caller" else (incoming, callee)
    counters = asker.report().to_dict()["counters"]
    assert counters["rekeys_sent"] == REKEYS
    assert counters["dtls_rehandshakes"] == (REKEYS if method == "DTLS" else 0)
    for end in (call, incoming):
        # It sends nothing from the new description to the end of the handshake.
        assert_good(end.report().to_dict(), lost=meanwhile)
    assert_heard(heard["alice"], ITS_TONE)
    assert_heard(heard["bob"], OWN_TONE)


# linphone


@pytest.mark.interop("linphone")
@pytest.mark.parametrize("suite", LINPHONE_SUITES)
async def test_linphone_follows_a_new_key(phone, linphone, tmp_path, suite):
    carol = linphone(encryption="srtp", tone=ITS_TONE)
    async with phone(srtp=required("SDES", suite)) as alice:
        async with alice.call(carol.uri) as call:
            await asyncio.to_thread(carol.play)
            call.media.stream.play(Tone(OWN_TONE))
            await rekey(call)
            await asyncio.to_thread(carol.record)
            await talk(call, tmp_path / "heard.wav")
        report = call.report().to_dict()
    assert report["counters"]["rekeys_sent"] == REKEYS
    assert_good(report, lost=2 * REKEYS)
    assert_heard(tmp_path / "heard.wav", ITS_TONE)
    assert_heard(await carol.heard(), OWN_TONE)


@pytest.mark.interop("linphone")
async def test_linphone_begins_no_new_association_and_the_old_one_goes_on(
    phone, linphone, tmp_path
):
    carol = linphone(encryption="dtls", tone=ITS_TONE, rtcp_mux=True)
    async with phone(srtp=required("DTLS", timeout=REFUSED_S), rtcp_mux=True) as alice:
        async with alice.call(carol.uri) as call:
            await asyncio.to_thread(carol.play)
            with pytest.raises(DtlsTimeout):
                await call.rekey()
            await asyncio.to_thread(carol.record)
            await talk(call, tmp_path / "heard.wav")
        report = call.report().to_dict()
    assert report["counters"]["dtls_rehandshakes"] == 0
    assert report["outcome"] == "COMPLETED_WITH_WARNINGS"
    assert_heard(tmp_path / "heard.wav", ITS_TONE)
    assert_heard(await carol.heard(), OWN_TONE)


# baresip


@pytest.mark.interop("baresip")
async def test_baresip_answers_a_new_key_with_its_old_one_which_stays_good(
    phone, baresip, tmp_path
):
    # baresip 1.0 does not take the new key either: from then on it hears nothing.
    bob = baresip(encryption="srtp-mand", tone=ITS_TONE)
    heard = tmp_path / "heard.wav"
    async with phone(srtp=required("SDES", CM_80)) as alice:
        async with alice.call(bob.uri) as call:
            await call.media.play(Tone(OWN_TONE), seconds=TURN)
            receiving = call.media.keys.receive
            await rekey(call)
            assert call.media.keys.receive is receiving
            await talk(call, heard)
        report = call.report().to_dict()
    assert report["counters"]["rekeys_sent"] == REKEYS
    assert_good(report, lost=0)
    assert_heard(heard, ITS_TONE)


@pytest.mark.interop("baresip")
async def test_baresip_begins_no_new_association_and_the_old_one_goes_on(phone, baresip, tmp_path):
    bob = baresip(encryption="dtls_srtp", tone=ITS_TONE, rtcp_mux=True)
    heard = tmp_path / "heard.wav"
    async with phone(srtp=required("DTLS", timeout=REFUSED_S), rtcp_mux=True) as alice:
        async with alice.call(bob.uri) as call:
            with pytest.raises(DtlsTimeout):
                await call.rekey()
            await talk(call, heard)
        report = call.report().to_dict()
    assert report["outcome"] == "COMPLETED_WITH_WARNINGS"
    assert report["media"][0]["receive"]["packets_lost"] == 0
    assert_heard(heard, ITS_TONE)
    assert_heard(await bob.heard(), OWN_TONE)


# sipp


def keys_of(messages):
    """The inline keys of each description, in the order they were sent."""
    return re.findall(r"inline:([A-Za-z0-9+/]+)", messages)


@pytest.mark.interop("sipp")
@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_new_keys_of_sipp_are_answered_with_new_ones(phone, sipp, transport):
    srtp = required("SDES", CM_80)
    async with phone("service", srtp=srtp, transport=transport) as bob:
        target = f"127.0.0.1:{bob.contact.port}"
        calling = sipp("uac_rekey", transport=transport, target=target, hold=300, keys=KEYS)
        call = await (await bob.next_call(PATIENCE)).answer()
        async with asyncio.timeout(PATIENCE):
            await call.ended()
        verdict = await calling.result()
    assert (verdict.status, verdict.successful, verdict.failed) == (0, 1, 0)
    counters = call.report().to_dict()["counters"]
    assert (counters["rekeys_received"], counters["hold_count"]) == (2, 1)
    assert len(set(keys_of(verdict.messages))) == 6


@pytest.mark.interop("sipp")
async def test_a_new_key_that_sipp_refuses_leaves_the_one_it_took(phone, sipp):
    callee = sipp("uas_rekey", keys=KEYS)
    async with phone(srtp=required("SDES")) as alice:
        async with alice.call(f"sip:service@{callee.address}") as call:
            await call.rekey()
            agreed = call.media.keys.send, call.media.keys.receive
            with pytest.raises(CallRejected, match="488"):
                await call.rekey()
            assert (call.media.keys.send, call.media.keys.receive) == agreed
        verdict = await callee.result()
    assert (verdict.status, verdict.successful, verdict.failed) == (0, 1, 0)
    assert call.report().to_dict()["counters"]["rekeys_sent"] == 1
