"""DTMF with baresip, by RFC 4733 and by INFO, both ways."""

from __future__ import annotations

import asyncio

import pytest

from callmeter import events

pytestmark = pytest.mark.interop("baresip")

PATIENCE = 15
DIGITS = "159#"


@pytest.mark.parametrize("method", ["rtp", "info"])
async def test_baresip_hears_the_digits_we_send(phone, baresip, method):
    bob = baresip()
    control = await bob.control()
    async with phone() as alice, alice.call(bob.uri) as call:
        await control.event("CALL_ESTABLISHED")
        await call.send_dtmf(DIGITS, method=method)
        heard = [(await control.event("CALL_DTMF_START"))["param"] for _ in DIGITS]
    await control.close()
    assert heard == list(DIGITS)


async def test_we_hear_the_digits_baresip_sends(phone, baresip):
    bob = baresip()
    control = await bob.control()
    heard = []
    async with phone() as alice, alice.call(bob.uri) as call:
        await control.event("CALL_ESTABLISHED")
        for digit in DIGITS:
            await control.command("sndcode", digit)
            # Its keys have to be let go of.
            await control.command("sndcode", "\x04")
            await until(call, len(heard) + 1, heard)
    await control.close()
    assert [event.digit for event in heard] == list(DIGITS)
    assert {event.method for event in heard} == {"rtp"}


async def until(call, count, heard):
    async with asyncio.timeout(PATIENCE):
        async for event in call.events():
            if isinstance(event, events.DtmfReceived) and event not in heard:
                heard.append(event)
            if len(heard) == count:
                return


@pytest.mark.interop("sipp")
async def test_we_hear_the_digits_sipp_sends_by_info(phone, sipp):
    """baresip 1.0 understands INFO and sends none."""
    async with phone("service") as bob:
        calling = sipp("uac_info", target=f"127.0.0.1:{bob.contact.port}")
        call = await (await bob.next_call(PATIENCE)).answer()
        async with asyncio.timeout(PATIENCE):
            heard = [e async for e in call.events() if isinstance(e, events.DtmfReceived)]
        verdict = await calling.result()
    assert (verdict.status, verdict.successful, verdict.failed) == (0, 1, 0)
    assert [(event.digit, event.duration_ms, event.method) for event in heard] == [
        ("5", 160, "info"),
        ("#", 250, "info"),
    ]
