"""A video stream in virtual time: what one end sends, the other counts and asks for."""

from __future__ import annotations

import pytest

from callmeter.errors import LocalProtocolError
from callmeter.media import engine
from callmeter.media.events import FeedbackReceived
from callmeter.media.video import Discard
from callmeter.rtp import FullIntraRequest, IntraRequest, build_compound

RATE = 20


def measured(stream):
    statistics = stream.statistics()
    return {**statistics.send_measures, **statistics.receive_measures}


def lose(lab, monkeypatch, stream, *packets):
    """Let the network lose these packets of a stream, by the order they are sent in."""
    sent = {"packets": -1}
    send_one = lab.engine.backend.send_one
    first = int(lab.engine.send_table.sequence[stream._row])

    def sometimes(outlet, packet, destination):
        media = packet[1] & 0x7F == 96 and int.from_bytes(packet[8:12], "big") == stream.ssrc
        number = (int.from_bytes(packet[2:4], "big") - first) & 0xFFFF
        if media and number in packets and number > sent["packets"]:
            sent["packets"] = number
            return True
        return send_one(outlet, packet, destination)

    monkeypatch.setattr(lab.engine.backend, "send_one", sometimes)


@pytest.mark.parametrize("secure", [False, True])
def test_both_ends_count_the_same_frames(lab, pictures, secure):
    a, b = lab.video_pair(secure=secure)
    playing = a.play(pictures(3 * RATE))
    lab.run(5)
    assert playing.done()
    sent, received = measured(a), measured(b)
    assert sent["frames_sent"] == received["frames_received"] == 3 * RATE
    assert sent["keyframes_sent"] == received["keyframes_received"] == 1
    assert received["resolution_megapixels"] == 0.0768
    assert received["freeze_count"] == 0
    assert b.statistics().receive.packets_received == a.statistics().send.packets_sent == 6 * RATE
    assert b.statistics().receive.packets_lost == 0
    assert b.statistics().bursts is None
    assert a.statistics().rtt_ms is not None


def test_a_frame_has_one_time_and_ends_with_the_marker(lab, pictures, rtp_fields):
    stream, peer = lab.engine.open_video_stream("127.0.0.1", rtcp_mux=True), lab.socket()
    stream.start(lab.video_parameters(peer))
    stream.play(pictures(2, octets=5000))
    lab.run(0.2)
    packets = [rtp_fields(packet) for packet in lab.fetch(peer)]
    assert [kind >> 7 for kind, *_ in packets] == [0, 0, 0, 0, 1] * 2
    assert {kind & 0x7F for kind, *_ in packets} == {96}
    numbers = [number for _, number, *_ in packets]
    assert numbers == list(range(numbers[0], numbers[0] + 10))
    times = [time for *_, time, _ in packets]
    assert len(set(times)) == 2
    assert (times[-1] - times[0]) % 2**32 == 90_000 / RATE


def test_the_packets_of_a_frame_are_spread_over_half_the_time_to_the_next(lab, pictures):
    a, b = lab.video_pair()
    a.play(pictures(1, octets=12_000))
    lab.run(0.001)
    assert 0 < a.statistics().send.packets_sent <= 3
    lab.run(0.03)
    assert a.statistics().send.packets_sent == 11
    lab.run(0.1)
    assert measured(b)["frames_received"] == 1


def test_a_lost_packet_is_asked_for_and_sent_again(lab, pictures, monkeypatch):
    a, b = lab.video_pair(secure=True)
    lose(lab, monkeypatch, a, 10, 11, 30)
    a.play(pictures(2 * RATE))
    lab.run(4)
    assert measured(b)["frames_received"] == measured(a)["frames_sent"] == 2 * RATE
    assert b.statistics().feedback_sent.nack == a.statistics().feedback_received.nack >= 2
    assert a._sender.sent.retransmitted == 3
    assert b.statistics().receive.packets_lost == 0
    assert b.statistics().srtp_replayed == 0
    assert {event.kind for event in lab.events(a, FeedbackReceived)} == {"nack"}


