"""What a check is: a question, how it is judged, and what to do when the answer is bad."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from callmeter.metrics.report import Finding, FindingStatus

if TYPE_CHECKING:
    from collections.abc import Callable

    from callmeter.diagnosis.evidence import CallEvidence

__all__ = ["Check", "Verdict", "check", "fails", "passes", "skips", "warns"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a check found.

    Attributes:
        status: Pass, warn, fail or skip.
        detail: The evidence in words.
        remedy: What to do, where it is not the remedy of the check.
    """

    status: FindingStatus
    detail: str
    remedy: str | None = None


def passes(detail: str) -> Verdict:
    """It is as it should be."""
    return Verdict(FindingStatus.PASS, detail)


def skips(detail: str) -> Verdict:
    """It does not apply, or cannot be told."""
    return Verdict(FindingStatus.SKIP, detail)


def warns(detail: str, remedy: str | None = None) -> Verdict:
    """It works, and is not as it should be."""
    return Verdict(FindingStatus.WARN, detail, remedy)


def fails(detail: str, remedy: str | None = None) -> Verdict:
    """It is what is wrong."""
    return Verdict(FindingStatus.FAIL, detail, remedy)


@dataclass(frozen=True, slots=True)
class Check:
    """One check; called with the evidence it gives a `Finding`.

    Attributes:
        identifier: Its name in reports; stable.
        question: What it asks.
        remedy: What to do when the answer is bad.
        judge: Looks at the evidence.
    """

    identifier: str
    question: str
    remedy: str
    judge: Callable[[CallEvidence], Verdict]

    def __call__(self, evidence: CallEvidence) -> Finding:
        """Judge the evidence; there is a remedy where there is something to mend."""
        verdict = self.judge(evidence)
        bad = verdict.status in {FindingStatus.WARN, FindingStatus.FAIL}
        remedy = (verdict.remedy or self.remedy) if bad else ""
        return Finding(self.identifier, verdict.status, verdict.detail, remedy)


def check(question: str, remedy: str) -> Callable[[Callable[[CallEvidence], Verdict]], Check]:
    """Make a function a `Check` that has its name."""

    def decorate(judge: Callable[[CallEvidence], Verdict]) -> Check:
        return Check(judge.__name__, question, remedy, judge)

    return decorate
