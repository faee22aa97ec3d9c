"""Counters and properties of a call."""

from __future__ import annotations

from typing import Final

from callmeter.metrics.sections.row import COUNTER, PER_CALL, RECEIVE, SEND, call

__all__ = ["COUNTERS"]

COUNTERS: Final = (
    call("hold_count", "count", COUNTER, "RFC 3264 section 8.4", "Changes to hold."),
    call(
        "total_hold_duration_ms",
        "ms",
        COUNTER,
        "RFC 3264 section 8.4",
        "Time on hold, summed.",
    ),
    call(
        "session_timer_refreshes",
        "count",
        COUNTER,
        "RFC 4028",
        "Session refreshes by re-INVITE or UPDATE.",
    ),
    call(
        "dtls_rehandshakes",
        "count",
        COUNTER,
        "RFC 5764",
        "Completed DTLS handshakes after the first.",
        (0, 1),
    ),
    call(
        "ice_restarts",
        "count",
        COUNTER,
        "RFC 8445 section 9",
        "New ICE credentials within the call.",
        (0, 1),
    ),
    call(
        "rekeys_sent",
        "count",
        COUNTER,
        "RFC 4568 section 7.1.4",
        "New media keys asked for by this end and agreed to.",
        direction=SEND,
        verified=False,
    ),
    call(
        "rekeys_received",
        "count",
        COUNTER,
        "RFC 4568 section 7.1.4",
        "New media keys asked for by the peer.",
        direction=RECEIVE,
        verified=False,
    ),
    call(
        "dtmf_digits_sent",
        "count",
        COUNTER,
        "RFC 4733",
        "Digits sent, as telephone events or by INFO.",
        direction=SEND,
    ),
    call(
        "dtmf_digits_received",
        "count",
        COUNTER,
        "RFC 4733",
        "Digits received, as telephone events or by INFO.",
        direction=RECEIVE,
        verified=False,
    ),
    call("dtmf_method", "", PER_CALL, "RFC 4733", "rtp, info or both."),
    call(
        "scenario_actions_executed",
        "count",
        COUNTER,
        "",
        "Actions of a scenario that were done.",
        verified=False,
    ),
    call(
        "scenario_actions_failed",
        "count",
        COUNTER,
        "",
        "Actions of a scenario that were refused, timed out, or came too late.",
    ),
    call(
        "audio_path",
        "",
        PER_CALL,
        "",
        "both, send, receive, none, or silent when packets came both ways but nothing to hear.",
        verified=False,
    ),
)
