"""Checks of the keys and of what was made with them: DTLS, SDES, SRTP and SRTCP.

Packets that nothing decrypts have one cause. The trial of one of them names it, and each check
here speaks up for its own cause alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from callmeter.diagnosis.findings import check, fails, passes, skips, warns
from callmeter.errors import (
    DtlsHandshakeFailed,
    DtlsTimeout,
    FingerprintMismatch,
    NoCommonSuite,
    SdesKeyError,
)
from callmeter.metrics.report_text import counted
from callmeter.srtp.protection_profiles import profile as suite_profile
from callmeter.srtp.trial import FailureCause

if TYPE_CHECKING:
    from callmeter.diagnosis.evidence import CallEvidence
    from callmeter.diagnosis.findings import Verdict

__all__ = [
    "both_active",
    "broken_key",
    "dtls_reachable",
    "dtls_roles",
    "fingerprint_valid",
    "key_intact",
    "plain_for_secure",
    "rekey_followed",
    "roc_consistent",
    "secure_for_plain",
    "srtcp_consistent",
    "tag_length",
]

UNFOLLOWED: Final = 25
"""Packets under the old key, half a second of them, that are no longer just on their way."""
_OF_A_CLIENT: Final = frozenset({"ClientHello", "ClientKeyExchange", "CertificateVerify"})
"""Messages that no DTLS server sends (RFC 5246 section 7.4)."""
_PLAIN: Final = "the media is not encrypted"
_NOTHING: Final = "no packet arrived under SRTP"
_TAGS: Final = frozenset({4, 10, 16})
_STEP: Final = 40
"""Octets of 5 ms of G.711, the shortest packet."""
_G711: Final = frozenset({"PCMU", "PCMA"})
_ENCRYPTED: Final = frozenset({"TLS", "WSS"})
_ALTERED_WITHIN_TLS: Final = (
    "Nobody on this hop could alter the key: compare the a=crypto lines at both ends, and look at "
    "what a B2BUA or SBC between them passes on."
)
_SAME_TAGS: Final = (
    "Agree on AES_CM_128_HMAC_SHA1_80, where RTP and RTCP have the same tag, or let the peer keep "
    "80 bits for SRTCP."
)
_SAME_METHOD: Final = (
    "Verify both endpoints agreed on the same encryption method (check SDP for consistent a=crypto "
    "or a=fingerprint), and ensure no intermediary is stripping encryption attributes from the SDP."
)


def broken_key(error: BaseException | None) -> SdesKeyError | None:
    """The key of a known suite that could not be used, when that ended the call."""
    if isinstance(error, NoCommonSuite):
        error = error.__cause__
    # A suite that is not known comes without the tag of its line.
    if isinstance(error, SdesKeyError) and "tag" in error.evidence:
        return error
    return None


def unreadable(evidence: CallEvidence) -> FailureCause | None:
    """Why nothing can be decrypted; None also when an ignored rekey explains it."""
    if evidence.unfollowed and evidence.failure is FailureCause.KEY:
        return None
    return evidence.failure


@check(
    "Is DTLS reachable?",
    "Verify the firewall allows all UDP traffic on the media port range (both directions, not just "
    "RTP-shaped packets), that no NAT times out the binding, enable RTCP-MUX, and verify an SBC in "
    "between supports DTLS passthrough.",
)
def dtls_reachable(evidence: CallEvidence) -> Verdict:
    """The DTLS handshake reached the peer and ended well."""
    error = evidence.error
    if both_active(error):
        return passes("the ClientHello of the peer arrived")
    if isinstance(error, DtlsTimeout | DtlsHandshakeFailed):
        return fails(f"{error}{_handshake(error.evidence)}")
    if isinstance(error, FingerprintMismatch) or evidence.keying == "dtls":
        return passes("the DTLS handshake reached the peer")
    return skips("no DTLS handshake was agreed on")


def _handshake(seen: dict[str, Any]) -> str:
    """How far a handshake came, in words."""
    sent, received = seen.get("port_datagrams_sent"), seen.get("port_datagrams_received")
    if sent is None:
        return ""
    counts = f"{sent} datagrams sent, {received or 0} received"
    if not received and seen.get("role") == "server":
        return f" ({counts}: the peer says a=setup:active, and its ClientHello never came)"
    last = seen.get("last_flight_received")
    return f" ({counts}, the last one {last})" if last else f" ({counts})"


def both_active(error: BaseException | None) -> bool:
    """Whether a handshake failed since each end took itself for the client.

    A ClientHello that overtook the answer was answered before it was known to be wrong, and what
    came last is then the flight after it.
    """
    if not isinstance(error, DtlsTimeout | DtlsHandshakeFailed):
        return False
    last = error.evidence.get("last_flight_received") or ""
    return error.evidence.get("role") == "client" and not _OF_A_CLIENT.isdisjoint(last.split(", "))


@check(
    "Do the DTLS roles fit?",
    "Let the peer act as its a=setup says: the end that says active sends the ClientHello, the one "
    "that says passive waits for it (RFC 5763 section 5).",
)
def dtls_roles(evidence: CallEvidence) -> Verdict:
    """One end starts the handshake, the other waits."""
    if both_active(evidence.error):
        return fails(
            f"{evidence.error}: the peer says a=setup:passive and sent a ClientHello of its own, "
            "so both ends are active"
        )
    if evidence.keying == "dtls":
        return passes("one end was active, the other passive")
    return skips("no DTLS handshake was finished")


@check(
    "Is the fingerprint valid?",
    "Check if an SBC or B2BUA between the endpoints modifies the SDP; configure it to pass DTLS "
    "through transparently or to terminate and re-originate DTLS with its own certificates.",
)
def fingerprint_valid(evidence: CallEvidence) -> Verdict:
    """The certificate of the handshake is the one that the SDP names."""
    if isinstance(evidence.error, FingerprintMismatch):
        return fails(f"{evidence.error}{_fingerprints(evidence.error.evidence)}")
    if evidence.keying == "dtls":
        return passes("a=fingerprint matches the certificate of the DTLS handshake")
    return skips("no DTLS handshake was finished")


def _fingerprints(seen: dict[str, Any]) -> str:
    """Both of them in words: they are public, and show which certificate is whose."""
    expected, received = seen.get("expected"), seen.get("received")
    if not expected or not received:
        return ""
    return f" (the SDP says {', '.join(expected)}; the certificate has {', '.join(received)})"


@check(
    "Do both ends use the agreed tag length (32 vs 80)?",
    "Enable both AES_CM_128_HMAC_SHA1_80 and AES_CM_128_HMAC_SHA1_32 at both ends, and let the "
    "peer use the suite it answered.",
)
def tag_length(evidence: CallEvidence) -> Verdict:
    """The peer's packets have the authentication tag of the agreed suite."""
    if unreadable(evidence) is FailureCause.TAG_LENGTH:
        return fails(
            f"{evidence.suite} was agreed, and the peer's packets are authentic under the same "
            f"key with the other tag length: {evidence.undecryptable} were refused"
        )
    return good_srtp(evidence, "the tags have the agreed length")


