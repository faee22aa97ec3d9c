"""Transfers between endpoints of ours, and with a phone that is a script."""

from __future__ import annotations

import asyncio

import pytest

from callmeter import (
    CallFailed,
    CallRejected,
    CallTimedOut,
    ConnectionFailed,
    EndpointConfig,
    LocalProtocolError,
    MediaConfig,
    NoCommonSuite,
    RequestRejected,
    SrtpConfig,
    SrtpPolicy,
    TransferPolicy,
    events,
)
from callmeter.endpoint import Endpoint
from callmeter.sip.extension_headers import Replaces

PATIENCE = 20
LOOPBACK = "127.0.0.1"


@pytest.fixture
def make(entered, stack):
    """An endpoint with a policy."""

    async def build(user, policy=TransferPolicy.REFUSE, on=stack):
        config = EndpointConfig(f"sip:{user}@{LOOPBACK}", transfers=policy)
        return await entered.enter_async_context(Endpoint(config, on))

    return build


@pytest.fixture
async def connected(make):
    """Alice called bob: her call, his call."""

    async def build(alice, bob):
        call = await alice.invite(str(bob.contact))
        incoming = await bob.next_call(PATIENCE)
        await incoming.answer()
        await call.answered(PATIENCE)
        return call, incoming

    return build


async def first(call, kind):
    async with asyncio.timeout(PATIENCE):
        async for event in call.events():
            if isinstance(event, kind):
                return event
    raise AssertionError(f"the call ended without {kind.__name__}")


async def told(call, kind):
    return [event async for event in call.events() if isinstance(event, kind)]


async def take(endpoint):
    incoming = await endpoint.next_call(PATIENCE)
    incoming.ring()
    return await incoming.answer()


async def accept(call):
    event = await first(call, events.TransferRequested)
    return event.request, await event.request.accept()


# blind


async def test_a_blind_transfer_ends_the_call_when_the_target_has_answered(make, connected):
    alice, bob, carol = (
        await make("alice"),
        await make("bob", TransferPolicy.ASK),
        await make("carol"),
    )
    call, incoming = await connected(alice, bob)
    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as tasks:
        accepting = tasks.create_task(accept(incoming))
        answering = tasks.create_task(take(carol))
        assert await call.transfer(str(carol.contact)) == 200
    assert call.over
    assert call.report().to_dict()["outcome"] == "SUCCESS"
    progress = [event.status for event in await told(call, events.TransferProgress)]
    assert progress[0] == 100
    assert progress[-1] == 200
    async with asyncio.timeout(PATIENCE):
        await incoming.ended()
    request, successor = accepting.result()
    assert request.target == str(carol.contact)
    assert request.referred_by == f"<sip:alice@{LOOPBACK}>"
    assert not request.attended
    assert not request.waiting
    [transferred] = await told(incoming, events.Transferred)
    assert transferred.call is successor
    assert answering.result().request.headers.get("Referred-By") == request.referred_by
    with pytest.raises(LocalProtocolError):
        request.reject()


async def test_an_endpoint_that_follows_does_it_by_itself(make, connected):
    alice, bob, carol = (
        await make("alice"),
        await make("bob", TransferPolicy.FOLLOW),
        await make("carol"),
    )
    call, incoming = await connected(alice, bob)
    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as tasks:
        answering = tasks.create_task(take(carol))
        await call.transfer(str(carol.contact))
        transferred = await first(incoming, events.Transferred)
        await incoming.ended()
    await transferred.call.bye()
    async with asyncio.timeout(PATIENCE):
        await answering.result().ended()


async def test_a_target_that_is_busy_leaves_the_call_as_it_was(make, connected):
    alice, bob, carol = (
        await make("alice"),
        await make("bob", TransferPolicy.FOLLOW),
        await make("carol"),
    )
    call, incoming = await connected(alice, bob)

    async def refuse():
        (await carol.next_call(PATIENCE)).reject(486)

    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as tasks:
        tasks.create_task(refuse())
        with pytest.raises(CallRejected) as caught:
            await call.transfer(str(carol.contact))
    assert caught.value.status == 486
    assert not call.over
    assert not incoming.over


