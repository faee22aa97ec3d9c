"""What only a terminal gets: colours of a report, and how far a call is.

Where output goes to a file or a pipe, or NO_COLOR is set, there is nothing of it.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.progress_bar import ProgressBar
from rich.text import Text

if TYPE_CHECKING:
    from rich.progress import Task

__all__ = ["TalkBar", "print_colored"]

_STYLES: Final = (
    (r"^Call[^\n]*: SUCCESS$", "bold green"),
    (r"^Call[^\n]*: COMPLETED_WITH_WARNINGS[^\n]*$", "bold yellow"),
    (r"^Call[^\n]*: [A-Z_]+(_FAILED|_ERROR|ERROR|TIMEOUT)[^\n]*$", "bold red"),
    (r"^Call[^\n]*checks? failed$", "bold red"),
    (r"^  [a-z][a-z ]{0,12} ", "cyan"),
    (r"(?<= )SECURE: ", "bold green"),
    (r"NOT SECURE: |, not secure$|certificate NOT verified", "yellow"),
    (r"^  FAIL ", "bold red"),
    (r"^  WARN ", "bold yellow"),
    (r"^ +-> [^\n]*$", "green"),
    (r" !!$| !!  ", "bold red"),
    (r" !$| !  ", "bold yellow"),
)
"""Patterns of `str(report)`; a later one wins."""


def print_colored(report: str) -> None:
    """Print the text of a report on stdout: in colours on a terminal, as it is elsewhere."""
    console = Console(file=sys.stdout, highlight=False, emoji=False, markup=False)
    if not console.is_terminal or console.no_color:
        sys.stdout.write(f"{report}\n")
        return
    text = Text(report)
    for pattern, style in _STYLES:
        text.highlight_regex(f"(?m){pattern}", style)
    console.print(text, soft_wrap=True)


class TalkBar:
    """How far a call is, on a terminal, from its answer to its end.

    Args:
        console: On which the events of the call are printed too, so that they stand above.
        seconds: How long it lasts; None when nobody knows.
    """

    def __init__(self, console: Console, seconds: float | None) -> None:
        columns = (TextColumn("[dim]talking[/dim]"), _PassedColumn(), TimeElapsedColumn())
        self._progress = Progress(
            *columns,
            console=console,
            transient=True,
            refresh_per_second=4,
            disable=not console.is_terminal,
        )
        self._seconds = seconds

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def begin(self) -> None:
        """The call was answered."""
        if not self._progress.tasks:
            self._progress.add_task("", total=self._seconds)
            self._progress.start()


class _PassedColumn(BarColumn):
    """The share of the time that has passed; where it has no end, something that moves."""

    def render(self, task: Task) -> ProgressBar:
        """The bar as it is now."""
        total = task.total
        return ProgressBar(
            total=total,
            completed=0 if total is None else min(task.elapsed or 0, total),
            width=30,
            pulse=total is None,
            animation_time=task.get_time(),
        )
