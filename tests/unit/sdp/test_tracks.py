from __future__ import annotations

import pytest

from callmeter.errors import LocalProtocolError
from callmeter.sdp.attributes import (
    Attribute,
    CryptoAttribute,
    Direction,
    Fingerprint,
    RtcpFb,
    Setup,
)
from callmeter.sdp.codecs import STATIC_PAYLOAD_TYPES, formats_for
from callmeter.sdp.profiles import Keying, RtpProfile
from callmeter.sdp.tracks import TrackAnswer, TrackOffer

FORMATS = formats_for(["PCMU"], telephone_event_payload_type=101)
CRYPTO = CryptoAttribute(1, "AES_CM_128_HMAC_SHA1_80", "inline:" + "A" * 40)
FINGERPRINT = Fingerprint("sha-256", ":".join(["AB"] * 32))


def track(**changes):
    settings = {"port": 4000, "address": "192.0.2.1", "formats": FORMATS, **changes}
    return TrackAnswer(**settings)


def lines(answer, setup=Setup.ACTPASS, session_address="192.0.2.1"):
    media = answer.describe("audio", "RTP/AVP", setup, session_address=session_address)
    return [str(line) for line in media.lines]


def test_a_plain_track_states_formats_direction_and_rtcp_port():
    assert lines(track(ptime=20)) == [
        "m=audio 4000 RTP/AVP 0 101",
        "a=rtpmap:0 PCMU/8000",
        "a=rtpmap:101 telephone-event/8000",
        "a=fmtp:101 0-15",
        "a=ptime:20",
        "a=sendrecv",
        "a=rtcp:4001",
    ]


def test_a_track_at_another_address_has_a_connection_of_its_own():
    assert lines(track(address="2001:db8::1"))[1] == "c=IN IP6 2001:db8::1"


def test_a_multiplexed_track_states_no_rtcp_port_unless_one_is_kept_open():
    assert "a=rtcp:4001" not in lines(track(rtcp_mux=True))
    both = lines(track(rtcp_mux=True, rtcp_port=4007))
    assert both.index("a=rtcp:4007") == both.index("a=rtcp-mux") - 1


@pytest.mark.parametrize("port", [0, 65_535])
def test_without_a_next_port_no_rtcp_port_is_stated(port):
    assert not any(line.startswith("a=rtcp") for line in lines(track(port=port)))


def test_keys_are_stated_with_the_role_of_the_handshake():
    described = lines(track(crypto=(CRYPTO,), fingerprints=(FINGERPRINT,)))
    assert f"a=crypto:{CRYPTO}" in described
    assert described.index("a=setup:actpass") == described.index(f"a=fingerprint:{FINGERPRINT}") - 1
    assert "a=setup:passive" in lines(track(fingerprints=(FINGERPRINT,), setup=Setup.PASSIVE))


def test_without_a_fingerprint_there_is_no_role():
    assert not any("setup" in line for line in lines(track(crypto=(CRYPTO,), setup=Setup.ACTIVE)))


def test_feedback_source_and_further_attributes_are_stated():
    described = lines(
        track(
            feedback=(RtcpFb(None, "nack", "pli"),),
            reduced_size=True,
            ssrc=7,
            cname="alice",
            attributes=(Attribute("mid", "0"),),
            direction=Direction.INACTIVE,
        )
    )
    assert described[-4:] == [
        "a=rtcp-rsize",
        "a=rtcp-fb:* nack pli",
        "a=ssrc:7 cname:alice",
        "a=mid:0",
    ]
    assert "a=inactive" in described


def test_a_source_without_a_canonical_name_is_not_stated():
    assert not any("ssrc" in line for line in lines(track(ssrc=7)))


@pytest.mark.parametrize(
    ("changes", "keying"),
    [
        ({}, Keying.NONE),
        ({"crypto": (CRYPTO,)}, Keying.SDES),
        ({"fingerprints": (FINGERPRINT,)}, Keying.DTLS),
        ({"crypto": (CRYPTO,), "fingerprints": (FINGERPRINT,)}, Keying.DUAL),
    ],
)
def test_the_keying_of_a_track_is_that_of_its_keys(changes, keying):
    assert track(**changes).keying is keying


def test_no_repr_of_a_track_shows_a_key():
    assert "AAAA" not in repr(track(crypto=(CRYPTO,)))


@pytest.mark.parametrize(
    "changes",
    [
        {"formats": ()},
        {"formats": (STATIC_PAYLOAD_TYPES[0], STATIC_PAYLOAD_TYPES[0])},
        {"port": -1},
        {"port": 65_536},
        {"rtcp_port": 65_536},
        {"ssrc": 2**32},
        {"address": ""},
        {"address": "192.0.2.1 x"},
    ],
)
def test_a_track_that_no_description_can_hold_is_refused(changes):
    with pytest.raises(LocalProtocolError):
        track(**changes)


def test_an_offer_names_its_media_type_with_a_token():
    offer = {"port": 4000, "address": "192.0.2.1", "formats": FORMATS, "profile": RtpProfile.AVP}
    assert TrackOffer(**offer).kind == "audio"
    with pytest.raises(LocalProtocolError):
        TrackOffer(**offer, kind="au dio")


def test_a_bandwidth_is_said_in_kilobits_a_second():
    for amount, there in ((None, False), (800, True)):
        media = track(bandwidth=amount).describe(
            "video", "RTP/AVP", Setup.ACTPASS, session_address="192.0.2.1"
        )
        assert ("b=AS:800" in [str(line) for line in media.lines]) is there
