"""sipp: PRACK, UPDATE, delayed offers, redirections and session timers, in both roles."""

from __future__ import annotations

import asyncio
import os

import pytest

from callmeter import (
    CallCancelled,
    CallRejected,
    Endpoint,
    EndpointConfig,
    Extension,
    NegotiationError,
    Outcome,
    SessionTimerConfig,
    Transport,
    events,
)
from peers.conversation import hear

pytestmark = pytest.mark.interop("sipp")
TIMED = SessionTimerConfig(mode=Extension.SUPPORTED, expires=90)


@pytest.fixture(params=["udp", "tcp"])
def transport(request):
    return request.param


@pytest.fixture
async def phone(transport):
    """A running endpoint: `async with phone("alice", session_timer=TIMED) as alice`."""

    def build(user="alice", **settings):
        return Endpoint(
            EndpointConfig(f"sip:{user}@127.0.0.1", transport=Transport(transport), **settings)
        )

    return build


def uri(callee):
    return f"sip:service@{callee.address};transport={callee.transport}"


def address(endpoint):
    return f"127.0.0.1:{endpoint.contact.port}"


def clean(verdict):
    assert (verdict.status, verdict.successful, verdict.failed) == (0, 1, 0)
    return True


async def kinds(call):
    return [type(event) async for event in call.events()]


async def served(incoming, *, patience=20):
    await incoming.answer()
    async with asyncio.timeout(patience):
        await incoming.ended()
    return incoming.report()


# callmeter calls sipp


async def test_the_answer_in_a_reliable_183_starts_the_media(phone, sipp, transport):
    callee = sipp("uas_prack", transport=transport, hold=300)
    async with phone() as alice:
        async with alice.call(uri(callee)) as call:
            await hear(call, 10)  # sipp sends back what it hears
        verdict = await callee.result()
    assert clean(verdict)
    assert verdict.retransmissions == 0
    report = call.report()
    assert report.outcome is Outcome.SUCCESS
    assert events.EarlyMedia in await kinds(call)


async def test_the_offer_in_a_reliable_183_is_answered_by_prack(phone, sipp, transport):
    callee = sipp("uas_prack_offer", transport=transport)
    async with phone() as alice:
        async with alice.call(uri(callee), offer=False) as call:
            await call.media.play(seconds=0.3)
        verdict = await callee.result()
    assert clean(verdict)
    assert call.report().media[0].codec == "PCMU"


async def test_updates_change_the_media_both_ways(phone, sipp, transport):
    callee = sipp("uas_update", transport=transport, hold=200)
    async with phone() as alice:
        async with alice.call(uri(callee)) as call, asyncio.timeout(20):
            async for event in call.events():
                if isinstance(event, events.Resumed):
                    break
            await call.update()
        verdict = await callee.result()
    assert clean(verdict)
    assert call.report().counters["hold_count"] == 1


async def test_sipp_holds_and_resumes(phone, sipp, transport):
    callee = sipp("uas_hold", transport=transport, hold=200)
    async with phone() as alice:
        async with alice.call(uri(callee)) as call, asyncio.timeout(20):
            async for event in call.events():
                if isinstance(event, events.Resumed):
                    break
            await call.media.play(seconds=0.3)  # a BYE that comes with the 200 is too much for sipp
        verdict = await callee.result()
    assert clean(verdict)
    assert call.report().counters["hold_count"] == 1


async def test_sipp_is_held_and_resumed(phone, sipp, transport):
    callee = sipp("uas_held", transport=transport)
    async with phone() as alice:
        async with alice.call(uri(callee)) as call:
            await call.hold()
            await call.resume()
        verdict = await callee.result()
    assert clean(verdict)
    assert call.report().counters["hold_count"] == 1


async def test_a_302_of_sipp_is_followed_to_another_sipp(phone, sipp, transport):
    there = sipp("uas", transport=transport)
    here = sipp("uas_302", transport=transport, keys={"where": uri(there)})
    async with phone() as alice:
        async with alice.call(uri(here)) as call:
            await call.media.play(seconds=0.2)
        assert clean(await here.result())
        assert clean(await there.result())
    assert call.report().final_status_code == 200
    assert events.Redirected in await kinds(call)


@pytest.mark.parametrize(
    ("scenario", "status"), [("uas_488", 488), ("uas_503", 503), ("uas_420", 420)]
)
async def test_a_refusal_of_sipp_is_raised(phone, sipp, transport, scenario, status):
    callee = sipp(scenario, transport=transport)
    required = SessionTimerConfig(mode=Extension.REQUIRED)
    settings = {"session_timer": required} if status == 420 else {}
    async with phone(**settings) as alice:
        with pytest.raises(CallRejected) as caught:
            async with alice.call(uri(callee)):
                pass
        assert clean(await callee.result())
    assert caught.value.status == status
    assert caught.value.report.final_status_code == status
    if status == 503:
        assert caught.value.retry_after == 7
    if status == 420:
        assert "the peer does not support timer" in str(caught.value)


async def test_a_longer_session_is_asked_for_after_a_422(phone, sipp, transport):
    callee = sipp("uas_422", transport=transport)
    async with phone(session_timer=TIMED) as alice:
        async with alice.call(uri(callee)) as call:
            assert call.session.timer.interval == 600
        assert clean(await callee.result())
    assert call.report().outcome is Outcome.SUCCESS


async def test_a_200_of_sipp_that_crosses_the_cancel_is_hung_up(phone, sipp, transport):
    callee = sipp("uas_late", transport=transport)
    async with phone() as alice:
        call = await alice.invite(uri(callee))
        async with asyncio.timeout(20):
            async for event in call.events():
                if isinstance(event, events.Ringing):
                    break
            await call.bye()
        assert clean(await callee.result())
        with pytest.raises(CallCancelled):
            await call.answered()
    assert call.report().call_result == "cancelled"


