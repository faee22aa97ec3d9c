from __future__ import annotations

import pytest

from callmeter.config import SrtpSuite
from callmeter.srtp.protection_profiles import SUPPORTED, for_dtls, for_suite, profile


def test_every_suite_of_the_settings_has_a_row():
    assert {row.suite for row in SUPPORTED} == set(SrtpSuite)


@pytest.mark.parametrize(
    ("suite", "octets", "rtp_tag", "rtcp_tag"),
    [
        ("AES_CM_128_HMAC_SHA1_80", 30, 10, 10),
        ("AES_CM_128_HMAC_SHA1_32", 30, 4, 10),
        ("AEAD_AES_128_GCM", 28, 16, 16),
        ("AEAD_AES_256_GCM", 44, 16, 16),
        ("AES_256_CM_HMAC_SHA1_80", 46, 10, 10),
        ("AES_256_CM_HMAC_SHA1_32", 46, 4, 10),
        ("AES_192_CM_HMAC_SHA1_80", 38, 10, 10),
        ("AES_192_CM_HMAC_SHA1_32", 38, 4, 10),
    ],
)
def test_lengths_are_those_of_the_rfcs(suite, octets, rtp_tag, rtcp_tag):
    row = profile(suite)
    assert row.name == suite
    assert (row.master_length, row.rtp_tag_length, row.rtcp_tag_length) == (
        octets,
        rtp_tag,
        rtcp_tag,
    )


@pytest.mark.parametrize(
    ("written", "suite"),
    [
        ("aes_cm_128_hmac_sha1_80", SrtpSuite.AES_CM_128_HMAC_SHA1_80),
        ("AES_128_CM_HMAC_SHA1_32", SrtpSuite.AES_CM_128_HMAC_SHA1_32),
        ("AES_CM_256_HMAC_SHA1_80", SrtpSuite.AES_256_CM_HMAC_SHA1_80),
        ("AES_CM_192_HMAC_SHA1_32", SrtpSuite.AES_192_CM_HMAC_SHA1_32),
        ("Aead_Aes_256_Gcm", SrtpSuite.AEAD_AES_256_GCM),
    ],
)
def test_misspelt_names_are_understood(written, suite):
    assert profile(written) is for_suite(suite)


@pytest.mark.parametrize(
    "written",
    [
        "AEAD_AES_128_GCM_8",
        "AEAD_AES_192_GCM",
        "F8_128_HMAC_SHA1_80",
        "AES_CM_128_NULL_AUTH",
        "AES_CM_128_HMAC_SHA1_80 ",
        "AES_256_CM_256_HMAC_SHA1_80",
        "AES_CM_HMAC_SHA1_80",
        "AE\u017f_CM_128_HMAC_SHA1_80",
        "",
    ],
)
def test_other_names_are_not(written):
    assert profile(written) is None


@pytest.mark.parametrize(
    ("number", "suite"),
    [
        (1, SrtpSuite.AES_CM_128_HMAC_SHA1_80),
        (2, SrtpSuite.AES_CM_128_HMAC_SHA1_32),
        (7, SrtpSuite.AEAD_AES_128_GCM),
        (8, SrtpSuite.AEAD_AES_256_GCM),
    ],
)
def test_dtls_numbers_lead_to_the_same_rows(number, suite):
    assert for_dtls(number) is for_suite(suite)


def test_a_dtls_number_without_a_row_gives_none():
    assert for_dtls(5) is None  # SRTP_NULL_HMAC_SHA1_80


def test_suites_beyond_dtls_have_no_number_and_no_openssl_name():
    numbered = {row.suite for row in SUPPORTED if row.dtls_id is not None}
    assert numbered == {row.suite for row in SUPPORTED if row.openssl_name is not None}
    assert SrtpSuite.AES_256_CM_HMAC_SHA1_80 not in numbered


def test_the_other_tag_length_is_the_same_cipher():
    for row in SUPPORTED:
        other = row.other_tag_length
        if row.aead:
            assert other is None
        else:
            assert other.other_tag_length is row
            assert other.master_length == row.master_length
            assert {row.rtp_tag_length, other.rtp_tag_length} == {4, 10}
