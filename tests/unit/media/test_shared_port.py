"""One port for many streams: each packet finds its stream, and what is for nobody is counted."""

from __future__ import annotations

import pytest

from callmeter.config import CaptureConfig
from callmeter.errors import LocalProtocolError
from callmeter.media import SourceChanged
from callmeter.media.capture import MediaCapture
from callmeter.media.shared_port import SOURCES_BY_STREAM, TRIALS
from callmeter.srtp import SrtpContext

LOOPBACK = "127.0.0.1"
STUN = b"\x00\x01" + bytes(18)


class Peer:
    """Sends to a stream, under its key if it has one."""

    def __init__(self, lab, stream, *, line=None, socket=None, ssrc=77):
        self.lab = lab
        self.stream = stream
        self.socket = socket or lab.socket()
        self.ssrc = ssrc
        self.context = None if line is None else SrtpContext(line, "send")
        self.sequence = 100

    def send(self, packets=1, *, socket=None):
        for _ in range(packets):
            self.sequence += 1
            packet = self.lab.rtp(self.sequence, ssrc=self.ssrc)
            if self.context is not None:
                packet = self.context.protect(packet)
            (socket or self.socket).sendto(packet, (LOOPBACK, self.stream.port))
            self.lab.run(0.02)

    def report(self):
        data = bytes.fromhex("80c90001") + self.ssrc.to_bytes(4, "big")
        if self.context is not None:
            data = self.context.protect_rtcp(data)
        self.socket.sendto(data, (LOOPBACK, self.stream.port))
        self.lab.run(0.02)


def shared_stream(lab, *, socket, secure=False, announced=None, **changes):
    stream = lab.open(shared=True)
    line = lab.line() if secure else None
    keys = {}
    if secure:
        keys = {
            "srtp_send": SrtpContext(line, "send"),
            "srtp_receive": SrtpContext(line, "receive"),
        }
    parameters = lab.parameters(socket, **keys | changes)
    stream.expect_peer(parameters.remote, announced)
    stream.start(parameters)
    return stream, line


def received(*streams):
    return [stream.statistics().receive.packets_received for stream in streams]


@pytest.fixture(params=[1, 1 << 30], ids=["batches", "one by one"])
def shared_lab(make_lab, request):
    lab = make_lab()
    lab.engine._receive.batch_from = request.param
    return lab


def test_streams_share_a_port_and_are_told_apart_by_the_address_of_the_peer(shared_lab):
    lab = shared_lab
    sockets = [lab.socket(), lab.socket()]
    streams = [shared_stream(lab, socket=socket)[0] for socket in sockets]
    assert streams[0].port == streams[1].port == streams[0].rtcp_port
    assert all(stream.shared for stream in streams)
    for stream, socket, packets in zip(streams, sockets, (6, 3), strict=True):
        Peer(lab, stream, socket=socket).send(packets)
    assert received(*streams) == [6, 3]
    assert lab.engine.dropped == {}


def test_streams_with_the_same_peer_are_told_apart_by_the_ssrc_it_announced(shared_lab):
    lab = shared_lab
    socket = lab.socket()
    streams = [shared_stream(lab, socket=socket, announced=ssrc)[0] for ssrc in (7, 8)]
    for stream, ssrc, packets in zip(streams, (7, 8), (5, 4), strict=True):
        Peer(lab, stream, socket=socket, ssrc=ssrc).send(packets)
    assert received(*streams) == [5, 4]


def test_streams_with_the_same_peer_are_told_apart_by_their_keys(shared_lab, monkeypatch):
    lab = shared_lab
    socket = lab.socket()
    opened = [shared_stream(lab, socket=socket, secure=True) for _ in range(3)]
    peers = [
        Peer(lab, stream, line=line, socket=socket, ssrc=ssrc)
        for (stream, line), ssrc in zip(opened, (7, 8, 9), strict=True)
    ]
    for peer in reversed(peers):
        peer.send(2)
    streams = [stream for stream, _ in opened]
    for stream in streams:
        # Once heard, nobody is tried again.
        monkeypatch.setattr(stream, "opens", None)
    for peer in peers:
        peer.send(3)
        peer.report()
    assert received(*streams) == [5, 5, 5]
    assert [stream.statistics().rtcp_packets_received for stream in streams] == [1, 1, 1]
    assert all(not stream.statistics().srtp_decrypt_failures for stream in streams)


def test_a_peer_that_changes_its_ssrc_is_found_again(shared_lab):
    lab = shared_lab
    socket = lab.socket()
    opened = [shared_stream(lab, socket=socket, secure=True) for _ in range(2)]
    peers = [
        Peer(lab, stream, line=line, socket=socket, ssrc=number)
        for number, (stream, line) in enumerate(opened, 1)
    ]
    for round_ in range(2 * SOURCES_BY_STREAM):
        for peer in peers:
            peer.ssrc += 10 * round_
            peer.send(2)
    streams = [stream for stream, _ in opened]
    assert received(*streams) == [4 * SOURCES_BY_STREAM] * 2
    for stream in streams:
        stream.stop()
    assert lab.engine.streams == []


