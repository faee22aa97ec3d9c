from __future__ import annotations

import pytest

from callmeter.metrics.signaling import (
    CallResult,
    CallTimestamps,
    CallTiming,
    HoldTimes,
    call_result,
)


@pytest.mark.parametrize(
    ("status", "result"),
    [
        (200, "answered"),
        (202, "answered"),
        (486, "busy"),
        (600, "busy"),
        (403, "rejected"),
        (603, "rejected"),
        (408, "timeout"),
        (487, "cancelled"),
        (480, "unavailable"),
        (503, "unavailable"),
        (302, "failed"),
        (404, "failed"),
        (488, "failed"),
        (500, "failed"),
        (606, "failed"),
    ],
)
def test_the_final_status_code_gives_the_call_result(status, result):
    assert call_result(status) is CallResult(result)


def test_a_call_without_a_final_response_has_no_result():
    assert call_result(None) is None


def test_timings_are_the_distances_between_milestones():
    times = CallTimestamps()
    times.invite_sent_at = 10.0
    times.trying_at = 10.05
    times.ringing_at = 11.0
    times.answer_at = 14.0
    times.first_rtp_at = 14.25
    times.bye_at = 44.0
    assert times.timing().metrics() == pytest.approx(
        {
            "time_to_trying_ms": 50.0,
            "post_dial_delay_ms": 1000.0,
            "call_setup_time_ms": 4000.0,
            "time_to_first_media_ms": 250.0,
            "call_duration_ms": 30_000.0,
        }
    )


def test_what_did_not_happen_has_no_timing():
    times = CallTimestamps()
    assert times.timing() == CallTiming()
    times.invite_sent_at = 1.0
    times.bye_at = 2.0
    assert times.timing() == CallTiming()


def test_media_before_the_answer_was_not_waited_for():
    times = CallTimestamps()
    times.answer_at = 5.0
    times.first_rtp_at = 3.0
    assert times.timing().time_to_first_media_ms == 0.0


def test_holds_are_counted_and_summed():
    hold = HoldTimes()
    hold.begin(1.0)
    hold.begin(1.5)
    assert hold.total_ms(2.0) == pytest.approx(1000.0)
    hold.end(3.0)
    hold.end(9.0)
    assert (hold.count, hold.total_ms(20.0)) == (1, pytest.approx(2000.0))
    hold.begin(30.0)
    assert (hold.count, hold.total_ms(30.5)) == (2, pytest.approx(2500.0))
