from __future__ import annotations

import pytest
from cryptography.exceptions import UnsupportedAlgorithm
from hypothesis import given
from hypothesis import strategies as st

from callmeter.config import SrtpSuite
from callmeter.errors import MediaSecurityError
from callmeter.srtp import libsrtp, software
from callmeter.srtp.context import SrtpContext
from callmeter.srtp.protection_profiles import SUPPORTED, for_suite
from callmeter.srtp.sdes import CryptoLine, MasterKey, SessionParameters
from callmeter.srtp.software import SoftwareDoor, SupplementedDoor
from callmeter.srtp.stream_policy import Status, StreamPolicy

DOOR = SoftwareDoor()
WHOLE = libsrtp.WholeDoor(libsrtp.find_binding())
COUNTER_MODE = [row for row in SUPPORTED if not row.aead]
# what libsrtp 2.x derives as the RFCs say
COMMON = [row for row in COUNTER_MODE if row.key_length != 24]
CM_192 = for_suite(SrtpSuite.AES_192_CM_HMAC_SHA1_80)
CM_192_32 = for_suite(SrtpSuite.AES_192_CM_HMAC_SHA1_32)
SSRC = 0xCAFEBABE
RTCP = bytes.fromhex("80c80006cafebabe") + bytes(range(20))
EVERY_SUITE = pytest.mark.parametrize("profile", COUNTER_MODE, ids=lambda row: row.name)
BOTH_WAYS = pytest.mark.parametrize(
    ("sender", "recipient"), [(DOOR, WHOLE), (WHOLE, DOOR)], ids=["to libsrtp", "from libsrtp"]
)


def rtp(sequence, ssrc=SSRC, payload=b"payload of a packet"):
    head = b"\x80\x08" + (sequence & 0xFFFF).to_bytes(2, "big") + bytes(4)
    return head + ssrc.to_bytes(4, "big") + payload


def policy(profile=CM_192, *, outbound=True, mki=b"", **changes):
    key = bytes(range(profile.master_length))
    return StreamPolicy(profile, ((key, mki),), outbound, **changes)


def pair(profile=CM_192, sender=DOOR, recipient=DOOR, **changes):
    return (
        sender.open(policy(profile, outbound=True, **changes)),
        recipient.open(policy(profile, outbound=False, **changes)),
    )


def spoilt(packet):
    return packet[:-1] + bytes([packet[-1] ^ 1])


def good(answer):
    status, packet = answer
    assert status == Status.OK
    return packet


# --- with libsrtp on the other side ---------------------------------------------------------------


@st.composite
def journeys(draw):
    """Sequence numbers in order, with gaps, round the corner; then how they are delivered."""
    at = draw(st.integers(65_400, 65_535) | st.integers(0, 65_535))
    sent = []
    for gap in draw(st.lists(st.integers(1, 40) | st.integers(1, 9000), min_size=1, max_size=40)):
        sent.append(at)
        at += gap
    # each packet late by some, lost, or doubled
    delays = draw(st.lists(st.integers(0, 6), min_size=len(sent), max_size=len(sent)))
    copies = draw(st.lists(st.integers(0, 2), min_size=len(sent), max_size=len(sent)))
    order = sorted(range(len(sent)), key=lambda place: place + delays[place])
    return sent, [place for place in order for _ in range(copies[place])]


@BOTH_WAYS
@given(profile=st.sampled_from(COMMON), journey=journeys(), options=st.data())
def test_both_judge_every_packet_of_a_stream_alike(sender, recipient, profile, journey, options):
    sequences, delivery = journey
    changes = {
        "window": options.draw(st.sampled_from([64, 128, 512])),
        "mki": options.draw(st.sampled_from([b"", b"\1\2\3\4"])),
        "encrypt_rtp": options.draw(st.booleans()),
        "authenticate_rtp": options.draw(st.booleans()),
    }
    send, receive = pair(profile, sender, recipient, **changes)
    _, witness = pair(profile, sender, sender, **changes)
    packets = [good(send.protect(rtp(sequence))) for sequence in sequences]
    for place in delivery:
        answer = receive.unprotect(packets[place])
        assert answer == witness.unprotect(packets[place])
        if changes["authenticate_rtp"] and answer[0] == Status.OK:
            assert answer[1] == rtp(sequences[place])
    assert receive.roc(SSRC) == witness.roc(SSRC)
    assert send.roc(SSRC) == sequences[-1] >> 16


