from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callmeter.call_bodies import (
    as_negotiation_error,
    dtmf_of,
    session_description,
    warning_for,
    warning_of,
)
from callmeter.errors import (
    NegotiationError,
    NoCommonCodec,
    NoCommonSuite,
    ProfileMismatch,
    SdpSyntaxError,
    SrtpRequired,
)
from callmeter.sip.message import Request, Response


def request(body, kind=None):
    headers = [
        ("Via", "SIP/2.0/UDP a;branch=z9hG4bK1"),
        ("From", "<sip:a@a>;tag=1"),
        ("To", "<sip:b@b>"),
        ("Call-ID", "x"),
        ("CSeq", "1 INVITE"),
    ]
    if kind is not None:
        headers.append(("Content-Type", kind))
    return Request("INVITE", "sip:b@b", headers, body)


@pytest.mark.parametrize(
    ("kind", "body", "digit"),
    [
        ("application/dtmf-relay", b"Signal=5\r\nDuration=250\r\n", ("5", 250)),
        ("Application/DTMF-Relay; x=y", b"signal = #\nduration=x", ("#", 160)),
        ("application/dtmf-relay", b"Signal=1\r\nDuration=99999999999", ("1", 60_000)),
        ("application/dtmf-relay", b"Signal=1\r\nDuration=" + b"9" * 5_000, ("1", 60_000)),
        ("application/dtmf-relay", b"Signal=1\r\nDuration=\xb2", ("1", 160)),
        ("application/dtmf-relay", b"Duration=160", None),
        ("application/dtmf", b" 7\r\n", ("7", 160)),
        ("application/dtmf", b" \r\n", None),
        ("text/plain", b"5", None),
    ],
)
def test_digits_are_read_from_the_bodies_in_use(kind, body, digit):
    assert dtmf_of(kind, body) == digit


@given(st.sampled_from(["application/dtmf", "application/dtmf-relay"]), st.binary())
def test_no_octets_make_more_than_one_digit_of_bounded_length(kind, body):
    found = dtmf_of(kind, b"Signal=" + body)
    if found is not None:
        digit, milliseconds = found
        assert len(digit) == 1
        assert 0 <= milliseconds <= 60_000


@pytest.mark.parametrize("kind", [None, "application/sdp", "Application/SDP;x=y"])
def test_a_body_in_one_piece_is_the_description(kind):
    assert session_description(request(b"v=0\r\n", kind)) == b"v=0\r\n"


def test_a_description_among_other_parts_is_found_and_a_body_without_one_stays_whole():
    text = b"--x\r\nContent-Type: text/plain\r\n\r\nhello\r\n"
    sdp = b"--x\r\nContent-Type: application/SDP\r\n\r\nv=0\r\n\r\n"
    kind = "multipart/mixed;boundary=x"
    assert session_description(request(text + sdp + b"--x--", kind)) == b"v=0\r\n"
    body = text + b"--x--"
    assert session_description(request(body, kind)) == body


@pytest.mark.parametrize("error", [NoCommonCodec("none"), SrtpRequired("plain")])
def test_what_already_says_why_stays_as_it_is(error):
    assert as_negotiation_error(error) is error


def test_what_cannot_be_read_is_told_as_a_failed_negotiation():
    told = as_negotiation_error(SdpSyntaxError("no v= line"))
    assert type(told) is NegotiationError
    assert "no v= line" in str(told)


SUITES = ("AES_CM_128_HMAC_SHA1_80", "AEAD_AES_128_GCM")


@pytest.mark.parametrize(
    ("error", "code", "part"),
    [
        (NoCommonCodec("none of the codecs"), 305, "none of the codecs"),
        (ProfileMismatch("the offer insists on SRTP"), 302, "insists"),
        (SrtpRequired("the offer has no key"), 302, "(supported: AES_CM_128_HMAC_SHA1_80 AEAD"),
        (NoCommonSuite("no line can be used"), 399, "(supported: AES_CM_128_HMAC_SHA1_80 AEAD"),
        (NegotiationError("no IP address"), 399, "no IP address"),
        (NegotiationError('1: "\\x"\r\nVia: x\u00e9'), 399, "1: 'x'??Via: x?"),
        (NoCommonSuite("x" * 5000), 399, "AEAD_AES_128_GCM)"),
    ],
)
def test_a_refusal_says_why_and_what_is_supported(error, code, part):
    ((name, value),) = warning_for(error, SUITES)
    assert name == "Warning"
    assert value.startswith(f'{code} callmeter "')
    assert part in value
    assert len(value) < 600


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([], ""),
        (['399 callmeter "no suite (supported: X)"'], "399 no suite (supported: X)"),
        (['305 pbx:5060 "say \\"this\\"", 399 x "that"'], '305 say "this"'),
        (["nonsense", '307 192.0.2.1 "b"'], "307 b"),
        (['399 x "never ends'], ""),
        ([f'399 x "{"y" * 900}"'], "399 " + "y" * 400),
        (['399 x "a\x07b"'], "399 a?b"),
    ],
)
def test_what_the_peer_says_about_its_refusal_is_read(values, text):
    response = Response(488, "Not Acceptable Here", [("Warning", value) for value in values])
    assert warning_of(response) == text
    assert warning_of(None) == ""
