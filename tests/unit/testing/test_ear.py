"""The ear that remembers what a stream received."""

from __future__ import annotations

import pytest

from callmeter.media.sources import Silence, Tone
from callmeter.testing.ear import KEPT_PACKETS, Ear


def hear(ear, source, packets, codec="PCMU"):
    payloads = source.frames(codec, 160).payloads
    for number in range(packets):
        ear.write(codec, number, number * 160, number * 0.02, payloads[number % len(payloads)])


def test_it_knows_the_tone_and_its_level_window_by_window():
    ear = Ear()
    ear.open(None)
    hear(ear, Tone(1000, -10), 50)
    ear.close()
    sounds = ear.sounds()
    assert [round(sound.at, 1) for sound in sounds] == [0.0, 0.2, 0.4, 0.6]
    assert all(sound.frequency_hz == pytest.approx(1000, abs=2) for sound in sounds)
    assert str(sounds[0]) == "1000 Hz at -16 dBov"
    assert ear.seconds == 1.0


def test_it_tells_silence_from_sound():
    ear = Ear()
    hear(ear, Silence(), 30)
    assert not any(sound.audible for sound in ear.sounds())
    assert str(ear.sounds()[0]).startswith("silence (")


def test_it_has_heard_nothing_before_the_first_packet():
    assert Ear().sounds() == []
    assert Ear().seconds == 0


def test_less_than_a_window_is_judged_all_the_same():
    ear = Ear()
    hear(ear, Tone(440), 5)
    assert [round(sound.frequency_hz, -1) for sound in ear.sounds()] == [440]


def test_it_forgets_what_is_older_than_half_a_minute():
    ear = Ear()
    hear(ear, Tone(440), KEPT_PACKETS + 100)
    assert ear.packets == KEPT_PACKETS + 100
    assert ear.seconds == 30


def test_after_a_change_of_codec_only_the_new_one_counts():
    ear = Ear()
    hear(ear, Tone(440), 50)
    hear(ear, Tone(1000), 20, codec="PCMA")
    assert {round(sound.frequency_hz, -2) for sound in ear.sounds()} == {1000}
