from __future__ import annotations

import gc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callmeter.config import SrtpSuite
from callmeter.errors import LocalProtocolError, MediaSecurityError
from callmeter.srtp import libsrtp
from callmeter.srtp.context import MAX_SOURCES, SrtpContext, authenticates
from callmeter.srtp.protection_profiles import SUPPORTED, for_suite
from callmeter.srtp.sdes import CryptoLine, MasterKey, SessionParameters
from callmeter.srtp.stream_policy import Status

CM_80 = for_suite(SrtpSuite.AES_CM_128_HMAC_SHA1_80)
CM_32 = for_suite(SrtpSuite.AES_CM_128_HMAC_SHA1_32)
GCM_128 = for_suite(SrtpSuite.AEAD_AES_128_GCM)
SSRC = 0xCAFEBABE
RTCP = bytes.fromhex("80c80006cafebabe") + bytes(20)
HEADER = bytes.fromhex("8000000100000000cafebabe")


def rtp(sequence=1, ssrc=SSRC, payload=bytes(160)):
    return (
        bytes.fromhex("8000")
        + sequence.to_bytes(2, "big")
        + bytes(4)
        + ssrc.to_bytes(4, "big")
        + payload
    )


def line(profile=CM_80, fill=1, lifetime=None, mki=None, **parameters):
    key = MasterKey(
        bytes([fill]) * profile.master_length, lifetime, mki, 4 if mki is not None else 0
    )
    return CryptoLine(1, profile, (key,), SessionParameters(**parameters))


def pair(keys=None, **arguments):
    keys = keys or line(**arguments)
    return SrtpContext(keys, "send"), SrtpContext(keys, "receive")


def test_one_context_carries_several_streams():
    send, receive = pair()
    for ssrc in (1, 2, 3):
        for sequence in (65535, 0):
            assert receive.unprotect(send.protect(rtp(sequence, ssrc))) == rtp(sequence, ssrc)
    assert (send.packets, receive.packets) == (6, 6)
    assert [receive.roc(ssrc) for ssrc in (1, 2, 3, 4)] == [1, 1, 1, None]


def test_sources_are_limited_and_those_that_are_known_go_on():
    send, receive = pair()
    for ssrc in range(1, MAX_SOURCES + 1):
        assert receive.unprotect(send.protect(rtp(1, ssrc)))
    assert receive.unprotect(send.protect(rtp(1, MAX_SOURCES + 1))) is None
    assert receive.unprotect_rtcp(send.protect_rtcp(RTCP)) is None
    assert receive.last_failure is Status.NO_CTX
    assert receive.other_failures == 2
    assert receive.roc(MAX_SOURCES + 1) is None
    assert receive.unprotect(send.protect(rtp(2, MAX_SOURCES))) == rtp(2, MAX_SOURCES)


def test_a_forged_packet_takes_the_room_of_no_source():
    send, receive = pair()
    for ssrc in range(10 * MAX_SOURCES):
        assert receive.unprotect(rtp(1, ssrc)) is None
        assert receive.unprotect_rtcp(RTCP[:4] + ssrc.to_bytes(4, "big") + bytes(40)) is None
    assert receive.unprotect(send.protect(rtp())) == rtp()
    assert receive.unprotect_rtcp(send.protect_rtcp(RTCP)) == RTCP


def test_dtls_keys_come_as_profile_key_and_parameters():
    keys = (GCM_128, MasterKey(bytes(28)), SessionParameters())
    send, receive = pair(keys)
    assert receive.unprotect_rtcp(send.protect_rtcp(RTCP)) == RTCP
    assert receive.line.profile is GCM_128


def test_bad_packets_are_counted_by_kind_and_never_raise():
    send, receive = pair()
    good = send.protect(rtp())
    assert receive.unprotect(good[:-1] + b"?") is None
    assert receive.last_failure is Status.AUTH_FAIL
    assert receive.unprotect(good) == rtp()
    assert receive.unprotect(good) is None
    assert receive.unprotect(rtp(2)) is None
    assert receive.unprotect(b"") is None
    secret = send.protect_rtcp(RTCP)
    assert receive.unprotect_rtcp(secret[:-1] + b"?") is None
    assert receive.unprotect_rtcp(b"") is None
    counters = (
        receive.auth_failures,
        receive.rtcp_auth_failures,
        receive.replayed,
        receive.malformed,
        receive.other_failures,
        receive.packets,
    )
    assert counters == (2, 1, 1, 2, 0, 1)


