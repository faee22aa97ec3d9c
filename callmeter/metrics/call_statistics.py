"""What a running call measures at this moment: the figures of the report without its evidence."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from callmeter.metrics.signaling import CallTiming

if TYPE_CHECKING:
    from collections.abc import Mapping

    from callmeter.metrics.phases import Phase

__all__ = ["CallStatistics", "StreamSnapshot"]

Value = int | float | str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamSnapshot:
    """One media stream, its two sides apart.

    Attributes:
        kind: `"audio"` or `"video"`.
        codec: Encoding name.
        send, receive: Metrics by catalogue key; what the stream does not measure is missing.
    """

    kind: str = "audio"
    codec: str = ""
    send: Mapping[str, Value] = field(default_factory=dict)
    receive: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class CallStatistics:
    """A call at one moment. The keys are those of the report and of the catalogue.

    Attributes:
        phase: How far it got.
        timing: One-shot timings so far.
        media: Its streams; none before it has a media port.
        counters: Counters and per-call values by catalogue key.
    """

    phase: Phase
    timing: CallTiming = field(default_factory=CallTiming)
    media: tuple[StreamSnapshot, ...] = ()
    counters: Mapping[str, Value] = field(default_factory=dict)

    @property
    def send(self) -> Mapping[str, Value]:
        """What the first stream sends; empty before there is one."""
        return self.media[0].send if self.media else {}

    @property
    def receive(self) -> Mapping[str, Value]:
        """What the first stream receives; empty before there is one."""
        return self.media[0].receive if self.media else {}

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return {
            "phase": self.phase.name,
            "timing": self.timing.metrics(),
            "media": [
                {
                    "kind": stream.kind,
                    "codec": stream.codec,
                    "send": dict(stream.send),
                    "receive": dict(stream.receive),
                }
                for stream in self.media
            ],
            "counters": dict(self.counters),
        }
