"""What to do about an error, in the options of the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from callmeter.errors import (
    AuthenticationFailed,
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

__all__ = ["remedy_of"]

_REACH: Final = (
    "check address, port and --transport, and that no firewall is in between; "
    "callmeter options asks whether anybody answers"
)
_LISTEN: Final = "give --bind an address of this machine, with a port that nobody else has"
_BY_STATUS: Final = {
    401: "give --user and --password",
    403: "check that --aor may call there, and --user and --password",
    404: "check the user or number that is called, and that it is registered",
    407: "give --user and --password",
    408: _REACH,
    480: "check that the callee is registered",
    486: "call again later",
    488: "compare --codec, --srtp, --suites and --avpf with what the callee takes",
    603: "ask the callee why",
}
_BY_ERROR: Final = (
    # A subclass before its base.
    (AuthenticationFailed, "check --user and --password, and the realm in --trace FILE"),
    (RegistrationFailed, "check --aor and --outbound-proxy; the answer is in --trace FILE"),
    (ResolutionFailed, "check the name; callmeter resolve shows what the DNS was asked"),
    (ConnectionFailed, _REACH),
    (FlowLost, "the peer or a firewall closed the connection: look at the peer's log"),
    (MessageTooLarge, "use --transport tcp or tls"),
    (CallTimedOut, _REACH),
    (NoCommonCodec, "give --codec with one that the peer takes"),
    (NoCommonSuite, "give --suites with one that the peer takes"),
    (ProfileMismatch, "--avpf and --srtp decide the profile; the offer is in --trace FILE"),
    (SrtpRequired, "turn SRTP on at the peer, or allow clear media with --srtp-policy offered"),
)


def remedy_of(error: BaseException | None, report: CallReport | None = None) -> str:
    """What to do; empty when nobody knows.

    Args:
        error: What ended the command or the call.
        report: Of the call; what its diagnosis says is nearer to the cause.
    """
    for finding in () if report is None else report.diagnosis:
        if finding.status is FindingStatus.FAIL and finding.remedy:
            return finding.remedy
    status = error.status if isinstance(error, CallRejected | RegistrationFailed) else None
    if isinstance(error, CallRejected) and status in _BY_STATUS:
        return _BY_STATUS[status]
    if status == 408:  # noqa: PLR2004  nobody answered
        return _REACH
    if isinstance(error, ConnectionFailed) and str(error).startswith("cannot listen"):
        return _LISTEN
    return next((remedy for kind, remedy in _BY_ERROR if isinstance(error, kind)), "")
