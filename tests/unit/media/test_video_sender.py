"""What becomes of the frames of a source: when they leave, and when they do not."""

from __future__ import annotations

import pytest

from callmeter.errors import LocalProtocolError
from callmeter.media.events import FeedbackReceived
from callmeter.media.sender import succeed
from callmeter.media.video import EncodedFrame
from callmeter.media.video_parameters import VideoFormat
from callmeter.rtp import PacketKind, classify
from callmeter.srtp import SrtpContext

RATE = 20


@pytest.fixture
def sending(lab):
    """A stream that sends to a socket."""
    peer = lab.socket()
    stream = lab.engine.open_video_stream("127.0.0.1", rtcp_mux=True)
    stream.start(lab.video_parameters(peer))
    return stream, peer


def frames(stream):
    return stream.statistics().send_measures["frames_sent"]


def test_a_source_plays_no_longer_than_it_is_told_to(lab, pictures, sending):
    stream, _ = sending
    playing = stream.play(pictures(), seconds=0.98)
    lab.run(0.9)
    assert not playing.done()
    lab.run(1)
    assert playing.done()
    assert frames(stream) == RATE


def test_another_source_takes_the_place_of_the_one_that_plays(lab, pictures, sending):
    stream, _ = sending
    first, second = pictures(), pictures()
    replaced = stream.play(first)
    lab.run(0.5)
    playing = stream.play(second)
    assert replaced.done()
    lab.run(0.5)
    stream.play(None)
    assert playing.done()
    sent = frames(stream)
    lab.run(1)
    assert frames(stream) == sent == first.given + second.given
    # No frame was left half sent.
    assert stream.statistics().send.packets_sent == 2 * sent


def test_a_stream_that_stops_in_the_middle_of_a_frame_sends_the_rest_before_its_bye(
    lab, pictures, sending
):
    stream, peer = sending
    stream.play(pictures(octets=20_000))
    lab.run(0)
    begun = stream.statistics().send.packets_sent
    stream.stop()
    kinds = [classify(datagram) for datagram in lab.fetch_all(peer)]
    assert kinds == [PacketKind.RTP] * (len(kinds) - 1) + [PacketKind.RTCP]
    assert stream.statistics().send.packets_sent == len(kinds) - 1 > begun


def test_timestamps_go_on_from_one_source_to_the_next(lab, pictures, sending, rtp_fields):
    stream, peer = sending
    stream.play(pictures(1))
    lab.run(1)
    stream.play(pictures(1))
    lab.run(1)
    times = sorted({rtp_fields(packet)[2] for packet in lab.fetch(peer)})
    assert (times[-1] - times[0]) % 2**32 == 90_000


def test_a_source_that_fails_ends_and_says_why(lab, pictures, sending):
    stream, _ = sending
    playing = stream.play(pictures(broken_at=3))
    lab.run(1)
    assert isinstance(stream.source_error, OSError)
    assert playing.exception() is stream.source_error
    assert frames(stream) == 3


def test_a_source_that_stops_its_own_stream_sends_nothing_more(lab, pictures, sending):
    stream, peer = sending
    source = pictures()
    source.next_frame = stream.stop
    stream.play(source)
    lab.run(1)
    assert lab.fetch(peer) == []
    assert not stream.is_open


def test_on_hold_frames_pass_unsent_and_resume_begins_with_a_key_frame(lab, pictures, sending):
    stream, peer = sending
    source = pictures()
    stream.play(source)
    lab.run(1)
    stream.start(lab.video_parameters(peer, send=False))
    before, given = frames(stream), source.given
    lab.run(1)
    assert frames(stream) == before
    assert source.given >= given + RATE - 2
    keys = stream.statistics().send_measures["keyframes_sent"]
    stream._sender.send_again([0], 0.0)
    stream.start(lab.video_parameters(peer))
    lab.run(1)
    stream.play(None)
    assert frames(stream) > before + RATE - 3
    assert stream.statistics().send_measures["keyframes_sent"] == keys + 1
    assert stream.statistics().send.packets_sent == 2 * frames(stream)


def test_a_loop_that_was_held_up_does_not_send_what_it_missed(lab, pictures, sending):
    stream, _ = sending
    stream.play(pictures())
    lab.run(0.5)
    before = frames(stream)
    lab.loop.hold_up(2)
    lab.run(0.01)
    assert frames(stream) == before + 1
    lab.run(1)
    assert frames(stream) == pytest.approx(before + RATE, abs=2)


def test_a_codec_that_was_not_agreed_on_is_refused_and_what_plays_goes_on(lab, pictures, sending):
    stream, _ = sending
    playing, other = stream.play(pictures()), pictures()
    other.codec = "H264"
    with pytest.raises(LocalProtocolError, match="the peer takes VP8"):
        stream.play(other)
    assert not playing.done()


def test_a_codec_that_is_agreed_on_no_more_is_not_sent(lab, pictures, sending):
    stream, peer = sending
    stream.play(pictures())
    lab.run(0.5)
    only = (VideoFormat("H264", 98, 0),)
    stream.start(lab.video_parameters(peer, codec="H264", payload_type=98, formats=only))
    before = frames(stream)
    lab.run(0.5)
    assert frames(stream) == before
    assert stream.is_open


