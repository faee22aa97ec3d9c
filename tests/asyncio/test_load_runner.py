"""Scenarios on real calls: between two endpoints, and with a phone that is a script."""

from __future__ import annotations

import asyncio

import pytest

from callmeter import events
from callmeter.config import (
    Codec,
    EndpointConfig,
    MediaConfig,
    SrtpConfig,
    SrtpPolicy,
    TransferPolicy,
)
from callmeter.endpoint import Endpoint
from callmeter.load import (
    Activate,
    AtTime,
    HangUp,
    Hold,
    OnEvent,
    Rekey,
    Resume,
    ScenarioEvent,
    ScenarioPlan,
    SendDtmf,
    Step,
    StepStatus,
    Transfer,
    UpdateMedia,
    run_scenario,
)

PATIENCE = 20
SECURE = MediaConfig(srtp=SrtpConfig(policy=SrtpPolicy.REQUIRED))


def on(event, action, digit="", **how):
    return Step(OnEvent(event, digit), action, **how)


def counts(call):
    counters = call.report().to_dict()["counters"]
    return counters["scenario_actions_executed"], counters["scenario_actions_failed"]


def statuses(result):
    return [step.status.value for step in result.steps]


async def test_two_scenarios_talk_to_each_other(make_endpoint):
    """The caller acts by the clock and by events, the callee answers each by one of its own."""
    alice = await make_endpoint("alice", media=SECURE)
    bob = await make_endpoint("bob", media=SECURE)
    calling = ScenarioPlan(
        (
            on(ScenarioEvent.DTMF_RECEIVED, HangUp(), "9"),
            on(ScenarioEvent.REKEY_RECEIVED, SendDtmf("1")),
            Step(AtTime(0.3), Resume()),
            on(ScenarioEvent.ANSWERED, Hold()),
        )
    )
    answering = ScenarioPlan(
        (
            on(ScenarioEvent.RESUME_RECEIVED, Rekey()),
            on(ScenarioEvent.DTMF_RECEIVED, SendDtmf("9", method="info")),
            on(ScenarioEvent.HOLD_RECEIVED, SendDtmf("5", method="info")),
        )
    )
    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as tasks:
        call = await alice.invite(str(bob.contact))
        caller = tasks.create_task(run_scenario(call, calling))
        incoming = await bob.next_call(PATIENCE)
        callee = tasks.create_task(run_scenario(incoming, answering))
        await incoming.answer()
        await call.answered(PATIENCE)
        await call.ended()
        await incoming.ended()
    assert statuses(caller.result()) == ["executed"] * 4
    # DTMF is not sent while the call is held.
    assert statuses(callee.result()) == ["executed", "executed", "failed"]
    assert caller.result().steps[2].at >= 0.3
    failure = callee.result().steps[2].error
    assert failure.message == "DTMF is not sent while the call is held"
    assert counts(call) == (4, 0)
    assert counts(incoming) == (2, 1)
    assert call.report().to_dict()["outcome"] == "SUCCESS"
    assert incoming.report().to_dict()["outcome"] == "COMPLETED_WITH_WARNINGS"


@pytest.mark.parametrize("method", ["UPDATE", "INVITE"])
async def test_codec_and_packet_time_change_in_the_call(make_endpoint, method):
    alice, bob = await make_endpoint("alice"), await make_endpoint("bob")
    change = UpdateMedia((Codec.PCMA,), ptime=30, method=method)
    plan = ScenarioPlan((Step(AtTime(0), change), Step(AtTime(0.1), HangUp())))
    wait = ScenarioPlan((on(ScenarioEvent.UPDATE_RECEIVED, Hold()),))
    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as tasks:
        call = await alice.invite(str(bob.contact))
        acting = tasks.create_task(run_scenario(call, plan))
        incoming = await bob.next_call(PATIENCE)
        waiting = tasks.create_task(run_scenario(incoming, wait))
        await incoming.answer()
        await call.ended()
    assert acting.result().executed == 2
    # Each sends as the other wants it.
    assert (call.media.codec, incoming.media.codec) == ("PCMA", "PCMA")
    assert (call.media.ptime_ms, incoming.media.ptime_ms) == (20, 30)
    assert waiting.result().steps[0].status is not StepStatus.NOT_TRIGGERED


async def test_a_peer_that_follows_a_transfer_ends_the_scenario_with_the_call(
    make_endpoint, entered, stack
):
    alice, carol = await make_endpoint("alice"), await make_endpoint("carol")
    config = EndpointConfig("sip:bob@127.0.0.1", transfers=TransferPolicy.FOLLOW)
    bob = await entered.enter_async_context(Endpoint(config, stack))
    plan = ScenarioPlan((Step(AtTime(0), Transfer(str(carol.contact))),))
    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as tasks:
        call = await alice.invite(str(bob.contact))
        acting = tasks.create_task(run_scenario(call, plan))
        await (await bob.next_call(PATIENCE)).answer()
        transferred = await carol.next_call(PATIENCE)
        await transferred.answer()
        await call.ended()
    assert acting.result().executed == 1
    await transferred.bye()


