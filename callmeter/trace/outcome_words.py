"""How a call went, in words for somebody who knows nothing of SIP."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from callmeter.metrics.phases import Outcome
from callmeter.metrics.report import FindingStatus
from callmeter.metrics.report_text import amount

if TYPE_CHECKING:
    from callmeter.metrics.report import CallReport, Finding, StreamReport

__all__ = ["ORDER", "OutcomeWords", "by_status", "outcome_words", "security_words"]

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
_SUCCESSES: Final = range(200, 300)


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
        checks = _count(len(failed), "check")
        return OutcomeWords(
            "bad", "Checks failed", f"The call was answered, but {checks} failed", lead
        )
    if warned or outcome is Outcome.COMPLETED_WITH_WARNINGS:
        return OutcomeWords("warn", "Warnings", "The call worked, with something to look at", lead)
    return OutcomeWords("good", "Success", "The call worked", lead)


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
    if outcome is Outcome.CALL_FAILED and status is not None:
        if status in _SUCCESSES:
            return "The call was answered and then failed"
        return f"The call was not answered: {result} ({status})"
    return _FAILED.get(outcome, outcome.value)


def _lead(report: CallReport, findings: list[Finding]) -> list[str]:
    sentences = []
    if report.error is not None:
        sentences.append(_sentence(report.error.message or report.error.type))
    talked = _talked(report)
    if talked:
        sentences.append(talked)
    first = next((finding for finding in findings if finding.detail), None)
    if first is not None and _sentence(first.detail) not in sentences:
        sentences.append(_sentence(first.detail))
    return sentences


def _talked(report: CallReport) -> str:
    timing = report.timing
    words = []
    if timing.call_setup_time_ms is not None:
        words.append(f"answered after {amount('call_setup_time_ms', timing.call_setup_time_ms)}")
    if timing.call_duration_ms is not None:
        words.append(f"lasted {_duration(timing.call_duration_ms)}")
    return _sentence(", ".join(words)) if words else ""


def _duration(milliseconds: float) -> str:
    minutes, seconds = divmod(round(milliseconds / 1000), 60)
    if not minutes:
        return f"{milliseconds / 1000:.1f} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s"


def _phase(report: CallReport) -> str:
    name = report.phase.name.lower()
    return "up" if name == "incall" else name


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"


def _sentence(words: str) -> str:
    words = words.strip()
    return words[:1].upper() + words[1:] + ("" if words.endswith((".", "!", "?")) else ".")
