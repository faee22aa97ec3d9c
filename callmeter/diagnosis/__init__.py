"""Why a call is silent, or has no picture: what was agreed, what arrived, what to do about it."""

from callmeter.diagnosis.checks import CHECKS, VIDEO_CHECKS, diagnose
from callmeter.diagnosis.evidence import CallEvidence, Description, KeyLine
from callmeter.diagnosis.findings import Check
from callmeter.diagnosis.video_evidence import VideoEvidence

__all__ = [
    "CHECKS",
    "VIDEO_CHECKS",
    "CallEvidence",
    "Check",
    "Description",
    "KeyLine",
    "VideoEvidence",
    "diagnose",
]