async def test_a_target_that_cannot_be_reached_is_told_and_the_call_goes_on(
    make, connected, monkeypatch
):
    alice, bob = await make("alice"), await make("bob", TransferPolicy.ASK)
    call, incoming = await connected(alice, bob)

    async def nowhere(*_, **__):
        raise ConnectionFailed("no way")

    monkeypatch.setattr(bob, "invite", nowhere)

    async def try_it():
        request = (await first(incoming, events.TransferRequested)).request
        with pytest.raises(ConnectionFailed):
            await request.accept()

    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as tasks:
        tasks.create_task(try_it())
        with pytest.raises(CallRejected) as caught:
            await call.transfer("sip:carol@127.0.0.1:1")
    assert caught.value.status == 503
    assert not call.over


async def test_a_refer_nobody_asked_for_is_not_served(make, connected):
    alice, bob = await make("alice"), await make("bob")
    call, incoming = await connected(alice, bob)
    with pytest.raises(RequestRejected) as caught:
        await call.transfer("sip:carol@127.0.0.1")
    assert caught.value.status == 405
    assert not call.over
    assert not incoming.over


async def test_a_request_may_be_rejected(make, connected):
    alice, bob = await make("alice"), await make("bob", TransferPolicy.ASK)
    call, incoming = await connected(alice, bob)

    async def reject():
        (await first(incoming, events.TransferRequested)).request.reject()

    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as tasks:
        tasks.create_task(reject())
        with pytest.raises(RequestRejected) as caught:
            await call.transfer("sip:carol@127.0.0.1")
    assert caught.value.status == 603


async def test_a_request_that_nobody_looks_at_is_declined_in_time(make, connected, hasty_stack):
    alice = await make("alice", on=hasty_stack)
    bob = await make("bob", TransferPolicy.ASK, on=hasty_stack)
    call, _ = await connected(alice, bob)
    with pytest.raises(RequestRejected) as caught:
        await call.transfer("sip:carol@127.0.0.1")
    assert caught.value.status == 603


async def test_what_is_no_call_is_declined(make, connected):
    alice, bob = await make("alice"), await make("bob", TransferPolicy.ASK)
    call, _ = await connected(alice, bob)
    with pytest.raises(RequestRejected) as caught:
        await call.transfer("sip:carol@127.0.0.1;method=BYE")
    assert caught.value.status == 603


async def test_an_endpoint_that_is_being_left_calls_nobody(make, connected, monkeypatch):
    alice, bob = await make("alice"), await make("bob", TransferPolicy.FOLLOW)
    call, _ = await connected(alice, bob)
    monkeypatch.setattr(Endpoint, "running", False)
    with pytest.raises(RequestRejected, match="603"):
        await call.transfer("sip:carol@127.0.0.1")


# attended


@pytest.mark.parametrize("policy", [TransferPolicy.ASK, TransferPolicy.FOLLOW])
async def test_an_attended_transfer_connects_the_peers_of_two_calls(make, connected, policy):
    alice, bob, carol = await make("alice"), await make("bob", policy), await make("carol", policy)
    call, at_bob = await connected(alice, bob)
    other, at_carol = await connected(alice, carol)

    async def join():
        if policy is TransferPolicy.FOLLOW:
            return
        incoming = await carol.next_call(PATIENCE)
        assert incoming.replaces is at_carol
        await incoming.answer()

    async def go():
        if policy is TransferPolicy.ASK:
            request, _ = await accept(at_bob)
            assert request.attended

    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as tasks:
        tasks.create_task(join())
        tasks.create_task(go())
        assert await call.transfer_to(other) == 200
        for ended in (call, other, at_bob, at_carol):
            await ended.ended()
    [from_bob] = await told(at_bob, events.Transferred)
    [from_carol] = await told(at_carol, events.Transferred)
    assert from_bob.call.call_id == from_carol.call.call_id
    assert not from_bob.call.over
    assert from_carol.call.replaces is None


