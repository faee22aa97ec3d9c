"""Checks of the path of the signalling: TLS, what AUTO found, the size of messages."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from callmeter.diagnosis.findings import check, fails, passes, skips, warns
from callmeter.errors import MediaSecurityError, MessageTooLarge, NegotiationError, TlsError

if TYPE_CHECKING:
    from callmeter.diagnosis.evidence import CallEvidence
    from callmeter.diagnosis.findings import Verdict

__all__ = [
    "auto_fell_back",
    "hung_up_normally",
    "message_fits_udp",
    "tls_configured",
    "tls_verified",
]

MTU_UNKNOWN: Final = 1300
"""Octets a request over UDP may have where the path MTU is not known (RFC 3261 section 18.1.1)."""
REFUSED: Final = 400
"""Final statuses from here on tell of a failure."""
NORMAL: Final = frozenset({16, 31})
"""Causes of Q.850: normal call clearing, and normal without more."""
_CAUSE: Final = re.compile(r"\b(SIP|Q\.850)\s*;[^,]*?\bcause\s*=\s*([0-9]{1,3})", re.IGNORECASE)
_SECURE: Final = frozenset({"TLS", "WSS"})
_NOT_SECURE: Final = "the signalling is not encrypted: {}"
_UNTRUSTED: Final = {
    "expired": (
        "Renew the expired certificate; if it is the server's, contact the SIP server "
        "administrator."
    ),
    "not_yet_valid": "Check the clocks of both ends and the validity period of the certificate.",
    "unknown_ca": (
        "Obtain the CA certificate that signed the server's certificate, give it as CA "
        "certificate and set the TLS verification mode to Custom."
    ),
    "name_mismatch": (
        "Verify the registrar URI matches one of the names in the server certificate; as a last "
        "resort, set TLS verification mode to Skip (not recommended for production testing)."
    ),
    "wrong_purpose": "Give the server a certificate that is made for servers.",
    "weak": "Give the server a certificate with a stronger key and signature.",
}
_HIDE_KEYS: Final = (
    "Switch SIP to TLS, which hides the a=crypto lines, or use DTLS-SRTP, whose keys are in no SIP "
    "message."
)
_CLIENT_REFUSED: Final = (
    "Give a valid client certificate and private key, ensure the server's trust store includes "
    "the CA that signed the client certificate, and verify it has not expired."
)


@check(
    "Is TLS configured?",
    "Check that the server listens with TLS on this port and speaks TLS 1.2 or newer.",
)
def tls_configured(evidence: CallEvidence) -> Verdict:
    """The signalling runs over TLS, and both ends can do it."""
    error = evidence.error
    if isinstance(error, TlsError):
        if error.kind in _UNTRUSTED:
            return passes("TLS was tried, and the certificate refused")
        remedy = _CLIENT_REFUSED if error.kind == "client_cert_rejected" else None
        return fails(str(error), remedy)
    if evidence.transport in _SECURE:
        tls = evidence.tls
        return passes(evidence.transport if tls is None else f"{tls.version} {tls.cipher}")
    if not evidence.transport:
        return skips("no message was sent")
    if evidence.keying == "sdes":
        found = _NOT_SECURE.format(f"{evidence.transport} shows the SRTP keys to the network")
        # On loopback, as in most tests, nobody else can read them.
        return warns(found, _HIDE_KEYS) if evidence.crosses_network else skips(found)
    return skips(_NOT_SECURE.format(evidence.transport))


@check(
    "Is the server's certificate verified?",
    "Set the TLS verification mode to System or Custom; Skip is not recommended for production "
    "testing.",
)
def tls_verified(evidence: CallEvidence) -> Verdict:
    """The certificate of the server was verified."""
    error = evidence.error
    if isinstance(error, TlsError) and error.kind in _UNTRUSTED:
        return fails(str(error), _UNTRUSTED[error.kind])
    if evidence.tls is None:
        return skips("there is no TLS")
    if evidence.tls.verified:
        return passes("the certificate was verified")
    if not evidence.tls.certificate:
        return skips("the peer opened the connection, and was asked for no certificate")
    return warns("the certificate was not verified")


@check(
    "Did AUTO find DNS records?",
    "Add DNS service records or select transport explicitly.",
)
def auto_fell_back(evidence: CallEvidence) -> Verdict:
    """AUTO had to take UDP for want of records."""
    if evidence.fell_back is None:
        return skips("AUTO did not fall back")
    return warns(f"AUTO found neither NAPTR nor SRV records of {evidence.fell_back} and took UDP")


@check("Do the messages fit a datagram?", "Switch to TCP or TLS.")
def message_fits_udp(evidence: CallEvidence) -> Verdict:
    """No SIP message over UDP is longer than any path carries in one piece."""
    if isinstance(evidence.error, MessageTooLarge):
        return fails(str(evidence.error))
    size = evidence.largest_datagram
    if not size:
        return skips("no message went over UDP")
    if size <= MTU_UNKNOWN:
        return passes(f"the longest message has {size} octets")
    return warns(
        f"a message of {size} octets went over UDP: above {MTU_UNKNOWN} it may be fragmented "
        "or lost"
    )


@check(
    "Did the peer hang up as usual?",
    "The Reason is that of the peer, or of a gateway behind it: look for it in their logs.",
)
def hung_up_normally(evidence: CallEvidence) -> Verdict:
    """The Reason of the peer's BYE names no trouble (RFC 3326, ITU-T Q.850)."""
    said = evidence.bye_reason
    if not said:
        return skips("the peer gave no reason for a BYE")
    if isinstance(evidence.error, MediaSecurityError | NegotiationError):
        return skips("another check tells why the call failed")
    found = [(kind.upper(), int(cause)) for kind, cause in _CAUSE.findall(said)]
    if any(cause >= REFUSED if kind == "SIP" else cause not in NORMAL for kind, cause in found):
        return warns(f"the peer hung up with the reason {said}")
    return passes(f"the peer hung up with the reason {said}")