def test_without_nack_a_lost_packet_costs_a_frame_and_a_key_frame_is_asked_for(
    lab, pictures, monkeypatch
):
    a, b = lab.video_pair(feedback=frozenset({"nack pli"}))
    lose(lab, monkeypatch, a, 10)
    source = pictures(2 * RATE)
    a.play(source)
    lab.run(4)
    assert measured(b)["frames_received"] == 2 * RATE - 1
    assert measured(b)["keyframe_requests_sent"] == 1
    assert measured(a)["keyframe_requests_received"] == source.asked == 1
    assert measured(a)["keyframes_sent"] == measured(b)["keyframes_received"] == 2


@pytest.mark.parametrize(("agreed", "counted"), [("nack pli", "pli"), ("ccm fir", "fir")])
def test_a_key_frame_is_asked_for_as_was_agreed(lab, pictures, agreed, counted):
    a, b = lab.video_pair(feedback=frozenset({agreed}))
    source = pictures(RATE)
    a.play(source)
    lab.run(0.3)
    b.request_key_frame()
    lab.run(1)
    assert getattr(a.statistics().feedback_received, counted) == source.asked == 1
    assert measured(b)["keyframes_received"] == 2


def test_a_full_intra_request_that_is_sent_again_is_answered_once(lab, pictures):
    peer = lab.socket()
    stream = lab.engine.open_video_stream("127.0.0.1", rtcp_mux=True)
    stream.start(lab.video_parameters(peer))
    source = pictures()
    stream.play(source)
    for number in (0, 0, 0, 1, 1):
        request = FullIntraRequest(0xCAFE, (IntraRequest(stream.ssrc, number),))
        peer.sendto(build_compound([request]), ("127.0.0.1", stream.port))
        lab.run(0.2)
    assert source.asked == 2
    assert measured(stream)["keyframe_requests_received"] == 5


def test_nobody_is_asked_for_what_was_not_agreed_on(lab, pictures):
    a, b = lab.video_pair(feedback=frozenset())
    a.play(pictures(RATE))
    lab.run(0.3)
    with pytest.raises(LocalProtocolError, match="key frame"):
        b.request_key_frame()
    b.attach(Discard())
    lab.run(1)
    assert b.statistics().feedback_sent.pli == 0


def test_a_peer_without_a_place_for_rtcp_is_not_asked(lab):
    stream, peer = lab.engine.open_video_stream("127.0.0.1", rtcp_mux=True), lab.socket()
    stream.start(lab.video_parameters(peer, remote=("127.0.0.1", 0)))
    stream.request_key_frame()
    lab.run(0.5)
    assert stream.statistics().feedback_sent.pli == 0


def test_who_waits_for_frames_is_told_when_they_have_come(lab, pictures):
    a, b = lab.video_pair()
    soon, never, given_up = b.frames(5), b.frames(500), b.frames(500)
    given_up.cancel()
    a.play(pictures(RATE))
    lab.run(0.1)
    assert not soon.done()
    lab.run(1)
    assert soon.done()
    assert not never.done()
    b.stop()
    assert never.cancelled()


def test_a_picture_that_stands_still_is_a_freeze_and_a_hold_is_none(lab, pictures):
    a, b = lab.video_pair()
    a.play(pictures(RATE))
    lab.run(3)
    a.play(pictures(RATE))
    lab.run(3)
    assert measured(b)["freeze_count"] == 1
    b.start(lab.video_parameters(a, receive=False))
    a.play(None)
    lab.run(3)
    b.start(lab.video_parameters(a))
    a.play(pictures(RATE))
    lab.run(3)
    assert measured(b)["freeze_count"] == 1


def test_nothing_is_asked_of_a_stream_that_was_stopped(lab, pictures):
    a, b = lab.video_pair()
    a.play(pictures(RATE))
    lab.run(2)
    a.stop()
    b.stop()
    last = b.statistics()
    assert last.receive_measures["frames_received"] == RATE
    for ask in (b.frames, b.play, b.attach):
        with pytest.raises(LocalProtocolError, match="stopped"):
            ask(1)
    with pytest.raises(LocalProtocolError):
        b.request_key_frame()
    assert b.statistics() is last
    assert lab.engine.streams == []


def test_figures_before_the_start_are_none_yet(lab):
    stream = lab.engine.open_video_stream("127.0.0.1", rtcp_mux=False)
    assert stream.next_deadline() is None
    assert measured(stream)["frames_sent"] == measured(stream)["frames_received"] == 0
    assert stream.rtcp_port == stream.port + 1
    stream.stop()


