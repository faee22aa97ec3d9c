"""Every codec: what goes in comes out, in packets of every length."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callmeter.config import Codec
from callmeter.errors import ConfigurationError
from callmeter.media import dominant_frequency, level_dbov
from callmeter.media.codecs import find_codec, silent_payload

CODECS = pytest.mark.parametrize("codec", list(Codec))


def tone(rate, count, frequency=440.0):
    return np.round(8000 * np.sin(2 * np.pi * frequency * np.arange(count) / rate)).astype(np.int16)


def decoded(codec, payloads):
    decoder = codec.decoder()
    return np.concatenate([decoder.decode(payload) for payload in payloads])


def signal_to_noise(codec, sent, heard, longest_delay):
    """In dB, at the delay of the codec."""
    sent, heard = sent.astype(float), heard.astype(float)
    middle = slice(len(sent) // 4, 3 * len(sent) // 4)
    noise = min(
        np.mean((np.roll(heard, -delay)[middle] - sent[middle]) ** 2)
        for delay in range(longest_delay + 1)
    )
    return 10 * np.log10(np.mean(sent[middle] ** 2) / noise)


@CODECS
@pytest.mark.parametrize("ptime", [5, 10, 20, 30, 40, 50, 60, 120])
def test_a_tone_keeps_its_pitch_its_level_and_its_length(codec, ptime):
    known = find_codec(codec)
    samples = known.sample_rate * ptime // 1000
    sent = tone(known.sample_rate, samples * (1200 // ptime))
    payloads = known.frames(sent, samples, loop=False)
    assert len(payloads) == 1200 // ptime
    assert {known.samples_of(payload) for payload in payloads} == {samples}
    heard = decoded(known, payloads)
    assert len(heard) == len(sent)
    half = len(heard) // 2
    assert dominant_frequency(heard[half:], known.sample_rate) == pytest.approx(440, abs=1)
    assert level_dbov(heard[half:]) == pytest.approx(level_dbov(sent), abs=0.2)


@pytest.mark.parametrize(
    ("codec", "decibels"),
    [(Codec.PCMU, 35), (Codec.PCMA, 35), (Codec.G722, 45), (Codec.OPUS, 15)],
)
def test_noise_stays_far_below_the_signal(codec, decibels):
    known = find_codec(codec)
    rate = known.sample_rate
    sent = tone(rate, rate) // 2 + tone(rate, rate, 1000) // 3
    heard = decoded(known, known.frames(sent, rate // 50, loop=False))
    assert signal_to_noise(known, sent, heard, rate // 100) > decibels


@pytest.mark.parametrize(("codec", "high"), [("PCMU", 3000), ("G722", 6500), ("opus", 15_000)])
def test_each_codec_carries_what_its_bandwidth_allows(codec, high):
    known = find_codec(codec)
    rate = known.sample_rate
    heard = decoded(known, known.frames(tone(rate, rate, high), rate // 50, loop=False))
    assert dominant_frequency(heard[rate // 2 :], rate) == pytest.approx(high, abs=3)


@CODECS
def test_the_last_frame_of_a_loop_leads_to_the_first(codec):
    known = find_codec(codec)
    samples = known.sample_rate // 50
    loop = known.frames(tone(known.sample_rate, 5 * samples), samples, loop=True)
    heard = decoded(known, loop * 20)[-5 * samples :].astype(float)
    steps = np.abs(np.diff(np.append(heard, heard[0])))
    # A click would be a step larger than any of the tone itself.
    assert steps[-1] <= 1.5 * steps[:-1].max()


@CODECS
def test_silence_is_silent_and_all_its_packets_are_as_long(codec):
    known = find_codec(codec)
    samples = known.sample_rate // 50
    payload = silent_payload(known, samples)
    assert silent_payload(known, samples) is payload
    assert known.samples_of(payload) == samples
    assert np.abs(decoded(known, [payload] * 10)[-samples:].astype(int)).max() <= 40


@CODECS
def test_a_packet_that_stands_alone_can_be_encoded_and_decoded(codec):
    known = find_codec(codec)
    payload = known.encode(tone(known.sample_rate, known.sample_rate // 50))
    assert len(known.decode(payload)) == known.sample_rate // 50


@CODECS
@given(payload=st.binary(max_size=200))
@settings(max_examples=60, deadline=None)
def test_rubbish_is_decoded_to_something_or_to_nothing(codec, payload):
    known = find_codec(codec)
    samples = known.decoder().decode(payload)
    assert samples.dtype == np.int16
    assert len(samples) in {0, known.samples_of(payload)}


def test_names_are_compared_without_case_and_unknown_ones_refused():
    assert find_codec("pcma") is find_codec("PCMA")
    assert find_codec("OPUS") is find_codec(Codec.OPUS)
    with pytest.raises(ConfigurationError, match="G729 is not supported"):
        find_codec("G729")
