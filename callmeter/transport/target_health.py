"""Which targets are spared for a while: those that failed, and those that said 503.

RFC 3263 section 4.3 leaves a failed target for the next one; RFC 3261 section 21.5.4 has a 503
honoured for as long as its Retry-After says. No clock inside: `now` is in seconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from callmeter.sip.server_location import Target

__all__ = ["Destination", "TargetHealth"]

Destination = tuple[str, str, int]
"""Transport name, address and port, as `Target.destination` gives them."""

FAILED_S = 30.0
"""A target that could not be reached stands behind the others for so long."""
UNAVAILABLE_S = 60.0
"""A target that said 503 without Retry-After is left alone for so long."""
UNAVAILABLE_MAX_S = 3600.0
"""No Retry-After counts for longer."""
REMEMBERED = 4096
"""Destinations kept in mind; beyond, the one noted first is forgotten."""


class TargetHealth:
    """What is known against targets."""

    def __init__(self) -> None:
        self._failed: dict[Destination, float] = {}
        self._unavailable: dict[Destination, float] = {}

    def failed(self, destination: Destination, now: float) -> None:
        """The transport failed, or nothing answered: others come first for 30 s."""
        _note(self._failed, destination, now + FAILED_S)

    def unavailable(
        self, destination: Destination, now: float, retry_after: float | None = None
    ) -> None:
        """It answered 503: not used for `retry_after` seconds, at most an hour, 60 s if None."""
        seconds = UNAVAILABLE_S if retry_after is None else max(0.0, retry_after)
        _note(self._unavailable, destination, now + min(seconds, UNAVAILABLE_MAX_S))

    def good(self, destination: Destination) -> None:
        """It answered: nothing is held against it any more."""
        self._failed.pop(destination, None)
        self._unavailable.pop(destination, None)

    def usable(self, targets: Iterable[Target], now: float) -> tuple[Target, ...]:
        """The targets to try, in order: sound ones, then failed ones, without those that said 503.

        When all said 503, the one whose time is up first is left, so that there is one always.
        """
        targets = tuple(targets)
        if not self._failed and not self._unavailable:
            return targets
        open_ = [one for one in targets if self._unavailable.get(one.destination, now) <= now]
        if not open_:
            soonest = sorted(targets, key=lambda one: self._unavailable[one.destination])
            return tuple(soonest[:1])
        return tuple(sorted(open_, key=lambda one: self._failed.get(one.destination, now) > now))


def _note(table: dict[Destination, float], destination: Destination, until: float) -> None:
    table.pop(destination, None)
    table[destination] = until
    if len(table) > REMEMBERED:
        del table[next(iter(table))]
