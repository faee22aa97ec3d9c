from __future__ import annotations

import itertools
import random
from unittest import mock

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from callmeter.rtp import stream_table
from callmeter.rtp.stream_table import StreamTable

STEPS = (1, 1, 1, 1, 1, 0, 2, 3, 64, 65, 127, 128, 129, 301, 302, 2999, 3000, 20_000, 40_000)
BACK = (-1, -2, -63, -64, -65, -99, -100, -101)
TIMES = (160, 160, 160, 0, -160, 8000, 8001, 16_000, 100_000, 2**31 - 1, 2**31, -(2**31))

packets = st.lists(
    st.tuples(
        st.integers(0, 4),
        st.sampled_from(STEPS + BACK),
        st.sampled_from(TIMES),
        st.sampled_from((0.02, 0.02, 0.021, 0.0, 0.9, 1.1, 30.0)),
        st.integers(0, 1400),
        st.sampled_from((True, True, True, False)),
    ),
    max_size=120,
)


def account(table, row):
    return {
        "highest": int(table.extended_max[row]),
        "expected": table.expected(row),
        "received": table.received(row),
        "valid": table.valid_packets(row),
        "lost": int(table.earlier_lost[row]) + table.lost(row),
        "octets": int(table.octets[row]),
        "rejected": int(table.rejected[row]),
        "duplicates": int(table.duplicates[row]),
        "out_of_order": int(table.out_of_order[row]),
        "resets": int(table.resets[row]),
        "jumps": int(table.jumps[row]),
        "gap": int(table.gap[row]),
        "timestamp_jumps": int(table.timestamp_jumps[row]),
        "jitter": float(table.jitter[row]),
        "closest": float(table.spacing_min[row]),
        "widest": float(table.spacing_max[row]),
    }


def feed(table, row, sequences, *, start=0.0, step=160):
    for index, sequence in enumerate(sequences):
        table.update_one(row, sequence % 65_536, index * step, start + index * 0.02, 160)


def running_stream(sequences=(10, 11, 12)):
    table = StreamTable()
    row = table.allocate(1, probation=0)
    feed(table, row, sequences)
    return table, row


class Playback:
    """Turns steps into packets of several streams, in order of arrival."""

    def __init__(self, steps, starts):
        self.sequences = list(starts)
        self.stamps = [start * 70_000 for start in starts]
        self.columns = [[] for _ in range(6)]
        now = 100.0
        for row, ahead, stamp, wait, octets, timed in steps:
            now += wait / 5
            self.sequences[row] = (self.sequences[row] + ahead) % 65_536
            self.stamps[row] = (self.stamps[row] + stamp) % 2**32
            values = row, self.sequences[row], self.stamps[row], now, octets, not timed
            for column, value in zip(self.columns, values, strict=True):
                column.append(value)

    def batches(self, cuts):
        edges = [0, *cuts, len(self.columns[0])]
        kinds = np.int64, ">u2", ">u4", np.float64, np.int64, np.bool_
        for start, end in itertools.pairwise(edges):
            yield [
                np.array(column[start:end], kind)
                for column, kind in zip(self.columns, kinds, strict=True)
            ]


def check_against_plain_account(plain_stream, batch_pays, steps, starts, probation, cuts):
    table = StreamTable(rows=2)
    rows = np.array([table.allocate(n, probation=probation) for n in range(len(starts))])
    oracles = [plain_stream(probation=probation) for _ in starts]
    playback = Playback(steps, starts)
    with mock.patch.object(stream_table, "_BATCH_PAYS", batch_pays):
        for batch in playback.batches(sorted(min(cut, len(steps)) for cut in cuts)):
            table.update(rows[batch[0]], *batch[1:])
    for row, sequence, stamp, arrival, octets, untimed in zip(*playback.columns, strict=True):
        oracles[row].packet(sequence, stamp, arrival, octets, timed=not untimed)
    for row, oracle in zip(rows, oracles, strict=True):
        assert account(table, row) == pytest.approx(oracle.account(), rel=1e-9)


