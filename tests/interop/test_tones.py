"""What a recording is judged by, on recordings whose content is known."""

from __future__ import annotations

import wave

import numpy as np
import pytest

from peers.tone import AMPLITUDE, RATE, loudest

HERTZ = 440


def tone(seconds, hertz=HERTZ, phase=0.0):
    at = np.arange(int(RATE * seconds)) / RATE
    return AMPLITUDE * np.sin(2 * np.pi * hertz * at + phase)


def noise(seconds):
    return np.random.default_rng(7).normal(0, AMPLITUDE / 2, int(RATE * seconds))


def silence(seconds):
    return np.zeros(int(RATE * seconds))


@pytest.fixture
def record(tmp_path):
    def write(*parts):
        path = tmp_path / "heard.wav"
        with wave.open(str(path), "wb") as output:
            output.setnchannels(1)
            output.setsampwidth(2)
            output.setframerate(RATE)
            output.writeframes(np.concatenate(parts).astype("<i2").tobytes())
        return path

    return write


@pytest.mark.parametrize(
    "parts",
    [
        (tone(1.5),),
        (silence(2.0), tone(1.5)),
        (silence(0.35), tone(0.7), silence(1.1), tone(0.5)),
        (tone(0.9), tone(0.9, phase=2.0)),
        (tone(1.5), noise(0.1), tone(1.5)),
        (tone(0.56), *3 * (silence(0.06), tone(0.14))),
    ],
    ids=[
        "whole",
        "after silence",
        "with a gap",
        "held up for a moment",
        "with a click",
        "held up thrice in a second",
    ],
)
def test_a_tone_is_found(record, parts):
    found, share = loudest(record(*parts))
    assert abs(found - HERTZ) <= 5
    assert share > 0.9


@pytest.mark.parametrize(
    "parts",
    [
        (noise(1.5),),
        (tone(1.5) + tone(1.5, 1000),),
        (tone(1.0), noise(1.0)),
        (tone(1.0), tone(1.0, 700)),
    ],
    ids=["noise", "two at once", "noise after it", "another after it"],
)
def test_what_is_not_one_tone_is_told(record, parts):
    assert loudest(record(*parts))[1] < 0.9


@pytest.mark.parametrize("parts", [(silence(2.0),), (tone(0.4),)], ids=["silent", "too short"])
def test_nothing_is_heard_in_silence(record, parts):
    assert loudest(record(*parts)) == (0.0, 0.0)
