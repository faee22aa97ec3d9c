"""What becomes of received video: frames for those who look on, figures for all."""

from __future__ import annotations

import pytest

from callmeter.errors import RtpSyntaxError
from callmeter.media import video_receiver
from callmeter.media.events import SsrcChanged
from callmeter.media.video import Discard
from callmeter.rtp.header import pack_header
from callmeter.srtp.trial import FailureCause

KEY = b"\x10\x10\x02\x00\x9d\x01\x2a\x40\x01\xf0\x00" + bytes(50)
DELTA = b"\x10\x11\x02\x00" + bytes(50)
H264_KEY = bytes.fromhex("65 88") + bytes([255]) * 50


class Seen:
    def __init__(self, *, broken=False):
        self.frames = []
        self.closed = 0
        self._broken = broken

    def write(self, frame):
        if self._broken:
            raise OSError("the disk is full")
        self.frames.append(frame)

    def close(self):
        self.closed += 1
        if self._broken:
            raise OSError("the disk is still full")


@pytest.fixture
def hearing(lab):
    """A stream, and how to send it a packet: `send(number, time, payload)`."""
    peer = lab.socket()
    stream = lab.engine.open_video_stream("127.0.0.1", rtcp_mux=True)
    types = {96: "VP8", 98: "H264"}
    stream.start(lab.video_parameters(peer, receive_payload_types=types))

    def send(number, time, payload, *, marker=True, payload_type=96, ssrc=0xCAFE, burst=False):
        header = pack_header(payload_type, number, time, ssrc, marker=marker)
        peer.sendto(header + payload, ("127.0.0.1", stream.port))
        lab.run(0 if burst else 0.02)

    return stream, send


def counted(stream):
    return stream.statistics().receive_measures


def test_who_looks_on_and_stops_the_stream_or_another_is_the_last_to_see_a_frame(hearing):
    stream, send = hearing
    third = Seen()

    class First(Seen):
        def write(self, frame):
            super().write(frame)
            stream.detach(third)

    class Second(Seen):
        def write(self, frame):
            super().write(frame)
            stream.stop()

    first, second, fourth = First(), Second(), Seen()
    for sink in (first, second, third, fourth):
        stream.attach(sink)
    send(1, 0, KEY)
    send(2, 3000, DELTA)
    assert [len(sink.frames) for sink in (first, second, third, fourth)] == [1, 1, 0, 0]
    assert [sink.closed for sink in (first, second, third, fourth)] == [1, 1, 1, 1]
    assert not stream.is_open


def test_whole_frames_are_shown_to_each_who_looks_on_until_detached(hearing):
    stream, send = hearing
    first, second = Seen(), Seen()
    send(1, 0, KEY)
    stream.attach(first)
    stream.attach(second)
    send(2, 3000, KEY)
    stream.detach(second)
    stream.detach(second)
    send(3, 6000, DELTA)
    assert [frame.key_frame for frame in first.frames] == [True, False]
    assert first.frames[1].timestamp - first.frames[0].timestamp == 3000
    assert first.frames[0].data == KEY[1:]
    assert (len(second.frames), second.closed) == (1, 1)
    stream.stop()
    assert first.closed == 1
    assert counted(stream)["frames_received"] == 3


def test_one_who_fails_is_detached_and_the_others_see_on(hearing):
    stream, send = hearing
    broken, other = Seen(broken=True), Seen()
    stream.attach(broken)
    stream.attach(other)
    send(1, 0, KEY)
    send(2, 3000, DELTA)
    assert len(other.frames) == 2
    assert broken.closed == 1
    assert "full" in str(stream.sink_error)


def test_a_frame_that_cannot_be_put_together_is_counted(hearing, monkeypatch):
    stream, send = hearing
    stream.attach(sink := Discard())

    def refuse(_):
        raise RtpSyntaxError("nothing of it")

    monkeypatch.setattr(video_receiver.vp8, "frame_of", refuse)
    send(1, 0, KEY)
    assert sink.frames == 0
    assert stream._receiver.malformed_frames == 1


