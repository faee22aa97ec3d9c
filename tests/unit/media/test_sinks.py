"""Recording and echoing, packet by packet."""

from __future__ import annotations

import numpy as np
import pytest

from callmeter.errors import LocalProtocolError
from callmeter.media import (
    Discard,
    Tone,
    WavRecorder,
    dominant_frequency,
    level_dbov,
    recorded_frequency,
)
from callmeter.media.codecs import find_codec
from callmeter.media.wave_file import read_wave

PCMU = find_codec("PCMU")
LOUD = PCMU.encode(np.full(160, 8000, np.int16))
LEVEL = int(PCMU.decode(LOUD)[0])


def schedule_now(callback):
    callback()


@pytest.fixture
def recorder(tmp_path):
    made = WavRecorder(tmp_path / "call.wav")
    made.open(schedule_now)
    yield made
    made.close()


def write(recorder, number, *, timestamp=None, arrival=None, payload=LOUD, codec="PCMU"):
    recorder.write(
        codec,
        number,
        (160 * number if timestamp is None else timestamp) & 0xFFFF_FFFF,
        0.02 * number if arrival is None else arrival,
        payload,
    )


def recorded(recorder):
    recorder.close()
    rate, samples = read_wave(recorder.path)
    assert rate == 8000
    return samples


def test_a_recording_has_every_sample_in_order(recorder):
    for number in range(120):
        write(recorder, number)
    assert recorder.seconds == pytest.approx(2.4)
    samples = recorded(recorder)
    assert len(samples) == 120 * 160
    assert set(samples.tolist()) == {LEVEL}


def test_batches_are_written_off_the_tick(tmp_path):
    recorder = WavRecorder(tmp_path / "call.wav")
    scheduled = []
    recorder.open(scheduled.append)
    for number in range(60):
        write(recorder, number)
    assert len(scheduled) == 1
    assert recorder._writer.samples == 0
    scheduled.pop()()
    assert recorder._writer.samples == 56 * 160
    for number in range(60, 120):
        write(recorder, number)
    assert len(scheduled) == 1
    recorder.close()
    # What was scheduled before the end finds nothing to do.
    scheduled.pop()()
    assert len(read_wave(recorder.path)[1]) == 120 * 160


def test_missing_packets_become_silence_and_the_duration_is_true(recorder):
    for number in range(100):
        if not 40 <= number < 60:
            write(recorder, number)
    samples = recorded(recorder)
    assert len(samples) == 100 * 160
    assert not samples[40 * 160 : 60 * 160].any()
    assert samples[60 * 160] == LEVEL


def test_packets_out_of_order_are_put_in_their_place(recorder):
    quiet = PCMU.silent_frame(160)
    for number in [0, 2, 1, 3]:
        write(recorder, number, payload=quiet if number == 1 else LOUD)
    samples = recorded(recorder)
    assert not samples[160:320].any()
    assert set(samples[320:].tolist()) == {LEVEL}


def test_packets_that_come_after_their_place_was_written_are_counted(recorder):
    for number in range(60):
        write(recorder, number)
    write(recorder, 3)
    write(recorder, 59)
    samples = recorded(recorder)
    assert recorder.late_packets == 2
    assert len(samples) == 60 * 160


def test_timestamps_may_wrap(recorder):
    for number in range(10):
        write(recorder, number, timestamp=(1 << 32) - 800 + 160 * number)
    assert len(recorded(recorder)) == 1600


def test_a_jump_of_the_timestamps_is_bridged_by_the_arrival_times(recorder):
    for number in range(10):
        write(recorder, number)
    for number in range(10, 20):
        arrival = 0.02 * number + 0.5
        write(recorder, number, timestamp=3_000_000_000 + 160 * number, arrival=arrival)
    samples = recorded(recorder)
    assert len(samples) == pytest.approx(20 * 160 + 4000, abs=2)
    assert not samples[1600:5600].any()
    assert samples[-1] == LEVEL


def test_timestamps_that_run_away_do_not_inflate_the_recording(recorder):
    for number in range(100):
        write(recorder, number, timestamp=number * 8000 * 9)
    assert recorder.seconds < 2 + 10.1
    assert len(recorded(recorder)) < 8000 * 12.1


def test_an_hour_of_silence_takes_no_time_and_no_room(recorder):
    write(recorder, 0)
    write(recorder, 1, timestamp=8000 * 3600, arrival=3600.0)
    recorder.close()
    assert recorder.path.stat().st_size == 44 + 2 * (8000 * 3600 + 160)
    assert recorder.path.stat().st_blocks * 512 < 1 << 20


def test_both_laws_may_be_mixed(recorder):
    write(recorder, 0)
    write(
        recorder, 1, payload=find_codec("PCMA").encode(np.full(160, 8000, np.int16)), codec="PCMA"
    )
    samples = recorded(recorder)
    assert abs(int(samples[200]) - LEVEL) < 300


