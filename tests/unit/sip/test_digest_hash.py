from __future__ import annotations

import hashlib

import pytest

from callmeter.sip import digest_hash
from callmeter.sip.digest_hash import (
    ALGORITHMS,
    algorithm_rank,
    canonical_algorithm,
    digest_response,
    hash_hex,
)

MUFASA = {
    "username": "Mufasa",
    "realm": "testrealm@host.com",
    "password": "Circle Of Life",
    "method": "GET",
    "uri": "/dir/index.html",
    "nonce": "dcd98b7102dd2f0e8b11d0f600bfb0c093",
}


def test_the_example_of_rfc_2617_comes_out():
    response = digest_response(
        "MD5", **MUFASA, qop="auth", nonce_count="00000001", cnonce="0a4f113b"
    )
    assert response == "6629fae49393a05397450978507c4ef1"


def test_without_qop_neither_count_nor_cnonce_matter():
    one = digest_response("MD5", **MUFASA)
    assert one == digest_response("MD5", **MUFASA, nonce_count="00000007", cnonce="x")
    assert one == "670fd8c2df070c60b045671b8b24ff02"


def test_a_session_algorithm_binds_the_secret_to_both_nonces():
    plain = digest_response("MD5", **MUFASA, qop="auth", nonce_count="00000001", cnonce="a")
    session = digest_response("MD5-sess", **MUFASA, qop="auth", nonce_count="00000001", cnonce="a")
    assert plain != session


def test_auth_int_covers_every_octet_of_the_body():
    def response(body):
        return digest_response(
            "SHA-256", **MUFASA, qop="auth-int", nonce_count="00000001", cnonce="a", body=body
        )

    assert len({response(b""), response(b"v=0\r\n"), response(b"v=0\n"), response(b"\xff")}) == 4


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (None, "MD5"),
        ("md5", "MD5"),
        ("MD5-SESS", "MD5-sess"),
        ("sha-256", "SHA-256"),
        ("Sha-512-256-Sess", "SHA-512-256-sess"),
        ("SHA-512", None),
        ("", None),
        ("MD5-", None),
    ],
)
def test_algorithms_are_named_without_case_and_never_guessed(text, name):
    assert canonical_algorithm(text) == name


def test_sha_512_256_is_the_real_one_and_not_sha_512_cut_short():
    # FIPS 180-4 gives it its own initial values; an RFC once printed the cut form.
    assert hash_hex("SHA-512-256", "abc") == (
        "53048e2681941ef99b2e29b76b4c7dabe4c2d0c634fc6d46e0e2f13107e7af23"
    )


def test_a_hash_function_that_openssl_lacks_is_not_offered(monkeypatch):
    monkeypatch.setattr(hashlib, "algorithms_available", {"md5", "sha256"})
    assert list(digest_hash._available()) == ["MD5", "SHA-256"]


def test_strength_ranks_by_hash_function_alone():
    assert sorted(ALGORITHMS, key=algorithm_rank) == ["MD5", "SHA-256", "SHA-512-256"]
    assert algorithm_rank("SHA-256-sess") == algorithm_rank("SHA-256")
