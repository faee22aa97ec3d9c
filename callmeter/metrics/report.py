"""The report of a call: frozen, picklable, JSON-ready, and readable on a terminal.

The keys of `CallReport.to_dict` are stable: keys are added, never renamed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from callmeter.metrics.catalogue import Direction, Kind, call_keys, stream_keys
from callmeter.metrics.report_text import report_text
from callmeter.metrics.series import StreamSeries
from callmeter.metrics.signaling import CallTiming, call_result
from callmeter.metrics.thresholds import evaluate_report

if TYPE_CHECKING:
    from collections.abc import Mapping

    from callmeter.metrics.phases import Outcome, Phase
    from callmeter.metrics.signaling import CallResult

__all__ = [
    "CallReport",
    "ErrorReport",
    "Finding",
    "FindingStatus",
    "Keying",
    "SignalingReport",
    "StreamReport",
    "TlsReport",
]

Value = int | float | str | None

_DECIMALS: Final = 3
_NO_COUNTS: Final[Mapping[str, Value]] = {
    **dict.fromkeys(call_keys(Kind.COUNTER), 0),
    **dict.fromkeys(call_keys(Kind.PER_CALL)),
}


class Keying(StrEnum):
    """How the SRTP keys of a stream were exchanged."""

    NONE = "none"
    SDES = "sdes"
    DTLS = "dtls"


class FindingStatus(StrEnum):
    """What a check found."""

    PASS = "pass"  # noqa: S105  not a password
    WARN = "warn"
    FAIL = "fail"
    SKIP = "skip"


@dataclass(frozen=True, slots=True)
class Finding:
    """One check of the diagnosis.

    Attributes:
        check: Its identifier.
        status: What it found.
        detail: The evidence, in words.
        remedy: What to do about it, empty when nothing.
    """

    check: str
    status: FindingStatus
    detail: str = ""
    remedy: str = ""

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return {
            "check": self.check,
            "status": self.status.value,
            "detail": self.detail,
            "remedy": self.remedy,
        }


@dataclass(frozen=True, slots=True)
class ErrorReport:
    """What ended a call: the class of the error and its message."""

    type: str
    message: str

    @classmethod
    def of(cls, error: BaseException) -> ErrorReport:
        """The report of an exception."""
        return cls(type(error).__name__, str(error))

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return {"type": self.type, "message": self.message}


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsReport:
    """TLS of the signalling.

    Attributes:
        version: `"TLSv1.3"` or similar.
        cipher: Name of the cipher suite.
        verified: Whether the peer's certificate was verified.
        certificate: Whether the peer showed one; who opens a connection does so when asked.
    """

    version: str
    cipher: str
    verified: bool
    certificate: bool = True

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return {"version": self.version, "cipher": self.cipher, "verified": self.verified}


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalingReport:
    """The path of the signalling.

    Attributes:
        transport: `"UDP"`, `"TCP"`, `"TLS"`, `"WSS"`.
        local, remote: `"host:port"`.
        call_id: The Call-ID, by which the logs of others know the call; of the last INVITE where
            there were several.
        begun_at: When the first message went, in seconds since 1970; None when none did.
        tls: None without TLS.
        resolution: What the DNS was asked and answered, as `callmeter resolve --json` prints it;
            None when nothing was asked.
    """

    transport: str = ""
    local: str = ""
    remote: str = ""
    call_id: str = ""
    begun_at: float | None = None
    tls: TlsReport | None = None
    resolution: Mapping[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return {
            "transport": self.transport,
            "local": self.local,
            "remote": self.remote,
            "tls": None if self.tls is None else self.tls.to_dict(),
            "resolution": None if self.resolution is None else dict(self.resolution),
            "call_id": self.call_id,
            "begun_at": None if self.begun_at is None else _utc(self.begun_at),
        }


def _utc(seconds: float) -> str:
    """ISO 8601, to the millisecond."""
    moment = datetime.fromtimestamp(seconds, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamReport:
    """One media stream of a call.

    Attributes:
        kind: `"audio"` or `"video"`.
        codec: Encoding name.
        profile: RTP profile as negotiated, such as `"RTP/SAVP"`.
        keying: How its keys were exchanged.
        suite: SRTP suite, None without SRTP.
        rtcp_mux: Whether RTP and RTCP share a port.
        feedback: Whether AVPF was negotiated.
        ice: Whether the peer found its way here by ICE.
        direction: `"sendrecv"`, `"sendonly"`, `"recvonly"`, `"inactive"`.
        local, remote: `"host:port"`, as negotiated.
        source: `"host:port"` that media really came from; None when none came.
        send, receive: Metrics by catalogue key; what is missing is reported as None.
        series: Their course, None when it was not sampled.
    """

    kind: str = "audio"
    codec: str = ""
    profile: str = "RTP/AVP"
    keying: Keying = Keying.NONE
    suite: str | None = None
    rtcp_mux: bool = False
    feedback: bool = False
    ice: bool = False
    direction: str = "sendrecv"
    local: str = ""
    remote: str = ""
    source: str | None = None
    send: Mapping[str, Value] = field(default_factory=dict)
    receive: Mapping[str, Value] = field(default_factory=dict)
    series: StreamSeries | None = None

    @property
    def secure(self) -> bool:
        """Whether its media was encrypted."""
        return self.keying is not Keying.NONE

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form; `send` and `receive` have every key of the catalogue."""
        return {
            "kind": self.kind,
            "codec": self.codec,
            "profile": self.profile,
            "keying": self.keying.value,
            "suite": self.suite,
            "rtcp_mux": self.rtcp_mux,
            "feedback": self.feedback,
            "ice": self.ice,
            "direction": self.direction,
            "local": self.local,
            "remote": self.remote,
            "source": self.source,
            "send": _complete(self.send, stream_keys(Direction.SEND)),
            "receive": _complete(self.receive, stream_keys(Direction.RECEIVE)),
            "series": (self.series or StreamSeries()).to_dict(),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class CallReport:
    """What happened in a call.

    Attributes:
        phase: How far it got.
        outcome: How it ended; None while it runs.
        final_status_code: The last definitive response to the INVITE, or None.
        error: What ended it, or None.
        signaling: The path of the signalling.
        timing: One-shot timings.
        media: Its streams.
        counters: Counters and per-call values by catalogue key; counters not given are 0.
        diagnosis: What the checks found.
        party: URI of the other party; empty when unknown.
    """

    phase: Phase
    outcome: Outcome | None = None
    final_status_code: int | None = None
    error: ErrorReport | None = None
    signaling: SignalingReport = field(default_factory=SignalingReport)
    timing: CallTiming = field(default_factory=CallTiming)
    media: tuple[StreamReport, ...] = ()
    counters: Mapping[str, Value] = field(default_factory=dict)
    diagnosis: tuple[Finding, ...] = ()
    party: str = ""

    @property
    def call_result(self) -> CallResult | None:
        """What became of the INVITE, by its final status code."""
        return call_result(self.final_status_code)

    def to_dict(self) -> dict[str, Any]:
        """The report as plain values, ready for JSON."""
        result = self.call_result
        return {
            "phase": self.phase.name,
            "outcome": None if self.outcome is None else self.outcome.value,
            "call_result": None if result is None else result.value,
            "final_status_code": self.final_status_code,
            "error": None if self.error is None else self.error.to_dict(),
            "signaling": self.signaling.to_dict() | {"party": self.party},
            "timing": _rounded(self.timing.metrics()),
            "media": [stream.to_dict() for stream in self.media],
            "counters": _rounded({**_NO_COUNTS, **self.counters}),
            "diagnosis": [finding.to_dict() for finding in self.diagnosis],
            "health": evaluate_report(self).to_dict(),
        }

    def __str__(self) -> str:
        return report_text(self)


def _rounded(values: Mapping[str, Value]) -> dict[str, Value]:
    return {
        key: round(value, _DECIMALS) if isinstance(value, float) else value
        for key, value in values.items()
    }


def _complete(values: Mapping[str, Value], keys: tuple[str, ...]) -> dict[str, Value]:
    """All the keys in their order, then what else was given."""
    return _rounded({**dict.fromkeys(keys), **values})
