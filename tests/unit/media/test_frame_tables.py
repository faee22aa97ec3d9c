"""Frames of several streams in one array."""

from __future__ import annotations

import pytest

from callmeter.media.frame_tables import MAX_OCTETS, NO_TABLE, FrameTables
from callmeter.media.lanes import LaneTable

FRAMES = (b"one.", b"two.", b"six.")


def test_the_same_frames_are_one_table_for_as_long_as_somebody_plays_them():
    tables = FrameTables()
    numbers = {tables.join(FRAMES) for _ in range(3)}
    assert len(numbers) == len(tables) == 1
    (number,) = numbers
    for _ in range(2):
        tables.leave(number)
        assert [bytes(row) for row in tables.array(number)] == list(FRAMES)
    tables.leave(number)
    assert len(tables) == 0


def test_other_frames_are_another_table():
    tables = FrameTables()
    others = (*FRAMES[:2], b"ten.")
    first, second = tables.join(FRAMES), tables.join(others)
    assert first != second
    assert bytes(tables.array(second)[2]) == b"ten."
    assert bytes(tables.array(first)[2]) == b"six."


@pytest.mark.parametrize("frames", [(), (b"alone",), (bytes(MAX_OCTETS // 2 + 1),) * 2])
def test_a_single_frame_and_very_many_have_no_table(frames):
    tables = FrameTables()
    assert tables.join(frames) == NO_TABLE
    tables.leave(NO_TABLE)
    assert len(tables) == 0


def test_a_row_leaves_the_table_of_what_it_played_before():
    lanes = LaneTable(4, 4)
    first, second = lanes.allocate(), lanes.allocate()
    lanes.play(first, FRAMES)
    lanes.play(second, FRAMES)
    assert lanes.frame_table[first] == lanes.frame_table[second] != NO_TABLE
    lanes.play(first, FRAMES)
    lanes.play(first, (b"live",))
    assert lanes.frame_table[first] == NO_TABLE
    assert len(lanes.frames) == 1
    lanes.release(second)
    assert len(lanes.frames) == 0
    assert lanes.frame_table[second] == NO_TABLE
