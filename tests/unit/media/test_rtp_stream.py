"""A stream as its owner and as an attacker see it."""

from __future__ import annotations

import asyncio
import inspect

import pytest

from callmeter.errors import ConfigurationError, LocalProtocolError, TransportError
from callmeter.media import (
    AuthenticationFailing,
    Discard,
    FirstPacket,
    PeerLeft,
    ReportReceived,
    SourceChanged,
    SsrcChanged,
    Tone,
    rtp_stream,
)
from callmeter.rtp import PacketKind, classify, parse_rtcp
from callmeter.rtp.rtcp import Goodbye
from callmeter.srtp import CryptoLine, MasterKey, SrtpContext, supported_suites
from callmeter.srtp.session_parameters import SessionParameters

LOOPBACK = "127.0.0.1"


def target(stream):
    return (LOOPBACK, stream.port)


# --- life -------------------------------------------------------------------------------------


def test_reports_carry_the_figures_and_the_round_trip(lab):
    a, b = lab.pair()
    lab.run(16.0)
    statistics = a.statistics()
    assert statistics.rtcp_packets_received >= 2
    assert statistics.reported_fraction_lost == 0
    assert statistics.reported_packets_lost == 0
    assert statistics.reported_jitter_ms == pytest.approx(0, abs=0.2)
    assert 1500 < statistics.rtcp_sr_rr_interval_ms < 10_000
    assert statistics.rtt_ms is not None
    # Without kernel stamps a way takes until the next tick of 20 ms.
    assert statistics.rtt_ms == pytest.approx(40, abs=1)
    reports = lab.events(a, ReportReceived)
    assert reports[-1].fraction_lost == 0
    assert reports[-1].jitter_s == pytest.approx(0, abs=2e-4)
    assert b.statistics().rtt_ms is not None


def test_rates_speak_of_the_time_since_an_earlier_snapshot(lab):
    a, _ = lab.pair()
    lab.run(3.0)
    earlier = a.statistics()
    lab.run(2.0)
    now = a.statistics(earlier)
    assert now.send.packets_sent_rate_ps == pytest.approx(50, abs=1)
    assert now.receive.packets_recv_rate_ps == pytest.approx(50, abs=1)


def test_stopping_says_goodbye_releases_everything_and_keeps_the_figures(lab):
    a, b = lab.pair(rtcp_mux=False)
    lab.run(1.0)
    sent = a.statistics().send.packets_sent
    a.stop()
    a.stop()
    assert a.statistics().send.packets_sent == sent
    assert "stopped" in repr(a)
    lab.run(0.1)
    (left,) = lab.events(b, PeerLeft)
    assert left.ssrc == a.ssrc
    for misuse in (
        lambda: a.start(lab.parameters(b)),
        lambda: a.play(Tone()),
        lambda: a.send_digits("1"),
        lambda: a.attach(Discard()),
        lambda: a.send_datagram(bytes(20), target(b)),
    ):
        with pytest.raises(LocalProtocolError):
            misuse()
    # The ports are free again.
    lab.engine.sockets.allocator.open_one(LOOPBACK, (a.port, a.port), 0).close()
    lab.engine.sockets.allocator.open_one(LOOPBACK, (a.rtcp_port, a.rtcp_port), 0).close()


def test_a_stream_that_never_started_stops_without_a_word(lab):
    peer = lab.socket()
    stream = lab.open()
    assert stream.statistics().source is None
    assert stream.statistics().remote_ssrc is None
    assert "open" in repr(stream)
    stream.stop()
    assert lab.fetch_all(peer) == []


def test_the_extra_rtcp_port_is_released_when_mux_was_agreed_on(lab):
    peer = lab.socket()
    stream = lab.open(rtcp_mux=False)
    extra = stream.rtcp_port
    assert extra == stream.port + 1
    stream.start(lab.parameters(peer, rtcp_mux=True))
    assert stream.rtcp_port == stream.port
    lab.engine.sockets.allocator.open_one(LOOPBACK, (extra, extra), 0).close()
    lab.run(4.0)
    kinds = {classify(datagram) for datagram in lab.fetch_all(peer)}
    assert kinds == {PacketKind.RTP, PacketKind.RTCP}


def test_a_peer_on_port_0_gets_nothing(lab):
    stream = lab.open()
    stream.start(lab.parameters(0))
    lab.run(10.0)
    assert stream.statistics().send.packets_sent == 0
    assert stream.statistics().rtcp_packets_sent == 0


