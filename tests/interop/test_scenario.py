"""Scenarios in calls with baresip: what they say was done is what baresip saw."""

from __future__ import annotations

import asyncio
import json
import re
import sys

import pytest

from callmeter.load import (
    AtTime,
    HangUp,
    Hold,
    OnEvent,
    Resume,
    ScenarioEvent,
    ScenarioPlan,
    SendDtmf,
    Step,
    run_scenario,
)

pytestmark = pytest.mark.interop("baresip")

PATIENCE = 30
PARTS = re.MULTILINE | re.DOTALL


async def dialled(control, number):
    return "".join([(await control.event("CALL_DTMF_START"))["param"] for _ in range(number)])


async def press(control, digit):
    await control.command("sndcode", digit)
    # Its keys have to be let go of.
    await control.command("sndcode", "\x04")


def offers(bob, direction):
    """The INVITEs of ours with this direction that reached it, by its own trace."""
    trace = bob.log.read_text(errors="replace").replace("\r", "")
    invites = re.findall(r"^INVITE sip:.*?(?=^\S+ sips?:\S+ SIP/2\.0$|^SIP/2\.0 |\Z)", trace, PARTS)
    ours = [invite for invite in invites if "\nUser-Agent: callmeter" in invite]
    return sum(f"\na={direction}\n" in invite for invite in ours)


def counters(call):
    told = call.report().to_dict()["counters"]
    return told["scenario_actions_executed"], told["scenario_actions_failed"]


async def counted(call, figures):
    """Wait until so many actions were executed, and failed."""
    while counters(call) != figures:  # noqa: ASYNC110  a scenario tells no event of its own
        await asyncio.sleep(0.01)


async def test_what_is_due_by_the_clock_reaches_baresip_in_order(phone, baresip):
    bob = baresip()
    plan = ScenarioPlan(
        (
            Step(AtTime(0.3), Hold()),
            Step(AtTime(0.5), SendDtmf("1")),
            Step(AtTime(0.8), Resume()),
            Step(AtTime(1.0), SendDtmf("42#")),
            Step(AtTime(1.0), SendDtmf("7", method="info")),
            Step(AtTime(2.5), HangUp()),
        )
    )
    control = await bob.control()
    async with asyncio.timeout(PATIENCE), phone() as alice, asyncio.TaskGroup() as tasks:
        call = await alice.invite(bob.uri)
        acting = tasks.create_task(run_scenario(call, plan))
        assert await dialled(control, 4) == "42#7"
        await control.event("CALL_CLOSED")
        await call.ended()
    await control.close()
    result = acting.result()
    assert [step.status.value for step in result.steps] == [
        "executed", "failed", "executed", "executed", "executed", "executed",
    ]  # fmt: skip
    assert result.steps[1].error.message == "DTMF is not sent while the call is held"
    assert counters(call) == (result.executed, result.failed) == (5, 1)
    assert call.report().to_dict()["outcome"] == "COMPLETED_WITH_WARNINGS"
    assert offers(bob, "sendonly") == 1
    assert call.report().to_dict()["counters"]["hold_count"] == 1


async def test_what_baresip_does_triggers_actions_once_each(phone, baresip):
    bob = baresip()
    plan = ScenarioPlan(
        (
            Step(OnEvent(ScenarioEvent.HOLD_RECEIVED), SendDtmf("1")),
            Step(OnEvent(ScenarioEvent.RESUME_RECEIVED), SendDtmf("8", method="info")),
            Step(OnEvent(ScenarioEvent.DTMF_RECEIVED, digit="5"), SendDtmf("6")),
            Step(OnEvent(ScenarioEvent.DTMF_RECEIVED, digit="0"), Hold()),
            Step(OnEvent(ScenarioEvent.DTMF_RECEIVED, digit="9"), HangUp()),
        )
    )
    control = await bob.control()
    async with asyncio.timeout(PATIENCE), phone() as alice, asyncio.TaskGroup() as tasks:
        call = await alice.invite(bob.uri)
        acting = tasks.create_task(run_scenario(call, plan))
        await control.event("CALL_ESTABLISHED")
        await control.command("hold")
        await counted(call, (0, 1))  # before it resumes, or the digit goes out after all
        await control.command("resume")
        assert await dialled(control, 1) == "8"
        await control.command("hold")
        await control.command("resume")
        await press(control, "5")
        assert await dialled(control, 1) == "6"
        await press(control, "9")
        await control.event("CALL_CLOSED")
        await call.ended()
    await control.close()
    assert [step.status.value for step in acting.result().steps] == [
        "failed", "executed", "executed", "not-triggered", "executed",
    ]  # fmt: skip
    assert counters(call) == (3, 1)
    assert offers(bob, "sendonly") == 0
    assert call.report().to_dict()["counters"]["hold_count"] == 2


async def test_the_command_line_runs_a_scenario_with_baresip(baresip, tmp_path):
    bob = baresip()
    plan = tmp_path / "hold.json"
    steps = [
        {"at": 0.2, "do": "hold"},
        {"at": 0.6, "do": "resume"},
        {"at": 0.8, "do": "send-dtmf", "digits": "42#"},
        {"on": "dtmf-received", "digit": "5", "do": "hang-up"},
    ]
    plan.write_text(json.dumps({"name": "hold and dial", "steps": steps}))
    control = await bob.control()
    command = "from callmeter.cli import main; main()"
    running = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", command, "call", bob.uri, "--bind", "127.0.0.1", "--json"),
        *("--duration", "20", "--scenario", str(plan)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(PATIENCE):
        assert await dialled(control, 3) == "42#"
        await press(control, "5")
        await control.event("CALL_CLOSED")
        output, complaints = await running.communicate()
    await control.close()
    assert running.returncode == 0, complaints
    told = json.loads(output)
    assert (told["scenario"]["executed"], told["scenario"]["failed"]) == (4, 0)
    assert told["counters"]["scenario_actions_executed"] == 4
    assert told["outcome"] == "SUCCESS"
    assert offers(bob, "sendonly") == 1
