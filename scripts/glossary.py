"""Write the glossary of metrics into docs/reference/metrics.md, from the catalogue itself.

Run from anywhere: `python scripts/glossary.py`. With `--check` nothing is written, and the exit
status is 1 when the page is not what the catalogue says.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from callmeter.metrics.catalogue import CATALOGUE, Scope

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from callmeter.metrics.catalogue import Metric

PAGE = Path(__file__).resolve().parent.parent / "docs" / "reference" / "metrics.md"
BEGIN = "<!-- glossary: made by scripts/glossary.py -->"
END = "<!-- end of the glossary -->"


def rows(metrics: Iterable[Metric]) -> Iterator[str]:
    """The lines of the table."""
    yield "| Key | Meaning | Unit | Kind | Of | Definition | Warning, critical beyond |"
    yield "|---|---|---|---|---|---|---|"
    for metric in metrics:
        limits = metric.thresholds
        of = metric.direction.value if metric.scope is Scope.STREAM else metric.scope.value
        beyond = "" if limits is None else f"{limits.warning:g}, {limits.critical:g}"
        cells = [
            f"`{metric.key}`",
            metric.description,
            metric.unit,
            metric.kind.value,
            of,
            metric.rfc,
            f"{beyond} (lower is worse)".lstrip() if metric.inverted else beyond,
        ]
        yield "| " + " | ".join(cells) + " |"


def written(page: str) -> str:
    """The page with the glossary of now."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n" + "\n".join(rows(CATALOGUE.values())) + f"\n{END}{after}"


def main() -> int:
    """Write the page, or check it."""
    page = PAGE.read_text(encoding="utf-8")
    fresh = written(page)
    if "--check" in sys.argv[1:]:
        if page != fresh:
            print(f"{PAGE.name}: not what the catalogue says; run python scripts/glossary.py")
        return int(page != fresh)
    PAGE.write_text(fresh, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
