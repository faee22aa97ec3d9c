"""Checks of offer and answer: whether SRTP was agreed on, by which suite and profile."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from callmeter.config import SrtpPolicy
from callmeter.diagnosis.findings import check, fails, passes, skips, warns
from callmeter.diagnosis.keys import broken_key
from callmeter.errors import NoCommonCodec, NoCommonSuite, ProfileMismatch, SrtpRequired
from callmeter.sdp.profiles import Keying

if TYPE_CHECKING:
    from callmeter.diagnosis.evidence import CallEvidence, Description
    from callmeter.diagnosis.findings import Verdict

__all__ = ["codec_agreed", "profile_right", "srtp_fallback", "srtp_negotiated", "suites_compatible"]

_RIGHT_SPELLING: Final = (
    "Let the peer write the name that is registered (RFC 4568, RFC 6188, RFC 7714): others may not "
    "know the suite by this one."
)
_PROTOCOL_REFUSED: Final = " 302 "
"""Warning code "Incompatible transport protocol" (RFC 3261 section 20.43)."""
_FORMAT_REFUSED: Final = " 305 "
"""Warning code "Incompatible media format" (RFC 3261 section 20.43)."""
_CLEAR_REFUSED: Final = (
    "If the peer insists on SRTP, offer it: set a method, and the policy Offered or Required. Else "
    "compare the codecs of both ends."
)
_OFFER_SRTP: Final = (
    "Let the caller offer SRTP, with keys of a kind that is enabled here, and check that no "
    "intermediary strips encryption attributes from the SDP."
)
_NO_SRTP: Final = (
    "The peer refuses SRTP, whatever the suites: enable it there. With the policy Offered here "
    "the call would go on in clear."
)
_OTHER_KEYS: Final = {
    "no a=fingerprint,": (
        "The peer takes keys by DTLS alone: offer these, by the method DTLS or DUAL, or enable "
        "SDES at the peer."
    ),
    "no a=crypto line,": (
        "The peer takes keys by SDES alone: offer these, by the method SDES or DUAL, or enable "
        "DTLS-SRTP at the peer."
    ),
}
"""What to do, by what another callmeter says of the offer it refuses."""
_OFF: Final = "the SRTP policy is Disabled"
NOT_ACCEPTABLE: Final = 488
_NOT_ACCEPTABLE_ANYWHERE: Final = 606
_WARNING: Final = ": warning "
_POLICY: Final = "the SRTP policy is"
_NO_KEY: Final = "without a usable key"
"""Words of another callmeter: that its policy decides, or that it takes no DTLS."""
_NO_DTLS: Final = (
    "The peer knows no DTLS-SRTP, or has it switched off: enable it there, or offer SDES alone."
)
_NO_DUAL: Final = (
    "The peer reads UDP/TLS/RTP/SAVP only as DTLS, or knows no DTLS-SRTP: offer SDES alone, or "
    "both kinds of keys under RTP/AVP (osrtp, with the policy Offered). If it refuses SDES alone "
    "too, it takes no SRTP, or none of the suites."
)
_MISFIT: Final = (
    "The m= line shows SAVP/SAVPF (SDES) or UDP/TLS/RTP/SAVP (DTLS): correct it at the peer, which "
    "brought in this profile for keys of the other kind. A new offer in the call has to fit too."
)


@check(
    "Is SRTP negotiated?",
    "Check that the SDP answer contains a=crypto or a=fingerprint, and that no intermediary strips "
    "encryption attributes from the SDP.",
)
def srtp_negotiated(evidence: CallEvidence) -> Verdict:
    """The keys that the policy asks for are there."""
    if isinstance(evidence.error, SrtpRequired):
        return fails(str(evidence.error), None if evidence.offered_here else _OFFER_SRTP)
    if evidence.secure:
        return passes(f"{evidence.keying.upper()}, {evidence.suite}")
    if not evidence.wants_srtp:
        return _refused_in_clear(evidence)
    if evidence.has_media and evidence.policy is SrtpPolicy.REQUIRED:
        return fails("the call was answered without keys")
    return skips("the call is not secured" if evidence.has_media else "there was no media")


def _refused_in_clear(evidence: CallEvidence) -> Verdict:
    """Whether a peer took no offer without keys."""
    said = str(evidence.error or "")
    refused = evidence.final_status == NOT_ACCEPTABLE and evidence.offered_here
    if not refused or evidence.has_media or _FORMAT_REFUSED in said:
        return skips(_OFF)
    if _PROTOCOL_REFUSED in said:
        return fails(said, _CLEAR_REFUSED)
    return warns("the peer refuses an offer without keys, and does not say why", _CLEAR_REFUSED)


@check(
    "Is there a codec that both ends know?",
    "Enable a codec that the other end has, PCMU or PCMA for example, and let the peer send the "
    "payload types that were agreed on.",
)
def codec_agreed(evidence: CallEvidence) -> Verdict:
    """A codec was agreed on, and is what comes."""
    error, said = evidence.error, str(evidence.error or "")
    refused = evidence.final_status == NOT_ACCEPTABLE and _FORMAT_REFUSED in said
    if not evidence.has_media and (isinstance(error, NoCommonCodec) or refused):
        return fails(said)
    if not evidence.has_media:
        return skips("no codec was agreed on")
    if evidence.payload_types_differ:
        strange = evidence.dropped["payload_type"]
        return fails(f"{strange} packets came with a payload type that was not agreed on")
    return passes(f"{evidence.codec}")


@check(
    "Are the cipher suites compatible?",
    "Check which cipher suites the remote endpoint supports (consult its documentation) and offer "
    "compatible ones, both AES_CM_128_HMAC_SHA1_80 and AES_CM_128_HMAC_SHA1_32 among them.",
)
def suites_compatible(evidence: CallEvidence) -> Verdict:
    """A suite was found that both ends know."""
    error = evidence.error
    if broken_key(error) is not None:
        return skips("a key could not be used: the suites were not compared")
    if isinstance(error, NoCommonCodec):
        return skips("no codec was agreed on: the suites were not compared")
    refused = _dtls_refused(evidence)
    if refused is not None:
        return refused
    if isinstance(error, NoCommonSuite) and _PROTOCOL_REFUSED in str(error):
        text = str(error)
        advice = (remedy for words, remedy in _OTHER_KEYS.items() if words in text)
        return fails(text, next(advice, _NO_SRTP))
    if isinstance(error, NoCommonSuite):
        return fails(f"{error}{_suites(error.offered, error.supported)}")
    if evidence.secure:
        lines = evidence.theirs_in_use
        if lines and all(line.misspelt for line in lines):
            return warns(f"the peer writes {lines[0].suite} for {evidence.suite}", _RIGHT_SPELLING)
        return passes(f"{evidence.suite} is known to both ends")
    if not evidence.wants_srtp:
        return skips(_OFF)
    if isinstance(error, SrtpRequired | ProfileMismatch):
        return skips("no key came to compare suites by")
    if evidence.final_status == NOT_ACCEPTABLE and not evidence.warnings:
        return fails(f"488 Not Acceptable Here{_suites(evidence.suites, ())}")
    return skips("no suite was agreed on")


def _dtls_refused(evidence: CallEvidence) -> Verdict | None:
    """What the refusal of an own offer with a=fingerprint means; None where there is none.

    Such an offer fails at a peer without DTLS-SRTP whatever its suites.
    """
    offer, said = evidence.offer, str(evidence.error or evidence.final_status)
    if evidence.final_status not in {NOT_ACCEPTABLE, _NOT_ACCEPTABLE_ANYWHERE} or evidence.answered:
        return None
    if offer is None or not evidence.offered_here or _blames_no_dtls(said):
        return None
    if offer.profile is None or not offer.profile.dtls or not offer.fingerprints:
        return None
    keys = "a=crypto lines and a=fingerprint" if offer.keys else "a=fingerprint"
    # Without a warning of the peer what follows the reason is a guess, made for a=crypto lines.
    found = said if _WARNING in said else said.partition(":")[0]
    remedy = _NO_DUAL if offer.keys else _NO_DTLS
    return fails(f"{found}, to an offer of {offer.protocol} with {keys}", remedy)


def _blames_no_dtls(said: str) -> bool:
    """Whether a refusal comes with a reason of the peer that is another."""
    about_dtls = _PROTOCOL_REFUSED in said or _NO_KEY in said
    return _POLICY in said or (_WARNING in said and not about_dtls)


def _suites(offered: tuple[str, ...], supported: tuple[str, ...]) -> str:
    parts = [f"offered {', '.join(offered)}"] if offered else []
    parts += [f"supported {', '.join(supported)}"] if supported else []
    return f" ({'; '.join(parts)})" if parts else ""


@check(
    "Is the profile correct?",
    "The m= line shows SAVP/SAVPF (SDES) or UDP/TLS/RTP/SAVP (DTLS), and the answer repeats the "
    "profile of the offer: correct it at the peer.",
)
def profile_right(evidence: CallEvidence) -> Verdict:
    """The m= lines say what the keys do."""
    if isinstance(evidence.error, ProfileMismatch):
        return fails(str(evidence.error))
    offer, answer = evidence.offer, evidence.answer
    if offer is None or answer is None:
        return skips("there is no offer with an answer")
    if evidence.warnings:
        return skips("the encryption was given up")
    if offer.profile is not answer.profile:
        return warns(
            f"the answer says {answer.protocol} to an offer of {offer.protocol} "
            "(RFC 3264 section 6 asks for the same)"
        )
    # Both kinds of keys under RTP/SAVP are no fault where those of a=crypto lines are in use.
    judged = evidence.keying == "dtls" or (offer.profile is not None and offer.profile.dtls)
    misfit = offer.misfit if judged else ""
    if misfit and evidence.misfit_here:
        return skips(f"{misfit}, as offered by this end: the peer repeats it rightly")
    if misfit:
        return warns(misfit, _MISFIT)
    return passes(f"{answer.protocol}{_keys_of(answer)}")


def _keys_of(answer: Description) -> str:
    words = {Keying.SDES: " with a=crypto", Keying.DTLS: " with a=fingerprint"}
    return words.get(answer.keying, "")


@check(
    "Was encryption given up?",
    "Change the SRTP policy from Offered to Required: then the call fails instead.",
)
def srtp_fallback(evidence: CallEvidence) -> Verdict:
    """Under the policy Offered a call goes on without keys."""
    if evidence.warnings:
        return warns("; ".join(evidence.warnings))
    return passes("nothing was given up") if evidence.secure else skips("nothing was given up")
