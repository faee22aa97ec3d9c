"""What is measured, and how it is reported; nothing here measures by itself.

The catalogue names each metric once. Reports are frozen values that pickle and become JSON.
"""

from __future__ import annotations

from callmeter.metrics.catalogue import CATALOGUE, Grade, Metric, Thresholds
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

__all__ = [
    "CATALOGUE",
    "CallReport",
    "CallResult",
    "CallTimestamps",
    "CallTiming",
    "ErrorReport",
    "Finding",
    "FindingStatus",
    "Grade",
    "Histogram",
    "HoldTimes",
    "Keying",
    "LifeCycle",
    "Metric",
    "Outcome",
    "Phase",
    "SignalingReport",
    "StreamReport",
    "Thresholds",
    "TlsReport",
    "call_result",
]
