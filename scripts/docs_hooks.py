"""mkdocs hooks: the tables of metrics and of checks are made from the code itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from callmeter.diagnosis import CHECKS
from callmeter.metrics.catalogue import CATALOGUE, Scope

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from callmeter.diagnosis import Check
    from callmeter.metrics.catalogue import Metric

METRICS = "<!-- metrics catalogue -->"
DIAGNOSIS = "<!-- diagnosis checks -->"


def on_page_markdown(markdown: str, **_: object) -> str:
    """Put the tables where a page asks for them."""
    if METRICS in markdown:
        markdown = markdown.replace(METRICS, "\n".join(_metrics(CATALOGUE.values())))
    if DIAGNOSIS in markdown:
        markdown = markdown.replace(DIAGNOSIS, "\n".join(_checks(CHECKS)))
    return markdown


def _checks(checks: Iterable[Check]) -> Iterator[str]:
    yield "| Check | Question | What to do when it fails |"
    yield "|---|---|---|"
    for check in checks:
        yield f"| `{check.identifier}` | {check.question} | {check.remedy} |"


def _metrics(metrics: Iterable[Metric]) -> Iterator[str]:
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
