"""The exception tree: one root, first split by who is at fault.

```text
CallmeterError
├── ConfigurationError             a setting that cannot work (also a ValueError)
├── LocalProtocolError             the API was used in a state that forbids it
├── RemoteProtocolError            the peer broke an RFC: .rfc .excerpt
│   └── SipSyntaxError  SdpSyntaxError  RtcpSyntaxError  RtpSyntaxError
├── TransportError                 the network: .destination
│   └── ResolutionFailed  ConnectionFailed  FlowLost  MessageTooLarge  TlsError
├── RegistrationFailed             .status
│   └── AuthenticationFailed
├── RequestRejected                .status .reason
├── CallFailed                     .report is attached when the call had one
│   └── CallRejected  CallTimedOut  CallCancelled
├── NegotiationError               offer/answer found no common ground
│   └── NoCommonCodec  NoCommonSuite  SrtpRequired  ProfileMismatch
└── MediaSecurityError             keys: .evidence
    └── DtlsTimeout  DtlsHandshakeFailed  FingerprintMismatch  SdesKeyError
```

Attributes carry the data; no message contains a credential or a key.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = [
    "AuthenticationFailed",
    "CallCancelled",
    "CallFailed",
    "CallRejected",
    "CallTimedOut",
    "CallmeterError",
    "ConfigurationError",
    "ConnectionFailed",
    "DtlsHandshakeFailed",
    "DtlsTimeout",
    "FingerprintMismatch",
    "FlowLost",
    "LocalProtocolError",
    "MediaSecurityError",
    "MessageTooLarge",
    "NegotiationError",
    "NoCommonCodec",
    "NoCommonSuite",
    "ProfileMismatch",
    "RegistrationFailed",
    "RemoteProtocolError",
    "RequestRejected",
    "ResolutionFailed",
    "RtcpSyntaxError",
    "RtpSyntaxError",
    "SdesKeyError",
    "SdpSyntaxError",
    "SipSyntaxError",
    "SrtpRequired",
    "TlsError",
    "TransportError",
]

EXCERPT_OCTETS = 80


class CallmeterError(Exception):
    """The root: `except CallmeterError` catches all that callmeter raises on purpose."""

    report: Any = None
    """The `CallReport` of the call this error ended, or None."""
    stream: str = ""
    """`"video"` when it is about that m= line alone, else empty."""

    def __reduce__(self) -> tuple[Any, ...]:
        # The default would call the class with `args`, and lose what is given by keyword.
        return _restore, (type(self), self.args), self.__dict__


class ConfigurationError(CallmeterError, ValueError):
    """A setting that cannot work, found before anything was sent."""


class LocalProtocolError(CallmeterError):
    """The API was called in a state that does not allow it."""


class RemoteProtocolError(CallmeterError):
    """The peer sent what an RFC forbids.

    Args:
        message: What is wrong, in words.
        rfc: The rule that was broken, such as `"RFC 3261 section 7.3.1"`.
        excerpt: The offending octets, cut to 80; never key material.
    """

    def __init__(self, message: str, *, rfc: str = "", excerpt: bytes = b"") -> None:
        super().__init__(message)
        self.rfc = rfc
        self.excerpt = bytes(excerpt[:EXCERPT_OCTETS])


class SipSyntaxError(RemoteProtocolError):
    """A SIP message that cannot be understood.

    Args:
        message: What is wrong.
        rfc: The rule that was broken.
        excerpt: The offending octets.
        status: The final status a UAS answers with (400, 413, 416, 420, 505, 513 ...).
        partial: What could be read of the message, enough to build that answer, or None.
    """

    def __init__(
        self,
        message: str,
        *,
        rfc: str = "RFC 3261",
        excerpt: bytes = b"",
        status: int = 400,
        partial: Any = None,
    ) -> None:
        super().__init__(message, rfc=rfc, excerpt=excerpt)
        self.status = status
        self.partial = partial


class SdpSyntaxError(RemoteProtocolError):
    """A session description that cannot be understood (RFC 8866)."""


class RtcpSyntaxError(RemoteProtocolError):
    """An RTCP packet that cannot be understood (RFC 3550 section 6)."""


class RtpSyntaxError(RemoteProtocolError):
    """The payload of an RTP packet that cannot be understood."""


class TransportError(CallmeterError):
    """The network did not carry a message.

    Args:
        message: What happened.
        destination: `"UDP 192.0.2.1:5060"` or similar, empty when none was chosen yet.
    """

    def __init__(self, message: str, *, destination: str = "") -> None:
        super().__init__(message)
        self.destination = destination


class ResolutionFailed(TransportError):
    """No address for a domain (RFC 3263). `.attempts` lists what was asked and what came."""

    def __init__(
        self, message: str, *, destination: str = "", attempts: Sequence[str] = ()
    ) -> None:
        super().__init__(message, destination=destination)
        self.attempts = tuple(attempts)


class ConnectionFailed(TransportError):
    """Nobody listens, or the network refused."""


class FlowLost(TransportError):
    """A connection that carried a registration or a dialog ended."""


class MessageTooLarge(TransportError):
    """A message that no datagram holds and no stream was offered for."""


class TlsError(TransportError):
    """A TLS handshake failure; `.kind` names the cause in one word."""

    def __init__(self, message: str, *, kind: str, destination: str = "") -> None:
        super().__init__(message, destination=destination)
        self.kind = kind


class RegistrationFailed(CallmeterError):
    """A REGISTER was refused or not answered; `.status` is 408 when nobody answered."""

    def __init__(self, message: str, *, status: int) -> None:
        super().__init__(message)
        self.status = status


class AuthenticationFailed(RegistrationFailed):
    """The server refused the credentials (a second 401 or 407, or 403)."""


class RequestRejected(CallmeterError):
    """A MESSAGE, SUBSCRIBE, REFER or INFO was answered with a final error.

    Attributes:
        status: The status code of the final response.
        reason: Its reason phrase.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(f"{status} {reason}".rstrip())
        self.status = status
        self.reason = reason


