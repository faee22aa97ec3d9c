"""The place where a part of a stream adds its own figures to the report.

A decoder, a concealer, a video track: whoever has values for keys of the catalogue gives a source
of them once, and report, `Call.statistics()`, exports and thresholds have them.

    stream.measures.add(Direction.RECEIVE, lambda: {"plc_events": concealer.events_a_second})
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from callmeter.errors import ConfigurationError
from callmeter.metrics.catalogue import Direction, stream_keys

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Value = int | float | str | None
    Source = Callable[[], Mapping[str, Value]]

__all__ = ["Measures"]

_KEYS = {side: frozenset(stream_keys(side)) for side in (Direction.SEND, Direction.RECEIVE)}


class Measures:
    """Sources of further figures of one stream, send and receive apart."""

    __slots__ = ("_sources",)

    def __init__(self) -> None:
        self._sources: dict[Direction, list[Source]] = {}

    def add(self, direction: Direction, source: Source) -> None:
        """Ask this source from now on, whenever somebody wants the figures.

        Args:
            direction: `Direction.SEND` or `Direction.RECEIVE`.
            source: Gives values by catalogue key; of two that give the same key, the later wins.
        """
        self._sources.setdefault(direction, []).append(source)

    def of(self, direction: Direction) -> dict[str, Value]:
        """The figures of one side at this moment.

        Raises:
            ConfigurationError: A source gave a key that the catalogue has not on this side.
        """
        values: dict[str, Value] = {}
        for source in self._sources.get(direction, ()):
            values |= source()
        unknown = values.keys() - _KEYS[direction]
        if unknown:
            raise ConfigurationError(f"no metric of {direction.value}: {sorted(unknown)}")
        return values