@BOTH_WAYS
@pytest.mark.parametrize("profile", COMMON, ids=lambda row: row.name)
def test_all_of_a_shuffled_stream_arrives_round_two_corners(sender, recipient, profile):
    send, receive = pair(profile, sender, recipient)
    corners = [*range(65_400, 65_700, 10), 85_000, 105_000, *range(130_900, 131_200, 10)]
    for start in corners:
        packets = [(at, good(send.protect(rtp(at)))) for at in range(start, start + 10)]
        for sequence, packet in packets[::-1]:
            assert receive.unprotect(packet) == (Status.OK, rtp(sequence))
    assert send.roc(SSRC) == receive.roc(SSRC) == 2


@BOTH_WAYS
@given(
    profile=st.sampled_from(COMMON),
    delivery=st.lists(st.integers(0, 299), min_size=1, max_size=30),
    encrypt_rtcp=st.booleans(),
    mki=st.sampled_from([b"", b"\xff" * 128]),
)
def test_both_judge_every_report_alike(sender, recipient, profile, delivery, encrypt_rtcp, mki):
    changes = {"encrypt_rtcp": encrypt_rtcp, "mki": mki}
    send, receive = pair(profile, sender, recipient, **changes)
    _, witness = pair(profile, sender, sender, **changes)
    packets = [good(send.protect_rtcp(RTCP)) for _ in range(300)]
    for place in delivery:
        answer = receive.unprotect_rtcp(packets[place])
        assert answer == witness.unprotect_rtcp(packets[place])
        assert answer in {
            (Status.OK, RTCP),
            (Status.REPLAY_FAIL, b""),
            (Status.REPLAY_OLD, b""),
        }


@given(
    profile=st.sampled_from(COMMON),
    csrcs=st.integers(0, 15),
    extension=st.none() | st.integers(0, 8),
    payload=st.binary(max_size=1200),
    report=st.binary(max_size=200),
    ssrc=st.integers(0, 0xFFFF_FFFF),
    roc=st.integers(0, 0xFFFF_FFFF),
)
def test_both_make_the_same_octets(profile, csrcs, extension, payload, report, ssrc, roc):
    ours, theirs = DOOR.open(policy(profile)), WHOLE.open(policy(profile))
    head = bytearray(rtp(7, ssrc, bytes(4 * csrcs)))
    head[0] |= csrcs
    if extension is not None:
        head[0] |= 0x10
        head += b"\xbe\xde" + extension.to_bytes(2, "big") + bytes(4 * extension)
    assert ours.set_roc(ssrc, roc)
    assert theirs.set_roc(ssrc, roc)
    assert ours.protect(bytes(head) + payload) == theirs.protect(bytes(head) + payload)
    rtcp = b"\x80\xc8\0\1" + ssrc.to_bytes(4, "big") + report
    assert ours.protect_rtcp(rtcp) == theirs.protect_rtcp(rtcp)
    assert ours.roc(ssrc) == theirs.roc(ssrc) == roc


# --- alone, every suite ---------------------------------------------------------------------------


@EVERY_SUITE
def test_packets_grow_by_their_tag_and_come_back(profile):
    send, receive = pair(profile)
    assert send.handle is None
    for sequence in (65_534, 65_535, 65_536, 65_537):
        packet = good(send.protect(rtp(sequence)))
        assert len(packet) == len(rtp(0)) + profile.rtp_tag_length
        assert packet[:12] == rtp(sequence)[:12]
        assert packet[12:31] != rtp(sequence)[12:]
        assert receive.unprotect(packet) == (Status.OK, rtp(sequence))
    assert (send.roc(SSRC), receive.roc(SSRC)) == (1, 1)
    for index in (1, 2):
        packet = good(send.protect_rtcp(RTCP))
        assert len(packet) == len(RTCP) + 4 + 10
        assert packet[-14:-10] == (1 << 31 | index).to_bytes(4, "big")
        assert packet[8:28] != RTCP[8:]
        assert receive.unprotect_rtcp(packet) == (Status.OK, RTCP)


