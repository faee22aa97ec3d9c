"""What many calls come to."""

from __future__ import annotations

from typing import Final

from callmeter.metrics.sections.row import run

__all__ = ["RUN"]

RUN: Final = (
    run(
        "asr",
        "ratio",
        "RFC 6076 section 4.6",
        "Answer-seizure ratio: calls answered by a 2xx, of those that ended.",
        inverted=True,
    ),
    run(
        "ner",
        "ratio",
        "ITU-T E.425",
        "Network effectiveness ratio: calls answered, or refused by whom they were for (486, 603). "
        "Unlike in ITU-T E.425, ring-no-answer does not count.",
        inverted=True,
    ),
    run(
        "zero_audio_rate",
        "ratio",
        "",
        "Answered calls in which packets came but nothing to hear, of those answered.",
        (0.001, 0.01),
    ),
    run(
        "rejected_488_rate",
        "ratio",
        "RFC 3261 section 21.4.26",
        "Calls refused with 488, of those that ended.",
        (0, 0.01),
    ),
    run(
        "short_call_rate",
        "ratio",
        "",
        "Answered calls that lasted less than 15 seconds, of those answered.",
    ),
)
