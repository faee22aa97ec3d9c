"""Why packets fail authentication: tried out on one of them.

The packet is tried under the other tag length and other rollover counters of the same key. What
remains is another key. Nothing of this changes the session that refused it.
"""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from callmeter.srtp.context import SrtpContext, authenticates
from callmeter.srtp.sdes import MasterKey

if TYPE_CHECKING:
    from collections.abc import Iterable

    from callmeter.srtp.sdes import CryptoLine

__all__ = [
    "FailureCause",
    "explain_failure",
    "find_rollover",
    "has_short_rtcp_tag",
    "is_encrypted_otherwise",
]

LONGEST_MKI: Final = 16
"""Octets of an unannounced MKI that are looked for; the RFC allows more."""
MIN_PACKET: Final = 12


class FailureCause(StrEnum):
    """What explains packets that SRTP refuses."""

    PLAIN_RTP = "plain_rtp"
    """They are no SRTP at all."""
    TAG_LENGTH = "tag_length"
    """They are right under the other tag length of the same cipher."""
    MKI = "mki"
    """They are right without the MKI that was agreed on, or with one that was not."""
    ROLLOVER = "rollover"
    """They are right under another rollover counter (RFC 3711 section 3.3.1)."""
    KEY = "key"
    """Nothing makes them right: they were made with another key."""


def explain_failure(packet: bytes, context: SrtpContext, *, plain: bool) -> FailureCause:
    """Find out why a context refuses a packet.

    Args:
        packet: One that failed, as it came.
        context: What refused it.
        plain: Whether it has the length of plain media of the agreed codec.
    """
    if plain:
        return FailureCause.PLAIN_RTP
    profile, master = context.line.profile, context.line.keys[0]
    current = context.roc(int.from_bytes(packet[8:12], "big")) or 0
    other = profile.other_tag_length
    if other is not None and authenticates(packet, other, master, roc=current):
        return FailureCause.TAG_LENGTH
    if _has_other_mki(packet, context, current):
        return FailureCause.MKI
    return FailureCause.KEY if find_rollover(packet, context) is None else FailureCause.ROLLOVER


def find_rollover(
    packet: bytes, context: SrtpContext, candidates: Iterable[int] | None = None
) -> int | None:
    """The rollover counter under which a packet is authentic, None when it is none of those tried.

    Args:
        packet: One that failed, as it came.
        context: What refused it.
        candidates: Counters to try; None takes a reset one, and those next to the one in use.
    """
    if candidates is None:
        current = context.roc(int.from_bytes(packet[8:12], "big")) or 0
        # After a wrap the next one is expected, so the one in use may be wrong too.
        candidates = {0, 1, abs(current - 1), current, current + 1}
    for roc in sorted(candidates):
        if context.authentic_under(packet, roc):
            return roc
    return None


def _has_other_mki(packet: bytes, context: SrtpContext, roc: int) -> bool:
    profile, master = context.line.profile, context.line.keys[0]
    if master.mki_length:
        return authenticates(packet, profile, master, roc=roc)
    # The MKI stands before the tag (RFC 3711 section 3.1), after it in GCM (RFC 7714 section 8.1).
    end = len(packet) if profile.aead else len(packet) - profile.rtp_tag_length
    return any(
        authenticates(packet[: end - length] + packet[end:], profile, master, roc=roc)
        for length in range(1, min(LONGEST_MKI, end - MIN_PACKET) + 1)
    )


def is_encrypted_otherwise(srtcp: bytes, context: SrtpContext) -> bool:
    """Whether a packet is authentic but for its E bit (RFC 3711 section 3.4).

    libsrtp looks at the bit before the tag, and with a tag of another length it looks elsewhere:
    some peers shorten the tag of SRTCP too.

    Args:
        srtcp: The packet, as it came.
        context: What refused it.
    """
    line = context.line
    clear = line.parameters.unencrypted_srtcp
    return _reads(
        srtcp, replace(line, parameters=replace(line.parameters, unencrypted_srtcp=not clear))
    )


def has_short_rtcp_tag(srtcp: bytes, context: SrtpContext) -> bool:
    """Whether a packet is authentic under the tag length of RTP.

    The suites with 32-bit tags keep 80 bits for SRTCP (RFC 4568 section 6.2.2), and some peers do
    not.

    Args:
        srtcp: The packet, as it came.
        context: What refused it.
    """
    profile = context.line.profile
    if profile.rtcp_tag_length == profile.rtp_tag_length:
        return False
    short = replace(profile, rtcp_tag_length=profile.rtp_tag_length)
    return _reads(srtcp, replace(context.line, profile=short))


def _reads(srtcp: bytes, line: CryptoLine) -> bool:
    trial = SrtpContext(
        (line.profile, MasterKey(line.keys[0].key_and_salt), line.parameters), "receive"
    )
    try:
        return trial.unprotect_rtcp(srtcp) is not None
    finally:
        trial.close()
