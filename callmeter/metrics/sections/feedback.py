"""RTCP feedback messages."""

from __future__ import annotations

from typing import Final

from callmeter.metrics.sections.row import BOTH, COUNTER, stream

__all__ = ["FEEDBACK"]

FEEDBACK: Final = (
    stream(
        "nack_count",
        "count",
        COUNTER,
        BOTH,
        "RFC 4585 section 6.2.1",
        "Generic NACKs about the stream: sent to its sender; of sent streams, received.",
        verified=False,
    ),
    stream(
        "pli_count",
        "count",
        COUNTER,
        BOTH,
        "RFC 4585 section 6.3.1",
        "Picture loss indications about the stream: sent; of sent streams, received.",
        verified=False,
    ),
    stream(
        "fir_count",
        "count",
        COUNTER,
        BOTH,
        "RFC 5104 section 4.3.1",
        "Full intra requests about the stream: sent; of sent streams, received.",
        verified=False,
    ),
    stream(
        "sli_count",
        "count",
        COUNTER,
        BOTH,
        "RFC 4585 section 6.3.2",
        "Slice loss indications about the stream: sent; of sent streams, received.",
        verified=False,
    ),
)
