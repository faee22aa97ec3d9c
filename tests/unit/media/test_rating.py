"""How good a received stream is."""

from __future__ import annotations

import pytest

from callmeter.media.rating import receive_rating
from callmeter.metrics.quality import IMPAIRMENTS, mouth_to_ear_ms, r_factor
from callmeter.rtp.jitter_buffer import JitterBufferStatistics

PLC = IMPAIRMENTS["G.711 PLC"]
BUFFER = {
    "target_delay_ms": 60.0,
    "current_delay_ms": 50.0,
    "average_jitter_ms": 1.0,
    "pushed": 460,
    "lost": 30,
    "late": 20,
    "early": 10,
    "duplicates": 0,
    "restarts": 0,
}


def test_before_the_first_second_the_jitter_is_that_of_now(stream_statistics):
    delay = mouth_to_ear_ms(rtt_ms=12.5, ptime_ms=20, jitter_ms=4)
    rated = receive_rating(stream_statistics(mean_jitter_ms=None))
    assert rated == r_factor(PLC, delay_ms=delay, loss_percent=2, burst_ratio=1.5)
    delay = mouth_to_ear_ms(rtt_ms=12.5, ptime_ms=20, jitter_ms=0)
    rated = receive_rating(stream_statistics(mean_jitter_ms=None, receive={"jitter_ms": None}))
    assert rated == r_factor(PLC, delay_ms=delay, loss_percent=2, burst_ratio=1.5)


def test_what_a_jitter_buffer_drops_is_lost_and_its_delay_counts(stream_statistics):
    statistics = stream_statistics(jitter_buffer=JitterBufferStatistics(**BUFFER))
    expected = r_factor(PLC, delay_ms=6.25 + 20 + 60, loss_percent=8, burst_ratio=1.5)
    assert receive_rating(statistics) == expected
    listening = r_factor(PLC, loss_percent=8, burst_ratio=1.5)
    assert receive_rating(statistics, delay=False) == listening


@pytest.mark.parametrize(
    "buffer", [{"pushed": 0, "lost": 0, "early": 0}, {"target_delay_ms": None}]
)
def test_a_buffer_that_had_nothing_yet_says_nothing_of_the_loss(stream_statistics, buffer):
    statistics = stream_statistics(jitter_buffer=JitterBufferStatistics(**BUFFER | buffer))
    listening = r_factor(PLC, loss_percent=2, burst_ratio=1.5)
    assert receive_rating(statistics, delay=False) == listening
    assert receive_rating(statistics) is not None


def test_without_a_round_trip_there_is_a_rating_all_the_same(stream_statistics):
    buffer = JitterBufferStatistics(**BUFFER)
    rated = receive_rating(stream_statistics(jitter_buffer=buffer, rtt_ms=None))
    assert rated == r_factor(PLC, delay_ms=80, loss_percent=8, burst_ratio=1.5)
