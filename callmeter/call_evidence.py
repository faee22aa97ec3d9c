"""The facts of a call for its diagnosis: from its SIP messages, and from its media."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from callmeter.call_bodies import session_description
from callmeter.diagnosis import Description
from callmeter.sip.message import Request, Response
from callmeter.trace.redaction import redact

if TYPE_CHECKING:
    from collections.abc import Sequence

    from callmeter.media_session import MediaSession
    from callmeter.trace.message_log import LoggedMessage

__all__ = ["media_facts", "signaling_facts"]

_CONTENT_LENGTH: Final = re.compile(
    rb"\n(?:content-length|l)[ \t]*+:\s*+([0-9]{1,9})", re.IGNORECASE
)
_HEAD_END: Final = re.compile(rb"\n\r?\n")
_SUCCESS: Final = range(200, 300)
_SDP: Final = b"application/sdp"


def signaling_facts(messages: Sequence[LoggedMessage]) -> dict[str, Any]:
    """The fields of `CallEvidence` that the messages of the call tell.

    Args:
        messages: In order, secrets removed.
    """
    by_datagram = [entry for entry in messages if entry.transport == "UDP"]
    offer, answer, offered_here = _exchange(messages)
    return {
        "transport": messages[0].transport if messages else "",
        "largest_datagram": max(
            (len(entry.raw) + entry.shortened for entry in by_datagram), default=0
        ),
        "content_length": next(
            (found for found in map(_differing, by_datagram) if found is not None), None
        ),
        "offer": offer,
        "answer": answer,
        "offered_here": offered_here,
    }


def _exchange(
    messages: Sequence[LoggedMessage],
) -> tuple[Description | None, Description | None, bool]:
    """The last offer and its answer, and whether the offer was ours."""
    offer: Description | None = None
    answer: Description | None = None
    offerer = "sent"
    for entry in messages:
        if _SDP not in entry.raw.lower():
            continue
        message = entry.message
        refused = isinstance(message, Response) and message.status not in _SUCCESS
        if message is None or refused or not message.body:
            continue
        found = Description.read(redact(session_description(message)))
        if offer is None or (isinstance(message, Request) and message.method != "ACK"):
            offer, answer, offerer = found, None, entry.direction
        elif answer is None and entry.direction != offerer:
            answer = found
    return offer, answer, offerer == "sent"


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


def media_facts(media: MediaSession) -> dict[str, Any]:
    """The fields of `CallEvidence` that the media of the call tells."""
    srtp, statistics = media.config.srtp, media.statistics()
    facts: dict[str, Any] = {
        "policy": srtp.policy,
        "method": srtp.method,
        "suites": tuple(suite.value for suite in srtp.suites),
        "warnings": tuple(media.warnings),
        "keying": media.keying,
        "suite": media.suite,
        "codec": media.codec,
    }
    if statistics is None or media.codec is None:
        return facts
    return facts | {
        "direction": media.direction,
        "packets_sent": statistics.send.packets_sent,
        "packets_received": statistics.receive.packets_received,
        "payload_octets": statistics.payload_octets,
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
        "dropped": statistics.dropped,
        "level_dbov": statistics.audio_level_dbov,
        "level_packets": statistics.audio_level_packets,
    }
