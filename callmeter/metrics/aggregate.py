"""Many calls in a few figures: answer and effectiveness ratios, outcomes, percentiles."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from callmeter.metrics.catalogue import run_keys
from callmeter.metrics.phases import Outcome
from callmeter.metrics.signaling import CallResult

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from callmeter.metrics.report import CallReport

__all__ = ["CallSummary", "Percentiles", "summarize"]

NOT_ACCEPTABLE_HERE = 488
SHORT_CALL_MS = 15_000
SILENT_DBOV = -50
REFUSED_FROM = 300
"""The first final status that answers no call."""
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
        zero_audio_rate: Share of the answered calls in which packets came but nothing to hear.
        rejected_488_rate: Share that was refused with 488, as keys that do not fit are.
        short_call_rate: Share of the answered calls that lasted less than 15 seconds.
        outcomes: How many ended in each way; every outcome is there.
        results: How many INVITEs came to each result; every result is there.
        statuses: How many INVITEs ended with each final status but 2xx.
        timings: Percentiles in milliseconds by catalogue key, where any call has the timing.
    """

    calls: int
    asr: float | None
    ner: float | None
    zero_audio_rate: float | None
    rejected_488_rate: float | None
    short_call_rate: float | None
    outcomes: Mapping[Outcome, int] = field(default_factory=dict)
    results: Mapping[CallResult, int] = field(default_factory=dict)
    statuses: Mapping[int, int] = field(default_factory=dict)
    timings: Mapping[str, Percentiles] = field(default_factory=dict)

    def __str__(self) -> str:
        """A line for the ratios, one for what the calls came to, one for each timing."""
        ratios = {
            "ASR": self.asr,
            "NER": self.ner,
            "silent": self.zero_audio_rate,
            "refused with 488": self.rejected_488_rate,
        }
        shown = [f"{word} {value:.1%}" for word, value in ratios.items() if value is not None]
        ended = [f"{outcome.value} {count:,}" for outcome, count in self.outcomes.items() if count]
        lines = [", ".join([f"{self.calls:,} call{'s' * (self.calls != 1)}", *shown])]
        lines += [f"  {'outcomes':<24}{', '.join(ended)}"] if ended else []
        refused = [f"{status} {count:,}" for status, count in self.statuses.items()]
        lines += [f"  {'refused with':<24}{', '.join(refused)}"] if refused else []
        lines += [
            f"  {key:<24}p50 {found.p50:.1f}, p95 {found.p95:.1f}, p99 {found.p99:.1f}"
            for key, found in self.timings.items()
        ]
        return "\n".join(lines)

    def metrics(self) -> dict[str, float | None]:
        """The rates by catalogue key."""
        return {key: getattr(self, key) for key in run_keys()}

    def to_dict(self) -> dict[str, Any]:
        """The summary as plain values, ready for JSON."""
        return {
            "calls": self.calls,
            **self.metrics(),
            "outcomes": {outcome.value: count for outcome, count in self.outcomes.items()},
            "call_results": {result.value: count for result, count in self.results.items()},
            "final_statuses": {str(status): count for status, count in self.statuses.items()},
            "timings": {key: asdict(found) for key, found in self.timings.items()},
        }


def summarize(reports: Iterable[CallReport]) -> CallSummary:
    """The figures of a run from the reports of its calls."""
    ended = [report for report in reports if report.outcome is not None]
    outcomes = Counter(report.outcome for report in ended)
    results = Counter(report.call_result for report in ended)
    answered = results[CallResult.ANSWERED]
    refused = sum(report.final_status_code in REFUSED_BY_ITS_USER for report in ended)
    talked = [report for report in ended if report.call_result is CallResult.ANSWERED]
    rejected = sum(report.final_status_code == NOT_ACCEPTABLE_HERE for report in ended)
    timings: dict[str, list[float]] = {}
    for report in ended:
        for key, value in report.timing.metrics().items():
            if value is not None:
                timings.setdefault(key, []).append(value)
    statuses = Counter(
        status
        for report in ended
        if (status := report.final_status_code) is not None and status >= REFUSED_FROM
    )
    found = {key: Percentiles.of(values) for key, values in timings.items()}
    return CallSummary(
        calls=len(ended),
        asr=_share(answered, len(ended)),
        ner=_share(answered + refused, len(ended)),
        zero_audio_rate=_share(sum(map(_is_silent, talked)), answered),
        rejected_488_rate=_share(rejected, len(ended)),
        short_call_rate=_share(sum(map(_is_short, talked)), answered),
        outcomes={outcome: outcomes[outcome] for outcome in Outcome},
        results={result: results[result] for result in CallResult},
        statuses=dict(statuses.most_common()),
        timings={key: value for key, value in found.items() if value is not None},
    )


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _is_short(report: CallReport) -> bool:
    duration = report.timing.call_duration_ms
    return duration is not None and duration < SHORT_CALL_MS


def _is_silent(report: CallReport) -> bool:
    """Whether a stream came, and none of those that came was to be heard."""
    levels = [
        stream.receive.get("audio_level_rms")
        for stream in report.media
        if stream.kind == "audio" and stream.receive.get("packets_received")
    ]
    return bool(levels) and all(
        isinstance(level, int | float) and level < SILENT_DBOV for level in levels
    )
