"""What is heard is said again."""

from __future__ import annotations

import numpy as np
import pytest

from callmeter.media import Echo, Tone, WavRecorder, dominant_frequency, recorded_frequency
from callmeter.media.codecs import find_codec, silent_payload

PCMU = find_codec("PCMU")
LOUD = PCMU.encode(np.full(160, 8000, np.int16))
LEVEL = int(PCMU.decode(LOUD)[0])


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


def opus_packets(count, ptime=20):
    samples = 48 * ptime
    times = np.arange(count * samples) / 48_000
    audio = np.round(8000 * np.sin(2 * np.pi * 440 * times)).astype(np.int16)
    return find_codec("opus").frames(audio, samples, loop=False)


def test_packets_of_opus_go_back_whole_and_at_most_200_ms_wait():
    line, packets = Echo().line(), opus_packets(30)
    assert line.next_frame("opus", 960) == silent_payload(find_codec("opus"), 960)
    hear(line, *packets, codec="opus")
    assert [line.next_frame("opus", 960) for _ in range(10)] == list(packets[20:])
    assert line.next_frame("opus", 960) == silent_payload(find_codec("opus"), 960)


def test_half_a_packet_of_g722_goes_back_at_a_time():
    line = Echo().line()
    hear(line, bytes(range(160)), bytes(160), codec="G722")
    assert line.next_frame("G722", 160) == bytes(range(80))
    assert line.next_frame("G722", 160) == bytes(range(80, 160))


@pytest.mark.parametrize(
    ("heard", "own", "samples"),
    [("opus", "opus", 480), ("opus", "PCMU", 160), ("PCMU", "opus", 960)],
)
def test_what_does_not_fit_is_encoded_anew(heard, own, samples):
    line, known = Echo().line(), find_codec(own)
    pcmu = list(Tone(440).frames("PCMU", 160).payloads) * 20
    decoder, echoed = known.decoder(), []
    for payload in opus_packets(100) if heard == "opus" else pcmu:
        hear(line, payload, codec=heard)
        for _ in range(known.sample_rate // 50 // samples):
            frame = line.next_frame(own, samples)
            assert known.samples_of(frame) == samples
            echoed.append(decoder.decode(frame))
    audio = np.concatenate(echoed)
    second_half = audio[len(audio) // 2 :]
    assert dominant_frequency(second_half, known.sample_rate) == pytest.approx(440, abs=2)


@pytest.mark.parametrize(("codec", "number", "clock"), [("G722", 9, 8000), ("opus", 111, 48_000)])
def test_an_echo_gives_the_tone_back_in_every_codec(lab, tmp_path, codec, number, clock):
    a, b = lab.pair(codec=codec, payload_type=number, clock_rate=clock)
    recorder = WavRecorder(tmp_path / "echo.wav")
    a.attach(recorder)
    a.play(Tone(700))
    b.play(Echo())
    lab.run(2.0)
    a.stop()
    assert recorded_frequency(recorder.path) == pytest.approx(700, abs=2)
