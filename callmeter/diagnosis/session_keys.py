"""Checks of what goes with a key: its identifier, how long it lasts, whether it came in time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from callmeter.diagnosis.findings import check, fails, passes, skips, warns
from callmeter.diagnosis.keys import good_srtp, unreadable
from callmeter.srtp.trial import FailureCause

if TYPE_CHECKING:
    from callmeter.diagnosis.evidence import CallEvidence
    from callmeter.diagnosis.findings import Verdict

__all__ = ["keys_in_time", "lifetime_kept", "mki_agreed"]

LATE_S: Final = 2.0
"""A handshake that takes longer lost a flight, or was begun late."""
_EARLY: Final = "early"


@check(
    "Do the packets carry the agreed MKI?",
    "Let the peer announce its MKI in the a=crypto line and put it into each packet, or turn it "
    "off at both ends (RFC 4568 section 6.1).",
)
def mki_agreed(evidence: CallEvidence) -> Verdict:
    """Packets have an MKI where the a=crypto line says so, and only there."""
    if unreadable(evidence) is FailureCause.MKI:
        return fails(
            f"{evidence.undecryptable} packets were refused, and one is authentic once its MKI is "
            "read otherwise than the a=crypto line says"
        )
    return good_srtp(evidence, "the packets have the form that was agreed on")


@check(
    "Is the key renewed before its lifetime is over?",
    "Let the peer send a re-INVITE with a new key in time, or announce a longer lifetime.",
)
def lifetime_kept(evidence: CallEvidence) -> Verdict:
    """The peer protects no more packets with a key than its a=crypto line says."""
    lifetimes = [key.lifetime for key in evidence.theirs_in_use if key.lifetime is not None]
    if not lifetimes:
        return skips("the peer's key has no lifetime")
    lifetime, received = lifetimes[0], evidence.packets_received
    if received > lifetime:
        return warns(f"{received} packets came under a key whose lifetime is {lifetime} packets")
    return passes(f"{received} of {lifetime} packets came")


@check(
    "Did the keys come before the media?",
    "Let the peer answer before it sends media, and begin the DTLS handshake at once; an SBC needs "
    '"Late Media" to be enabled. Look for retransmissions in the message log.',
)
def keys_in_time(evidence: CallEvidence) -> Verdict:
    """Media did not have to wait for its keys."""
    if not evidence.secure:
        return skips("the media is not encrypted")
    early = evidence.dropped.get(_EARLY, 0)
    if early:
        return warns(f"{early} packets came long before the answer with their key: they were lost")
    after = evidence.keyed_after
    if evidence.keying != "dtls" or after is None:
        return passes("no media came before its key")
    if after > LATE_S:
        return warns(f"the DTLS handshake ended {after:.1f} s after the answer")
    return passes(f"the DTLS handshake ended {after:.2f} s after the answer")
