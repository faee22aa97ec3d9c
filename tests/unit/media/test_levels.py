"""The level of what is heard."""

from __future__ import annotations

import numpy as np
import pytest

from callmeter.media import levels
from callmeter.media.codecs import find_codec
from callmeter.media.lanes import LaneTable
from callmeter.media.sources import Silence, Tone

SAMPLES = 160


def payload_of(codec, amplitude):
    samples = amplitude * np.sin(2 * np.pi * 500 * np.arange(SAMPLES) / 8000)
    return find_codec(codec).encode(np.round(samples).astype(np.int16))


@pytest.fixture
def lanes():
    table = LaneTable(4, 8)
    for _ in range(3):
        table.allocate()
    return table


@pytest.mark.parametrize("codec", ["PCMU", "PCMA"])
@pytest.mark.parametrize(("amplitude", "dbov"), [(32000, -3.2), (3276.8, -23.0), (327.68, -43.0)])
def test_a_sine_is_three_decibels_below_its_peak(lanes, codec, amplitude, dbov):
    levels.add_packet(lanes, 1, 16, payload_of(codec, amplitude), codec)
    assert levels.level_dbov(lanes, 1) == pytest.approx(dbov, abs=0.4)


@pytest.mark.parametrize("codec", ["PCMU", "PCMA"])
def test_digital_silence_is_below_any_room(lanes, codec):
    levels.add_packet(lanes, 1, 0, find_codec(codec).silent_frame(SAMPLES), codec)
    assert levels.level_dbov(lanes, 1) < -70


def test_one_packet_in_sixteen_is_measured_and_no_empty_or_unknown_one(lanes):
    for sequence in range(64):
        levels.add_packet(lanes, 1, sequence, payload_of("PCMU", 1000), "PCMU")
    levels.add_packet(lanes, 1, 0, b"", "PCMU")
    levels.add_packet(lanes, 1, 0, b"opus", "OPUS")
    assert lanes.level_packets[1] == 4
    assert levels.level_dbov(lanes, 0) is None


def test_a_batch_is_measured_as_its_packets_one_by_one(lanes):
    alone = LaneTable(4, 8)
    alone.allocate(), alone.allocate()
    octets = np.zeros((8, 400), np.uint8)
    rows = np.array([0, 1, 0, 1, 2, 0])
    sequences = np.array([16, 32, 17, 48, 16, 64])
    lengths = np.array([SAMPLES, SAMPLES, SAMPLES, SAMPLES, SAMPLES, 0])
    lanes.level_law[:2] = levels.law_of("PCMU"), levels.law_of("PCMA")
    for slot, row in enumerate(rows):
        codec = "PCMA" if row else "PCMU"
        octets[slot, 12 : 12 + SAMPLES] = np.frombuffer(payload_of(codec, 500 << slot), np.uint8)
        if row < 2 and lengths[slot]:
            levels.add_packet(
                alone, row, int(sequences[slot]), octets[slot, 12:172].tobytes(), codec
            )
    levels.add_batch(lanes, octets, np.arange(6), rows, sequences, lengths)
    assert lanes.level_packets.tolist() == [1, 2, 0, 0]
    for row in (0, 1):
        assert levels.level_dbov(lanes, row) == pytest.approx(
            levels.level_dbov(alone, row), abs=0.1
        )


@pytest.mark.parametrize("batch_from", [1, 1000])
def test_a_stream_knows_how_loud_its_peer_is(make_lab, batch_from):
    lab = make_lab()
    lab.engine._receive.batch_from = batch_from
    a, b = lab.pair(secure=True)
    a.play(Tone(440))
    b.play(Silence())
    lab.run(2.0)
    assert a.statistics().audio_level_dbov < -70
    assert b.statistics().audio_level_dbov > -30
    assert 5 <= b.statistics().audio_level_packets <= 7


def hear(lanes, *levels_dbov):
    for dbov in levels_dbov:
        levels.add_power(lanes, 1, 10 ** (dbov / 10))


def test_speech_and_its_pauses_have_levels_of_their_own(lanes):
    hear(lanes, *[-65] * 4, *[-20, -24, -65] * 20)
    found = levels.level_statistics(lanes, 1)
    assert found.signal == pytest.approx(10 * np.log10((10**-2.0 + 10**-2.4) / 2), abs=0.01)
    assert found.noise == pytest.approx(-65, abs=0.01)
    assert found.speech_share == 62.5
    assert found.packets == 64


def test_a_steady_tone_is_a_signal_and_a_steady_murmur_is_noise(lanes):
    hear(lanes, *[-20] * 20)
    assert levels.level_statistics(lanes, 1).noise is None
    assert levels.level_statistics(lanes, 1).signal == pytest.approx(-20)
    lanes.release(1)
    lanes.allocate()
    hear(lanes, *[-45] * 20)
    assert levels.level_statistics(lanes, 1).signal is None
    assert levels.level_statistics(lanes, 1).noise == pytest.approx(-45)


def test_a_floor_is_forgotten_when_the_room_grows_louder(lanes):
    hear(lanes, *[-70] * 3, *[-45] * 300)
    before = levels.level_statistics(lanes, 1).speech_share
    hear(lanes, *[-45] * 300)
    assert levels.level_statistics(lanes, 1).speech_share < before


def test_what_nobody_can_hear_is_no_speech(lanes):
    hear(lanes, -127, -127, -55, -55)
    assert levels.level_statistics(lanes, 1).signal is None


def test_a_stream_that_was_not_measured_has_no_levels(lanes):
    found = levels.level_statistics(lanes, 0)
    assert (found.packets, found.mean, found.signal, found.noise) == (0, None, None, None)
    assert found.speech_share is None
