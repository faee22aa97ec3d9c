"""Plans in short."""

from __future__ import annotations

import pytest

from callmeter.load import AtTime, OnEvent, ScenarioEvent, ScenarioPlan, Step


@pytest.fixture
def plan_of():
    """A plan of (when, then): a number is a time, anything else an event or `event:digit`."""

    def make(*pairs, **how):
        steps = []
        for when, then in pairs:
            if isinstance(when, str):
                event, _, digit = when.partition(":")
                steps.append(Step(OnEvent(ScenarioEvent(event), digit), then, **how))
            else:
                steps.append(Step(AtTime(when), then, **how))
        return ScenarioPlan(tuple(steps))

    return make
