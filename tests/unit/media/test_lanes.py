"""Rows and what hangs on them."""

from __future__ import annotations

from callmeter.media.lanes import LaneTable


def test_lists_grow_with_the_columns_and_keep_what_they_hold():
    lanes = LaneTable(2, 10)
    rows = [lanes.allocate() for _ in range(10)]
    assert lanes.allocate() is None
    assert lanes.refused == 1
    assert sorted(rows) == list(range(10))
    assert len(lanes.streams) == len(lanes.payloads) == len(lanes.sending) == 10


def test_a_released_row_holds_nothing_of_its_last_stream():
    lanes = LaneTable(1, 1)
    row = lanes.allocate()
    lanes.sending[row] = lanes.steady[row] = True
    lanes.send_handles[row] = lanes.receive_handles[row] = object()
    lanes.payloads[row] = (b"x",)
    lanes.destinations[row] = lanes.expected[row] = lanes.outlets[row] = "peer"
    lanes.release(row)
    assert lanes.allocate() == row
    assert not lanes.sending[row]
    assert not lanes.steady[row]
    assert lanes.send_handles[row] is lanes.receive_handles[row] is None
    assert lanes.destinations[row] is lanes.expected[row] is lanes.outlets[row] is None
    assert lanes.payloads[row] == ()