def test_a_packet_of_nobodys_peer_is_counted_as_unknown(shared_lab):
    lab = shared_lab
    stream, _ = shared_stream(lab, socket=lab.socket(), symmetric=False)
    Peer(lab, stream).send(2)
    lab.socket().sendto(STUN, (LOOPBACK, stream.port))
    lab.run(0.05)
    assert lab.engine.dropped == {"unknown": 3}
    assert received(stream) == [0]
    stream.stop()
    assert lab.engine.dropped == {"unknown": 3}


def test_what_may_be_for_several_streams_is_counted_as_ambiguous(shared_lab):
    lab = shared_lab
    socket = lab.socket()
    streams = [shared_stream(lab, socket=socket)[0] for _ in range(2)]
    peer = Peer(lab, streams[0], socket=socket)
    peer.send()
    peer.report()
    socket.sendto(STUN, (LOOPBACK, streams[0].port))
    lab.run(0.05)
    assert lab.engine.dropped == {"ambiguous": 3}
    for stream in streams:
        stream.stop()
    assert lab.engine.dropped == {"ambiguous": 3}


def test_only_an_authenticated_packet_shows_where_a_peer_behind_a_nat_is(shared_lab):
    lab = shared_lab
    first, _ = shared_stream(lab, socket=lab.socket(), secure=True)
    second, line = shared_stream(lab, socket=lab.socket(), secure=True)
    Peer(lab, second).send(2)
    Peer(lab, second, line=line).send(3)
    assert received(first, second) == [0, 3]
    assert any(isinstance(event, SourceChanged) for event in lab.events(second))
    assert lab.engine.dropped == {"unknown": 2}


def test_a_clear_peer_elsewhere_is_found_by_the_ssrc_it_announced(shared_lab):
    lab = shared_lab
    first, _ = shared_stream(lab, socket=lab.socket(), announced=7)
    second, _ = shared_stream(lab, socket=lab.socket(), announced=8)
    Peer(lab, second, ssrc=8).send(6)
    assert received(first, second) == [0, 6]


def test_a_flood_of_strangers_costs_a_limited_number_of_trials(shared_lab, monkeypatch):
    lab = shared_lab
    stream, _ = shared_stream(lab, socket=lab.socket(), secure=True)
    tried = []
    monkeypatch.setattr(stream, "opens", tried.append)
    stranger = lab.socket()
    for number in range(2 * TRIALS):
        stranger.sendto(lab.rtp(number), (LOOPBACK, stream.port))
    lab.run(0.02)
    assert len(tried) == TRIALS
    assert lab.engine.dropped == {"unknown": 2 * TRIALS}


def test_a_peer_that_cannot_be_told_apart_gets_a_port_of_its_own(shared_lab):
    lab = shared_lab
    socket = lab.socket()
    place = (LOOPBACK, socket.getsockname()[1])
    first = lab.open(shared=True, alone_with=place)
    first.start(lab.parameters(socket))
    second = lab.open(shared=True, alone_with=place)
    third = lab.open(shared=True, alone_with=(LOOPBACK, 9))
    assert first.shared
    assert third.shared
    assert not second.shared
    assert second.port != first.port == third.port
    assert not lab.open(shared=True, alone_with=("nobody", 9)).shared


def test_the_port_is_free_after_its_last_stream(shared_lab):
    lab = shared_lab
    first, _ = shared_stream(lab, socket=lab.socket())
    port = first.port
    second, _ = shared_stream(lab, socket=lab.socket())
    lab.open(shared=True).stop()
    first.stop()
    Peer(lab, second).send()
    second.stop()
    assert not second.shared
    again = lab.open(shared=True, ports=(port, port))
    assert again.port == port


def test_a_stream_on_a_shared_port_is_not_captured_alone(shared_lab):
    stream, _ = shared_stream(shared_lab, socket=shared_lab.socket())
    with pytest.raises(LocalProtocolError, match="shared port"):
        stream.capture_to(MediaCapture(CaptureConfig()))


def test_streams_with_and_without_a_port_of_their_own_live_together(shared_lab):
    lab = shared_lab
    a, b = lab.pair(secure=True)
    sockets = [lab.socket(), lab.socket()]
    opened = [shared_stream(lab, socket=socket, secure=True) for socket in sockets]
    peers = [
        Peer(lab, stream, line=line, socket=socket)
        for (stream, line), socket in zip(opened, sockets, strict=True)
    ]
    for _ in range(5):
        for peer in peers:
            peer.send()
    assert min(received(a, b)) >= 8
    assert received(*(stream for stream, _ in opened)) == [5, 5]


def test_a_packet_that_changes_nothing_has_no_sources_sorted_anew(make_lab):
    lab = make_lab()
    lab.engine._receive.batch_from = 1
    stream, _ = shared_stream(lab, socket=lab.socket())
    port = lab.engine.lanes.ports[stream._row]
    peer = Peer(lab, stream, socket=lab.socket())
    stream.start(lab.parameters(peer.socket))
    peer.send(5)
    known = port._known
    assert known is not None
    stream.start(lab.parameters(peer.socket))
    peer.send(5)
    assert received(stream) == [10]
    assert port._known is known
