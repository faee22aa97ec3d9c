"""Where a request of ours goes, and where it goes next."""

from __future__ import annotations

import asyncio

import pytest

from callmeter.config import (
    EndpointConfig,
)
from callmeter.endpoint import Endpoint
from callmeter.errors import (
    CallCancelled,
    CallTimedOut,
    TransportError,
)
from callmeter.sip.transaction.effects import Hop

LOOPBACK = "127.0.0.1"
PATIENCE = 20


async def test_a_name_is_looked_up(make_endpoint, stack):
    alice, bob = await make_endpoint("alice"), await make_endpoint("bob")
    port = stack.transport.listening()[1]
    response = await alice.options(f"sip:bob@localhost:{port}")
    assert response.status == 200
    assert len(bob.messages.requests("OPTIONS").received()) == 1


@pytest.mark.parametrize("host", ["nowhere.invalid", "a" * 64 + ".example"])
@pytest.mark.parametrize("transport", ["", ";transport=tcp", ";transport=wss"])
async def test_a_call_to_nowhere_fails_and_the_stack_goes_on(make_endpoint, stack, host, transport):
    alice, bob = await make_endpoint("alice"), await make_endpoint("bob")
    with pytest.raises(TransportError, match=host) as caught:
        async with asyncio.timeout(PATIENCE), alice.call(f"sip:bob@{host}{transport}"):
            pytest.fail("the call was answered")
    assert caught.value.attempts
    with pytest.raises(TransportError, match=host):
        await alice.options(f"sip:bob@{host}{transport}")
    assert (await alice.options(str(bob.contact))).status == 200
    assert alice.calls == []


async def test_the_next_address_is_tried_with_a_new_branch(
    make_endpoint, resolves, closed_port, peer
):
    alice = await make_endpoint("alice")
    resolves([Hop("UDP", LOOPBACK, closed_port), Hop("UDP", LOOPBACK, peer.port)])
    asking = asyncio.get_running_loop().create_task(alice.options("sip:bob@two.example"))
    request = await peer.receive()
    peer.answer(request, 200)
    assert (await asking).status == 200
    first, second = alice.messages.requests("OPTIONS").sent()
    assert first.message.via.branch != second.message.via.branch
    assert first.message.cseq == second.message.cseq
    assert first.message.call_id == second.message.call_id


async def test_a_silent_first_address_is_left_after_timer_f(
    make_endpoint, hasty_stack, resolves, silent_port, peer
):
    alice = await make_endpoint("alice", on=hasty_stack)
    hops = [Hop("UDP", LOOPBACK, silent_port), Hop("UDP", LOOPBACK, peer.port)]
    resolves(hops, on=hasty_stack)
    asking = asyncio.get_running_loop().create_task(alice.options("sip:bob@two.example"))
    peer.answer(await peer.receive(), 200)
    assert (await asking).status == 200


async def test_a_request_nobody_answers_times_out(make_endpoint, hasty_stack, silent_port):
    alice = await make_endpoint("alice", on=hasty_stack)
    with pytest.raises(CallTimedOut) as caught:
        await alice.options(f"sip:bob@{LOOPBACK}:{silent_port}")
    assert caught.value.timer == "F"


async def test_a_call_given_up_rings_at_no_further_address(
    make_endpoint, hasty_stack, resolves, silent_port, peer
):
    alice = await make_endpoint("alice", on=hasty_stack)
    hops = [Hop("UDP", LOOPBACK, silent_port), Hop("UDP", LOOPBACK, peer.port)]
    resolves(hops, on=hasty_stack)
    call = await alice.invite("sip:bob@two.example")
    await asyncio.sleep(0)
    async with asyncio.timeout(PATIENCE):
        await call.bye()
    assert {entry.peer for entry in alice.messages.sent()} <= {f"{LOOPBACK}:{silent_port}"}
    assert call.report().to_dict()["outcome"] != "SUCCESS"
    with pytest.raises(CallCancelled):
        await call.answered()


async def test_a_call_given_up_while_its_target_is_looked_up_is_never_sent(
    make_endpoint, resolves, stack, peer
):
    alice = await make_endpoint("alice")
    alice.face_target = lambda uri: asyncio.sleep(0, Hop("UDP", LOOPBACK, 5060))
    late = asyncio.get_running_loop().create_future()
    resolves(late)
    call = await alice.invite("sip:bob@late.example")
    async with asyncio.timeout(PATIENCE):
        await call.bye()
    assert call.report().to_dict()["outcome"] == "CALL_FAILED"
    late.set_result([Hop("UDP", LOOPBACK, peer.port)])
    for _ in range(3):
        await asyncio.sleep(0)
    assert len(alice.messages.requests("INVITE")) == 0
    assert stack._dispatch._cancelled == set()


async def test_a_request_of_an_endpoint_that_left_meanwhile_is_never_sent(stack, resolves, peer):
    late = asyncio.get_running_loop().create_future()
    async with Endpoint(EndpointConfig(f"sip:alice@{LOOPBACK}"), stack) as alice:
        alice.face_target = lambda uri: asyncio.sleep(0, Hop("UDP", LOOPBACK, 5060))
        resolves(late)
        asking = asyncio.get_running_loop().create_task(alice.options("sip:bob@late.example"))
        await asyncio.sleep(0)
    late.set_result([Hop("UDP", LOOPBACK, peer.port)])
    for _ in range(3):
        await asyncio.sleep(0)
    assert len(alice.messages) == 0
    assert stack.idle
    asking.cancel()
