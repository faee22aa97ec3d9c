"""What a check is: a question, how it is judged, and what to do when the answer is bad."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Generic, TypeVar

from callmeter.diagnosis.evidence import CallEvidence
from callmeter.metrics.report import Finding, FindingStatus

if TYPE_CHECKING:
    from collections.abc import Callable

    from callmeter.diagnosis.video_evidence import VideoEvidence

__all__ = [
    "Check",
    "Verdict",
    "check",
    "fails",
    "of_audio",
    "of_video",
    "passes",
    "skips",
    "warns",
]

Facts_contra = TypeVar("Facts_contra", bound=CallEvidence, contravariant=True)


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
class Check(Generic[Facts_contra]):
    """One check; called with the evidence it gives a `Finding`.

    Attributes:
        identifier: Its name in reports; stable.
        question: What it asks.
        remedy: What to do when the answer is bad.
        judge: Looks at the evidence.
        stream: What the detail begins with: `"audio"`, `"video"`, or empty.
    """

    identifier: str
    question: str
    remedy: str
    judge: Callable[[Facts_contra], Verdict]
    stream: str = ""

    def __call__(self, evidence: Facts_contra) -> Finding:
        """Judge the evidence; there is a remedy where there is something to mend."""
        verdict = self.judge(evidence)
        bad = verdict.status in {FindingStatus.WARN, FindingStatus.FAIL}
        remedy = (verdict.remedy or self.remedy) if bad else ""
        detail, stream = verdict.detail, f"{self.stream}: " if self.stream else ""
        if not detail.startswith(stream):
            detail = stream + detail
        return Finding(self.identifier, verdict.status, detail, remedy)


def of_audio(each: Check[CallEvidence]) -> Check[CallEvidence]:
    """A check as it is in a call that has video too."""
    return replace(each, stream="audio")


def of_video(each: Check[VideoEvidence], *, always: bool = False) -> Check[VideoEvidence]:
    """A check of the video, named for it.

    Args:
        each: The check, of any stream or of video alone.
        always: It is made also where no video was agreed on.
    """

    def judge(evidence: VideoEvidence) -> Verdict:
        if evidence.agreed or always:
            return each.judge(evidence)
        return skips("there is no video")

    return replace(each, identifier=f"video_{each.identifier}", judge=judge, stream="video")


def check(
    question: str, remedy: str
) -> Callable[[Callable[[Facts_contra], Verdict]], Check[Facts_contra]]:
    """Make a function a `Check` that has its name."""

    def decorate(judge: Callable[[Facts_contra], Verdict]) -> Check[Facts_contra]:
        return Check(judge.__name__, question, remedy, judge)

    return decorate
