"""Video: frames, key frames, freezes."""

from __future__ import annotations

from typing import Final

from callmeter.metrics.sections.row import BOTH, COUNTER, GAUGE, RECEIVE, SEND, stream

__all__ = ["VIDEO"]

VIDEO: Final = (
    stream(
        "frame_rate_fps",
        "fps",
        GAUGE,
        BOTH,
        "",
        "Frames a second.",
        inverted=True,
        verified=False,
    ),
    stream(
        "frames_sent",
        "frames",
        COUNTER,
        SEND,
        "",
        "Frames sent.",
        verified=False,
    ),
    stream(
        "frames_received",
        "frames",
        COUNTER,
        RECEIVE,
        "",
        "Frames that came whole.",
        verified=False,
    ),
    stream(
        "keyframes_sent",
        "frames",
        COUNTER,
        SEND,
        "",
        "Key frames sent.",
        verified=False,
    ),
    stream(
        "keyframes_received",
        "frames",
        COUNTER,
        RECEIVE,
        "",
        "Key frames that came whole.",
        verified=False,
    ),
    stream(
        "keyframe_interval_ms",
        "ms",
        GAUGE,
        SEND,
        "",
        "Time between the last two key frames.",
        (5000, 10000),
        verified=False,
    ),
    stream(
        "keyframe_requests_sent",
        "count",
        COUNTER,
        RECEIVE,
        "RFC 5104 section 4.3",
        "Key frames asked for, by PLI or FIR.",
        verified=False,
    ),
    stream(
        "keyframe_requests_received",
        "count",
        COUNTER,
        SEND,
        "RFC 5104 section 4.3",
        "Key frames the peer asked for, by PLI or FIR.",
        verified=False,
    ),
    stream(
        "freeze_count",
        "count",
        COUNTER,
        RECEIVE,
        "W3C webrtc-stats, freezeCount",
        "Times the picture stood still: for three times the usual, and 150 ms more than usual.",
        verified=False,
    ),
    stream(
        "freeze_duration_ms",
        "ms",
        COUNTER,
        RECEIVE,
        "W3C webrtc-stats, totalFreezesDuration",
        "Time it stood still, summed.",
        verified=False,
    ),
    stream(
        "resolution_megapixels",
        "megapixels",
        GAUGE,
        BOTH,
        "",
        "Size of the picture; 0.92 is HD.",
        inverted=True,
        verified=False,
    ),
)