def good_srtp(evidence: CallEvidence, detail: str) -> Verdict:
    if not evidence.secure:
        return skips(_PLAIN)
    if unreadable(evidence) is not None:
        return skips("the packets cannot be decrypted for another reason")
    return passes(detail) if evidence.packets_received else skips(_NOTHING)


@check(
    "Did the key arrive as it was sent?",
    "Switch SIP from UDP to TLS: firewalls with a SIP ALG cannot modify what they cannot read. "
    "Compare the a=crypto lines at both ends.",
)
def key_intact(evidence: CallEvidence) -> Verdict:
    """Nothing on the way changed the inline key or cut the message."""
    broken = broken_key(evidence.error)
    if broken is not None:
        return fails(f"{broken}{_differing(evidence)}")
    if unreadable(evidence) is FailureCause.KEY:
        remedy: str | None = None
        if evidence.keying != "sdes":
            remedy = _SAME_METHOD
        elif evidence.transport in _ENCRYPTED:
            remedy = _ALTERED_WITHIN_TLS
        return fails(
            f"{evidence.undecryptable} packets fail under the agreed key, with either tag length, "
            f"and are no plain RTP: the peer uses another key{_differing(evidence)}",
            remedy,
        )
    if evidence.content_length is not None:
        declared, there = evidence.content_length
        found = f"Content-Length says {declared}, and the message has {there} octets of body"
        return warns(found) if evidence.packets_received else fails(found)
    theirs = evidence.theirs
    damaged = [] if theirs is None else [key.damage for key in theirs.keys if key.damage]
    if damaged:
        return warns("; ".join(damaged))
    bare = [line.tag for line in evidence.theirs_in_use if line.unpadded]
    padding = f"; line {bare[0]} came without its padding" if bare else ""
    return good_srtp(evidence, f"packets are authentic under the agreed key{padding}")


def _differing(evidence: CallEvidence) -> str:
    if evidence.content_length is None:
        return ""
    declared, there = evidence.content_length
    return f"; Content-Length says {declared}, and there were {there} octets"


