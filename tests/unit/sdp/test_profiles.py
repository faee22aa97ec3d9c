from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callmeter.sdp.profiles import Keying, RtpProfile, parse_profile, profile_for


def test_keying_is_made_of_its_parts():
    for sdes, dtls in product((True, False), repeat=2):
        keying = Keying.of(sdes=sdes, dtls=dtls)
        assert (keying.sdes, keying.dtls) == (sdes, dtls)


@pytest.mark.parametrize("profile", RtpProfile)
def test_every_profile_is_read_from_its_own_text_in_any_case(profile):
    assert parse_profile(profile.value) is profile
    assert parse_profile(f" {profile.value.lower()} ") is profile


@pytest.mark.parametrize(
    ("text", "profile"),
    [
        ("UDP/RTP/AVP", RtpProfile.AVP),
        ("UDP/RTP/SAVPF", RtpProfile.SAVPF),
        ("UDP/TLS/RTP/AVP", RtpProfile.DTLS_SAVP),
        ("UDP/TLS/RTP/AVPF", RtpProfile.DTLS_SAVPF),
    ],
)
def test_a_profile_is_read_by_its_parts(text, profile):
    assert parse_profile(text) is profile


@pytest.mark.parametrize(
    "text",
    [
        "",
        "AVP",
        "RTP",
        "RTP/",
        "RTP/AVPX",
        "TCP/RTP/AVP",
        "TCP/TLS/RTP/SAVP",
        "TCP/DTLS/RTP/SAVPF",
        "TLS/RTP/SAVP",
        "UDP/DTLS/SCTP",
        "udptl",
        "RTP/RTP/AVP",
        "/RTP/AVP",
        "RTP/AV\u212a",
    ],
)
def test_what_is_not_rtp_over_udp_is_no_profile(text):
    assert parse_profile(text) is None


def test_the_parts_of_a_profile():
    assert [item for item in RtpProfile if item.feedback] == [
        RtpProfile.AVPF,
        RtpProfile.SAVPF,
        RtpProfile.DTLS_SAVPF,
    ]
    assert [item for item in RtpProfile if not item.secure] == [RtpProfile.AVP, RtpProfile.AVPF]
    assert [item for item in RtpProfile if item.dtls] == [
        RtpProfile.DTLS_SAVP,
        RtpProfile.DTLS_SAVPF,
    ]


@given(st.sampled_from(Keying), st.booleans(), st.booleans())
def test_a_stated_profile_says_what_it_was_made_for(keying, feedback, osrtp):
    profile = profile_for(keying, feedback=feedback, osrtp=osrtp)
    assert profile.feedback is feedback
    assert profile.secure is (keying is not Keying.NONE and not osrtp)
    assert profile.dtls is (keying.dtls and not osrtp)
