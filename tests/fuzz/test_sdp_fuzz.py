"""Whatever octets come, only `SdpSyntaxError` leaves the parser, and no key leaves in it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callmeter.errors import NegotiationError, SdpSyntaxError
from callmeter.sdp import OfferAnswer, TrackOffer, formats_for, parse_description, read_tracks
from callmeter.sdp.attributes import CryptoAttribute, Fingerprint
from callmeter.sdp.profiles import RtpProfile

KEY = "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0"

SEEDS = [
    "v=0",
    "o=- 20518 0 IN IP4 203.0.113.1",
    "s=-",
    "i=x",
    "c=IN IP4 203.0.113.1",
    "c=IN IP6 2001:db8::1",
    "c=IN IP4 0.0.0.0",
    "b=AS:64",
    "t=0 0",
    "k=clear:x",
    "a=group:BUNDLE 0 1",
    "m=audio 49170 RTP/AVP 0 8 101",
    "m=audio 49170/2 UDP/TLS/RTP/SAVPF 111 0",
    "m=video 0 RTP/SAVP 31",
    "m=image 5000 udptl t38",
    "a=rtpmap:101 telephone-event/8000",
    "a=rtpmap:111 opus/48000/2",
    "a=fmtp:101 0-15",
    "a=ptime:20",
    "a=maxptime:x",
    "a=sendonly",
    "a=inactive",
    "a=rtcp:53020 IN IP4 126.16.64.4",
    "a=rtcp-mux",
    "a=rtcp-fb:* nack pli",
    "a=mid:0",
    "a=setup:actpass",
    "a=fingerprint:sha-256 " + ":".join(["AB"] * 32),
    f"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|2^20|1:4",
    f"a=acap:1 crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}",
    "a=candidate:1 1 UDP 1 192.0.2.1 9 typ host",
]
ANOMALIES = [
    "",
    " ",
    "\r",
    "\n",
    "\0",
    "\ufeff",
    "٣",
    "-1",
    "0",
    "65536",
    "4294967296",
    "9" * 5000,
    "%n%s",
    "/",
    ":",
    "=",
    "a" * 9000,
    "::",
    "[",
    "\udcff",
]

line = st.sampled_from(SEEDS) | st.text(max_size=20)


@st.composite
def mutated(draw):
    """Seed lines in any order, with anomalies in place of pieces of them."""
    rows = (
        SEEDS[:5] + draw(st.lists(line, max_size=12))
        if draw(st.booleans())
        else draw(st.lists(line, max_size=12))
    )
    text = draw(st.sampled_from(["\r\n", "\n", "\r\r\n"])).join(rows)
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(text)))
        end = start + draw(st.integers(0, 6))
        text = text[:start] + draw(st.sampled_from(ANOMALIES)) + text[end:]
    return text.encode("utf-8", "surrogatepass")


def offered():
    """A session with a dual offer open."""
    negotiation = OfferAnswer(session_id=1, address="192.0.2.1")
    negotiation.create_offer(
        [
            TrackOffer(
                port=4000,
                address="192.0.2.1",
                formats=formats_for(["PCMU", "PCMA"], telephone_event_payload_type=101),
                profile=RtpProfile.DTLS_SAVP,
                crypto=(CryptoAttribute(1, "AES_CM_128_HMAC_SHA1_80", f"inline:{KEY}"),),
                fingerprints=(Fingerprint("sha-256", ":".join(["AB"] * 32)),),
                rtcp_mux=True,
            )
        ]
    )
    return negotiation


def outcome(call, error):
    """What `call` returns, or the error of this kind that it raises."""
    try:
        return call()
    except error as raised:
        return raised


def check(data):
    """Read, write, read, and negotiate: nothing but the named errors, nothing secret in them."""
    description = outcome(lambda: parse_description(data), SdpSyntaxError)
    if isinstance(description, SdpSyntaxError):
        assert KEY not in f"{description}{description.excerpt!r}"
        return
    assert parse_description(description.to_bytes()) == description
    assert KEY not in repr(description)
    tracks = read_tracks(description)
    assert KEY not in repr(tracks)
    answerer = OfferAnswer(session_id=1, address="192.0.2.1")
    answerer.receive_offer(description)
    parse_description(answerer.create_answer([None] * len(tracks)).to_bytes())
    agreed = outcome(lambda: offered().receive_answer(description), NegotiationError)
    assert KEY not in repr(agreed)


@settings(max_examples=400, deadline=None)
@given(st.binary(max_size=400))
def test_random_octets_leave_only_as_a_description_or_a_named_error(data):
    check(data)


@settings(max_examples=600, deadline=None)
@given(mutated())
def test_mutated_descriptions_leave_only_as_a_description_or_a_named_error(data):
    check(data)


HEAD = b"v=0\r\no=- 1 1 IN IP4 h\r\ns=-\r\nc=IN IP4 h\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0"
# What stands before, what is repeated, and how often at most.
LONG_DESCRIPTIONS = {
    "blanks": (b"\r\na=", b" ", 8000),
    "tabs": (b"", b"\r\na=x" + b"\t" * 120, 512),
    "unknown lines": (b"", b"\r\ny=", 16_000),
    "crypto": (b"\r\na=crypto:", b"1 ", 4000),
    "fingerprint": (b"\r\na=fingerprint:sha-256 ", b"AB:", 2700),
    "blanks of what looks like crypto": (b"\r\nzz=crypto:", b" ", 8000),
    "words that look like crypto": (b"\r\nzz=", b"crypto:", 1100),
    "tabs of words that look like crypto": (b"\r\nzz=", b"crypto \t", 1000),
    "formats": (b" ", b" ".join(b"%d" % number for number in range(1, 101)) + b" ", 20),
    "line ends": (b"\r\n", b"\n", 65_000),
    "formats described": (b"", b"\r\na=rtpmap:96 x/1\r\na=fmtp:96 x", 256),
}


@pytest.mark.parametrize("shape", LONG_DESCRIPTIONS)
def test_the_longest_description_is_read_in_time_that_grows_with_its_size(
    shape, grows_with_the_size
):
    before, piece, count = LONG_DESCRIPTIONS[shape]
    quarter, whole = (HEAD + before + piece * times + b"\r\n" for times in (count // 4, count))
    assert grows_with_the_size(check, quarter, whole)
