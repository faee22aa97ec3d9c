"""Health by thresholds: the worst metric decides (a pure function of a report and limits)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from callmeter.errors import ConfigurationError
from callmeter.metrics.catalogue import CATALOGUE
from callmeter.metrics.metric import Grade, Thresholds

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from callmeter.metrics.metric import Metric
    from callmeter.metrics.report import CallReport

__all__ = ["Breach", "Evaluation", "Health", "evaluate", "evaluate_report"]

Value = int | float | str | None


class Health(StrEnum):
    """How the whole is."""

    HEALTHY = "HEALTHY"
    DEGRADED = "DEGRADED"
    """A warning limit is breached."""
    UNHEALTHY = "UNHEALTHY"
    """A critical limit is breached."""
    UNKNOWN = "UNKNOWN"
    """Nothing was measured that has a limit."""


_HEALTH: Final = {
    Grade.UNKNOWN: Health.UNKNOWN,
    Grade.GOOD: Health.HEALTHY,
    Grade.WARNING: Health.DEGRADED,
    Grade.CRITICAL: Health.UNHEALTHY,
}


@dataclass(frozen=True, slots=True)
class Breach:
    """A value beyond a limit.

    Attributes:
        key: The metric.
        place: Where it was measured, as in the report: `"media[0].receive"`, `"timing"`.
        value: What was measured.
        limit: The worst limit that it is beyond.
        grade: `Grade.WARNING` or `Grade.CRITICAL`.
    """

    key: str
    place: str
    value: float
    limit: float
    grade: Grade

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return {
            "key": self.key,
            "place": self.place,
            "value": self.value,
            "limit": self.limit,
            "grade": self.grade.name,
        }


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What thresholds say about some values.

    Attributes:
        health: The worst single metric decides.
        breaches: The worst first, otherwise in the order of the values.
        judged: How many values had a limit.
    """

    health: Health
    breaches: tuple[Breach, ...] = ()
    judged: int = 0

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return {
            "health": self.health.value,
            "breaches": [breach.to_dict() for breach in self.breaches],
            "judged": self.judged,
        }


def evaluate(
    values: Iterable[tuple[str, str, Value]],
    limits: Mapping[str, Thresholds | None] | None = None,
    *,
    catalogue: Mapping[str, Metric] = CATALOGUE,
) -> Evaluation:
    """Judge values by the limits of the catalogue, or by others.

    Args:
        values: Place, key and value of each. What is None, a text, or not in the catalogue has
            no grade.
        limits: Instead of the catalogue's, by key; None: the metric does not count.
        catalogue: The metrics there are.

    Raises:
        ConfigurationError: Limits name an unknown metric, or are in the wrong order.
    """
    chosen = _chosen(limits or {}, catalogue)
    breaches: list[Breach] = []
    worst, judged = Grade.UNKNOWN, 0
    for place, key, value in values:
        thresholds = chosen.get(key)
        if thresholds is None or value is None or isinstance(value, str):
            continue
        grade = catalogue[key].grade(value, thresholds)
        judged += 1
        worst = max(worst, grade)
        if grade > Grade.GOOD:
            critical = grade is Grade.CRITICAL
            limit = thresholds.critical if critical else thresholds.warning
            breaches.append(Breach(key, place, value, limit, grade))
    breaches.sort(key=lambda breach: -breach.grade)
    return Evaluation(_HEALTH[worst], tuple(breaches), judged)


def evaluate_report(
    report: CallReport, limits: Mapping[str, Thresholds | None] | None = None
) -> Evaluation:
    """Judge the timings, the counters and both sides of each stream of a call.

    Args:
        report: Of a call that ended, or of one that runs.
        limits: Instead of the catalogue's, by key; None: the metric does not count.

    Raises:
        ConfigurationError: Limits name an unknown metric, or are in the wrong order.
    """
    return evaluate(_values(report), limits)


def _values(report: CallReport) -> Iterable[tuple[str, str, Value]]:
    places: list[tuple[str, Mapping[str, Value]]] = [
        ("timing", report.timing.metrics()),
        ("counters", report.counters),
    ]
    for number, stream in enumerate(report.media):
        places += [(f"media[{number}].send", stream.send)]
        places += [(f"media[{number}].receive", stream.receive)]
    for place, metrics in places:
        for key, value in metrics.items():
            yield place, key, value


def _chosen(
    limits: Mapping[str, Thresholds | None], catalogue: Mapping[str, Metric]
) -> dict[str, Thresholds | None]:
    for key, thresholds in limits.items():
        metric = catalogue.get(key)
        if metric is None:
            raise ConfigurationError(f"no metric is called {key!r}")
        if thresholds is None:
            continue
        if not isinstance(thresholds, Thresholds):
            raise ConfigurationError(
                f"the limits of {key!r} are Thresholds(warning, critical), not {thresholds!r}"
            )
        sign = -1 if metric.inverted else 1
        if sign * thresholds.warning > sign * thresholds.critical:
            order = "above" if metric.inverted else "below"
            raise ConfigurationError(
                f"{key}: the warning limit is {order} the critical one, not {thresholds.warning} "
                f"and {thresholds.critical}"
            )
    return {key: metric.thresholds for key, metric in catalogue.items()} | dict(limits)
