"""Many calls in a few figures."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from callmeter.metrics import CallReport, CallResult, CallTiming, Outcome, Phase, summarize
from callmeter.metrics.aggregate import Percentiles
from callmeter.metrics.report import StreamReport


def ended(status, outcome=Outcome.SUCCESS, **timing):
    return CallReport(
        phase=Phase.CLOSED,
        outcome=outcome,
        final_status_code=status,
        timing=CallTiming(**timing),
    )


def test_ratios_count_the_answered_and_those_whose_user_refused():
    statuses = [200, 200, 486, 603, 600, 403, 408, 487, 503, 404]
    summary = summarize(ended(status, Outcome.CALL_FAILED) for status in statuses)
    assert (summary.calls, summary.asr, summary.ner) == (10, 0.2, 0.4)
    assert summary.results == {
        CallResult.ANSWERED: 2,
        CallResult.BUSY: 2,
        CallResult.REJECTED: 2,
        CallResult.TIMEOUT: 1,
        CallResult.CANCELLED: 1,
        CallResult.UNAVAILABLE: 1,
        CallResult.FAILED: 1,
    }


def test_what_calls_were_refused_with_stands_there_the_most_frequent_first():
    statuses = [486, 503, 200, 503, None, 503]
    summary = summarize(ended(status, Outcome.CALL_FAILED) for status in statuses)
    assert list(summary.statuses.items()) == [(503, 3), (486, 1)]
    assert summary.to_dict()["final_statuses"] == {"503": 3, "486": 1}
    assert f"  {'refused with':<24}503 3, 486 1" in str(summary).splitlines()
    assert "refused with  " not in str(summarize([ended(200)]))


def test_a_call_without_a_response_is_a_call_that_was_not_answered():
    summary = summarize([ended(None, Outcome.OSERROR), ended(200)])
    assert (summary.asr, summary.ner) == (0.5, 0.5)
    assert summary.outcomes[Outcome.OSERROR] == summary.outcomes[Outcome.SUCCESS] == 1
    assert set(summary.outcomes) == set(Outcome)


def test_calls_under_way_are_left_out_and_no_calls_have_no_ratio():
    summary = summarize([CallReport(phase=Phase.INCALL)])
    assert (summary.calls, summary.asr, summary.ner, summary.timings) == (0, None, None, {})


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ([5.0], Percentiles(1, 5.0, 5.0, 5.0)),
        ([2.0, 1.0], Percentiles(2, 1.0, 2.0, 2.0)),
        ([float(n) for n in range(100, 0, -1)], Percentiles(100, 50.0, 95.0, 99.0)),
        ([], None),
    ],
)
def test_percentiles_are_values_that_occurred(values, found):
    assert Percentiles.of(values) == found


def test_timings_are_those_of_the_calls_that_have_them():
    reports = [ended(200, call_setup_time_ms=float(ms)) for ms in range(1, 21)]
    summary = summarize([*reports, ended(486, post_dial_delay_ms=7.0)])
    assert summary.timings["call_setup_time_ms"] == Percentiles(20, 10.0, 19.0, 20.0)
    assert summary.timings["post_dial_delay_ms"].count == 1
    assert "call_duration_ms" not in summary.timings


def test_a_summary_becomes_json():
    told = json.loads(json.dumps(summarize([ended(200, call_duration_ms=3.0)]).to_dict()))
    assert told["asr"] == 1.0
    assert told["outcomes"]["SUCCESS"] == told["call_results"]["answered"] == 1
    assert told["timings"] == {"call_duration_ms": {"count": 1, "p50": 3.0, "p95": 3.0, "p99": 3.0}}


def test_a_summary_is_a_few_lines_to_read():
    timing = {"call_setup_time_ms": 12.34}
    lines = str(summarize([ended(200, **timing), ended(404, Outcome.CALL_FAILED)])).splitlines()
    assert lines == [
        "2 calls, ASR 50.0%, NER 50.0%, silent 0.0%, refused with 488 0.0%",
        "  outcomes                SUCCESS 1, CALL_FAILED 1",
        "  refused with            404 1",
        "  call_setup_time_ms      p50 12.3, p95 12.3, p99 12.3",
    ]
    assert str(summarize([])) == "0 calls"


def test_silent_short_and_488_calls_are_shares_of_what_they_are_about():
    heard = {"packets_received": 50, "audio_level_rms": -20.0}
    silent = {"packets_received": 50, "audio_level_rms": -70.0}
    unknown = {"packets_received": 50, "audio_level_rms": None}

    def call(status, duration, *streams):
        return replace(
            ended(status, call_duration_ms=duration),
            media=tuple(StreamReport(receive=receive) for receive in streams),
        )

    summary = summarize(
        [
            call(200, 20_000.0, heard),
            call(200, 14_999.0, silent),
            call(200, 15_000.0, silent, heard),
            call(200, None, unknown),
            call(488, None),
        ]
    )
    assert summary.zero_audio_rate == summary.short_call_rate == 0.25
    assert summary.rejected_488_rate == 0.2
    assert summary.to_dict()["zero_audio_rate"] == 0.25
    nothing = summarize([])
    assert set(nothing.metrics().values()) == {None}
