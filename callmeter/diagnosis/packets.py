"""Checks of the packets themselves: whether they come, go, and carry sound."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from callmeter.diagnosis.findings import check, fails, passes, skips, warns
from callmeter.metrics.report_text import counted

if TYPE_CHECKING:
    from callmeter.diagnosis.evidence import CallEvidence
    from callmeter.diagnosis.findings import Verdict

__all__ = ["audio_not_silent", "dropped_words", "media_both_ways", "port_reachable"]

EARLY_S: Final = 1.0
"""Before that nothing is missing yet."""
NOTHING_S: Final = 1.5
"""By then a peer that sends no audio may have sent its first report."""
ENOUGH: Final = 50
"""Packets, a second of them, that show a direction."""
REPORTS: Final = 2
"""The first one may have been sent before anything came, unless it came a while after it."""
ALL_LOST: Final = 99.0
"""Percent, as exact as the eight bits of a report block."""
FLOOR_DBOV: Final = -70.0
"""Below is digital silence, or the noise of nothing else."""
INAUDIBLE_DBOV: Final = -50.0
MEASURED: Final = 6
"""Packets, one in sixteen: two seconds of them."""
_RESTRICTED: Final = {
    "inactive": "no audio flows",
    "recvonly": "it sends no audio",
    "sendonly": "it takes no audio",
}
_DIRECTION: Final = (
    "See whether the peer has put the call on hold, and what a gateway in between makes of the "
    "direction (a=sendrecv) or the address (0.0.0.0) in its answer."
)
_EARLY: Final = "it is too early to tell"
_NOT_ANSWERED: Final = "the call has no media"


@check(
    "Does anything arrive on the media ports?",
    "Verify the firewall allows all UDP traffic on the media port range, and that the address in "
    "the SDP the peer got is one it can reach. Or the peer sends nothing: a SIPp scenario without "
    "media, an IVR that waits, a muted peer. Capture at the peer: packets that leave it for that "
    "address are lost on the way, and if none leave, none were sent.",
)
def port_reachable(evidence: CallEvidence) -> Verdict:
    """The call was answered, and datagrams come."""
    if not evidence.has_media:
        return skips(_NOT_ANSWERED)
    if evidence.arrived:
        return passes(f"{evidence.arrived} datagrams arrived")
    if evidence.direction not in {"sendrecv", "recvonly"}:
        return skips(f"the direction is {evidence.direction}")
    if evidence.seconds < NOTHING_S:
        return skips(_EARLY)
    return fails(f"media began {evidence.seconds:.1f} s ago, and not one packet arrived")


@check(
    "Does media flow both ways?",
    "Check whether the address each end names in its SDP can be reached by the other, that both "
    "ends accepted each other's key, and look for a 488 in the message log.",
)
def media_both_ways(evidence: CallEvidence) -> Verdict:
    """Each end receives what the other sends."""
    if not evidence.has_media:
        return skips(_NOT_ANSWERED)
    if evidence.direction != "sendrecv":
        return _restricted(evidence)
    if evidence.failure is not None or not evidence.arrived or evidence.payload_types_differ:
        return skips("another check tells why nothing is heard")
    if evidence.seconds < EARLY_S:
        return skips(_EARLY)
    sent, received = evidence.packets_sent, evidence.packets_received
    if not received:
        return fails(f"{sent} packets were sent, and none of the peer's was heard{_why(evidence)}")
    if not sent:
        return fails(f"{counted(received, 'packet')} received, and none was sent")
    if sent >= ENOUGH and (evidence.reported_loss or 0.0) >= ALL_LOST:
        return fails(
            f"{received} packets were received, and the peer reports a loss of "
            f"{evidence.reported_loss:.0f} % of the {sent} sent"
        )
    if sent >= ENOUGH and _reported(evidence) and evidence.reported_loss is None:
        cannot = "hears them not, or cannot decrypt them" if evidence.secure else "hears them not"
        say = "says" if evidence.rtcp_received == 1 else "say"
        return warns(
            f"{counted(evidence.rtcp_received, 'report')} of the peer {say} nothing of the {sent} "
            f"packets sent: it {cannot}"
        )
    return passes(f"{counted(sent, 'packet')} sent, {received} received")


def _reported(evidence: CallEvidence) -> bool:
    """Whether the peer has told what it hears, at a time when it should have heard something."""
    return evidence.rtcp_received >= REPORTS or (evidence.report_after or 0.0) > EARLY_S


def _restricted(evidence: CallEvidence) -> Verdict:
    """What a direction other than both means, and who wanted it."""
    offer, answer = evidence.offer, evidence.answer
    if offer is None or answer is None or not evidence.offered_here:
        return skips(f"the direction is {evidence.direction}")
    if offer.direction != "sendrecv" or answer.direction not in _RESTRICTED:
        return skips(f"the direction is {evidence.direction}")
    means = _RESTRICTED[answer.direction]
    return warns(f"the peer answers sendrecv with {answer.direction}: {means}", _DIRECTION)


def _why(evidence: CallEvidence) -> str:
    reports = evidence.rtcp_received
    if reports and not any(evidence.dropped.values()):
        return f", though {reports} of its RTCP reports arrived"
    return dropped_words(evidence)


def dropped_words(evidence: CallEvidence) -> str:
    """What was not accepted, by reason; empty when all was."""
    reasons = [f"{count} {reason}" for reason, count in evidence.dropped.items() if count]
    return f" (dropped by reason: {', '.join(reasons)})" if reasons else ""


@check(
    "Is there sound in the packets that arrive?",
    "The packets are right and the source is silent: look at the peer's microphone or audio "
    "source.",
)
def audio_not_silent(evidence: CallEvidence) -> Verdict:
    """The level of what arrives is above the floor."""
    level = evidence.level_dbov
    if level is None or not evidence.packets_received:
        return skips("the level was not measured")
    if evidence.level_packets < MEASURED:
        return skips(_EARLY)
    found = f"{evidence.packets_received} packets arrived, and their level is {level:.0f} dBov"
    if level < FLOOR_DBOV:
        return fails(f"{found}: silence")
    return passes(found) if level > INAUDIBLE_DBOV else warns(f"{found}: hardly to be heard")
