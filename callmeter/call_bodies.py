"""What the bodies of a call's messages mean: session descriptions and DTMF."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from callmeter.errors import (
    CallmeterError,
    MediaSecurityError,
    NegotiationError,
    SdpSyntaxError,
    SipSyntaxError,
    TransportError,
)
from callmeter.sip.body import multipart

if TYPE_CHECKING:
    from callmeter.sip.message import Request, Response

__all__ = ["BAD_DESCRIPTION", "as_negotiation_error", "dtmf_of", "session_description"]

SDP: Final = "application/sdp"
USUAL_MS: Final = 160
LONGEST_MS: Final = 60_000
DURATION_DIGITS: Final = 9
# What a peer's description may make us raise: the call fails, the stack does not.
BAD_DESCRIPTION = (
    SipSyntaxError,
    SdpSyntaxError,
    NegotiationError,
    MediaSecurityError,
    TransportError,
)


def session_description(message: Request | Response) -> bytes:
    """The SDP of a message, taken out of a multipart body where it has one."""
    content = message.content_type
    if content is not None and content.type == "multipart":
        for part in multipart(message):
            if (part.headers.get("Content-Type") or "").lower().startswith(SDP):
                return part.body
    return message.body


def dtmf_of(content_type: str, body: bytes) -> tuple[str, int] | None:
    """Digit and duration (ms) of an INFO body, or None (`application/dtmf-relay`, `/dtmf`)."""
    kind = content_type.partition(";")[0].strip().lower()
    text = body.decode("ascii", "replace")
    if kind == "application/dtmf" and text.strip():
        return text.strip()[:1], USUAL_MS
    if kind != "application/dtmf-relay":
        return None
    fields = {
        name.strip().lower(): value.strip()
        for name, _, value in (line.partition("=") for line in text.splitlines())
    }
    signal, duration = fields.get("signal", ""), fields.get("duration", "")
    if not signal:
        return None
    digits = duration.isascii() and duration.isdigit()
    # Cut before it is read: thousands of digits are an error of int() and not a number.
    milliseconds = int(duration[:DURATION_DIGITS]) if digits else USUAL_MS
    return signal[:1], min(milliseconds, LONGEST_MS)


def as_negotiation_error(error: CallmeterError) -> CallmeterError:
    """What a description that cannot be used means for the call."""
    if isinstance(error, NegotiationError | MediaSecurityError):
        return error
    return NegotiationError(str(error))
