"""Bursts and gaps: the example of RFC 3611 section 4.7.2 and the edges."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callmeter.errors import ConfigurationError
from callmeter.metrics.burst_gap import LossCounter, burst_gap, burst_ratio

EXAMPLE = "11110111111111111111111X111X1011110111111111111111111X1111111111"
"""RFC 3611 section 4.7.2: 0 is lost, X is discarded."""


def lost_in(pattern):
    return [position for position, packet in enumerate(pattern) if packet != "1"]


def judged(pattern, **how):
    return burst_gap(lost_in(pattern), len(pattern), ptime_ms=10, **how)


def test_the_example_of_rfc_3611():
    found = judged(EXAMPLE)
    assert (found.bursts, found.gaps) == (1, 2)
    assert (found.burst_packets, found.burst_lost) == (12, 4)
    assert found.burst_duration == 120
    assert found.loss_in_bursts == pytest.approx(0.33, abs=0.005)
    # The gaps last 230 ms and 290 ms.
    assert found.gap_duration == (230 + 290) / 2
    assert found.loss_in_gaps == pytest.approx(0.04, abs=0.005)


def test_the_metrics_of_the_product_are_shares_of_the_time():
    found = judged(EXAMPLE)
    assert found.burst_density == 12 / 64
    assert found.gap_density == 52 / 64


def test_a_stream_without_loss_is_one_gap():
    found = judged("1" * 50)
    assert (found.bursts, found.gaps, found.gap_duration) == (0, 1, 500)
    assert (found.burst_duration, found.loss_in_bursts, found.burst_density) == (0, 0, 0)
    assert (found.loss_in_gaps, found.gap_density) == (0, 1)


def test_a_stream_that_never_came_is_one_burst():
    found = judged("0" * 50)
    assert (found.bursts, found.gaps, found.burst_duration, found.loss_in_bursts) == (1, 0, 500, 1)
    assert (found.gap_duration, found.gap_density) == (0, 0)


def test_no_packets_have_neither():
    found = judged("")
    assert (found.bursts, found.gaps, found.burst_density, found.gap_density) == (0, 0, 0, 0)


def test_a_single_loss_is_no_burst():
    assert judged("1" * 20 + "0" + "1" * 20).bursts == 0


@pytest.mark.parametrize(("between", "bursts"), [(15, 1), (16, 0)])
def test_gmin_packets_in_a_row_part_two_losses(between, bursts):
    assert judged("1" * 20 + "0" + "1" * between + "0" + "1" * 20).bursts == bursts


def test_another_gmin_counts():
    pattern = "1" * 20 + "0" + "1" * 3 + "0" + "1" * 20
    assert judged(pattern, gmin=3).bursts == 0
    assert judged(pattern, gmin=4).bursts == 1


def test_bursts_may_stand_at_both_ends():
    found = judged("00" + "1" * 30 + "00")
    assert (found.bursts, found.gaps, found.gap_packets) == (2, 1, 30)


@pytest.mark.parametrize(
    ("pattern", "ratio"),
    [
        ("1" * 10, 1.0),
        ("0" * 10, 1.0),
        ("1011111011", 0.8),
        ("1001111111", 2 * 0.8),
        ("1000011111", 4 * 0.6),
    ],
)
def test_the_burst_ratio_is_the_length_of_runs_over_that_of_random_loss(pattern, ratio):
    assert burst_ratio(lost_in(pattern), len(pattern)) == pytest.approx(ratio)


@pytest.mark.parametrize(("lost", "packets"), [([2, 1], 5), ([1, 1], 5), ([5], 5), ([-1], 5)])
def test_positions_outside_or_out_of_order_are_refused(lost, packets):
    with pytest.raises(ConfigurationError, match="ascending positions below 5"):
        burst_gap(lost, packets, ptime_ms=20)
    with pytest.raises(ConfigurationError):
        burst_ratio(lost, packets)


@pytest.mark.parametrize("gmin", [0, 256])
def test_a_gmin_that_no_report_can_carry_is_refused(gmin):
    with pytest.raises(ConfigurationError, match="Gmin is 1 to 255"):
        burst_gap([], 5, ptime_ms=20, gmin=gmin)


def scalar(pattern, gmin):
    """Bursts as the words of the RFC have them, packet by packet."""
    burst, start, good, previous = 0, None, 0, None
    lengths = []
    for position, packet in enumerate([*pattern, *"1" * gmin]):
        if packet == "0":
            start = position if start is None else start
            previous, good = position, 0
        else:
            good += 1
            if start is not None and good == gmin:
                if previous > start:
                    lengths.append(previous - start + 1)
                    burst += 1
                start = None
    return burst, sum(lengths)


@given(st.text("01", max_size=200), st.integers(1, 20))
def test_bursts_are_those_of_a_packet_by_packet_reading(pattern, gmin):
    found = judged(pattern, gmin=gmin)
    assert (found.bursts, found.burst_packets) == scalar(pattern, gmin)
    assert found.burst_packets + found.gap_packets == len(pattern)
    assert found.burst_lost + found.gap_lost == pattern.count("0")


@given(st.sets(st.integers(0, 300)), st.integers(0, 60))
def test_one_loss_after_the_other_gives_the_same_as_all_at_once(positions, more):
    lost = sorted(positions)
    packets = (lost[-1] + 1 if lost else 0) + more
    counter = LossCounter()
    for position in lost:
        counter.add(position)
    assert counter.burst_gap(packets, 20) == burst_gap(lost, packets, ptime_ms=20)
    assert counter.burst_ratio(packets) == pytest.approx(burst_ratio(lost, packets))


def test_a_position_that_does_not_ascend_counts_as_the_next():
    counter = LossCounter()
    for position in (5, 5, 4):
        counter.add(position)
    assert counter.burst_gap(3, 20) == burst_gap([5, 6, 7], 8, ptime_ms=20)
