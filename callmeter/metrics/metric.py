"""What a metric is: its kind, what it is about, and how good a value is."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum

__all__ = ["Direction", "Grade", "Kind", "Metric", "Scope", "Thresholds"]


class Kind(Enum):
    """How a value behaves over time."""

    COUNTER = "counter"
    """Only grows."""
    GAUGE = "gauge"
    """The value of now."""
    ONE_SHOT = "one-shot"
    """Measured once in a call."""
    PER_CALL = "per-call"
    """A property of the call."""


class Direction(Enum):
    """Which side of a stream a metric is about."""

    SEND = "send"
    RECEIVE = "receive"
    BOTH = "both"


class Scope(Enum):
    """What has the metric."""

    STREAM = "stream"
    CALL = "call"
    RUN = "run"
    """Many calls together."""


class Grade(IntEnum):
    """How good a value is; the worst of several is their maximum."""

    UNKNOWN = 0
    GOOD = 1
    WARNING = 2
    CRITICAL = 3


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Limits of a metric: a value beyond `warning` or `critical` is of that grade.

    Attributes:
        warning: The last good value.
        critical: The last value that is only a warning.
    """

    warning: float
    critical: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One line of the catalogue.

    Attributes:
        key: Name in reports and exports.
        unit: Unit of the value, empty for text.
        kind: How it behaves over time.
        direction: Which side it is about.
        scope: Whether a stream, a call or a run of many has it.
        rfc: Where its definition stands.
        description: One sentence.
        thresholds: Default limits, or None.
        inverted: Whether lower is worse, as with a MOS.
        signless: Whether only the distance from zero is judged, as with a clock that runs fast or
            slow.
        verified: Whether the key is published, and so frozen.
    """

    key: str
    unit: str
    kind: Kind
    direction: Direction
    scope: Scope
    rfc: str
    description: str
    thresholds: Thresholds | None = None
    inverted: bool = False
    signless: bool = False
    verified: bool = True

    def grade(self, value: float | None, thresholds: Thresholds | None = None) -> Grade:
        """Judge a value by the given thresholds, or by the default ones."""
        limits = thresholds or self.thresholds
        if value is None or limits is None:
            return Grade.UNKNOWN
        sign = -1 if self.inverted else 1
        value = abs(value) if self.signless else value
        if sign * value > sign * limits.critical:
            return Grade.CRITICAL
        return Grade.WARNING if sign * value > sign * limits.warning else Grade.GOOD
