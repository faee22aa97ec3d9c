"""What this user agent can do, and the refusal of a request that asks for more (RFC 3261 8.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from callmeter.errors import SipSyntaxError
from callmeter.sip.body import multipart
from callmeter.sip.uri import OtherUri, SipUri

if TYPE_CHECKING:
    from callmeter.sip.message import Request

__all__ = ["ACCEPT", "ALLOW", "SUPPORTED", "Refusal", "capability_headers", "inspect"]

ALLOW = ("INVITE", "ACK", "CANCEL", "BYE", "OPTIONS", "INFO")
"""Methods that are served."""

KNOWN_METHODS = frozenset(
    ["MESSAGE", "NOTIFY", "PRACK", "PUBLISH", "REFER", "REGISTER", "SUBSCRIBE", "UPDATE"]
)
"""Methods that have a specification but no service here: 405 and not 501."""

SUPPORTED: tuple[str, ...] = ()
"""Option tags of the extensions that are served."""

ACCEPT = "application/sdp"
"""The body an INVITE may carry, and the only one its answer will."""

ALLOW_HEADER = ("Allow", ", ".join(ALLOW))


class Refusal(NamedTuple):
    """A final response in the making."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    reason: str | None = None


def capability_headers() -> tuple[tuple[str, str], ...]:
    """What a 200 to OPTIONS says (RFC 3261 section 11.2)."""
    return (
        ALLOW_HEADER,
        ("Accept", ACCEPT),
        ("Accept-Encoding", "identity"),
        ("Supported", ", ".join(SUPPORTED)),
    )


def inspect(request: Request) -> Refusal | None:
    """The refusal of what is not served, in the order of RFC 3261 section 8.2; None if it is."""
    return _inspect_method(request) or _inspect_headers(request) or _inspect_body(request)


def _inspect_method(request: Request) -> Refusal | None:
    if request.method in ALLOW:
        return None
    if request.method not in KNOWN_METHODS:
        return Refusal(501, (ALLOW_HEADER,))
    if request.method == "REGISTER" and not isinstance(request.to.uri, SipUri):
        # Section 10.3: an address of record that nobody could ever register.
        return Refusal(400, reason="To Is Not A SIP Address Of Record")
    return Refusal(405, (ALLOW_HEADER,))


def _inspect_headers(request: Request) -> Refusal | None:
    if isinstance(request.uri, OtherUri):
        return Refusal(416)
    unsupported = [tag for tag in request.headers.values("Require") if tag not in SUPPORTED]
    if unsupported:
        return Refusal(420, (("Unsupported", ", ".join(unsupported)),))
    if request.method == "INVITE" and "Accept" in request.headers and not _accepts_sdp(request):
        return Refusal(406)
    return None


def _accepts_sdp(request: Request) -> bool:
    ranges = {
        "".join(value.partition(";")[0].split()).lower()
        for value in request.headers.values("Accept")
    }
    return not ranges.isdisjoint({ACCEPT, "application/*", "*/*"})


def _inspect_body(request: Request) -> Refusal | None:
    encodings = {value.lower() for value in request.headers.values("Content-Encoding")}
    if encodings - {"identity"}:
        # Nothing is inflated here, whatever it would become.
        return Refusal(415, (("Accept-Encoding", "identity"),))
    if request.method == "INVITE" and request.body and not _is_optional(request):
        return _inspect_session_description(request)
    return None


def _is_optional(request: Request) -> bool:
    disposition = request.headers.get("Content-Disposition") or ""
    return "handling=optional" in "".join(disposition.split()).lower()


def _inspect_session_description(request: Request) -> Refusal | None:
    try:
        content_type = request.content_type
        if content_type is not None and content_type.media_type == ACCEPT:
            return None
        kinds = [part.content_type.media_type for part in multipart(request)]
    except SipSyntaxError as error:
        return Refusal(400, reason=f"Bad Body: {error}")
    return None if ACCEPT in kinds else Refusal(415, (("Accept", ACCEPT),))
