"""The facts of a call for its diagnosis: from its SIP messages, and from its media."""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Final

from callmeter.call_bodies import session_description
from callmeter.diagnosis import Description
from callmeter.media_negotiation import BY_PEER
from callmeter.sip.message import Request, Response
from callmeter.trace.redaction import redact

if TYPE_CHECKING:
    from collections.abc import Sequence

    from callmeter.media.statistics import StreamStatistics
    from callmeter.media_session import MediaSession
    from callmeter.media_track import MediaTrack
    from callmeter.trace.message_log import LoggedMessage

__all__ = ["media_facts", "signaling_facts", "video_facts"]

_CONTENT_LENGTH: Final = re.compile(
    rb"\n(?:content-length|l)[ \t]*+:\s*+([0-9]{1,9})", re.IGNORECASE
)
_HEAD_END: Final = re.compile(rb"\n\r?\n")
_SUCCESS: Final = range(200, 300)
LONGEST_REASON: Final = 200
_SDP: Final = b"application/sdp"


def signaling_facts(messages: Sequence[LoggedMessage]) -> dict[str, Any]:
    """The fields of `CallEvidence` that the messages of the call tell.

    Args:
        messages: In order, secrets removed.
    """
    by_datagram = [entry for entry in messages if entry.transport == "UDP"]
    return {
        "transport": messages[0].transport if messages else "",
        "crosses_network": any(map(_crosses_network, messages)),
        "largest_datagram": max(
            (len(entry.raw) + entry.shortened for entry in by_datagram), default=0
        ),
        "content_length": next(
            (found for found in map(_differing, by_datagram) if found is not None), None
        ),
        "bye_reason": _bye_reason(messages),
        **_exchange_facts(messages, "audio"),
    }


def _bye_reason(messages: Sequence[LoggedMessage]) -> str:
    """The Reason of the peer's BYE (RFC 3326), empty where it gave none."""
    received = (entry for entry in reversed(messages) if entry.direction == "received")
    byes = (each for entry in received if isinstance(each := entry.message, Request))
    bye = next((each for each in byes if each.method == "BYE"), None)
    return "" if bye is None else ", ".join(bye.headers.values("Reason"))[:LONGEST_REASON]


def _exchange_facts(messages: Sequence[LoggedMessage], kind: str) -> dict[str, Any]:
    """The last offer and its answer, whose offer it was, and who brought in a wrong profile."""
    offer: Description | None = None
    answer: Description | None = None
    offerer = "sent"
    misfit_by: str | None = None
    for entry in messages:
        if _SDP not in entry.raw.lower():
            continue
        message = entry.message
        refused = isinstance(message, Response) and message.status not in _SUCCESS
        if message is None or refused or not message.body:
            continue
        found = Description.read(redact(session_description(message)), kind)
        if offer is None or (isinstance(message, Request) and message.method != "ACK"):
            offer, answer, offerer = found, None, entry.direction
        elif answer is None and entry.direction != offerer:
            answer = found
            if found is None or found.profile is offer.profile:
                # One kind of keys under the profile of an offer of both kinds is right.
                continue
        else:
            continue
        # A profile stays for the whole call: who repeats it is not who brought it in.
        if misfit_by is None and found is not None and found.misfit:
            misfit_by = entry.direction
    return {
        "offer": offer,
        "answer": answer,
        "offered_here": offerer == "sent",
        "misfit_here": misfit_by == "sent",
    }


def _crosses_network(entry: LoggedMessage) -> bool:
    """Whether a message leaves the host, so that others may read it."""
    local, peer = (each.rpartition(":")[0].strip("[]") for each in (entry.local, entry.peer))
    try:
        return peer != local and not ip_address(peer).is_loopback
    except ValueError:
        return False


def _differing(entry: LoggedMessage) -> tuple[int, int] | None:
    """Content-Length and length of the body, if a message that came says something wrong."""
    end = _HEAD_END.search(entry.raw)
    if end is None or entry.direction != "received":
        return None
    declared = _CONTENT_LENGTH.search(entry.raw[: end.end()])
    there = len(entry.raw) - end.end() + entry.shortened
    if declared is None or int(declared[1]) == there:
        return None
    return int(declared[1]), there


