"""Rows of numpy columns: state of many streams, allocated and released by row number.

The table grows by doubling, so a row number stays valid but a column does not: read columns from
the table each time, never keep them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from callmeter.errors import LocalProtocolError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

__all__ = ["ColumnTable"]

Initial = int | float
Kind = str | np.dtype[Any]


class ColumnTable:
    """Columns of equal length; a row is a stream.

    Args:
        rows: Rows to begin with.
        limit: Rows at most; beyond it `_take_row` gives None and counts.

    Attributes:
        capacity: Rows there is room for now.
        refused: Streams that were refused because the table was full.
    """

    COLUMNS: ClassVar[Mapping[str, tuple[Kind, Initial]]] = {}
    """Column name to numpy type and the value of a fresh row.

    Several numbers in a row are a `numpy.dtype`. As text, their count would be parsed as Python
    each time, which CPython 3.11 sometimes refuses.
    """

    def __init__(self, rows: int = 64, limit: int = 65_536) -> None:
        self.limit = limit
        self.capacity = min(max(rows, 1), limit)
        self.refused = 0
        self._free = list(range(self.capacity - 1, -1, -1))
        self._live: set[int] = set()
        self._mark = np.zeros(self.capacity, np.int64)
        for name, (kind, initial) in self.COLUMNS.items():
            setattr(self, name, np.full(self.capacity, initial, kind))
        self._bind()

    def __len__(self) -> int:
        return len(self._live)

    def __contains__(self, row: int) -> bool:
        return row in self._live

    def release(self, row: int) -> None:
        """Give a row back; its counters are gone.

        Raises:
            LocalProtocolError: The row is not in use.
        """
        if row not in self._live:
            raise LocalProtocolError(f"row {row} is not in use")
        self._live.remove(row)
        self._free.append(row)
        for name, (_, initial) in self.COLUMNS.items():
            getattr(self, name)[row] = initial

    def _take_row(self) -> int | None:
        if not self._free and not self._grow():
            self.refused += 1
            return None
        row = self._free.pop()
        self._live.add(row)
        return row

    def _grow(self) -> bool:
        capacity = min(self.capacity * 2, self.limit)
        if capacity == self.capacity:
            return False
        for name, (kind, initial) in self.COLUMNS.items():
            column = np.full(capacity, initial, kind)
            column[: self.capacity] = getattr(self, name)
            setattr(self, name, column)
        self._free = list(range(capacity - 1, self.capacity - 1, -1))
        self.capacity = capacity
        self._mark = np.zeros(capacity, np.int64)
        self._bind()
        return True

    def are_distinct(self, rows: NDArray[np.integer]) -> bool:
        """Whether no row occurs twice."""
        numbers = np.arange(len(rows))
        self._mark[rows] = numbers
        return bool((self._mark[rows] == numbers).all())

    def _bind(self) -> None:
        """Renew what refers to the columns' memory, after they were created or replaced."""