def test_the_default_code_point_is_that_of_video(lab):
    stream = lab.engine.open_video_stream("127.0.0.1", rtcp_mux=True)
    assert stream._rtp.getsockopt(0, 1) >> 2 == 34


def test_a_port_that_is_taken_is_refused(lab, monkeypatch):
    taken = lab.socket()
    port = taken.getsockname()[1]
    with pytest.raises(Exception, match="port"):
        lab.engine.open_video_stream("127.0.0.1", rtcp_mux=True, ports=(port, port))
    assert lab.engine.streams == []


def test_a_stream_that_a_sink_stops_is_looked_at_no_more(lab, pictures):
    a, b = lab.video_pair()

    class Impatient(Discard):
        def write(self, frame):
            super().write(frame)
            b.stop()

    seen = Impatient()
    b.attach(seen)
    a.play(pictures())
    lab.run(2)
    assert seen.frames == 1
    assert not b.is_open
    assert b not in lab.engine._watched
    assert b.next_deadline() is None


def test_no_key_frame_is_asked_for_while_none_may_come(lab, pictures, monkeypatch):
    a, b = lab.video_pair(feedback=frozenset({"nack pli"}))
    lose(lab, monkeypatch, a, *range(21, 40))
    a.play(pictures(2 * RATE))
    lab.run(1)
    b.start(lab.video_parameters(a, receive=False))
    asked = b.statistics().feedback_sent.pli
    lab.run(5)
    assert b.statistics().feedback_sent.pli == asked
    b.start(lab.video_parameters(a))
    lab.run(1)
    assert b.statistics().feedback_sent.pli > asked


@pytest.mark.parametrize(
    ("before", "after", "asked"), [((), ("nack",), 1), (("nack",), ("nack pli",), 0)]
)
def test_lost_packets_are_asked_for_by_what_was_agreed_on_last(
    lab, pictures, monkeypatch, before, after, asked
):
    a, b = lab.video_pair(feedback=frozenset(before))
    a.play(pictures())
    lab.run(0.5)
    b.start(lab.video_parameters(a, feedback=frozenset(after)))
    sent = a.statistics().send.packets_sent
    lose(lab, monkeypatch, a, 5)
    lab.run(0.6)
    assert a.statistics().send.packets_sent > sent + 5
    assert b.statistics().feedback_sent.nack == asked
    frames = measured(b)["frames_received"]
    lab.run(0.3)
    assert measured(b)["frames_received"] > frames


def test_a_nack_is_answered_at_once_however_many_streams_there_are(lab, pictures, monkeypatch):
    a, b = lab.video_pair()
    monkeypatch.setattr(engine, "SPREAD", ((0, 2),))
    lab.engine._choose_phases()
    a.play(pictures())
    lab.run(0.5)
    lose(lab, monkeypatch, a, 2)
    lab.run(0.7)
    sent_again = [event for event in lab.events(a, FeedbackReceived) if event.kind == "nack"]
    assert len(sent_again) == 1
    assert b.statistics().feedback_sent.nack == 1


def test_what_only_video_has_is_told_of_video_alone(lab, pictures):
    a, b = lab.video_pair()
    told = lab.engine.open_video_stream("127.0.0.1", rtcp_mux=True).statistics().video
    assert (told.seconds, told.feedback, told.reception) == (0.0, frozenset(), None)
    a.play(pictures(RATE))
    lab.run(2)
    told = b.statistics().video
    assert told.seconds == pytest.approx(2, abs=0.05)
    assert told.feedback == {"nack", "nack pli", "ccm fir"}
    assert told.reception.frames_received == RATE
    assert told.reception.undecodable_ms is None
    assert a.statistics().video.reception is None
    assert lab.engine.open_stream("127.0.0.1", rtcp_mux=True).statistics().video is None


def test_what_waits_to_be_said_goes_with_what_is_asked_for_at_once(lab, pictures, monkeypatch):
    a, b = lab.video_pair()
    a.play(pictures())
    lab.run(0.5)
    b.send_feedback("nack pli")
    lab.run(0.02)
    for _ in range(16):
        b.send_feedback("nack pli")
    with pytest.raises(LocalProtocolError, match="16 feedback messages wait already"):
        b.send_feedback("nack pli")
    lose(lab, monkeypatch, a, 2)
    lab.run(0.4)
    assert b.statistics().feedback_sent.nack == 1
    assert b.statistics().feedback_sent.pli == 17
