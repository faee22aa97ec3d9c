from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from callmeter.rtp.reception import (
    reception_statistics,
    reception_totals,
    report_block,
    sender_statistics,
)
from callmeter.rtp.send_table import SendTable
from callmeter.rtp.stream_table import StreamTable


@pytest.fixture(name="table")
def received_streams():
    table = StreamTable()
    assert table.allocate(77, probation=0) == 0
    return table


def receive(table, sequences, start=0.0, row=0):
    for index, sequence in enumerate(sequences):
        table.update_one(row, sequence, index * 160, start + index * 0.02, 160)


def test_a_stream_without_packets_has_nothing_to_measure(table):
    statistics = reception_statistics(table, 0, 5.0)
    assert statistics.packets_received == statistics.packets_lost == 0
    assert statistics.fraction_lost is None
    assert statistics.jitter_ms is None
    assert statistics.packets_recv_rate_ps is None
    assert statistics.avg_packet_spacing is None


def test_the_first_packet_has_no_spacing(table):
    receive(table, [1])
    assert reception_statistics(table, 0, 5.0).avg_packet_spacing is None


def test_a_whole_stream_is_summed_up(table):
    receive(table, [1, 2, 3, 4, 9, 9, 8])
    statistics = reception_statistics(table, 0, 0.14)
    assert (statistics.packets_received, statistics.bytes_received) == (7, 1120)
    assert (statistics.packets_lost, statistics.packets_expected) == (3, 9)
    assert statistics.fraction_lost == pytest.approx(100 / 3)
    assert (statistics.duplicate_packets, statistics.out_of_order_packets) == (1, 1)
    assert statistics.sequence_number_gaps == 4
    assert statistics.packets_recv_rate_ps == pytest.approx(50.0)
    assert statistics.bytes_recv_rate_bps == pytest.approx(64_000.0)
    assert statistics.avg_packet_spacing == pytest.approx(20.0)
    assert statistics.min_packet_spacing == pytest.approx(20.0)
    assert statistics.jitter_ms == pytest.approx(0.0, abs=1e-6)


def test_packets_in_probation_are_received_but_not_expected():
    table = StreamTable()
    row = table.allocate(1)
    receive(table, [5, 6, 7], row=row)
    statistics = reception_statistics(table, row, 1.0)
    assert (statistics.packets_received, statistics.packets_expected) == (3, 2)
    assert statistics.packets_lost == 0


def test_a_snapshot_after_another_speaks_of_the_time_between(table):
    receive(table, range(50))
    first = reception_statistics(table, 0, 1.0)
    receive(table, [50, 51, 54, 55], start=1.0)
    second = reception_statistics(table, 0, 2.0, first)
    assert second.packets_recv_rate_ps == 4.0
    assert second.bytes_recv_rate_bps == 4 * 160 * 8
    assert second.fraction_lost == pytest.approx(100 * 2 / 6)
    assert second.packets_received == 54


def test_two_snapshots_of_the_same_moment_have_no_rate(table):
    receive(table, [1, 2])
    first = reception_statistics(table, 0, 1.0)
    second = reception_statistics(table, 0, 1.0, first)
    assert second.packets_recv_rate_ps is None
    assert second.fraction_lost is None


def test_spacing_and_gaps_look_back_two_seconds(table):
    receive(table, [1, 6])
    table.roll()
    earlier = reception_statistics(table, 0, 1.0)
    table.update_one(0, 7, 1600, 0.05, 160)
    within = reception_statistics(table, 0, 1.0, earlier)
    assert within.sequence_number_gaps == 4
    assert within.min_packet_spacing == pytest.approx(20.0)
    assert within.avg_packet_spacing == pytest.approx(25.0)
    table.roll()
    table.update_one(0, 8, 1760, 0.15, 160)
    later = reception_statistics(table, 0, 2.0, earlier)
    assert later.sequence_number_gaps == 0
    assert later.min_packet_spacing == pytest.approx(30.0)
    assert later.max_packet_spacing == pytest.approx(100.0)
    assert later.avg_packet_spacing == pytest.approx(65.0)
    whole = reception_statistics(table, 0, 2.0)
    assert whole.sequence_number_gaps == 4
    assert whole.min_packet_spacing == pytest.approx(20.0)
    assert whole.avg_packet_spacing == pytest.approx(50.0)


