"""The strongest tone and the level."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from callmeter.media.analysis import dominant_frequency, level_dbov, recorded_frequency
from callmeter.media.wave_file import WaveWriter


def sine(frequency, *, rate=8000, seconds=1.0, amplitude=10_000):
    times = np.arange(int(rate * seconds)) / rate
    return amplitude * np.sin(2 * np.pi * frequency * times)


@given(st.floats(100, 3900), st.sampled_from([0.1, 0.5, 2.0]))
def test_a_sine_between_the_bins_is_found_within_a_hertz(frequency, seconds):
    found = dominant_frequency(sine(frequency, seconds=seconds), 8000)
    assert found == pytest.approx(frequency, abs=max(1.0, 0.3 / seconds))


def test_the_strongest_of_several_tones_wins_over_noise_and_offset():
    noise = np.random.default_rng(1).normal(0, 300, 8000)
    mixed = sine(440) + sine(1000, amplitude=3000) + noise + 5000
    assert dominant_frequency(mixed.astype(np.int16), 8000) == pytest.approx(440, abs=1)


@pytest.mark.parametrize("samples", [np.zeros(8000), np.full(8000, 7), np.zeros(3), sine(440)[:15]])
def test_silence_and_too_little_audio_have_no_frequency(samples):
    assert dominant_frequency(samples, 8000) == 0


def test_the_highest_frequency_there_is_has_no_neighbour():
    assert dominant_frequency(np.tile([1, -1], 400), 8000) == pytest.approx(4000, abs=20)


def test_levels_are_relative_to_a_full_scale_square_wave():
    assert level_dbov(np.tile([32767, -32768], 100)) == pytest.approx(0, abs=0.001)
    assert level_dbov(sine(440, amplitude=32767)) == pytest.approx(-3.01, abs=0.01)
    assert level_dbov(np.zeros(10)) == -127
    assert level_dbov(np.zeros(0)) == -127
    assert level_dbov(np.array([1e-9])) == -127


def test_a_recording_is_judged_by_its_own_rate(tmp_path):
    writer = WaveWriter(tmp_path / "tone.wav", 16_000)
    writer.write(sine(5000, rate=16_000).astype(np.int16))
    writer.close()
    assert recorded_frequency(tmp_path / "tone.wav") == pytest.approx(5000, abs=1)
