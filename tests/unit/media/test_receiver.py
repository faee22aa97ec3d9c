"""What a stream hears: sinks that misbehave, other payload types, silence between digits."""

from __future__ import annotations

import numpy as np
import pytest

from callmeter.jitter_buffer_config import JitterBufferSettings
from callmeter.media import (
    AuthenticationFailing,
    DigitReceived,
    Discard,
    Tone,
    WavRecorder,
    level_dbov,
)
from callmeter.media.wave_file import read_wave
from callmeter.srtp import SrtpContext

LOOPBACK = "127.0.0.1"


class Broken(Discard):
    def write(self, codec, sequence, timestamp, arrival, payload):
        raise RuntimeError("no space left")

    def close(self):
        raise OSError("nor anywhere else")


def test_a_sink_that_raises_is_detached_and_the_stream_goes_on(lab):
    a, _ = lab.pair()
    broken, good = Broken(), Discard()
    a.attach(broken)
    a.attach(good)
    lab.run(0.5)
    assert isinstance(a.sink_error, OSError)
    assert good.packets >= 23
    assert a._receiver.sinks == (good,)


class Stopping(Discard):
    """Stops a stream with its third packet, and again when it is closed for that."""

    def __init__(self, stream):
        super().__init__()
        self._stream = stream

    def write(self, *packet):
        super().write(*packet)
        if self.packets == 3:
            self._stream.stop()

    def close(self):
        self._stream.stop()


def touched(table, row):
    """Columns of a row that are not as those of a row nobody had."""
    return {
        name
        for name, (_, initial) in table.COLUMNS.items()
        if not np.array_equal(getattr(table, name)[row], initial, equal_nan=True)
    }


@pytest.mark.parametrize("secure", [False, True])
@pytest.mark.parametrize("steady", [False, True])
def test_a_sink_that_stops_its_own_stream_leaves_nothing_in_its_row(
    lab, secure, steady, monkeypatch
):
    a, b = lab.pair(secure=secure)
    if not steady:
        monkeypatch.setattr(lab.engine._receive, "batch_from", 1 << 20)
    row, closed = a._row, []
    monkeypatch.setattr(Discard, "close", lambda self: closed.append(self.packets))
    stopping, other = Stopping(a), Discard()
    a.attach(stopping)
    a.attach(other)
    lab.run(0.5)
    assert (stopping.packets, other.packets, closed) == (3, 2, [2])
    assert a.sink_error is None
    assert a.statistics().receive.packets_received == 3
    assert a not in lab.engine._watched
    assert touched(lab.engine.lanes, row) == set()
    assert lab.engine.lanes.receive_handles[row] is None
    assert lab.engine.streams == [b]
    assert {lab.open()._row, lab.open()._row} == {row, 2}


def test_a_sink_that_detaches_the_next_one_spares_it_the_packet(lab):
    a, _ = lab.pair()
    second = Discard()

    class First(Discard):
        def write(self, *packet):
            super().write(*packet)
            a.detach(second)

    first = First()
    a.attach(first)
    a.attach(second)
    lab.run(0.2)
    assert first.packets
    assert second.packets == 0


def test_a_sink_that_raises_at_comfort_noise_is_detached_and_the_stream_goes_on(lab):
    peer, stream = lab.socket(), lab.open()
    stream.start(lab.parameters(peer, receive_comfort_noise=13))

    class Deaf(Discard):
        def on_comfort_noise(self, *packet):
            raise ValueError("what is this")

    good = Discard()
    stream.attach(Deaf())
    stream.attach(good)
    for number, payload_type in enumerate([0, 0, 0, 0, 13, 0, 0]):
        peer.sendto(lab.rtp(number, payload_type=payload_type), (LOOPBACK, stream.port))
        lab.run(0.02)
    assert isinstance(stream.sink_error, ValueError)
    assert stream._receiver.sinks == (good,)
    assert good.packets >= 4


