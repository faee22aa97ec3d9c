"""Encoded frames that streams play, as arrays: a batch takes those that are due in one step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

__all__ = ["NO_TABLE", "FrameTables"]

NO_TABLE: Final = -1
MAX_OCTETS: Final = 1 << 20
"""Of a table, two minutes of G.711: frames are kept a second time for it."""


class _Table:
    __slots__ = ("array", "frames", "users")

    def __init__(self, frames: Sequence[bytes]) -> None:
        self.frames = frames
        self.users = 0
        self.array: npt.NDArray[np.uint8] | None = None


class FrameTables:
    """The tables in use, each for as long as a stream plays its frames."""

    def __init__(self) -> None:
        self._tables: dict[int, _Table] = {}

    def __len__(self) -> int:
        return len(self._tables)

    def join(self, frames: Sequence[bytes]) -> int:
        """A stream plays these frames; returns the number of their table.

        Args:
            frames: Of one length. The same object is the same table.

        Returns:
            `NO_TABLE` for a single frame, and for more than a table has.
        """
        if len(frames) < 2 or len(frames) * len(frames[0]) > MAX_OCTETS:  # noqa: PLR2004  "several"
            return NO_TABLE
        number = id(frames)
        table = self._tables.setdefault(number, _Table(frames))
        table.users += 1
        return number

    def leave(self, number: int) -> None:
        """It plays them no more."""
        if number == NO_TABLE:
            return
        table = self._tables[number]
        table.users -= 1
        if not table.users:
            # Until now the frames were kept, so that nothing else has their number.
            del self._tables[number]

    def array(self, number: int) -> npt.NDArray[np.uint8]:
        """The frames of a table, one in each row."""
        table = self._tables[number]
        if table.array is None:
            octets = np.frombuffer(b"".join(table.frames), np.uint8)
            table.array = octets.reshape(len(table.frames), -1)
        return table.array