def test_a_remote_address_of_the_wrong_kind_is_refused(lab):
    stream = lab.open()
    for host in ("::1", "not-an-address"):
        with pytest.raises(ConfigurationError, match="is no address"):
            stream.start(lab.parameters(9, remote=(host, 4000)))


def test_ipv6_streams_work_alike(lab):
    ends = [lab.open(address="::1") for _ in range(2)]
    for own, peer in ((0, 1), (1, 0)):
        ends[own].start(lab.parameters(9, remote=("::1", ends[peer].port), rtcp_mux=True))
    lab.run(1.0)
    assert ends[0].statistics().receive.packets_received >= 48
    assert ends[0].statistics().source == ("::1", ends[1].port)


# --- hold and change --------------------------------------------------------------------------


def test_media_received_while_only_sending_is_dropped(lab):
    peer = lab.socket()
    stream = lab.open()
    stream.start(lab.parameters(peer, receive=False))
    peer.sendto(lab.rtp(1), target(stream))
    lab.run(0.1)
    assert stream.statistics().dropped == {"inactive": 1}


def test_a_new_remote_address_takes_the_media_and_its_rtcp(lab):
    old, new = lab.socket(), lab.socket()
    stream = lab.open()
    stream.start(lab.parameters(old))
    lab.run(0.2)
    lab.fetch_all(old)
    stream.start(lab.parameters(new))
    lab.run(10.0)
    assert lab.fetch_all(old) == []
    assert {classify(datagram) for datagram in lab.fetch_all(new)} == {
        PacketKind.RTP,
        PacketKind.RTCP,
    }


# --- sources ----------------------------------------------------------------------------------


def test_an_off_path_socket_gets_no_media_and_counts_for_nothing(lab):
    peer, attacker = lab.socket(), lab.socket()
    stream = lab.open()
    stream.start(lab.parameters(peer))
    peer.sendto(lab.rtp(0), target(stream))
    lab.run(0.02)
    for sequence in range(1, 400):
        peer.sendto(lab.rtp(sequence), target(stream))
        for _ in range(5):
            attacker.sendto(lab.rtp(sequence), target(stream))
        lab.run(0.02)
    statistics = stream.statistics()
    assert statistics.receive.packets_received == 400
    assert statistics.receive.packets_lost == 0
    assert statistics.dropped == {"source": 5 * 399}
    assert lab.fetch_all(attacker) == []


def test_an_attacker_before_the_peer_has_at_most_five_packets_to_try(lab):
    peer, attacker = lab.socket(), lab.socket()
    stream = lab.open()
    stream.start(lab.parameters(peer, symmetric=False))
    for sequence in range(20):
        attacker.sendto(lab.rtp(sequence), target(stream))
        lab.run(0.02)
    assert stream.statistics().receive.packets_received == 0
    assert stream.statistics().first_packet_at is None
    assert lab.fetch_all(attacker) == []
    assert len(lab.fetch(peer)) > 15


def test_a_peer_behind_a_nat_is_learned_and_its_first_packets_count(lab):
    signalled, nat = lab.socket(), lab.socket()
    stream = lab.open()
    stream.start(lab.parameters(signalled))
    for sequence in range(50):
        nat.sendto(lab.rtp(sequence), target(stream))
        lab.run(0.02)
    statistics = stream.statistics()
    assert statistics.receive.packets_received == 50
    assert statistics.source == nat.getsockname()
    assert statistics.source_locked
    assert len(lab.fetch(nat)) > 40
    (moved,) = lab.events(stream, SourceChanged)
    assert moved.previous == signalled.getsockname()
    assert moved.source == nat.getsockname()
    # A refreshed session keeps what was learned.
    lab.fetch(signalled)
    stream.start(lab.parameters(signalled))
    nat.sendto(lab.rtp(50), target(stream))
    lab.run(0.1)
    assert lab.fetch(signalled) == []
    assert stream.statistics().receive.packets_received == 51


