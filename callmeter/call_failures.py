"""What the end of a call means: as an error, and as an outcome."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from callmeter.call_bodies import warning_of
from callmeter.errors import (
    CallRejected,
    CallTimedOut,
    MediaSecurityError,
    NegotiationError,
    NoCommonCodec,
    NoCommonSuite,
)
from callmeter.metrics.phases import Outcome
from callmeter.sip.headers import parse_delta_seconds

if TYPE_CHECKING:
    from callmeter.config import SrtpConfig
    from callmeter.errors import CallmeterError
    from callmeter.sip.message import Response

__all__ = ["detail_of", "loss", "reason_of", "rejection"]

NOT_ACCEPTABLE_HERE: Final = 488
LOSSES: Final = {
    "ack-timeout": ("the answer was never acknowledged", "H", Outcome.TIMEOUT),
    "prack-timeout": (
        "a reliable provisional response was never acknowledged",
        "PRACK",
        Outcome.TIMEOUT,
    ),
    "session-expired": (
        "the session expired: nobody refreshed it in time",
        "Session-Expires",
        Outcome.CALL_FAILED,
    ),
}
WANTS: Final = {
    420: ("Unsupported", "the peer does not support {}"),
    421: ("Require", "the peer insists on {}"),
    422: ("Min-SE", "the peer takes no session interval below {} s"),
}
"""The header field that says what a refusal is about, and the words for it."""


def reason_of(error: CallmeterError | None) -> list[tuple[str, str]]:
    """What a BYE says of the keys or the media that did not come about (RFC 3326).

    Args:
        error: Why the call is hung up; None for no trouble.
    """
    if not isinstance(error, MediaSecurityError | NegotiationError):
        return []
    text = str(error).encode("ascii", "replace").decode().replace("\\", "").replace('"', "'")
    return [("Reason", f'SIP;cause={NOT_ACCEPTABLE_HERE};text="{" ".join(text.split())}"')]


def loss(cause: str) -> tuple[CallTimedOut, Outcome]:
    """What it means that a call ended by itself.

    Args:
        cause: Of `Ended`, other than a BYE or a rejection.
    """
    text, timer, outcome = LOSSES.get(
        cause, (f"the call was lost: {cause}", "F", Outcome.CALL_FAILED)
    )
    return CallTimedOut(text, timer=timer), outcome


def rejection(
    status: int, reason: str, response: Response | None, srtp: SrtpConfig
) -> CallmeterError:
    """What it means that an INVITE was refused.

    Args:
        status: Of the final response.
        reason: Its reason phrase.
        response: Itself, if there was one.
        srtp: What was offered.
    """
    said = warning_of(response) if status == NOT_ACCEPTABLE_HERE else ""
    if said.startswith("305 "):  # incompatible media format
        return NoCommonCodec(f"488 {reason}: warning {said}")
    if status == NOT_ACCEPTABLE_HERE and srtp.enabled:
        lacks = "no SRTP, or no DTLS-SRTP" if srtp.method.offers_dtls else "no SRTP at all"
        guess = f"the peer takes none of the suites offered, or {lacks}"
        why = f"warning {said}" if said else guess
        return NoCommonSuite(f"488 {reason}: {why}", offered=srtp.suites)
    header = None if response is None else response.headers.get("Retry-After")
    retry_after = None if header is None else parse_delta_seconds(header)
    return CallRejected(status, reason, retry_after=retry_after, detail=detail_of(response))


def detail_of(response: Response | None) -> str:
    """What else a final response says of its cause, or nothing."""
    if response is None:
        return ""
    if response.status == NOT_ACCEPTABLE_HERE and (said := warning_of(response)):
        return f"warning {said}"
    name, text = WANTS.get(response.status, ("", ""))
    if not name:
        return ""
    values = ", ".join(response.headers.values(name))
    return text.format(values.partition(";")[0]) if values else ""
