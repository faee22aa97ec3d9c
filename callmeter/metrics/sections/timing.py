"""One-shot timings and the result of a call."""

from __future__ import annotations

from typing import Final

from callmeter.metrics.sections.row import ONE_SHOT, call

__all__ = ["TIMING"]

TIMING: Final = (
    call(
        "time_to_trying_ms",
        "ms",
        ONE_SHOT,
        "RFC 3261",
        "INVITE to the first response.",
        (100, 500),
        verified=False,
    ),
    call(
        "post_dial_delay_ms",
        "ms",
        ONE_SHOT,
        "RFC 6076 section 4.3.1",
        "INVITE to ringing, or to early media.",
        (3000, 8000),
        verified=False,
    ),
    call(
        "call_setup_time_ms",
        "ms",
        ONE_SHOT,
        "RFC 6076",
        "INVITE to the 200.",
        verified=False,
    ),
    call(
        "time_to_first_media_ms",
        "ms",
        ONE_SHOT,
        "",
        "200 to the first media packet, keys and NAT included.",
        verified=False,
    ),
    call("call_duration_ms", "ms", ONE_SHOT, "RFC 6076", "200 to the BYE.", verified=False),
    call(
        "final_status_code",
        "SIP code",
        ONE_SHOT,
        "RFC 3261 section 21",
        "The last definitive response.",
        verified=False,
    ),
    call("call_result", "", ONE_SHOT, "RFC 3261 section 21", "What became of it.", verified=False),
)
