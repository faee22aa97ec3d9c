from __future__ import annotations

import pytest

from callmeter.errors import NegotiationError, NoCommonCodec, ProfileMismatch
from callmeter.sdp.attributes import Direction, Setup
from callmeter.sdp.parser import parse_description
from callmeter.sdp.profiles import Keying
from callmeter.sdp.received_answer import agreed_keying, answered_track, with_default_setup
from callmeter.sdp.remote_track import read_tracks

KEY = "WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz"
CRYPTO = f"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}"
FINGERPRINT = "a=fingerprint:sha-256 " + ":".join(["AB"] * 32)
ACTIVE = "a=setup:active"
PLAIN = ("m=audio 4000 RTP/AVP 0 8 101", "a=rtpmap:101 telephone-event/8000")
SDES = ("m=audio 4000 RTP/SAVP 0", CRYPTO)
DTLS = ("m=audio 4000 UDP/TLS/RTP/SAVP 0", FINGERPRINT, "a=setup:actpass")
DUAL = (*DTLS, CRYPTO)


def description(*media):
    lines = ["v=0", "o=- 1 1 IN IP4 h", "s=-", "c=IN IP4 192.0.2.1", "t=0 0", *media]
    return parse_description("".join(f"{line}\r\n" for line in lines).encode())


def offered(*media):
    return read_tracks(description(*media))[0]


def answer(offer, *media):
    return answered_track(offered(*offer), description(*media))


@pytest.mark.parametrize(
    ("offer", "media", "keying"),
    [
        (SDES, ("m=audio 5000 RTP/SAVP 0", CRYPTO), Keying.SDES),
        (SDES, ("m=audio 5000 UDP/TLS/RTP/SAVP 0", CRYPTO), Keying.SDES),
        (SDES, ("m=audio 5000 RTP/SAVP 0", CRYPTO, FINGERPRINT, ACTIVE), Keying.SDES),
        (SDES, ("m=audio 5000 RTP/SAVP 0",), Keying.NONE),
        (SDES, ("m=audio 5000 RTP/SAVP 0", FINGERPRINT, ACTIVE), Keying.NONE),
        (SDES, ("m=audio 5000 RTP/AVP 0",), Keying.NONE),
        (DTLS, ("m=audio 5000 UDP/TLS/RTP/SAVP 0", FINGERPRINT, ACTIVE), Keying.DTLS),
        (DTLS, ("m=audio 5000 RTP/SAVPF 0", FINGERPRINT, ACTIVE), Keying.DTLS),
        (DTLS, ("m=audio 5000 UDP/TLS/RTP/SAVP 0", CRYPTO), Keying.NONE),
        (DUAL, ("m=audio 5000 RTP/SAVP 0", CRYPTO), Keying.SDES),
        (DUAL, ("m=audio 5000 RTP/SAVP 0", FINGERPRINT, ACTIVE), Keying.DTLS),
        (DUAL, ("m=audio 5000 UDP/TLS/RTP/SAVP 0", CRYPTO, FINGERPRINT, ACTIVE), Keying.DTLS),
        (DUAL, ("m=audio 5000 RTP/SAVP 0", CRYPTO, FINGERPRINT, ACTIVE), Keying.SDES),
        (("m=audio 4000 RTP/AVP 0", CRYPTO), ("m=audio 5000 RTP/AVP 0", CRYPTO), Keying.SDES),
        (("m=audio 4000 RTP/AVP 0", CRYPTO), ("m=audio 5000 RTP/SAVP 0", CRYPTO), Keying.SDES),
        (PLAIN, ("m=audio 5000 RTP/AVP 0", CRYPTO), Keying.NONE),
    ],
)
def test_the_keys_that_both_have_are_agreed_on(offer, media, keying):
    assert answer(offer, *media).keying is keying


def test_both_kinds_of_keys_under_one_plain_profile_mean_dtls():
    both = offered("m=audio 4000 RTP/SAVP 0", CRYPTO, FINGERPRINT)
    assert agreed_keying(both, both) is Keying.DTLS


def test_keys_that_were_not_offered_stay_visible_and_are_noted():
    track = answer(SDES, "m=audio 5000 RTP/SAVP 0", FINGERPRINT, ACTIVE)
    assert len(track.fingerprints) == 1
    assert "keys in the answer: dtls, offered: sdes, taken: none" in track.notes


def test_several_crypto_lines_and_renumbered_tags_reach_the_caller():
    track = answer(SDES, "m=audio 5000 RTP/SAVP 0", CRYPTO, CRYPTO.replace(":1 ", ":7 "), "a=x")
    assert [item.tag for item in track.crypto] == [1, 7]


def test_another_profile_than_offered_is_noted():
    track = answer(DTLS, "m=audio 5000 RTP/SAVPF 0", FINGERPRINT, ACTIVE)
    assert track.notes == ("UDP/TLS/RTP/SAVP was offered, RTP/SAVPF answered",)


@pytest.mark.parametrize(
    "media", [("m=audio 5000 RTP/SAVP 0", CRYPTO), ("m=audio 5000 RTP/SAVPF 0",)]
)
def test_srtp_answered_to_an_offer_without_keys_is_a_mismatch(media):
    with pytest.raises(ProfileMismatch):
        answer(PLAIN, *media)


