"""Where an endpoint or a call stands, and how it ended: two independent fields.

A phase only moves forward. An outcome is unknown until the end; once set, only a worse one
replaces it, and among equals the first stays.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum

__all__ = ["LifeCycle", "Outcome", "Phase"]


class Phase(IntEnum):
    """The phases in their order."""

    INITIALIZING = 0
    REGISTERED = 1
    CALLING = 2
    RINGING = 3
    NEGOTIATING = 4
    INCALL = 5
    DISCONNECTING = 6
    CLOSED = 7

    def advance(self, to: Phase) -> Phase:
        """The later of the two phases."""
        return max(self, to)


class Outcome(StrEnum):
    """How it ended."""

    SUCCESS = "SUCCESS"
    """Normal."""
    COMPLETED_WITH_WARNINGS = "COMPLETED_WITH_WARNINGS"
    """It worked, with something to look at."""
    REGISTRATION_FAILED = "REGISTRATION_FAILED"
    """Rejected or timed out."""
    CALL_FAILED = "CALL_FAILED"
    """Unreachable, refused, or lost."""
    NEGOTIATION_FAILED = "NEGOTIATION_FAILED"
    """Offer and answer found no common ground."""
    TIMEOUT = "TIMEOUT"
    """Nobody answered in time."""
    OSERROR = "OSERROR"
    """The system or its network refused."""
    TEARDOWN_ERROR = "TEARDOWN_ERROR"
    """The BYE was not sent or not answered."""

    @property
    def severity(self) -> int:
        """0 normal, 1 warnings, 10 failure."""
        return _SEVERITY.get(self, 10)

    @property
    def good(self) -> bool:
        """Whether the call did what it was for: success, with or without warnings."""
        return self in _SEVERITY

    def worsen(self, to: Outcome) -> Outcome:
        """The more severe of the two; this one when they are equally severe."""
        return to if to.severity > self.severity else self


_SEVERITY = {Outcome.SUCCESS: 0, Outcome.COMPLETED_WITH_WARNINGS: 1}


class LifeCycle:
    """The two fields of one call or endpoint, with their rules.

    Attributes:
        phase: Where it stands.
        outcome: How it ended; None while it runs.
    """

    __slots__ = ("outcome", "phase")

    def __init__(self) -> None:
        self.phase = Phase.INITIALIZING
        self.outcome: Outcome | None = None

    def enter(self, phase: Phase) -> bool:
        """Move forward to `phase`; False when that would be no move forward."""
        before, self.phase = self.phase, self.phase.advance(phase)
        return self.phase is not before

    def settle(self, outcome: Outcome) -> bool:
        """Set the outcome, or make it worse; False when it stays as it is."""
        before = self.outcome
        self.outcome = outcome if before is None else before.worsen(outcome)
        return self.outcome is not before
