"""INFO in a call; REFER is in test_call_transfer.py."""

from __future__ import annotations

import asyncio

import pytest

from callmeter import (
    CallFailed,
    ConfigurationError,
    Endpoint,
    EndpointConfig,
    LocalProtocolError,
    RequestRejected,
    events,
)

PATIENCE = 20


@pytest.fixture
async def bob(make_endpoint):
    return await make_endpoint("bob")


async def test_an_info_is_answered_and_told(make_endpoint, alice, bob):
    call = await alice.invite(str(bob.contact))
    incoming = await bob.next_call(PATIENCE)
    await incoming.answer()
    await call.answered(PATIENCE)
    response = await call.send_info("application/x-thing", b"body", headers={"X-Mark": "1"})
    assert response.status == 200
    async for event in incoming.events():
        if isinstance(event, events.InfoReceived):
            assert (event.content_type, event.body) == ("application/x-thing", b"body")
            break
    with pytest.raises(RequestRejected, match="469"):
        await call.send_info("application/x-thing", b"", headers={"Info-Package": "unknown"})


async def test_an_info_needs_an_answered_call(alice, bob):
    call = await alice.invite(str(bob.contact))
    with pytest.raises(LocalProtocolError):
        await call.send_info("a/b", b"")


async def test_a_body_of_no_type_is_refused_before_anything_is_sent(alice, phone, begin):
    call = await begin(alice)
    with pytest.raises(ConfigurationError, match="no content type"):
        await call.send_info("", b"x")
    assert len(alice.messages.requests("INFO")) == 0
    await phone.hang_up(call)


# digits by INFO


async def test_the_next_digit_waits_until_the_one_before_was_taken(alice, phone, begin):
    call = await begin(alice)
    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as tasks:
        tasks.create_task(call.send_dtmf("1a", method="info", duration_ms=120))
        for number, digit in enumerate("1A", 1):
            info = await phone.expect("INFO")
            assert info.body == f"Signal={digit}\r\nDuration=120\r\n".encode()
            assert len({m.message.cseq for m in alice.messages.requests("INFO")}) == number
            assert call.report().counters["dtmf_digits_sent"] == number - 1
            phone.answer(info)
    assert call.report().counters["dtmf_digits_sent"] == 2
    await phone.hang_up(call)


async def test_a_digit_that_the_peer_refuses_is_raised_and_not_counted(alice, phone, begin):
    call = await begin(alice)
    async with asyncio.timeout(PATIENCE):
        dialling = asyncio.get_running_loop().create_task(call.send_dtmf("123", method="info"))
        phone.answer(await phone.expect("INFO"))
        phone.answer(await phone.expect("INFO"), 489)
        with pytest.raises(RequestRejected, match="489"):
            await dialling
    assert call.report().counters["dtmf_digits_sent"] == 1
    await phone.hang_up(call)


@pytest.mark.parametrize(
    ("settings", "words"), [({"digits": "1x"}, "no"), ({"digits": "1", "duration_ms": 99}, "100")]
)
async def test_what_cannot_be_heard_is_not_sent_by_info_either(
    alice, phone, begin, settings, words
):
    call = await begin(alice)
    with pytest.raises(ConfigurationError, match=words):
        await call.send_dtmf(method="info", **settings)
    await phone.hang_up(call)


async def test_digits_stop_when_the_call_is_put_on_hold_meanwhile(alice, phone, begin):
    call = await begin(alice)
    async with asyncio.timeout(PATIENCE):
        dialling = asyncio.get_running_loop().create_task(call.send_dtmf("12", method="info"))
        info = await phone.expect("INFO")
        phone.request("INVITE", phone.sdp("a=sendonly", version=2))
        assert (await phone.response("INVITE")).status == 200
        phone.answer(info)
        with pytest.raises(LocalProtocolError, match="hold"):
            await dialling
    await phone.hang_up(call)


async def test_digits_stop_when_the_peer_hangs_up_meanwhile(alice, phone, begin):
    call = await begin(alice)
    async with asyncio.timeout(PATIENCE):
        dialling = asyncio.get_running_loop().create_task(call.send_dtmf("12", method="info"))
        info = await phone.expect("INFO")
        phone.request("BYE")
        assert (await phone.response("BYE")).status == 200
        phone.answer(info)
        with pytest.raises(CallFailed, match="before its digits were sent") as caught:
            await dialling
    assert caught.value.report == call.report()
    assert len(alice.messages.requests("INFO")) == 1


async def test_who_waits_for_an_answer_is_told_that_the_endpoint_was_left(phone, begin, stack):
    async with Endpoint(EndpointConfig("sip:carol@127.0.0.1"), stack) as carol:
        call = await begin(carol)
        dialling = asyncio.get_running_loop().create_task(call.send_dtmf("1", method="info"))
        await phone.expect("INFO")
        hanging_up = asyncio.get_running_loop().create_task(call.bye())
        phone.answer(await phone.expect("BYE"))
        await hanging_up
    with pytest.raises(LocalProtocolError, match="was left"):
        await asyncio.wait_for(dialling, PATIENCE)


# after the end


async def test_what_is_asked_of_a_call_that_is_over_fails_as_it_would_have_a_moment_before(
    make_endpoint, alice, bob
):
    call = await alice.invite(str(bob.contact))
    incoming = await bob.next_call(PATIENCE)
    await incoming.answer()
    await call.answered(PATIENCE)
    other = await alice.invite(str(bob.contact))
    await (await bob.next_call(PATIENCE)).answer()
    await other.answered(PATIENCE)
    await incoming.bye()
    async with asyncio.timeout(PATIENCE):
        await call.ended()
    asked = (
        call.hold(),
        call.resume(),
        call.rekey(),
        call.update(),
        call.send_dtmf("1"),
        call.send_info("a/b", b""),
        call.transfer("sip:carol@example.com"),
        call.transfer_to(other),
        other.transfer_to(call),
    )
    for each in asked:
        with pytest.raises(CallFailed, match="the call ended") as caught:
            await each
        assert caught.value.report.final_status_code == 200
    await other.bye()
