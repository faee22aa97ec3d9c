from __future__ import annotations

import numpy as np
import pytest

from callmeter.rtp.send_table import SendTable


@pytest.fixture(name="table")
def two_streams():
    table = SendTable()
    assert table.allocate(11, 65_535, 2**32 - 160) == 0
    assert table.allocate(22, 7, 1000, 48_000) == 1
    return table


def test_a_packet_takes_the_next_number_and_the_media_clock_runs_on(table):
    sequences, timestamps = table.advance(np.array([0, 1]), np.array([160, 960]), 172, 1.0)
    assert sequences.tolist() == [65_535, 7]
    assert timestamps.tolist() == [2**32 - 160, 1000]
    sequences, timestamps = table.advance(slice(0, 2), 160, 172, 1.02)
    assert sequences.tolist() == [0, 8]
    assert timestamps.tolist() == [0, 1960]
    assert table.packets[:2].tolist() == [2, 2]
    assert table.octets[:2].tolist() == [344, 344]
    assert table.first_sent[:2].tolist() == [1.0, 1.0]


def test_one_packet_counts_like_a_batch_of_one(table):
    assert table.advance_one(0, 160, 160, 5.0) == (65_535, 2**32 - 160)
    assert table.advance_one(0, 160, 160, 5.02) == (0, 0)
    assert (table.packets[0], table.octets[0], table.first_sent[0]) == (2, 320, 5.0)


def test_a_digit_keeps_its_timestamp_while_the_media_clock_runs(table):
    assert table.advance_one(1, 960, 4, 5.0, timestamp=2**32 + 3) == (7, 3)
    assert table.timestamp[1] == 1960


def test_silence_moves_the_media_clock_alone(table):
    table.skip(np.array([0]), 160)
    assert (table.sequence[0], table.timestamp[0], table.packets[0]) == (65_535, 0, 0)


def test_the_media_time_of_a_report_follows_the_last_packet(table):
    assert table.media_time(1, 9.0) == 1000
    table.advance_one(1, 960, 4, 10.0)
    assert table.media_time(1, 10.5) == 25_000


def test_a_full_table_refuses():
    table = SendTable(rows=1, limit=1)
    assert table.allocate(1, 1, 1) == 0
    assert table.allocate(2, 2, 2) is None
