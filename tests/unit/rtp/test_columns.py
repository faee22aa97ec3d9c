from __future__ import annotations

import pytest

from callmeter.errors import LocalProtocolError
from callmeter.rtp.columns import ColumnTable


class Prices(ColumnTable):
    COLUMNS = {"price": ("i8", -1)}  # noqa: RUF012  the class is typed at its base


def test_growing_keeps_the_rows():
    table = Prices(rows=1, limit=8)
    rows = [table._take_row() for _ in range(5)]
    for row in rows:
        table.price[row] = row * 10
    assert sorted(rows) == [0, 1, 2, 3, 4]
    table._take_row()
    assert [table.price[row] for row in rows] == [row * 10 for row in rows]
    assert table.capacity == 8


def test_the_limit_is_kept_when_doubling_would_pass_it():
    table = Prices(rows=2, limit=3)
    assert None not in [table._take_row() for _ in range(3)]
    assert table._take_row() is None
    assert (table.capacity, table.refused) == (3, 1)


def test_a_fresh_row_has_initial_values_after_release():
    table = Prices()
    row = table._take_row()
    table.price[row] = 7
    table.release(row)
    assert table.price[row] == -1
    assert row not in table


def test_a_row_cannot_be_released_twice():
    table = Prices()
    row = table._take_row()
    table.release(row)
    with pytest.raises(LocalProtocolError, match="not in use"):
        table.release(row)