@pytest.mark.parametrize("batch_pays", [0, 16, 10_000])
@settings(
    deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(
    steps=packets,
    starts=st.lists(st.integers(0, 65_535), min_size=5, max_size=5),
    probation=st.integers(0, 3),
    cuts=st.lists(st.integers(0, 120), max_size=4),
)
def test_wild_packets_give_what_a_plain_account_of_each_gives(
    plain_stream, batch_pays, steps, starts, probation, cuts
):
    check_against_plain_account(plain_stream, batch_pays, steps, starts, probation, cuts)


@pytest.mark.parametrize("batch_pays", [0, 16, 10_000])
@pytest.mark.parametrize("seed", range(12))
def test_mostly_regular_streams_give_what_a_plain_account_of_each_gives(
    plain_stream, batch_pays, seed
):
    chance = random.Random(seed)
    steps = []
    for _ in range(1500):
        regular = chance.random() < 0.9
        steps.append(
            (
                chance.randrange(8),
                1 if regular else chance.choice(STEPS + BACK),
                chance.choice((160, 159, 200)) if chance.random() < 0.95 else chance.choice(TIMES),
                chance.choice((0.005, 0.01, 0.02, 0.03)),
                chance.randrange(1400),
                chance.random() < 0.9,
            )
        )
    starts = [chance.randrange(65_536) for _ in range(8)]
    cuts = [chance.randrange(1500) for _ in range(40)]
    check_against_plain_account(plain_stream, batch_pays, steps, starts, seed % 3, cuts)


def test_a_batch_without_a_mask_times_every_packet(plain_stream):
    table = StreamTable()
    rows = np.array([table.allocate(n, probation=0) for n in range(30)])
    oracle = plain_stream(probation=0)
    for tick in range(10):
        arrival = 1.0 + tick * 0.02 + (tick % 3) * 0.001
        oracle.packet(65_530 + tick & 0xFFFF, tick * 160, arrival, 160)
        table.update(
            rows,
            np.full(30, 65_530 + tick & 0xFFFF),
            np.full(30, tick * 160),
            np.full(30, arrival),
            np.full(30, 160),
        )
    assert account(table, rows[7]) == pytest.approx(oracle.account())
    assert account(table, rows[7]) == account(table, rows[29])


def test_a_row_twice_in_a_large_batch_is_accounted_in_order_of_arrival():
    table = StreamTable()
    rows = np.array([table.allocate(n, probation=0) for n in range(20)])
    twice = np.concatenate([rows, rows])
    sequences = np.repeat([5, 6], 20)
    table.update(twice, sequences, sequences * 160, sequences * 0.02, np.full(40, 160))
    assert [table.received(row) for row in rows] == [2] * 20
    assert not table.out_of_order[rows].any()


def test_an_empty_batch_changes_nothing():
    table, row = running_stream()
    before = account(table, row)
    nothing = np.array([], np.int64)
    table.update(nothing, nothing, nothing, nothing.astype(np.float64), nothing)
    assert account(table, row) == before


def test_a_wrap_of_the_sequence_number_is_neither_reset_nor_loss():
    table, row = running_stream([65_534, 65_535, 0, 1])
    assert (table.resets[row], table.lost(row), table.extended_max[row]) == (0, 0, 65_537)


def test_a_sender_that_returns_to_low_numbers_is_a_reset():
    table, row = running_stream([40_000, 40_001, 40_003, 5, 6, 7])
    assert (table.resets[row], table.jumps[row]) == (1, 0)
    assert int(table.earlier_lost[row]) + table.lost(row) == 1
    assert table.valid_packets(row) == 5


def test_a_leap_of_hundreds_is_a_jump_and_no_loss():
    table, row = running_stream([1, 2, 603, 604])
    assert (table.jumps[row], table.lost(row), table.gap[row]) == (1, 0, 0)


def test_a_leap_up_to_the_threshold_is_loss_and_a_gap():
    table, row = running_stream([1, 2, 303])
    assert (table.jumps[row], table.lost(row), table.gap[row]) == (0, 300, 300)


def test_a_leap_of_thousands_needs_two_packets_in_sequence_to_count():
    table, row = running_stream([1, 2, 20_000, 3])
    assert (table.jumps[row], table.rejected[row], table.received(row)) == (0, 1, 3)
    feed(table, row, [30_000, 30_001])
    assert (table.jumps[row], table.extended_max[row]) == (1, 30_001)


def test_a_late_packet_gives_back_its_loss_and_its_repetition_does_not():
    table, row = running_stream([1, 2, 4])
    assert table.lost(row) == 1
    feed(table, row, [3])
    assert (table.lost(row), table.out_of_order[row], table.duplicates[row]) == (0, 1, 0)
    feed(table, row, [3])
    assert (table.lost(row), table.out_of_order[row], table.duplicates[row]) == (0, 1, 1)


def test_a_packet_before_the_first_one_hides_no_later_loss():
    table, row = running_stream([10, 9, 11, 13])
    assert (table.lost(row), table.out_of_order[row]) == (1, 1)


def test_duplicates_make_the_reported_loss_negative_and_the_measured_one_zero():
    table, row = running_stream([1, 2, 2, 2])
    assert table.take_report_interval(row) == (0, -2)
    assert table.lost(row) == 0


def test_the_reported_loss_is_clamped_to_24_bits():
    table, row = running_stream([1, 2])
    table.settled[row] = 2**30
    assert table.take_report_interval(row)[1] == -(2**23)
    table.settled[row] = 0
    table.base[row] = -(2**30)
    assert table.take_report_interval(row) == (255, 2**23 - 1)


def test_each_report_interval_counts_its_own_loss():
    table, row = running_stream([1, 2, 3, 5])
    assert table.take_report_interval(row) == (51, 1)
    feed(table, row, [6, 7])
    assert table.take_report_interval(row) == (0, 1)


def test_a_stream_in_probation_reports_nothing():
    table = StreamTable()
    row = table.allocate(1)
    feed(table, row, [8])
    assert table.take_report_interval(row) == (0, 0)
    assert (table.expected(row), table.received(row), table.lost(row)) == (0, 0, 0)


def test_wild_timestamps_move_a_counter_and_leave_the_jitter():
    table, row = running_stream()
    for index, stamp in enumerate((2**31, 0, 2**32 - 1, 123_456_789)):
        table.update_one(row, 13 + index, stamp, 0.06 + index * 0.02, 160)
    assert table.timestamp_jumps[row] == 3
    assert table.jitter[row] == pytest.approx(20.0, abs=20.0)


def test_a_stall_of_the_network_is_jitter_not_a_timestamp_jump():
    table, row = running_stream()
    table.update_one(row, 13, 3 * 160, 2.06, 160)
    assert table.timestamp_jumps[row] == 0
    assert table.jitter[row] == pytest.approx(2.0 * 8000 / 16)


def test_after_a_pause_the_timing_may_start_anew():
    table, row = running_stream()
    table.restart_timing(row)
    table.update_one(row, 13, 3 * 160, 60.0, 160)
    assert table.jitter[row] == 0.0


def test_a_codec_with_another_clock_keeps_the_jitter_in_seconds_and_jumps_nowhere():
    table, row = running_stream()
    table.update_one(row, 13, 3 * 160, 0.08, 160)
    before = table.jitter[row] / 8000
    table.change_clock(row, 48_000)
    assert table.jitter[row] / 48_000 == pytest.approx(before)
    for number in range(30):
        table.update_one(row, 14 + number, 4_000_000_000 + 960 * number, 0.1 + 0.02 * number, 80)
    assert table.timestamp_jumps[row] == 0
    assert table.jitter[row] / 48_000 < before
    assert table.lost(row) == 0


def test_a_clock_may_be_told_before_the_first_packet():
    table = StreamTable()
    row = table.allocate(1, 8000, probation=0)
    table.change_clock(row, 48_000)
    for number in range(40):
        table.update_one(row, number, 960 * number, 0.02 * number, 80)
    assert table.jitter[row] == pytest.approx(0, abs=1e-6)


def test_what_was_sent_during_a_hold_is_no_loss():
    table, row = running_stream([1, 2, 4])
    table.resume(row)
    feed(table, row, [4 + 150, 4 + 151], start=60.0)
    assert (table.lost(row), table.jumps[row], table.gap[row]) == (1, 0, 1)
    feed(table, row, [4 + 153], start=61.0)
    assert table.lost(row) == 2


def test_a_loss_after_a_hold_is_one_when_the_numbers_went_on():
    table, row = running_stream([1, 2])
    table.resume(row)
    feed(table, row, [3, 6], start=60.0)
    assert table.lost(row) == 2


def test_a_new_ssrc_starts_new_numbers_and_keeps_the_counters():
    table, row = running_stream([1, 2, 4])
    table.switch_ssrc(row, 99)
    feed(table, row, [500, 501], start=1.0)
    assert (table.ssrc[row], table.ssrc_switches[row], table.resets[row]) == (99, 1, 0)
    assert (table.valid_packets(row), table.expected(row)) == (5, 2)
    assert int(table.earlier_lost[row]) == 1
    assert table.jitter[row] == 0.0


def test_a_new_ssrc_before_the_old_one_was_valid_sets_nothing_aside():
    table = StreamTable()
    row = table.allocate(1)
    feed(table, row, [8])
    table.switch_ssrc(row, 2, probation=2)
    feed(table, row, [70, 71])
    assert (table.valid_packets(row), table.rejected[row]) == (1, 2)


def test_rolling_keeps_the_gap_of_two_seconds_and_the_worst_of_all():
    table, row = running_stream([1, 5])
    table.roll()
    assert (table.gap[row], table.gap_previous[row], table.gap_max[row]) == (0, 3, 3)
    feed(table, row, [7])
    table.roll()
    assert (table.gap_previous[row], table.gap_max[row]) == (1, 3)


def test_a_full_table_refuses_and_counts():
    table = StreamTable(rows=1, limit=2)
    assert table.allocate(1) is not None
    assert table.allocate(2) is not None
    assert table.allocate(3) is None
    assert (table.refused, len(table)) == (1, 2)


def test_a_released_row_comes_back_fresh():
    table, row = running_stream([1, 2, 4, 4])
    table.release(row)
    again = table.allocate(7, probation=0)
    assert again == row
    feed(table, again, [9])
    assert (table.lost(again), table.duplicates[again], table.octets[again]) == (0, 0, 160)


def test_gaps_are_told_of_streams_that_want_it_and_no_others():
    table, row = running_stream([1, 2, 4])
    assert table.gaps == []
    table.gaps_wanted[row] = True
    feed(table, row, [5, 8, 9, 500], start=1.0)
    assert table.gaps == [(row, 6, 2)]
    assert table.still_missing(row, 6, 2) == ()


def test_what_came_late_is_not_missing_any_more():
    table, row = running_stream([1, 2])
    feed(table, row, [6, 4], start=1.0)
    assert table.still_missing(row, 3, 3) == (3, 5)
    assert table.still_missing(row, 3, 100) == (3, 5)


def test_more_gaps_than_a_tick_can_tell_are_left_out():
    table, row = running_stream([1])
    table.gaps_wanted[row] = True
    feed(table, row, range(3, 4003, 2), start=1.0)
    assert len(table.gaps) == 1024