def test_a_window_without_packets_has_no_spacing(table):
    receive(table, [1, 2])
    table.roll()
    table.roll()
    quiet = reception_statistics(table, 0, 3.0, reception_statistics(table, 0, 2.0))
    assert quiet.max_packet_spacing is None
    assert reception_statistics(table, 0, 3.0).max_packet_spacing == pytest.approx(20.0)


def test_loss_before_a_restart_stays_counted(table):
    receive(table, [1, 2, 4, 30_000, 30_001, 30_003])
    statistics = reception_statistics(table, 0, 1.0)
    assert statistics.packets_lost == 2
    assert statistics.sequence_number_jumps == 1


def test_late_packets_of_a_jump_give_no_negative_loss(table):
    receive(table, [1, 400, 399, 398])
    statistics = reception_statistics(table, 0, 1.0)
    assert statistics.packets_lost == 0
    assert statistics.fraction_lost == 0.0


def test_statistics_become_metrics_by_catalogue_key(table):
    receive(table, [1, 2])
    metrics = reception_statistics(table, 0, 1.0).metrics()
    assert metrics["packets_received"] == 2
    assert "sampled_at" not in metrics
    assert all(type(value) in {int, float} for value in metrics.values())


def test_the_report_block_of_a_stream_begins_its_next_interval(table):
    receive(table, [65_535, 0, 2])
    block = report_block(table, 0, last_sr=5, delay_since_last_sr=6)
    assert (block.ssrc, block.fraction_lost, block.cumulative_lost) == (77, 64, 1)
    assert block.extended_max_sequence == 65_538
    assert (block.last_sr, block.delay_since_last_sr) == (5, 6)
    assert report_block(table, 0).fraction_lost == 0


def test_the_report_block_of_a_silent_stream_is_empty(table):
    block = report_block(table, 0)
    assert (block.extended_max_sequence, block.jitter, block.cumulative_lost) == (0, 0, 0)


def test_sent_packets_are_summed_up_and_rated():
    table = SendTable()
    row = table.allocate(1, 0, 0)
    assert sender_statistics(table, row, 1.0).packets_sent_rate_ps is None
    for number in range(50):
        table.advance_one(row, 160, 160, 10.0 + number * 0.02)
    first = sender_statistics(table, row, 11.0)
    assert first.packets_sent_rate_ps == pytest.approx(50.0)
    assert first.bytes_sent_rate_bps == pytest.approx(64_000.0)
    table.advance_one(row, 160, 160, 11.5)
    second = sender_statistics(table, row, 12.0, first)
    assert second.metrics() == {
        "packets_sent": 51,
        "bytes_sent": 51 * 160,
        "packets_sent_rate_ps": 1.0,
        "bytes_sent_rate_bps": 1280.0,
    }


@given(
    st.lists(st.sampled_from([1] * 10 + [2, 4, 0, -1, -3, 400, 5000, -9000]), max_size=60),
    st.integers(0, 65_535),
)
def test_the_totals_of_many_rows_are_those_of_each(steps, first):
    table = StreamTable()
    for row in range(2):
        table.allocate(row)
    number = first
    for step in steps:
        number += step
        table.update_one(0, number & 0xFFFF, 0, 1.0, 160)
    received, lost, expected = reception_totals(table, np.array([0, 1]))
    for row in range(2):
        found = reception_statistics(table, row, 2.0)
        assert received[row] == found.packets_received
        assert max(lost[row], 0) == found.packets_lost
        assert expected[row] == found.packets_expected
