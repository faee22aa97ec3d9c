"""What to do about an error, in the options of the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from callmeter import errors
from callmeter.errors import (
    AuthenticationFailed,
    CallmeterError,
    CallRejected,
    CallTimedOut,
    ConnectionFailed,
    FlowLost,
    MessageTooLarge,
    NoCommonCodec,
    NoCommonSuite,
    ProfileMismatch,
    RegistrationFailed,
    ResolutionFailed,
    SrtpRequired,
)
from callmeter.metrics.report import FindingStatus

if TYPE_CHECKING:
    from callmeter.metrics.report import CallReport

__all__ = ["remedy_of", "remedy_of_report"]

_REACH: Final = "check address, port and --transport, and that no firewall is in between"
_ASK: Final = "; callmeter options asks whether anybody answers"
_RESOLVE: Final = "check the name; callmeter resolve shows what the DNS was asked"
_RING: Final = (
    "the callee rang and nobody took the call: call again, or with a longer --ring-timeout"
)
_LOG_IN: Final = "give --user and --password"
_LISTEN: Final = "give --bind an address of this machine, with a port that nobody else has"
_BY_STATUS: Final = {
    401: _LOG_IN,
    403: "check that --aor may call there, and --user and --password",
    404: "check the user or number that is called, and that it is registered",
    407: _LOG_IN,
    408: _REACH,
    480: "check that the callee is registered",
    486: "call again later",
    488: "compare --codec, --srtp, --suites and --avpf with what the callee takes",
    603: "ask the callee why",
}
_BY_ERROR: Final = (
    # A subclass before its base.
    (
        AuthenticationFailed,
        "give --user and --password as the server knows them; its realm is in --trace FILE",
    ),
    (RegistrationFailed, "check --aor and --outbound-proxy; the answer is in --trace FILE"),
    (ResolutionFailed, _RESOLVE),
    (ConnectionFailed, _REACH),
    (FlowLost, "the peer or a firewall closed the connection: look at the peer's log"),
    (MessageTooLarge, "use --transport tcp or tls"),
    (CallTimedOut, _REACH),
    (NoCommonCodec, "give --codec with one that the peer takes"),
    (NoCommonSuite, "give --suites with one that the peer takes"),
    (ProfileMismatch, "--avpf and --srtp decide the profile; the offer is in --trace FILE"),
    (SrtpRequired, "turn SRTP on at the peer, or allow clear media with --srtp-policy offered"),
)
_BY_WORDS: Final = (
    (ConnectionFailed, "cannot listen", _LISTEN),
    (AuthenticationFailed, "there are none", _LOG_IN),
    (RegistrationFailed, "cannot be reached: no address for", _RESOLVE),
    (RegistrationFailed, "cannot be reached", _REACH),
)
"""One class for several causes, which its message tells apart."""


def remedy_of(
    error: BaseException | None, report: CallReport | None = None, *, command: str = ""
) -> str:
    """What to do; empty when nobody knows.

    Args:
        error: What ended the command or the call.
        report: Of the call; what its diagnosis says is nearer to the cause.
        command: The name of the command; none is sent to itself.
    """
    status = error.status if isinstance(error, CallRejected | RegistrationFailed) else None
    kind = Exception if error is None else type(error)
    remedy = _diagnosed(report) or _remedy(kind, str(error), status, report)
    return remedy + _ASK if remedy == _REACH and command != "options" else remedy


def remedy_of_report(report: CallReport) -> str:
    """What to do about the error that a report tells of; empty when nobody knows."""
    if report.error is None:
        return ""
    named = getattr(errors, report.error.type, None)
    # The sources of a load may raise what they want to.
    kind = named if isinstance(named, type) and issubclass(named, CallmeterError) else Exception
    status = report.final_status_code
    remedy = _diagnosed(report) or _remedy(kind, report.error.message, status, report)
    return remedy + _ASK if remedy == _REACH else remedy


def _diagnosed(report: CallReport | None) -> str:
    for finding in () if report is None else report.diagnosis:
        if finding.status is FindingStatus.FAIL and finding.remedy:
            return finding.remedy
    return ""


def _remedy(
    kind: type[BaseException], text: str, status: int | None, report: CallReport | None
) -> str:
    if issubclass(kind, CallRejected) and status in _BY_STATUS:
        return _BY_STATUS[status]
    if status == 408:  # noqa: PLR2004  nobody answered
        return _REACH
    rang = report is not None and report.timing.post_dial_delay_ms is not None
    if issubclass(kind, CallTimedOut) and rang and text.startswith("no answer within"):
        return _RING
    for one, words, remedy in _BY_WORDS:
        if issubclass(kind, one) and words in text:
            return remedy
    return next((remedy for one, remedy in _BY_ERROR if issubclass(kind, one)), "")
