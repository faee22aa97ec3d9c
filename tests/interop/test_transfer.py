"""Transfers with baresip and sipp: who asks, who is asked, who is called; heard at both ends."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from callmeter import (
    CallRejected,
    SrtpConfig,
    SrtpMethod,
    SrtpPolicy,
    Tone,
    TransferPolicy,
    events,
)
from peers.conversation import converse
from peers.tone import loudest

pytestmark = pytest.mark.interop("baresip")

OWN_TONE = 440
BOBS_TONE = 880
CAROLS_TONE = 1_320
SECONDS = 1.5
PATIENCE = 15


def assert_heard(recording, hertz):
    found, share = loudest(recording)
    assert found == pytest.approx(hertz, abs=5)
    assert share > 0.9


def uri(endpoint):
    return str(endpoint.contact)


async def talk(call, recording, hertz=OWN_TONE):
    await converse(call, hertz, recording)


async def transferred(call):
    """The call that takes the place of this one."""
    async with asyncio.timeout(PATIENCE):
        async for event in call.events():
            if isinstance(event, events.Transferred):
                return event.call
    raise AssertionError("the call was not transferred")


async def test_baresip_calls_whom_we_transfer_it_to(phone, baresip, tmp_path):
    bob = baresip(tone=BOBS_TONE)

    async def answer(carol):
        async with await (await carol.next_call(PATIENCE)).answer() as call:
            await talk(call, tmp_path / "carol.wav", CAROLS_TONE)
        return call.request

    async with phone() as alice, phone("carol") as carol, asyncio.TaskGroup() as tasks:
        answering = tasks.create_task(answer(carol))
        async with alice.call(bob.uri) as call:
            # Its recordings of two calls within a second would have the same name.
            await call.media.play(Tone(OWN_TONE), seconds=1.2)
            assert await call.transfer(uri(carol)) == 200
        progress = [e.status async for e in call.events() if isinstance(e, events.TransferProgress)]
    assert progress[-1] == 200
    assert call.report().to_dict()["outcome"] == "SUCCESS"
    assert_heard(tmp_path / "carol.wav", BOBS_TONE)
    assert_heard(await bob.heard(call=2), CAROLS_TONE)
    assert answering.result().from_.uri.user_text == "bob"


async def test_baresip_takes_our_place_in_an_attended_transfer(phone, baresip, tmp_path):
    """It copies the Refer-To into its Request-URI as it stands, Replaces included."""
    bob = baresip(tone=BOBS_TONE)
    async with (
        phone() as alice,
        phone("carol", transfers=TransferPolicy.FOLLOW) as carol,
        asyncio.timeout(PATIENCE),
        asyncio.TaskGroup() as tasks,
    ):
        at_carol = tasks.create_task(answered(carol))
        async with alice.call(bob.uri) as call:
            # Its recordings of two calls within a second would have the same name.
            await call.media.play(Tone(OWN_TONE), seconds=1.2)
            async with alice.call(uri(carol)) as other:
                await call.hold()
                assert await call.transfer_to(other) == 200
                await other.ended()
        async with await transferred(await at_carol) as successor:
            await talk(successor, tmp_path / "carol.wav")
    assert successor.request.from_.uri.user_text == "bob"
    assert_heard(tmp_path / "carol.wav", BOBS_TONE)
    assert_heard(await bob.heard(call=2), OWN_TONE)


async def test_a_transfer_to_who_is_busy_leaves_baresip_in_the_call(phone, baresip, tmp_path):
    bob = baresip(tone=BOBS_TONE)

    async def refuse(carol):
        (await carol.next_call(PATIENCE)).reject(486)

    async with phone() as alice, phone("carol") as carol, alice.call(bob.uri) as call:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(refuse(carol))
            with pytest.raises(CallRejected) as caught:
                await call.transfer(uri(carol))
        assert caught.value.status == 486
        assert not call.over


async def test_we_call_whom_baresip_transfers_us_to(phone, baresip, tmp_path):
    bob, carol = baresip(tone=BOBS_TONE), baresip("carol", tone=CAROLS_TONE)
    control = await bob.control()
    async with phone(transfers=TransferPolicy.FOLLOW) as alice, alice.call(bob.uri) as call:
        await control.event("CALL_ESTABLISHED")
        await call.media.play(Tone(OWN_TONE), seconds=0.3)
        await control.command("transfer", carol.uri)
        async with await transferred(call) as successor:
            await talk(successor, tmp_path / "alice.wav")
            async with asyncio.timeout(PATIENCE):
                await call.ended()
    await control.close()
    assert_heard(tmp_path / "alice.wav", CAROLS_TONE)
    assert_heard(await carol.heard(), OWN_TONE)


async def test_baresip_is_told_that_transfers_are_refused(phone, baresip):
    bob = baresip(tone=BOBS_TONE)
    control = await bob.control()
    async with phone() as alice, alice.call(bob.uri):
        await control.event("CALL_ESTABLISHED")
        await control.command("transfer", "sip:carol@127.0.0.1")
        told = await control.event("TRANSFER_FAILED")
        assert "405" in told["param"]
    await control.close()


@pytest.mark.interop("linphone")
async def test_linphone_takes_our_place_in_an_attended_transfer(phone, linphone, tmp_path):
    """linphone calls carol with Replaces, whose call with us it takes over."""
    bob = linphone(tone=BOBS_TONE)
    srtp = SrtpConfig(method=SrtpMethod.SDES, policy=SrtpPolicy.REQUIRED)

    async def answer(carol):
        first = await (await carol.next_call(PATIENCE)).answer()
        successor = await transferred(first)
        bob.play()
        await talk(successor, tmp_path / "carol.wav")
        await successor.bye()
        return successor.request

    async with (
        phone(srtp=srtp) as alice,
        phone("carol", srtp=srtp, transfers=TransferPolicy.FOLLOW) as carol,
        asyncio.TaskGroup() as tasks,
    ):
        answering = tasks.create_task(answer(carol))
        async with alice.call(bob.uri) as call, alice.call(uri(carol)) as other:
            await call.hold()
            assert await call.transfer_to(other) == 200
            async with asyncio.timeout(PATIENCE):
                await other.ended()
    assert answering.result().headers.get("Replaces")
    assert_heard(tmp_path / "carol.wav", BOBS_TONE)


@pytest.mark.interop("baresip", "sipp")
@pytest.mark.parametrize("policy", [TransferPolicy.FOLLOW, TransferPolicy.ASK])
async def test_we_call_whom_sipp_transfers_us_to(phone, sipp, baresip, tmp_path, policy):
    carol = baresip("carol", tone=CAROLS_TONE)
    keys = {"refer_port": str(carol.port)}
    referrer = sipp("uas_refer", user="carol", keys=keys)
    async with phone(transfers=policy) as alice:
        async with alice.call(f"sip:service@{referrer.address}") as call:
            if policy is TransferPolicy.ASK:
                async for event in call.events():
                    if isinstance(event, events.TransferRequested):
                        assert event.request.target == carol.uri.partition(";")[0]
                        await event.request.accept()
                        break
            async with await transferred(call) as successor:
                await talk(successor, tmp_path / "alice.wav")
        verdict = await referrer.result()
    assert (verdict.status, verdict.successful, verdict.failed) == (0, 1, 0)
    assert "SIP/2.0 100 Trying" in verdict.messages
    assert "SIP/2.0 200 OK" in verdict.messages
    assert_heard(tmp_path / "alice.wav", CAROLS_TONE)
    assert_heard(await carol.heard(), OWN_TONE)


@pytest.mark.interop("baresip", "sipp")
async def test_we_call_whom_sipp_as_the_caller_transfers_us_to(phone, sipp, baresip, tmp_path):
    carol = baresip("carol", tone=CAROLS_TONE)
    async with phone("service", transfers=TransferPolicy.FOLLOW) as bob:
        keys = {"refer_port": str(carol.port)}
        target = f"127.0.0.1:{bob.contact.port}"
        referrer = sipp("uac_refer", target=target, keys=keys)
        incoming = await (await bob.next_call(PATIENCE)).answer()
        async with await transferred(incoming) as successor:
            await talk(successor, tmp_path / "bob.wav")
        await incoming.bye()
        verdict = await referrer.result()
    assert (verdict.status, verdict.successful, verdict.failed) == (0, 1, 0)
    assert_heard(tmp_path / "bob.wav", CAROLS_TONE)
    assert_heard(await carol.heard(), OWN_TONE)


@pytest.mark.interop("sipp")
async def test_sipp_is_transferred_and_tells_how_that_goes(phone, sipp):
    bob = sipp("uas_referred")
    async with phone() as alice:
        async with asyncio.timeout(PATIENCE), alice.call(f"sip:service@{bob.address}") as call:
            assert await call.transfer("sip:carol@127.0.0.1") == 200
        verdict = await bob.result()
    assert (verdict.status, verdict.successful, verdict.failed) == (0, 1, 0)
    progress = [e.status async for e in call.events() if isinstance(e, events.TransferProgress)]
    assert progress == [180, 200]


@pytest.mark.interop("kamailio")
@pytest.mark.parametrize("kind", ["blind", "attended"])
async def test_a_transfer_goes_by_a_record_routing_proxy(phone, kamailio, tmp_path, kind):
    proxy = kamailio()
    users = ("alice", "bob", "carol")
    follow = {"proxy": proxy.address, "transfers": TransferPolicy.FOLLOW}
    async with contextlib.AsyncExitStack() as entered:
        phones = [await entered.enter_async_context(phone(user, **follow)) for user in users]
        for one in phones:
            await entered.enter_async_context(one.registered())
        alice, bob, carol = phones
        tasks = await entered.enter_async_context(asyncio.TaskGroup())
        at_bob = tasks.create_task(answered(bob))
        at_carol = tasks.create_task(answered(carol))
        async with asyncio.timeout(PATIENCE), alice.call("sip:bob@example.test") as call:
            if kind == "blind":
                assert await call.transfer("sip:carol@example.test") == 200
                called = await at_carol
            else:
                async with alice.call("sip:carol@example.test") as other:
                    assert await call.transfer_to(other) == 200
                    await other.ended()
                called = await transferred(await at_carol)
            async with await transferred(await at_bob) as successor:
                called.media.record(tmp_path / "carol.wav")
                tasks.create_task(called.media.play(Tone(CAROLS_TONE), seconds=SECONDS))
                await talk(successor, tmp_path / "bob.wav")
    assert_heard(tmp_path / "carol.wav", OWN_TONE)
    assert_heard(tmp_path / "bob.wav", CAROLS_TONE)


async def answered(endpoint):
    return await (await endpoint.next_call(PATIENCE)).answer()
