"""What a jitter buffer makes of a received stream."""

from __future__ import annotations

from typing import Final

from callmeter.metrics.sections.row import COUNTER, GAUGE, RECEIVE, stream

__all__ = ["JITTER_BUFFER"]

JITTER_BUFFER: Final = tuple(
    stream(f"jitter_buffer_{name}", unit, kind, RECEIVE, "", description, verified=False)
    for name, unit, kind, description in (
        ("target_delay_ms", "ms", GAUGE, "What the jitter buffer aims at."),
        ("current_delay_ms", "ms", GAUGE, "How long the last packet in time waited."),
        ("average_jitter_ms", "ms", GAUGE, "Moving mean jitter of the packets in time."),
        ("pushed", "packets", COUNTER, "Packets that were there at their moment."),
        ("lost", "packets", COUNTER, "Numbers that were not; late packets are among them."),
        ("late", "packets", COUNTER, "Packets that came after their moment."),
        ("early", "packets", COUNTER, "Packets the buffer had no room for."),
        ("duplicates", "packets", COUNTER, "Packets that were waiting already."),
        ("restarts", "count", COUNTER, "New beginnings: another source, or a jump."),
        ("rtx_requests", "count", COUNTER, "Retransmissions asked for: none."),
        ("rtx_success", "count", COUNTER, "Retransmissions that came in time: none."),
    )
)
