"""Concealment of what was lost."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callmeter.media import dominant_frequency, level_dbov
from callmeter.media.concealment import Concealment

RATES = pytest.mark.parametrize("rate", [8000, 16_000, 48_000])


def tone(rate, seconds, frequency=150):
    return np.round(8000 * np.sin(2 * np.pi * frequency * np.arange(int(rate * seconds)) / rate))


def heard(rate, seconds=0.2, frequency=150):
    concealment = Concealment(rate)
    samples = tone(rate, seconds, frequency).astype(np.int16)
    assert np.array_equal(concealment.heard(samples), samples)
    return concealment


@RATES
@pytest.mark.parametrize("frequency", [70, 110, 150, 199, 440])
def test_a_lost_packet_goes_on_as_it_would_have_sounded(rate, frequency):
    concealment = heard(rate, frequency=frequency)
    whole = tone(rate, 0.22, frequency)
    filled = concealment.fill(rate // 100)
    difference = filled - whole[int(rate * 0.2) : int(rate * 0.21)]
    assert np.sqrt(np.mean(difference**2)) < 0.15 * 5657


@RATES
def test_a_long_gap_fades_out_within_60_ms(rate):
    concealment = heard(rate)
    steps = [level_dbov(concealment.fill(rate // 100)) for _ in range(8)]
    assert steps == sorted(steps, reverse=True)
    assert steps[0] == pytest.approx(-15.3, abs=0.5)
    assert steps[6] == steps[7] == -127


@RATES
def test_what_follows_is_faded_in_and_then_left_alone(rate):
    concealment = heard(rate)
    concealment.fill(rate // 10)
    loud = np.full(rate // 50, 10_000, np.int16)
    merged = concealment.heard(loud)
    assert abs(int(merged[0])) < 100
    assert np.array_equal(merged[rate // 100 :], loud[rate // 100 :])
    assert np.array_equal(concealment.heard(loud), loud)


def test_silence_is_concealed_by_silence():
    concealment = Concealment(8000)
    concealment.heard(np.zeros(400, np.int16))
    assert not concealment.fill(400).any()


def test_a_gap_filled_in_pieces_sounds_like_one_filled_at_once():
    at_once, in_pieces = heard(8000), heard(8000)
    pieces = [in_pieces.fill(80) for _ in range(5)]
    assert np.array_equal(np.concatenate(pieces), at_once.fill(400))


def test_nothing_after_a_gap_is_no_end_of_it():
    concealment = heard(8000)
    concealment.fill(80)
    assert len(concealment.heard(np.zeros(0, np.int16))) == 0


def test_a_voice_with_every_tenth_packet_missing_keeps_its_pitch():
    rate, step = 8000, 160
    voice = sum(tone(rate, 4, 120 * harmonic) / harmonic / 2 for harmonic in (1, 2, 3))
    concealment, pieces = Concealment(rate), []
    for number, start in enumerate(range(0, len(voice), step)):
        if number % 10 == 9:
            pieces.append(concealment.fill(step))
        else:
            pieces.append(concealment.heard(voice[start : start + step].astype(np.int16)))
    concealed = np.concatenate(pieces)
    assert dominant_frequency(concealed, rate) == pytest.approx(120, abs=1)
    assert level_dbov(concealed) == pytest.approx(level_dbov(voice), abs=0.5)
    silenced = voice.reshape(-1, step).copy()
    silenced[9::10] = 0
    left = np.mean((concealed - voice) ** 2) / np.mean((silenced.reshape(-1) - voice) ** 2)
    assert left < 0.3


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 700)), max_size=30), st.integers(0, 2**32))
@settings(deadline=None, max_examples=50)
def test_every_sample_asked_for_is_made_and_none_is_louder_than_what_was_heard(steps, seed):
    concealment, random = Concealment(8000), np.random.default_rng(seed)
    for lost, count in steps:
        if lost:
            filled = concealment.fill(count)
            assert len(filled) == count
            assert np.abs(filled.astype(int)).max(initial=0) <= 20_001
        else:
            samples = random.integers(-20_000, 20_000, count).astype(np.int16)
            assert len(concealment.heard(samples)) == count