def test_a_repeated_sequence_number_is_not_sent_again():
    send, _ = pair()
    assert send.protect(rtp(5)) is not None
    assert send.protect(rtp(5, payload=b"other")) is None
    assert send.replayed == 1


def test_srtcp_in_clear_on_one_side_is_told_apart_from_a_wrong_key():
    send = SrtpContext(line(unencrypted_srtcp=True), "send")
    receive = SrtpContext(line(), "receive")
    assert receive.unprotect_rtcp(send.protect_rtcp(RTCP)) is None
    assert (receive.encryption_mismatches, receive.rtcp_auth_failures) == (1, 0)


def test_session_parameters_are_honoured():
    send, receive = pair(unencrypted_srtcp=True)
    packet = send.protect_rtcp(RTCP)
    assert packet.startswith(RTCP)
    assert receive.unprotect_rtcp(packet) == RTCP
    assert send.protect(rtp())[12:172] != bytes(160)
    send, receive = pair(unencrypted_srtp=True)
    assert send.protect(rtp()).startswith(rtp())
    send, receive = pair(unauthenticated_srtp=True)
    packet = send.protect(HEADER)
    assert packet == HEADER
    assert receive.unprotect(packet) == HEADER


def test_a_window_hint_widens_the_window_and_never_narrows_it():
    send = SrtpContext(line(), "send")
    packets = [send.protect(rtp(sequence)) for sequence in range(1000)]
    for hint, passed in ((64, 128), (500, 512), (999_999_999, 1000)):
        receive = SrtpContext(line(wsh=hint), "receive")
        assert receive.unprotect(packets[999]) is not None
        count = sum(receive.unprotect(packet) is not None for packet in packets[:999])
        assert abs(count + 1 - passed) <= 12, hint


@pytest.mark.parametrize("profile", [CM_80, GCM_128], ids=lambda row: row.name)
def test_an_mki_is_sent_and_read(profile):
    send, receive = pair(line(profile=profile, mki=0xA1B2C3D4))
    assert send.handle is None
    packet = send.protect(rtp())
    assert bytes.fromhex("a1b2c3d4") in packet
    assert receive.unprotect(packet) == rtp()
    assert receive.unprotect_rtcp(send.protect_rtcp(RTCP)) == RTCP
    assert SrtpContext(line(profile=profile, mki=1), "receive").unprotect(packet) is None


def test_an_mki_that_is_missing_is_neither_a_crash_nor_a_packet():
    send = SrtpContext(line(), "send")
    receive = SrtpContext(line(mki=1), "receive")
    assert receive.unprotect(send.protect(rtp())) is None
    assert receive.other_failures == 1
    assert receive.last_failure is Status.BAD_MKI


def test_a_key_is_not_used_beyond_its_lifetime():
    send, receive = pair(lifetime=2)
    assert send.packets_left == 2
    assert receive.unprotect(send.protect(rtp(1))) is not None
    assert receive.unprotect(send.protect(rtp(2))) is not None
    assert send.protect(rtp(3)) is None
    assert send.last_failure is Status.KEY_EXPIRED
    assert send.packets_left == 0
    assert [send.protect_rtcp(RTCP) is None for _ in range(3)] == [False, False, True]
    assert receive.packets_left == 2


def test_the_batch_lane_spends_the_lifetime_too():
    send, _ = pair(lifetime=100)
    assert send.spend(99)
    assert send.packets_left == 1
    assert not send.spend(20)
    assert send.packets_left == 0
    unlimited, _ = pair()
    assert unlimited.packets_left is None
    assert unlimited.spend(10**9)


def test_the_batch_lane_counts_by_the_same_rules():
    receive = SrtpContext(line(), "receive")
    for status in (7, 7, 9, 10, 14, 25, 200):
        receive.record(status)
    receive.record(7, rtcp=True)
    receive.record(14, rtcp=True)
    assert (receive.auth_failures, receive.replayed, receive.other_failures) == (2, 2, 3)
    assert (receive.rtcp_auth_failures, receive.encryption_mismatches) == (1, 1)
    receive.record(200)
    assert receive.last_failure is Status.FAIL


