"""DTMF with baresip, by RFC 4733 and by INFO, both ways."""

from __future__ import annotations

import asyncio

import pytest

from callmeter import events

pytestmark = pytest.mark.interop("baresip")

PATIENCE = 15
DIGITS = "159#"


OPUS = {"codecs": "opus", "rate": 48_000}
"""baresip has events with a clock of 8000 alone, beside Opus too."""
CODECS = pytest.mark.parametrize(
    ("codecs", "its"), [(("PCMU",), {}), (("opus", "PCMU"), OPUS)], ids=["PCMU", "opus"]
)


@CODECS
@pytest.mark.parametrize("method", ["rtp", "info"])
async def test_baresip_hears_the_digits_we_send(phone, baresip, method, codecs, its):
    bob = baresip(**its)
    control = await bob.control()
    async with phone(codecs=codecs) as alice, alice.call(bob.uri) as call:
        assert call.media.codec == codecs[0]
        await control.event("CALL_ESTABLISHED")
        await call.send_dtmf(DIGITS, method=method)
        heard = [(await control.event("CALL_DTMF_START"))["param"] for _ in DIGITS]
    await control.close()
    assert heard == list(DIGITS)


@CODECS
async def test_we_hear_the_digits_baresip_sends(phone, baresip, codecs, its):
    bob = baresip(**its)
    control = await bob.control()
    heard = []
    async with phone(codecs=codecs) as alice, alice.call(bob.uri) as call:
        assert call.media.codec == codecs[0]
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
