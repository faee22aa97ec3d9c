"""Re-INVITEs of a call, from either end; the peer is a script on a socket."""

from __future__ import annotations

import asyncio

import pytest

from callmeter.errors import CallFailed, CallRejected, LocalProtocolError

PATIENCE = 20


async def kinds(call):
    return [type(event).__name__ async for event in call.events()]


# re-INVITEs of the peer


async def test_a_hold_of_the_peer_is_noted_and_its_end_too(alice, phone, begin):
    call = await begin(alice)
    for line, direction in (("a=sendonly", "recvonly"), ("a=sendrecv", "sendrecv")):
        number = phone.request("INVITE", phone.sdp(line, version=phone._cseq))
        response = await phone.response("INVITE")
        assert response.status == 200
        phone.request("ACK", cseq=number)
        assert call.media.direction == direction
    await phone.hang_up(call)
    assert [e for e in await kinds(call) if e in {"Held", "Resumed"}] == ["Held", "Resumed"]
    assert call.report().to_dict()["counters"]["hold_count"] == 1


async def test_a_re_invite_without_offer_gets_one_and_its_ack_has_the_answer(
    alice, phone, begin, until
):
    call = await begin(alice)
    number = phone.request("INVITE")
    response = await phone.response("INVITE")
    assert response.status == 200
    assert b"m=audio" in response.body
    phone.request("ACK", phone.sdp("a=sendonly", version=2), cseq=number)
    await until(lambda: call.media.direction == "recvonly")
    await phone.hang_up(call)
    assert "Held" in await kinds(call)


@pytest.mark.parametrize("body", [b"", b"v=1\r\n"], ids=["nothing", "nonsense"])
async def test_a_re_invite_without_offer_and_without_answer_ends_the_call(
    alice, phone, begin, body
):
    call = await begin(alice)
    number = phone.request("INVITE")
    assert (await phone.response("INVITE")).status == 200
    phone.request("ACK", body, cseq=number)
    phone.answer(await phone.expect("BYE"))
    async with asyncio.timeout(PATIENCE):
        await call.ended()
    assert call.report().to_dict()["outcome"] == "NEGOTIATION_FAILED"


async def test_an_ack_that_brings_what_nobody_asked_for_changes_nothing(alice, phone, begin):
    call = await begin(alice)
    number = phone.request("INVITE", phone.sdp(version=2))
    assert (await phone.response("INVITE")).status == 200
    phone.request("ACK", phone.sdp("a=inactive", version=3), cseq=number)
    phone.request("INFO", b"x", kind="text/plain")
    assert (await phone.response("INFO")).status == 200
    assert call.media.direction == "sendrecv"
    await phone.hang_up(call)


@pytest.mark.parametrize("host", [None, "phone.example"], ids=["no sdp", "a name"])
async def test_a_re_invite_that_cannot_be_taken_is_refused_and_the_call_goes_on(
    alice, phone, begin, host
):
    call = await begin(alice)
    number = phone.request("INVITE", phone.sdp(host=host, version=2) if host else b"v=1\r\n")
    assert (await phone.response("INVITE")).status == 488
    phone.request("ACK", cseq=number)
    number = phone.request("INVITE", phone.sdp(version=3))
    assert (await phone.response("INVITE")).status == 200
    phone.request("ACK", cseq=number)
    await phone.hang_up(call)
    assert call.report().to_dict()["outcome"] == "SUCCESS"


# re-INVITEs of ours


async def test_a_hold_that_is_refused_changes_nothing(alice, phone, begin):
    call = await begin(alice)
    holding = asyncio.get_running_loop().create_task(call.hold())
    phone.answer(await phone.expect("INVITE"), 403)
    with pytest.raises(CallRejected, match="403"):
        await holding
    assert call.media.direction == "sendrecv"
    assert call.report().to_dict()["counters"]["hold_count"] == 0
    number = phone.request("INVITE", phone.sdp(version=2))
    response = await phone.response("INVITE")
    assert b"a=sendonly" not in response.body
    phone.request("ACK", cseq=number)
    await phone.hang_up(call)


async def test_two_re_invites_at_once_are_refused_and_the_first_goes_on(alice, phone, begin):
    call = await begin(alice)
    holding = asyncio.get_running_loop().create_task(call.hold())
    reinvite = await phone.expect("INVITE")
    with pytest.raises(LocalProtocolError, match="under way"):
        await call.resume()
    phone.answer(reinvite, 200, phone.sdp("a=recvonly", version=2))
    async with asyncio.timeout(PATIENCE):
        await holding
    assert call.media.direction == "sendonly"
    await phone.hang_up(call)


async def test_a_hold_whose_answer_is_nonsense_is_an_error_and_can_be_tried_again(
    alice, phone, begin
):
    call = await begin(alice)
    for body, works in ((b"v=1\r\n", False), (phone.sdp("a=recvonly", version=2), True)):
        holding = asyncio.get_running_loop().create_task(call.hold())
        phone.answer(await phone.expect("INVITE"), 200, body)
        await phone.expect("ACK")
        async with asyncio.timeout(PATIENCE):
            await asyncio.wait([holding])
        assert (holding.exception() is None) is works
    assert call.media.direction == "sendonly"
    await phone.hang_up(call)


async def test_the_end_of_the_call_ends_a_re_invite_under_way(alice, phone, begin):
    call = await begin(alice)
    holding = asyncio.get_running_loop().create_task(call.hold())
    await phone.expect("INVITE")
    phone.request("BYE")
    with pytest.raises(CallFailed):
        async with asyncio.timeout(PATIENCE):
            await holding
    async with asyncio.timeout(PATIENCE):
        await call.ended()
