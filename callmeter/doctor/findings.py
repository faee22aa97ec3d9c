"""What a check-up found, and in which words: no network here."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from callmeter.doctor.page import checkup_page
from callmeter.errors import (
    AuthenticationFailed,
    CallRejected,
    CallTimedOut,
    ConnectionFailed,
    FingerprintMismatch,
    MediaSecurityError,
    NoCommonCodec,
    NoCommonSuite,
    RegistrationFailed,
    ResolutionFailed,
    TlsError,
)
from callmeter.metrics.report import Finding, FindingStatus

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from callmeter.metrics.report import CallReport
    from callmeter.sip.server_location import Location

__all__ = ["Checkup", "call_finding", "failed", "location_finding", "remedy_of"]

PASS, WARN, FAIL = FindingStatus.PASS, FindingStatus.WARN, FindingStatus.FAIL
WORST_FIRST: Final = (FAIL, WARN)

TLS_REMEDIES: Final = {
    "expired": "Renew the certificate of the server and have the server load it.",
    "not_yet_valid": "Check the clocks of both machines, and the date the certificate begins at.",
    "unknown_ca": "Trust the authority that issued the certificate (--tls-ca FILE.pem), and let "
    "the server send its intermediate certificates.",
    "name_mismatch": "Call the server by a name its certificate has, or issue one for this name "
    "as a subjectAltName.",
    "wrong_purpose": "Issue the server a certificate that is allowed for TLS servers.",
    "weak": "Issue a certificate with a longer key and a SHA-2 signature.",
    "version": "Enable TLS 1.2 or newer at the server.",
    "not_tls": "The port does not speak TLS: use the port of TLS (5061) or another transport.",
    "timeout": "Something took the connection and does not shake hands: a proxy, or a busy server.",
    "client_cert_rejected": "The server wants a client certificate it trusts: --tls-cert and "
    "--tls-key.",
}
REJECTIONS: Final = {
    403: "The server forbids this call: register first, or check the rights of the account.",
    404: "The server knows no such number: check the user part of the URI.",
    407: "The server asks for credentials: give --aor, --user and --password.",
    480: "Nobody is registered there just now.",
    486: "The callee is busy.",
    488: "Compare the media settings of both ends: codecs, SRTP suites and the RTP profile.",
    503: "The server is overloaded or has no way on: look into its log.",
}
NO_DTLS: Final = (
    "The peer reads UDP/TLS/RTP/SAVP only as DTLS, or knows no DTLS-SRTP: call it with SDES alone "
    "(--srtp sdes), or enable DTLS-SRTP there."
)
REMEDIES: Final[Mapping[type[Exception], str]] = {
    ResolutionFailed: "Add the records to the DNS, or name another server: --nameserver, "
    "--outbound-proxy.",
    AuthenticationFailed: "Check the user name, the password and the realm of the account.",
    RegistrationFailed: "Check the domain of --aor, and that the server is a registrar for it.",
    CallTimedOut: "Nobody answered: check the firewall between, and that the callee is registered.",
    NoCommonCodec: "Enable a codec at both ends: PCMU or PCMA are known everywhere.",
    NoCommonSuite: "Enable AES_CM_128_HMAC_SHA1_80 at both ends, or SRTP at all.",
    FingerprintMismatch: "Something between the ends changes the description or answers DTLS in "
    "the peer's place.",
    ConnectionFailed: "Check address, port and transport, and the firewalls between.",
}


def remedy_of(error: Exception) -> str:
    """What to do about an error, or the empty string."""
    if isinstance(error, TlsError):
        return TLS_REMEDIES.get(error.kind, "Compare protocol versions and ciphers of both ends.")
    if isinstance(error, CallRejected):
        return REJECTIONS.get(error.status, "The answer comes from the far end: ask its log.")
    for kind in type(error).__mro__:
        if kind in REMEDIES:
            return REMEDIES[kind]
    return ""


def failed(check: str, error: Exception, remedy: str = "") -> Finding:
    """The finding that an error makes."""
    return Finding(check, FAIL, str(error), remedy or remedy_of(error))


def location_finding(location: Location) -> Finding:
    """Where the server was found."""
    targets = ", ".join(
        f"{target.transport.name} {target.address} port {target.port}"
        for target in location.targets[:3]
    )
    more = len(location.targets) - 3
    found = f"{location.domain}: {targets}" + (f" and {more} more" if more > 0 else "")
    if location.fell_back:
        return Finding(
            "resolve",
            WARN,
            f"{found}; it has neither NAPTR nor SRV records, so UDP port 5060 was assumed",
            "Add NAPTR or SRV records for the domain, or name the transport.",
        )
    return Finding("resolve", PASS, found)


def call_finding(
    check: str, report: CallReport, error: Exception | None, *, sdes_answered: bool = False
) -> Finding:
    """What a call with one kind of keys shows.

    Args:
        check: Name of the finding.
        report: Of the call that has ended.
        error: What ended it early, or None.
        sdes_answered: Whether the same peer took a call with the same suites and SDES alone.
    """
    found = report.diagnosis
    worst = [each for status in WORST_FIRST for each in found if each.status is status]
    # How SIP goes is told by the steps before the calls.
    worst.sort(key=lambda each: (each.status is not FAIL, each.check == "tls_configured"))
    if error is not None and not (isinstance(error, MediaSecurityError) and worst):
        # A check that quotes the error knows more about it than its kind tells.
        about = (each.remedy for each in worst if str(error) in each.detail)
        refused = _dtls_refused(check, worst, error, sdes_answered=sdes_answered)
        return refused or failed(check, error, next(about, ""))
    if worst:
        first = worst[0]
        return Finding(check, first.status, f"{first.check}: {first.detail}", first.remedy)
    if report.outcome is None or not report.outcome.good:
        said = "" if report.error is None else f": {report.error.message}"
        return Finding(check, FAIL, f"the call ended as {report.outcome}{said}")
    return _heard(check, report)


def _dtls_refused(
    check: str, worst: Sequence[Finding], error: Exception, *, sdes_answered: bool
) -> Finding | None:
    """What the diagnosis makes of a refusal, where that is not what the error takes it for."""
    about = (each for each in worst if each.status is FAIL and each.check == "suites_compatible")
    found = next(about, None)
    if found is None or str(error) in found.detail:
        return None
    if not sdes_answered:
        return Finding(check, FAIL, found.detail, found.remedy)
    return Finding(check, FAIL, f"{found.detail}; SDES with the same suites was answered", NO_DTLS)


def _heard(check: str, report: CallReport) -> Finding:
    if not report.media:
        return Finding(check, FAIL, "the call was answered without media")
    stream = report.media[0]
    packets = stream.receive.get("packets_received") or 0
    setup = report.timing.metrics().get("call_setup_time_ms")
    took = "" if setup is None else f", answered after {setup:.0f} ms"
    keys = stream.suite or "no encryption"
    detail = f"{stream.codec}, {keys}, {packets} packets received{took}"
    return Finding(check, PASS, detail)


@dataclass(frozen=True, kw_only=True)
class Checkup:
    """A check-up that has ended.

    Attributes:
        target: Whom it was about.
        findings: In the order of the checks.
        reports: The calls, by the name of their check.
    """

    target: str
    findings: tuple[Finding, ...]
    reports: Mapping[str, CallReport] = field(default_factory=dict)

    @property
    def healthy(self) -> bool:
        """Whether no check failed."""
        return all(finding.status is not FAIL for finding in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return {
            "target": self.target,
            "healthy": self.healthy,
            "checks": [finding.to_dict() for finding in self.findings],
            "calls": {name: report.to_dict() for name, report in self.reports.items()},
        }

    def to_html(self) -> str:
        """One self-contained page."""
        return checkup_page(self)

    def __str__(self) -> str:
        lines = []
        for finding in self.findings:
            lines.append(f"{finding.status.value.upper():<5} {finding.check:<12} {finding.detail}")
            if finding.remedy and finding.status is not PASS:
                lines.append(f"{'':<19}-> {finding.remedy}")
        return "\n".join(lines)
