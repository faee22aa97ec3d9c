"""What offer and answer agreed on, as the media engine needs it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from callmeter.errors import ConfigurationError
from callmeter.media.codecs import find_codec
from callmeter.rtp.comfort_noise import PAYLOAD_TYPE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from callmeter.media.codecs import AudioCodec
    from callmeter.srtp.context import SrtpContext

__all__ = ["PHASE_MS", "RtpParameters", "StreamParameters"]

PHASE_MS: Final = 5
"""The engine's finest step; packet times are multiples of it."""
MAX_PTIME_MS: Final = 120
MAX_PAYLOAD_TYPE: Final = 127
MAX_PORT: Final = 65_535


@dataclass(frozen=True, kw_only=True)
class RtpParameters:
    """What every negotiated stream has, whatever it carries.

    Attributes:
        codec: Encoding name, to send.
        payload_type: Its number, to send.
        receive_payload_types: Number to codec of what may arrive; empty means `payload_type`.
        clock_rate: RTP timestamp units a second.
        remote: IP address and port media goes to; port 0 sends nothing.
        remote_rtcp: The same for RTCP; None: that of `remote` under mux, else the next port.
        rtcp_mux: RTP and RTCP share the port (RFC 5761).
        send, receive: The direction, seen from here.
        srtp_send: Protects everything that leaves, RTCP and the last BYE included.
        srtp_receive: Nothing that it does not authenticate is accepted. The same object in a
            later `start` keeps its state; the stream closes both when it is done with them.
        srtp_rtcp: Contexts to send and to receive RTCP with, where it has keys of its own.
        symmetric: Send to where media really comes from (RFC 4961).
        feedback: RTCP feedback agreed on, as the words of a=rtcp-fb: `"nack"`, `"nack pli"` ...
        extended_reports: What the peer wants to be told in extended reports, by the words of
            a=rtcp-xr: `"voip-metrics"`, `"rcvr-rtt"`.
        reduced_size: RTCP packets need not begin with a report (RFC 5506).
        bandwidth: Of the session in kbit/s, by which its reports come more often than every five
            seconds; None is that of audio, by which they do not.

    Raises:
        ConfigurationError: A value that cannot be sent.
    """

    codec: str
    payload_type: int
    remote: tuple[str, int]
    receive_payload_types: Mapping[int, str] = field(default_factory=dict)
    clock_rate: int = 8000
    remote_rtcp: tuple[str, int] | None = None
    rtcp_mux: bool = False
    send: bool = True
    receive: bool = True
    srtp_send: SrtpContext | None = None
    srtp_receive: SrtpContext | None = None
    srtp_rtcp: tuple[SrtpContext, SrtpContext] | None = None
    symmetric: bool = True
    feedback: frozenset[str] = frozenset()
    extended_reports: frozenset[str] = frozenset()
    reduced_size: bool = False
    bandwidth: int | None = None

    def __post_init__(self) -> None:
        for number in (self.payload_type, *self.receive_payload_types):
            if not 0 <= number <= MAX_PAYLOAD_TYPE:
                raise ConfigurationError(f"{number} is no RTP payload type")
        for _, port in (self.remote, self.remote_rtcp or self.remote):
            if not 0 <= port <= MAX_PORT:
                raise ConfigurationError(f"{port} is no UDP port")

    @property
    def accepted(self) -> dict[int, str]:
        """Payload types of codecs that may arrive, and these codecs."""
        return dict(self.receive_payload_types) or {self.payload_type: self.codec}

    @property
    def accepted_events(self) -> dict[int, int]:
        """Payload types of RFC 4733 that may arrive, and their clock rates."""
        return {}

    @property
    def accepted_noise(self) -> frozenset[int]:
        """Payload types of RFC 3389 that may arrive."""
        return frozenset()

    def clock_rate_of(self, codec: str) -> int:
        """Timestamp units a second of a codec that may arrive."""
        del codec
        return self.clock_rate

    @property
    def rtcp_destination(self) -> tuple[str, int]:
        """Where RTCP goes."""
        if self.remote_rtcp is not None:
            return self.remote_rtcp
        host, port = self.remote
        return (host, port) if self.rtcp_mux else (host, min(port + 1, MAX_PORT))


@dataclass(frozen=True, kw_only=True)
class StreamParameters(RtpParameters):
    """One negotiated audio stream: `RtpParameters`, and what only audio has.

    Attributes:
        codec: `"PCMU"`, `"PCMA"`, `"G722"` or `"opus"`, to send.
        ptime_ms: Length of a sent packet, a multiple of 5.
        receive_ptime_ms: Length that the peer was asked for; None is that of a sent one.
        coding: The codec with settings of its own, to send; None takes its usual ones.
        telephone_event: Payload type of RFC 4733 to send, or None.
        telephone_event_rate: Its clock rate; None: that of the audio.
        receive_telephone_event: Payload type of RFC 4733 that may arrive, or None.
        receive_telephone_events: Payload types of RFC 4733 that may arrive, and their clock rates,
            where there are several.
        comfort_noise: Payload type of RFC 3389 to send in place of silence, or None.
        receive_comfort_noise: Payload type of RFC 3389 that may arrive, besides the static 13.

    Raises:
        ConfigurationError: A value that cannot be sent.
    """

    ptime_ms: int = 20
    receive_ptime_ms: int | None = None
    coding: AudioCodec | None = None
    telephone_event: int | None = None
    telephone_event_rate: int | None = None
    receive_telephone_event: int | None = None
    receive_telephone_events: Mapping[int, int] = field(default_factory=dict)
    comfort_noise: int | None = None
    receive_comfort_noise: int | None = None

    def __post_init__(self) -> None:
        codec = self.encoding
        if self.clock_rate != codec.clock_rate:
            raise ConfigurationError(f"{codec.name} has a clock rate of {codec.clock_rate} Hz")
        for name in self.receive_payload_types.values():
            find_codec(name)
        if self.ptime_ms % PHASE_MS or not PHASE_MS <= self.ptime_ms <= MAX_PTIME_MS:
            raise ConfigurationError(
                f"a ptime of {self.ptime_ms} ms is not a multiple of 5 from 5 to {MAX_PTIME_MS}"
            )
        super().__post_init__()

    @property
    def encoding(self) -> AudioCodec:
        """What encodes."""
        return self.coding or find_codec(self.codec)

    @property
    def rests(self) -> bool:
        """Whether silence is left out but for a packet once in a while."""
        return self.comfort_noise is not None or self.encoding.discontinuous

    @property
    def units_per_frame(self) -> int:
        """Timestamp units of a sent packet."""
        return self.clock_rate * self.ptime_ms // 1000

    @property
    def samples_per_frame(self) -> int:
        """Samples of a sent packet."""
        return self.encoding.sample_rate * self.ptime_ms // 1000

    @property
    def accepted_events(self) -> dict[int, int]:
        """Payload types of RFC 4733 that may arrive, and their clock rates."""
        events = dict(self.receive_telephone_events)
        if self.receive_telephone_event is not None:
            events.setdefault(self.receive_telephone_event, self.clock_rate)
        return events

    @property
    def accepted_noise(self) -> frozenset[int]:
        """Payload types of RFC 3389 that may arrive."""
        return frozenset({PAYLOAD_TYPE, self.receive_comfort_noise or PAYLOAD_TYPE})

    def clock_rate_of(self, codec: str) -> int:
        """Timestamp units a second of a codec that may arrive."""
        return find_codec(codec).clock_rate
