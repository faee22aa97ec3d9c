"""A datagram network in virtual time: loss, delay, reordering, duplicates, damage, partitions.

What happens to a datagram depends on the seed and on the order of sending alone, so a run can be
repeated exactly.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from heapq import heappop, heappush
from random import Random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from callmeter.testing.clock import VirtualClock

__all__ = ["Address", "Datagram", "Fates", "LinkConditions", "VirtualNetwork"]

Address = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Datagram:
    """Octets on their way from one address to another."""

    source: Address
    destination: Address
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkConditions:
    """What one direction of a path does to datagrams; shares are from 0 to 1.

    Attributes:
        delay: Seconds that each needs.
        jitter: Up to so many seconds more.
        loss: Share that is lost.
        duplicate: Share that arrives twice.
        reorder: Share that is held back by `reorder_delay`, so that later ones overtake it.
        reorder_delay: Seconds that these need more.
        corrupt: Share in which one bit is turned round.
        mtu: Octets of payload that pass; longer datagrams are lost. None lets all pass.
    """

    delay: float = 0.01
    jitter: float = 0.0
    loss: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    reorder_delay: float = 0.05
    corrupt: float = 0.0
    mtu: int | None = None

    def __post_init__(self) -> None:
        for name in ("loss", "duplicate", "reorder", "corrupt"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is a share from 0 to 1")
        for name in ("delay", "jitter", "reorder_delay"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is no time before now")


class Fates:
    """What becomes of one datagram after the other on a path.

    Args:
        seed: Decides it; the same datagrams in the same order have the same fate.
        counters: Where it is counted.
    """

    def __init__(self, seed: int | str, counters: Counter[str]) -> None:
        self._random = Random(seed)  # noqa: S311  repeatable on purpose
        self._counters = counters

    def of(self, data: bytes, conditions: LinkConditions) -> list[tuple[float, bytes]]:
        """When a datagram arrives, in seconds from now, and with what octets; maybe never."""
        if self._chance(conditions.loss):
            self._counters["lost"] += 1
            return []
        if conditions.mtu is not None and len(data) > conditions.mtu:
            self._counters["too_long"] += 1
            return []
        if data and self._chance(conditions.corrupt):
            self._counters["corrupted"] += 1
            data = self._damaged(data)
        arrivals = [(self._delay(conditions), data)]
        if self._chance(conditions.duplicate):
            self._counters["duplicated"] += 1
            arrivals.append((self._delay(conditions), data))
        return arrivals

    def _delay(self, conditions: LinkConditions) -> float:
        delay = conditions.delay + conditions.jitter * self._random.random()
        if self._chance(conditions.reorder):
            self._counters["reordered"] += 1
            delay += conditions.reorder_delay
        return delay

    def _damaged(self, data: bytes) -> bytes:
        bit = self._random.randrange(8 * len(data))
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        return bytes(damaged)

    def _chance(self, share: float) -> bool:
        return share > 0 and self._random.random() < share


class VirtualNetwork:
    """All datagrams under way.

    Args:
        clock: The time everybody lives in.
        seed: Decides what is lost, delayed and doubled.
        conditions: Of every path that has none of its own.

    Attributes:
        counters: How many were `sent`, `lost`, `too_long`, `duplicated`, `reordered`, `corrupted`
            and `delivered`.
        log: What was sent and when, lost datagrams too; None keeps none.
    """

    def __init__(
        self, clock: VirtualClock, seed: int = 0, conditions: LinkConditions | None = None
    ) -> None:
        self.counters: Counter[str] = Counter()
        self.log: list[tuple[float, Datagram]] | None = None
        self._clock = clock
        self._fates = Fates(seed, self.counters)
        self._default = conditions or LinkConditions()
        self._paths: dict[tuple[str, str], LinkConditions] = {}
        self._cuts: set[tuple[str, str]] = set()
        self._traps: list[list[Callable[[Datagram], bool]]] = []
        self._under_way: list[tuple[float, int, Datagram]] = []
        self._number = 0

    def __len__(self) -> int:
        """Datagrams under way."""
        return len(self._under_way)

    def set_conditions(self, conditions: LinkConditions, source: str, destination: str) -> None:
        """Give the path from one host to another, in this direction, conditions of its own."""
        self._paths[source, destination] = conditions

    def partition(self, source: str, destination: str) -> None:
        """Lose everything from one host to another, in this direction, until `heal`."""
        self._cuts.add((source, destination))

    def heal(self) -> None:
        """End every partition."""
        self._cuts.clear()

    def lose(self, chosen: Callable[[Datagram], bool], *, times: int = 1) -> None:
        """Lose the next so many datagrams of which `chosen` is true."""
        self._traps += [[chosen]] * times

    def send(self, datagram: Datagram) -> None:
        """Put a datagram on its way."""
        self.counters["sent"] += 1
        if self.log is not None:
            self.log.append((self._clock.now, datagram))
        path = (datagram.source[0], datagram.destination[0])
        conditions = self._paths.get(path, self._default)
        if path in self._cuts or self._is_trapped(datagram):
            self.counters["lost"] += 1
            return
        for delay, data in self._fates.of(datagram.data, conditions):
            self._number += 1
            arriving = replace(datagram, data=data)
            heappush(self._under_way, (self._clock.now + delay, self._number, arriving))

    def next_deadline(self) -> float | None:
        """When the next datagram arrives; None when none is under way."""
        return self._under_way[0][0] if self._under_way else None

    def arrivals(self) -> list[Datagram]:
        """Take out what has arrived by now, in order."""
        arrived = []
        while self._under_way and self._under_way[0][0] <= self._clock.now:
            arrived.append(heappop(self._under_way)[2])
        self.counters["delivered"] += len(arrived)
        return arrived

    def _is_trapped(self, datagram: Datagram) -> bool:
        for place, trap in enumerate(self._traps):
            if trap[0](datagram):
                del self._traps[place]
                return True
        return False