def test_what_was_kept_of_an_uncertain_source_is_not_accounted_for_once_a_sink_has_stopped(lab):
    old, new = lab.socket(), lab.socket()
    stream = lab.open()
    stream.start(lab.parameters(old))
    sink = Stopping(stream)
    stream.attach(sink)
    for number in range(8):
        new.sendto(lab.rtp(number), (LOOPBACK, stream.port))
        lab.run(0.02)
    assert sink.packets == 3
    assert not stream.is_open
    assert touched(lab.engine.reception, 0) == set()


def test_a_sink_is_detached_by_identity_and_a_foreign_one_is_left_alone(lab):
    a, _ = lab.pair()
    first, second = Discard(), Discard()
    a.attach(first)
    a.attach(second)
    a.detach(Discard())
    lab.run(0.1)
    a.detach(first)
    heard = first.packets
    lab.run(0.2)
    assert first.packets == heard
    assert second.packets > heard
    a.detach(second)
    assert not lab.engine.lanes.listening.any()


def test_a_peer_that_changes_between_agreed_codecs_is_heard_in_both(lab):
    heard = []

    class Names(Discard):
        def write(self, codec, sequence, timestamp, arrival, payload):
            heard.append(codec)

    peer = lab.socket()
    stream = lab.open()
    stream.attach(Names())
    stream.start(lab.parameters(peer, receive_payload_types={0: "PCMU", 8: "PCMA"}))
    for sequence in range(20):
        packet = lab.rtp(sequence, payload_type=8 if 5 <= sequence < 12 else 0)
        peer.sendto(packet, (LOOPBACK, stream.port))
        lab.run(0.02)
    assert heard == ["PCMU"] * 5 + ["PCMA"] * 7 + ["PCMU"] * 8
    assert stream.statistics().dropped == {}


def test_comfort_noise_is_part_of_the_stream_and_not_heard(lab):
    sink = Discard()
    peer = lab.socket()
    stream = lab.open()
    stream.attach(sink)
    stream.start(lab.parameters(peer))
    for sequence in range(20):
        noise = sequence % 5 == 4
        packet = lab.rtp(sequence, payload_type=13, payload=b"\x40") if noise else lab.rtp(sequence)
        peer.sendto(packet, (LOOPBACK, stream.port))
        lab.run(0.02)
    statistics = stream.statistics()
    assert statistics.receive.packets_received == 20
    assert statistics.receive.packets_lost == 0
    assert statistics.comfort_noise_packets == 4
    assert statistics.dropped == {}
    assert statistics.dtmf_digits_received == 0
    assert sink.packets == 16


def test_noise_of_a_number_of_its_own_is_told_to_who_wants_to_know(lab, tmp_path):
    peer, recorder = lab.socket(), WavRecorder(tmp_path / "pause.wav")
    stream = lab.open()
    stream.attach(recorder)
    stream.start(lab.parameters(peer, receive_comfort_noise=118))
    for sequence in range(10):
        peer.sendto(lab.rtp(sequence), (LOOPBACK, stream.port))
        lab.run(0.02)
    packet = lab.rtp(10, payload_type=118, payload=b"\x30")
    peer.sendto(packet, (LOOPBACK, stream.port))
    lab.run(1.0)
    peer.sendto(lab.rtp(11, timestamp=160 * 60), (LOOPBACK, stream.port))
    lab.run(0.1)
    stream.detach(recorder)
    assert recorder.statistics.comfort_noise_packets == 1
    assert stream.statistics().dropped == {}
    _, samples = read_wave(recorder.path)
    assert level_dbov(samples[1600:9600]) == pytest.approx(-48, abs=1)