def test_packets_kept_of_somebody_else_are_not_counted_when_a_peer_is_learned(lab):
    signalled, nat, attacker = lab.socket(), lab.socket(), lab.socket()
    stream = lab.open()
    stream.start(lab.parameters(signalled))
    attacker.sendto(lab.rtp(7000, ssrc=666), target(stream))
    for sequence in range(20):
        nat.sendto(lab.rtp(sequence), target(stream))
        lab.run(0.02)
    statistics = stream.statistics()
    assert statistics.source == nat.getsockname()
    assert statistics.receive.packets_received == 20
    assert statistics.receive.ssrc_switches == 0
    assert statistics.dropped == {"source": 1}
    assert lab.fetch_all(attacker) == []


def test_packets_that_were_kept_and_proved_nothing_are_counted_in_the_end(lab):
    signalled, attacker = lab.socket(), lab.socket()
    stream = lab.open()
    stream.start(lab.parameters(signalled))
    for sequence in range(7):
        attacker.sendto(lab.rtp(sequence), target(stream))
    lab.run(0.4)
    assert stream.statistics().dropped == {"source": 2}
    attacker.sendto(lab.rtp(7), target(stream))
    lab.run(0.02)
    assert stream.statistics().dropped == {"source": 8}
    other = lab.open()
    other.start(lab.parameters(signalled))
    attacker.sendto(lab.rtp(0), target(other))
    lab.run(0.02)
    assert other.statistics().dropped == {}
    other.stop()
    assert other.statistics().dropped == {"source": 1}


def test_an_authenticated_packet_moves_media_and_a_forged_one_does_not(lab):
    signalled, attacker, moved = lab.socket(), lab.socket(), lab.socket()
    line = lab.line()
    stream = lab.open()
    stream.start(
        lab.parameters(
            signalled,
            srtp_send=SrtpContext(lab.line(), "send"),
            srtp_receive=SrtpContext(line, "receive"),
        )
    )
    peer = SrtpContext(line, "send")
    old = peer.protect(lab.rtp(0))
    for sequence in range(1, 30):
        signalled.sendto(peer.protect(lab.rtp(sequence)), target(stream))
        attacker.sendto(lab.rtp(sequence + 1000), target(stream))
        lab.run(0.02)
    # Held back by the attacker, and authentic: too late to move anything.
    attacker.sendto(old, target(stream))
    lab.run(0.1)
    assert lab.fetch_all(attacker) == []
    lab.fetch_all(signalled)
    for sequence in range(30, 40):
        moved.sendto(peer.protect(lab.rtp(sequence)), target(stream))
        lab.run(0.02)
    assert len(lab.fetch(moved)) >= 9
    statistics = stream.statistics()
    assert statistics.receive.packets_received == 40
    assert statistics.srtp_decrypt_failures == 29
    assert statistics.source == moved.getsockname()


# --- SRTP -------------------------------------------------------------------------------------


@pytest.mark.parametrize("suite", sorted(supported_suites()))
def test_with_keys_nothing_plain_ever_leaves(lab, suite):
    peer = lab.socket()
    stream = lab.open()
    line, back = lab.line(suite), lab.line(suite)
    stream.start(
        lab.parameters(
            peer, srtp_send=SrtpContext(line, "send"), srtp_receive=SrtpContext(back, "receive")
        )
    )
    stream.send_digits("5")
    lab.run(4.0)
    stream.stop()
    receiver = SrtpContext(line, "receive")
    datagrams = lab.fetch_all(peer)
    kinds = [classify(datagram) for datagram in datagrams]
    assert kinds[-1] is PacketKind.RTCP
    for kind, datagram in zip(kinds, datagrams, strict=True):
        if kind is PacketKind.RTP:
            assert receiver.unprotect(datagram) is not None
        else:
            plain = receiver.unprotect_rtcp(datagram)
            assert plain is not None
    assert isinstance(parse_rtcp(plain)[-1], Goodbye)
    receiver.close()


def test_with_keys_nothing_plain_is_accepted(lab):
    peer = lab.socket()
    stream = lab.open()
    stream.start(
        lab.parameters(
            peer,
            srtp_send=SrtpContext(lab.line(), "send"),
            srtp_receive=SrtpContext(lab.line(), "receive"),
        )
    )
    for sequence in range(150):
        peer.sendto(lab.rtp(sequence), target(stream))
        lab.run(0.02)
    peer.sendto(bytes.fromhex("80c90001 0000cafe"), target(stream))
    lab.run(0.1)
    statistics = stream.statistics()
    assert statistics.receive.packets_received == 0
    assert statistics.srtp_decrypt_failures == 150
    assert statistics.dropped["rtcp_authentication"] == 1
    (failing,) = lab.events(stream, AuthenticationFailing)
    assert failing.count == 100
    assert failing.looks_like_plain_rtp
    assert statistics.srtp_failure == "plain_rtp"
    assert statistics.rtcp_in_clear == 1


