"""Many calls in a few figures: answer and effectiveness ratios, outcomes, percentiles."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from callmeter.metrics.phases import Outcome
from callmeter.metrics.signaling import CallResult

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from callmeter.metrics.report import CallReport

__all__ = ["CallSummary", "Percentiles", "summarize"]

REFUSED_BY_ITS_USER = frozenset({486, 603})
"""A callee that is busy or declines was reached: the network did its part."""


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Where one timing stands among many calls, each by the nearest rank.

    Attributes:
        count: Calls that have it.
        p50: Half of them take no longer.
        p95: 95 % of them take no longer.
        p99: 99 % of them take no longer.
    """

    count: int
    p50: float
    p95: float
    p99: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Percentiles | None:
        """Those of some values; None of none."""
        if not values:
            return None
        ranked = sorted(values)
        p50, p95, p99 = (ranked[math.ceil(share * len(ranked) / 100) - 1] for share in (50, 95, 99))
        return cls(len(ranked), p50, p95, p99)


@dataclass(frozen=True, slots=True, kw_only=True)
class CallSummary:
    """What became of many calls; those that still run are left out.

    Attributes:
        calls: How many have ended.
        asr: Answer-seizure ratio: the share that was answered by a 2xx; None without a call.
        ner: Network effectiveness ratio: the share that was answered, or refused by whom it was
            for (486, 603); None without a call.
        outcomes: How many ended in each way; every outcome is there.
        results: How many INVITEs came to each result; every result is there.
        timings: Percentiles in milliseconds by catalogue key, where any call has the timing.
    """

    calls: int
    asr: float | None
    ner: float | None
    outcomes: Mapping[Outcome, int] = field(default_factory=dict)
    results: Mapping[CallResult, int] = field(default_factory=dict)
    timings: Mapping[str, Percentiles] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The summary as plain values, ready for JSON."""
        return {
            "calls": self.calls,
            "asr": self.asr,
            "ner": self.ner,
            "outcomes": {outcome.value: count for outcome, count in self.outcomes.items()},
            "call_results": {result.value: count for result, count in self.results.items()},
            "timings": {key: asdict(found) for key, found in self.timings.items()},
        }


def summarize(reports: Iterable[CallReport]) -> CallSummary:
    """The figures of a run from the reports of its calls."""
    ended = [report for report in reports if report.outcome is not None]
    outcomes = Counter(report.outcome for report in ended)
    results = Counter(report.call_result for report in ended)
    answered = results[CallResult.ANSWERED]
    refused = sum(report.final_status_code in REFUSED_BY_ITS_USER for report in ended)
    timings: dict[str, list[float]] = {}
    for report in ended:
        for key, value in report.timing.metrics().items():
            if value is not None:
                timings.setdefault(key, []).append(value)
    found = {key: Percentiles.of(values) for key, values in timings.items()}
    return CallSummary(
        calls=len(ended),
        asr=answered / len(ended) if ended else None,
        ner=(answered + refused) / len(ended) if ended else None,
        outcomes={outcome: outcomes[outcome] for outcome in Outcome},
        results={result: results[result] for result in CallResult},
        timings={key: value for key, value in found.items() if value is not None},
    )