def test_another_protocol_than_rtp_is_a_mismatch():
    with pytest.raises(ProfileMismatch):
        answer(PLAIN, "m=audio 5000 TCP/RTP/AVP 0")


def test_another_media_type_is_refused():
    with pytest.raises(NegotiationError):
        answer(PLAIN, "m=video 5000 RTP/AVP 0")


def test_a_refused_line_is_rejected_whatever_else_it_says():
    track = answer(SDES, "m=audio 0 udptl t38")
    assert (track.rejected, track.reason) == (True, "port 0")


def test_a_line_offered_with_port_0_stays_unused():
    track = answer(("m=audio 0 RTP/AVP 0",), "m=audio 5000 RTP/AVP 0")
    assert (track.rejected, track.reason) == (True, "offered with port 0")
    assert track.notes


def test_a_line_that_cannot_be_used_is_rejected_before_its_formats_count():
    track = answer(PLAIN, "m=audio 5000 RTP/AVP 18", "c=IN IP4 224.0.0.1")
    assert track.reason == "multicast address 224.0.0.1"


def test_formats_that_were_not_offered_are_dropped_with_a_note():
    track = answer(PLAIN, "m=audio 5000 RTP/AVP 8 18")
    assert [item.encoding for item in track.formats] == ["PCMA"]
    assert track.notes == ("formats answered but not offered: G729",)


def test_no_offered_format_left_is_no_common_codec():
    with pytest.raises(NoCommonCodec):
        answer(PLAIN, "m=audio 5000 RTP/AVP 18")


def test_an_answer_may_use_other_numbers():
    track = answer(
        PLAIN, "m=audio 5000 RTP/AVP 0 96", "a=rtpmap:96 telephone-event/8000", "a=fmtp:96 0-15"
    )
    assert [item.payload_type for item in track.formats] == [0, 96]


def test_an_answer_may_leave_out_the_rtpmap_of_an_offered_number():
    track = answer(PLAIN, "m=audio 5000 RTP/AVP 0 101")
    assert track.formats[1].is_telephone_event
    assert track.notes == ()


def test_multiplexing_agreed_on_puts_rtcp_on_the_media_port():
    track = answer(
        (*PLAIN, "a=rtcp-mux"), "m=audio 5000 RTP/AVP 0", "a=rtcp-mux", "a=rtcp:7 IN IP4 h"
    )
    assert track.rtcp_mux
    assert (track.rtcp_address, track.rtcp_port) == ("192.0.2.1", 5000)


def test_multiplexing_that_was_not_offered_is_not_agreed_on():
    track = answer(PLAIN, "m=audio 5000 RTP/AVP 0", "a=rtcp-mux")
    assert not track.rtcp_mux
    assert track.rtcp_port == 5001
    assert track.notes == ("rtcp-mux was answered but not offered",)


def test_a_hold_answered_sendrecv_is_taken_as_the_hold_it_has_to_be():
    track = answer((*PLAIN, "a=sendonly"), "m=audio 5000 RTP/AVP 0")
    assert track.direction is Direction.RECVONLY
    assert track.notes == ("sendrecv does not answer sendonly, taken as recvonly",)


def test_a_direction_the_offer_allows_is_taken_as_it_is():
    assert answer((*PLAIN, "a=sendonly"), "m=audio 5000 RTP/AVP 0", "a=inactive").notes == ()


@pytest.mark.parametrize(
    ("lines", "setup", "noted"),
    [
        (("a=setup:active",), Setup.ACTIVE, False),
        (("a=setup:passive",), Setup.PASSIVE, False),
        (("a=setup:actpass",), Setup.ACTIVE, True),
        ((), Setup.PASSIVE, True),
    ],
)
def test_the_role_of_the_answerer_is_always_known(lines, setup, noted):
    track = answer(DTLS, "m=audio 5000 UDP/TLS/RTP/SAVP 0", FINGERPRINT, *lines)
    assert track.setup is setup
    assert bool(track.notes) is noted


def test_an_offer_without_a_role_is_active_and_one_with_actpass_stays_so():
    assert with_default_setup(offered(*DTLS[:2]), Setup.ACTIVE).setup is Setup.ACTIVE
    assert with_default_setup(offered(*DTLS), Setup.ACTIVE).setup is Setup.ACTPASS
    assert with_default_setup(offered(*PLAIN), Setup.ACTIVE).setup is None


FEEDBACK = ("m=audio 4000 RTP/AVPF 0", "a=rtcp-fb:* nack", "a=rtcp-rsize")


def test_feedback_that_was_offered_is_agreed_on():
    track = answer(FEEDBACK, "m=audio 5000 RTP/AVPF 0", "a=rtcp-fb:0 nack", "a=rtcp-rsize")
    assert [str(item) for item in track.feedback] == ["0 nack"]
    assert track.reduced_size
    assert track.notes == ()


def test_feedback_that_was_not_offered_is_dropped_and_noted():
    track = answer(FEEDBACK[:2], "m=audio 5000 RTP/AVPF 0", "a=rtcp-fb:0 nack pli", "a=rtcp-rsize")
    assert track.feedback == ()
    assert not track.reduced_size
    assert track.notes == ("feedback answered but not offered: 0 nack pli",)
