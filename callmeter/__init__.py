"""callmeter: place, answer and meter real SIP calls from asyncio.

A name is imported when it is first asked for: a command line that prints its help, and a pytest
that has the plugin installed, do not pay for the whole stack.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from callmeter.call import Call
    from callmeter.call_report import CallReport
    from callmeter.call_transfer import TransferRequest
    from callmeter.config import (
        CaptureConfig,
        ClientCertificates,
        Codec,
        Credentials,
        DtlsConfig,
        EndpointConfig,
        Extension,
        HepConfig,
        LimitConfig,
        MediaConfig,
        OpusConfig,
        SessionTimerConfig,
        SrtpConfig,
        SrtpMethod,
        SrtpPolicy,
        SrtpSuite,
        StackConfig,
        TimerConfig,
        TlsConfig,
        TlsVerify,
        TransferPolicy,
        Transport,
        VideoCodec,
        VideoConfig,
    )
    from callmeter.endpoint import Endpoint
    from callmeter.errors import (
        AuthenticationFailed,
        CallCancelled,
        CallFailed,
        CallmeterError,
        CallRejected,
        CallTimedOut,
        ConfigurationError,
        ConnectionFailed,
        DtlsHandshakeFailed,
        DtlsTimeout,
        FingerprintMismatch,
        FlowLost,
        LocalProtocolError,
        MediaSecurityError,
        MessageTooLarge,
        NegotiationError,
        NoCommonCodec,
        NoCommonSuite,
        ProfileMismatch,
        RegistrationFailed,
        RemoteProtocolError,
        RequestRejected,
        ResolutionFailed,
        RtcpSyntaxError,
        RtpSyntaxError,
        SdesKeyError,
        SdpSyntaxError,
        SipSyntaxError,
        SrtpRequired,
        TlsError,
        TransportError,
    )
    from callmeter.incoming_call import IncomingCall
    from callmeter.media.echo import Echo
    from callmeter.media.sinks import Discard, WavRecorder
    from callmeter.media.sources import PcmSource, Silence, Tone, WavFile
    from callmeter.media.video import (
        AnnexBFile,
        AnnexBRecorder,
        IvfFile,
        IvfRecorder,
        TestPattern,
    )
    from callmeter.media_session import MediaSession
    from callmeter.metrics.phases import Outcome, Phase
    from callmeter.metrics.report import StreamReport
    from callmeter.registration import Registration
    from callmeter.stack import Stack
    from callmeter.standalone_requests import IncomingMessage, IncomingRequest
    from callmeter.subscription import IncomingSubscription, Notification, Subscription
    from callmeter.video_track import VideoTrack

__all__ = [
    "AnnexBFile",
    "AnnexBRecorder",
    "AuthenticationFailed",
    "Call",
    "CallCancelled",
    "CallFailed",
    "CallRejected",
    "CallReport",
    "CallTimedOut",
    "CallmeterError",
    "CaptureConfig",
    "ClientCertificates",
    "Codec",
    "ConfigurationError",
    "ConnectionFailed",
    "Credentials",
    "Discard",
    "DtlsConfig",
    "DtlsHandshakeFailed",
    "DtlsTimeout",
    "Echo",
    "Endpoint",
    "EndpointConfig",
    "Extension",
    "FingerprintMismatch",
    "FlowLost",
    "HepConfig",
    "IncomingCall",
    "IncomingMessage",
    "IncomingRequest",
    "IncomingSubscription",
    "IvfFile",
    "IvfRecorder",
    "LimitConfig",
    "LocalProtocolError",
    "MediaConfig",
    "MediaSecurityError",
    "MediaSession",
    "MessageTooLarge",
    "NegotiationError",
    "NoCommonCodec",
    "NoCommonSuite",
    "Notification",
    "OpusConfig",
    "Outcome",
    "PcmSource",
    "Phase",
    "ProfileMismatch",
    "Registration",
    "RegistrationFailed",
    "RemoteProtocolError",
    "RequestRejected",
    "ResolutionFailed",
    "RtcpSyntaxError",
    "RtpSyntaxError",
    "SdesKeyError",
    "SdpSyntaxError",
    "SessionTimerConfig",
    "Silence",
    "SipSyntaxError",
    "SrtpConfig",
    "SrtpMethod",
    "SrtpPolicy",
    "SrtpRequired",
    "SrtpSuite",
    "Stack",
    "StackConfig",
    "StreamReport",
    "Subscription",
    "TestPattern",
    "TimerConfig",
    "TlsConfig",
    "TlsError",
    "TlsVerify",
    "Tone",
    "TransferPolicy",
    "TransferRequest",
    "Transport",
    "TransportError",
    "VideoCodec",
    "VideoConfig",
    "VideoTrack",
    "WavFile",
    "WavRecorder",
]

_HOMES: Final = {
    "call": "Call",
    "call_report": "CallReport",
    "call_transfer": "TransferRequest",
    "endpoint": "Endpoint",
    "incoming_call": "IncomingCall",
    "media.echo": "Echo",
    "media.sinks": "Discard WavRecorder",
    "media.sources": "PcmSource Silence Tone WavFile",
    "media.video": "AnnexBFile AnnexBRecorder IvfFile IvfRecorder TestPattern",
    "media_session": "MediaSession",
    "metrics.phases": "Outcome Phase",
    "metrics.report": "StreamReport",
    "registration": "Registration",
    "stack": "Stack",
    "standalone_requests": "IncomingMessage IncomingRequest",
    "subscription": "IncomingSubscription Notification Subscription",
    "video_track": "VideoTrack",
}
"""In which modules the public names are that are neither settings nor errors."""

_MODULE_OF: Final = {name: module for module, names in _HOMES.items() for name in names.split()}
_SUBPACKAGES: Final = (
    "cli config diagnosis errors events load media metrics rtp sdp sip srtp stun testing trace "
    "transport"
)


def __getattr__(name: str) -> Any:
    """Import a public name or a subpackage when it is asked for (PEP 562)."""
    if name in _SUBPACKAGES.split():
        return import_module(f"callmeter.{name}")
    if name not in __all__:
        raise AttributeError(f"module 'callmeter' has no attribute {name!r}")
    home = import_module(f"callmeter.{_MODULE_OF.get(name, 'errors')}")
    if not hasattr(home, name):
        home = import_module("callmeter.config")
    value = globals()[name] = getattr(home, name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
