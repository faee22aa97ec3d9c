"""Metrics of calls for Prometheus; needs the extra `prometheus`.

Calls come and go, and a label for each would grow without end. So finished calls are summed up:
counters by what the streams have in common, everything else as a distribution over calls.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, Final

try:
    from prometheus_client.core import (
        CounterMetricFamily,
        GaugeMetricFamily,
        HistogramMetricFamily,
    )
    from prometheus_client.registry import Collector
except ModuleNotFoundError as missing:
    missing.add_note("It comes with an extra: pip install 'callmeter[prometheus]'")
    raise

from callmeter.metrics.catalogue import CATALOGUE, Kind, Scope

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from prometheus_client.core import Metric as Family

    from callmeter.metrics.metric import Metric
    from callmeter.metrics.report import CallReport

__all__ = ["CallCollector"]

PREFIX: Final = "callmeter_"
STREAM_LABELS: Final = ("direction", "kind", "codec", "keying")
MAX_SERIES: Final = 4096
"""Combinations of labels at most; what comes beyond is counted in `refused`."""

_LATE_TICKS: Final = "late_ticks"
"""Of the process, and in the report of each stream that was there: never a sum over streams."""

_BUCKETS: Final[Mapping[str, tuple[float, ...]]] = {
    "ms": (1, 2, 5, 10, 20, 40, 60, 100, 200, 500, 1000, 2000, 5000, 10_000, 60_000, 600_000),
    "%": (0, 0.1, 0.5, 1, 2, 5, 10, 20, 50, 100),
    "dBov": (-100, -70, -60, -50, -40, -30, -25, -20, -15, -10, -5, 0),
    "pps": (0, 10, 20, 25, 30, 40, 48, 49, 50, 51, 52, 60, 100, 200),
    "bit/s": (0, 8e3, 16e3, 32e3, 48e3, 60e3, 64e3, 68e3, 128e3, 256e3, 1e6, 4e6),
    "packets": (0, 1, 2, 3, 5, 10, 20, 50, 100, 300),
}
_OTHER_BUCKETS: Final = (0, 1, 2, 3, 4, 5, 10, 20, 50, 100, 1000)

Labels = tuple[str, ...]


class _Distribution:
    """Counts by bucket, and the sum."""

    __slots__ = ("_limits", "counts", "total")

    def __init__(self, limits: tuple[float, ...]) -> None:
        self._limits = limits
        self.counts = [0] * (len(limits) + 1)
        self.total = 0.0

    def add(self, value: float) -> None:
        self.counts[bisect_left(self._limits, value)] += 1
        self.total += value

    def cumulative(self) -> list[tuple[str, float]]:
        buckets: list[tuple[str, float]] = []
        seen = 0
        for limit, count in zip(
            (*map(str, map(float, self._limits)), "+Inf"), self.counts[:], strict=True
        ):
            seen += count
            buckets.append((limit, seen))
        return buckets


class CallCollector(Collector):
    """Sums up reports; register it with a `prometheus_client` registry.

    Reading it from another thread, as the client's own server does, is safe.

    Args:
        running: How many calls there are at this moment, asked when Prometheus asks.
        late_ticks: How many media ticks of the process began late so far, asked likewise:
            `lambda: stack.media.late_ticks`. Without it they are not exported, as a late tick
            is in the report of every stream that was there.

    Attributes:
        refused: Values left out because there were too many combinations of labels.
    """

    def __init__(
        self,
        running: Callable[[], int] | None = None,
        late_ticks: Callable[[], int] | None = None,
    ) -> None:
        self._running = running
        self._late_ticks = late_ticks
        self._calls: dict[Labels, int] = {}
        self._counters: dict[str, dict[Labels, float]] = {}
        self._distributions: dict[str, dict[Labels, _Distribution]] = {}
        self._series = 0
        self.refused = 0

    def add(self, report: CallReport) -> None:
        """Take the report of a call that ended."""
        outcome, result = report.outcome, report.call_result
        labels = (
            "" if outcome is None else outcome.value,
            "" if result is None else result.value,
            str(report.final_status_code or ""),
        )
        if self._has_room(self._calls, labels):
            self._calls[labels] = self._calls.get(labels, 0) + 1
        for key, value in {**report.timing.metrics(), **report.counters}.items():
            self._take(key, (), value)
        for stream in report.media:
            common = (stream.kind, stream.codec, stream.keying.value)
            for side, metrics in (("send", stream.send), ("receive", stream.receive)):
                for key, value in metrics.items():
                    self._take(key, (side, *common), value)

    def _take(self, key: str, labels: Labels, value: float | str | None) -> None:
        metric = CATALOGUE.get(key)
        if metric is None or key == _LATE_TICKS or value is None or isinstance(value, str):
            return
        if metric.kind is Kind.COUNTER:
            sums = self._counters.setdefault(key, {})
            if self._has_room(sums, labels):
                # A peer may report fewer lost than before; a counter only grows.
                sums[labels] = sums.get(labels, 0.0) + max(value, 0)
            return
        spread = self._distributions.setdefault(key, {})
        if self._has_room(spread, labels):
            if labels not in spread:
                spread[labels] = _Distribution(_limits(metric))
            spread[labels].add(value)

    def _has_room(self, known: Mapping[Labels, object], labels: Labels) -> bool:
        if labels in known:
            return True
        if self._series >= MAX_SERIES:
            self.refused += 1
            return False
        self._series += 1
        return True

    def collect(self) -> Iterator[Family]:
        """What Prometheus reads."""
        calls = CounterMetricFamily(
            f"{PREFIX}calls",
            "Calls that ended.",
            labels=("outcome", "call_result", "final_status_code"),
        )
        for labels, count in tuple(self._calls.items()):
            calls.add_metric(labels, count)
        yield calls
        if self._running is not None:
            yield GaugeMetricFamily(
                f"{PREFIX}calls_running", "Calls of this moment.", value=self._running()
            )
        if self._late_ticks is not None:
            yield CounterMetricFamily(
                PREFIX + _LATE_TICKS,
                "Media ticks of this process more than 5 ms late.",
                value=self._late_ticks(),
            )
        # Copies, because another thread may be reading while a call ends.
        for key, sums in tuple(self._counters.items()):
            metric = CATALOGUE[key]
            counter = CounterMetricFamily(
                _name(metric), metric.description, labels=_label_names(metric)
            )
            for labels, total in tuple(sums.items()):
                counter.add_metric(labels, total)
            yield counter
        for key, spread in tuple(self._distributions.items()):
            metric = CATALOGUE[key]
            histogram = HistogramMetricFamily(
                _name(metric), metric.description, labels=_label_names(metric)
            )
            for labels, values in tuple(spread.items()):
                histogram.add_metric(labels, values.cumulative(), values.total)
            yield histogram

    def describe(self) -> Iterator[Family]:
        """Nothing is promised beforehand: families appear with their first value."""
        return iter(())


def _name(metric: Metric) -> str:
    return PREFIX + metric.key


def _label_names(metric: Metric) -> Labels:
    return STREAM_LABELS if metric.scope is Scope.STREAM else ()


def _limits(metric: Metric) -> tuple[float, ...]:
    limits = set(_BUCKETS.get(metric.unit, _OTHER_BUCKETS))
    if metric.thresholds is not None:
        limits |= {metric.thresholds.warning, metric.thresholds.critical}
    return tuple(sorted(limits))
