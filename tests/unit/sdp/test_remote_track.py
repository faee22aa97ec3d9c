from __future__ import annotations

import pytest

from callmeter.sdp.attributes import Direction, Fingerprint, RtcpFb, Setup
from callmeter.sdp.parser import parse_description
from callmeter.sdp.profiles import Keying, RtpProfile
from callmeter.sdp.remote_track import read_tracks, unusable_address

KEY = "WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz"
CRYPTO = f"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}"
DIGEST = ":".join(["AB"] * 32)
FINGERPRINT = f"a=fingerprint:sha-256 {DIGEST}"
PLAIN = "m=audio 4000 RTP/AVP 0"


def description(*media, session=("c=IN IP4 192.0.2.1",)):
    lines = ["v=0", "o=- 1 1 IN IP4 192.0.2.1", "s=-", *session[:1], "t=0 0", *session[1:], *media]
    return parse_description("".join(f"{line}\r\n" for line in lines).encode())


def read(*media, session=("c=IN IP4 192.0.2.1",)):
    return read_tracks(description(*media, session=session))[0]


def test_a_plain_stream_is_read():
    track = read("m=audio 4000 RTP/AVP 0 8", "a=ptime:30", "a=maxptime:150")
    assert not track.rejected
    assert (track.address, track.port) == ("192.0.2.1", 4000)
    assert (track.rtcp_address, track.rtcp_port) == ("192.0.2.1", 4001)
    assert (track.profile, track.protocol) == (RtpProfile.AVP, "RTP/AVP")
    assert [item.encoding for item in track.formats] == ["PCMU", "PCMA"]
    assert (track.ptime, track.maxptime) == (30, 150)
    assert track.keying is Keying.NONE
    assert not track.keys_missing
    assert track.notes == ()


def test_the_address_of_the_stream_overrides_that_of_the_session():
    assert read(PLAIN, "c=IN IP6 2001:db8::1").address == "2001:db8::1"


@pytest.mark.parametrize(
    ("media", "reason"),
    [
        (("m=audio 0 RTP/AVP 0",), "port 0"),
        (("m=image 4000 udptl t38",), "udptl is not RTP over UDP"),
        (("m=audio 4000 TCP/TLS/RTP/SAVP 0",), "TCP/TLS/RTP/SAVP is not RTP over UDP"),
        ((PLAIN, "c=IN IP4 233.252.0.1/127"), "multicast address 233.252.0.1"),
        ((PLAIN, "c=IN IP4 255.255.255.255"), "broadcast address 255.255.255.255"),
    ],
)
def test_a_stream_that_cannot_be_used_says_why(media, reason):
    track = read(*media)
    assert track.rejected
    assert track.reason == reason


def test_a_stream_without_an_address_is_rejected_not_fatal():
    track = read(PLAIN, session=())
    assert (track.rejected, track.reason) == (True, "no connection address")


def test_streams_beyond_the_eighth_are_not_used():
    tracks = read_tracks(description(*[PLAIN] * 9))
    assert [track.rejected for track in tracks] == [False] * 8 + [True]


@pytest.mark.parametrize(
    ("address", "verdict"),
    [
        ("0.0.0.0", "unspecified"),
        ("::", "unspecified"),
        ("::ffff:0.0.0.0", "unspecified"),
        ("224.0.0.1", "multicast"),
        ("ff02::1", "multicast"),
        ("::ffff:239.1.1.1", "multicast"),
        ("255.255.255.255", "broadcast"),
        ("::ffff:255.255.255.255", "broadcast"),
        ("127.0.0.1", None),
        ("192.0.2.1", None),
        ("fe80::1%eth0", None),
        ("host.example.com", None),
    ],
)
def test_addresses_no_media_may_go_to_are_named(address, verdict):
    assert unusable_address(address) == verdict


@pytest.mark.parametrize(
    ("direction", "seen"),
    [
        ("sendrecv", Direction.SENDONLY),
        ("sendonly", Direction.SENDONLY),
        ("recvonly", Direction.INACTIVE),
        ("inactive", Direction.INACTIVE),
    ],
)
def test_the_old_hold_address_takes_receiving_out_of_the_direction(direction, seen):
    track = read(PLAIN, "c=IN IP4 0.0.0.0", f"a={direction}")
    assert track.hold
    assert not track.rejected
    assert track.direction is seen
    assert track.unusable_address == "unspecified"
    assert "the connection address is unspecified" in track.notes