def media_facts(media: MediaSession, answered_at: float | None = None) -> dict[str, Any]:
    """The fields of `CallEvidence` that the audio of the call tells.

    Args:
        media: Of the call.
        answered_at: When it was answered, or None.
    """
    own = media.warnings if media.video is None else media.keys.warnings
    facts = _policy_facts(media) | _track_facts(media, answered_at) | {"warnings": tuple(own)}
    statistics = media.statistics()
    if statistics is None or media.codec is None:
        return facts
    return (
        facts
        | _stream_facts(media, statistics)
        | {
            "payload_octets": statistics.payload_octets,
            "level_dbov": statistics.audio_level_dbov,
            "level_packets": statistics.audio_level_packets,
        }
    )


def video_facts(
    media: MediaSession, messages: Sequence[LoggedMessage], answered_at: float | None = None
) -> dict[str, Any] | None:
    """The fields of `VideoEvidence` that are not those of the call.

    Args:
        media: Of the call.
        messages: In order, secrets removed.
        answered_at: When the call was answered, or None.

    Returns:
        None for a call without video, where none was wanted here.
    """
    refused, track = media.video_refused, media.video
    if track is None and media.config.video is None and not refused:
        return None
    facts = _policy_facts(media) | _exchange_facts(messages, "video")
    if track is None:
        reason = refused.removeprefix(BY_PEER)
        return facts | {"refused": reason, "by_peer": reason != refused}
    facts |= {"agreed": True, **_track_facts(track, answered_at)}
    statistics = track.statistics()
    if statistics is None or track.codec is None:
        return facts
    return facts | _stream_facts(track, statistics) | _picture_facts(statistics)


def _policy_facts(media: MediaSession) -> dict[str, Any]:
    srtp = media.config.srtp
    return {
        "policy": srtp.policy,
        "method": srtp.method,
        "suites": tuple(suite.value for suite in srtp.suites),
    }


def _track_facts(track: MediaTrack, answered_at: float | None) -> dict[str, Any]:
    return {
        "keyed_after": None if answered_at is None else track.keyed_after(answered_at),
        "warnings": tuple(track.warnings),
        "keying": track.keying,
        "suite": track.suite,
        "codec": track.codec,
    }


def _stream_facts(track: MediaTrack, statistics: StreamStatistics) -> dict[str, Any]:
    return {
        "direction": track.direction,
        "packets_sent": statistics.send.packets_sent,
        "packets_received": statistics.receive.packets_received,
        "undecryptable": statistics.srtp_decrypt_failures,
        "failure": statistics.srtp_failure,
        "old_key_packets": statistics.srtp_old_key_packets,
        "unfollowed": statistics.srtp_unfollowed,
        "roc_kept": statistics.srtp_roc_kept,
        "roc_resets": statistics.srtp_roc_resets,
        "rtcp_sent": statistics.rtcp_packets_sent,
        "rtcp_received": statistics.rtcp_packets_received,
        "rtcp_in_clear": statistics.rtcp_in_clear,
        "rtcp_mismatches": statistics.rtcp_encryption_mismatches,
        "rtcp_short_tags": statistics.rtcp_short_tags,
        "reported_loss": statistics.reported_fraction_lost,
        "report_after": statistics.report_after_s,
        "dropped": statistics.dropped,
    }


def _picture_facts(statistics: StreamStatistics) -> dict[str, Any]:
    sent, asked, said = statistics.send_measures, statistics.feedback_sent, statistics.video
    if said is None:
        return {}
    facts = {
        "seconds": said.seconds,
        "feedback": said.feedback,
        "packets_lost": statistics.receive.packets_lost,
        "nacks_sent": asked.nack,
        "frames_sent": sent["frames_sent"],
        "key_frames_sent": sent["keyframes_sent"],
        "key_frame_requests": sent["keyframe_requests_received"],
        "unanswered_s": said.unanswered_s,
    }
    seen = said.reception
    if seen is None:
        return facts
    still = seen.undecodable_ms
    return facts | {
        "frames_received": seen.frames_received,
        "frames_lost": seen.frames_lost,
        "key_frames_received": seen.keyframes_received,
        "malformed": seen.packets_malformed,
        "recovered": seen.packets_recovered,
        "key_frames_asked": seen.requests_unanswered,
        "undecodable_s": None if still is None else still / 1000,
        "span_s": seen.span_ms / 1000,
        "freezes": seen.freeze_count,
        "frozen_s": seen.freeze_duration_ms / 1000,
    }