def test_a_wrong_key_is_one_event_however_long_it_lasts(lab):
    a, b = lab.pair(secure=True)
    b.start(
        lab.parameters(
            a, srtp_send=SrtpContext(lab.line(), "send"), srtp_receive=b._receiver.context
        )
    )
    lab.run(5.0)
    (failing,) = lab.events(a, AuthenticationFailing)
    assert not failing.looks_like_plain_rtp
    statistics = a.statistics()
    assert statistics.receive.packets_received == 0
    assert statistics.srtp_decrypt_failures > 200


def test_a_replayed_packet_is_counted_apart(lab):
    peer = lab.socket()
    line = lab.line()
    stream = lab.open()
    stream.start(
        lab.parameters(
            peer,
            srtp_send=SrtpContext(lab.line(), "send"),
            srtp_receive=SrtpContext(line, "receive"),
        )
    )
    sender = SrtpContext(line, "send")
    for sequence in range(10):
        packet = sender.protect(lab.rtp(sequence))
        peer.sendto(packet, target(stream))
        peer.sendto(packet, target(stream))
        lab.run(0.02)
    statistics = stream.statistics()
    assert statistics.receive.packets_received == 10
    assert statistics.srtp_replayed == 10
    assert statistics.srtp_decrypt_failures == 0


def test_a_rekey_loses_nothing_and_old_keys_end_with_the_first_new_packet(lab):
    a, b = lab.pair(secure=True)
    lab.run(1.0)
    lines = lab.line(), lab.line()
    old = b._sender.context
    a.start(
        lab.parameters(
            b,
            srtp_send=SrtpContext(lines[0], "send"),
            srtp_receive=SrtpContext(lines[1], "receive"),
        )
    )
    lab.run(0.3)
    # b still sends under the old key, and a takes it; b refuses the new one of a.
    assert a.statistics().srtp_old_key_packets >= 14
    assert a.statistics().srtp_decrypt_failures == 0
    b.start(
        lab.parameters(
            a,
            srtp_send=SrtpContext(lines[1], "send"),
            srtp_receive=SrtpContext(lines[0], "receive"),
        )
    )
    assert old.handle is None
    lab.run(1.0)
    statistics = a.statistics()
    assert statistics.receive.packets_lost == 0
    assert statistics.srtp_decrypt_failures == 0
    # A report under the old key may still be on its way.
    assert a.next_deadline() is not None
    lab.run(1.0)
    assert a.next_deadline() is None
    assert b.statistics().receive.packets_received >= 95


def test_the_old_key_dies_after_two_seconds(lab):
    a, b = lab.pair(secure=True)
    lab.run(0.5)
    a.start(
        lab.parameters(
            b, srtp_send=a._sender.context, srtp_receive=SrtpContext(lab.line(), "receive")
        )
    )
    lab.run(1.9)
    assert a.statistics().srtp_decrypt_failures == 0
    lab.run(1.0)
    assert a.statistics().srtp_decrypt_failures > 30


def test_the_same_contexts_go_on_through_a_refresh(lab):
    a, b = lab.pair(secure=True)
    lab.run(1.0)
    for own, peer in ((a, b), (b, a)):
        own.start(
            lab.parameters(peer, srtp_send=own._sender.context, srtp_receive=own._receiver.context)
        )
    lab.run(1.0)
    assert a.statistics().receive.packets_lost == 0
    assert a.statistics().dropped == {}
    assert a.statistics().receive.packets_received == b.statistics().send.packets_sent


def test_a_secure_stream_cannot_be_made_plain(lab):
    a, b = lab.pair(secure=True)
    with pytest.raises(LocalProtocolError, match="stays secure"):
        a.start(lab.parameters(b))
    with pytest.raises(LocalProtocolError, match="stays secure"):
        a.start(lab.parameters(b, srtp_receive=a._receiver.context))


