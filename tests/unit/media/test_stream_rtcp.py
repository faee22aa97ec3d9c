"""Reports on the network: ports, keys, and who may send them."""

from __future__ import annotations

from callmeter.media import PeerLeft
from callmeter.rtp import PacketKind, classify, parse_rtcp
from callmeter.rtp.rtcp import Goodbye, ReceiverReport, SenderReport, SourceDescription
from callmeter.srtp import SrtpContext

LOOPBACK = "127.0.0.1"


def target(stream):
    return (LOOPBACK, stream.port)


def test_rtcp_goes_to_its_own_port_without_mux(lab):
    rtp, rtcp = lab.socket(), lab.socket()
    stream = lab.open(rtcp_mux=False)
    stream.start(lab.parameters(rtp, remote_rtcp=(LOOPBACK, rtcp.getsockname()[1]), rtcp_mux=False))
    lab.run(6.0)
    assert {classify(datagram) for datagram in lab.fetch_all(rtp)} == {PacketKind.RTP}
    first, *_ = lab.fetch_all(rtcp)
    report, description = parse_rtcp(first)
    assert isinstance(report, SenderReport)
    assert isinstance(description, SourceDescription)
    assert description.chunks[0].items[0].text == stream.cname


def test_a_stream_that_does_not_send_reports_as_a_receiver(lab):
    peer = lab.socket()
    stream = lab.open()
    stream.start(lab.parameters(peer, send=False))
    for sequence in range(300):
        peer.sendto(lab.rtp(sequence), target(stream))
        lab.run(0.02)
    reports = [parse_rtcp(datagram)[0] for datagram in lab.fetch_all(peer)]
    assert all(isinstance(report, ReceiverReport) for report in reports)
    assert reports[0].blocks[0].ssrc == 0xCAFE
    stream.stop()
    packets = parse_rtcp(lab.fetch_all(peer)[-1])
    assert isinstance(packets[-1], Goodbye)


def test_plain_rtcp_is_taken_from_the_peer_only(lab):
    a, b = lab.pair()
    attacker = lab.socket("127.0.0.2")
    stranger = lab.socket()
    lab.run(0.1)
    goodbye = parse_rtcp_bytes(b)
    attacker.sendto(goodbye, target(a))
    lab.run(0.1)
    assert a.statistics().dropped == {"rtcp_source": 1}
    assert lab.events(a, PeerLeft) == []
    # Another port of the peer's own host may be its RTCP socket.
    stranger.sendto(goodbye, target(a))
    lab.run(0.1)
    assert len(lab.events(a, PeerLeft)) == 1


def parse_rtcp_bytes(stream):
    return stream._reports.reporter.compound(0.0, 0.0, goodbye=True)


def test_reports_go_to_where_the_peer_s_reports_come_from(lab):
    signalled, nat = lab.socket(), lab.socket()
    stream = lab.open()
    stream.start(lab.parameters(signalled, rtcp_mux=False))
    signalled.sendto(lab.rtp(1), target(stream))
    lab.run(0.1)
    nat.sendto(bytes.fromhex("80c90001 0000cafe"), target(stream))
    lab.run(10.0)
    kinds = {classify(datagram) for datagram in lab.fetch_all(nat)}
    assert kinds == {PacketKind.RTCP}
    # A refresh that says nothing new does not send them back to the signalled port.
    stream.start(lab.parameters(signalled, rtcp_mux=False))
    lab.run(10.0)
    assert lab.fetch_all(nat) != []


def test_authenticated_reports_are_taken_from_anywhere_and_only_once(lab):
    line = lab.line()
    peer, elsewhere = lab.socket(), lab.socket("127.0.0.3")
    stream = lab.open()
    stream.start(
        lab.parameters(
            peer,
            srtp_send=SrtpContext(line, "send"),
            srtp_receive=SrtpContext(line, "receive"),
        )
    )
    report = SrtpContext(line, "send").protect_rtcp(bytes.fromhex("80c90001 0000cafe"))
    for _ in range(3):
        elsewhere.sendto(report, target(stream))
    lab.run(0.1)
    assert stream.statistics().rtcp_packets_received == 1
    assert stream.statistics().dropped == {"rtcp_authentication": 2}


def test_a_report_on_its_way_under_the_old_key_is_read_after_a_rekey(lab):
    old, new = lab.line(), lab.line()
    peer = lab.socket()
    stream = lab.open()
    for line in (old, new):
        contexts = SrtpContext(line, "send"), SrtpContext(line, "receive")
        stream.start(lab.parameters(peer, srtp_send=contexts[0], srtp_receive=contexts[1]))
    for line in (old, new):
        report = SrtpContext(line, "send").protect_rtcp(bytes.fromhex("80c90001 0000cafe"))
        peer.sendto(report, target(stream))
    lab.run(0.1)
    assert stream.statistics().rtcp_packets_received == 2
    assert stream.statistics().dropped == {}


def test_a_key_that_cannot_protect_a_report_keeps_it_back(lab, monkeypatch):
    peer = lab.socket()
    stream = lab.open()
    context = SrtpContext(lab.line(), "send")
    monkeypatch.setattr(SrtpContext, "protect_rtcp", lambda *_: None)
    stream.start(lab.parameters(peer, srtp_send=context))
    lab.run(10.0)
    stream.stop()
    assert {classify(datagram) for datagram in lab.fetch_all(peer)} == {PacketKind.RTP}
    assert stream.statistics().rtcp_packets_sent == 0
