"""What this user agent can do, and the refusal of a request that asks for more (RFC 3261 8.2)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from callmeter.errors import ConfigurationError, SipSyntaxError
from callmeter.session_config import MAX_REDIRECTS, Extension, SessionTimerConfig
from callmeter.sip.body import multipart
from callmeter.sip.grammar import is_token
from callmeter.sip.uri import OtherUri, SipUri

if TYPE_CHECKING:
    from callmeter.sip.message import Request

__all__ = ["ACCEPT", "Capabilities", "Refusal"]

BASIC_METHODS = ("INVITE", "ACK", "CANCEL", "BYE", "OPTIONS", "INFO")
"""Methods that are always served."""

KNOWN_METHODS = frozenset(
    ["MESSAGE", "NOTIFY", "PRACK", "PUBLISH", "REFER", "REGISTER", "SUBSCRIBE", "UPDATE"]
)
"""Methods that have a specification; without a service here they get a 405 and not a 501."""

ACCEPT = "application/sdp"
"""The body an INVITE may carry, and the only one its answer will."""


class Refusal(NamedTuple):
    """A final response in the making."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """Which methods and extensions a user agent serves; without arguments, those of RFC 3261.

    The application of a user agent has to react to the events of what it switches on.

    Attributes:
        reliable: Reliable provisional responses (RFC 3262).
        session_timer: Session timers (RFC 4028).
        update: UPDATE (RFC 3311).
        refer: REFER in a dialog (RFC 3515), and INVITEs with Replaces (RFC 3891).
        refer_outside: REFER outside of a dialog too; otherwise it gets a 603.
        message: MESSAGE (RFC 3428).
        events: Packages that others may subscribe to here (RFC 6665).
        subscriptions: We subscribe to packages of others, and so get NOTIFYs.
        info_packages: Info packages that are understood (RFC 6086).
        further: Further methods, such as PUBLISH, that the application answers itself.
        redirects: How many 3xx of one call are followed, 0 to 5.
        methods: Methods that are served; computed.
        extensions: Option tags of the extensions that are served; computed.
        contact_lines: What goes with each Contact: Allow, Supported and packages; computed.

    Raises:
        ConfigurationError: `redirects` is out of range, or a further method has a meaning here.
    """

    reliable: Extension = Extension.DISABLED
    session_timer: SessionTimerConfig = field(default_factory=SessionTimerConfig)
    update: bool = False
    refer: bool = False
    refer_outside: bool = False
    message: bool = False
    events: tuple[str, ...] = ()
    subscriptions: bool = False
    info_packages: tuple[str, ...] = ()
    further: tuple[str, ...] = ()
    redirects: int = 0
    methods: tuple[str, ...] = field(init=False)
    extensions: tuple[str, ...] = field(init=False)
    contact_lines: tuple[tuple[str, str], ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not 0 <= self.redirects <= MAX_REDIRECTS:
            raise ConfigurationError(f"redirects are 0 to {MAX_REDIRECTS}, not {self.redirects}")
        methods = {
            "PRACK": self.reliable.offered,
            "UPDATE": self.update,
            "REFER": self.refer,
            "SUBSCRIBE": bool(self.events),
            "NOTIFY": self.refer or self.subscriptions,
            "MESSAGE": self.message,
        }
        for method in self.further:
            if method in {*BASIC_METHODS, *methods, "REGISTER"} or not is_token(method):
                raise ConfigurationError(f"{method!r} is no further method: it has a meaning here")
        served = (*BASIC_METHODS, *(name for name, on in methods.items() if on), *self.further)
        extensions = {
            "100rel": self.reliable.offered,
            "timer": self.session_timer.mode.offered,
            "replaces": self.refer,
            "norefersub": self.refer,
        }
        tags = tuple(tag for tag, on in extensions.items() if on)
        lists = {
            "Allow": served,
            "Supported": tags,
            "Allow-Events": self.events,
            "Recv-Info": self.info_packages,
        }
        lines = tuple((name, ", ".join(values)) for name, values in lists.items() if values)
        object.__setattr__(self, "methods", served)
        object.__setattr__(self, "extensions", tags)
        object.__setattr__(self, "contact_lines", lines)

    @property
    def lines(self) -> tuple[tuple[str, str], ...]:
        """What a 200 to OPTIONS says (RFC 3261 section 11.2)."""
        own = dict(self.contact_lines)
        own.setdefault("Supported", "")
        return (
            ("Allow", own.pop("Allow")),
            ("Accept", ACCEPT),
            ("Accept-Encoding", "identity"),
            *own.items(),
        )

    def inspect(self, request: Request) -> Refusal | None:
        """The refusal of what is not served, in the order of RFC 3261 section 8.2; None if it is.

        Which session a request is for, and what RFC 4028 says to it, is looked at elsewhere.
        """
        return (
            self._inspect_method(request)
            or self._inspect_headers(request)
            or _inspect_body(request)
        )

    def _inspect_method(self, request: Request) -> Refusal | None:
        if request.method in self.methods:
            return None
        allow = self.contact_lines[:1]
        if request.method not in KNOWN_METHODS:
            return Refusal(501, allow)
        if request.method == "REGISTER" and not isinstance(request.to.uri, SipUri):
            # Section 10.3: an address of record that nobody could ever register.
            return Refusal(400, reason="To Is Not A SIP Address Of Record")
        return Refusal(405, allow)

    def _inspect_headers(self, request: Request) -> Refusal | None:
        if isinstance(request.uri, OtherUri):
            return Refusal(416)
        unsupported = [
            tag for tag in request.headers.values("Require") if tag.lower() not in self.extensions
        ]
        if unsupported:
            return Refusal(420, (("Unsupported", ", ".join(unsupported)),))
        if request.method == "INVITE":
            return self._inspect_invite(request)
        package = request.headers.get("Info-Package") if request.method == "INFO" else None
        if package is not None and package.partition(";")[0].strip() not in self.info_packages:
            return Refusal(469, (("Recv-Info", ", ".join(self.info_packages)),))
        return None

    def _inspect_invite(self, request: Request) -> Refusal | None:
        if "Accept" in request.headers and not _accepts_sdp(request):
            return Refusal(406)
        if (
            self.reliable is Extension.REQUIRED
            and request.to_tag is None
            and "100rel" not in request.supported
            and "100rel" not in request.require
        ):
            return Refusal(421, (("Require", "100rel"),))
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
