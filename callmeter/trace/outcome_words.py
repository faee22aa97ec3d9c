"""How a call went, in words for somebody who knows nothing of SIP."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from callmeter.metrics.catalogue import CATALOGUE, Grade, Kind
from callmeter.metrics.phases import Outcome
from callmeter.metrics.report import FindingStatus
from callmeter.metrics.report_text import amount, counted
from callmeter.metrics.thresholds import evaluate_report
from callmeter.trace.chart_data import label_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from callmeter.metrics.report import CallReport, Finding, StreamReport
    from callmeter.metrics.thresholds import Breach

__all__ = [
    "ORDER",
    "OutcomeWords",
    "by_status",
    "figure",
    "outcome_words",
    "security_words",
    "sentence",
]

Value = int | float | str | None

ORDER: Final = (FindingStatus.FAIL, FindingStatus.WARN, FindingStatus.PASS, FindingStatus.SKIP)
"""Findings as they are read: what is wrong first."""

_FAILED: Final = {
    Outcome.REGISTRATION_FAILED: "The registration was refused",
    Outcome.CALL_FAILED: "The call failed",
    Outcome.NEGOTIATION_FAILED: "Both ends found no common ground",
    Outcome.TIMEOUT: "Nobody answered in time",
    Outcome.OSERROR: "The network refused the call",
    Outcome.TEARDOWN_ERROR: "The call took place, its end was never confirmed",
}
_BY_ERROR: Final = {
    **dict.fromkeys(
        (
            "DtlsHandshakeFailed",
            "DtlsTimeout",
            "FingerprintMismatch",
            "MediaSecurityError",
            "SdesKeyError",
        ),
        "The media could not be secured",
    ),
    "NoCommonCodec": "Both ends have no codec in common",
    "NoCommonSuite": "Both ends have no SRTP suite in common",
    "ProfileMismatch": "Both ends speak different RTP profiles",
    "SrtpRequired": "The other end would not encrypt the media",
    "TlsError": "The signalling could not be secured",
}
"""What the error says better than the outcome."""
_BREACHES: Final = 3
"""Limits of a side that are named at the top, the worst ones."""
_SCALES: Final = {"1-5", "0-100"}
"""Units that say which values there are."""
_SUCCESSES: Final = range(200, 300)
_SECOND_MS: Final = 1000
_MINUTE_S: Final = 60


@dataclass(frozen=True, slots=True)
class OutcomeWords:
    """What stands at the top of a report.

    Attributes:
        grade: `"good"`, `"warn"`, `"bad"` or `"open"` while the call runs.
        label: One or two words.
        headline: One sentence without its full stop.
        lead: What else is to know at once; sentences.
    """

    grade: str
    label: str
    headline: str
    lead: tuple[str, ...] = ()


def by_status(findings: tuple[Finding, ...], status: FindingStatus) -> list[Finding]:
    """The findings of one status, in their order."""
    return [finding for finding in findings if finding.status is status]


def outcome_words(report: CallReport) -> OutcomeWords:
    """The outcome of a call in plain words."""
    failed = by_status(report.diagnosis, FindingStatus.FAIL)
    warned = by_status(report.diagnosis, FindingStatus.WARN)
    lead = tuple(_lead(report, failed or warned))
    outcome = report.outcome
    if outcome is None:
        return OutcomeWords("open", "In progress", f"The call is {_phase(report)}", lead)
    if not outcome.good:
        return OutcomeWords("bad", "Failed", _failure(report, outcome), lead)
    if failed:
        checks = counted(len(failed), "check")
        return OutcomeWords(
            "bad", "Checks failed", f"The call was answered, but {checks} failed", lead
        )
    breaches = evaluate_report(report).breaches
    lead += tuple(_limits(breaches))
    if any(breach.grade is Grade.CRITICAL for breach in breaches):
        return OutcomeWords("bad", "Bad quality", "The call worked, its quality was bad", lead)
    if warned or breaches or outcome is Outcome.COMPLETED_WITH_WARNINGS:
        return OutcomeWords("warn", "Warnings", "The call worked, with something to look at", lead)
    return OutcomeWords("good", "Success", "The call worked", lead)


def figure(key: str, value: Value) -> str:
    """A value as people say it: times of a call in seconds and minutes, all else with its unit."""
    metric = CATALOGUE.get(key)
    if metric is None or value is None or isinstance(value, str):
        return amount(key, value)
    if metric.kind is Kind.ONE_SHOT and metric.unit == "ms" and value >= _SECOND_MS:
        return _duration(value)
    if metric.unit in _SCALES:
        return f"{value:.2f}".rstrip("0").rstrip(".")
    return amount(key, value)


def sentence(words: str) -> str:
    """Words with a capital and a full stop."""
    words = words.strip()
    return words[:1].upper() + words[1:] + ("" if words.endswith((".", "!", "?")) else ".")


def security_words(stream: StreamReport) -> tuple[str, str]:
    """Grade and words of how a stream was protected."""
    if not stream.secure:
        return "bad", "Not encrypted: plain RTP"
    way = "SDES" if stream.keying.value == "sdes" else "DTLS-SRTP"
    if stream.suite is None:
        return "bad", f"{way} was negotiated, no keys were agreed"
    return "good", f"Encrypted: {way} with {stream.suite}"


def _failure(report: CallReport, outcome: Outcome) -> str:
    status, result = report.final_status_code, report.call_result
    known = None if report.error is None else _BY_ERROR.get(report.error.type)
    if known is not None:
        return known
    if outcome is Outcome.CALL_FAILED and status is not None:
        if status in _SUCCESSES:
            return "The call was answered and then failed"
        return f"The call was not answered: {result} ({status})"
    return _FAILED.get(outcome, outcome.value)


def _limits(breaches: Sequence[Breach]) -> Iterator[str]:
    """Which limits were breached, a sentence for each side of the call."""
    sides: dict[str, list[str]] = {}
    for breach in breaches:
        side = breach.place.rpartition(".")[2]
        name = {"send": "Sent", "receive": "Received"}.get(side, "Call")
        value, limit = (figure(breach.key, each) for each in (breach.value, breach.limit))
        words = f"{label_of(breach.key)} {value} (limit {limit})"
        sides.setdefault(name, []).append(words[:1].lower() + words[1:])
    for name, said in sides.items():
        rest = len(said) - _BREACHES
        more = f", and {rest} more" if rest > 0 else ""
        yield f"{name}: {', '.join(said[:_BREACHES])}{more}."


def _lead(report: CallReport, findings: list[Finding]) -> list[str]:
    sentences = []
    if report.error is not None:
        sentences.append(sentence(report.error.message or report.error.type))
    talked = _talked(report)
    if talked:
        sentences.append(talked)
    first = next((finding for finding in findings if finding.detail), None)
    if first is not None and sentence(first.detail) not in sentences:
        sentences.append(sentence(first.detail))
    return sentences


def _talked(report: CallReport) -> str:
    timing = report.timing
    words = []
    if timing.call_setup_time_ms is not None:
        words.append(f"answered after {figure('call_setup_time_ms', timing.call_setup_time_ms)}")
    if timing.call_duration_ms is not None:
        words.append(f"lasted {figure('call_duration_ms', timing.call_duration_ms)}")
    return sentence(", ".join(words)) if words else ""


def _duration(milliseconds: float) -> str:
    seconds = milliseconds / _SECOND_MS
    if seconds < _MINUTE_S:
        return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.1f} s"  # noqa: PLR2004  digits
    minutes, seconds = divmod(round(seconds), _MINUTE_S)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s"


def _phase(report: CallReport) -> str:
    name = report.phase.name.lower()
    return "up" if name == "incall" else name
