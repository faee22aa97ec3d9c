"""Recording and echoing, packet by packet."""

from __future__ import annotations

import numpy as np
import pytest

from callmeter.errors import LocalProtocolError
from callmeter.media import Discard, Echo, Tone, WavRecorder, recorded_frequency
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


# --- echo -------------------------------------------------------------------------------------


def hear(line, *payloads, codec="PCMU"):
    for number, payload in enumerate(payloads):
        line.write(codec, number, 160 * number, 0.0, payload)


def test_an_echo_waits_for_two_frames_and_then_flows():
    line = Echo().line()
    line.open(None)
    silence = b"\xff" * 160
    assert line.next_frame("PCMU", 160) == silence
    hear(line, b"a" * 160)
    assert line.next_frame("PCMU", 160) == silence
    hear(line, b"b" * 160)
    assert line.next_frame("PCMU", 160) == b"a" * 160
    assert line.next_frame("PCMU", 160) == b"b" * 160
    # It ran dry, so it waits for two again.
    assert line.next_frame("PCMU", 160) == silence
    hear(line, b"c" * 160)
    assert line.next_frame("PCMU", 160) == silence
    line.close()


def test_an_echo_never_holds_more_than_200_ms():
    line = Echo().line()
    hear(line, *(bytes([number]) * 160 for number in range(30)))
    assert line.next_frame("PCMU", 160) == bytes([20]) * 160


def test_an_echo_cuts_other_packet_times_and_changes_the_law():
    line = Echo().line()
    hear(line, b"a" * 240, b"b" * 240)
    assert line.next_frame("PCMU", 160) == b"a" * 160
    assert line.next_frame("PCMU", 160) == b"a" * 80 + b"b" * 80
    other = Echo().line()
    hear(other, LOUD, LOUD)
    echoed = find_codec("PCMA").decode(other.next_frame("PCMA", 160))
    assert abs(int(echoed[0]) - LEVEL) < 300


def test_an_echo_forgets_what_it_heard_in_another_codec():
    line = Echo().line()
    hear(line, b"a" * 320)
    hear(line, b"b" * 320, codec="PCMA")
    assert line.next_frame("PCMA", 160) == b"b" * 160


def test_an_echo_gives_the_tone_back(lab, tmp_path):
    a, b = lab.pair()
    recorder = WavRecorder(tmp_path / "echo.wav")
    a.attach(recorder)
    a.play(Tone(700))
    b.play(Echo())
    lab.run(3.0)
    a.stop()
    assert recorded_frequency(recorder.path) == pytest.approx(700, abs=1)


def test_discard_counts_and_forgets():
    sink = Discard()
    sink.open(None)
    hear(sink, b"a", b"b")
    sink.close()
    assert sink.packets == 2
