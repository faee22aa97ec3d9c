"""Packets that SRTP refuses: what a stream finds out about them."""

from __future__ import annotations

from callmeter.srtp import CryptoLine, SrtpContext
from callmeter.srtp.trial import FailureCause


def rekeyed(lab, stream, peer, line):
    context = SrtpContext(line, "receive")
    sender = stream._parameters.srtp_send
    stream.start(lab.parameters(peer, srtp_send=sender, srtp_receive=context))


def resend(lab, stream, peer, line):
    receiver = stream._parameters.srtp_receive
    sender = SrtpContext(line, "send")
    stream.start(lab.parameters(peer, srtp_send=sender, srtp_receive=receiver))


def test_the_cause_is_known_after_a_fifth_of_a_second_and_gone_with_the_first_good_packet(
    lab,
):
    a, b = lab.pair(secure=True)
    lab.run(0.5)
    line = b._parameters.srtp_send.line
    resend(lab, b, a, CryptoLine(1, line.profile.other_tag_length, line.keys))
    lab.run(0.1)
    assert a.statistics().srtp_failure is None
    lab.run(0.15)
    assert a.statistics().srtp_failure is FailureCause.TAG_LENGTH
    resend(lab, b, a, line)
    lab.run(0.1)
    assert a.statistics().srtp_failure is None


def test_forged_packets_between_good_ones_are_not_looked_into(lab):
    a, _ = lab.pair(secure=True)
    peer = lab.socket()
    for number in range(50):
        for part in range(20):
            peer.sendto(lab.rtp(number * 20 + part), ("127.0.0.1", a.port))
        lab.run(0.02)
        assert a.statistics().srtp_failure is None
    assert a.statistics().srtp_decrypt_failures == 1000
    assert a.statistics().receive.packets_received > 40


def test_a_rekey_is_unfollowed_until_the_new_key_is_seen(lab):
    a, b = lab.pair(secure=True)
    lab.run(0.5)
    new = lab.line()
    rekeyed(lab, a, b, new)
    lab.run(1.0)
    statistics = a.statistics()
    assert 45 <= statistics.srtp_unfollowed == statistics.srtp_old_key_packets <= 51
    resend(lab, b, a, new)
    lab.run(0.1)
    statistics = a.statistics()
    assert statistics.srtp_unfollowed == 0
    assert statistics.srtp_old_key_packets >= 45


def test_a_rekey_never_followed_stays_so_when_the_old_key_is_gone(lab):
    a, b = lab.pair(secure=True)
    lab.run(0.5)
    rekeyed(lab, a, b, lab.line())
    lab.run(3.0)
    statistics = a.statistics()
    assert statistics.srtp_unfollowed > 90
    assert statistics.srtp_failure is FailureCause.KEY


def test_the_length_of_a_payload_is_kept(lab):
    a, _ = lab.pair()
    lab.run(0.3)
    assert a.statistics().payload_octets == 160


def test_reports_in_clear_and_with_the_wrong_e_bit_are_counted_apart(lab):
    a, b = lab.pair(secure=True)
    peer = lab.socket()
    line = b._parameters.srtp_send.line
    report = bytes.fromhex("80c90001 0000cafe")
    unencrypted = CryptoLine(
        1, line.profile, line.keys, type(line.parameters)(unencrypted_srtcp=True)
    )
    peer.sendto(report, ("127.0.0.1", a.port))
    peer.sendto(SrtpContext(unencrypted, "send").protect_rtcp(report), ("127.0.0.1", a.port))
    peer.sendto(SrtpContext(lab.line(), "send").protect_rtcp(report), ("127.0.0.1", a.port))
    lab.run(0.1)
    statistics = a.statistics()
    assert statistics.rtcp_in_clear == 1
    assert statistics.rtcp_encryption_mismatches == 1
    assert statistics.dropped["rtcp_authentication"] == 3


def test_a_forged_report_with_the_wrong_e_bit_does_not_count(lab):
    a, _ = lab.pair(secure=True)
    peer = lab.socket()
    forged = lab.line()
    clear = CryptoLine(
        1, forged.profile, forged.keys, type(forged.parameters)(unencrypted_srtcp=True)
    )
    context = SrtpContext(clear, "send")
    for _ in range(120):
        report = context.protect_rtcp(bytes.fromhex("80c90001 0000cafe"))
        peer.sendto(report, ("127.0.0.1", a.port))
    lab.run(0.1)
    statistics = a.statistics()
    assert statistics.rtcp_encryption_mismatches == 0
    assert statistics.dropped["rtcp_authentication"] == 120