def test_a_key_with_an_mki_takes_the_scalar_path_both_ways(lab):
    line = lab.line()
    key = MasterKey(line.keys[0].key_and_salt, mki=1, mki_length=4)
    line = CryptoLine(1, line.profile, (key,), SessionParameters())
    a, b = lab.open(), lab.open()
    for own, peer in ((a, b), (b, a)):
        own.start(
            lab.parameters(
                peer, srtp_send=SrtpContext(line, "send"), srtp_receive=SrtpContext(line, "receive")
            )
        )
    lab.run(1.0)
    assert a.statistics().receive.packets_received == b.statistics().send.packets_sent >= 48
    assert not lab.engine.lanes.steady.any()


def test_a_key_protects_exactly_as_many_packets_as_its_lifetime(lab):
    line = lab.line()
    key = MasterKey(line.keys[0].key_and_salt, lifetime=60)
    line = CryptoLine(1, line.profile, (key,), SessionParameters())
    peer = lab.socket()
    stream = lab.open()
    stream.start(lab.parameters(peer, srtp_send=SrtpContext(line, "send")))
    lab.run(2.0)
    assert len(lab.fetch(peer)) == 60
    assert stream.statistics().srtp_protect_failures >= 38


def test_a_long_lifetime_is_charged_for_what_the_batches_send(lab):
    line = lab.line()
    lifetime = (1 << 20) + 75
    key = MasterKey(line.keys[0].key_and_salt, lifetime=lifetime)
    line = CryptoLine(1, line.profile, (key,), SessionParameters())
    context = SrtpContext(line, "send")
    stream = lab.open()
    stream.start(lab.parameters(lab.socket(), srtp_send=context))
    lab.run(1.1)
    assert not lab.engine.lanes.special[0]
    lab.run(2.0)
    assert lab.engine.lanes.special[0]
    sent = stream.statistics().send.packets_sent
    assert context.packets_left == lifetime - sent


# --- what else comes to a port ----------------------------------------------------------------

HOSTILE = [
    (b"\x80", "unrecognised"),
    (b"\x80\x00" + bytes(9), "unrecognised"),
    (b"\x00\x00" + bytes(60), "rtp?"),
    (b"\xc0\x00" + bytes(60), "unrecognised"),
    (b"\x8f\x00" + bytes(30), "header"),
    (b"\x90\x00" + bytes(10) + b"\xbe\xde\xff\xff" + bytes(20), "header"),
    (b"\x80\x60" + bytes(170), "payload_type"),
    (b"\x80\xc8" + bytes(2), "unrecognised"),
    (b"\x80\xc8\xff\xff" + bytes(8), "rtcp_malformed"),
    (b"\x10" + bytes(30), "zrtp"),
    (b"\x16\xfe\xfd" + bytes(30), "dtls"),
    (b"\x00\x01\x00\x00\x21\x12\xa4\x42" + bytes(12), "stun"),
    (bytes([0x80, 0]) + bytes(1600), "oversize"),
]


@pytest.mark.parametrize(("datagram", "reason"), [row for row in HOSTILE if row[1] != "rtp?"])
def test_hostile_datagrams_leave_a_counter_and_nothing_else(lab, datagram, reason):
    peer = lab.socket()
    stream = lab.open()
    stream.start(lab.parameters(peer))
    for sequence in range(10):
        peer.sendto(lab.rtp(sequence), target(stream))
        peer.sendto(datagram, target(stream))
        lab.run(0.02)
    statistics = stream.statistics()
    assert statistics.dropped == {reason: 10}
    assert statistics.receive.packets_received == 10
    assert statistics.receive.packets_lost == 0


def test_padding_longer_than_the_packet_is_dropped(lab):
    peer = lab.socket()
    stream = lab.open()
    stream.start(lab.parameters(peer))
    packet = bytearray(lab.rtp(1))
    packet[0] |= 0x20
    packet[-1] = 255
    peer.sendto(bytes(packet), target(stream))
    lab.run(0.1)
    assert stream.statistics().dropped == {"padding": 1}


def test_a_flood_moves_counters_exactly_and_never_ends_the_stream(lab):
    a, b = lab.pair(secure=True)
    attacker = lab.socket()
    forged = lab.rtp(7)
    for _ in range(50):
        for _ in range(200):
            attacker.sendto(forged, target(a))
        lab.run(0.02)
    lab.run(0.1)
    statistics = a.statistics()
    assert statistics.srtp_decrypt_failures == 10_000
    assert statistics.receive.packets_received == b.statistics().send.packets_sent
    assert statistics.receive.packets_lost == 0


