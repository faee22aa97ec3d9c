"""How good a received stream is, by the E-model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from callmeter.metrics.quality import r_factor, r_factor_of

if TYPE_CHECKING:
    from callmeter.media.statistics import StreamStatistics

__all__ = ["receive_rating"]


def receive_rating(statistics: StreamStatistics, *, delay: bool = True) -> float | None:
    """R of the received stream; None where it has none.

    With a jitter buffer what came too late is lost, and its delay counts. Without one it is
    guessed from the jitter.

    Args:
        statistics: The stream.
        delay: Whether delay counts: without, it is about listening, with, about conversation.
    """
    speech, received, buffer = statistics.speech, statistics.receive, statistics.jitter_buffer
    if speech is None or received.fraction_lost is None:
        return None
    burst_ratio, rtt = statistics.burst_ratio, statistics.rtt_ms
    loss = received.fraction_lost
    buffered = buffer is not None and buffer.target_delay_ms is not None
    if buffer is not None and buffered and buffer.pushed + buffer.lost:
        loss = (buffer.lost + buffer.early) / (buffer.pushed + buffer.lost + buffer.early) * 100
    if not delay:
        return r_factor(speech.impairment, loss_percent=loss, burst_ratio=burst_ratio)
    if buffer is not None and buffer.target_delay_ms is not None:
        whole = (rtt or 0.0) / 2 + speech.ptime_ms + buffer.target_delay_ms
        return r_factor(
            speech.impairment, delay_ms=whole, loss_percent=loss, burst_ratio=burst_ratio
        )
    jitter = statistics.mean_jitter_ms
    if jitter is None:
        jitter = received.jitter_ms or 0.0
    return r_factor_of(
        speech, loss_percent=loss, jitter_ms=jitter, rtt_ms=rtt, burst_ratio=burst_ratio
    )
