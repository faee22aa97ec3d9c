"""Tones, silence and files as encoded frames."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from callmeter.errors import ConfigurationError
from callmeter.media import Silence, Tone, WavFile, dominant_frequency, level_dbov
from callmeter.media.codecs import find_codec
from callmeter.media.echo import Echo
from callmeter.media.sources import AudioSource, LiveSource
from callmeter.media.wave_file import WaveWriter


def pcm(frames, codec="PCMU", times=1):
    return find_codec(codec).decode(b"".join(frames.payloads) * times)


@pytest.mark.parametrize("codec", ["PCMU", "PCMA"])
@pytest.mark.parametrize("frequency", [50, 440, 1004, 3400.5])
def test_a_tone_has_its_frequency_and_level(codec, frequency):
    samples = pcm(Tone(frequency, level_dbm0=-10).frames(codec, 160), codec, times=20)[:16_000]
    assert dominant_frequency(samples, 8000) == pytest.approx(frequency, abs=0.3)
    # 0 dBm0 is 3.17 dB below a full-scale sine, which is 3.01 dB below 0 dBov.
    assert level_dbov(samples) == pytest.approx(-10 - 3.17 - 3.01, abs=0.3)


@given(st.integers(1, 39_999), st.sampled_from([80, 160, 240, 320, 480]))
def test_a_tone_s_table_ends_where_it_began(tenths, samples_per_frame):
    tone = Tone(tenths / 10)
    samples = tone.samples(8000, samples_per_frame)
    assert len(samples) % samples_per_frame == 0
    assert len(samples) <= 80_000 * 3
    turns = tenths / 10 * len(samples) / 8000
    assert turns == pytest.approx(round(turns), abs=1e-6)


@pytest.mark.parametrize("frequency", [0, -1, 4000, 0.04, float("nan")])
def test_a_tone_that_8_khz_cannot_carry_is_refused(frequency):
    with pytest.raises(ConfigurationError):
        Tone(frequency)


@pytest.mark.parametrize("level", [-71, 3.1, float("nan")])
def test_a_level_that_g711_cannot_carry_is_refused(level):
    with pytest.raises(ConfigurationError):
        Tone(440, level_dbm0=level)


def test_frames_are_encoded_once_per_codec_and_length():
    tone = Tone()
    assert tone.frames("PCMU", 160) is tone.frames("PCMU", 160)
    assert tone.frames("PCMA", 160) is not tone.frames("PCMU", 160)
    assert {len(payload) for payload in tone.frames("PCMU", 240).payloads} == {240}
    assert tone.frames("PCMU", 160).loop


def test_silence_is_one_frame_of_the_codec_s_own_octet():
    assert Silence().frames("PCMU", 160).payloads == (b"\xff" * 160,)
    assert Silence().frames("PCMA", 80).payloads == (b"\xd5" * 80,)


def test_an_unknown_codec_is_a_configuration_error():
    with pytest.raises(ConfigurationError, match="known are PCMU, PCMA"):
        Tone().frames("G729", 160)


@pytest.fixture
def recording(tmp_path):
    def make(samples, rate=8000):
        path = tmp_path / "audio.wav"
        writer = WaveWriter(path, rate)
        writer.write(np.asarray(samples, np.int16))
        writer.close()
        return path

    return make


def test_a_file_is_cut_into_frames_and_its_last_one_filled_up(recording):
    source = WavFile(recording(np.full(500, 1000)))
    frames = source.frames("PCMU", 160)
    assert len(frames.payloads) == 4
    assert not frames.loop
    assert frames.payloads[3] == frames.payloads[0][:20] + b"\xff" * 140
    assert source.seconds == pytest.approx(0.0625)
    assert WavFile(source.path, loop=True).frames("PCMU", 160).loop
    assert "audio.wav" in repr(source)


def test_an_empty_file_is_one_silent_frame(recording):
    assert WavFile(recording([])).frames("PCMU", 160).payloads == (b"\xff" * 160,)


@pytest.mark.parametrize("rate", [6000, 16_000, 44_100, 48_000])
def test_a_file_of_another_rate_keeps_its_pitch(recording, rate):
    times = np.arange(rate * 2) / rate
    path = recording(10_000 * np.sin(2 * np.pi * 1000 * times), rate)
    frames = WavFile(path).frames("PCMU", 160)
    assert len(frames.payloads) == pytest.approx(100, abs=1)
    samples = pcm(frames)
    assert dominant_frequency(samples, 8000) == pytest.approx(1000, abs=1)
    assert level_dbov(samples[800:-800]) == pytest.approx(-13.3, abs=0.3)


def test_what_a_lower_rate_cannot_carry_is_filtered_and_not_folded(recording):
    times = np.arange(96_000) / 48_000
    path = recording(20_000 * np.sin(2 * np.pi * 7000 * times), 48_000)
    assert level_dbov(pcm(WavFile(path).frames("PCMU", 160))) < -60


def test_sources_can_be_pickled_and_told_apart(recording):
    tone = Tone(441.26, level_dbm0=-20)
    again = pickle.loads(pickle.dumps(tone))
    assert again.frames("PCMU", 160) == tone.frames("PCMU", 160)
    assert repr(tone) == "Tone(441.3, level_dbm0=-20)"
    assert isinstance(tone, AudioSource)
    assert not isinstance(tone, LiveSource)
    assert isinstance(Echo(), LiveSource)
    assert not isinstance(Echo(), AudioSource)
