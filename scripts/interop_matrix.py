"""Put what the interop session has shown into the documentation.

    nox -s interop && python scripts/interop_matrix.py .nox/interop/tmp/matrix.json

The tables of docs/reference/interop-matrix.md are replaced by those of the file; exits 1 when
something in it has failed.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = Path(__file__).resolve().parent.parent / "docs" / "reference" / "interop-matrix.md"
BEGIN = "<!-- interop matrix: begin -->"
END = "<!-- interop matrix: end -->"

KEYING = {"none": "none", "sdes": "SDES", "dtls": "DTLS", "given": "given by hand"}
LINE = ("keying", "suite", "profile", "rtcp_mux", "note")
"""What makes two calls one line of the table."""


def render(matrix: dict[str, Any]) -> str:
    """The tables, one for each peer."""
    parts = []
    for peer, version in matrix["peers"].items():
        rows = [row for row in matrix["rows"] if row["peer"] == peer]
        parts.append("\n".join([f"### {peer} {version}", "", *_table(rows)]))
    return "\n\n".join(parts)


def _table(rows: list[dict[str, Any]]) -> Iterator[str]:
    columns = {"callee": "It is called", "caller": "It calls"}
    if any(row["role"] == "media" for row in rows):
        columns = {"media": "Both ways"}
    heads = ["Keys", "Suite", "Profile", "RTCP", *columns.values(), "Remarks"]
    yield "| " + " | ".join(heads) + " |"
    yield "|---" * len(heads) + "|"
    lines: dict[tuple[Any, ...], list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        lines[tuple(row[name] for name in LINE)].append(row)
    for key in sorted(lines, key=_order):
        keying, suite, profile, mux, note = key
        found = lines[key]
        rtcp = "on the media port" if mux else "on its own port"
        if any(row["rtcp"] for row in found):
            rtcp += ", round trip told"
        results = [_result([row for row in found if row["role"] == role]) for role in columns]
        cells = [KEYING[keying], suite or "", profile, rtcp, *results, note]
        yield "| " + " | ".join(cells) + " |"


def _order(key: tuple[Any, ...]) -> tuple[Any, ...]:
    keying, *others = key
    return (list(KEYING).index(keying), *(str(other) for other in others))


def _result(rows: list[dict[str, Any]]) -> str:
    if not rows:
        return ""
    return "heard" if all(row["result"] == "passed" for row in rows) else "**failed**"


def main(arguments: list[str]) -> int:
    """Read the file that is named and rewrite the page."""
    if len(arguments) != 1:
        print(__doc__, file=sys.stderr)
        return 2
    matrix = json.loads(Path(arguments[0]).read_text(encoding="utf-8"))
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    PAGE.write_text(f"{before}{BEGIN}\n\n{render(matrix)}\n\n{END}{after}", encoding="utf-8")
    failed = [row for row in matrix["rows"] if row["result"] != "passed"]
    for row in failed:
        print(f"{row['test']}: {row['result']}")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
