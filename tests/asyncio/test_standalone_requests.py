"""Messages and requests that wait for who reads them."""

from __future__ import annotations

import asyncio

import pytest

from callmeter import ConfigurationError, LocalProtocolError, RequestRejected
from callmeter.standalone_requests import StandaloneRequests

PATIENCE = 20


@pytest.fixture
async def bob(make_endpoint):
    return await make_endpoint("bob")


async def next_of(iterator):
    async with asyncio.timeout(PATIENCE):
        return await anext(aiter(iterator))


async def test_more_messages_than_may_wait_are_refused(alice, bob, monkeypatch):
    monkeypatch.setattr(bob.incoming_messages(), "_limit", 1)
    await alice.message(str(bob.contact), "one")
    with pytest.raises(RequestRejected, match="480"):
        await alice.message(str(bob.contact), "two")


async def test_a_message_in_a_call_arrives_as_well(phone, begin, alice):
    arriving = alice.incoming_messages()
    call = await begin(alice)
    phone.request("MESSAGE", b"psst", kind="text/plain")
    assert (await phone.response("MESSAGE")).status == 200
    assert (await next_of(arriving)).text == "psst"
    await phone.hang_up(call)


async def test_requests_of_further_methods_are_given_to_who_asks_for_them(alice, bob, peer, stack):
    assert (await peer.ask(stack, peer.request("PUBLISH", bob.contact))).status == 405
    arriving = bob.requests("PUBLISH", "FLY")
    peer.send(stack, peer.request("PUBLISH", bob.contact, body="x"))
    request = await next_of(arriving)
    assert (request.method, request.request.body) == ("PUBLISH", b"x")
    assert request.sender == "sip:peer@127.0.0.1"
    request.respond(200, headers={"SIP-ETag": "1"})
    response = await peer.receive()
    assert (response.status, response.headers.get("SIP-ETag")) == (200, "1")
    assert request.answered
    with pytest.raises(LocalProtocolError):
        request.respond(200)
    peer.send(stack, peer.request("FLY", bob.contact))
    (await next_of(bob.requests())).respond(603, reason="No Wings")
    assert (await peer.receive()).reason == "No Wings"


async def test_a_further_method_in_a_call_is_given_too(phone, begin, alice):
    arriving = alice.requests("FLY")
    call = await begin(alice)
    phone.request("FLY")
    (await next_of(arriving)).respond(202)
    assert (await phone.response("FLY")).status == 202
    await phone.hang_up(call)


async def test_a_request_that_nobody_takes_is_answered_in_time(bob, peer, stack, monkeypatch):
    # The sender gives up after 64*T1, which is half a minute here: neither is near the other.
    assert bob.standalone._patience == 32 * stack.config.timers.t1
    monkeypatch.setattr(StandaloneRequests, "_patience", 0.1)
    bob.requests("FLY")
    assert (await peer.ask(stack, peer.request("FLY", bob.contact))).status == 480


async def test_more_requests_than_may_wait_are_refused(bob, peer, stack, monkeypatch):
    monkeypatch.setattr(bob.requests("FLY"), "_limit", 0)
    assert (await peer.ask(stack, peer.request("FLY", bob.contact))).status == 480


async def test_a_method_that_has_a_meaning_cannot_be_taken(bob):
    with pytest.raises(ConfigurationError, match="INVITE"):
        bob.requests("INVITE")
