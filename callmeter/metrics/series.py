"""The course of a stream: what went each way, one sample a second, bounded."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["StreamSeries"]

_DECIMALS: Final = 3

Samples = tuple[float | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamSeries:
    """Metrics of one stream over time, send and receive apart.

    Attributes:
        at_ms: The end of each interval, in milliseconds since the stream was started. An interval
            is a second; of a long call, two, four or more, so that the series stays bounded.
        send, receive: One value for each interval, by catalogue key; None where there is nothing
            to measure.
    """

    at_ms: Samples = ()
    send: Mapping[str, Samples] = field(default_factory=dict)
    receive: Mapping[str, Samples] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form: each side has its `at_ms`."""
        return {
            side: {
                key: [None if value is None else round(value, _DECIMALS) for value in values]
                for key, values in {"at_ms": self.at_ms, **metrics}.items()
            }
            for side, metrics in (("send", self.send), ("receive", self.receive))
        }