@pytest.mark.parametrize(
    "lines", [("a=ice-ufrag:x", "a=ice-pwd:y"), ("a=candidate:1 1 UDP 1 192.0.2.9 9 typ host",)]
)
def test_a_placeholder_address_with_ice_is_no_hold(lines):
    track = read(PLAIN, "c=IN IP4 0.0.0.0", *lines)
    assert track.ice
    assert not track.hold
    assert track.direction is Direction.SENDRECV


def test_ice_may_stand_on_session_level():
    assert read(PLAIN, session=("c=IN IP4 192.0.2.1", "a=ice-lite")).ice


def test_the_direction_of_the_session_holds_where_the_stream_has_none():
    session = ("c=IN IP4 192.0.2.1", "a=sendonly")
    assert read(PLAIN, session=session).direction is Direction.SENDONLY
    assert read(PLAIN, "a=recvonly", session=session).direction is Direction.RECVONLY


def test_of_different_directions_the_first_is_taken_with_a_note():
    track = read(PLAIN, "a=SendOnly ", "a=sendrecv")
    assert track.direction is Direction.SENDONLY
    assert track.notes == ("there are different directions, sendonly is taken",)


@pytest.mark.parametrize(
    ("attribute", "address", "port"),
    [
        ("rtcp:53020", "192.0.2.1", 53_020),
        ("rtcp:53020 IN IP4 192.0.2.7", "192.0.2.7", 53_020),
        ("rtcp:9 IN IP4 0.0.0.0", "192.0.2.1", 9),
        ("rtcp:9 IN IP4 224.0.0.1", "192.0.2.1", 9),
        ("rtcp:0", "192.0.2.1", 0),
    ],
)
def test_rtcp_goes_where_the_attribute_says(attribute, address, port):
    track = read(PLAIN, f"a={attribute}")
    assert (track.rtcp_address, track.rtcp_port) == (address, port)


def test_the_last_port_leaves_none_for_rtcp():
    track = read("m=audio 65535 RTP/AVP 0")
    assert track.rtcp_port == 0
    assert track.notes == ("no port is left for RTCP",)


@pytest.mark.parametrize(
    ("media", "keying"),
    [
        ((PLAIN, CRYPTO), Keying.SDES),
        (("m=audio 4000 RTP/SAVPF 0", FINGERPRINT), Keying.DTLS),
        (("m=audio 4000 UDP/TLS/RTP/SAVP 0", CRYPTO), Keying.SDES),
        (("m=audio 4000 RTP/SAVP 0", CRYPTO, FINGERPRINT), Keying.DUAL),
        (("m=audio 4000 RTP/SAVP 0",), Keying.NONE),
    ],
)
def test_keys_decide_and_not_the_profile(media, keying):
    assert read(*media).keying is keying


@pytest.mark.parametrize("profile", ["RTP/SAVP", "RTP/SAVPF", "UDP/TLS/RTP/SAVP"])
def test_a_secure_profile_without_keys_is_told(profile):
    track = read(f"m=audio 4000 {profile} 0")
    assert track.keys_missing
    assert track.notes == (f"{profile} without keys",)


def test_all_crypto_lines_that_can_be_read_are_kept_and_the_others_noted_without_their_key():
    track = read(
        PLAIN,
        f"a=crypto:x AES_CM_128_HMAC_SHA1_80 inline:{KEY}",
        CRYPTO,
        f"a=crypto:2 F8_128_HMAC_SHA1_80 inline:{KEY}|2^20|1:4;inline:{KEY}|2^20|2:4 FEC_ORDER=X",
    )
    assert [item.tag for item in track.crypto] == [1, 2]
    assert len(track.notes) == 1
    assert track.notes[0].startswith("a=crypto line 1 dropped: ")
    assert KEY not in repr(track)


def test_fingerprints_of_several_hashes_are_kept_and_repeated_ones_counted_once():
    sha1 = ":".join(["01"] * 20)
    track = read(
        PLAIN, FINGERPRINT, f"a=fingerprint:SHA-256 {DIGEST.lower()}", f"a=fingerprint:sha-1 {sha1}"
    )
    assert track.fingerprints == (Fingerprint("sha-256", DIGEST), Fingerprint("sha-1", sha1))


def test_the_name_of_an_association_is_read():
    name = "abc3de65cddef001be82"
    assert read(PLAIN, FINGERPRINT, f"a=tls-id:{name}").tls_id == name
    assert read(PLAIN, FINGERPRINT).tls_id is None


def test_a_name_of_an_association_that_is_none_is_left_out():
    track = read(PLAIN, FINGERPRINT, "a=tls-id:short")
    assert track.tls_id is None
    assert "tls-id" in track.notes[0]


