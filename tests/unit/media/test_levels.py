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
