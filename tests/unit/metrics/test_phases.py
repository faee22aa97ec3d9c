from __future__ import annotations

import pickle

import pytest

from callmeter.metrics.phases import LifeCycle, Outcome, Phase

FAILURES = [outcome for outcome in Outcome if not outcome.good]


def test_the_phases_have_their_published_order():
    assert [phase.name for phase in sorted(Phase)] == [
        "INITIALIZING",
        "REGISTERED",
        "CALLING",
        "RINGING",
        "NEGOTIATING",
        "INCALL",
        "DISCONNECTING",
        "CLOSED",
    ]


@pytest.mark.parametrize("now", Phase)
@pytest.mark.parametrize("to", Phase)
def test_a_phase_only_moves_forward(now, to):
    assert now.advance(to) is list(Phase)[max(now.value, to.value)]


def test_success_gives_way_to_warnings_and_both_to_a_failure():
    assert Outcome.SUCCESS.worsen(Outcome.COMPLETED_WITH_WARNINGS).severity == 1
    assert Outcome.COMPLETED_WITH_WARNINGS.worsen(Outcome.TIMEOUT) is Outcome.TIMEOUT
    assert Outcome.COMPLETED_WITH_WARNINGS.worsen(Outcome.SUCCESS).severity == 1


@pytest.mark.parametrize("first", FAILURES)
@pytest.mark.parametrize("second", FAILURES)
def test_the_first_of_two_failures_stays(first, second):
    assert first.severity == 10
    assert first.worsen(second) is first


def test_a_life_cycle_tells_whether_something_changed():
    life = LifeCycle()
    assert (life.phase, life.outcome) == (Phase.INITIALIZING, None)
    assert life.enter(Phase.INCALL)
    assert not life.enter(Phase.RINGING)
    assert not life.enter(Phase.INCALL)
    assert life.settle(Outcome.SUCCESS)
    assert not life.settle(Outcome.SUCCESS)
    assert life.settle(Outcome.TEARDOWN_ERROR)
    assert not life.settle(Outcome.CALL_FAILED)
    assert (life.phase, life.outcome) == (Phase.INCALL, Outcome.TEARDOWN_ERROR)


def test_phases_and_outcomes_pickle():
    for value in (*Phase, *Outcome):
        assert pickle.loads(pickle.dumps(value)) is value