def test_fingerprint_and_setup_may_stand_on_session_level():
    track = read(PLAIN, session=("c=IN IP4 192.0.2.1", FINGERPRINT, "a=setup:actpass"))
    assert track.fingerprints == (Fingerprint("sha-256", DIGEST),)
    assert track.setup is Setup.ACTPASS


def test_fingerprint_and_setup_of_the_stream_replace_those_of_the_session():
    other = ":".join(["CD"] * 32)
    track = read(
        PLAIN,
        f"a=fingerprint:sha-256 {other}",
        "a=setup:passive",
        session=("c=IN IP4 192.0.2.1", FINGERPRINT, "a=setup:actpass"),
    )
    assert track.fingerprints == (Fingerprint("sha-256", other),)
    assert track.setup is Setup.PASSIVE


def test_a_cut_fingerprint_is_dropped_with_a_note():
    track = read("m=audio 4000 UDP/TLS/RTP/SAVP 0", f"a=fingerprint:sha-256 {DIGEST[:-3]}")
    assert track.fingerprints == ()
    assert track.keys_missing
    assert "32 octets" in track.notes[0]


def test_a_repeated_setup_is_one_role():
    track = read(PLAIN, FINGERPRINT, "a=setup:active", "a=setup:active")
    assert track.setup is Setup.ACTIVE
    assert track.notes == ()


def test_of_different_roles_the_first_that_can_be_read_is_taken():
    track = read(PLAIN, "a=setup:both", "a=setup:holdconn", "a=setup:active")
    assert track.setup is Setup.HOLDCONN
    assert len(track.notes) == 2


def test_packets_without_a_report_may_be_sent_to_who_says_so():
    assert read(PLAIN, "a=rtcp-rsize").reduced_size
    assert not read(PLAIN).reduced_size


def test_which_extended_reports_are_wanted_is_read_without_their_parameters():
    wanted = read(PLAIN, "a=rtcp-xr:VoIP-metrics rcvr-rtt=all:900").extended_reports
    assert wanted == {"voip-metrics", "rcvr-rtt"}
    assert read(PLAIN).extended_reports == frozenset()
    session = ("c=IN IP4 192.0.2.1", "a=rtcp-xr:rcvr-rtt=sender")
    assert read(PLAIN, session=session).extended_reports == {"rcvr-rtt"}
    assert read(PLAIN, "a=rtcp-xr:", session=session).extended_reports == frozenset()


def test_feedback_for_all_formats_is_read_under_any_profile():
    track = read(PLAIN, "a=rtcp-fb:* trr-int 5000", "a=rtcp-fb:0 nack", "a=rtcp-fb:x")
    assert track.feedback == (RtcpFb(None, "trr-int", "5000"), RtcpFb(0, "nack"))
    assert track.notes == (
        "a=rtcp-fb line 3 dropped: a=rtcp-fb is not a payload type or * and a feedback type",
    )


def test_rtcp_mux_is_a_property_of_the_stream():
    assert read(PLAIN, "a=rtcp-mux").rtcp_mux
    assert not read(PLAIN).rtcp_mux


def test_the_bundle_group_of_a_stream_is_kept():
    session = ("c=IN IP4 192.0.2.1", "a=group:LS 0", "a=group:BUNDLE 0 1")
    track = read(PLAIN, "a=mid:0", session=session)
    assert (track.mid, track.bundle) == ("0", ("0", "1"))
    assert read(PLAIN, "a=mid:2", session=session).bundle == ()
    assert read(PLAIN, session=session).mid is None


def test_an_odd_maxptime_is_dropped_with_a_note():
    track = read(PLAIN, "a=maxptime:x")
    assert track.maxptime is None
    assert track.notes == ("a=maxptime is not a number",)


def test_capability_negotiation_is_passed_over():
    track = read(
        PLAIN, "a=tcap:1 RTP/SAVP", f"a=acap:1 crypto:1 X inline:{KEY}", "a=pcfg:1 t=1 a=1"
    )
    assert track.keying is Keying.NONE
    assert track.notes == ()


@pytest.mark.parametrize(
    ("lines", "ssrc"),
    [
        ((), None),
        (("a=ssrc:4294967295 cname:x", "a=ssrc:7 cname:x"), 4294967295),
        (("a=ssrc:4294967296 cname:x",), None),
        (("a=ssrc:12345678901 cname:x",), None),
        (("a=ssrc:-1",), None),
    ],
)
def test_the_first_announced_source_is_read(lines, ssrc):
    assert read(PLAIN, *lines).ssrc == ssrc
