from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callmeter.trace.chart_data import (
    MAX_POINTS,
    charts_of,
    drawn,
    drawn_times,
    label_of,
    never_measured,
    samples_per_interval,
)


def series(count=3, **receive):
    at = [1000.0 * (place + 1) for place in range(count)]
    return {
        "send": {"at_ms": at, "bytes_sent_rate_bps": [64_000.0] * count},
        "receive": {"at_ms": at, **receive},
    }


def test_what_belongs_together_is_one_chart_in_a_settled_order():
    charts = charts_of(
        series(
            srtp_decrypt_failures=[0, 1, 2],
            mos_lq=[4.4, 4.3, 4.1],
            bytes_recv_rate_bps=[64e3, 64e3, 32e3],
            srtp_replayed=[0, 0, 0],
            jitter_ms=[1.0, None, 2.0],
            of_my_own=[1, 2, 3],
            never=[None, None, None],
        )
    )
    assert [(chart.title, chart.unit, len(chart.lines)) for chart in charts] == [
        ("Jitter", "ms", 1),
        ("MOS", "", 1),
        ("Bit rate", "kbit/s", 2),
        ("Security counters", "", 2),
        ("Of my own", "", 1),
    ]
    rate = charts[2]
    assert [(line.side, line.label, line.values) for line in rate.lines] == [
        ("sent", "Sent", (64.0, 64.0, 64.0)),
        ("received", "Received", (64.0, 64.0, 32.0)),
    ]
    assert rate.times == (1.0, 2.0, 3.0)
    assert [line.label for line in charts[3].lines] == [
        "SRTP decrypt failures, received",
        "SRTP replayed, received",
    ]


def test_a_chart_has_the_limits_of_the_catalogue():
    jitter, rate = charts_of(series(jitter_ms=[1.0, 2.0, 3.0]))
    assert jitter.limits == (20, 40)
    assert not jitter.inverted
    assert not jitter.counts
    assert rate.limits is None


def test_a_counter_is_what_was_new_and_has_no_limits():
    *_, counters = charts_of(series(srtp_decrypt_failures=[0, 9, 0]))
    assert counters.counts
    assert counters.limits is None


def test_what_was_never_measured_is_told():
    empty = series(jitter_ms=[None, None, None], fraction_lost=[None, 1.0, None])
    assert never_measured(empty) == ["jitter received"]
    assert never_measured({"send": {"at_ms": []}}) == []


def test_sides_that_were_sampled_at_other_times_share_one_axis():
    (chart,) = charts_of(
        {
            "send": {"at_ms": [1000.0, 2000.0], "jitter_ms": [1.0, 2.0]},
            "receive": {"at_ms": [2000.0, 3000.0], "jitter_ms": [5.0, 6.0]},
        }
    )
    assert chart.times == (1.0, 2.0, 3.0)
    assert [line.values for line in chart.lines] == [(1.0, 2.0, None), (None, 5.0, 6.0)]


def test_a_stream_that_was_not_sampled_has_no_charts():
    assert charts_of({"send": {"at_ms": []}, "receive": {"at_ms": []}}) == []


def test_a_short_series_is_drawn_point_by_point():
    assert drawn([1.23456789, None, 0.0, 64_000.0, -16.0]) == [1.235, None, 0, 64_000, -16]
    assert drawn_times([0.99191, 1.99143]) == [0.99, 1.99]


def test_a_long_series_keeps_its_peaks_in_their_order():
    values = [10.0] * 3600
    values[1000], values[1001], values[2500] = 99.0, 1.0, None
    assert samples_per_interval(3600) == 12
    points = drawn(values)
    assert len(points) == len(drawn_times(range(3600))) == MAX_POINTS
    place = 2 * (1000 // 12)
    assert points[place : place + 2] == [99, 1]


def test_an_interval_without_a_value_stays_empty():
    points = drawn([None] * 1200 + [3.0] * 1200)
    assert points[:2] == [None, None]
    assert points[-1] == 3


@given(st.integers(0, 20_000), st.integers(0, 2**32))
def test_no_course_loses_its_extremes(count, seed):
    source = random.Random(seed)
    values = [source.uniform(-100, 100) for _ in range(count)]
    points = drawn(values)
    assert len(points) <= MAX_POINTS
    assert len(points) == len(drawn_times(values))
    if values:
        assert min(points) == pytest.approx(min(values), rel=1e-3)
        assert max(points) == pytest.approx(max(values), rel=1e-3)


@pytest.mark.parametrize(
    ("key", "label"),
    [
        ("rtt_ms", "Round trip"),
        ("packets_recv_rate_ps", "Packets received rate"),
        ("message_fits_udp", "Message fits UDP"),
        ("srtp_roc_resets", "SRTP ROC resets"),
    ],
)
def test_a_key_is_read_as_words(key, label):
    assert label_of(key) == label


def test_points_are_few_characters():
    noise = random.Random(1)
    assert max(len(str(point)) for point in drawn([noise.random() for _ in range(99)])) <= 9