def test_a_recorder_serves_one_stream_at_a_time(recorder):
    with pytest.raises(LocalProtocolError, match="already recording"):
        recorder.open(schedule_now)
    recorder.close()
    recorder.close()
    assert "call.wav" in repr(recorder)


def test_a_recorder_without_a_scheduler_writes_at_the_end(tmp_path):
    recorder = WavRecorder(tmp_path / "call.wav")
    recorder.open(None)
    for number in range(80):
        write(recorder, number)
    assert len(recorded(recorder)) == 80 * 160


def test_a_stream_is_recorded_with_its_tone(lab, tmp_path):
    a, b = lab.pair(secure=True)
    recorder = WavRecorder(tmp_path / "tone.wav")
    b.attach(recorder)
    a.play(Tone(1004))
    lab.run(3.0)
    b.stop()
    assert recorded_frequency(recorder.path) == pytest.approx(1004, abs=1)
    assert recorder.seconds == pytest.approx(3.0, abs=0.05)


def test_discard_counts_and_forgets():
    sink = Discard()
    sink.open(None)
    for number, payload in enumerate((b"a", b"b")):
        sink.write("PCMU", number, 160 * number, 0.0, payload)
    sink.close()
    assert sink.packets == 2


# --- codecs, losses and pauses ------------------------------------------------------------------


def tone_packets(codec, count, ptime=20, frequency=440):
    known = find_codec(codec)
    samples = known.sample_rate * ptime // 1000
    times = np.arange(count * samples) / known.sample_rate
    audio = np.round(8000 * np.sin(2 * np.pi * frequency * times)).astype(np.int16)
    return known.frames(audio, samples, loop=False)


@pytest.mark.parametrize(("codec", "units", "rate"), [("G722", 160, 16_000), ("opus", 960, 48_000)])
def test_a_recording_has_the_rate_of_its_codec(recorder, codec, units, rate):
    for number, payload in enumerate(tone_packets(codec, 100)):
        write(recorder, number, timestamp=units * number, payload=payload, codec=codec)
    assert recorder.seconds == pytest.approx(2)
    recorder.close()
    assert recorder.statistics.packets == 100
    found, samples = read_wave(recorder.path)
    assert (found, len(samples)) == (rate, 2 * rate)
    assert dominant_frequency(samples, rate) == pytest.approx(440, abs=1)
    assert recorder.statistics.plc_events == 0


@pytest.mark.parametrize("first", ["PCMU", "opus"])
def test_a_codec_change_is_no_break_in_the_recording(recorder, first):
    packets = {"PCMU": tone_packets("PCMU", 100), "opus": tone_packets("opus", 100)}
    units = {"PCMU": 160, "opus": 960}
    for number in range(100):
        codec = first if number < 50 else next(name for name in units if name != first)
        payload = packets[codec][number]
        write(recorder, number, timestamp=units[codec] * number, payload=payload, codec=codec)
    recorder.close()
    rate, samples = read_wave(recorder.path)
    assert rate == find_codec(first).sample_rate
    assert len(samples) == pytest.approx(2 * rate, abs=rate // 50)
    for half in np.array_split(samples, 2):
        assert dominant_frequency(half, rate) == pytest.approx(440, abs=2)


def test_lost_packets_are_concealed_for_who_wants_that(tmp_path):
    recorder = WavRecorder(tmp_path / "concealed.wav", conceal=True)
    recorder.open(schedule_now)
    for number, payload in enumerate(tone_packets("PCMU", 100, frequency=150)):
        if number % 20 != 10:
            write(recorder, number, payload=payload)
    samples = recorded(recorder)
    assert len(samples) == 16_000
    assert level_dbov(samples[1600:1760]) == pytest.approx(level_dbov(samples[:1600]), abs=2)
    found = recorder.statistics
    assert (found.plc_events, found.plc_duration_ms, found.lost_packets) == (5, 100, 5)


def test_a_pause_with_comfort_noise_is_no_gap_and_no_silence(recorder):
    recorder.on_comfort_noise(0, 0, 0.0, bytes([60]))
    for number, payload in enumerate(tone_packets("PCMU", 10)):
        write(recorder, number, payload=payload)
    recorder.on_comfort_noise(10, 1600, 0.2, bytes([40]))
    recorder.on_comfort_noise(11, 3200, 0.4, bytes([40]))
    write(recorder, 12, timestamp=4800, arrival=0.6)
    samples = recorded(recorder)
    assert len(samples) == 4960
    assert level_dbov(samples[1600:4800]) == pytest.approx(-40, abs=0.5)
    found = recorder.statistics
    assert (found.plc_events, found.comfort_noise_packets) == (0, 2)
    assert found.packets == 11
