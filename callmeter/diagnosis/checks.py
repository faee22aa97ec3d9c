"""All checks, in the order in which they are reported: signalling, keys, media."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from callmeter.diagnosis import keys, negotiation, packets, session_keys, signaling

if TYPE_CHECKING:
    from callmeter.diagnosis.evidence import CallEvidence
    from callmeter.diagnosis.findings import Check
    from callmeter.metrics.report import Finding

__all__ = ["CHECKS", "diagnose"]

CHECKS: Final[tuple[Check, ...]] = (
    signaling.tls_configured,
    signaling.tls_verified,
    signaling.auto_fell_back,
    signaling.message_fits_udp,
    negotiation.srtp_negotiated,
    negotiation.suites_compatible,
    negotiation.profile_right,
    negotiation.srtp_fallback,
    keys.dtls_reachable,
    keys.dtls_roles,
    keys.fingerprint_valid,
    keys.tag_length,
    keys.key_intact,
    keys.plain_for_secure,
    keys.secure_for_plain,
    keys.srtcp_consistent,
    keys.rekey_followed,
    keys.roc_consistent,
    session_keys.mki_agreed,
    session_keys.lifetime_kept,
    session_keys.keys_in_time,
    packets.port_reachable,
    packets.media_both_ways,
    packets.audio_not_silent,
)


def diagnose(evidence: CallEvidence) -> tuple[Finding, ...]:
    """Run all checks over the facts of one call."""
    return tuple(each(evidence) for each in CHECKS)
