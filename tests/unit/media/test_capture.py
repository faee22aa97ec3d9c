"""What a capture keeps of a stream, in virtual time over real sockets."""

from __future__ import annotations

from dataclasses import replace

import pytest

from callmeter.config import CaptureConfig
from callmeter.errors import ConfigurationError, LocalProtocolError
from callmeter.media.capture import MAX_PERIODS, MAX_SECRETS, RECORD_OCTETS, MediaCapture
from callmeter.media.datagrams.tap import TappedBackend
from callmeter.rtp import PacketKind, classify
from callmeter.srtp import SrtpContext

LOOPBACK = "127.0.0.1"
EPOCH = 1_700_000_000.0


def captured(stream, **settings):
    capture = MediaCapture(CaptureConfig(**settings))
    stream.capture_to(capture)
    return capture


def kinds(datagrams):
    return [classify(datagram.octets) for datagram in datagrams]


@pytest.mark.parametrize("rtcp_mux", [True, False], ids=["mux", "two-ports"])
@pytest.mark.parametrize("secure", [False, True], ids=["plain", "secure"])
def test_everything_on_the_wire_is_kept_in_both_directions(lab, rtcp_mux, secure):
    ends = lab.open(rtcp_mux=rtcp_mux), lab.open(rtcp_mux=rtcp_mux)
    captures = [captured(end) for end in ends]
    lines = [lab.line(), lab.line()]
    for own, peer in ((0, 1), (1, 0)):
        keys = {
            "srtp_send": SrtpContext(lines[own], "send"),
            "srtp_receive": SrtpContext(lines[peer], "receive"),
        }
        ends[own].start(lab.parameters(ends[peer], **(keys if secure else {})))
    lab.run(6.1)
    for stream in ends:
        stream.stop()
    here, there = ([(each.sent, each) for each in capture] for capture in captures)
    sent = [each for was_sent, each in here if was_sent]
    received = [each for was_sent, each in there if not was_sent]
    assert kinds(sent).count(PacketKind.RTP) == ends[0].statistics().send.packets_sent
    assert PacketKind.RTCP in kinds(sent)
    # The last ones were under way when their receiver stopped.
    arrived, left = ({each.octets for each in side} for side in (received, sent))
    assert arrived <= left
    assert len(received) >= len(sent) - 2
    for each in sent:
        rtcp = classify(each.octets) is PacketKind.RTCP and not rtcp_mux
        assert each.local == (LOOPBACK, ends[0].port + rtcp)
        assert each.remote == (LOOPBACK, ends[1].port + rtcp)
        assert EPOCH + 1000 <= each.wall <= EPOCH + 1007
    for each in received:
        assert each.local[1] - ends[1].port == each.remote[1] - ends[0].port


def test_digits_and_control_datagrams_are_kept_too(lab):
    peer, stream = lab.socket(), lab.open()
    capture = captured(stream)
    stream.send_datagram(b"\x16\xfe\xfd" + bytes(20), peer.getsockname())
    peer.sendto(b"\x00\x01" + bytes(18), (LOOPBACK, stream.port))
    stream.set_control(lambda *_: None)
    lab.run(0.1)
    stream.start(lab.parameters(peer))
    stream.send_digits("1")
    lab.run(0.1)
    assert kinds(capture)[:2] == [PacketKind.DTLS, PacketKind.STUN]
    assert 101 in {datagram.octets[1] & 0x7F for datagram in capture}


def test_datagrams_the_kernel_refused_are_not_kept(lab):
    stream = lab.open()
    capture = captured(stream)
    stream.start(lab.parameters(9, remote=("192.0.2.1", 9)))
    lab.run(0.2)
    assert lab.engine.backend.send_errors.total > 0
    assert len(capture) == 0


