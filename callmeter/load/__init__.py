"""Scenarios: what to do in a call, at which moment or after which event."""

from __future__ import annotations

from callmeter.load.plan import (
    Action,
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
)
from callmeter.load.runner import run_scenario
from callmeter.load.scenario import ScenarioResult, StepResult, StepStatus

__all__ = [
    "Action",
    "AtTime",
    "HangUp",
    "Hold",
    "OnEvent",
    "Rekey",
    "Resume",
    "ScenarioEvent",
    "ScenarioPlan",
    "ScenarioResult",
    "SendDtmf",
    "Step",
    "StepResult",
    "StepStatus",
    "run_scenario",
]