async def test_a_peer_that_refuses_a_transfer_fails_the_action(alice, phone, begin):
    call = await begin(alice)
    plan = ScenarioPlan((Step(AtTime(0), Transfer("sip:carol@example.com")),))
    running = asyncio.get_running_loop().create_task(run_scenario(call, plan))
    phone.answer(await phone.expect("REFER"), 603)
    async with asyncio.timeout(PATIENCE):
        (step,) = (await running).steps
    assert step.error.type == "RequestRejected"
    assert "603" in step.error.message
    await phone.hang_up(call)


async def test_a_deferred_track_is_activated(make_endpoint):
    deferred = await make_endpoint("alice", media=MediaConfig(deferred=True))
    bob = await make_endpoint("bob")
    plan = ScenarioPlan((Step(AtTime(0), Activate()), on(ScenarioEvent.MEDIA_STARTED, HangUp())))
    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as tasks:
        call = await deferred.invite(str(bob.contact))
        acting = tasks.create_task(run_scenario(call, plan))
        incoming = await bob.next_call(PATIENCE)
        await incoming.answer()
        await call.answered()
        assert call.media.direction == "inactive"
        await call.ended()
    assert acting.result().executed == 2
    assert call.media.direction == "sendrecv"


async def test_an_action_that_is_refused_is_noted_and_the_next_one_goes_on(alice, phone, begin):
    call = await begin(alice)
    plan = ScenarioPlan((Step(AtTime(0), Hold()), Step(AtTime(0.01), SendDtmf("1"))))
    running = asyncio.get_running_loop().create_task(run_scenario(call, plan))
    phone.answer(await phone.expect("INVITE"), 488)
    async with asyncio.timeout(PATIENCE):
        result = await running
    assert statuses(result) == ["failed", "executed"]
    assert result.steps[0].error.type == "CallRejected"
    assert result.steps[0].error.message.startswith("488")
    assert counts(call) == (1, 1)
    await phone.hang_up(call)
    assert counts(call) == (1, 1)
    assert call.report().to_dict()["outcome"] == "COMPLETED_WITH_WARNINGS"


async def test_an_action_that_takes_too_long_has_failed(alice, phone, begin):
    call = await begin(alice)
    plan = ScenarioPlan((Step(AtTime(0), Hold(), timeout=0.05),))
    async with asyncio.timeout(PATIENCE):
        result = await run_scenario(call, plan)
    (step,) = result.steps
    assert (step.error.type, step.error.message) == ("TimeoutError", "hold took more than 0.05 s")
    assert step.seconds >= 0.05
    phone.answer(await phone.expect("INVITE"), 488)
    await phone.hang_up(call)


async def test_the_peer_that_hangs_up_fails_what_was_under_way_and_to_come(
    alice, phone, begin, until
):
    call = await begin(alice)
    plan = ScenarioPlan(
        (
            Step(AtTime(0), SendDtmf("123456789" * 4)),
            Step(AtTime(50), HangUp()),
            on(ScenarioEvent.INFO_RECEIVED, HangUp()),
        )
    )
    running = asyncio.get_running_loop().create_task(run_scenario(call, plan))
    await until(lambda: call.media.statistics().dtmf_digits_sent)
    phone.request("BYE")
    async with asyncio.timeout(PATIENCE):
        result = await running
    assert statuses(result) == ["failed", "failed", "not-triggered"]
    assert result.steps[0].error.message == "the call ended before its digits were sent"
    assert result.steps[1].error.message == "the call ended before the action ran"
    assert counts(call) == (0, 2)
    assert call.report().outcome.value == "COMPLETED_WITH_WARNINGS"


async def test_a_call_that_rings_can_be_given_up(alice, phone):
    call = await alice.invite(phone.uri)
    plan = ScenarioPlan((on(ScenarioEvent.RINGING, HangUp()), Step(AtTime(0), Hold())))
    running = asyncio.get_running_loop().create_task(run_scenario(call, plan))
    invite = await phone.expect("INVITE")
    phone.answer(invite, 180)
    phone.answer(await phone.expect("CANCEL"))
    phone.answer(invite, 487)
    async with asyncio.timeout(PATIENCE):
        result = await running
    assert statuses(result) == ["executed", "failed"]
    assert call.report().to_dict()["call_result"] == "cancelled"
    assert call.report().outcome.value == "CALL_FAILED"


async def test_a_scenario_that_begins_late_catches_up(alice, phone, begin):
    call = await begin(alice)
    phone.request("INFO", b"hello", kind="text/plain")
    await phone.response("INFO")
    plan = ScenarioPlan((on(ScenarioEvent.INFO_RECEIVED, HangUp()),))
    running = asyncio.get_running_loop().create_task(run_scenario(call, plan))
    phone.answer(await phone.expect("BYE"))
    async with asyncio.timeout(PATIENCE):
        assert statuses(await running) == ["executed"]
        assert call.over
        again = await run_scenario(call, ScenarioPlan((Step(AtTime(0), Hold()),)))
    assert again.failed == 1


async def test_who_gives_up_a_scenario_gives_up_its_action(alice, phone, begin):
    call = await begin(alice)
    running = asyncio.get_running_loop().create_task(
        run_scenario(call, ScenarioPlan((Step(AtTime(0), Hold()),)))
    )
    invite = await phone.expect("INVITE")
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    phone.answer(invite, 488)
    await phone.hang_up(call)
    assert counts(call) == (0, 0)
    assert [type(e) async for e in call.events()].count(events.Held) == 0