@pytest.mark.parametrize("batch_from", [1, 24])
def test_a_peer_that_changes_to_a_codec_with_another_clock_has_no_jitter(lab, batch_from):
    lab.engine._receive.batch_from = batch_from
    peer = lab.socket()
    stream = lab.open()
    stream.buffer(JitterBufferSettings(adaptive=False, delay=0.06))
    stream.start(lab.parameters(peer, receive_payload_types={0: "PCMU", 111: "opus"}))
    for sequence in range(60):
        opus = sequence >= 30
        units, number = (960, 111) if opus else (160, 0)
        packet = lab.rtp(sequence, payload_type=number, timestamp=units * sequence)
        peer.sendto(packet, (LOOPBACK, stream.port))
        lab.run(0.02)
    found = stream.statistics()
    assert found.receive.timestamp_jumps == 0
    assert found.receive.jitter_ms < 0.1
    assert found.jitter_buffer.late == found.jitter_buffer.early == 0
    assert found.decoding is None


def test_what_a_recorder_decoded_is_known_after_it_was_detached(lab, tmp_path):
    a, b = lab.pair()
    recorder = WavRecorder(tmp_path / "call.wav")
    b.attach(recorder)
    lab.run(0.5)
    b.detach(recorder)
    lab.run(0.5)
    assert b.statistics().decoding == recorder.statistics
    assert a.statistics().decoding is None
    assert recorder.statistics.packets > 20


def test_what_is_decoded_at_the_end_is_counted(lab, tmp_path):
    _, b = lab.pair()
    b.attach(WavRecorder(tmp_path / "short.wav"))
    lab.run(0.5)
    b.stop()
    assert b.statistics().decoding.packets > 20


def test_the_codec_agreed_on_before_is_heard_until_the_peer_has_the_answer(lab):
    peer, sink = lab.socket(), Discard()
    stream = lab.open()
    stream.attach(sink)
    stream.start(lab.parameters(peer))
    stream.start(lab.parameters(peer, codec="G722", payload_type=9))
    for number, payload_type in enumerate((0, 9)):
        peer.sendto(lab.rtp(number, payload_type=payload_type), (LOOPBACK, stream.port))
        lab.run(0.02)
    assert sink.packets == 2
    stream.start(lab.parameters(peer, codec="G722", payload_type=9))
    peer.sendto(lab.rtp(2), (LOOPBACK, stream.port))
    lab.run(0.02)
    assert stream.statistics().dropped == {"payload_type": 1}


def test_who_records_knows_level_and_losses_of_opus_by_catalogue_key(lab, tmp_path):
    peer = lab.socket()
    stream = lab.open()
    stream.attach(WavRecorder(tmp_path / "opus.wav"))
    stream.start(lab.parameters(peer, codec="opus", payload_type=111, clock_rate=48_000))
    frames = Tone(440, level_dbm0=-10).frames("opus", 960).payloads
    for number in range(40):
        if number != 20:
            packet = lab.rtp(
                number, payload_type=111, timestamp=960 * number, payload=frames[number % 5]
            )
            peer.sendto(packet, (LOOPBACK, stream.port))
        lab.run(0.02)
    assert stream.statistics().levels.mean is None
    stream.stop()
    final = stream.statistics()
    # A decoder that begins in the middle takes some packets to be as loud as it should be.
    assert final.levels.mean == pytest.approx(-16.2, abs=3)
    assert final.decoding.packets == 39
    assert final.receive_measures == pytest.approx(
        {
            "plc_events": 1 / 0.8,
            "plc_duration_ms": 20 / 0.8,
            "opus_packet_loss": 100 / 40,
            "opus_decoder_gain": 0,
            "opus_last_packet_duration_ms": 20,
        }
    )


