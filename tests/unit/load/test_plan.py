"""Plans: what can be said, and what is refused when it is said."""

from __future__ import annotations

import json
import pickle

import pytest

from callmeter.config import Codec
from callmeter.errors import ConfigurationError
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
    Transfer,
    UpdateMedia,
)

STEPS = [
    {"at": 2, "do": "hold"},
    {"at": 4.5, "do": "resume", "timeout": 3},
    {"at": 5, "do": "rekey", "roc": "keep"},
    {"on": "media-started", "do": "send-dtmf", "digits": "1a#", "method": "info"},
    {"on": "dtmf-received", "digit": "#", "do": "hang-up"},
    {"on": "dtmf-received", "do": "send-dtmf", "digits": "9", "duration_ms": 200},
    {"at": 6, "do": "update", "codecs": ["PCMA", "PCMU"], "ptime": 30, "method": "UPDATE"},
    {"at": 7, "do": "activate"},
    {"at": 8, "do": "transfer", "target": "sip:carol@example.com"},
]
MADE = ScenarioPlan(
    (
        Step(AtTime(2), Hold()),
        Step(AtTime(4.5), Resume(), timeout=3),
        Step(AtTime(5), Rekey(roc="keep")),
        Step(OnEvent(ScenarioEvent.MEDIA_STARTED), SendDtmf("1a#", method="info")),
        Step(OnEvent(ScenarioEvent.DTMF_RECEIVED, "#"), HangUp()),
        Step(OnEvent(ScenarioEvent.DTMF_RECEIVED), SendDtmf("9", duration_ms=200)),
        Step(AtTime(6), UpdateMedia((Codec.PCMA, Codec.PCMU), ptime=30, method="UPDATE")),
        Step(AtTime(7), Activate()),
        Step(AtTime(8), Transfer("sip:carol@example.com")),
    ),
    "nine things",
)


def test_a_file_says_what_the_classes_say():
    text = json.dumps({"name": "nine things", "steps": STEPS})
    assert ScenarioPlan.from_json(text) == MADE


def test_a_plan_comes_back_from_json_and_from_a_pickle():
    assert MADE.to_dict() == {"name": "nine things", "steps": STEPS}
    assert ScenarioPlan.from_json(json.dumps(MADE.to_dict())) == MADE
    assert pickle.loads(pickle.dumps(MADE)) == MADE


def test_a_plan_without_a_name_has_none_in_its_file():
    assert ScenarioPlan.from_dict({"steps": STEPS[:1]}).to_dict() == {"steps": STEPS[:1]}


def test_the_last_time_is_how_long_a_call_has_to_be():
    assert MADE.seconds == 8
    assert ScenarioPlan((Step(OnEvent(ScenarioEvent.RINGING), HangUp()),)).seconds == 0


def test_the_words_of_a_step_are_those_of_the_file():
    assert [str(step) for step in MADE.steps] == [
        "at 2 s, hold",
        "at 4.5 s, resume",
        "at 5 s, rekey keep",
        "on media-started, send-dtmf 1a# info",
        "on dtmf-received #, hang-up",
        "on dtmf-received, send-dtmf 9 200",
        "at 6 s, update PCMA,PCMU 30 UPDATE",
        "at 7 s, activate",
        "at 8 s, transfer sip:carol@example.com",
    ]


