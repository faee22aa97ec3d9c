"""What a stream says: sources, their end, digits between them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from callmeter.errors import ConfigurationError, LocalProtocolError
from callmeter.media import (
    DigitReceived,
    Frames,
    Silence,
    Tone,
    WavRecorder,
    recorded_frequency,
)
from callmeter.media.codecs import find_codec, silent_payload
from callmeter.media.codecs.opus import OpusCodec
from callmeter.media.sources import WavFile
from callmeter.media.wave_file import WaveWriter


@pytest.fixture
def half_second(tmp_path):
    path = tmp_path / "half.wav"
    writer = WaveWriter(path, 8000)
    writer.write((np.arange(4000) % 100 * 100).astype(np.int16))
    writer.close()
    return path


def test_silence_is_sent_while_nothing_plays(lab):
    peer = lab.socket()
    stream = lab.open()
    stream.start(lab.parameters(peer))
    lab.run(0.2)
    assert {packet[12:] for packet in lab.fetch(peer)} == {b"\xff" * 160}


def test_a_file_is_played_once_and_silence_follows(lab, half_second):
    peer = lab.socket()
    stream = lab.open()
    playing = stream.play(WavFile(half_second))
    stream.start(lab.parameters(peer))
    lab.run(0.45)
    assert not playing.done()
    lab.run(0.15)
    assert playing.done()
    lab.run(0.2)
    audio = [packet[12:] for packet in lab.fetch(peer)]
    frames = WavFile(half_second).frames("PCMU", 160)
    assert tuple(audio[:25]) == tuple(frames.payloads)
    assert set(audio[25:]) == {b"\xff" * 160}


def test_a_file_in_a_loop_starts_again(lab, half_second):
    peer = lab.socket()
    stream = lab.open()
    playing = stream.play(WavFile(half_second, loop=True))
    stream.start(lab.parameters(peer))
    lab.run(1.3)
    assert not playing.done()
    audio = [packet[12:] for packet in lab.fetch(peer)]
    assert audio[:10] == audio[25:35] == audio[50:60]


def test_seconds_limit_a_tone(lab):
    peer = lab.socket()
    stream = lab.open()
    stream.start(lab.parameters(peer))
    lab.run(0.1)
    lab.fetch(peer)
    playing = stream.play(Tone(), seconds=0.2)
    lab.run(1.0)
    assert playing.done()
    loud = [packet for packet in lab.fetch(peer) if packet[12:] != b"\xff" * 160]
    assert len(loud) == 10


def test_a_replaced_source_is_done(lab):
    stream = lab.open()
    stream.start(lab.parameters(lab.socket()))
    first = stream.play(Tone(440))
    second = stream.play(Tone(880))
    assert first.done()
    assert not second.done()
    third = stream.play(None)
    assert second.done()
    stream.stop()
    assert third.done()


def test_playing_before_the_start_waits_for_it(lab):
    peer = lab.socket()
    stream = lab.open()
    playing = stream.play(Silence(), seconds=0.1)
    lab.run(1.0)
    assert not playing.done()
    stream.start(lab.parameters(peer))
    lab.run(0.3)
    assert playing.done()


def test_what_is_no_source_is_refused(lab):
    stream = lab.open()
    stream.start(lab.parameters(lab.socket()))
    with pytest.raises(ConfigurationError, match="cannot be played"):
        stream.play("song.mp3")


@pytest.mark.parametrize("payloads", [(), (bytes(160), bytes(159))])
def test_a_source_with_frames_of_a_wrong_length_is_refused(lab, payloads):
    class Broken:
        def frames(self, codec, samples_per_frame):
            return Frames(payloads, loop=True)

    stream = lab.open()
    stream.start(lab.parameters(lab.socket()))
    with pytest.raises(ConfigurationError, match="wrong length"):
        stream.play(Broken())
    lab.run(0.1)
    assert stream.statistics().send.packets_sent > 3


class Countdown:
    """A live source of three frames, of lengths a careless author might give."""

    def line(self):
        return self.Line()

    class Line:
        def __init__(self):
            self.frames = [b"\x01" * 160, b"\x02" * 100, b"\x03" * 300]
            self.closed = False

        def next_frame(self, codec, samples_per_frame):
            return self.frames.pop(0) if self.frames else None

        def open(self, schedule):
            pass

        def write(self, codec, sequence, timestamp, arrival, payload):
            pass

        def close(self):
            self.closed = True


def test_a_live_source_is_asked_frame_by_frame_and_ends_when_it_says_so(lab):
    peer = lab.socket()
    stream = lab.open()
    stream.start(lab.parameters(peer))
    lab.run(0.1)
    lab.fetch(peer)
    playing = stream.play(Countdown())
    line = stream._sender.line
    lab.run(0.2)
    assert playing.done()
    assert line.closed
    assert not lab.engine.lanes.listening[0]
    audio = [packet[12:] for packet in lab.fetch(peer)]
    assert audio[:4] == [
        b"\x01" * 160,
        b"\x02" * 100 + b"\xff" * 60,
        b"\x03" * 160,
        b"\xff" * 160,
    ]


class Troublesome(Countdown):
    """A live source that raises, or stops the stream it plays on."""

    def __init__(self, trouble):
        self.trouble = trouble

    def line(self):
        made = self.Line()
        made.next_frame = lambda codec, samples: self.trouble()
        return made


def test_a_live_source_that_raises_ends_and_the_stream_goes_on(lab):
    def fail():
        raise RuntimeError("microphone unplugged")

    peer = lab.socket()
    stream = lab.open()
    stream.start(lab.parameters(peer))
    playing = stream.play(Troublesome(fail))
    lab.run(0.2)
    assert isinstance(stream.source_error, RuntimeError)
    assert playing.exception() is stream.source_error
    assert len(lab.fetch(peer)) >= 9


def test_a_live_source_that_raises_for_want_of_a_next_frame_says_so(lab):
    stream = lab.open()
    stream.start(lab.parameters(lab.socket()))
    frames = iter([])
    playing = stream.play(Troublesome(lambda: next(frames)))
    lab.run(0.2)
    with pytest.raises(RuntimeError, match="a source raised StopIteration") as caught:
        playing.result()
    assert caught.value.__cause__ is stream.source_error


def test_a_live_source_that_raises_once_it_was_replaced_ends_nothing(lab):
    stream = lab.open()
    stream.start(lab.parameters(lab.socket()))

    def replace():
        stream.play(Tone())
        raise RuntimeError("microphone unplugged")

    playing = stream.play(Troublesome(replace))
    lab.run(0.2)
    assert playing.exception() is None
    assert isinstance(stream.source_error, RuntimeError)
    assert isinstance(stream._sender._source, Tone)


def test_a_source_that_has_no_frames_of_the_new_codec_ends_and_the_agreement_stands(lab):
    class Prepared:
        def frames(self, codec, samples_per_frame):
            if codec != "PCMU":
                raise RuntimeError(f"no frames of {codec}")
            return Frames((bytes(160),), loop=True)

    peer, stream = lab.socket(), lab.open()
    stream.start(lab.parameters(peer))
    playing = stream.play(Prepared(), seconds=5)
    lab.run(0.2)
    lab.fetch(peer)
    stream.start(lab.parameters(peer, codec="PCMA", payload_type=8))
    lab.run(0.2)
    assert playing.exception() is stream.source_error
    assert {packet[1] & 0x7F for packet in lab.fetch(peer)} == {8}


def test_a_live_source_may_stop_its_stream(lab):
    peer = lab.socket()
    stream, other = lab.open(), lab.open()
    stream.start(lab.parameters(peer))
    other.start(lab.parameters(peer))
    stream.play(Troublesome(stream.stop))
    lab.run(0.2)
    assert lab.engine.streams == [other]
    assert other.statistics().send.packets_sent >= 9


# --- other codecs, and silence left out ---------------------------------------------------------

G722 = {"codec": "G722", "payload_type": 9}
OPUS = {"codec": "opus", "payload_type": 111, "clock_rate": 48_000}


@pytest.mark.parametrize(
    ("codec", "units", "octets"), [(G722, 160, 160), (OPUS, 960, 80)], ids=["G722", "opus"]
)
@pytest.mark.parametrize("secure", [False, True])
def test_a_tone_is_sent_in_every_codec(lab, tmp_path, codec, units, octets, secure):
    a, b = lab.pair(secure=secure, **codec)
    recorder = WavRecorder(tmp_path / "tone.wav")
    b.attach(recorder)
    a.play(Tone(1004))
    lab.run(2.0)
    table, row = lab.engine.send_table, a._row
    sent = a.statistics().send
    assert sent.bytes_sent == octets * sent.packets_sent
    assert (int(table.timestamp[row]) - int(table.last_timestamp[row])) & 0xFFFF_FFFF == units
    assert b.statistics().receive.jitter_ms < 0.1
    assert b.statistics().decoding.packets > 0
    b.stop()
    assert recorded_frequency(recorder.path) == pytest.approx(1004, abs=2)


def test_frames_of_several_lengths_are_sent_one_by_one_and_again(lab):
    packets = [b"\xf8" + bytes(length) for length in (20, 70, 30)]

    class Prepared:
        def frames(self, codec, samples_per_frame):
            assert (codec, samples_per_frame) == ("opus", 960)
            return Frames(packets, loop=True)

    peer = lab.socket()
    stream = lab.open()
    playing = stream.play(Prepared(), seconds=0.1)
    stream.start(lab.parameters(peer, **OPUS))
    lab.run(0.2)
    assert playing.done()
    sent = [packet[12:] for packet in lab.fetch(peer)]
    assert sent[:5] == [*packets, *packets[:2]]
    assert {len(payload) for payload in sent[5:]} == {80}


def test_a_live_frame_of_a_wrong_length_is_replaced_by_silence(lab):
    class Line:
        def __init__(self):
            self.frames = [b"\xf8abc", b"", b"\xf0abc"]

        def next_frame(self, codec, samples_per_frame):
            return self.frames.pop(0) if self.frames else None

        def open(self, schedule):
            pass

        write = close = lambda *_: None

    class Source:
        def line(self):
            return Line()

    peer = lab.socket()
    stream = lab.open()
    stream.play(Source())
    stream.start(lab.parameters(peer, **OPUS))
    lab.run(0.1)
    sent = [packet[12:] for packet in lab.fetch(peer)]
    silence = silent_payload(find_codec("opus"), 960)
    assert sent[:4] == [b"\xf8abc", silence, silence, silence]


def test_comfort_noise_is_sent_once_in_a_while_in_place_of_silence(lab, rtp_fields):
    peer = lab.socket()
    stream = lab.open()
    stream.start(lab.parameters(peer, comfort_noise=13))
    lab.run(2.0)
    playing = stream.play(Tone(440), seconds=0.2)
    lab.run(0.5)
    assert playing.done()
    packets = lab.fetch(peer)
    fields = [rtp_fields(packet) for packet in packets]
    kinds = [(second & 0x7F, bool(second & 0x80)) for second, *_ in fields]
    assert kinds[:5] == [(13, True), *[(13, False)] * 4]
    assert kinds[5:15] == [(0, True), *[(0, False)] * 9]
    assert set(kinds[15:]) == {(13, False)}
    assert {packet[12:] for packet in packets[:5]} == {b"\x41"}
    # The media clock goes on, and no sequence number is left out.
    steps = [(two[2] - one[2]) % 2**32 for one, two in itertools.pairwise(fields[:5])]
    assert steps == [3200] * 4
    assert [two[1] - one[1] for one, two in itertools.pairwise(fields)] == [1] * (len(fields) - 1)


def test_a_limited_silence_ends_in_time_though_it_is_not_sent(lab):
    stream = lab.open()
    playing = stream.play(Silence(), seconds=1.0)
    stream.start(lab.parameters(lab.socket(), comfort_noise=13))
    lab.run(0.9)
    assert not playing.done()
    lab.run(0.2)
    assert playing.done()


def test_digits_interrupt_a_pause(lab):
    a, b = lab.pair(comfort_noise=13)
    lab.run(0.5)
    sending = a.send_digits("12")
    lab.run(1.0)
    assert sending.done()
    assert [event.digit for event in lab.events(b, DigitReceived)] == ["1", "2"]
    before = a.statistics().send.packets_sent
    lab.run(1.0)
    assert a.statistics().send.packets_sent - before <= 4
    assert b.statistics().receive.packets_lost == 0


def test_a_pause_ends_when_noise_is_no_longer_agreed_on(lab, rtp_fields):
    peer = lab.socket()
    stream = lab.open()
    stream.start(lab.parameters(peer, comfort_noise=13))
    lab.run(0.5)
    lab.fetch(peer)
    stream.start(lab.parameters(peer))
    lab.run(0.5)
    kinds = {rtp_fields(packet)[0] & 0x7F for packet in lab.fetch(peer)}
    assert kinds == {0}


def test_opus_leaves_silence_out_where_it_may(lab, rtp_fields):
    peer = lab.socket()
    stream = lab.open()
    stream.start(lab.parameters(peer, coding=OpusCodec(discontinuous=True), **OPUS))
    lab.run(2.0)
    packets = lab.fetch(peer)
    assert len(packets) == 5
    assert {rtp_fields(packet)[0] & 0x7F for packet in packets} == {111}
    assert {packet[12:] for packet in packets} == {silent_payload(find_codec("opus"), 960)}


@pytest.mark.parametrize("rate", [8000, 48_000])
def test_digits_beside_opus_have_the_clock_of_their_own_format(lab, rate):
    a, b = lab.pair(
        telephone_event_rate=rate,
        receive_telephone_event=None,
        receive_telephone_events={101: rate},
        **OPUS,
    )
    a.send_digits("5")
    lab.run(1.0)
    (digit,) = lab.events(b, DigitReceived)
    assert (digit.digit, digit.duration_ms) == ("5", 160)


# --- digits -----------------------------------------------------------------------------------


@pytest.mark.parametrize("secure", [False, True])
def test_digits_arrive_once_each_and_share_the_sequence(lab, secure):
    a, b = lab.pair(secure=secure)
    lab.run(0.5)
    sending = a.send_digits("19#*D")
    lab.run(2.0)
    assert sending.done()
    digits = lab.events(b, DigitReceived)
    assert [event.digit for event in digits] == list("19#*D")
    assert {event.duration_ms for event in digits} == {160}
    statistics = b.statistics()
    assert statistics.dtmf_digits_received == a.statistics().dtmf_digits_sent == 5
    assert statistics.receive.packets_lost == 0
    assert statistics.receive.jitter_ms == pytest.approx(0, abs=1e-6)
    assert statistics.receive.packets_received == a.statistics().send.packets_sent
    assert not lab.engine.lanes.special.any()


def test_a_digit_replaces_the_audio_and_the_audio_goes_on_after_it(lab, rtp_fields):
    peer = lab.socket()
    stream = lab.open()
    stream.start(lab.parameters(peer))
    stream.send_digits("1", duration_ms=100, gap_ms=40)
    lab.run(0.5)
    fields = [rtp_fields(packet) for packet in lab.fetch(peer)]
    kinds = [kind & 0x7F for kind, *_ in fields]
    assert kinds == [101] * 7 + [0] * (len(kinds) - 7)
    sequences = [sequence for _, sequence, *_ in fields]
    assert sequences == list(range(sequences[0], sequences[0] + len(fields)))
    assert len({timestamp for _, _, timestamp, _ in fields[:7]}) == 1
    assert fields[7][2] - fields[0][2] == 7 * 160


def test_queued_digits_follow_each_other(lab):
    a, b = lab.pair()
    first, second = a.send_digits("12"), a.send_digits("34")
    lab.run(0.7)
    assert first.done()
    assert not second.done()
    lab.run(0.7)
    assert second.done()
    assert [event.digit for event in lab.events(b, DigitReceived)] == list("1234")


def test_a_digit_whose_end_is_lost_still_counts(lab):
    a, b = lab.pair()
    a.send_digits("7")
    lab.run(0.08)
    a.stop()
    lab.run(0.5)
    (digit,) = lab.events(b, DigitReceived)
    assert digit.digit == "7"


def test_digits_that_cannot_be_sent_are_refused_at_once(lab):
    stream = lab.open()
    with pytest.raises(ConfigurationError):
        stream.send_digits("12x")
    stream.start(lab.parameters(lab.socket(), telephone_event=None))
    with pytest.raises(LocalProtocolError, match="did not agree"):
        stream.send_digits("1")


def test_digits_queued_before_a_peer_without_events_are_dropped_not_sent_as_audio(lab):
    peer = lab.socket()
    stream = lab.open()
    sending = stream.send_digits("1")
    stream.start(lab.parameters(peer, telephone_event=None))
    lab.run(0.5)
    assert sending.cancelled()
    packets = lab.fetch(peer)
    assert len(packets) >= 24
    assert {len(packet) for packet in packets} == {172}


def test_stopping_cancels_what_was_not_sent(lab):
    stream = lab.open()
    stream.start(lab.parameters(lab.socket()))
    sending = stream.send_digits("123")
    stream.stop()
    assert sending.cancelled()