def test_events_of_two_clocks_are_both_understood(lab):
    peer = lab.socket()
    stream = lab.open()
    both = {101: 48_000, 102: 8000}
    stream.start(lab.parameters(peer, receive_telephone_events=both))
    for number, (payload_type, rate) in enumerate(both.items()):
        payload = bytes([number + 1, 0x8A]) + (rate // 10).to_bytes(2, "big")
        packet = lab.rtp(number, payload_type=payload_type, payload=payload)
        peer.sendto(packet, (LOOPBACK, stream.port))
        lab.run(0.02)
    heard = lab.events(stream, DigitReceived)
    assert [(event.digit, event.duration_ms) for event in heard] == [("1", 100), ("2", 100)]


def test_telephone_events_nobody_agreed_to_are_dropped(lab):
    a, b = lab.pair(receive_telephone_event=None)
    a.send_digits("1")
    lab.run(0.5)
    assert b.statistics().dtmf_digits_received == 0
    assert b.statistics().dropped["payload_type"] > 5


def test_an_authentic_packet_of_an_unknown_type_is_dropped_after_the_check(lab):
    line = lab.line()
    peer = lab.socket()
    stream = lab.open()
    stream.start(
        lab.parameters(
            peer,
            srtp_send=SrtpContext(line, "send"),
            srtp_receive=SrtpContext(line, "receive"),
        )
    )
    sender = SrtpContext(line, "send")
    peer.sendto(sender.protect(lab.rtp(1, payload_type=99)), (LOOPBACK, stream.port))
    lab.run(0.1)
    assert stream.statistics().dropped == {"payload_type": 1}


def test_a_truncated_secure_packet_never_reaches_libsrtp(lab):
    line = lab.line()
    peer = lab.socket()
    stream = lab.open()
    context = SrtpContext(line, "receive")
    stream.start(lab.parameters(peer, srtp_send=SrtpContext(line, "send"), srtp_receive=context))
    peer.sendto(SrtpContext(line, "send").protect(lab.rtp(1))[:15], (LOOPBACK, stream.port))
    lab.run(0.1)
    assert context.malformed == 1
    assert stream.statistics().dropped == {"srtp": 1}


def test_a_run_of_failures_that_ends_within_a_batch_is_still_reported(make_lab):
    lab = make_lab()
    lab.engine._receive.batch_from = 1
    a, b = lab.pair(secure=True)
    lab.run(0.5)
    sequence = int(lab.engine.send_table.sequence[b._row])
    for number in range(150):
        forged = lab.rtp(sequence + number, ssrc=b.ssrc) + bytes(10)
        b._rtp.sendto(forged, (LOOPBACK, a.port))
    lab.engine._receive.run(lab.loop.time(), 0.0)
    assert lab.events(a, AuthenticationFailing) == []
    b._rtp.sendto(lab.rtp(sequence + 500, ssrc=b.ssrc), (LOOPBACK, a.port))
    lab.engine._receive.run(lab.loop.time(), 0.0)
    (failing,) = lab.events(a, AuthenticationFailing)
    assert failing.count == 151
    # The next run is another event.
    lab.run(0.1)
    for number in range(150):
        forged = lab.rtp(sequence + 600 + number, ssrc=b.ssrc) + bytes(10)
        b._rtp.sendto(forged, (LOOPBACK, a.port))
    lab.engine._receive.run(lab.loop.time(), 0.0)
    b._rtp.sendto(lab.rtp(sequence + 900, ssrc=b.ssrc), (LOOPBACK, a.port))
    lab.engine._receive.run(lab.loop.time(), 0.0)
    assert len(lab.events(a, AuthenticationFailing)) == 2


def test_a_short_secure_packet_of_a_steady_stream_is_checked_before_libsrtp(make_lab):
    lab = make_lab()
    lab.engine._receive.batch_from = 1
    a, b = lab.pair(secure=True)
    lab.run(0.5)
    sequence = int(lab.engine.send_table.sequence[b._row])
    for length in (12, 15, 21):
        packet = lab.rtp(sequence, ssrc=b.ssrc)[:length]
        b._rtp.sendto(packet, (LOOPBACK, a.port))
    lab.run(0.1)
    assert a._receiver.context.malformed == 3
    assert a.statistics().dropped == {"srtp": 3}
    assert a.statistics().receive.packets_lost == 0
