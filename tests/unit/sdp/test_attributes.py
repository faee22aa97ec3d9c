from __future__ import annotations

import json
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callmeter.errors import SdpSyntaxError
from callmeter.sdp.attributes import (
    Attribute,
    CryptoAttribute,
    Direction,
    Fingerprint,
    Fmtp,
    RtcpAttribute,
    RtcpFb,
    RtpMap,
    Setup,
)

VECTORS = json.loads(
    (Path(__file__).parents[2] / "vectors" / "sdes_rfc4568.json").read_text(encoding="utf-8")
)
KEY = "WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz"
DIGEST = ":".join(["AB"] * 32)


def test_a_property_attribute_has_no_value_and_an_empty_value_is_kept():
    assert Attribute.parse("sendrecv") == Attribute("sendrecv")
    assert Attribute.parse("mid:") == Attribute("mid", "")
    assert str(Attribute.parse("mid:")) == "mid:"


def test_blanks_around_name_and_value_do_not_count():
    assert Attribute.parse(" rtpmap : 0 PCMU/8000 ") == Attribute("rtpmap", "0 PCMU/8000")
    assert str(Attribute("rtpmap", "0 PCMU/8000")) == "rtpmap:0 PCMU/8000"


def test_attribute_names_compare_without_case_in_ascii_only():
    assert Attribute("SendRecv").key == "sendrecv"
    assert Attribute("\u212aey").key != "key"


def test_the_repr_of_an_attribute_holds_no_key():
    attribute = Attribute("crypto", f"1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}")
    assert KEY not in repr(attribute)
    assert KEY in str(attribute)


@pytest.mark.parametrize(
    ("offered", "wanted", "answered"),
    [
        ("sendrecv", "sendrecv", "sendrecv"),
        ("sendrecv", "sendonly", "sendonly"),
        ("sendrecv", "recvonly", "recvonly"),
        ("sendrecv", "inactive", "inactive"),
        ("sendonly", "sendrecv", "recvonly"),
        ("sendonly", "sendonly", "inactive"),
        ("sendonly", "recvonly", "recvonly"),
        ("sendonly", "inactive", "inactive"),
        ("recvonly", "sendrecv", "sendonly"),
        ("recvonly", "sendonly", "sendonly"),
        ("recvonly", "recvonly", "inactive"),
        ("recvonly", "inactive", "inactive"),
        ("inactive", "sendrecv", "inactive"),
        ("inactive", "sendonly", "inactive"),
        ("inactive", "recvonly", "inactive"),
        ("inactive", "inactive", "inactive"),
    ],
)
def test_an_answer_takes_what_the_offered_direction_allows(offered, wanted, answered):
    assert Direction(wanted).answer_to(Direction(offered)) is Direction(answered)


def test_a_direction_reversed_twice_is_itself():
    for direction in Direction:
        assert direction.reversed.reversed is direction
        assert direction.reversed.sends is direction.receives


def test_a_direction_is_made_of_its_halves():
    for sends, receives in product((True, False), repeat=2):
        direction = Direction.of(sends=sends, receives=receives)
        assert (direction.sends, direction.receives) == (sends, receives)


def test_a_setup_role_is_read_in_any_case():
    assert Setup.parse(" ActPass ") is Setup.ACTPASS


def test_an_unknown_setup_role_is_refused():
    with pytest.raises(SdpSyntaxError):
        Setup.parse("both")


@pytest.mark.parametrize(
    ("offered", "answered"),
    [
        ("actpass", "active"),
        ("active", "passive"),
        ("passive", "active"),
        ("holdconn", "holdconn"),
    ],
)
def test_each_setup_role_has_its_answer(offered, answered):
    assert Setup(offered).answer is Setup(answered)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0 PCMU/8000", RtpMap(0, "PCMU", 8000)),
        ("10 L16/44100/2", RtpMap(10, "L16", 44_100, 2)),
        ("111  opus/48000/2", RtpMap(111, "opus", 48_000, 2)),
        ("8 PCMA/8000/", RtpMap(8, "PCMA", 8000)),
    ],
)
def test_an_rtpmap_is_read(text, value):
    assert RtpMap.parse(text) == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0",
        "0 PCMU",
        "0 /8000",
        "128 PCMU/8000",
        "4294967296 PCMU/8000",
        "-1 PCMU/8000",
        "0 PCMU/0",
        "0 PCMU/384001",
        "0 PCMU/8k",
        "0 PCMU/8000/0",
        "0 PCMU/8000/9",
        "0 PCMU/8000/x",
        "0 PC MU/8000",
        "0 PCMÜ/8000",
    ],
)
def test_an_rtpmap_with_a_value_out_of_range_is_refused(text):
    with pytest.raises(SdpSyntaxError):
        RtpMap.parse(text)


@given(
    st.integers(0, 127),
    st.from_regex(r"[A-Za-z][A-Za-z0-9-]{0,15}", fullmatch=True),
    st.integers(1, 384_000),
    st.integers(1, 8),
)
def test_an_rtpmap_written_is_read_back(payload_type, encoding, clock_rate, channels):
    value = RtpMap(payload_type, encoding, clock_rate, channels)
    assert RtpMap.parse(str(value)) == value