@pytest.mark.parametrize(
    "packet",
    [
        HEADER[:11],
        b"\x40" + HEADER[1:],
        b"\x8f" + HEADER[1:],
        b"\x81" + HEADER[1:] + bytes(3),
        b"\x90" + HEADER[1:] + bytes(3),
        b"\x90" + HEADER[1:] + bytes.fromhex("bede0001"),
        b"\x9f" + HEADER[1:] + bytes(60) + bytes.fromhex("bedeffff") + bytes(100),
        bytes(65_507),
        b"\x80" * 65_507,
    ],
    ids=["short", "version", "csrc", "csrc 1", "ext", "ext 1", "both", "zeros", "long"],
)
def test_a_header_that_does_not_fit_never_reaches_libsrtp(packet):
    send, receive = pair()
    assert send.protect(packet) is None
    assert send.malformed == 1
    assert receive.unprotect(packet[:1400]) is None
    assert receive.unprotect(packet[:40] + bytes(9)) is None
    assert receive.packets == 0


@pytest.mark.parametrize("profile", [CM_80, CM_32, GCM_128], ids=lambda row: row.name)
def test_the_shortest_packets_pass_and_one_octet_less_does_not(profile):
    send, receive = pair(line(profile=profile))
    csrcs_and_extension = b"\x92" + HEADER[1:] + bytes(8) + bytes.fromhex("bede0001") + bytes(4)
    for packet in (HEADER, csrcs_and_extension[:2] + b"\0\2" + csrcs_and_extension[4:]):
        protected = send.protect(packet)
        assert len(protected) == len(packet) + profile.rtp_tag_length
        assert receive.unprotect(protected[:-1]) is None
        assert receive.unprotect(protected) == packet
    assert receive.malformed == 2
    protected = send.protect_rtcp(RTCP[:8])
    assert len(protected) == 8 + 4 + profile.rtcp_tag_length
    assert receive.unprotect_rtcp(protected[:-1]) is None
    assert receive.malformed == 3
    assert receive.unprotect_rtcp(protected) == RTCP[:8]


def test_rtcp_that_is_too_short_too_long_or_no_rtcp_is_not_protected():
    send, _ = pair()
    for packet in (RTCP[:7], b"\x40" + RTCP[1:], RTCP[:8] + bytes(65_500)):
        assert send.protect_rtcp(packet) is None
    assert send.malformed == 3


def test_rtcp_that_libsrtp_will_not_protect_is_counted():
    send, _ = pair()
    send.close()
    assert send.protect_rtcp(RTCP) is None
    assert send.other_failures == 1
    assert send.last_failure is Status.NO_CTX


@given(
    st.binary(max_size=80),
    st.sampled_from(SUPPORTED).filter(lambda row: row.suite in libsrtp.supported_suites()),
    st.sampled_from([None, 1]),
)
def test_no_octets_at_all_raise_or_pass(packet, profile, mki):
    receive = SrtpContext(line(profile=profile, mki=mki), "receive")
    for octets in (packet, b"\x80" + packet, b"\x9f" + packet):
        assert receive.unprotect(octets) is None
        assert receive.unprotect_rtcp(octets) is None
    receive.close()


@given(st.binary(max_size=1400), st.integers(0, 15), st.booleans())
def test_what_goes_in_comes_out(payload, csrcs, extended):
    packet = bytes([0x80 | csrcs | extended << 4]) + HEADER[1:] + bytes(4 * csrcs)
    packet += (bytes.fromhex("bede0001") + bytes(4)) * extended + payload
    send, receive = pair(line(profile=GCM_128))
    assert receive.unprotect(send.protect(packet)) == packet


def test_closing_forgets_the_handle_and_lets_nothing_pass():
    send, receive = pair()
    packet = send.protect(rtp())
    receive.close()
    receive.close()
    assert receive.handle is None
    assert receive.unprotect(packet) is None
    assert receive.other_failures == 1


def test_a_context_nobody_closed_is_freed_with_its_last_reference():
    before = None
    for _ in range(3):
        contexts = [SrtpContext(line(), "send") for _ in range(500)]
        del contexts
        gc.collect()
        count = len(gc.get_objects())
        assert before is None or count < before + 100
        before = count