@EVERY_SUITE
def test_any_flipped_bit_is_refused_and_changes_nothing(profile):
    send, receive = pair(profile)
    packet, report = good(send.protect(rtp(1))), good(send.protect_rtcp(RTCP))
    for bit in range(8 * len(packet)):
        flipped = bytearray(packet)
        flipped[bit // 8] ^= 1 << bit % 8
        status, octets = receive.unprotect(bytes(flipped))
        assert status
        assert octets == b""
    for bit in range(8 * len(report)):
        flipped = bytearray(report)
        flipped[bit // 8] ^= 1 << bit % 8
        status, octets = receive.unprotect_rtcp(bytes(flipped))
        assert status
        assert octets == b""
    assert receive.roc(SSRC) is None
    assert receive.unprotect(packet) == (Status.OK, rtp(1))
    assert receive.unprotect_rtcp(report) == (Status.OK, RTCP)


def test_another_key_or_tag_length_is_no_authentic_packet():
    send, receive = pair()
    other = DOOR.open(StreamPolicy(CM_192, ((bytes(38), b""),), outbound=False))
    shorter = DOOR.open(policy(CM_192_32, outbound=False))
    packet, report = good(send.protect(rtp(1))), good(send.protect_rtcp(RTCP))
    for stranger in (other, shorter):
        assert stranger.unprotect(packet) == (Status.AUTH_FAIL, b"")
    assert other.unprotect_rtcp(report) == (Status.AUTH_FAIL, b"")
    # RFC 3711 section 5.2: the tag of SRTCP is never the short one
    assert shorter.unprotect_rtcp(report) == (Status.OK, RTCP)
    assert receive.unprotect(packet) == (Status.OK, rtp(1))


def test_replays_and_packets_older_than_the_window_are_told_apart():
    send, receive = pair(window=128)
    packets = [good(send.protect(rtp(sequence))) for sequence in range(200)]
    assert receive.unprotect(packets[199])[0] == Status.OK
    assert receive.unprotect(packets[199]) == (Status.REPLAY_FAIL, b"")
    assert receive.unprotect(packets[71]) == (Status.REPLAY_OLD, b"")
    assert receive.unprotect(packets[72]) == (Status.OK, rtp(72))
    assert receive.unprotect(packets[72]) == (Status.REPLAY_FAIL, b"")
    assert send.protect(rtp(199)) == (Status.REPLAY_FAIL, b"")
    reports = [good(send.protect_rtcp(RTCP)) for _ in range(130)]
    assert receive.unprotect_rtcp(reports[129])[0] == Status.OK
    assert receive.unprotect_rtcp(reports[129]) == (Status.REPLAY_FAIL, b"")
    assert receive.unprotect_rtcp(reports[1]) == (Status.REPLAY_OLD, b"")
    assert receive.unprotect_rtcp(reports[2]) == (Status.OK, RTCP)


def test_streams_count_apart():
    send, receive = pair()
    for ssrc in (1, 2, 3):
        for sequence in (65_535, 0):
            packet = good(send.protect(rtp(sequence, ssrc)))
            assert receive.unprotect(packet) == (Status.OK, rtp(sequence, ssrc))
    assert [receive.roc(ssrc) for ssrc in (1, 2, 3, 4)] == [1, 1, 1, None]


@pytest.mark.parametrize("profile", [CM_192, CM_192_32], ids=lambda row: row.name)
def test_what_is_left_in_clear_or_without_a_tag(profile):
    send, receive = pair(profile, encrypt_rtp=False, encrypt_rtcp=False)
    packet = good(send.protect(rtp(1)))
    assert packet[: -profile.rtp_tag_length] == rtp(1)
    assert receive.unprotect(packet) == (Status.OK, rtp(1))
    packet = good(send.protect_rtcp(RTCP))
    assert packet[:-10] == RTCP + bytes([0, 0, 0, 1])
    assert receive.unprotect_rtcp(packet) == (Status.OK, RTCP)
    assert pair(profile)[1].unprotect_rtcp(packet) == (Status.CANT_CHECK, b"")
    send, receive = pair(profile, authenticate_rtp=False)
    packet = good(send.protect(rtp(1)))
    assert len(packet) == len(rtp(1))
    assert packet[12:] != rtp(1)[12:]
    assert receive.unprotect(packet) == (Status.OK, rtp(1))
    assert receive.unprotect(packet) == (Status.REPLAY_FAIL, b"")


def test_the_mki_stands_before_the_tag_and_chooses_the_key():
    keys = ((bytes(38), b"\1"), (bytes([7]) * 38, b"\2"))
    receive = DOOR.open(StreamPolicy(CM_192, keys, outbound=False))
    for sequence, key in enumerate(keys):
        send = DOOR.open(StreamPolicy(CM_192, (key, (bytes(38), b"\3")), outbound=True))
        packet, report = good(send.protect(rtp(sequence))), good(send.protect_rtcp(RTCP))
        assert packet[-11:-10] == report[-11:-10] == key[1]
        assert receive.unprotect(packet) == (Status.OK, rtp(sequence))
        unknown = packet[:-11] + b"\4" + packet[-10:]
        assert receive.unprotect(unknown) == (Status.BAD_MKI, b"")
        unknown = report[:-11] + b"\4" + report[-10:]
        assert receive.unprotect_rtcp(unknown) == (Status.BAD_MKI, b"")
    assert receive.unprotect_rtcp(report) == (Status.OK, RTCP)


# --- rollover counters ----------------------------------------------------------------------------


def test_a_late_joiner_is_told_the_rollover_counter():
    send, late = pair()
    for sequence in range(65_530, 65_550):
        packet = good(send.protect(rtp(sequence)))
    assert late.unprotect(packet) == (Status.AUTH_FAIL, b"")
    assert late.roc(SSRC) is None
    assert late.set_roc(SSRC, 1)
    assert late.unprotect(spoilt(packet))[0] == Status.AUTH_FAIL
    assert late.roc(SSRC) == 1
    assert late.unprotect(packet) == (Status.OK, rtp(65_549))


def test_a_rollover_counter_only_goes_forward():
    send, receive = pair()
    for session in (send, receive):
        assert session.set_roc(SSRC, 70_000)
    assert receive.unprotect(good(send.protect(rtp(9)))) == (Status.OK, rtp(9))
    assert not send.set_roc(SSRC, 69_999)
    assert send.set_roc(SSRC, 70_000)
    assert receive.unprotect(good(send.protect(rtp(10)))) == (Status.OK, rtp(10))
    assert not send.set_roc(SSRC, 1 << 32)
    assert not send.set_roc(SSRC, -1)


def test_a_key_ends_with_the_last_index():
    send, _ = pair()
    assert send.set_roc(SSRC, (1 << 32) - 1)
    assert send.protect(rtp(65_535))[0] == Status.OK
    assert send.protect(rtp(0)) == (Status.KEY_EXPIRED, b"")
    good(send.protect_rtcp(RTCP))
    send._streams[SSRC].rtcp_sent = (1 << 31) - 2
    packet = good(send.protect_rtcp(RTCP))
    assert packet[-14:-10] == b"\xff\xff\xff\xff"
    assert send.protect_rtcp(RTCP) == (Status.KEY_EXPIRED, b"")


# --- what an open port brings ---------------------------------------------------------------------


@given(
    octets=st.binary(max_size=60),
    first=st.sampled_from([b"", b"\x80", b"\x9f", b"\xb0"]),
    mki=st.sampled_from([b"", b"\1\2"]),
    checked=st.booleans(),
)
def test_no_octets_raise(octets, first, mki, checked):
    send, receive = pair(mki=mki, authenticate_rtp=checked)
    for method in (receive.unprotect, receive.unprotect_rtcp, send.protect, send.protect_rtcp):
        status, packet = method(first + octets)
        assert status in set(Status)
        assert not (status and packet)


def test_the_shortest_packets_pass_and_one_octet_less_does_not():
    send, receive = pair()
    packet, report = good(send.protect(rtp(1, payload=b""))), good(send.protect_rtcp(RTCP[:8]))
    assert (len(packet), len(report)) == (22, 22)
    assert receive.unprotect(packet[:-1]) == (Status.PARSE_ERR, b"")
    assert receive.unprotect_rtcp(report[:-1]) == (Status.PARSE_ERR, b"")
    assert receive.unprotect(packet)[0] == receive.unprotect_rtcp(report)[0] == Status.OK
    assert send.protect(rtp(2)[:11]) == (Status.PARSE_ERR, b"")
    assert send.protect_rtcp(RTCP[:7]) == (Status.PARSE_ERR, b"")


def test_a_flood_of_sources_is_bounded(monkeypatch):
    monkeypatch.setattr(software, "MAX_STREAMS", 2)
    send, receive = pair(authenticate_rtp=False)
    first = good(send.protect(rtp(1, 1)))
    report = good(send.protect_rtcp(RTCP))
    assert send.protect(rtp(1, 3)) == (Status.ALLOC_FAIL, b"")
    assert send.protect_rtcp(RTCP[:4] + bytes(4)) == (Status.ALLOC_FAIL, b"")
    assert not send.set_roc(3, 1)
    for ssrc in (7, 8):
        assert receive.unprotect(rtp(1, ssrc))[0] == Status.OK
    assert receive.unprotect(first) == (Status.ALLOC_FAIL, b"")
    assert receive.unprotect_rtcp(report) == (Status.ALLOC_FAIL, b"")
    assert send.protect(rtp(2, 1))[0] == Status.OK


def test_a_closed_session_passes_nothing_and_closes_again():
    send, receive = pair()
    packet, report = good(send.protect(rtp(1))), good(send.protect_rtcp(RTCP))
    for session in (send, receive):
        session.close()
        session.close()
        assert session.protect(rtp(2)) == (Status.NO_CTX, b"")
        assert session.unprotect(packet) == (Status.NO_CTX, b"")
        assert session.protect_rtcp(RTCP) == (Status.NO_CTX, b"")
        assert session.unprotect_rtcp(report) == (Status.NO_CTX, b"")
        assert session.roc(SSRC) is None
        assert not session.set_roc(SSRC, 1)


# --- doors ----------------------------------------------------------------------------------------


def test_what_it_cannot_do_gives_no_session():
    assert DOOR.open(policy(for_suite(SrtpSuite.AEAD_AES_128_GCM))) is None
    assert DOOR.open(policy(window=0x8000)) is None
    assert DOOR.open(policy(window=0)) is None
    assert DOOR.open(StreamPolicy(CM_192, ((bytes(40), b""),), outbound=True)) is None


def test_an_openssl_without_the_algorithms_costs_the_suites_and_not_the_import(monkeypatch):
    def refuse(*arguments):
        raise UnsupportedAlgorithm("HMAC with SHA1 is not allowed here")

    monkeypatch.setattr(software, "HMAC", refuse)
    assert DOOR.open(policy()) is None
    public = libsrtp.choose_door(None)
    assert SupplementedDoor(public).suites == public.suites


def test_every_suite_is_supported_and_libsrtp_does_all_it_does_rightly():
    assert libsrtp.supported_suites() == frozenset(SrtpSuite)
    for row in SUPPORTED:
        session = libsrtp.DOOR.open(policy(row))
        native = row.suite in libsrtp.NATIVE.suites
        assert (session.handle is not None) is native
        session.close()


def test_a_door_with_few_suites_is_supplemented_by_those_in_counter_mode():
    door = SupplementedDoor(libsrtp.choose_door(None))
    assert (door.name, door.whole) == ("public", False)
    assert door.suites == frozenset(SrtpSuite)
    assert door.open(policy(for_suite(SrtpSuite.AES_CM_128_HMAC_SHA1_80))).handle is not None
    assert door.open(policy(for_suite(SrtpSuite.AES_256_CM_HMAC_SHA1_80))).handle is None


def test_a_gcm_suite_is_not_made_up():
    class Bare:
        name = "bare"
        whole = False
        suites = frozenset()

        def open(self, policy):
            raise AssertionError("it has no suite")

    door = SupplementedDoor(Bare())
    assert door.suites == SoftwareDoor.suites
    assert door.open(policy(for_suite(SrtpSuite.AEAD_AES_128_GCM))) is None


def test_a_known_answer_that_does_not_come_out_leaves_the_suite_out(monkeypatch):
    monkeypatch.setattr(software, "_RTCP_LABELS", (0, 1, 2))
    door = SupplementedDoor(libsrtp.choose_door(None))
    assert SrtpSuite.AES_192_CM_HMAC_SHA1_80 not in door.suites
    line = CryptoLine(1, CM_192, (MasterKey(bytes(38)),))
    assert line.refusal(door=door) == "this build of libsrtp lacks the suite"
    with pytest.raises(MediaSecurityError, match="lacks the suite"):
        SrtpContext(line, "send", door=door)


# --- through the public path ----------------------------------------------------------------------


@pytest.mark.parametrize("profile", [CM_192, CM_192_32], ids=lambda row: row.name)
@pytest.mark.parametrize("mki", [None, 0xA1B2])
def test_a_context_has_no_handle_and_counts_as_ever(profile, mki):
    key = MasterKey(b"thirty-eight octets of key and of salt", 3, mki, 2 if mki else 0)
    line = CryptoLine(1, profile, (key,), SessionParameters(wsh=256))
    send, receive = SrtpContext(line, "send"), SrtpContext(line, "receive")
    assert send.handle is receive.handle is None
    packet, report = send.protect(rtp(300)), send.protect_rtcp(RTCP)
    assert receive.unprotect(spoilt(packet)) is None
    assert receive.unprotect(packet) == rtp(300)
    assert receive.unprotect(packet) is None
    assert receive.unprotect_rtcp(spoilt(report)) is None
    assert receive.unprotect_rtcp(report) == RTCP
    assert receive.unprotect(send.protect(rtp(50))) == rtp(50)
    counters = (receive.packets, receive.auth_failures, receive.rtcp_auth_failures)
    assert (*counters, receive.replayed) == (3, 1, 1, 1)
    assert send.protect(rtp(301)) is not None
    assert send.protect(rtp(302)) is None
    assert send.last_failure is Status.KEY_EXPIRED
    assert "thirty" not in repr(send) + repr(send._session) + repr(send._session._policy)
    receive.close()
    assert receive.unprotect(packet) is None
    assert receive.last_failure is Status.NO_CTX
