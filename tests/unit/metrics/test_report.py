from __future__ import annotations

import dataclasses
import json
import pickle

import pytest

from callmeter.errors import CallRejected
from callmeter.metrics.catalogue import Direction, stream_keys
from callmeter.metrics.phases import Outcome, Phase
from callmeter.metrics.report import CallReport, ErrorReport, StreamReport


def test_the_keys_of_a_report_are_stable(secure_call):
    report = secure_call.to_dict()
    assert list(report) == [
        "phase",
        "outcome",
        "call_result",
        "final_status_code",
        "error",
        "signaling",
        "timing",
        "media",
        "counters",
        "diagnosis",
        "health",
    ]
    assert list(report["signaling"]) == [
        "transport",
        "local",
        "remote",
        "tls",
        "resolution",
        "call_id",
        "begun_at",
        "party",
    ]
    assert list(report["signaling"]["tls"]) == ["version", "cipher", "verified"]
    assert list(report["timing"]) == [
        "time_to_trying_ms",
        "post_dial_delay_ms",
        "call_setup_time_ms",
        "time_to_first_media_ms",
        "call_duration_ms",
    ]
    assert list(report["media"][0]) == [
        "kind",
        "codec",
        "profile",
        "keying",
        "suite",
        "rtcp_mux",
        "feedback",
        "ice",
        "direction",
        "local",
        "remote",
        "source",
        "send",
        "receive",
        "series",
    ]
    assert list(report["media"][0]["series"]) == ["send", "receive"]
    assert list(report["diagnosis"][0]) == ["check", "status", "detail", "remedy"]


def test_a_report_is_json(secure_call):
    report = secure_call.to_dict()
    assert json.loads(json.dumps(report)) == report
    assert report["phase"] == "CLOSED"
    assert report["outcome"] == "SUCCESS"
    assert report["call_result"] == "answered"
    assert report["media"][0]["keying"] == "sdes"
    assert report["diagnosis"][1]["status"] == "warn"


def test_each_side_of_a_stream_has_every_key_of_the_catalogue(secure_call):
    (stream,) = secure_call.to_dict()["media"]
    assert tuple(stream["send"]) == stream_keys(Direction.SEND)
    assert tuple(stream["receive"])[:-1] == stream_keys(Direction.RECEIVE)
    assert stream["send"]["packets_sent"] == 1500
    assert stream["receive"]["rtt_ms"] is None


def test_what_was_measured_beyond_the_catalogue_is_kept(secure_call):
    (stream,) = secure_call.to_dict()["media"]
    assert stream["receive"]["reason_for_silence"] == "none"


def test_counters_that_were_not_given_are_zero():
    counters = CallReport(phase=Phase.CALLING, counters={"hold_count": 3}).to_dict()["counters"]
    assert counters == {
        "hold_count": 3,
        "total_hold_duration_ms": 0,
        "session_timer_refreshes": 0,
        "dtls_rehandshakes": 0,
        "ice_restarts": 0,
        "rekeys_sent": 0,
        "rekeys_received": 0,
        "dtmf_digits_sent": 0,
        "dtmf_digits_received": 0,
        "dtmf_method": None,
        "audio_path": None,
        "scenario_actions_executed": 0,
        "scenario_actions_failed": 0,
    }


def test_figures_are_rounded_to_microseconds(secure_call):
    report = secure_call.to_dict()
    assert report["timing"]["call_setup_time_ms"] == 8.932
    assert report["media"][0]["receive"]["fraction_lost"] == 3.333


def test_a_call_in_progress_reports_what_is_known():
    report = CallReport(phase=Phase.RINGING).to_dict()
    assert report["outcome"] is report["call_result"] is report["final_status_code"] is None
    assert report["error"] is report["signaling"]["tls"] is None
    assert report["media"] == report["diagnosis"] == []


def test_an_error_is_reported_by_class_and_message():
    report = CallReport(
        phase=Phase.CLOSED,
        outcome=Outcome.CALL_FAILED,
        final_status_code=486,
        error=ErrorReport.of(CallRejected(486, "Busy Here")),
    ).to_dict()
    assert report["error"] == {"type": "CallRejected", "message": "486 Busy Here"}
    assert report["call_result"] == "busy"


def test_a_report_pickles(secure_call):
    assert pickle.loads(pickle.dumps(secure_call)) == secure_call


def test_a_report_does_not_change(secure_call):
    with pytest.raises(dataclasses.FrozenInstanceError):
        secure_call.phase = Phase.CALLING


def test_a_stream_without_keys_is_not_secure(secure_call):
    assert secure_call.media[0].secure
    assert not StreamReport().secure


def test_a_report_prints_as_text(secure_call):
    assert str(secure_call).startswith("Call with sip:bob@example.com: SUCCESS\n")
