"""The one list of metrics: key, unit, kind, direction, source, thresholds.

Reports, exports and documentation read it. A verified key is published and never changes;
thresholds are defaults.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from callmeter.metrics.metric import Direction, Grade, Kind, Metric, Scope, Thresholds
from callmeter.metrics.sections.audio import AUDIO
from callmeter.metrics.sections.counters import COUNTERS
from callmeter.metrics.sections.extended import EXTENDED
from callmeter.metrics.sections.feedback import FEEDBACK
from callmeter.metrics.sections.jitter_buffer import JITTER_BUFFER
from callmeter.metrics.sections.network import NETWORK
from callmeter.metrics.sections.own import OWN
from callmeter.metrics.sections.quality import QUALITY
from callmeter.metrics.sections.run import RUN
from callmeter.metrics.sections.timing import TIMING
from callmeter.metrics.sections.video import VIDEO

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "CATALOGUE",
    "Direction",
    "Grade",
    "Kind",
    "Metric",
    "Scope",
    "Thresholds",
    "call_keys",
    "run_keys",
    "stream_keys",
]


CATALOGUE: Final[Mapping[str, Metric]] = MappingProxyType(
    {
        metric.key: metric
        for metric in (
            *NETWORK,
            *QUALITY,
            *FEEDBACK,
            *JITTER_BUFFER,
            *OWN,
            *AUDIO,
            *VIDEO,
            *EXTENDED,
            *TIMING,
            *COUNTERS,
            *RUN,
        )
    }
)
"""All metrics by key, in the order of reports."""


def stream_keys(direction: Direction) -> tuple[str, ...]:
    """Keys of one side of a stream, in catalogue order."""
    return tuple(
        metric.key
        for metric in CATALOGUE.values()
        if metric.scope is Scope.STREAM and metric.direction in {direction, Direction.BOTH}
    )


def call_keys(kind: Kind | None = None) -> tuple[str, ...]:
    """Keys of a call, of one kind or of all, in catalogue order."""
    return tuple(
        metric.key
        for metric in CATALOGUE.values()
        if metric.scope is Scope.CALL and kind in {None, metric.kind}
    )


def run_keys() -> tuple[str, ...]:
    """Keys of a run of calls, in catalogue order."""
    return tuple(metric.key for metric in CATALOGUE.values() if metric.scope is Scope.RUN)
