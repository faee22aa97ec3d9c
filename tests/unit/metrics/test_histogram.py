from __future__ import annotations

import math
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callmeter.errors import LocalProtocolError
from callmeter.metrics.histogram import Histogram

values = st.lists(st.floats(0, 1e12, allow_subnormal=False), min_size=1, max_size=200)


@given(values, st.floats(0, 1))
def test_a_quantile_is_within_one_percent_of_the_exact_one(recorded, share):
    exact = sorted(recorded)[max(1, math.ceil(share * len(recorded))) - 1]
    assert Histogram(recorded).quantile(share) == pytest.approx(exact, rel=0.01, abs=1e-9)


@given(values, values)
def test_merging_equals_recording_everything_in_one(first, second):
    merged = Histogram(first)
    merged.merge(Histogram(second))
    together = Histogram([*first, *second])
    assert merged == together
    assert merged.count == len(merged) == together.count
    assert (merged.least, merged.greatest) == (together.least, together.greatest)
    assert merged.total == pytest.approx(together.total)


def test_an_empty_histogram_has_no_values():
    empty = Histogram()
    assert empty.summary() == {
        "count": 0,
        "mean": None,
        "p50": None,
        "p95": None,
        "p99": None,
        "max": None,
    }


def test_merging_with_an_empty_one_changes_nothing():
    histogram = Histogram([1.0, 2.0])
    histogram.merge(Histogram())
    assert histogram == Histogram([1.0, 2.0])
    empty = Histogram()
    empty.merge(histogram)
    assert (empty.least, empty.greatest, empty.mean) == (1.0, 2.0, 1.5)


def test_a_summary_names_the_quantiles_a_run_is_judged_by():
    summary = Histogram(float(n) for n in range(1, 1001)).summary()
    assert summary["p50"] == pytest.approx(500, rel=0.01)
    assert summary["p95"] == pytest.approx(950, rel=0.01)
    assert summary["p99"] == pytest.approx(990, rel=0.01)
    assert (summary["count"], summary["max"], summary["mean"]) == (1000, 1000.0, 500.5)


def test_one_value_may_be_counted_many_times():
    histogram = Histogram([5.0])
    histogram.record(1.0, times=99)
    assert histogram.quantile(0.99) == pytest.approx(1.0, rel=0.01)
    assert histogram.mean == pytest.approx(1.04)


def test_values_below_zero_count_as_zero():
    histogram = Histogram([-3.0])
    assert (histogram.least, histogram.quantile(0.5)) == (0.0, 0.0)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_not_counted(value):
    with pytest.raises(LocalProtocolError, match="cannot be counted"):
        Histogram().record(value)


def test_the_buckets_stay_bounded_whatever_comes():
    histogram = Histogram(2.0**exponent for exponent in range(-1000, 1000))
    assert len(histogram._buckets) < 100
    assert histogram.quantile(1.0) == 2.0**999
    assert histogram.quantile(0.9) == pytest.approx(2.0**50, rel=0.01)
    assert histogram.quantile(0.0) == 2.0**-1000


def test_a_histogram_pickles():
    histogram = Histogram([0.5, 7.0])
    again = pickle.loads(pickle.dumps(histogram))
    assert again == histogram
    assert again.summary() == histogram.summary()


def test_a_histogram_equals_only_histograms():
    assert Histogram() != 0
