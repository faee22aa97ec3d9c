"""Scenario: which step of a plan runs when, in virtual time.

Times are seconds since the INVITE, as call events count them. What falls due is handed out one
step at a time: the next one when the shell has told how the last one went.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from callmeter import events
from callmeter.load.plan import AtTime, ScenarioEvent
from callmeter.metrics.report import ErrorReport

if TYPE_CHECKING:
    from collections.abc import Mapping

    from callmeter.events import CallEvent
    from callmeter.load.plan import OnEvent, ScenarioPlan, Step

__all__ = ["Perform", "Scenario", "ScenarioResult", "StepResult", "StepStatus"]

_NAMES: Final[Mapping[type[CallEvent], ScenarioEvent]] = {
    events.Ringing: ScenarioEvent.RINGING,
    events.EarlyMedia: ScenarioEvent.EARLY_MEDIA,
    events.Answered: ScenarioEvent.ANSWERED,
    events.MediaStarted: ScenarioEvent.MEDIA_STARTED,
    events.MediaSilent: ScenarioEvent.MEDIA_SILENT,
    events.Held: ScenarioEvent.HOLD_RECEIVED,
    events.Resumed: ScenarioEvent.RESUME_RECEIVED,
    events.Rekeyed: ScenarioEvent.REKEY_RECEIVED,
    events.Updated: ScenarioEvent.UPDATE_RECEIVED,
    events.SessionRefreshed: ScenarioEvent.SESSION_REFRESHED,
    events.InfoReceived: ScenarioEvent.INFO_RECEIVED,
    events.DtmfReceived: ScenarioEvent.DTMF_RECEIVED,
}
_ENDED_FIRST: Final = ErrorReport("CallFailed", "the call ended before the action ran")


class StepStatus(StrEnum):
    """What became of a step."""

    EXECUTED = "executed"
    """The action was done."""
    FAILED = "failed"
    """It was refused, took too long, or the call ended before it ran."""
    NOT_TRIGGERED = "not-triggered"
    """The event it waits for did not happen."""


@dataclass(frozen=True, slots=True)
class StepResult:
    """What became of a step.

    Attributes:
        step: The step.
        status: Whether it was done.
        at: When its action began, seconds since the INVITE; None when it did not.
        seconds: How long it took.
        error: Why it failed.
    """

    step: Step
    status: StepStatus
    at: float | None = None
    seconds: float = 0.0
    error: ErrorReport | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return {
            "step": self.step.to_dict(),
            "status": self.status.value,
            "at": None if self.at is None else round(self.at, 3),
            "seconds": round(self.seconds, 3),
            "error": None if self.error is None else self.error.to_dict(),
        }

    def __str__(self) -> str:
        moment = f"{'-':>8}" if self.at is None else f"{self.at:8.3f}"
        reason = "" if self.error is None else f": {self.error.type}: {self.error.message}"
        return f"{moment} s  {self.step}: {self.status}{reason}"


@dataclass(frozen=True, slots=True)
class ScenarioResult:
    """What became of a scenario.

    Attributes:
        steps: One result for each step of the plan, in its order.
        name: The name of the plan.
    """

    steps: tuple[StepResult, ...]
    name: str = ""

    @property
    def executed(self) -> int:
        """How many actions were done."""
        return sum(result.status is StepStatus.EXECUTED for result in self.steps)

    @property
    def failed(self) -> int:
        """How many actions failed."""
        return sum(result.status is StepStatus.FAILED for result in self.steps)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return {
            "name": self.name,
            "executed": self.executed,
            "failed": self.failed,
            "steps": [result.to_dict() for result in self.steps],
        }

    def __str__(self) -> str:
        title = f"Scenario {self.name}".rstrip()
        rest = len(self.steps) - self.executed - self.failed
        counts = f"{self.executed} done, {self.failed} failed, {rest} not triggered"
        return "\n".join([f"{title}: {counts}", *(f"  {result}" for result in self.steps)])


@dataclass(frozen=True, slots=True)
class Perform:
    """An effect: do the action of this step now, and tell by `on_result` how it went."""

    step: Step


class Scenario:
    """The steps of a plan in the course of one call.

    Args:
        plan: What to do when.
    """

    def __init__(self, plan: ScenarioPlan) -> None:
        self._plan = plan
        self._answered_at: float | None = None
        self._ended = False
        self._running: tuple[int, float] | None = None
        self._due: list[tuple[float, int]] = []
        self._waiting = set(range(len(plan.steps)))
        self._results: dict[int, StepResult] = {}

    @property
    def over(self) -> bool:
        """Whether every step has its result."""
        return self._running is None and (self._ended or not (self._due or self._waiting))

    @property
    def result(self) -> ScenarioResult:
        """What became of the steps so far."""
        untriggered = StepStatus.NOT_TRIGGERED
        return ScenarioResult(
            tuple(
                self._results.get(number) or StepResult(step, untriggered)
                for number, step in enumerate(self._plan.steps)
            ),
            self._plan.name,
        )

    def on_event(self, event: CallEvent, now: float) -> list[Perform]:
        """Something happened in the call."""
        if self._ended:
            return []
        if isinstance(event, events.Ended):
            return self._end()
        if isinstance(event, events.Answered) and self._answered_at is None:
            self._answered_at = event.at
        for number in list(self._waiting):
            when = self._plan.steps[number].when
            if not isinstance(when, AtTime) and _matches(when, event):
                self._waiting.remove(number)
                self._due.append((event.at, number))
        return self._next(now)

    def on_deadline(self, now: float) -> list[Perform]:
        """The moment of `next_deadline` has come."""
        return self._next(now)

    def next_deadline(self) -> float | None:
        """When a step falls due; None while one runs, before the answer, and when none is left."""
        if self._answered_at is None or self._running is not None or self._ended:
            return None
        timed = (self._plan.steps[number].when for number in self._waiting)
        seconds = [when.seconds for when in timed if isinstance(when, AtTime)]
        return self._answered_at + min(seconds) if seconds else None

    def on_result(self, error: ErrorReport | None, now: float) -> list[Perform]:
        """The action that was handed out is done, or failed with `error`."""
        if self._running is None:
            return []
        number, begun = self._running
        self._running = None
        status = StepStatus.EXECUTED if error is None else StepStatus.FAILED
        step = self._plan.steps[number]
        self._results[number] = StepResult(step, status, begun, now - begun, error)
        return self._next(now)

    def _next(self, now: float) -> list[Perform]:
        if self._ended:
            return []
        self._collect(now)
        if self._running is not None or not self._due:
            return []
        first = min(self._due)
        self._due.remove(first)
        self._running = first[1], now
        return [Perform(self._plan.steps[first[1]])]

    def _collect(self, now: float) -> None:
        """Move the timed steps whose moment has come to those that are due."""
        if self._answered_at is None:
            return
        for number in list(self._waiting):
            when = self._plan.steps[number].when
            if isinstance(when, AtTime) and self._answered_at + when.seconds <= now:
                self._waiting.remove(number)
                self._due.append((self._answered_at + when.seconds, number))

    def _end(self) -> list[Perform]:
        """The call is over: what was to come by the clock has failed."""
        self._ended = True
        timed = {n for n in self._waiting if isinstance(self._plan.steps[n].when, AtTime)}
        for number in timed.union(number for _, number in self._due):
            step = self._plan.steps[number]
            self._results[number] = StepResult(step, StepStatus.FAILED, error=_ENDED_FIRST)
        return []


def _matches(when: OnEvent, event: CallEvent) -> bool:
    if _NAMES.get(type(event)) is not when.event:
        return False
    match event:
        case events.Held() | events.Resumed() | events.Rekeyed() | events.Updated():
            return event.by_peer
        case events.DtmfReceived(_, digit):
            return when.digit.upper() in {"", digit.upper()}
    return True
