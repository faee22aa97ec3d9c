"""What of a stream is audio: what plays, and when."""

from __future__ import annotations

import pytest

from callmeter.media import Discard, FirstPacket, Tone

LOOPBACK = "127.0.0.1"


def target(stream):
    return (LOOPBACK, stream.port)


@pytest.mark.parametrize("secure", [False, True])
@pytest.mark.parametrize("rtcp_mux", [False, True])
def test_two_streams_hear_each_other_without_loss(lab, secure, rtcp_mux):
    a, b = lab.pair(secure=secure, rtcp_mux=rtcp_mux)
    sink = Discard()
    a.attach(sink)
    lab.run(10.0)
    for own, peer in ((a, b), (b, a)):
        mine, theirs = own.statistics(), peer.statistics()
        assert mine.receive.packets_received == theirs.send.packets_sent
        assert mine.receive.packets_lost == 0
        assert mine.receive.jitter_ms == pytest.approx(0, abs=1e-6)
        assert mine.receive.bytes_received == theirs.send.bytes_sent
        assert mine.remote_ssrc == peer.ssrc
        assert mine.source == target(peer)
        assert mine.dropped == {}
        assert mine.rtcp_packets_sent >= 1
        assert mine.rtcp_packets_received >= 1
        assert len(lab.events(own, FirstPacket)) == 1
    assert sink.packets == a.statistics().receive.packets_received


def test_hold_stops_packets_and_resume_goes_on_with_the_media_clock(lab, rtp_fields):
    peer = lab.socket()
    stream = lab.open()
    stream.start(lab.parameters(peer))
    lab.run(1.0)
    before = lab.fetch(peer)
    stream.start(lab.parameters(peer, send=False))
    lab.run(2.0)
    assert lab.fetch(peer) == []
    stream.start(lab.parameters(peer))
    lab.run(0.2)
    after = lab.fetch(peer)
    kind, sequence, timestamp, _ = rtp_fields(after[0])
    assert kind == 0x80
    assert rtp_fields(after[1])[0] == 0
    last = rtp_fields(before[-1])
    assert sequence == last[1] + 1
    assert 16_000 <= (timestamp - last[2]) & 0xFFFF_FFFF <= 17_000


def test_a_new_codec_and_packet_time_take_over_at_once(lab, rtp_fields):
    peer = lab.socket()
    stream = lab.open()
    stream.play(Tone())
    stream.start(lab.parameters(peer))
    lab.run(0.5)
    lab.fetch(peer)
    stream.start(lab.parameters(peer, codec="PCMA", payload_type=8, ptime_ms=40))
    lab.run(0.5)
    packets = lab.fetch(peer)
    assert {rtp_fields(packet)[0] & 0x7F for packet in packets} == {8}
    assert {len(packet) for packet in packets} == {12 + 320}