def test_the_count_goes_on_with_another_codec_and_another_source(lab, hearing):
    stream, send = hearing
    send(1, 0, KEY)
    send(2, 3000, DELTA)
    send(3, 6000, H264_KEY, payload_type=98)
    lab.run(0.1)
    assert stream._receiver.codec == "H264"
    assert counted(stream)["frames_received"] == 3
    send(40_000, 90_000, KEY, ssrc=0xBEEF)
    # What came first of a source may have overtaken others.
    lab.run(0.1)
    assert counted(stream)["frames_received"] == 4
    assert counted(stream)["keyframes_received"] == 3
    assert type(counted(stream)["frames_received"]) is int
    assert len(lab.events(stream, SsrcChanged)) == 1


def test_a_payload_type_that_was_not_agreed_on_is_dropped(hearing):
    stream, send = hearing
    send(1, 0, KEY, payload_type=97)
    assert stream.statistics().dropped == {"payload_type": 1}
    stream._receiver.show()
    assert counted(stream)["frames_received"] == 0


def test_no_batch_takes_a_video_stream(lab, hearing):
    stream, send = hearing
    for number in range(20):
        send(number, 3000 * number, KEY)
    assert not lab.engine.lanes.steady[stream._row]
    assert counted(stream)["frames_received"] == 20


def test_what_came_whole_of_one_source_is_shown_before_the_next_one_is_followed(hearing):
    stream, send = hearing
    seen = Seen()
    stream.attach(seen)
    send(1, 0, KEY)
    send(2, 3000, DELTA, marker=False)
    send(3, 6000, DELTA, marker=False, burst=True)
    send(9, 0, KEY, ssrc=0xBEEF)
    assert len(seen.frames) == 3


@pytest.mark.parametrize(
    ("payload", "payload_type", "cause"),
    [
        (KEY, 96, FailureCause.PLAIN_RTP),
        (H264_KEY, 98, FailureCause.PLAIN_RTP),
        # The reserved bits of VP8, the forbidden one of H.264, no payload, a number unknown.
        (b"\x48" + KEY[1:], 96, FailureCause.KEY),
        (b"\xe5" + H264_KEY[1:], 98, FailureCause.KEY),
        (b"", 96, FailureCause.KEY),
        (KEY, 99, FailureCause.KEY),
    ],
)
def test_packets_that_are_refused_and_have_the_form_of_clear_video_are_plain(
    lab, payload, payload_type, cause
):
    stream, peer = lab.video_pair(secure=True)
    stream._receiver._codecs = {96: "VP8", 98: "H264"}
    for number in range(12):
        header = pack_header(payload_type, number, 3000 * number, 0xCAFE, marker=True)
        lab.engine.backend.send_one(
            lab.engine.lanes.outlets[peer._row],
            header + payload,
            lab.engine.lanes.destinations[peer._row],
        )
        lab.run(0.02)
    assert stream.statistics().srtp_failure is cause


def test_one_packet_that_has_another_form_shows_that_it_is_no_plain_video(lab):
    stream, peer = lab.video_pair(secure=True)
    for number in range(12):
        header = pack_header(96, number, 3000 * number, 0xCAFE, marker=True)
        lab.engine.backend.send_one(
            lab.engine.lanes.outlets[peer._row],
            header + (b"\xff" if number == 5 else KEY),
            lab.engine.lanes.destinations[peer._row],
        )
        lab.run(0.02)
    assert stream.statistics().srtp_failure is FailureCause.KEY


def test_a_packet_that_came_twice_does_not_hide_that_what_follows_is_clear(
    lab, pictures, monkeypatch
):
    stream, peer = lab.video_pair(secure=True)
    send_one = lab.engine.backend.send_one

    def send_twice(*datagram):
        return send_one(*datagram) and send_one(*datagram)

    with monkeypatch.context() as patched:
        patched.setattr(lab.engine.backend, "send_one", send_twice)
        peer.play(pictures(1, octets=20_000))
        lab.run(0.1)
    assert stream.statistics().srtp_replayed >= 15
    for number in range(12):
        header = pack_header(96, number, 3000 * number, 0xCAFE, marker=True)
        outlets, destinations = lab.engine.lanes.outlets, lab.engine.lanes.destinations
        send_one(outlets[peer._row], header + KEY, destinations[peer._row])
        lab.run(0.02)
    assert stream.statistics().srtp_failure is FailureCause.PLAIN_RTP
