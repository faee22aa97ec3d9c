"""Checks of video alone: whether it was agreed on, and why there is no picture.

A picture begins with a key frame. It is missing when none comes whole, it stands still when a
frame is lost until the next one, and whoever asks for one (PLI, FIR) has to be answered.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from callmeter.diagnosis.findings import check, fails, passes, skips, warns
from callmeter.diagnosis.packets import ALL_LOST, EARLY_S, ENOUGH, REPORTS, dropped_words
from callmeter.errors import NegotiationError, NoCommonSuite, ProfileMismatch, SrtpRequired
from callmeter.metrics.report_text import counted

if TYPE_CHECKING:
    from callmeter.diagnosis.findings import Verdict
    from callmeter.diagnosis.video_evidence import VideoEvidence

__all__ = [
    "agreed",
    "key_frame_came",
    "key_frames_sent",
    "losses_repaired",
    "media_both_ways",
    "not_frozen",
    "payload_readable",
]

LATE_S: Final = 2.0
"""A key frame that was asked for takes a round trip, and an encoder some time."""
FEW: Final = 10
"""Frames or payloads that may be damaged by chance."""
UNREADABLE: Final = 0.1
"""Share of payloads that are none of the codec."""
STILL: Final = 0.05
STILL_MOSTLY: Final = 0.5
"""Shares of the time in which the picture stood still."""
STILL_S: Final = 0.5
"""Less in all is the hiccup of a machine that was busy."""
NACKS: Final = 3
"""So many in vain are no accident."""
_NOTHING: Final = "no packet of video was accepted"
_EARLY: Final = "it is too early to tell"
_OF_THE_KEYS: Final = (NoCommonSuite, ProfileMismatch, SrtpRequired)
_OWN_DOING: Final = frozenset({"given up", "it is not wanted", "the peer offers none"})
_TAKE_WHAT_IS_OFFERED: Final = (
    "Compare the codecs (VideoConfig.codecs), the address, the profile and the keys of the m=video "
    "line of the peer with the settings here."
)
_BALANCED: Final = (
    'Let the browser keep its default bundlePolicy, "balanced", or call it without video: video '
    "has a port of its own here."
)
_WITHOUT_AVPF: Final = (
    "Agree on AVPF at both ends (VideoConfig.feedback here), so that a key frame can be asked for "
    "and what is lost be sent again, or let the peer send key frames at short intervals."
)


@check(
    "Was video agreed on?",
    "Turn video on at the peer, with one of the codecs that were offered. A peer that knows no "
    "AVPF refuses RTP/SAVPF and RTP/AVPF: offer it VideoConfig(feedback=False).",
)
def agreed(evidence: VideoEvidence) -> Verdict:
    """Offer and answer have an m=video line with a port and a codec."""
    error = evidence.error
    if isinstance(error, NegotiationError) and not isinstance(error, _OF_THE_KEYS):
        return fails(str(error), _TAKE_WHAT_IS_OFFERED)
    if error is not None:
        return skips("another check tells why there is no video")
    if evidence.agreed:
        return passes(f"{evidence.codec or 'video'}, {evidence.direction or 'not begun yet'}")
    if not evidence.refused or evidence.refused in _OWN_DOING:
        return skips(evidence.refused or "no answer has told yet")
    if not evidence.by_peer:
        remedy = _BALANCED if "BUNDLE" in evidence.refused else _TAKE_WHAT_IS_OFFERED
        return warns(f"the offer of video was refused: {evidence.refused}", remedy)
    offer = evidence.offer
    said = "" if offer is None else f" (offered: {offer.protocol} with {', '.join(offer.codecs)})"
    return warns(f"the peer refuses m=video, {evidence.refused}{said}")


@check(
    "Does video flow both ways?",
    "Turn the camera or the source of the peer on, or let it answer a=recvonly; check whether it "
    "sends to the port that the m=video line names, which is not that of the audio.",
)
def media_both_ways(evidence: VideoEvidence) -> Verdict:
    """Each end receives the video that the other sends; to send none is allowed here."""
    if evidence.direction not in {"sendrecv", "recvonly"}:
        return skips(f"the direction is {evidence.direction}")
    if evidence.failure is not None or not evidence.arrived:
        return skips("another check tells why nothing is seen")
    if evidence.seconds < EARLY_S:
        return skips(_EARLY)
    sent, received = evidence.packets_sent, evidence.packets_received
    if not received and any(evidence.dropped.values()):
        return fails(f"none of the packets that came was accepted{dropped_words(evidence)}")
    if not received:
        reports = counted(evidence.rtcp_received, "RTCP report")
        return warns(f"{reports} of the peer came, and no packet of it")
    if sent >= ENOUGH and (evidence.reported_loss or 0.0) >= ALL_LOST:
        return fails(
            f"the peer reports a loss of {evidence.reported_loss:.0f} % of the {sent} packets sent"
        )
    if sent >= ENOUGH and evidence.rtcp_received >= REPORTS and evidence.reported_loss is None:
        return warns(
            f"{evidence.rtcp_received} reports of the peer say nothing of the {sent} packets sent: "
            f"it does not get them{', or cannot decrypt them' if evidence.secure else ''}"
        )
    if not sent and evidence.direction == "sendrecv":
        return skips(f"{counted(received, 'packet')} received, and no source has played here")
    return passes(f"{counted(sent, 'packet')} sent, {received} received")


@check(
    "Is what arrives the agreed codec?",
    "Let the peer send the codec and the payload type of its own SDP, one stream and no simulcast. "
    "Where nothing was encrypted, see that the peer sends no SRTP.",
)
def payload_readable(evidence: VideoEvidence) -> Verdict:
    """The payloads make frames of the codec."""
    received, strange = evidence.packets_received, evidence.dropped.get("payload_type", 0)
    if not received and strange:
        return fails(
            f"{counted(strange, 'packet')} came with a payload type that was not agreed on"
        )
    if not received:
        return skips(_NOTHING)
    if evidence.malformed >= max(FEW, UNREADABLE * received):
        return fails(f"{evidence.malformed} of {received} payloads are no {evidence.codec}")
    whole, lost = evidence.frames_received, evidence.frames_lost
    if _makes_no_frames(evidence):
        return fails(
            f"{received} packets came, next to none is missing, and they make {whole} frames of "
            f"{evidence.codec}; {lost} are damaged"
        )
    return passes(f"{counted(whole, 'whole frame')} of {evidence.codec}")


def _makes_no_frames(evidence: VideoEvidence) -> bool:
    lost = evidence.frames_lost
    few_missing = evidence.packets_lost <= evidence.packets_received / 100
    return lost >= FEW and lost > evidence.frames_received and few_missing


@check(
    "Did a key frame come?",
    "Let the peer answer PLI and FIR with a key frame, and an SBC or mixer in between pass them "
    "on; or let the peer send key frames at short intervals.",
)
def key_frame_came(evidence: VideoEvidence) -> Verdict:
    """A picture can be made of what arrives."""
    waited, received = evidence.undecodable_s, evidence.packets_received
    if not received:
        return skips(_NOTHING)
    if payload_readable.judge(evidence).status.value == "fail":
        return skips("another check tells why there is no picture")
    if waited is None:
        return passes(f"{counted(evidence.key_frames_received, 'key frame')} came")
    if waited < LATE_S:
        return skips(_EARLY)
    remedy = None if evidence.asks_for_key_frames else _WITHOUT_AVPF
    missing = evidence.packets_lost
    lost = f"; {counted(missing, 'packet')} did not come" if missing else ""
    if not evidence.key_frames_received:
        came = counted(received, "packet")
        found = f"{came} came in {waited:.1f} s, and no whole key frame: no picture"
    else:
        found = f"no key frame came for {waited:.1f} s after a lost frame: the picture stands still"
    return fails(f"{found}; {_asked(evidence)}{lost}", remedy)


def _asked(evidence: VideoEvidence) -> str:
    if not evidence.asks_for_key_frames:
        return "no way to ask for one (PLI, FIR) was agreed on"
    asked = evidence.key_frames_asked
    if not asked:
        return "none was asked for"
    return f"{asked} {'PLI' if 'nack pli' in evidence.feedback else 'FIR'} went unanswered"


@check(
    "Is what was lost sent again?",
    "Let the peer send the packets that a NACK names again as they were: a stream of "
    "retransmissions (RTX) is not taken. See that an SBC in between passes RTCP on.",
)
def losses_repaired(evidence: VideoEvidence) -> Verdict:
    """A NACK brings back what was lost."""
    lost, again, asked = evidence.frames_lost, evidence.recovered, evidence.nacks_sent
    if not evidence.packets_received:
        return skips(_NOTHING)
    if not evidence.packets_lost and not again:
        return passes("no packet was lost")
    if again:
        return passes(f"{counted(again, 'packet')} came again, {counted(lost, 'frame')} lost")
    found = f"{counted(lost, 'frame')} lost"
    if lost and "nack" not in evidence.feedback:
        return warns(f"{found}, and NACK was not agreed on", _WITHOUT_AVPF)
    if lost and asked >= NACKS:
        return warns(f"{found}: {asked} NACK were sent, and not one packet came again")
    return skips(f"{found}, {asked} NACK sent: too few to tell")


@check(
    "Does the picture move?",
    "Frames come late, or are lost until the next key frame: look at loss and jitter of the video, "
    "let the peer send less (VideoConfig.bandwidth) and answer NACK and PLI.",
)
def not_frozen(evidence: VideoEvidence) -> Verdict:
    """The picture does not stand still for a good part of the time."""
    if evidence.frames_received < FEW or not evidence.span_s:
        return skips("too few frames came")
    if evidence.undecodable_s is not None and evidence.undecodable_s >= LATE_S:
        return skips("another check tells why there is no picture")
    share = min(1.0, evidence.frozen_s / evidence.span_s)
    times, of_all = _times(evidence.freezes), f"{share * 100:.0f} % of {evidence.span_s:.1f} s"
    found = f"the picture stood still {times}, {of_all}"
    if share < STILL or evidence.frozen_s < STILL_S:
        return passes(found)
    return fails(found) if share >= STILL_MOSTLY else warns(found)


@check(
    "Does the peer get the key frames it asks for?",
    "Let request_key_frame of the source make its next frame a key frame, as those of TestPattern "
    "and of the files do.",
)
def key_frames_sent(evidence: VideoEvidence) -> Verdict:
    """PLI and FIR of the peer are answered by what plays here."""
    asked, sent = evidence.key_frame_requests, evidence.key_frames_sent
    if not asked:
        return skips("the peer asked for none")
    if not evidence.frames_sent:
        return skips(f"the peer asked {_times(asked)}, and nothing was played")
    if evidence.unanswered_s >= LATE_S:
        return warns(
            f"the peer asked {_times(asked)} for a key frame, and in {evidence.unanswered_s:.1f} s "
            f"what plays here had none: it may have no picture"
        )
    return passes(f"the peer asked {_times(asked)}, {counted(sent, 'key frame')} left")


def _times(number: int) -> str:
    return counted(number, "time")