def test_steps_may_be_given_as_a_list():
    assert ScenarioPlan([Step(AtTime(1), Hold())]).steps == (Step(AtTime(1), Hold()),)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: AtTime("2"), "at is a number of seconds, not '2'"),
        (lambda: AtTime(seconds=True), "at is a number of seconds, not True"),
        (lambda: AtTime(-1), "at is 0 to 86400 seconds, not -1"),
        (lambda: AtTime(float("nan")), "at is 0 to 86400 seconds, not nan"),
        (lambda: AtTime(86_401), "at is 0 to 86400 seconds"),
        (lambda: OnEvent("tea"), "no event 'tea': known are ringing, early-media, answered"),
        (lambda: OnEvent("ringing", "5"), "a digit goes with dtmf-received, not with ringing"),
        (lambda: OnEvent("dtmf-received", "x"), "'x' are no DTMF digits: 0 to 9"),
        (lambda: OnEvent("dtmf-received", 5), "5 are no DTMF digits"),
        (lambda: OnEvent("dtmf-received", "12"), "one digit can be waited for, not '12'"),
        (lambda: SendDtmf(""), "'' are no DTMF digits"),
        (lambda: SendDtmf("12x"), "'12x' are no DTMF digits"),
        (lambda: SendDtmf("1", method="smoke"), "method is 'rtp' or 'info', not 'smoke'"),
        (lambda: SendDtmf("1", method=["rtp"]), "method is 'rtp' or 'info', not"),
        (lambda: SendDtmf("1", duration_ms=99), "duration_ms is 100 or more, not 99"),
        (lambda: SendDtmf("1", duration_ms="160"), "duration_ms is 100 or more, not '160'"),
        (lambda: Rekey(roc="drop"), "roc is 'reset' or 'keep', not 'drop'"),
        (lambda: UpdateMedia("PCMA"), "codecs is a list of PCMU, PCMA"),
        (lambda: UpdateMedia(["PCMZ", 5]), "not ['PCMZ', 5]"),
        (lambda: UpdateMedia(ptime=25), "ptime is 10, 20 ... 60 ms, not 25"),
        (lambda: UpdateMedia(ptime="20"), "ptime is 10, 20 ... 60 ms, not '20'"),
        (lambda: UpdateMedia(method="INFO"), "method is 'UPDATE' or 'INVITE', not 'INFO'"),
        (lambda: Transfer(" "), "target is whom to call, not ' '"),
        (lambda: Transfer(5), "target is whom to call, not 5"),
        (lambda: Step(2, Hold()), "a step waits for AtTime or OnEvent, not 2"),
        (lambda: Step(AtTime(2), "hold"), "a step does an Action, not 'hold'"),
        (lambda: Step(AtTime(2), Hold(), timeout=0), "timeout is 0.001 to 86400 seconds, not 0"),
        (lambda: ScenarioPlan(()), "a scenario has 1 to 30 steps, not 0"),
        (lambda: ScenarioPlan((Step(AtTime(1), Hold()),) * 31), "1 to 30 steps, not 31"),
        (lambda: ScenarioPlan((Hold(),)), "a scenario has steps, not Hold()"),
        (lambda: ScenarioPlan(MADE.steps, 7), "the name of a scenario is text, not 7"),
    ],
)
def test_a_mistake_is_refused_when_it_is_made(make, words):
    with pytest.raises(ConfigurationError) as caught:
        make()
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ([], "an object is wanted, not []"),
        ({}, '"steps" is a list of steps'),
        ({"steps": {}}, '"steps" is a list of steps'),
        ({"steps": STEPS, "stepps": 1}, '"stepps" means nothing here: known are name, steps'),
        ({"steps": [STEPS[0], 5]}, "step 2: an object is wanted, not 5"),
        ({"steps": [{"do": "hold"}]}, 'step 1: either "at" (seconds) or "on" (an event)'),
        ({"steps": [{"at": 1, "on": "ringing", "do": "hold"}]}, 'step 1: either "at"'),
        ({"steps": [{"at": 1}]}, 'step 1: "do" is one of hold, resume, '),
        ({"steps": [{"at": 1, "do": "dance"}]}, "hang-up, not 'dance'"),
        ({"steps": [{"at": 1, "do": ["hold"]}]}, "not ['hold']"),
        ({"steps": [{"at": "soon", "do": "hold"}]}, "step 1: at is a number of seconds"),
        ({"steps": [{"at": 1, "do": "hold", "digit": "1"}]}, '"digit" means nothing here'),
        (
            {"steps": [{"at": 1, "do": "rekey", "rock": "keep"}]},
            '"rock" means nothing here: known are roc',
        ),
        ({"steps": [{"at": 1, "do": "send-dtmf"}]}, 'step 1: send-dtmf needs "digits"'),
        ({"steps": [{"on": ["ringing"], "do": "hold"}]}, "step 1: no event ['ringing']"),
    ],
)
def test_a_mistake_in_a_file_is_named_with_its_step(value, words):
    with pytest.raises(ConfigurationError) as caught:
        ScenarioPlan.from_json(json.dumps(value))
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"steps": [\n  {"at": 2 "do": "hold"}]}', "not JSON: "),
        ('{"steps": [\n  {"at": 2 "do": "hold"}]}', "at line 2 column 12"),
        ('{"steps": [{"at": 1, "at": 2, "do": "hold"}]}', '"at" is there twice in one object'),
        ('{"steps": [{"at": NaN, "do": "hold"}]}', "at is 0 to 86400 seconds, not nan"),
        ("[" * 100_000, "nested too deep"),
    ],
)
def test_a_text_that_is_no_plan_is_refused(text, words):
    with pytest.raises(ConfigurationError) as caught:
        ScenarioPlan.from_json(text)
    assert words in str(caught.value)
