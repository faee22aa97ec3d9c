"""What a session description changed against the one before it, line by line."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from difflib import SequenceMatcher
from enum import Enum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Change", "SdpLine", "sdp_changes"]

_COMPARED: Final = 400
"""Lines that are aligned; comparing takes the square of it. With more, new lines are told only."""


class Change(Enum):
    """What became of a line."""

    KEPT = "kept"
    ADDED = "added"
    REMOVED = "removed"


@dataclass(frozen=True, slots=True)
class SdpLine:
    """A line and what became of it; of a removed one, its text before."""

    text: str
    change: Change = Change.KEPT


def sdp_changes(before: Sequence[str] | None, now: Sequence[str]) -> list[SdpLine]:
    """The lines of a description, with those it no longer has where they were.

    Args:
        before: The lines of the description before; None when this is the first.
        now: Its lines.
    """
    if before is None:
        return [SdpLine(line) for line in now]
    if max(len(before), len(now)) > _COMPARED:
        return _new_ones(before, now)
    lines: list[SdpLine] = []
    matcher = SequenceMatcher(None, before, now, autojunk=False)
    for kind, first, last, start, end in matcher.get_opcodes():
        if kind == "equal":
            lines += [SdpLine(line) for line in now[start:end]]
            continue
        lines += [SdpLine(line, Change.REMOVED) for line in before[first:last]]
        lines += [SdpLine(line, Change.ADDED) for line in now[start:end]]
    return lines


def _new_ones(before: Sequence[str], now: Sequence[str]) -> list[SdpLine]:
    left = Counter(before)
    lines = []
    for line in now:
        known = left[line] > 0
        left[line] -= 1
        lines.append(SdpLine(line, Change.KEPT if known else Change.ADDED))
    return lines
