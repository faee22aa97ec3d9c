"""What was heard against what was sent, with damage that is known."""

from __future__ import annotations

import numpy as np
import pytest

from callmeter.errors import ConfigurationError
from callmeter.media.codecs import find_codec
from callmeter.media.comparison import (
    Span,
    compare,
    goertzel_dbov,
    has_tone,
    one_way,
    silent_spans,
)

RATE = 8000


def tone(frequency, seconds=0.5, amplitude=8000.0):
    return amplitude * np.sin(2 * np.pi * frequency * np.arange(int(RATE * seconds)) / RATE)


def speech(seconds=3.0, seed=4):
    """Noise that grows and fades as syllables do, never below what can be heard."""
    random = np.random.default_rng(seed)
    count = int(RATE * seconds)
    envelope = 0.6 + 0.4 * np.sin(2 * np.pi * 3.3 * np.arange(count) / RATE)
    return random.normal(0, 3000, count) * envelope


def late(samples, seconds):
    return np.concatenate([np.zeros(int(RATE * seconds)), samples])


def test_a_tone_is_found_at_its_frequency_and_nowhere_else():
    assert goertzel_dbov(tone(440), RATE, 440) == pytest.approx(-15.26, abs=0.05)
    assert goertzel_dbov(tone(440), RATE, 880) < -60
    assert has_tone(tone(440), RATE, 440)
    assert not has_tone(tone(440), RATE, 441 + 40)
    assert not has_tone(tone(440, amplitude=20), RATE, 440)
    assert not has_tone(np.zeros(800), RATE, 440)
    assert goertzel_dbov(np.zeros(0), RATE, 440) == -127.0


def test_a_tone_below_noise_is_no_tone():
    assert not has_tone(tone(440, amplitude=1000) + speech(0.5), RATE, 440)


@pytest.mark.parametrize("frequency", [0, -5, 4000, 9000])
def test_a_frequency_that_cannot_be_there_is_refused(frequency):
    with pytest.raises(ConfigurationError, match="there is no"):
        goertzel_dbov(tone(440), RATE, frequency)


def test_silence_is_found_where_it_is_and_short_pauses_are_none():
    samples = speech()
    samples[8000:12000] = 0
    samples[16000:16800] = 0
    assert silent_spans(samples, RATE) == (Span(1.0, 1.5),)
    assert silent_spans(samples, RATE, least_s=0.05) == (Span(1.0, 1.5), Span(2.0, 2.1))
    assert silent_spans(np.zeros(RATE), RATE) == (Span(0.0, 1.0),)


@pytest.mark.parametrize(
    ("caller", "callee", "found"),
    [(1, 1, False), (1, 0, True), (0, 1, True), (0, 0, False)],
)
def test_audio_is_one_way_when_one_end_alone_heard_any(caller, callee, found):
    path = one_way(speech() * caller, speech() * callee, RATE)
    assert (path.caller_heard, path.callee_heard) == (bool(caller), bool(callee))
    assert path.one_way is found


def test_what_arrives_unharmed_is_only_late():
    found = compare(speech(), late(speech(), 0.137), RATE)
    assert found.delay_s == pytest.approx(0.137)
    assert found.similarity == pytest.approx(1.0)
    assert found.level_db == pytest.approx(0.0, abs=1e-6)
    assert found.gaps == ()
    assert found.lost_s == 0.0


def test_a_codec_and_another_level_are_no_loss():
    codec = find_codec("PCMU")
    heard = codec.decode(codec.encode((speech() / 2).round().astype(np.int16)))
    found = compare(speech(), late(heard, 0.02), RATE)
    assert found.level_db == pytest.approx(-6.02, abs=0.1)
    assert found.similarity > 0.99
    assert found.lost_s == 0.0


def test_packets_that_are_missing_are_gaps_at_their_place():
    heard = speech()
    heard[4000:4160] = 0
    heard[8000:9600] = 0
    found = compare(speech(), late(heard, 0.05), RATE)
    assert found.gaps == (Span(0.5, 0.52), Span(1.0, 1.2))
    assert found.clipped_start_s == found.clipped_end_s == 0.0
    assert found.lost_s == pytest.approx(0.22)
    assert found.delay_s == pytest.approx(0.05)


def test_a_clipped_start_and_end_are_measured():
    heard = speech()
    heard[:2400] = 0
    heard[-800:] = 0
    found = compare(speech(), heard, RATE)
    assert found.clipped_start_s == pytest.approx(0.3)
    assert found.clipped_end_s == pytest.approx(0.1)
    assert found.gaps == ()


def test_a_recording_that_began_late_has_a_negative_delay():
    found = compare(speech(), speech()[4000:], RATE)
    assert found.delay_s == pytest.approx(-0.5)
    assert found.clipped_start_s == pytest.approx(0.5)


def test_what_was_never_heard_is_missing_as_a_whole():
    found = compare(speech(), np.zeros(3 * RATE), RATE)
    assert found.level_db is None
    assert found.similarity == 0.0
    assert found.lost_s == pytest.approx(3.0)
    assert found.gaps == ()


def test_something_else_is_not_alike():
    assert abs(compare(speech(), speech(seed=9), RATE).similarity) < 0.2


@pytest.mark.parametrize(
    ("sent", "heard", "reason"),
    [
        (np.zeros(8000), speech(), "silent"),
        (speech(), np.zeros(10), "less than 10 ms"),
        (np.zeros(0), speech(), "less than 10 ms"),
    ],
)
def test_what_cannot_be_compared_is_refused(sent, heard, reason):
    with pytest.raises(ConfigurationError, match=reason):
        compare(sent, heard, RATE)