@pytest.mark.parametrize(("mode", "packets"), [(0, 3), (1, 3)])
def test_h264_leaves_in_the_mode_that_was_agreed_on(lab, pictures, mode, packets):
    peer = lab.socket()
    stream = lab.engine.open_video_stream("127.0.0.1", rtcp_mux=True)
    formats = (VideoFormat("VP8", 96), VideoFormat("H264", 98, mode))
    stream.start(lab.video_parameters(peer, formats=formats))
    source = pictures()
    source.codec = "H264"
    unit = bytes.fromhex("00000001 65 88") + bytes([255]) * 1000
    units = iter([EncodedFrame(unit * 3, 0, key_frame=True)])
    source.next_frame = lambda: next(units, None)
    stream.play(source)
    lab.run(0.5)
    sent = lab.fetch(peer)
    assert len(sent) == packets
    assert {packet[1] & 0x7F for packet in sent} == {98}
    assert stream.statistics().send_measures["resolution_megapixels"] == 0.0768


def test_a_frame_that_cannot_be_cut_ends_its_source_and_says_why(lab, pictures):
    stream = lab.engine.open_video_stream("127.0.0.1", rtcp_mux=True)
    single_units = (VideoFormat("H264", 98, 0),)
    stream.start(
        lab.video_parameters(lab.socket(), codec="H264", payload_type=98, formats=single_units)
    )
    source = pictures()
    source.codec = "H264"
    unit = bytes.fromhex("00000001 65 88") + bytes([255]) * 2000
    source.next_frame = lambda: EncodedFrame(unit, 0, key_frame=True)
    playing = stream.play(source)
    lab.run(0.5)
    assert playing.done()
    assert "does not fit" in str(stream.source_error)
    assert frames(stream) == 0


def test_a_source_that_fails_when_a_key_frame_is_asked_for_ends_and_says_why(
    lab, pictures, sending
):
    stream, _ = sending
    source = pictures()

    def refuse():
        raise OSError("the camera is gone")

    source.request_key_frame = refuse
    playing = stream.play(source)
    lab.run(0.5)
    stream.tell(FeedbackReceived(at=0.0, kind="pli", lost=()))
    assert playing.done()
    assert str(stream.source_error) == "the camera is gone"


def test_a_report_among_the_packets_of_a_frame_tells_the_time_of_its_picture(
    lab, pictures, sending
):
    stream, _ = sending
    stream.play(pictures(octets=10_000))
    begun = lab.loop.time()
    first = lab.engine.send_table.media_time(stream._row, begun)
    for _ in range(20):
        lab.run(0.013)
        now = lab.loop.time()
        told = lab.engine.send_table.media_time(stream._row, now) - first
        assert told == pytest.approx((now - begun) * 90_000, abs=100)


def test_what_cannot_be_described_or_protected_is_counted(lab, pictures, monkeypatch):
    peer = lab.socket()
    stream = lab.engine.open_video_stream("127.0.0.1", rtcp_mux=True)
    stream.start(lab.video_parameters(peer, srtp_send=SrtpContext(lab.line(), "send")))
    monkeypatch.setattr(SrtpContext, "protect", lambda *_: None)
    source = pictures()
    units = iter([EncodedFrame(b"\x10", 0, key_frame=True)])
    source.next_frame = lambda: next(units, None)
    stream.play(source)
    lab.run(0.5)
    assert lab.fetch(peer) == []
    assert stream.statistics().srtp_protect_failures == 1
    assert frames(stream) == 1


def test_a_secure_stream_does_not_become_plain_and_a_new_key_takes_over(lab, pictures):
    peer = lab.socket()
    stream = lab.engine.open_video_stream("127.0.0.1", rtcp_mux=True)
    line, other = lab.line(), lab.line()
    stream.start(lab.video_parameters(peer, srtp_send=SrtpContext(line, "send")))
    stream.play(pictures())
    lab.run(0.2)
    with pytest.raises(LocalProtocolError, match="secure"):
        stream.start(lab.video_parameters(peer))
    stream.start(lab.video_parameters(peer, srtp_send=SrtpContext(other, "send")))
    # A frame that was begun ends under the key it began with.
    lab.fetch(peer)
    lab.run(0.2)
    receiving = SrtpContext(other, "receive")
    assert all(receiving.unprotect(packet) for packet in lab.fetch(peer))


def test_a_key_that_continues_keeps_the_rollover_counter(lab):
    contexts = [SrtpContext(lab.line(), "send") for _ in range(2)]
    contexts[1].continues = True
    contexts[0].set_roc(0xCAFE, 3)
    contexts[0].protect(lab.rtp(1))
    succeed(None, contexts[0], 0xCAFE)
    succeed(contexts[0], contexts[0], 0xCAFE)
    succeed(*contexts, 0xCAFE)
    contexts[1].protect(lab.rtp(2))
    assert contexts[1].roc(0xCAFE) == 3


def test_a_request_for_a_key_frame_goes_unanswered_until_there_is_one(lab, pictures, sending):
    stream, _ = sending
    source = pictures()
    stream.play(source)
    lab.run(1)
    sender = stream._sender
    waits = lambda: stream.statistics().video.unanswered_s
    deaf = source.request_key_frame
    source.request_key_frame = lambda: None
    for _ in range(2):
        sender.answer_request(lab.engine.now())
        lab.run(1)
    assert waits() == pytest.approx(2, abs=0.1)
    source.request_key_frame = deaf
    sender.answer_request(lab.engine.now())
    lab.run(0.2)
    assert waits() == 0
    # Who sends nothing owes nothing.
    sender.answer_request(lab.engine.now())
    stream.play(None)
    lab.run(3)
    assert waits() == 0