class CallFailed(CallmeterError):
    """A call that was not answered, or ended in an error; `.report` says what happened."""

    def __init__(self, message: str, *, report: Any = None) -> None:
        super().__init__(message)
        self.report = report


class CallRejected(CallFailed):
    """The callee or a server answered with a final error.

    Attributes:
        status: The status code of the final response.
        reason: Its reason phrase.
        retry_after: Seconds of a Retry-After header, or None.
        detail: What else the response says of its cause, or empty.
    """

    def __init__(
        self,
        status: int,
        reason: str,
        *,
        report: Any = None,
        retry_after: int | None = None,
        detail: str = "",
    ) -> None:
        text = f"{status} {reason}".rstrip()
        super().__init__(f"{text}: {detail}" if detail else text, report=report)
        self.status = status
        self.reason = reason
        self.retry_after = retry_after
        self.detail = detail


class CallTimedOut(CallFailed):
    """No answer in time; `.timer` is `"B"`, `"F"`, `"H"` or `"ring"`."""

    def __init__(self, message: str, *, timer: str, report: Any = None) -> None:
        super().__init__(message, report=report)
        self.timer = timer


class CallCancelled(CallFailed):
    """The call was cancelled before it was answered."""


class NegotiationError(CallmeterError):
    """Offer and answer have nothing in common; a UAS answers 488."""

    def __init__(self, message: str, *, report: Any = None) -> None:
        super().__init__(message)
        self.report = report


class NoCommonCodec(NegotiationError):
    """No codec that both ends know."""


class NoCommonSuite(NegotiationError):
    """No SRTP suite that both ends know.

    Attributes:
        offered: Suite names of the offer.
        supported: Suite names of the answerer.
    """

    def __init__(
        self,
        message: str,
        *,
        offered: Sequence[str] = (),
        supported: Sequence[str] = (),
        report: Any = None,
    ) -> None:
        super().__init__(message, report=report)
        self.offered = tuple(offered)
        self.supported = tuple(supported)


class SrtpRequired(NegotiationError):
    """Policy Required, and the peer gave no keys."""


class ProfileMismatch(NegotiationError):
    """The m= line's RTP profile does not fit what was offered."""


class MediaSecurityError(CallmeterError):
    """Keys could not be agreed on; `.evidence` holds what was seen, never key material."""

    def __init__(self, message: str, *, evidence: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.evidence = dict(evidence or {})


class DtlsTimeout(MediaSecurityError):
    """The DTLS handshake was not finished in time."""


class DtlsHandshakeFailed(MediaSecurityError):
    """The DTLS handshake ended in an error."""


class FingerprintMismatch(MediaSecurityError):
    """Remote certificate does not match fingerprint."""


class SdesKeyError(MediaSecurityError):
    """An inline key of the wrong length or not base64 (RFC 4568 section 6.1)."""


def _restore(kind: type[CallmeterError], args: tuple[Any, ...]) -> CallmeterError:
    error = kind.__new__(kind)
    error.args = args
    return error
