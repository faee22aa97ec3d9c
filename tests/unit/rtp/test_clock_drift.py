"""The media clock against the wall clock of a sender."""

from __future__ import annotations

import numpy as np
import pytest

from callmeter.rtp.clock_drift import REPORTS, ClockDrift

SSRC = 0xBEEF
NTP = 0xE000_0000 << 32


def reports(count, ppm=0.0, *, start=0.0, first=0xFFFF_0000, every=5.0, rate=8000):
    """NTP and RTP timestamps of so many sender reports."""
    for number in range(count):
        at = start + number * every
        yield NTP + round(at * (1 << 32)), (first + round(at * rate * (1 + ppm * 1e-6))) % (1 << 32)


def drift_of(readings, rate=8000, ssrc=SSRC):
    drift = ClockDrift(rate)
    for ntp, timestamp in readings:
        drift.add(ssrc, ntp, timestamp)
    return drift


@pytest.mark.parametrize("ppm", [-200.0, 0.0, 50.0, 1000.0])
def test_the_slope_is_the_drift_across_a_wrap_of_the_timestamp(ppm):
    assert drift_of(reports(20, ppm)).ppm == pytest.approx(ppm, abs=2)


def test_it_equals_a_regression_made_elsewhere():
    random = np.random.default_rng(7)
    at = np.arange(REPORTS) * 5.0
    timestamps = np.round(at * 8000 * 1.0001 + random.normal(0, 4, REPORTS)).astype(int)
    readings = [
        (NTP + int(second) * (1 << 32), int(timestamp) + 1000)
        for second, timestamp in zip(at, timestamps, strict=True)
    ]
    drift = drift_of(readings)
    slope, _ = np.polyfit(at, timestamps / 8000, 1)
    assert drift.ppm == pytest.approx((slope - 1) * 1e6, rel=0.001)


def test_only_the_last_twenty_reports_count():
    readings = [*reports(10, 900), *reports(20, 0, start=50, first=0xFFFF_0000 + 360)]
    assert drift_of(readings).ppm == pytest.approx(0, abs=2)


def test_two_reports_tell_nothing():
    assert ClockDrift(8000).ppm is None
    assert drift_of(reports(2)).ppm is None


@pytest.mark.parametrize(
    "later",
    [
        {"start": 25.0, "first": 0},
        {"start": 3.0},
    ],
    ids=["the media clock was set", "the wall clock went back"],
)
def test_a_clock_that_was_set_begins_anew(later):
    drift = drift_of([*reports(5, 500), *reports(2, 500, **later)])
    assert drift.ppm is None


def test_another_source_begins_anew():
    drift = drift_of(reports(5))
    for ntp, timestamp in reports(2):
        drift.add(SSRC + 1, ntp, timestamp)
    assert drift.ppm is None