def test_no_repr_shows_a_key():
    keys = CryptoLine(1, CM_80, (MasterKey(b"thirty octets of a master key."),))
    context = SrtpContext(keys, "receive")
    assert repr(context) == "<SrtpContext receive AES_CM_128_HMAC_SHA1_80>"
    assert "thirty" not in repr(context.line)
    assert repr(SrtpContext(keys, "send")).startswith("<SrtpContext send")


def test_a_key_of_another_length_is_refused_before_libsrtp_cuts_it():
    keys = (CM_80, MasterKey(bytes(34)), SessionParameters())
    with pytest.raises(LocalProtocolError, match="needs 30 octets"):
        SrtpContext(keys, "send")


def test_what_the_door_cannot_do_is_refused_with_the_reason():
    public = libsrtp.choose_door(None)
    with pytest.raises(MediaSecurityError, match="reads no MKI") as caught:
        SrtpContext(line(mki=1), "send", door=public)
    assert caught.value.evidence == {"suite": "AES_CM_128_HMAC_SHA1_80", "door": "public"}
    with pytest.raises(MediaSecurityError, match="KDR"):
        SrtpContext(line(kdr=3), "send")


def test_a_policy_libsrtp_refuses_is_named():
    class Shut:
        name = "shut"
        whole = True
        suites = libsrtp.supported_suites()

        def open(self, policy):
            return None

    with pytest.raises(MediaSecurityError, match="libsrtp refused the policy"):
        SrtpContext(line(), "send", door=Shut())


class TestTrial:
    @pytest.mark.parametrize("profile", [CM_80, CM_32], ids=lambda row: row.name)
    def test_the_other_tag_length_is_recognised(self, profile):
        packet = SrtpContext(line(profile=profile), "send").protect(rtp())
        receive = SrtpContext(line(profile=profile.other_tag_length), "receive")
        assert receive.unprotect(packet) is None
        key = receive.line.keys[0]
        assert authenticates(packet, profile, key)
        assert not authenticates(packet, profile.other_tag_length, key)

    def test_another_key_is_not_taken_for_another_tag_length(self):
        packet = SrtpContext(line(profile=CM_32, fill=2), "send").protect(rtp())
        assert not authenticates(packet, CM_32, line().keys[0])

    def test_a_rollover_counter_can_be_tried(self):
        send = SrtpContext(line(), "send")
        assert send.set_roc(SSRC, 2)
        packet = send.protect(rtp())
        key = send.line.keys[0]
        assert not authenticates(packet, CM_80, key)
        assert authenticates(packet, CM_80, key, roc=2)
        assert not authenticates(packet[:10], CM_80, key, roc=2)


@pytest.mark.parametrize("mki", [None, 7])
def test_a_packet_can_be_tried_under_another_rollover_counter(mki):
    send, receive = pair(mki=mki)
    if not send.set_roc(SSRC, 2):
        pytest.skip("this build of libsrtp cannot set the counter")
    packet = send.protect(rtp(9))
    assert [receive.authentic_under(packet, roc) for roc in (0, 1, 2)] == [False, False, True]
    assert not receive.authentic_under(packet[:12], 2)
    assert receive.unprotect(packet) is None
    assert receive.restart(SSRC, 2)
    assert receive.unprotect(packet) == rtp(9)
    assert receive.roc(SSRC) == 2


def test_a_context_that_begins_anew_takes_again_what_it_took():
    send, receive = pair()
    packet = send.protect(rtp(9))
    assert receive.unprotect(packet) == rtp(9)
    assert receive.unprotect(packet) is None
    assert receive.restart(SSRC, 0)
    assert receive.unprotect(packet) == rtp(9)


def test_a_build_that_cannot_set_the_counter_changes_nothing(monkeypatch):
    send, receive = pair()
    packet = send.protect(rtp(9))
    session = type(receive._session)
    monkeypatch.setattr(session, "set_roc", lambda *_: False)
    assert not receive.restart(SSRC, 1)
    assert not receive.authentic_under(packet, 1)
    assert receive.unprotect(packet) == rtp(9)
