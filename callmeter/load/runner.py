"""run_scenario: a scenario on a real call."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from callmeter.errors import CallmeterError
from callmeter.load.plan import Activate, Hold, Rekey, Resume, SendDtmf, Transfer, UpdateMedia
from callmeter.load.scenario import Scenario
from callmeter.metrics.report import ErrorReport

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from callmeter.call import Call
    from callmeter.config import MediaConfig
    from callmeter.events import CallEvent
    from callmeter.load.plan import Action, ScenarioPlan, Step
    from callmeter.load.scenario import Perform, ScenarioResult

__all__ = ["run_scenario"]


@dataclass(frozen=True, slots=True)
class _Done:
    """An action has come to its end."""

    error: ErrorReport | None


async def run_scenario(call: Call, plan: ScenarioPlan) -> ScenarioResult:
    """Do in a call what a plan says, until it is done or the call is over.

    Start it beside the call, before the answer if the plan waits for what comes earlier. Events
    that have happened already count. An action that fails is noted with its error, and the next
    one goes on. The numbers are `scenario_actions_executed` and `scenario_actions_failed` of the
    call's report; with a failed one its outcome is `COMPLETED_WITH_WARNINGS` at best.

    Args:
        call: A call, ringing or answered.
        plan: What to do when.
    """
    scenario = Scenario(plan)
    inbox: asyncio.Queue[CallEvent | _Done] = asyncio.Queue()
    async with asyncio.TaskGroup() as tasks:
        listening = tasks.create_task(_listen(call.events(), inbox))
        while not scenario.over:
            item = await _take(inbox, scenario.next_deadline(), call)
            for effect in _advance(scenario, item, call.elapsed):
                tasks.create_task(_perform(call, effect.step, inbox))
            result = scenario.result
            call.note_scenario(result.executed, result.failed)
        listening.cancel()
    return scenario.result


def _advance(scenario: Scenario, item: CallEvent | _Done | None, now: float) -> list[Perform]:
    if item is None:
        return scenario.on_deadline(now)
    if isinstance(item, _Done):
        return scenario.on_result(item.error, now)
    return scenario.on_event(item, now)


async def _listen(
    events: AsyncIterator[CallEvent], inbox: asyncio.Queue[CallEvent | _Done]
) -> None:
    async for event in events:
        inbox.put_nowait(event)


async def _take(
    inbox: asyncio.Queue[CallEvent | _Done], deadline: float | None, call: Call
) -> CallEvent | _Done | None:
    """What comes next; None when the deadline, in the call's own time, comes first."""
    delay = None if deadline is None else max(0.0, deadline - call.elapsed)
    try:
        async with asyncio.timeout(delay):
            return await inbox.get()
    except TimeoutError:
        return None


async def _perform(call: Call, step: Step, inbox: asyncio.Queue[CallEvent | _Done]) -> None:
    error: ErrorReport | None = None
    try:
        async with asyncio.timeout(step.timeout):
            await _act(call, step.then)
    except TimeoutError:
        error = ErrorReport("TimeoutError", f"{step.then.word} took more than {step.timeout:g} s")
    except CallmeterError as failure:
        error = ErrorReport.of(failure)
    inbox.put_nowait(_Done(error))


async def _act(call: Call, action: Action) -> None:
    match action:
        case Hold():
            await call.hold()
        case Resume():
            await call.resume()
        case Rekey(roc):
            await call.rekey(roc=roc)
        case UpdateMedia():
            await call.update(_changed(call.media.config, action), method=action.method or None)
        case Activate():
            await call.update(replace(call.media.config, deferred=False))
        case SendDtmf(digits, method, duration_ms):
            await call.send_dtmf(digits, method=method, duration_ms=duration_ms)
        case Transfer(target):
            await call.transfer(target)
        case _:
            await call.bye()


def _changed(config: MediaConfig, action: UpdateMedia) -> MediaConfig:
    codecs, ptime = action.codecs or config.codecs, action.ptime or config.ptime
    return replace(config, codecs=codecs, ptime=ptime)
