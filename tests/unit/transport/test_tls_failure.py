"""What OpenSSL reports, in words that say what to do."""

from __future__ import annotations

import ssl

import pytest

from callmeter.transport.tls_failure import client_failure, server_failure, tls_error


def verification(code, message="what OpenSSL says"):
    error = ssl.SSLCertVerificationError()
    error.verify_code, error.verify_message = code, message
    return error


def library(reason):
    error = ssl.SSLError(1, f"[SSL: {reason}] words")
    error.reason = reason
    return error


def told(error):
    return error.kind, str(error).removeprefix("TLS handshake failure: ")


@pytest.mark.parametrize(
    ("code", "kind", "words"),
    [
        (9, "not_yet_valid", "certificate is not yet valid"),
        (10, "expired", "certificate has expired"),
        (18, "unknown_ca", "certificate signed by unknown authority"),
        (19, "unknown_ca", "certificate signed by unknown authority"),
        (20, "unknown_ca", "certificate signed by unknown authority"),
        (25, "wrong_purpose", "too many intermediates for path length constraint"),
        (26, "wrong_purpose", "certificate is not usable for a server"),
        (66, "weak", "certificate key is too short"),
        (68, "weak", "certificate signature is too weak"),
        (79, "wrong_purpose", "certificate is not authorized to sign other certificates"),
        (47, "handshake", "certificate is not valid: what OpenSSL says"),
    ],
)
def test_a_verification_result_becomes_a_kind_and_words(code, kind, words):
    error = client_failure(
        verification(code), answered=True, has_certificate=False, destination="TLS 192.0.2.1:1"
    )
    assert told(error) == (kind, words)
    assert error.destination == "TLS 192.0.2.1:1"


def test_an_unknown_authority_comes_with_a_hint():
    error = client_failure(verification(20), answered=True, has_certificate=False)
    (note,) = error.__notes__
    assert "as CA certificate (TlsConfig.ca)" in note
    assert "intermediate certificates" in note


@pytest.mark.parametrize(
    ("reason", "answered", "kind", "words"),
    [
        ("WRONG_VERSION_NUMBER", False, "not_tls", "peer does not speak TLS"),
        ("WRONG_VERSION_NUMBER", True, "handshake", "wrong version number"),
        ("UNSUPPORTED_PROTOCOL", True, "version", "server offers no TLS 1.2 or newer"),
        ("DH_KEY_TOO_SMALL", True, "weak", "key exchange of the server is too weak"),
        (
            "SSLV3_ALERT_HANDSHAKE_FAILURE",
            False,
            "handshake",
            "no cipher suite in common with the server",
        ),
        ("TLSV1_ALERT_INTERNAL_ERROR", True, "handshake", "internal error"),
        ("TLSV1_UNRECOGNIZED_NAME", False, "handshake", "tlsv1 unrecognized name"),
        (None, True, "handshake", "broken off"),
    ],
)
def test_a_library_error_becomes_a_kind_and_words(reason, answered, kind, words):
    error = client_failure(library(reason), answered=answered, has_certificate=False)
    assert told(error) == (kind, words)


@pytest.mark.parametrize(
    ("reason", "without", "with_one"),
    [
        ("TLSV13_ALERT_CERTIFICATE_REQUIRED", "wants", "server wants a client certificate"),
        ("SSLV3_ALERT_HANDSHAKE_FAILURE", "wants", "client certificate refused by the server"),
        ("SSLV3_ALERT_BAD_CERTIFICATE", "wants", "client certificate refused by the server"),
        ("TLSV1_ALERT_UNKNOWN_CA", "wants", "client certificate not trusted by the server"),
        ("SSLV3_ALERT_CERTIFICATE_EXPIRED", "wants", "client certificate has expired"),
        ("SSLV3_ALERT_CERTIFICATE_REVOKED", "wants", "client certificate has been revoked"),
    ],
)
def test_an_alert_about_a_certificate_is_about_the_client(reason, without, with_one):
    error = client_failure(library(reason), answered=True, has_certificate=False)
    assert told(error) == (
        "client_cert_rejected",
        f"bad certificate: server {without} a client certificate",
    )
    error = client_failure(library(reason), answered=True, has_certificate=True)
    assert told(error) == ("client_cert_rejected", f"bad certificate: {with_one}")


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (
            verification(10),
            "client_cert_rejected",
            "bad certificate: client certificate has expired",
        ),
        (
            verification(26),
            "client_cert_rejected",
            "bad certificate: client certificate is not usable for a client",
        ),
        (
            library("PEER_DID_NOT_RETURN_A_CERTIFICATE"),
            "client_cert_rejected",
            "bad certificate: client sent no certificate",
        ),
        (
            library("SSLV3_ALERT_CERTIFICATE_EXPIRED"),
            "handshake",
            "client did not accept the certificate (certificate expired)",
        ),
        (library("UNSUPPORTED_PROTOCOL"), "version", "client offers no TLS 1.2 or newer"),
        (library("HTTP_REQUEST"), "not_tls", "peer does not speak TLS"),
        (library("NO_SHARED_CIPHER"), "handshake", "no cipher suite in common with the client"),
    ],
)
def test_a_server_tells_what_is_wrong_with_its_client(error, kind, words):
    found = server_failure(error, answered=False, destination="TLS 192.0.2.1:1")
    assert told(found) == (kind, words)
    assert found.destination == "TLS 192.0.2.1:1"


def test_every_message_begins_alike():
    assert str(tls_error("timeout", "timed out after 5 s")).startswith("TLS handshake failure: ")