def test_format_parameters_are_kept_as_text():
    value = Fmtp.parse("97 mode=20; x = y")
    assert value == Fmtp(97, "mode=20; x = y")
    assert str(value) == "97 mode=20; x = y"


@pytest.mark.parametrize("text", ["", "x 0-15", "128 0-15", "4294967296 0-15"])
def test_format_parameters_without_a_payload_type_are_refused(text):
    with pytest.raises(SdpSyntaxError):
        Fmtp.parse(text)


@pytest.mark.parametrize(
    "vector",
    [item for item in VECTORS["lines"] if item["valid"]],
    ids=lambda item: item["line"][:60],
)
def test_every_valid_crypto_line_is_read_and_written_back(vector):
    text = vector["line"].removeprefix("a=crypto:")
    value = CryptoAttribute.parse(text)
    assert value.tag == vector["tag"]
    assert list(value.session_params) == vector.get("session_params", list(value.session_params))
    assert str(value) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1",
        f"01 AES_CM_128_HMAC_SHA1_80 inline:{KEY}",
        f"x AES_CM_128_HMAC_SHA1_80 inline:{KEY}",
        f"1234567890 AES_CM_128_HMAC_SHA1_80 inline:{KEY}",
        f"-1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}",
        f"1 AES-CM inline:{KEY}",
        f"1 inline:{KEY}",
        "1 AES_CM_128_HMAC_SHA1_80",
        f"1 AES_CM_128_HMAC_SHA1_80 {KEY}",
        "1 AES_CM_128_HMAC_SHA1_80 inline:",
    ],
)
def test_a_misshapen_crypto_line_is_refused_without_telling_its_key(text):
    with pytest.raises(SdpSyntaxError) as caught:
        CryptoAttribute.parse(text)
    assert KEY not in str(caught.value)
    assert KEY.encode() not in caught.value.excerpt


def test_the_repr_of_a_crypto_line_shows_tag_and_suite_but_no_key():
    value = CryptoAttribute.parse(f"3 AES_CM_128_HMAC_SHA1_80 inline:{KEY[:8]} {KEY[8:]}")
    assert repr(value) == "CryptoAttribute(tag=3, suite='AES_CM_128_HMAC_SHA1_80')"


def test_session_parameters_of_a_crypto_line_are_kept_in_order():
    value = CryptoAttribute.parse(f"1  AEAD_AES_128_GCM\tinline:{KEY}  KDR=1 UNENCRYPTED_SRTCP ")
    assert value.session_params == ("KDR=1", "UNENCRYPTED_SRTCP")


@pytest.mark.parametrize("text", [f"SHA-256 {DIGEST}", f"sha-256  {DIGEST.lower()}"])
def test_hash_names_and_digests_compare_without_case(text):
    value = Fingerprint.parse(text)
    assert value == Fingerprint("sha-256", DIGEST)
    assert value.digest == b"\xab" * 32
    assert str(value) == f"sha-256 {DIGEST}"


def test_a_fingerprint_of_a_hash_nobody_knows_is_kept():
    assert Fingerprint.parse("sha3-256 0A:0B").digest == b"\n\v"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sha-256",
        "sha-256 ",
        f"sha-256 {DIGEST[:-3]}",
        f"sha-1 {DIGEST}",
        "sha-256 ABAB",
        f"sha-256 {DIGEST} {DIGEST}",
        f"sha-256 {DIGEST[:-1]}G",
        f"sha 256 {DIGEST}",
        f"sh@-256 {DIGEST}",
    ],
)
def test_a_fingerprint_that_is_no_digest_is_refused(text):
    with pytest.raises(SdpSyntaxError):
        Fingerprint.parse(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("53020", RtcpAttribute(53_020)),
        ("53020 IN IP4 126.16.64.4", RtcpAttribute(53_020, "126.16.64.4")),
        ("53020 IN IP6 2001:db8::1", RtcpAttribute(53_020, "2001:db8::1")),
    ],
)
def test_rtcp_has_a_port_with_or_without_an_address(text, value):
    assert RtcpAttribute.parse(text) == value
    assert str(value) == text


@pytest.mark.parametrize("text", ["", "x", "65536", "53020 IN IP4", "1 2"])
def test_rtcp_without_a_port_in_range_is_refused(text):
    with pytest.raises(SdpSyntaxError):
        RtcpAttribute.parse(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("* nack pli", RtcpFb(None, "nack", "pli")),
        ("96 ccm tmmbr smaxpr=120", RtcpFb(96, "ccm", "tmmbr smaxpr=120")),
        ("* trr-int 5000", RtcpFb(None, "trr-int", "5000")),
        ("97 nack", RtcpFb(97, "nack")),
    ],
)
def test_feedback_is_for_one_format_or_for_all(text, value):
    assert RtcpFb.parse(text) == value
    assert str(value) == text


@pytest.mark.parametrize("text", ["", "*", "128 nack", "x nack", "* n@ck/"])
def test_feedback_without_a_format_or_a_type_is_refused(text):
    with pytest.raises(SdpSyntaxError):
        RtcpFb.parse(text)
