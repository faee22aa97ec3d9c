"""What is measured, and how it is reported; nothing here measures by itself.

The catalogue names each metric once. Reports are frozen values that pickle and become JSON.
"""

from __future__ import annotations

from callmeter.metrics.aggregate import CallSummary, Percentiles, summarize
from callmeter.metrics.call_statistics import CallStatistics, StreamSnapshot
from callmeter.metrics.catalogue import CATALOGUE, Grade, Metric, Thresholds
from callmeter.metrics.export import write_csv, write_json_lines
from callmeter.metrics.histogram import Histogram
from callmeter.metrics.phases import LifeCycle, Outcome, Phase
from callmeter.metrics.report import (
    CallReport,
    ErrorReport,
    Finding,
    FindingStatus,
    Keying,
    SignalingReport,
    StreamReport,
    TlsReport,
)
from callmeter.metrics.signaling import (
    CallResult,
    CallTimestamps,
    CallTiming,
    HoldTimes,
    call_result,
)
from callmeter.metrics.thresholds import Breach, Evaluation, Health, evaluate, evaluate_report

__all__ = [
    "CATALOGUE",
    "Breach",
    "CallReport",
    "CallResult",
    "CallStatistics",
    "CallSummary",
    "CallTimestamps",
    "CallTiming",
    "ErrorReport",
    "Evaluation",
    "Finding",
    "FindingStatus",
    "Grade",
    "Health",
    "Histogram",
    "HoldTimes",
    "Keying",
    "LifeCycle",
    "Metric",
    "Outcome",
    "Percentiles",
    "Phase",
    "SignalingReport",
    "StreamReport",
    "StreamSnapshot",
    "Thresholds",
    "TlsReport",
    "call_result",
    "evaluate",
    "evaluate_report",
    "summarize",
    "write_csv",
    "write_json_lines",
]
