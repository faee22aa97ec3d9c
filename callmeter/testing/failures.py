"""What pytest prints of a test with calls that failed, and the pages it keeps."""

from __future__ import annotations

import contextlib
import re
from dataclasses import replace
from pathlib import Path
from traceback import walk_tb
from typing import TYPE_CHECKING, Final

from callmeter.errors import CallmeterError
from callmeter.testing.explanation import ladder_of, messages_of, named, title_of
from callmeter.trace.ladder import ladder

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import FrameType, TracebackType

    import pytest

    from callmeter.call import Call
    from callmeter.testing.phones import Phones

__all__ = ["explain", "shorten"]

PACKAGE: Final = Path(__file__).resolve().parent.parent
STANDARD: Final = Path(contextlib.__file__).resolve().parent
SHOWN: Final = 4
"""Calls of one test that are printed; the pages have all."""
LONGEST_NAME: Final = 120


def shorten(excinfo: pytest.ExceptionInfo[BaseException]) -> None:
    """Let the traceback of an error that says what happened end in the line of the test."""
    if not isinstance(excinfo.value, CallmeterError):
        return
    last = None
    entry: TracebackType | None = excinfo.tb
    while entry is not None:
        if not _is_internal(entry.tb_frame):
            last = entry
        entry = entry.tb_next
    if last is not None:
        last.tb_next = None
        # pytest keeps the list that it made of the chain.
        excinfo.traceback = excinfo.traceback.filter(lambda each: each.path in _paths(excinfo))


def _is_internal(frame: FrameType) -> bool:
    """Whether code of callmeter or of the standard library runs in a frame."""
    path = Path(frame.f_code.co_filename)
    if PACKAGE in path.parents or STANDARD in path.parents:
        return True
    # Methods that `dataclass` writes have no file, and the names of the module of their class.
    return str(frame.f_globals.get("__name__")).partition(".")[0] == PACKAGE.name


def _paths(excinfo: pytest.ExceptionInfo[BaseException]) -> set[Path]:
    return {Path(frame.f_code.co_filename) for frame, _ in walk_tb(excinfo.tb)}


def explain(
    report: pytest.TestReport, groups: Iterable[Phones], folder: str | None
) -> list[tuple[str, object]]:
    """Add to a report what the calls did; returns the properties that say where their pages are.

    Args:
        report: Of the failed test.
        groups: Its phones.
        folder: Where pages go; None keeps none.
    """
    groups = list(groups)
    calls = _calls(groups)
    told = {call_id for phones in groups for call_id in phones.told}
    for call in calls[-SHOWN:]:
        text = str(call.report())
        if call.call_id not in told:
            text += f"\n\n{ladder_of(call)}"
        report.sections.append((title_of(call), text))
    if not calls:
        report.sections += _messages(groups)
    if folder is None:
        return []
    pages = _keep_pages(Path(folder), report.nodeid, calls)
    return [("callmeter_page", str(path)) for path in pages]


def _calls(groups: Iterable[Phones]) -> list[Call]:
    """One end of each call, the calling one if it is here."""
    ends = [call for phones in groups for phone in phones for call in phone.every_call]
    # A caller logs its INVITE as sent; sorting is stable, so phones stay in their order.
    ends.sort(key=lambda call: not any(call.messages) or call.messages[0].direction != "sent")
    by_identifier: dict[str, Call] = {}
    for call in ends:
        by_identifier.setdefault(call.call_id, call)
    return sorted(
        by_identifier.values(),
        key=lambda call: call.messages[0].time if call.messages else float("inf"),
    )


def _messages(groups: Iterable[Phones]) -> Iterator[tuple[str, str]]:
    """What was said where there was no call: registrations."""
    for phones in groups:
        for phone in phones:
            entries = [named(entry, phone) for entry in phone.messages]
            if entries:
                yield f"messages of {phone.aor_user}", ladder(entries)


def _keep_pages(folder: Path, nodeid: str, calls: list[Call]) -> Iterator[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    name = re.sub(r"[^\w.=-]+", "-", nodeid).strip("-")[-LONGEST_NAME:]
    for number, call in enumerate(calls, 1):
        path = folder / f"{name}{'' if len(calls) == 1 else f'-{number}'}.html"
        path.write_text(_page(call), encoding="utf-8")
        yield path


def _page(call: Call) -> str:
    """The page of a call with what all ends of the test said."""
    report = call.report()
    return replace(report, messages=tuple(messages_of(call))).to_html()
