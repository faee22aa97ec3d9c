"""Reports for other programs: JSON lines and CSV.

Prometheus has a module of its own, `prometheus`, because its client is an extra.
"""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING, Any, Final, TextIO

from callmeter.metrics.catalogue import Direction, Kind, call_keys, stream_keys

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from callmeter.metrics.report import CallReport

__all__ = ["CSV_COLUMNS", "csv_rows", "json_line", "write_csv", "write_json_lines"]

_CALL: Final = ("call", "phase", "outcome", "call_result", "final_status_code", "error")
_TIMING: Final = tuple(key for key in call_keys(Kind.ONE_SHOT) if key.endswith("_ms"))
_COUNTERS: Final = (*call_keys(Kind.COUNTER), *call_keys(Kind.PER_CALL))
_STREAM: Final = (
    "stream",
    "kind",
    "codec",
    "profile",
    "keying",
    "suite",
    "rtcp_mux",
    "direction",
    "local",
    "remote",
)
_NAMED: Final = ("party", "call_id", "begun_at")
_SIDES: Final = {
    "send": stream_keys(Direction.SEND),
    "receive": stream_keys(Direction.RECEIVE),
}

CSV_COLUMNS: Final = (
    *_CALL,
    "transport",
    *_TIMING,
    *_COUNTERS,
    *_STREAM,
    *(f"{side}_{key}" for side, keys in _SIDES.items() for key in keys),
    *_NAMED,
    "error_message",
)
"""The columns of `write_csv`, in their order; new ones come with new metrics."""


def json_line(report: CallReport) -> str:
    """The report on one line, without its end."""
    return json.dumps(report.to_dict(), separators=(",", ":"), allow_nan=False)


def write_json_lines(reports: Iterable[CallReport], file: TextIO) -> int:
    """Write a line for each call; returns how many.

    Args:
        reports: Of calls that ended.
        file: Open for writing.
    """
    count = 0
    for report in reports:
        file.write(json_line(report) + "\n")
        count += 1
    return count


def csv_rows(report: CallReport, call: int = 0) -> Iterator[dict[str, Any]]:
    """A row for each stream of the call, or one alone when it has none.

    Args:
        report: Of a call that ended.
        call: Its number, for the column of this name.
    """
    whole = report.to_dict()
    error = whole["error"]
    head = {key: whole.get(key) for key in _CALL} | {
        "call": call,
        "error": None if error is None else error["type"],
        "error_message": None if error is None else error["message"],
        "transport": whole["signaling"]["transport"],
        **{key: whole["signaling"][key] for key in _NAMED},
        **whole["timing"],
        **whole["counters"],
    }
    for number, stream in enumerate(whole["media"] or [None]):
        yield _only_columns(head if stream is None else head | _stream_cells(number, stream))


def _stream_cells(number: int, stream: Mapping[str, Any]) -> dict[str, Any]:
    cells = {key: stream.get(key) for key in _STREAM} | {"stream": number}
    for side in _SIDES:
        cells |= {f"{side}_{key}": value for key, value in stream[side].items()}
    return cells


def _only_columns(cells: Mapping[str, Any]) -> dict[str, Any]:
    return {column: cells.get(column) for column in CSV_COLUMNS}


def write_csv(reports: Iterable[CallReport], file: TextIO) -> int:
    """Write a header and the rows of each call; returns how many rows.

    What was not measured is an empty cell.

    Args:
        reports: Of calls that ended.
        file: Open for writing, with `newline=""`.
    """
    writer = csv.DictWriter(file, CSV_COLUMNS)
    writer.writeheader()
    count = 0
    for call, report in enumerate(reports):
        for row in csv_rows(report, call):
            writer.writerow(row)
            count += 1
    return count
