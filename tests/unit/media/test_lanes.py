"""Rows and what hangs on them."""

from __future__ import annotations

from callmeter.media import lanes as module
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


def test_streams_are_taken_in_the_order_of_their_sessions(monkeypatch):
    lanes = LaneTable(4, 8)
    monkeypatch.setattr(module, "place_of", lambda handle: handle or 0)
    monkeypatch.setattr(module, "copy_handle", lambda handle: handle)
    lanes.send_handles[:] = [400, None, 100, 300]
    lanes.receive_handles[:] = [150, 450, None, 350]
    assert lanes.send_order.tolist() == [0, 1, 2, 3]
    monkeypatch.setattr(module, "COMPACTED", 3)
    assert list(lanes.compact()) == [True] * 4
    assert lanes.send_order.tolist() == [1, 2, 3, 0]
    assert lanes.receive_rank.tolist() == [1, 3, 0, 2]
    assert lanes.send_handles == [400, None, 100, 300]


def test_a_table_that_grows_takes_every_row():
    lanes = LaneTable(2, 8)
    lanes.arrange()
    rows = [lanes.allocate() for _ in range(5)]
    assert set(rows) <= set(lanes.send_order.tolist())
