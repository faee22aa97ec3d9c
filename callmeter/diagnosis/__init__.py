"""Why a call is silent: checks of what was agreed, what arrived, and what to do about it."""

from callmeter.diagnosis.checks import CHECKS, diagnose
from callmeter.diagnosis.evidence import CallEvidence, Description, KeyLine
from callmeter.diagnosis.findings import Check

__all__ = ["CHECKS", "CallEvidence", "Check", "Description", "KeyLine", "diagnose"]
