"""The RTP profile by encryption and feedback: RFC 3551, 3711, 4585, 5124, 5764, 8643."""

from __future__ import annotations

import pytest

from callmeter.sdp.attributes import CryptoAttribute, Fingerprint
from callmeter.sdp.codecs import formats_for
from callmeter.sdp.offer_answer import OfferAnswer
from callmeter.sdp.parser import parse_description
from callmeter.sdp.profiles import Keying, RtpProfile, parse_profile, profile_for
from callmeter.sdp.tracks import TrackOffer

TABLE = [
    (Keying.NONE, False, "RTP/AVP"),
    (Keying.NONE, True, "RTP/AVPF"),
    (Keying.SDES, False, "RTP/SAVP"),
    (Keying.SDES, True, "RTP/SAVPF"),
    (Keying.DTLS, False, "UDP/TLS/RTP/SAVP"),
    (Keying.DTLS, True, "UDP/TLS/RTP/SAVPF"),
    (Keying.DUAL, False, "UDP/TLS/RTP/SAVP"),
    (Keying.DUAL, True, "UDP/TLS/RTP/SAVPF"),
]
CRYPTO = (CryptoAttribute(1, "AES_CM_128_HMAC_SHA1_80", "inline:" + "A" * 40),)
FINGERPRINT = (Fingerprint("sha-256", ":".join(["AB"] * 32)),)


def wire(keying, profile):
    """An offer with these keys under this profile, as read by the other side."""
    track = TrackOffer(
        port=4000,
        address="192.0.2.1",
        formats=formats_for(["PCMU"]),
        profile=profile,
        crypto=CRYPTO if keying.sdes else (),
        fingerprints=FINGERPRINT if keying.dtls else (),
    )
    offered = OfferAnswer(session_id=1, address="192.0.2.1").create_offer([track])
    other = OfferAnswer(session_id=2, address="192.0.2.2")
    return other.receive_offer(parse_description(offered.to_bytes()))[0]


@pytest.mark.parametrize(("keying", "feedback", "text"), TABLE)
def test_the_profile_follows_from_encryption_and_feedback(keying, feedback, text):
    profile = profile_for(keying, feedback=feedback)
    assert profile.value == text
    assert parse_profile(text) is profile


@pytest.mark.parametrize(("keying", "feedback", "text"), TABLE)
def test_an_offer_carries_the_profile_and_its_keys(keying, feedback, text):
    track = wire(keying, profile_for(keying, feedback=feedback))
    assert track.protocol == text
    assert track.keying is keying
    assert not track.keys_missing


@pytest.mark.parametrize("feedback", [False, True])
@pytest.mark.parametrize("keying", [Keying.SDES, Keying.DTLS, Keying.DUAL])
def test_opportunistic_srtp_offers_keys_under_a_plain_profile(keying, feedback):
    profile = profile_for(keying, feedback=feedback, osrtp=True)
    assert profile is (RtpProfile.AVPF if feedback else RtpProfile.AVP)
    assert wire(keying, profile).keying is keying


def test_the_table_has_a_cell_for_every_profile():
    assert {text for _, _, text in TABLE} == {profile.value for profile in RtpProfile}
