"""What is read out of a description whose secrets are redacted."""

from __future__ import annotations

import pytest

from callmeter.diagnosis import Description, KeyLine
from callmeter.sdp.attributes import CryptoAttribute
from callmeter.sdp.profiles import Keying, RtpProfile
from callmeter.srtp.protection_profiles import SUPPORTED
from callmeter.trace.redaction import redact

KEY = b"WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz"
HEAD = b"v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n"


def described(*lines, media=b"m=audio 40000 RTP/SAVP 0"):
    return redact(HEAD + b"\r\n".join((media, *lines)) + b"\r\n")


def test_keys_are_counted_and_never_kept():
    body = described(
        b"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:" + KEY + b"|2^20|1:4",
        b"a=crypto:2 AEAD_AES_128_GCM inline:" + KEY[:38] + b" UNENCRYPTED_SRTCP KDR=3",
        b"a=fingerprint:sha-256 " + b":".join([b"AB"] * 32),
    )
    found = Description.read(body)
    assert found.profile is RtpProfile.SAVP
    assert found.keys == (
        KeyLine(1, "AES_CM_128_HMAC_SHA1_80", 40, lifetime=1 << 20),
        KeyLine(2, "AEAD_AES_128_GCM", 38, ("UNENCRYPTED_SRTCP", "KDR=3")),
    )
    assert found.keying is Keying.DUAL
    assert found.suites == ("AES_CM_128_HMAC_SHA1_80", "AEAD_AES_128_GCM")
    assert [key.damage for key in found.keys] == ["", ""]
    assert [key.clear_rtcp for key in found.keys] == [False, True]
    assert KEY.decode()[:8] not in repr(found)


@pytest.mark.parametrize(
    "body",
    [
        b"nonsense",
        described(media=b"m=video 40000 RTP/AVP 31"),
        described(media=b"m=audio 0 RTP/AVP 0"),
    ],
)
def test_what_has_no_audio_is_no_description(body):
    assert Description.read(body) is None


@pytest.mark.parametrize("profile", SUPPORTED, ids=lambda row: row.name)
def test_a_key_may_have_its_padding_or_not(profile):
    bare = (profile.master_length * 8 + 5) // 6
    padded = (profile.master_length + 2) // 3 * 4
    assert {KeyLine(1, profile.name, size).damage for size in (bare, padded)} == {""}
    for size in (bare - 1, padded + 1):
        assert f"needs {padded}" in KeyLine(1, profile.name, size).damage


def test_a_key_of_a_suite_unknown_or_of_length_unknown_is_not_judged():
    assert KeyLine(1, "F8_128_HMAC_SHA1_80", 3).damage == ""
    assert KeyLine(1, "AES_CM_128_HMAC_SHA1_80").damage == ""


def test_a_key_with_a_blank_in_it_is_damaged():
    line = b"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:" + KEY[:20] + b" " + KEY[20:]
    (key,) = Description.read(described(line)).keys
    assert "no session parameters" in key.damage


@pytest.mark.parametrize(
    ("after_key", "lifetime"),
    [("", None), ("|2^5", 32), ("|2^999", 1 << 48), ("|700|1:4", 700), ("|1:4", None)],
)
def test_the_lifetime_of_a_key_is_read(after_key, lifetime):
    line = KeyLine.of(
        CryptoAttribute(1, "AES_CM_128_HMAC_SHA1_80", f"inline:redacted-40{after_key}")
    )
    assert line.lifetime == lifetime


@pytest.mark.parametrize(
    ("suite", "right"),
    [
        ("AES_CM_256_HMAC_SHA1_80", "AES_256_CM_HMAC_SHA1_80"),
        ("aes_cm_128_hmac_sha1_80", ""),
        ("AES_CM_128_HMAC_SHA1_80", ""),
        ("ROT13", ""),
    ],
)
def test_a_misspelt_suite_has_a_right_name(suite, right):
    assert KeyLine(1, suite).misspelt == right


@pytest.mark.parametrize(
    ("suite", "characters", "bare"),
    [
        ("AEAD_AES_128_GCM", 38, True),
        ("AEAD_AES_128_GCM", 40, False),
        ("AES_CM_128_HMAC_SHA1_80", 40, False),
        ("ROT13", 13, False),
    ],
)
def test_padding_is_missing_only_where_there_should_be_some(suite, characters, bare):
    assert KeyLine(1, suite, characters).unpadded is bare


def test_the_video_of_a_description_is_read_apart_from_its_audio():
    lines = (
        b"m=video 40002 RTP/SAVPF 96 97 98",
        b"a=rtpmap:96 VP8/90000",
        b"a=rtpmap:97 H264/90000",
        b"a=rtpmap:98 H264/90000",
        b"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:" + KEY,
    )
    body = described(*lines)
    assert Description.read(body).keys == ()
    video = Description.read(body, "video")
    assert (video.protocol, video.codecs) == ("RTP/SAVPF", ("VP8", "H264"))
    assert [key.tag for key in video.keys] == [1]
    refused = described(b"m=video 0 RTP/SAVPF 96", b"a=rtpmap:96 VP8/90000")
    assert Description.read(refused, "video") is None