@check("Does plain RTP arrive where SRTP was agreed?", _SAME_METHOD)
def plain_for_secure(evidence: CallEvidence) -> Verdict:
    """The peer agreed to SRTP and sends RTP."""
    if unreadable(evidence) is FailureCause.PLAIN_RTP:
        return fails(
            f"{evidence.suite} was agreed, and the peer sends plain RTP: "
            f"{evidence.undecryptable} packets were refused"
        )
    return good_srtp(evidence, "what arrives is SRTP")


@check("Does SRTP arrive where plain RTP was agreed?", _SAME_METHOD)
def secure_for_plain(evidence: CallEvidence) -> Verdict:
    """Nothing was agreed, and the packets are longer by a tag."""
    if evidence.secure:
        return skips("the media is encrypted")
    if not evidence.packets_received or evidence.codec not in _G711:
        return skips("nothing to tell it by arrived")
    surplus = evidence.payload_octets % _STEP
    if surplus in _TAGS:
        return fails(
            f"a payload of {evidence.payload_octets} octets is {evidence.codec} audio and an "
            f"authentication tag of {surplus}: the peer sends SRTP"
        )
    return passes("what arrives is plain RTP, as agreed")


@check(
    "Is RTCP encrypted alike on both sides?",
    'Ensure the "SRTCP" (Secure RTCP) toggle matches on both sides.',
)
def srtcp_consistent(evidence: CallEvidence) -> Verdict:
    """RTCP arrives as it was agreed: SRTCP, encrypted or not."""
    if not evidence.secure:
        return skips(_PLAIN)
    if evidence.failure is FailureCause.PLAIN_RTP:
        return skips("the peer uses no SRTP at all")
    if evidence.rtcp_mismatches:
        return fails(
            f"{evidence.rtcp_mismatches} SRTCP packets are not encrypted as agreed (E bit): "
            "figures of the peer are missing"
        )
    if evidence.rtcp_in_clear:
        clear = counted(evidence.rtcp_in_clear, "RTCP packet")
        return fails(
            f"{clear} came in clear where SRTCP was agreed: figures of the peer are missing"
        )
    if evidence.rtcp_short_tags:
        return warns(
            f"{evidence.rtcp_short_tags} SRTCP packets have a tag of 32 bits, and {evidence.suite} "
            "keeps 80 for SRTCP (RFC 4568 section 6.2.2): figures of the peer are missing",
            _SAME_TAGS,
        )
    if evidence.keying == "sdes" and _clear_rtcp_differs(evidence):
        return warns("UNENCRYPTED_SRTCP stands in the a=crypto line of one side alone")
    if evidence.rtcp_received:
        return passes(f"{evidence.rtcp_received} SRTCP packets could be read")
    return skips("no RTCP arrived")


def _clear_rtcp_differs(evidence: CallEvidence) -> bool:
    in_use = suite_profile(evidence.suite or "")
    said = [
        {key.clear_rtcp for key in side.keys if suite_profile(key.suite) is in_use}
        for side in (evidence.offer, evidence.answer)
        if side is not None
    ]
    return all(said) and bool(said) and not set.intersection(*said)


@check(
    "Does the peer follow a new key?",
    'Ensure the "Unsecured to Secured" and "Key Update" settings are enabled in the media security '
    "of the trunk.",
)
def rekey_followed(evidence: CallEvidence) -> Verdict:
    """After a re-INVITE with a new key the peer's packets are under the new one."""
    if evidence.unfollowed >= UNFOLLOWED or (evidence.unfollowed and evidence.failure is not None):
        return fails(
            f"{evidence.unfollowed} packets came under the old key since the rekey, and none "
            "under the new one"
        )
    if evidence.old_key_packets:
        return passes(
            f"the new key came after {counted(evidence.old_key_packets, 'packet')} under the old"
        )
    return skips("no packet came under an old key")


@check(
    "Do both ends count the rollovers alike?",
    "Let the peer keep its rollover counter while the key stays, and start at 0 with a new key "
    "(RFC 3711 section 3.3.1).",
)
def roc_consistent(evidence: CallEvidence) -> Verdict:
    """The peer's rollover counter is the one that its packets let expect."""
    if unreadable(evidence) is FailureCause.ROLLOVER:
        return fails(
            f"{evidence.undecryptable} packets were refused, and one is authentic under another "
            "rollover counter: the peer reset it, or kept it where it had to begin anew"
        )
    if evidence.roc_resets:
        return fails(
            f"the peer's rollover counter changed {evidence.roc_resets} times under a key that "
            "stayed: it is followed here, and a strict receiver would hear nothing"
        )
    if evidence.roc_kept:
        return good_srtp(
            evidence, "under the new key the peer's rollover counter went on, and is followed"
        )
    return good_srtp(evidence, "the rollover counters agree")