def test_a_changed_ssrc_is_one_event_and_the_count_goes_on(lab):
    peer = lab.socket()
    stream = lab.open()
    stream.start(lab.parameters(peer))
    for sequence in range(20):
        peer.sendto(lab.rtp(sequence, ssrc=1), target(stream))
        lab.run(0.02)
    for sequence in range(5000, 5020):
        peer.sendto(lab.rtp(sequence, ssrc=2), target(stream))
        lab.run(0.02)
    (changed,) = lab.events(stream, SsrcChanged)
    assert (changed.previous, changed.ssrc) == (1, 2)
    statistics = stream.statistics()
    assert statistics.receive.ssrc_switches == 1
    assert statistics.receive.packets_received == 40
    assert statistics.receive.packets_lost == 0
    assert statistics.remote_ssrc == 2


def test_a_source_that_changes_with_every_packet_fills_no_memory(lab):
    peer = lab.socket()
    stream = lab.open()
    stream.start(lab.parameters(peer))
    for number in range(600):
        peer.sendto(lab.rtp(number, ssrc=number + 1), target(stream))
    lab.run(0.1)
    assert stream.statistics().receive.ssrc_switches == 599
    assert len(lab.events(stream, SsrcChanged)) == 128


def test_what_came_long_before_the_start_is_dropped_and_the_rest_counts(lab):
    peer = lab.socket()
    stream = lab.open()
    stream.set_control(lambda *_: None)
    peer.sendto(lab.rtp(0), target(stream))
    lab.run(0.1)
    assert stream.statistics().dropped == {"inactive": 1}
    stream.set_control(None)
    stream.start(lab.parameters(peer))
    stream._listened_from = lab.loop.time() + 1
    peer.sendto(lab.rtp(1), target(stream))
    lab.run(0.1)
    assert stream.statistics().dropped == {"inactive": 1, "early": 1}


def test_stun_and_dtls_go_to_the_control_lane_before_and_after_the_start(lab):
    peer = lab.socket()
    stream = lab.open()
    seen = []
    stream.set_control(lambda kind, datagram, source: seen.append((kind, len(datagram), source)))
    dtls = b"\x16\xfe\xfd" + bytes(30)
    peer.sendto(dtls, target(stream))
    peer.sendto(bytes.fromhex("80c90001 0000cafe"), target(stream))
    lab.run(0.1)
    stream.start(lab.parameters(peer))
    peer.sendto(bytes(20), target(stream))
    lab.run(0.1)
    assert seen == [
        (PacketKind.DTLS, 33, peer.getsockname()),
        (PacketKind.STUN, 20, peer.getsockname()),
    ]
    assert stream.statistics().dropped == {"inactive": 1}
    assert stream.send_datagram(dtls, peer.getsockname())
    assert dtls in lab.fetch_all(peer)
    with pytest.raises(LocalProtocolError, match="only STUN, DTLS"):
        stream.send_datagram(lab.rtp(1), peer.getsockname())
    stream.stop()
    stream.set_control(lambda *_: None)


def test_rtp_on_the_rtcp_port_is_dropped(lab):
    peer = lab.socket()
    stream = lab.open(rtcp_mux=False)
    stream.start(lab.parameters(peer, rtcp_mux=False))
    peer.sendto(lab.rtp(1), (LOOPBACK, stream.rtcp_port))
    lab.run(0.1)
    assert stream.statistics().dropped == {"rtp": 1}


async def test_events_are_read_from_the_first_to_the_last(lab):
    a, b = lab.pair()
    lab.run(0.1)
    a.stop()
    lab.run(0.1)
    b.stop()
    assert inspect.isasyncgen(b.events())
    async with asyncio.timeout(20):
        events = [event async for event in b.events()]
    assert isinstance(events[0], FirstPacket)
    assert isinstance(events[-1], PeerLeft)


def test_a_code_point_the_system_does_not_allow_is_a_named_error(lab, monkeypatch):
    stream = lab.open(rtcp_mux=False)
    stream.mark(10)
    assert {bound.getsockopt(0, 1) >> 2 for bound in stream._sockets()} == {10}

    def refuse(bound, dscp):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(rtp_stream, "mark", refuse)
    with pytest.raises(TransportError, match="code point 46 cannot be set"):
        stream.mark(46)
    stream.stop()
    stream.mark(46)
