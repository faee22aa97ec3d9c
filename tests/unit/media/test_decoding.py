"""Packets as samples, with their gaps and pauses."""

from __future__ import annotations

import numpy as np
import pytest

from callmeter.media import level_dbov
from callmeter.media.codecs import find_codec
from callmeter.media.decoding import Decoding, DecodingStatistics

PCMU = find_codec("PCMU")
VOICE = PCMU.encode(np.round(8000 * np.sin(np.arange(160) * 2 * np.pi / 80)).astype(np.int16))


def heard(*, conceal=True, rate=8000, packets=20):
    decoding = Decoding(rate, conceal=conceal)
    for number in range(packets):
        decoding.packet("PCMU", number, VOICE)
    return decoding


def test_nothing_happened_before_the_first_packet():
    assert Decoding(8000).statistics == DecodingStatistics()


def test_a_gap_in_the_sequence_is_concealed_and_counted():
    decoding = heard()
    filled = decoding.gap(480, 23)
    assert level_dbov(filled[:160]) > -20
    decoding.packet("PCMU", 23, VOICE)
    found = decoding.statistics
    assert (found.plc_events, found.plc_duration_ms, found.lost_packets) == (1, 60, 3)
    assert (found.codec, found.packets, found.last_packet_ms) == ("PCMU", 21, 20)


def test_what_is_told_of_a_second_is_the_mean_of_all():
    decoding = heard(packets=40)
    decoding.gap(1600, 50)
    for number in range(50, 100):
        decoding.packet("PCMU", number, VOICE)
    assert decoding.statistics.seconds == pytest.approx(2)
    assert decoding.statistics.metrics() == pytest.approx(
        {"plc_events": 0.5, "plc_duration_ms": 100}
    )


def test_opus_has_figures_of_its_own():
    opus = find_codec("opus")
    payload = opus.encode(np.zeros(960, np.int16))
    decoding = Decoding(48_000)
    assert decoding.statistics.metrics() == {}
    decoding.packet("opus", 0, payload)
    decoding.gap(960 * 3, 4)
    decoding.packet("opus", 4, payload)
    assert decoding.statistics.metrics() == pytest.approx(
        {
            "plc_events": 10,
            "plc_duration_ms": 600,
            "opus_packet_loss": 60,
            "opus_decoder_gain": 0,
            "opus_last_packet_duration_ms": 20,
        }
    )


def test_packets_without_audio_tell_nothing_of_a_second():
    decoding = Decoding(8000)
    decoding.packet("PCMU", 0, b"")
    assert decoding.statistics.metrics()["plc_events"] is None


def test_gaps_are_counted_where_they_are_not_concealed():
    decoding = heard(conceal=False)
    assert len(decoding.gap(160, 21)) == 0
    assert np.array_equal(decoding.packet("PCMU", 21, VOICE), PCMU.decode(VOICE))
    assert decoding.statistics.plc_events == 1


def test_a_pause_behind_a_lost_packet_is_not_concealed():
    decoding = heard()
    assert len(decoding.gap(8000, 21)) == 160
    assert decoding.statistics.plc_duration_ms == 20


def test_sequence_numbers_wrap():
    decoding = Decoding(8000)
    decoding.packet("PCMU", 65_535, VOICE)
    decoding.gap(160, 1)
    assert decoding.statistics.lost_packets == 1


def test_a_pause_without_a_missing_packet_is_silence_and_no_gap():
    decoding = heard()
    assert len(decoding.gap(8000, 20)) == 0
    assert decoding.statistics.plc_events == 0


def test_a_pause_with_comfort_noise_sounds_like_it_until_something_is_lost():
    decoding = heard()
    decoding.noise(20, bytes([50]))
    assert level_dbov(decoding.gap(8000, 21)) == pytest.approx(-50, abs=0.5)
    decoding.packet("PCMU", 21, VOICE)
    decoding.gap(160, 23)
    assert decoding.statistics.plc_events == 1
    assert decoding.statistics.comfort_noise_packets == 1


def test_noise_without_a_description_ends_the_one_before():
    decoding = heard()
    decoding.noise(20, bytes([50]))
    decoding.noise(21, b"")
    assert len(decoding.gap(8000, 22)) == 0


def test_an_hour_of_pause_makes_no_hour_of_noise():
    decoding = heard()
    decoding.noise(20, bytes([50]))
    assert len(decoding.gap(8000 * 3600, 21)) == 8000 * 60


def test_a_stream_begun_anew_is_no_loss():
    decoding = heard()
    assert len(decoding.gap(160, 30_000)) == 0
    assert decoding.statistics.plc_events == 0


def test_a_damaged_packet_is_as_long_as_it_says_and_silent():
    decoding = Decoding(48_000)
    samples = decoding.packet("opus", 0, b"\xfb\x02\xff\xff\xff")
    assert len(samples) == 1920
    assert not samples.any()
    assert decoding.statistics.damaged == 1
    assert decoding.packet("opus", 1, b"").size == 0
    assert decoding.statistics.damaged == 2


def test_a_codec_of_another_rate_is_brought_to_that_of_the_first():
    decoding = heard(rate=8000)
    g722 = find_codec("G722")
    payload = g722.encode(np.zeros(320, np.int16))
    assert len(decoding.packet("G722", 20, payload)) == 160
    assert decoding.statistics.codec == "G722"
    assert decoding.statistics.last_packet_ms == 20
