"""What the bodies of a call's messages mean: session descriptions and DTMF."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from callmeter.errors import (
    CallmeterError,
    MediaSecurityError,
    NegotiationError,
    NoCommonCodec,
    NoCommonSuite,
    ProfileMismatch,
    SdesKeyError,
    SdpSyntaxError,
    SipSyntaxError,
    SrtpRequired,
    TransportError,
)
from callmeter.sip.body import multipart

if TYPE_CHECKING:
    from collections.abc import Iterable

    from callmeter.sip.message import Request, Response

__all__ = [
    "BAD_DESCRIPTION",
    "as_negotiation_error",
    "dtmf_of",
    "session_description",
    "warning_for",
    "warning_of",
]

SDP: Final = "application/sdp"
USUAL_MS: Final = 160
LONGEST_MS: Final = 60_000
DURATION_DIGITS: Final = 9
MISCELLANEOUS: Final = 399
WARNING_MAX: Final = 400
LINE_MAX: Final = 2_000
_WARNING: Final = re.compile(r'([0-9]{3}) [^ ]{1,255} "((?:[^"\\]|\\.)*+)"')
_WARN_CODES: Final = (
    # Incompatible media format, incompatible transport protocol.
    (NoCommonCodec, 305),
    (ProfileMismatch, 302),
    (SrtpRequired, 302),
)
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


def warning_for(error: CallmeterError, suites: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """The header field that tells the peer why its description is refused (RFC 3261 20.43).

    Args:
        error: The reason.
        suites: What is enabled here.
    """
    code = next((code for kind, code in _WARN_CODES if isinstance(error, kind)), MISCELLANEOUS)
    text = str(error)[:WARNING_MAX]
    if isinstance(error, NoCommonSuite | SrtpRequired | SdesKeyError):
        text += f" (supported: {' '.join(suites)})"
    # The text comes in part from the peer: nothing of it may end the quoted string or the line.
    shown = "".join(c if " " <= c <= "~" else "?" for c in text)
    shown = shown.replace("\\", "").replace('"', "'")
    return (("Warning", f'{code} callmeter "{shown}"'),)


def warning_of(response: Response | None) -> str:
    """What the peer says about its refusal; empty when it says nothing."""
    if response is None:
        return ""
    texts = (_WARNING.search(value[:LINE_MAX]) for value in response.headers.get_all("Warning"))
    found = next((match for match in texts if match is not None), None)
    if found is None:
        return ""
    text = found[2].replace('\\"', '"')[:WARNING_MAX]
    return f"{found[1]} " + "".join(c if c.isprintable() else "?" for c in text)


def as_negotiation_error(error: CallmeterError) -> CallmeterError:
    """What a description that cannot be used means for the call."""
    if isinstance(error, NegotiationError | MediaSecurityError):
        return error
    return NegotiationError(str(error))