async def test_offers_that_sipp_makes_are_answered_in_the_ack(phone, sipp, transport):
    callee = sipp("uas_delayed", transport=transport)
    async with phone() as alice:
        async with alice.call(uri(callee), offer=False) as call:
            await hear(call, 5)
            await call.update(offer=False)
        assert clean(await callee.result())
    assert call.report().outcome is Outcome.SUCCESS


async def test_a_session_that_sipp_stops_refreshing_is_ended(phone, sipp, transport):
    # sipp promises a refresh within 12 s, the shortest interval that is taken from a peer is 10.
    callee = sipp("uas_timer", transport=transport)
    async with phone(session_timer=TIMED) as alice:
        call = await alice.invite(uri(callee))
        await call.answered()
        async with asyncio.timeout(20):
            await call.ended()
        assert clean(await callee.result())
    report = call.report()
    assert report.outcome is Outcome.CALL_FAILED
    assert "nobody refreshed it" in report.error.message
    assert 7_500 < report.timing.call_duration_ms < 11_000


# sipp calls callmeter


@pytest.mark.slow
async def test_a_session_whose_caller_stops_refreshing_is_ended(phone, sipp, transport):
    """90 s is the shortest that a caller may ask for; by default it is agreed on, and no more."""
    long, expires = bool(os.environ.get("CALLMETER_LONG")), 90
    async with phone("service", session_timer=TIMED) as bob, asyncio.TaskGroup() as tasks:
        calling = sipp(
            "uac_timer_stops", transport=transport, target=address(bob), seconds=expires + 20
        )
        incoming = await bob.next_call(20)
        serving = tasks.create_task(served(incoming, patience=expires + 10))
        if not long:
            await incoming.answered()
            await incoming.bye()
        assert clean(await calling.result(expires + 20))
    report = serving.result()
    assert report.counters["session_timer_refreshes"] == 0
    if long:
        assert report.outcome is Outcome.CALL_FAILED
        assert "nobody refreshed it" in report.error.message
        # RFC 4028 section 10: a third of the interval before its end.
        assert 59_500 < report.timing.call_duration_ms < 63_000


async def test_sipp_acknowledges_early_media(phone, sipp, transport):
    async with phone("service") as bob, asyncio.TaskGroup() as tasks:
        calling = sipp("uac_prack", transport=transport, target=address(bob), hold=300)
        incoming = await bob.next_call(20)
        await incoming.progress()
        serving = tasks.create_task(served(incoming))
        verdict = await calling.result()
    assert clean(verdict)
    assert verdict.retransmissions == 0
    assert serving.result().outcome is Outcome.SUCCESS


@pytest.mark.parametrize("scenario", ["uac_update", "uac_delayed"])
async def test_sipp_changes_its_call(phone, sipp, transport, scenario):
    async with phone("service") as bob, asyncio.TaskGroup() as tasks:
        calling = sipp(scenario, transport=transport, target=address(bob), hold=300)
        incoming = await bob.next_call(20)
        serving = tasks.create_task(served(incoming))
        verdict = await calling.result()
    assert clean(verdict)
    report = serving.result()
    assert report.outcome is Outcome.SUCCESS
    assert report.counters["hold_count"] == (1 if scenario == "uac_update" else 0)
    assert report.media[0].codec == "PCMU"


@pytest.mark.parametrize("transport", ["udp"], indirect=True)  # by TCP sipp expects no repetition
async def test_the_200_comes_again_until_sipp_acknowledges_it(phone, sipp, transport):
    async with phone("service") as bob, asyncio.TaskGroup() as tasks:
        calling = sipp("uac_late", transport=transport, target=address(bob), hold=300)
        serving = tasks.create_task(served(await bob.next_call(20)))
        verdict = await calling.result()
    assert clean(verdict)
    assert serving.result().outcome is Outcome.SUCCESS
    answers = [m for m in bob.messages if m.raw.startswith(b"SIP/2.0 200") and b"INVITE" in m.raw]
    assert len(answers) >= 2


async def test_sipp_is_redirected(phone, sipp, transport):
    async with phone("service") as bob:
        calling = sipp("uac_302", transport=transport, target=address(bob))
        (await bob.next_call(20)).redirect("sip:carol@example.com")
        assert clean(await calling.result())


async def test_sipp_is_told_that_nobody_is_in_service(phone, sipp, transport):
    async with phone("service") as bob:
        calling = sipp("uac_503", transport=transport, target=address(bob))
        (await bob.next_call(20)).reject(503)
        assert clean(await calling.result())


async def test_media_of_sipp_that_nobody_knows_gets_a_488(phone, sipp, transport):
    async with phone("service") as bob:
        calling = sipp("uac_488", transport=transport, target=address(bob))
        incoming = await bob.next_call(20)
        with pytest.raises(NegotiationError):
            await incoming.answer()
        assert clean(await calling.result())
    assert incoming.report().outcome is Outcome.NEGOTIATION_FAILED


async def test_a_session_of_sipp_that_is_too_short_gets_a_422(phone, sipp, transport):
    async with phone("service", session_timer=TIMED) as bob:
        calling = sipp("uac_422", transport=transport, target=address(bob))
        assert clean(await calling.result())


async def test_a_session_of_sipp_is_refreshed_by_update(phone, sipp, transport):
    async with phone("service", session_timer=TIMED) as bob, asyncio.TaskGroup() as tasks:
        calling = sipp("uac_timer", transport=transport, target=address(bob), hold=300)
        serving = tasks.create_task(served(await bob.next_call(20)))
        assert clean(await calling.result())
    report = serving.result()
    assert report.outcome is Outcome.SUCCESS
    assert report.counters["session_timer_refreshes"] == 1
