from __future__ import annotations

import dataclasses
import json

import pytest

from callmeter.errors import ConfigurationError
from callmeter.metrics.metric import Direction, Grade, Kind, Metric, Scope, Thresholds
from callmeter.metrics.phases import Phase
from callmeter.metrics.report import CallReport, StreamReport
from callmeter.metrics.signaling import CallTiming
from callmeter.metrics.thresholds import Breach, Evaluation, Health, evaluate, evaluate_report

SCORE = Metric(
    key="score",
    unit="1-5",
    kind=Kind.GAUGE,
    direction=Direction.BOTH,
    scope=Scope.STREAM,
    rfc="",
    description="Lower is worse.",
    thresholds=Thresholds(3.5, 2.5),
    inverted=True,
)
PLACE = "media[0].receive"


@pytest.mark.parametrize(
    ("jitter", "health"),
    [
        (20.0, Health.HEALTHY),
        (20.5, Health.DEGRADED),
        (40.0, Health.DEGRADED),
        (40.5, Health.UNHEALTHY),
        (None, Health.UNKNOWN),
    ],
)
def test_the_limits_of_the_catalogue_decide(jitter, health):
    assert evaluate([(PLACE, "jitter_ms", jitter)]).health is health


@pytest.mark.parametrize(
    ("score", "health"),
    [(3.5, Health.HEALTHY), (3.4, Health.DEGRADED), (2.4, Health.UNHEALTHY)],
)
def test_where_lower_is_worse_the_limits_are_lower_ones(score, health):
    found = evaluate([(PLACE, "score", score)], catalogue={"score": SCORE})
    assert found.health is health


def test_the_worst_single_metric_decides_and_comes_first():
    found = evaluate(
        [
            (PLACE, "jitter_ms", 30.0),
            (PLACE, "rtt_ms", 10.0),
            (PLACE, "fraction_lost", 7.5),
        ]
    )
    assert found == Evaluation(
        Health.UNHEALTHY,
        (
            Breach("fraction_lost", PLACE, 7.5, 5, Grade.CRITICAL),
            Breach("jitter_ms", PLACE, 30.0, 20, Grade.WARNING),
        ),
        judged=3,
    )
    assert json.loads(json.dumps(found.to_dict()))["breaches"][1] == {
        "key": "jitter_ms",
        "place": PLACE,
        "value": 30.0,
        "limit": 20,
        "grade": "WARNING",
    }


def test_texts_and_what_has_no_limit_are_not_judged():
    values = [(PLACE, "packets_sent", 7), ("counters", "dtmf_method", "rtp"), (PLACE, "other", 1)]
    assert evaluate(values) == Evaluation(Health.UNKNOWN)


def test_own_limits_replace_those_of_the_catalogue():
    values = [(PLACE, "jitter_ms", 50.0), (PLACE, "packets_sent", 200)]
    assert evaluate(values, {"jitter_ms": Thresholds(60, 80)}).health is Health.HEALTHY
    assert evaluate(values, {"packets_sent": Thresholds(100, 300)}).breaches[1].limit == 100


def test_a_metric_can_be_left_out():
    values = [(PLACE, "jitter_ms", 50.0)]
    assert evaluate(values, {"jitter_ms": None}) == Evaluation(Health.UNKNOWN)


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        ({"jiter_ms": Thresholds(1, 2)}, "no metric is called 'jiter_ms'"),
        ({"jitter_ms": Thresholds(2, 1)}, "warning limit is below the critical one"),
        ({"jitter_ms": (30, 80)}, r"are Thresholds\(warning, critical\), not \(30, 80\)"),
        ({"score": Thresholds(2.5, 3.5)}, "warning limit is above the critical one"),
    ],
)
def test_limits_that_cannot_be_meant_are_refused(limits, reason):
    catalogue = {"score": SCORE, "jitter_ms": dataclasses.replace(SCORE, inverted=False)}
    with pytest.raises(ConfigurationError, match=reason):
        evaluate([], limits, catalogue=catalogue)


def test_every_part_of_a_report_is_judged():
    report = CallReport(
        phase=Phase.CLOSED,
        timing=CallTiming(post_dial_delay_ms=3500.0),
        counters={"dtls_rehandshakes": 2, "dtmf_method": "rtp"},
        media=(
            StreamReport(receive={"jitter_ms": 5.0}),
            StreamReport(send={"fraction_lost": 2.0}, receive={"jitter_ms": 25.0}),
        ),
    )
    found = evaluate_report(report)
    assert found.health is Health.UNHEALTHY
    assert [(breach.place, breach.key) for breach in found.breaches] == [
        ("counters", "dtls_rehandshakes"),
        ("timing", "post_dial_delay_ms"),
        ("media[1].send", "fraction_lost"),
        ("media[1].receive", "jitter_ms"),
    ]
    assert found.judged == 5
