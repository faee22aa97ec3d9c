"""How a row of the catalogue is written."""

from __future__ import annotations

from typing import Final

from callmeter.metrics.metric import Direction, Kind, Metric, Scope, Thresholds

__all__ = [
    "BOTH",
    "COUNTER",
    "GAUGE",
    "ONE_SHOT",
    "PER_CALL",
    "RECEIVE",
    "REPORTS",
    "RTP",
    "SEND",
    "call",
    "run",
    "stream",
]

COUNTER: Final = Kind.COUNTER
GAUGE: Final = Kind.GAUGE
ONE_SHOT: Final = Kind.ONE_SHOT
PER_CALL: Final = Kind.PER_CALL
SEND: Final = Direction.SEND
RECEIVE: Final = Direction.RECEIVE
BOTH: Final = Direction.BOTH
RTP: Final = "RFC 3550"
REPORTS: Final = "RFC 3550 section 6.4.1"


def stream(
    key: str,
    unit: str,
    kind: Kind,
    direction: Direction,
    rfc: str,
    description: str,
    limits: tuple[float, float] | None = None,
    *,
    inverted: bool = False,
    signless: bool = False,
    verified: bool = True,
) -> Metric:
    """A metric of one side of a stream, or of both."""
    return Metric(
        key=key,
        unit=unit,
        kind=kind,
        direction=direction,
        scope=Scope.STREAM,
        rfc=rfc,
        description=description,
        thresholds=None if limits is None else Thresholds(*limits),
        inverted=inverted,
        signless=signless,
        verified=verified,
    )


def call(
    key: str,
    unit: str,
    kind: Kind,
    rfc: str,
    description: str,
    limits: tuple[float, float] | None = None,
    *,
    direction: Direction = Direction.BOTH,
    verified: bool = True,
) -> Metric:
    """A metric of a call."""
    return Metric(
        key=key,
        unit=unit,
        kind=kind,
        direction=direction,
        scope=Scope.CALL,
        rfc=rfc,
        description=description,
        thresholds=None if limits is None else Thresholds(*limits),
        verified=verified,
    )


def run(
    key: str,
    unit: str,
    rfc: str,
    description: str,
    limits: tuple[float, float] | None = None,
    *,
    inverted: bool = False,
) -> Metric:
    """A metric of many calls."""
    return Metric(
        key=key,
        unit=unit,
        kind=GAUGE,
        direction=BOTH,
        scope=Scope.RUN,
        rfc=rfc,
        description=description,
        thresholds=None if limits is None else Thresholds(*limits),
        inverted=inverted,
        verified=False,
    )
