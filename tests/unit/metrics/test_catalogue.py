from __future__ import annotations

import dataclasses
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from callmeter.metrics.catalogue import (
    CATALOGUE,
    Direction,
    Grade,
    Kind,
    Thresholds,
    call_keys,
    run_keys,
    stream_keys,
)
from callmeter.metrics.signaling import CallTiming
from callmeter.metrics.thresholds import Health, evaluate
from callmeter.rtp.reception import ReceptionStatistics, SenderStatistics

PUBLISHED = [
    "clock_drift_estimate",
    "clock_skew_estimate",
    "burst_density",
    "gap_density",
    "burst_duration",
    "gap_duration",
    "mos",
    "r_factor",
    "jitter_ms",
    "rtt_ms",
    "packets_lost",
    "fraction_lost",
    "timestamp_jumps",
    "ssrc_switches",
    "srtp_decrypt_failures",
    "dtls_rehandshakes",
    "ice_restarts",
    "rtcp_sr_rr_interval_ms",
    "packets_sent",
    "packets_received",
    "bytes_sent",
    "bytes_received",
    "packets_sent_rate_ps",
    "packets_recv_rate_ps",
    "bytes_sent_rate_bps",
    "bytes_recv_rate_bps",
    "duplicate_packets",
    "out_of_order_packets",
    "sequence_number_resets",
    "sequence_number_gaps",
    "sequence_number_jumps",
    "avg_packet_spacing",
    "min_packet_spacing",
    "audio_packetization_ms",
    "dtmf_digits_sent",
    "dtmf_method",
    "hold_count",
    "total_hold_duration_ms",
    "session_timer_refreshes",
    "scenario_actions_failed",
]


def names(statistics):
    return {field.name for field in dataclasses.fields(statistics)}


def test_published_keys_are_frozen():
    assert {key for key, metric in CATALOGUE.items() if metric.verified} == set(PUBLISHED)


def test_every_figure_of_a_stream_is_in_the_catalogue_on_its_side():
    received = names(ReceptionStatistics) - {"sampled_at", "packets_expected"}
    sent = names(SenderStatistics) - {"sampled_at"}
    assert received <= set(stream_keys(Direction.RECEIVE))
    assert sent <= set(stream_keys(Direction.SEND))


def test_every_timing_is_in_the_catalogue():
    assert names(CallTiming) <= set(call_keys(Kind.ONE_SHOT))


def test_streams_calls_and_runs_share_no_key_and_leave_none_out():
    streams = set(stream_keys(Direction.SEND)) | set(stream_keys(Direction.RECEIVE))
    calls, runs = set(call_keys()), set(run_keys())
    assert not streams & calls
    assert not runs & (streams | calls)
    assert streams | calls | runs == set(CATALOGUE)


@pytest.mark.parametrize("metric", CATALOGUE.values(), ids=lambda metric: metric.key)
def test_each_metric_is_described_and_its_limits_are_in_order(metric):
    assert metric.description.endswith(".")
    assert metric.unit or metric.kind in {Kind.PER_CALL, Kind.ONE_SHOT}
    if metric.thresholds:
        limits = (metric.thresholds.warning, metric.thresholds.critical)
        assert limits == tuple(sorted(limits, reverse=metric.inverted))


@pytest.mark.parametrize(
    "key", ["asr", "ner", "xr_r_factor", "xr_mos_lq", "xr_mos_cq", "frame_rate_fps"]
)
def test_limits_of_what_is_worse_when_lower_are_given_from_above(key):
    found = evaluate([("", key, 0.5)], {key: Thresholds(warning=0.9, critical=0.8)})
    assert found.health is Health.UNHEALTHY


@pytest.mark.parametrize(
    ("key", "value", "grade"),
    [
        ("jitter_ms", 20.0, Grade.GOOD),
        ("jitter_ms", 20.1, Grade.WARNING),
        ("jitter_ms", 41, Grade.CRITICAL),
        ("clock_drift_estimate", -60.0, Grade.WARNING),
        ("clock_drift_estimate", 40.0, Grade.GOOD),
        ("mos", 3.4, Grade.WARNING),
        ("mos", 2.4, Grade.CRITICAL),
        ("fraction_lost", 1.0, Grade.GOOD),
        ("fraction_lost", 5.0, Grade.WARNING),
        ("fraction_lost", 5.1, Grade.CRITICAL),
        ("srtp_decrypt_failures", 0, Grade.GOOD),
        ("srtp_decrypt_failures", 5, Grade.WARNING),
        ("srtp_decrypt_failures", 6, Grade.CRITICAL),
        ("dtls_rehandshakes", 1, Grade.WARNING),
        ("ssrc_switches", 2, Grade.CRITICAL),
        ("jitter_ms", None, Grade.UNKNOWN),
        ("packets_sent", 7, Grade.UNKNOWN),
    ],
)
def test_a_value_is_graded_by_the_published_limits(key, value, grade):
    assert CATALOGUE[key].grade(value) is grade


def test_own_limits_replace_the_defaults():
    assert CATALOGUE["jitter_ms"].grade(50, Thresholds(60, 80)) is Grade.GOOD


def test_the_glossary_has_no_blank_for_limits_that_are_not_there():
    script = Path(__file__).resolve().parents[3] / "scripts" / "glossary.py"
    rows = list(runpy.run_path(str(script))["rows"]([CATALOGUE["ner"], CATALOGUE["mos"]]))[2:]
    assert [row.rpartition(" | ")[2] for row in rows] == [
        "(lower is worse) |",
        "3.5, 2.5 (lower is worse) |",
    ]


def test_the_glossary_of_the_documentation_is_what_the_catalogue_says():
    script = Path(__file__).resolve().parents[3] / "scripts" / "glossary.py"
    done = subprocess.run(
        [sys.executable, script, "--check"], capture_output=True, text=True, check=False
    )
    assert done.stdout == ""
    assert done.returncode == 0
