"""A histogram that merges: log-linear buckets, so quantiles are right to about one percent."""

from __future__ import annotations

import math
from collections import Counter
from itertools import accumulate
from typing import TYPE_CHECKING, Final

from callmeter.errors import LocalProtocolError

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Histogram"]

_PARTS: Final = 64
"""Buckets between a power of two and the next."""
_SMALLEST: Final = -30
_LARGEST: Final = 50
_ZERO: Final = _SMALLEST * _PARTS - 1
_TOP: Final = (_LARGEST + 1) * _PARTS - 1


class Histogram:
    """Counts of values of zero or more, in any unit.

    Values are kept to less than one percent of themselves, at most 5,000 buckets whatever comes.
    Two histograms merge without loss, so runs on many processes give one.

    Attributes:
        count: Values recorded.
        total: Their sum.
        least, greatest: Exact extremes; None when empty.
    """

    __slots__ = ("_buckets", "count", "greatest", "least", "total")

    def __init__(self, values: Iterable[float] = ()) -> None:
        self._buckets: Counter[int] = Counter()
        self.count = 0
        self.total = 0.0
        self.least: float | None = None
        self.greatest: float | None = None
        for value in values:
            self.record(value)

    def __len__(self) -> int:
        return self.count

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Histogram) and self._buckets == other._buckets

    __hash__ = None  # type: ignore[assignment]  # it changes

    def record(self, value: float, times: int = 1) -> None:
        """Count a value; below zero counts as zero.

        Raises:
            LocalProtocolError: The value is not finite.
        """
        if not math.isfinite(value):
            raise LocalProtocolError(f"{value} cannot be counted")
        value = max(value, 0.0)
        self._buckets[_bucket(value)] += times
        self.count += times
        self.total += value * times
        self.least = value if self.least is None else min(self.least, value)
        self.greatest = value if self.greatest is None else max(self.greatest, value)

    def merge(self, other: Histogram) -> None:
        """Add all that the other one counted."""
        if other.least is None or other.greatest is None:
            return
        self._buckets.update(other._buckets)
        self.count += other.count
        self.total += other.total
        self.least = other.least if self.least is None else min(self.least, other.least)
        self.greatest = (
            other.greatest if self.greatest is None else max(self.greatest, other.greatest)
        )

    @property
    def mean(self) -> float | None:
        """The mean, exact; None when empty."""
        return self.total / self.count if self.count else None

    def quantile(self, share: float) -> float | None:
        """The value that `share` (0 to 1) of the recorded ones do not exceed; None when empty."""
        if self.least is None or self.greatest is None:
            return None
        wanted = max(1, math.ceil(share * self.count))
        if wanted >= self.count:
            return self.greatest
        ordered = sorted(self._buckets)
        seen = accumulate(map(self._buckets.__getitem__, ordered))
        bucket = next(
            bucket for bucket, count in zip(ordered, seen, strict=True) if count >= wanted
        )
        return min(max(_middle(bucket), self.least), self.greatest)

    def summary(self) -> dict[str, float | int | None]:
        """Count, mean, P50, P95, P99 and the greatest value, ready for a report."""
        return {
            "count": self.count,
            "mean": self.mean,
            "p50": self.quantile(0.50),
            "p95": self.quantile(0.95),
            "p99": self.quantile(0.99),
            "max": self.greatest,
        }


def _bucket(value: float) -> int:
    mantissa, exponent = math.frexp(value)
    if value == 0.0 or exponent < _SMALLEST:
        return _ZERO
    part = int((mantissa - 0.5) * 2 * _PARTS)
    return min(exponent * _PARTS + part, _TOP)


def _middle(bucket: int) -> float:
    if bucket == _ZERO:
        return 0.0
    exponent, part = divmod(bucket, _PARTS)
    return math.ldexp(0.5 + (part + 0.5) / (2 * _PARTS), exponent)
