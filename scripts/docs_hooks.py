"""mkdocs hooks: the metrics table of the documentation is the catalogue itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from callmeter.metrics.catalogue import CATALOGUE, Scope

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from callmeter.metrics.catalogue import Metric

PLACE = "<!-- metrics catalogue -->"


def on_page_markdown(markdown: str, **_: object) -> str:
    """Put the catalogue where a page asks for it."""
    if PLACE not in markdown:
        return markdown
    return markdown.replace(PLACE, "\n".join(_table(CATALOGUE.values())))


def _table(metrics: Iterable[Metric]) -> Iterator[str]:
    yield "| Key | Meaning | Unit | Kind | Of | Definition | Warning, critical beyond |"
    yield "|---|---|---|---|---|---|---|"
    for metric in metrics:
        limits = metric.thresholds
        of = metric.direction.value if metric.scope is Scope.STREAM else "call"
        cells = [
            f"`{metric.key}`",
            metric.description,
            metric.unit,
            metric.kind.value,
            of,
            metric.rfc,
            "" if limits is None else f"{limits.warning:g}, {limits.critical:g}",
        ]
        yield "| " + " | ".join(cells) + " |"