async def test_an_attended_transfer_needs_two_answered_calls(make, connected):
    alice, bob = await make("alice"), await make("bob")
    call, _ = await connected(alice, bob)
    ringing = await alice.invite(str(bob.contact))
    for pair in ((call, ringing), (ringing, call)):
        with pytest.raises(LocalProtocolError):
            await pair[0].transfer_to(pair[1])


@pytest.mark.parametrize("wrong", ["call_id", "to_tag", "from_tag"])
async def test_a_replaces_matches_in_all_three_fields_or_gets_481(make, connected, wrong):
    alice, bob = await make("alice"), await make("bob", TransferPolicy.FOLLOW)
    _, incoming = await connected(alice, bob)
    dialog = incoming.session.dialog
    fields = {
        "call_id": dialog.call_id,
        "to_tag": dialog.local_tag,
        "from_tag": dialog.remote_tag,
        wrong: "other",
    }
    call = await alice.invite(str(bob.contact), headers={"Replaces": str(Replaces(**fields))})
    with pytest.raises(CallRejected) as caught:
        await call.answered(PATIENCE)
    assert caught.value.status == 481
    assert not incoming.over


async def test_a_call_that_cannot_take_the_place_of_another_leaves_it(make, connected):
    alice, bob = await make("alice"), await make("bob", TransferPolicy.FOLLOW)
    _, incoming = await connected(alice, bob)
    dialog = incoming.session.dialog
    value = Replaces(dialog.call_id, dialog.local_tag, dialog.remote_tag)
    call = await alice.invite(
        str(bob.contact),
        headers={"Replaces": str(value)},
        media=MediaConfig(srtp=SrtpConfig(policy=SrtpPolicy.REQUIRED)),
    )
    with pytest.raises(NoCommonSuite):
        await call.answered(PATIENCE)
    assert not incoming.over


# what a peer may do


@pytest.fixture
def referred(phone, begin, alice):
    """A call to the phone, which is to be transferred; the REFER and what comes of it."""

    async def build():
        call = await begin(alice)
        transfer = asyncio.ensure_future(call.transfer("sip:carol@127.0.0.1"))  # noqa: TID251
        return call, transfer, await phone.expect("REFER")

    return build


async def test_a_peer_that_tells_nothing_is_believed(phone, referred):
    call, transfer, refer = await referred()
    response = refer.create_response(
        202, headers=[("Refer-Sub", "false"), ("Contact", f"<{phone.uri}>")]
    )
    phone._socket.sendto(response.to_bytes(), phone._peer)
    phone.answer(await phone.expect("BYE"))
    async with asyncio.timeout(PATIENCE):
        assert await transfer == 202
    assert call.over


@pytest.mark.parametrize("tells", [True, False])
async def test_a_peer_that_hangs_up_first_may_still_tell(phone, referred, tells):
    call, transfer, refer = await referred()
    phone.answer(refer, 202)
    phone.request("BYE")
    async with asyncio.timeout(PATIENCE):
        await call.ended()
    if tells:
        phone.notify("SIP/2.0 200 OK\r\n", state="terminated;reason=noresource")
        async with asyncio.timeout(PATIENCE):
            assert await transfer == 200
    else:
        with pytest.raises(CallFailed, match="hung up") as caught:
            await transfer
        assert caught.value.report == call.report()


async def test_a_peer_that_ends_the_subscription_without_a_word_is_named(phone, referred):
    call, transfer, refer = await referred()
    phone.answer(refer, 202)
    phone.notify("SIP/2.0 180 Ringing\r\n", state="active;expires=60")
    phone.notify("nonsense", state="terminated;reason=noresource")
    with pytest.raises(CallTimedOut, match="never told"):
        await transfer
    assert not call.over


async def test_a_transfer_that_is_given_up_leaves_the_call(phone, referred):
    call, transfer, refer = await referred()
    phone.answer(refer, 202)
    phone.notify("SIP/2.0 100 Trying\r\n", state="active;expires=60")
    assert (await first(call, events.TransferProgress)).status == 100
    transfer.cancel()
    unsubscribe = await phone.expect("SUBSCRIBE")
    assert unsubscribe.expires == 0
    with pytest.raises(asyncio.CancelledError):
        await transfer
    assert not call.over
