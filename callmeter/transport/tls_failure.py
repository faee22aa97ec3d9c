"""What went wrong with TLS, in words that tell what to do about it.

OpenSSL's verification results, alerts and library errors become `TlsError` with one of these
kinds: `expired`, `not_yet_valid`, `unknown_ca`, `name_mismatch`, `wrong_purpose`, `weak`,
`version`, `not_tls`, `timeout`, `client_cert_rejected`, `handshake`.
"""

from __future__ import annotations

import ssl
from typing import Final

from callmeter.errors import TlsError

__all__ = ["PREFIX", "client_failure", "server_failure", "tls_error"]

PREFIX: Final = "TLS handshake failure: "
UNTRUSTED: Final = (
    "Give the authority that signed it as CA certificate (TlsConfig.ca), and have the server send "
    "its intermediate certificates."
)
WANTED: Final = "server wants a client certificate"
REFUSED: Final = "client certificate refused by the server"

# X509_V_ERR_* of OpenSSL's x509_vfy.h, to kind and words.
VERIFICATION: Final = {
    9: ("not_yet_valid", "certificate is not yet valid"),
    10: ("expired", "certificate has expired"),
    24: ("wrong_purpose", "certificate is not authorized to sign other certificates"),
    25: ("wrong_purpose", "too many intermediates for path length constraint"),
    26: ("wrong_purpose", "certificate is not usable for a server"),
    32: ("wrong_purpose", "certificate is not authorized to sign other certificates"),
    66: ("weak", "certificate key is too short"),
    67: ("weak", "certificate key of an authority is too short"),
    68: ("weak", "certificate signature is too weak"),
    79: ("wrong_purpose", "certificate is not authorized to sign other certificates"),
}
UNKNOWN_AUTHORITY: Final = frozenset({2, 18, 19, 20, 21, 27})

# Alerts about the certificate of the side that receives them, to what is wrong with it.
CERTIFICATE_ALERTS: Final = {
    "SSLV3_ALERT_BAD_CERTIFICATE": "",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "expired",
    "SSLV3_ALERT_CERTIFICATE_REVOKED": "revoked",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "",
    "SSLV3_ALERT_NO_CERTIFICATE": "",
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE": "",
    "TLSV1_ALERT_ACCESS_DENIED": "",
    "TLSV1_ALERT_UNKNOWN_CA": "unknown_ca",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "required",
}
REJECTIONS: Final = {
    "": REFUSED,
    "expired": "client certificate has expired",
    "revoked": "client certificate has been revoked",
    "unknown_ca": "client certificate not trusted by the server",
    "required": WANTED,
}
VERSION_REASONS: Final = frozenset(
    {
        "NO_PROTOCOLS_AVAILABLE",
        "TLSV1_ALERT_PROTOCOL_VERSION",
        "UNSUPPORTED_PROTOCOL",
        "WRONG_SSL_VERSION",
    }
)
NOT_TLS_REASONS: Final = frozenset(
    {"HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG", "UNKNOWN_PROTOCOL", "WRONG_VERSION_NUMBER"}
)
WEAK_REASONS: Final = frozenset({"DH_KEY_TOO_SMALL", "EE_KEY_TOO_SMALL"})
NO_CIPHER_REASONS: Final = frozenset({"NO_SHARED_CIPHER", "SSLV3_ALERT_HANDSHAKE_FAILURE"})


def tls_error(kind: str, text: str, destination: str = "") -> TlsError:
    """A `TlsError` whose message begins as all of them do."""
    return TlsError(PREFIX + text, kind=kind, destination=destination)


def client_failure(
    error: ssl.SSLError,
    *,
    answered: bool,
    has_certificate: bool,
    old: bool = False,
    destination: str = "",
) -> TlsError:
    """Why a handshake with a server failed.

    Args:
        error: What `ssl` raised.
        answered: Whether a ServerHello had come.
        has_certificate: Whether there was a certificate of our own to show.
        old: Whether its first record was of a version before TLS 1.2.
        destination: The server.
    """
    if isinstance(error, ssl.SSLCertVerificationError):
        kind, text = _verification(error)
        failure = tls_error(kind, text, destination)
        if kind == "unknown_ca":
            failure.add_note(UNTRUSTED)
        return failure
    reason = error.reason or ""
    wrong = CERTIFICATE_ALERTS.get(reason)
    if wrong is None and answered and reason == "SSLV3_ALERT_HANDSHAKE_FAILURE":
        # A suite was agreed on, so it is not about suites: TLS 1.2 says so when it misses a
        # client certificate (RFC 5246 section 7.4.6).
        wrong = ""
    if wrong is not None:
        text = REJECTIONS[wrong] if has_certificate else WANTED
        return tls_error("client_cert_rejected", f"bad certificate: {text}", destination)
    if old and not answered and reason == "SSLV3_ALERT_HANDSHAKE_FAILURE":
        # It took an old version first, and then found no suite for it among ours.
        reason = "UNSUPPORTED_PROTOCOL"
    kind, text = _library(reason, peer="server", answered=answered)
    return tls_error(kind, text, destination)


def server_failure(error: ssl.SSLError, *, answered: bool, destination: str = "") -> TlsError:
    """Why a handshake with a client failed.

    Args:
        error: What `ssl` raised.
        answered: Whether a usable ClientHello had come.
        destination: The client.
    """
    if isinstance(error, ssl.SSLCertVerificationError):
        _, text = _verification(error)
        text = text.replace("for a server", "for a client").removeprefix("certificate ")
        return tls_error(
            "client_cert_rejected", f"bad certificate: client certificate {text}", destination
        )
    reason = error.reason or ""
    if reason == "PEER_DID_NOT_RETURN_A_CERTIFICATE":
        return tls_error(
            "client_cert_rejected", "bad certificate: client sent no certificate", destination
        )
    if reason in CERTIFICATE_ALERTS:
        return tls_error(
            "handshake", f"client did not accept the certificate ({_plain(reason)})", destination
        )
    kind, text = _library(reason, peer="client", answered=answered)
    return tls_error(kind, text, destination)


def _verification(error: ssl.SSLCertVerificationError) -> tuple[str, str]:
    code = error.verify_code
    if code in UNKNOWN_AUTHORITY:
        return "unknown_ca", "certificate signed by unknown authority"
    known = VERIFICATION.get(code)
    if known is not None:
        return known
    return "handshake", f"certificate is not valid: {error.verify_message}"


def _library(reason: str, *, peer: str, answered: bool) -> tuple[str, str]:
    if reason in VERSION_REASONS:
        return "version", f"{peer} offers no TLS 1.2 or newer"
    if reason in NOT_TLS_REASONS and not answered:
        return "not_tls", "peer does not speak TLS"
    if reason in WEAK_REASONS:
        return "weak", f"key exchange of the {peer} is too weak"
    if reason in NO_CIPHER_REASONS and not answered:
        return "handshake", f"no cipher suite in common with the {peer}"
    return "handshake", _plain(reason) or "broken off"


def _plain(reason: str) -> str:
    """OpenSSL's name of a reason as words: `TLSV1_ALERT_INTERNAL_ERROR`: `internal error`."""
    for prefix in ("SSLV3_ALERT_", "TLSV13_ALERT_", "TLSV1_ALERT_"):
        reason = reason.removeprefix(prefix)
    return reason.replace("_", " ").lower()