def test_a_full_capture_keeps_what_came_first_and_counts_the_rest(lab):
    a, b = lab.open(), lab.open()
    capture = captured(a, octets=10 * (172 + RECORD_OCTETS))
    for own, peer in ((a, b), (b, a)):
        own.start(lab.parameters(peer))
    lab.run(1.0)
    assert len(capture) == 10
    assert capture.dropped > 80
    assert repr(capture) == f"<MediaCapture 10 datagrams, {capture.dropped} dropped>"
    assert min(each.wall for each in capture) < EPOCH + 1000.1


def test_streams_that_are_not_captured_cost_and_keep_nothing(lab):
    a, _ = lab.pair()
    plain = lab.engine.backend
    other, peer = lab.open(), lab.socket()
    capture = captured(other)
    assert isinstance(lab.engine.backend, TappedBackend)
    other.start(lab.parameters(peer))
    lab.run(0.2)
    assert {each.local[1] for each in capture} == {other.port}
    other.stop()
    assert lab.engine.backend is plain
    assert a.capture is None
    lab.run(0.2)
    assert a.statistics().receive.packets_received > 10


def test_a_second_capture_joins_the_first(lab):
    streams = [lab.open(), lab.open()]
    captures = [captured(stream) for stream in streams]
    for own, peer in (streams, streams[::-1]):
        own.start(lab.parameters(peer))
    lab.run(0.2)
    streams[0].stop()
    assert isinstance(lab.engine.backend, TappedBackend)
    before = len(captures[1])
    lab.run(0.2)
    assert len(captures[1]) > before


def test_the_port_that_mux_gives_up_is_not_copied_any_more(lab):
    stream, peer = lab.open(rtcp_mux=False), lab.socket()
    captured(stream)
    stream.start(lab.parameters(peer, rtcp_mux=True))
    assert len(lab.engine.backend._descriptors) == 1


def test_a_stream_has_one_capture_while_it_is_there(lab):
    stream = lab.open()
    capture = captured(stream)
    assert stream.capture is capture
    with pytest.raises(LocalProtocolError):
        captured(stream)
    stream.stop()
    with pytest.raises(LocalProtocolError):
        captured(stream)


def test_keys_are_noted_with_the_datagram_they_begin_at(lab):
    a, b = lab.open(), lab.open()
    lines = [lab.line() for _ in range(4)]
    capture = captured(a)
    keys = {
        "srtp_send": SrtpContext(lines[0], "send"),
        "srtp_receive": SrtpContext(lines[1], "receive"),
        "srtp_rtcp": (SrtpContext(lines[2], "send"), SrtpContext(lines[3], "receive")),
    }
    parameters = lab.parameters(b, **keys)
    a.start(parameters)
    lab.run(0.1)
    a.start(replace(parameters, ptime_ms=40))
    first, second = capture.key_periods
    assert (first.first, first.send, first.receive) == (0, lines[0], lines[1])
    assert first.rtcp == (lines[2], lines[3])
    assert second.first == len(capture) > 0
    assert "inline" not in repr(capture.key_periods)


def test_rollover_counters_that_run_already_are_noted(lab):
    a, b = lab.pair(secure=True)
    context = a._parameters.srtp_send
    if not context.set_roc(a.ssrc, 7):
        pytest.fail("this build of libsrtp cannot set the counter")
    lab.run(0.1)
    capture = captured(a)
    assert capture.key_periods[0].rollovers == {a.ssrc: 7}
    assert b.capture is None


def test_keys_and_secrets_are_bounded(lab):
    capture = MediaCapture(CaptureConfig())
    parameters = lab.parameters(9)
    for _ in range(MAX_PERIODS + MAX_SECRETS):
        capture.note_keys(parameters)
        capture.note_secret(b"CLIENT_RANDOM \xff")
    assert len(capture.key_periods) == MAX_PERIODS
    assert capture.secrets == ["CLIENT_RANDOM \ufffd"] * MAX_SECRETS
    assert capture.key_periods[0].send is None


def test_a_capture_without_room_is_refused():
    with pytest.raises(ConfigurationError, match="octets of a capture"):
        CaptureConfig(octets=0)
