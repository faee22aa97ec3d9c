"""The figures of a stream by catalogue key."""

from __future__ import annotations

from dataclasses import replace

import pytest

from callmeter.media.decoding import DecodingStatistics
from callmeter.media.levels import LevelStatistics
from callmeter.media.stream_metrics import (
    audio_path,
    receive_metrics,
    send_metrics,
)
from callmeter.metrics.burst_gap import burst_gap
from callmeter.metrics.catalogue import Direction, stream_keys
from callmeter.metrics.quality import (
    IMPAIRMENTS,
    Speech,
    mos_of,
    mouth_to_ear_ms,
    r_factor,
)
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


def test_every_figure_is_in_the_catalogue_on_its_side(stream_statistics):
    statistics = stream_statistics(jitter_buffer=JitterBufferStatistics(**BUFFER))
    assert set(send_metrics(statistics)) <= set(stream_keys(Direction.SEND))
    assert set(receive_metrics(statistics)) <= set(stream_keys(Direction.RECEIVE))


def test_the_received_stream_is_rated_by_loss_bursts_jitter_and_round_trip(stream_statistics):
    found = receive_metrics(stream_statistics())
    delay = mouth_to_ear_ms(rtt_ms=12.5, ptime_ms=20, jitter_ms=5)
    expected = r_factor(PLC, delay_ms=delay, loss_percent=2, burst_ratio=1.5)
    assert found["r_factor"] == expected
    assert found["mos"] == mos_of(expected)


@pytest.mark.parametrize("changes", [{"speech": None}, {"receive": {"fraction_lost": None}}])
def test_what_is_no_speech_or_never_came_has_no_rating(stream_statistics, changes):
    found = receive_metrics(stream_statistics(**changes))
    assert found["r_factor"] is found["mos"] is None


def test_the_sent_stream_is_rated_by_what_the_peer_reports(stream_statistics):
    delay = mouth_to_ear_ms(rtt_ms=12.5, ptime_ms=20, jitter_ms=0.5)
    found = send_metrics(stream_statistics())
    assert found["r_factor"] == r_factor(PLC, delay_ms=delay, loss_percent=2)
    assert send_metrics(stream_statistics(reported_fraction_lost=None))["mos"] is None


def test_bursts_are_shares_of_the_time(stream_statistics):
    found = receive_metrics(stream_statistics())
    assert (found["burst_density"], found["gap_density"]) == (0.02, 0.98)
    assert (found["burst_duration"], found["gap_duration"]) == (200.0, 4900.0)


def test_a_call_without_a_burst_has_no_time_between_bursts(stream_statistics):
    clean = burst_gap([], 500, ptime_ms=20)
    found = receive_metrics(stream_statistics(bursts=clean))
    assert (found["burst_density"], found["burst_duration"]) == (0.0, 0.0)
    assert (found["gap_density"], found["gap_duration"]) == (1.0, None)
    for nothing in (None, burst_gap([], 0, ptime_ms=20)):
        assert "gap_density" not in receive_metrics(stream_statistics(bursts=nothing))


def test_a_packet_time_is_that_of_the_speech_of_its_direction(stream_statistics):
    statistics = stream_statistics(speech=Speech.of("PCMU", 30))
    assert receive_metrics(statistics)["audio_packetization_ms"] == 30
    assert send_metrics(statistics)["audio_packetization_ms"] == 20
    assert send_metrics(stream_statistics(sent_speech=None))["audio_packetization_ms"] is None


@pytest.mark.parametrize(
    ("sent", "received", "level", "path"),
    [
        (5, 5, -20.0, "both"),
        (5, 5, None, "both"),
        (5, 5, -60.0, "silent"),
        (5, 0, None, "send"),
        (0, 5, -20.0, "receive"),
        (0, 0, None, "none"),
    ],
)
def test_the_path_says_which_way_there_was_audio(stream_statistics, sent, received, level, path):
    levels = LevelStatistics(packets=9, mean=level, signal=None, noise=None, speech_share=None)
    statistics = stream_statistics(
        send={"packets_sent": sent}, receive={"packets_received": received}, levels=levels
    )
    assert audio_path(statistics) == path


def test_what_was_concealed_is_told_by_the_second_and_opus_has_more(stream_statistics):
    decoding = DecodingStatistics(
        codec="OPUS",
        packets=90,
        plc_events=5,
        plc_duration_ms=198.0,
        lost_packets=10,
        last_packet_ms=20.0,
    )
    found = receive_metrics(stream_statistics(decoding=decoding))
    assert found["plc_events"] == pytest.approx(5 / 9.9)
    assert found["plc_duration_ms"] == pytest.approx(20.0)
    assert found["opus_packet_loss"] == 10.0
    assert (found["opus_decoder_gain"], found["opus_last_packet_duration_ms"]) == (0.0, 20.0)
    plain = receive_metrics(stream_statistics(decoding=replace(decoding, codec="PCMU")))
    assert "opus_packet_loss" not in plain
    nothing = replace(decoding, packets=0, lost_packets=0)
    assert receive_metrics(stream_statistics(decoding=nothing))["opus_packet_loss"] is None


@pytest.mark.parametrize("changes", [{"first_packet_at": None}, {"first_packet_at": 10.0}])
def test_before_any_time_has_passed_nothing_was_concealed(stream_statistics, changes):
    found = receive_metrics(stream_statistics(decoding=DecodingStatistics(), **changes))
    assert "plc_events" not in found
