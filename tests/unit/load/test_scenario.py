"""The scenario in virtual time: the INVITE is at 0."""

from __future__ import annotations

import json
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callmeter import events
from callmeter.load import (
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
from callmeter.load.scenario import Scenario
from callmeter.metrics.report import ErrorReport

REFUSED = ErrorReport("CallRejected", "488 Not Acceptable Here")


def words(effects):
    return [effect.step.then.word for effect in effects]


def statuses(scenario):
    return [result.status.value for result in scenario.result.steps]


def answered(scenario, at=1.0):
    return scenario.on_event(events.Answered(at, 200), at)


def digit(scenario, which, at):
    return scenario.on_event(events.DtmfReceived(at, which, 160, "rtp"), at)


def ended(scenario, at):
    return scenario.on_event(events.Ended(at, "bye-sent"), at)


# times


def test_times_count_from_the_answer(plan_of):
    scenario = Scenario(plan_of((2, Hold())))
    assert scenario.next_deadline() is None
    assert answered(scenario, 7.0) == []
    assert scenario.next_deadline() == 9.0
    assert scenario.on_deadline(8.9) == []
    assert words(scenario.on_deadline(9.0)) == ["hold"]
    assert scenario.next_deadline() is None
    assert not scenario.over
    assert scenario.on_result(None, 9.5) == []
    assert scenario.over
    (result,) = scenario.result.steps
    assert (result.at, result.seconds, result.error) == (9.0, 0.5, None)


def test_steps_run_by_the_clock_and_not_as_written(plan_of):
    scenario = Scenario(plan_of((4, Resume()), (2, Hold())))
    answered(scenario, 0.0)
    assert scenario.next_deadline() == 2.0
    assert words(scenario.on_deadline(2.0)) == ["hold"]
    assert scenario.on_result(None, 2.1) == []
    assert scenario.next_deadline() == 4.0
    assert words(scenario.on_deadline(4.0)) == ["resume"]


def test_at_the_same_moment_steps_run_as_written(plan_of):
    scenario = Scenario(plan_of((0, Hold()), ("answered", Resume()), (0, HangUp())))
    assert words(answered(scenario)) == ["hold"]
    assert words(scenario.on_result(None, 1.0)) == ["resume"]
    assert words(scenario.on_result(None, 1.0)) == ["hang-up"]


def test_one_action_runs_at_a_time_and_the_next_waits_for_it(plan_of):
    scenario = Scenario(plan_of((1, Hold()), (2, Resume())))
    answered(scenario, 0.0)
    assert words(scenario.on_deadline(1.0)) == ["hold"]
    assert scenario.on_deadline(2.0) == []
    assert words(scenario.on_result(None, 5.0)) == ["resume"]


def test_what_is_due_from_before_runs_first(plan_of):
    scenario = Scenario(plan_of(("dtmf-received", HangUp()), (2, Hold()), (0, Rekey())))
    assert words(answered(scenario, 0.0)) == ["rekey"]
    assert digit(scenario, "1", 3.0) == []
    assert words(scenario.on_result(None, 4.0)) == ["hold"]
    assert words(scenario.on_result(None, 4.1)) == ["hang-up"]


def test_a_second_answer_changes_no_time(plan_of):
    scenario = Scenario(plan_of((2, Hold())))
    answered(scenario, 1.0)
    answered(scenario, 2.0)
    assert scenario.next_deadline() == 3.0


# events


@pytest.mark.parametrize(
    ("name", "event"),
    [
        ("ringing", events.Ringing(1.0, 180, "Ringing")),
        ("early-media", events.EarlyMedia(1.0, 183)),
        ("answered", events.Answered(1.0, 200)),
        ("media-started", events.MediaStarted(1.0, "192.0.2.1:4000")),
        ("media-silent", events.MediaSilent(1.0, 5.0)),
        ("hold-received", events.Held(1.0, by_peer=True)),
        ("resume-received", events.Resumed(1.0, by_peer=True)),
        ("rekey-received", events.Rekeyed(1.0, by_peer=True)),
        ("update-received", events.Updated(1.0, by_peer=True)),
        ("session-refreshed", events.SessionRefreshed(1.0, by_peer=False)),
        ("info-received", events.InfoReceived(1.0, "text/plain", b"")),
        ("dtmf-received", events.DtmfReceived(1.0, "5", 100, "info")),
        ("dtmf-received:5", events.DtmfReceived(1.0, "5", 100, "rtp")),
        ("dtmf-received:a", events.DtmfReceived(1.0, "A", 100, "rtp")),
    ],
)
def test_a_step_waits_for_its_event_and_runs_once(plan_of, name, event):
    scenario = Scenario(plan_of((name, Hold())))
    assert scenario.on_event(events.ConsentExpired(0.5, "192.0.2.1:4000", 30.0), 0.5) == []
    assert words(scenario.on_event(event, 1.0)) == ["hold"]
    assert scenario.on_event(event, 1.0) == []
    assert scenario.on_result(None, 1.1) == []
    assert scenario.on_event(event, 1.2) == []
    assert statuses(scenario) == ["executed"]


def test_every_event_that_can_be_waited_for_has_been_tried():
    tried = {
        name.partition(":")[0]
        for name, _ in test_a_step_waits_for_its_event_and_runs_once.pytestmark[0].args[1]
    }
    assert tried == {event.value for event in ScenarioEvent}


@pytest.mark.parametrize(
    ("name", "event"),
    [
        ("hold-received", events.Held(1.0, by_peer=False)),
        ("resume-received", events.Resumed(1.0, by_peer=False)),
        ("rekey-received", events.Rekeyed(1.0, by_peer=False)),
        ("update-received", events.Updated(1.0, by_peer=False)),
        ("dtmf-received:5", events.DtmfReceived(1.0, "6", 100, "rtp")),
    ],
)
def test_what_this_end_did_or_another_digit_is_not_waited_for(plan_of, name, event):
    scenario = Scenario(plan_of((name, Hold())))
    assert scenario.on_event(event, 1.0) == []
    assert statuses(scenario) == ["not-triggered"]


def test_two_steps_can_wait_for_the_same_event(plan_of):
    scenario = Scenario(plan_of(("hold-received", SendDtmf("1")), ("hold-received", HangUp())))
    assert words(scenario.on_event(events.Held(1.0, by_peer=True), 1.0)) == ["send-dtmf"]
    assert words(scenario.on_result(None, 2.0)) == ["hang-up"]


def test_events_come_before_the_answer_too(plan_of):
    scenario = Scenario(plan_of(("ringing", HangUp())))
    assert words(scenario.on_event(events.Ringing(0.2, 180, ""), 0.2)) == ["hang-up"]


# failures and the end


def test_an_action_that_fails_is_noted_and_the_next_one_goes_on(plan_of):
    scenario = Scenario(plan_of((0, Hold()), (1, Resume())))
    answered(scenario, 0.0)
    assert scenario.on_result(REFUSED, 0.2) == []
    assert words(scenario.on_deadline(1.0)) == ["resume"]
    scenario.on_result(None, 1.1)
    result = scenario.result
    assert (result.executed, result.failed) == (1, 1)
    assert result.steps[0].error == REFUSED


def test_what_was_to_come_by_the_clock_fails_with_the_call(plan_of):
    scenario = Scenario(plan_of((1, Hold()), (9, Resume()), ("dtmf-received", HangUp())))
    answered(scenario, 0.0)
    scenario.on_deadline(1.0)
    scenario.on_result(None, 1.1)
    assert ended(scenario, 2.0) == []
    assert scenario.over
    assert scenario.next_deadline() is None
    assert statuses(scenario) == ["executed", "failed", "not-triggered"]
    error = scenario.result.steps[1].error
    assert error == ErrorReport("CallFailed", "the call ended before the action ran")


def test_what_was_due_when_the_call_ended_has_failed(plan_of):
    scenario = Scenario(plan_of((0, Hold()), ("dtmf-received", Rekey())))
    answered(scenario, 0.0)
    digit(scenario, "1", 0.1)
    ended(scenario, 0.2)
    assert not scenario.over
    assert scenario.on_result(REFUSED, 0.3) == []
    assert scenario.over
    assert statuses(scenario) == ["failed", "failed"]


def test_a_call_that_was_never_answered_fails_its_times(plan_of):
    scenario = Scenario(plan_of((0, Hold()), ("answered", Rekey())))
    ended(scenario, 3.0)
    assert statuses(scenario) == ["failed", "not-triggered"]


def test_nothing_happens_after_the_end(plan_of):
    scenario = Scenario(plan_of((0, Hold()), ("dtmf-received", Rekey())))
    ended(scenario, 3.0)
    assert answered(scenario, 4.0) == []
    assert digit(scenario, "1", 4.0) == []
    assert scenario.on_deadline(5.0) == []
    assert scenario.on_result(None, 5.0) == []


# the result


def test_a_result_is_json_picklable_and_readable(plan_of):
    plan = ScenarioPlan(plan_of((0, Hold()), (1, Resume()), ("ringing", HangUp())).steps, "try")
    scenario = Scenario(plan)
    answered(scenario, 1.0)
    scenario.on_result(REFUSED, 1.25)
    scenario.on_deadline(2.0)
    scenario.on_result(None, 2.5)
    result = scenario.result
    assert pickle.loads(pickle.dumps(result)) == result
    said = result.to_dict()
    assert json.loads(json.dumps(said)) == said
    assert (said["name"], said["executed"], said["failed"]) == ("try", 1, 1)
    assert said["steps"][0] == {
        "step": {"at": 0, "do": "hold"},
        "status": "failed",
        "at": 1.0,
        "seconds": 0.25,
        "error": {"type": "CallRejected", "message": "488 Not Acceptable Here"},
    }
    assert said["steps"][2]["at"] is None
    assert str(result).splitlines() == [
        "Scenario try: 1 done, 1 failed, 1 not triggered",
        "     1.000 s  at 0 s, hold: failed: CallRejected: 488 Not Acceptable Here",
        "     2.000 s  at 1 s, resume: executed",
        "         - s  on ringing, hang-up: not-triggered",
    ]


happening = st.one_of(
    st.sampled_from(
        [
            events.Ringing(0.0, 180, ""),
            events.Answered(0.0, 200),
            events.Held(0.0, by_peer=True),
            events.DtmfReceived(0.0, "1", 100, "rtp"),
        ]
    ),
    st.just("deadline"),
    st.just("done"),
)
trigger = st.one_of(
    st.floats(0, 5).map(AtTime),
    st.sampled_from(ScenarioEvent).map(OnEvent),
)


@given(
    st.lists(trigger, min_size=1, max_size=8),
    st.lists(st.tuples(st.floats(0, 2), happening), max_size=30),
)
def test_whatever_happens_each_step_runs_once_at_most_and_one_at_a_time(triggers, course):
    scenario = Scenario(ScenarioPlan(tuple(Step(when, Hold()) for when in triggers)))
    now, running, begun = 0.0, 0, 0
    for delay, what in [*course, (0.0, "end")]:
        now += delay
        if what == "deadline":
            effects = scenario.on_deadline(now)
        elif what == "done":
            effects = scenario.on_result(None, now)
            running = 0
        elif what == "end":
            effects = ended(scenario, now)
        else:
            effects = scenario.on_event(what, now)
        running += len(effects)
        begun += len(effects)
        assert running <= 1
    scenario.on_result(None, now)
    assert scenario.over
    assert scenario.result.executed == begun <= len(triggers)
