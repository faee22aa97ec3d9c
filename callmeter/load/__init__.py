"""Scenarios: what to do in a call, at which moment or after which event."""

from __future__ import annotations

from callmeter.load.calls import CallLoad, LoadResult, answer_calls, run_calls
from callmeter.load.frozen_heap import frozen_heap
from callmeter.load.plan import (
    Action,
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
    Transfer,
    UpdateMedia,
)
from callmeter.load.runner import run_scenario
from callmeter.load.scenario import ScenarioResult, StepResult, StepStatus
from callmeter.load.signaling_answerer import SignalingAnswerer
from callmeter.load.signaling_caller import SignalingCaller

__all__ = [
    "Action",
    "Activate",
    "AtTime",
    "CallLoad",
    "HangUp",
    "Hold",
    "LoadResult",
    "OnEvent",
    "Rekey",
    "Resume",
    "ScenarioEvent",
    "ScenarioPlan",
    "ScenarioResult",
    "SendDtmf",
    "SignalingAnswerer",
    "SignalingCaller",
    "Step",
    "StepResult",
    "StepStatus",
    "Transfer",
    "UpdateMedia",
    "answer_calls",
    "frozen_heap",
    "run_calls",
    "run_scenario",
]
