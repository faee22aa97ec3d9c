"""Settings: frozen, checked at construction, picklable.

Every value is checked when it is given, so that a wrong one fails in the line that wrote it.
Durations are seconds, sizes octets, unless the name says otherwise.
"""

from __future__ import annotations

import ipaddress
import warnings
from dataclasses import dataclass, field, replace
from enum import Enum, StrEnum
from typing import Self

from callmeter import certificates
from callmeter.codec_config import Codec, OpusConfig
from callmeter.errors import ConfigurationError
from callmeter.jitter_buffer_config import JitterBufferSettings
from callmeter.session_config import MAX_REDIRECTS, Extension, SessionTimerConfig, TransferPolicy
from callmeter.setting_types import check_types
from callmeter.setting_words import settle
from callmeter.srtp_config import (
    DEFAULT_SUITES,
    DtlsConfig,
    SrtpConfig,
    SrtpMethod,
    SrtpPolicy,
    SrtpSuite,
)
from callmeter.track_settings import check_dscp, check_feedback, read_codecs
from callmeter.video_config import VideoCodec, VideoConfig

__all__ = [
    "DEFAULT_SUITES",
    "CaptureConfig",
    "ClientCertificates",
    "Codec",
    "ConnectionLimits",
    "Credentials",
    "DtlsConfig",
    "EndpointConfig",
    "Extension",
    "HepConfig",
    "JitterBufferSettings",
    "LimitConfig",
    "MediaConfig",
    "OpusConfig",
    "SessionTimerConfig",
    "SrtpConfig",
    "SrtpMethod",
    "SrtpPolicy",
    "SrtpSuite",
    "StackConfig",
    "TimerConfig",
    "TlsConfig",
    "TlsVerify",
    "TransferPolicy",
    "Transport",
    "VideoCodec",
    "VideoConfig",
]

MAX_PORT = 65_535


class Transport(StrEnum):
    """How SIP messages travel; `AUTO` asks the DNS (RFC 3263)."""

    UDP = "udp"
    TCP = "tcp"
    TLS = "tls"
    WSS = "wss"
    AUTO = "auto"

    @property
    def default_port(self) -> int:
        """Port when a URI names none: 5060, 5060, 5061, 443; 5060 for AUTO's last resort."""
        return _DEFAULT_PORTS[self]


_DEFAULT_PORTS = {
    Transport.UDP: 5060,
    Transport.TCP: 5060,
    Transport.TLS: 5061,
    Transport.WSS: 443,
    Transport.AUTO: 5060,
}


class TlsVerify(Enum):
    """How a server certificate is verified."""

    SYSTEM = "system"
    """Against the operating system's trust store."""
    CUSTOM = "custom"
    """Against the given CA only."""
    SKIP = "skip"
    """Not at all: a last resort."""


class ClientCertificates(Enum):
    """What a TLS server of ours wants of its clients."""

    IGNORED = "ignored"
    """Clients are not asked for a certificate."""
    OPTIONAL = "optional"
    """Clients are asked; one that is given has to be valid."""
    REQUIRED = "required"
    """No valid certificate, no connection: mutual TLS."""


@dataclass(frozen=True, kw_only=True)
class TlsConfig:
    """TLS for SIP: PEM *content*, not paths; checked when it is given.

    A certificate that expires within 30 days is reported by
    `callmeter.certificates.CertificateWarning`.

    Attributes:
        verify: How the server certificate is verified.
        ca: PEM of the CA certificates to trust: those of servers under `CUSTOM`, and those of
            clients. The own certificate has to chain to them as well.
        certificate: PEM of the own certificate, followed by those that issued it.
        private_key: PEM of its key, not encrypted.
        strict_wildcards: Take no certificate for `*.example.com` (RFC 5922 section 7.2).
        client_certificates: What our own TLS server wants of its clients; needs `ca`.
    """

    verify: TlsVerify = TlsVerify.SYSTEM
    ca: str | None = None
    certificate: str | None = None
    private_key: str | None = field(default=None, repr=False)
    strict_wildcards: bool = False
    client_certificates: ClientCertificates = ClientCertificates.IGNORED

    def __post_init__(self) -> None:
        settle(self, verify=TlsVerify, client_certificates=ClientCertificates)
        check_types(self)
        if self.verify is TlsVerify.CUSTOM and not self.ca:
            raise ConfigurationError("TlsVerify.CUSTOM needs the ca to trust")
        if self.client_certificates is not ClientCertificates.IGNORED and not self.ca:
            raise ConfigurationError("client_certificates are checked against ca: give one")
        if (self.certificate is None) != (self.private_key is None):
            raise ConfigurationError("certificate and private_key go together")
        if self.ca is not None or self.certificate is not None:
            for text in self._check_pem():
                warnings.warn(text, certificates.CertificateWarning, stacklevel=3)

    def _check_pem(self) -> tuple[str, ...]:
        found: tuple[str, ...] = ()
        if self.ca is not None:
            found += certificates.check_authorities(self.ca)
        if self.certificate is not None and self.private_key is not None:
            found += certificates.check_own_certificate(self.certificate, self.private_key, self.ca)
        return found


@dataclass(frozen=True)
class Credentials:
    """Who to be when a server asks (RFC 3261 section 22).

    Attributes:
        username: Digest user name; may differ from the user of the address of record.
        password: Never shown, logged or put into a message.
        realm: Answer only challenges of this realm; None takes the realm of the
            account's own registrar or proxy.
    """

    username: str
    password: str = field(repr=False)
    realm: str | None = None

    def __post_init__(self) -> None:
        check_types(self)
        for name in ("username", "password", "realm"):
            value = getattr(self, name)
            if value is not None and any(c in value for c in "\r\n\0"):
                raise ConfigurationError(f"{name} may not contain a line break or NUL")
        if not self.username:
            raise ConfigurationError("username may not be empty")


@dataclass(frozen=True, kw_only=True)
class CaptureConfig:
    """A capture of what goes over the media ports of each call, for `call.trace("call.pcapng")`.

    Attributes:
        octets: Memory for one call; when it is used up, what follows is only counted.
        decrypt: Write RTP and RTCP in clear in place of SRTP that the agreed keys open.
        secrets: Write the secrets of DTLS and SRTP into the file: who has it can read and forge
            the media of the call.
    """

    octets: int = 16 * 1024 * 1024
    decrypt: bool = True
    secrets: bool = False

    def __post_init__(self) -> None:
        check_types(self)
        if self.octets < 1:
            raise ConfigurationError("octets of a capture is at least 1")


@dataclass(frozen=True, kw_only=True)
class MediaConfig:
    """What an endpoint offers and accepts for its audio track.

    Attributes:
        codecs: In order of preference, as `Codec` or by name.
        ptime: Packet time in milliseconds, unless the peer asks for another one.
        opus: How Opus is sent.
        comfort_noise: Offer comfort noise (RFC 3389), and send it in place of silence.
        srtp: Media encryption.
        rtcp_mux: Offer RTP and RTCP on one port (RFC 5761), whatever the keys. None does so with
            DTLS alone, where a second port needs a second handshake.
        feedback: Use the AVPF profile (RFC 4585).
        feedback_messages: What is offered and taken as a=rtcp-fb under AVPF: `"nack"`,
            `"nack pli"`, `"ccm fir"` ...; no feedback message is sent that the peer did not agree
            to.
        extended_reports: Ask for RTCP extended reports, VoIP metrics and reference times, and send
            them to peers that ask for them (RFC 3611).
        jitter_buffer: How the jitter buffer behaves that what arrives is measured by, adaptive
            unless said; None measures none. Nothing is delayed by it.
        ice: Offer ICE, and take it where it is offered, as a lite agent (RFC 8445 section 2.5):
            the peer finds the way to the media ports, which browsers insist on.
        telephone_event: Offer RFC 4733 DTMF.
        telephone_event_payload_type: Its payload type in offers.
        address: Address to bind and to announce; None takes the one the SIP transport uses.
        ports: First and last media port to use; (0, 0) leaves the choice to the system.
        shared_port: Use one media port for RTP and RTCP of all calls of a stack with this setting,
            told apart by source address, SSRC and key: for load generation. A call that could not
            be told apart gets ports of its own; so does one with ICE, a capture or a peer without
            rtcp-mux.
        symmetric: Learn the peer's real source address (plain RTP: in the first five packets
            and then locked; SRTP: from authenticated packets only).
        dscp: DiffServ code point of media packets, RTCP included: 46 is EF, the usual one of audio
            (RFC 4594). None leaves packets unmarked.
        capture: Keep what goes over the ports from the first datagram on, or None.
        deferred: Offer the track as inactive at first; `call.update()` activates it.
        video: Offer video beside the audio, and take it where it is offered; None refuses it.
    """

    codecs: tuple[Codec | str, ...] = (Codec.PCMU, Codec.PCMA)
    ptime: int = 20
    opus: OpusConfig = field(default_factory=OpusConfig)
    comfort_noise: bool = False
    srtp: SrtpConfig = field(default_factory=SrtpConfig)
    rtcp_mux: bool | None = None
    feedback: bool = False
    feedback_messages: tuple[str, ...] = ("nack",)
    extended_reports: bool = True
    jitter_buffer: JitterBufferSettings | None = field(default_factory=JitterBufferSettings)
    ice: bool = False
    telephone_event: bool = True
    telephone_event_payload_type: int = 101
    address: str | None = None
    ports: tuple[int, int] = (0, 0)
    shared_port: bool = False
    symmetric: bool = True
    dscp: int | None = 46
    capture: CaptureConfig | None = None
    deferred: bool = False
    video: VideoConfig | None = None

    def __post_init__(self) -> None:
        check_types(self)
        read_codecs(self, Codec)
        check_dscp(self.dscp)
        check_feedback(self.feedback_messages)
        if self.ptime not in range(10, 61, 10):
            raise ConfigurationError("ptime is 10, 20, 30, 40, 50 or 60 ms")
        if self.telephone_event_payload_type not in range(96, 128):
            raise ConfigurationError("telephone_event_payload_type is 96 to 127")
        if self.shared_port and self.rtcp_mux is False:
            raise ConfigurationError("a shared port carries RTP and RTCP: it needs rtcp_mux")
        first, last = self.ports
        if (first, last) != (0, 0) and not 0 < first <= last <= MAX_PORT:
            raise ConfigurationError("ports is (first, last) within 1 to 65535, or (0, 0)")
        if self.address is not None:
            _check_address(self.address)

    @classmethod
    def lab(cls) -> Self:
        """Internal lab with no security requirements: clear RTP."""
        return cls()

    @classmethod
    def sip_trunk(cls) -> Self:
        """A SIP trunk that requires SRTP: SDES with policy Required."""
        return cls(srtp=SrtpConfig(method=SrtpMethod.SDES, policy=SrtpPolicy.REQUIRED))

    @classmethod
    def enterprise(cls) -> Self:
        """Enterprise PBX with compliance requirements: SDES; use it with `Transport.TLS`."""
        return cls(srtp=SrtpConfig(method=SrtpMethod.SDES, policy=SrtpPolicy.REQUIRED))

    @classmethod
    def webrtc_gateway(cls) -> Self:
        """WebRTC gateway or browser: DTLS-SRTP, AVPF, RTCP-MUX, ICE."""
        return cls(
            srtp=SrtpConfig(method=SrtpMethod.DTLS, policy=SrtpPolicy.REQUIRED),
            rtcp_mux=True,
            feedback=True,
            ice=True,
        )

    @classmethod
    def unknown_peer(cls) -> Self:
        """Unknown remote capabilities: SDES and DTLS in one offer, clear media as last resort."""
        return cls(
            srtp=SrtpConfig(method=SrtpMethod.DUAL, policy=SrtpPolicy.OFFERED), rtcp_mux=True
        )


@dataclass(frozen=True, kw_only=True)
class TimerConfig:
    """RFC 3261 timer values in seconds (section 17.1.1.1, table 4).

    Attributes:
        t1: Round-trip estimate.
        t2: Longest interval between retransmissions of non-INVITE requests and 2xx.
        t4: How long a message stays in the network.
        ring_timeout: How long `call()` waits for an answer before it sends CANCEL.
    """

    t1: float = 0.5
    t2: float = 4.0
    t4: float = 5.0
    ring_timeout: float = 180.0

    def __post_init__(self) -> None:
        check_types(self)
        if not 0 < self.t1 <= self.t2:
            raise ConfigurationError("t1 is above 0 and at most t2")
        if self.t4 <= 0 or self.ring_timeout <= 0:
            raise ConfigurationError("t4 and ring_timeout are above 0")


@dataclass(frozen=True, kw_only=True)
class LimitConfig:
    """Caps: over one there is a named answer or a counted drop, never growth.

    Attributes:
        message: Octets of one SIP message.
        server_transactions: Live server transactions; a request beyond gets a stateless 503.
        dialogs: Live dialogs.
        media_ports: Live media sockets.
        loop_delay: Seconds by which the event loop may be late for some seconds on end; above,
            requests outside dialogs get a stateless 503.
        tick_delay: Seconds by which half of the media ticks may be late for some seconds on end;
            above, the same.
    """

    message: int = 65_535
    server_transactions: int = 10_000
    dialogs: int = 5_000
    media_ports: int = 16_384
    loop_delay: float = 0.1
    tick_delay: float = 0.05

    def __post_init__(self) -> None:
        check_types(self)
        for name, value in vars(self).items():
            if name not in {"loop_delay", "tick_delay"} and value < 1:
                raise ConfigurationError(f"{name} is at least 1")
        for name in ("loop_delay", "tick_delay"):
            if getattr(self, name) <= 0:
                raise ConfigurationError(f"{name} is above 0")


@dataclass(frozen=True, kw_only=True)
class ConnectionLimits:
    """Caps and time-outs of TCP, TLS and WebSocket connections.

    Attributes:
        connect: Seconds until an outgoing connection is open, TLS included.
        accept_handshake: Seconds until an accepted one is open. By default no stalled handshake
            lives for 5 s, even when a thousand come at once.
        message: Seconds until a message is whole after its first octet. By default none lives for
            10 s, even when ten thousand end at once.
        idle: Seconds of silence after which an accepted connection is closed.
        keep_alive: Seconds between keep-alives at most (RFC 5626 section 4.4.1).
        pong: Seconds until a keep-alive is answered.
        write_queue: Octets that may wait for a peer that does not read.
        inbound: Accepted connections.
        inbound_per_host: Accepted connections from one address.
        unfinished_handshakes: Accepted connections that are not open yet.
    """

    connect: float = 10.0
    accept_handshake: float = 4.0
    message: float = 9.0
    idle: float = 600.0
    keep_alive: float = 120.0
    pong: float = 10.0
    write_queue: int = 262_144
    inbound: int = 1_000
    inbound_per_host: int = 50
    unfinished_handshakes: int = 100

    def __post_init__(self) -> None:
        check_types(self)
        for name, value in vars(self).items():
            if value <= 0:
                raise ConfigurationError(f"{name} is above 0")


@dataclass(frozen=True)
class HepConfig:
    """A collector that gets a copy of every SIP message, secrets removed, by HEP version 3.

    Attributes:
        collector: Where it listens, `"192.0.2.9:9060"` or `"[2001:db8::9]:9060"`, by UDP.
        agent: Number of this capture agent.
        node: Its name, or None.
        password: What the collector wants to hear, or None; it travels in clear.
    """

    collector: str
    agent: int = field(default=0, kw_only=True)
    node: str | None = field(default=None, kw_only=True)
    password: str | None = field(default=None, kw_only=True, repr=False)

    def __post_init__(self) -> None:
        check_types(self)
        if self.agent not in range(2**32):
            raise ConfigurationError("agent is a number of 32 bits")
        _, port = self.address
        if port not in range(1, MAX_PORT + 1):
            raise ConfigurationError(f"collector {self.collector!r} is not an address and a port")

    @property
    def address(self) -> tuple[str, int]:
        """IP address and port of the collector."""
        host, _, port = self.collector.rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        _check_address(host)
        return host, int(port) if port.isascii() and port.isdigit() else 0


@dataclass(frozen=True, kw_only=True)
class StackConfig:
    """What many endpoints share: addresses, timers, limits.

    Attributes:
        bind: Address the SIP transports are bound to.
        port: SIP port of UDP and TCP; 0 takes a free one.
        transports: Transports that listen; the others can still call out.
        tls_port: Port TLS listens on; 0 takes a free one.
        wss_port: Port WSS listens on; 0 takes a free one.
        tls: Certificate and client trust of TLS and WSS listeners.
        timers: RFC 3261 timer values.
        limits: Caps.
        connections: Caps and time-outs of connections.
        hep: Collector of all SIP messages, or None.
        name_servers: `"host"` or `"host:port"` of name servers; empty takes the system's.
        segmentation: Media of many calls from a shared port to one address leaves in large
            pieces, which the kernel cuts (UDP GSO), and so do messages of signalling load. Off, a
            capture on this host sees what the network sees.
        io_uring: Media of many calls with a port each goes through io_uring, where Linux has one.
    """

    bind: str = "0.0.0.0"  # noqa: S104  a SIP phone listens; the address is a setting
    port: int = 0
    transports: tuple[Transport, ...] = (Transport.UDP, Transport.TCP)
    tls_port: int = 0
    wss_port: int = 0
    tls: TlsConfig = field(default_factory=TlsConfig)
    timers: TimerConfig = field(default_factory=TimerConfig)
    limits: LimitConfig = field(default_factory=LimitConfig)
    connections: ConnectionLimits = field(default_factory=ConnectionLimits)
    name_servers: tuple[str, ...] = ()
    hep: HepConfig | None = None
    segmentation: bool = True
    io_uring: bool = True

    def __post_init__(self) -> None:
        settle(self, transports=Transport)
        check_types(self)
        _check_address(self.bind)
        for name in ("port", "tls_port", "wss_port"):
            if getattr(self, name) not in range(MAX_PORT + 1):
                raise ConfigurationError(f"{name} is 0 to 65535")
        if not self.transports:
            raise ConfigurationError("at least one transport is needed")
        if len(set(self.transports)) != len(self.transports):
            raise ConfigurationError("a transport is listed twice")


@dataclass(frozen=True)
class EndpointConfig:
    """One user agent.

    Attributes:
        aor: Address of record, `"sip:alice@example.com"`.
        credentials: For 401 and 407 challenges, or None.
        transport: How the registrar or outbound proxy is reached.
        outbound_proxy: `"host"`, `"host:port"` or a SIP URI; requests carry it as Route.
        registrar: SIP URI of the registrar; None takes the domain of `aor`.
        display_name: Shown in From.
        media: What is offered and accepted.
        tls: For TLS and WSS.
        expires: Seconds of registration asked for.
        user_agent: User-Agent and Server header.
        reliable_provisionals: Reliable provisional responses, by PRACK (RFC 3262).
        session_timer: Session timers (RFC 4028).
        redirects: How many 3xx of one call are followed, 0 to 5; beyond, the call is rejected.
        transfers: What becomes of a peer's wish to transfer a call.
        gruu: Use the URI that the registrar makes for this user agent as Contact (RFC 5627). The
            proxies of its domain have to know it in dialogs too.
    """

    aor: str
    credentials: Credentials | None = None
    transport: Transport = Transport.UDP
    outbound_proxy: str | None = field(default=None, kw_only=True)
    registrar: str | None = field(default=None, kw_only=True)
    display_name: str | None = field(default=None, kw_only=True)
    media: MediaConfig = field(default_factory=MediaConfig, kw_only=True)
    tls: TlsConfig = field(default_factory=TlsConfig, kw_only=True)
    expires: int = field(default=600, kw_only=True)
    user_agent: str = field(default="callmeter", kw_only=True)
    reliable_provisionals: Extension = field(default=Extension.SUPPORTED, kw_only=True)
    session_timer: SessionTimerConfig = field(default_factory=SessionTimerConfig, kw_only=True)
    redirects: int = field(default=MAX_REDIRECTS, kw_only=True)
    transfers: TransferPolicy = field(default=TransferPolicy.REFUSE, kw_only=True)
    gruu: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        settle(self, transport=Transport, reliable_provisionals=Extension, transfers=TransferPolicy)
        check_types(self)
        for name in ("aor", "outbound_proxy", "registrar"):
            if _holds_password(getattr(self, name) or ""):
                # It would be shown in messages, and sent in clear.
                raise ConfigurationError(f"{name} holds a password: give it as Credentials")
        scheme, _, rest = self.aor.partition(":")
        if scheme.lower() not in {"sip", "sips"} or not all(rest.rpartition("@")):
            raise ConfigurationError(
                f"aor {self.aor!r} is not an address of record such as 'sip:alice@example.com'"
            )
        for name in ("aor", "outbound_proxy", "registrar", "display_name", "user_agent"):
            value = getattr(self, name)
            if value is not None and any(c in value for c in "\r\n\0"):
                raise ConfigurationError(f"{name} may not contain a line break or NUL")
        if not 1 <= self.expires <= 2**31:
            raise ConfigurationError("expires is at least 1 second")
        if self.redirects not in range(MAX_REDIRECTS + 1):
            raise ConfigurationError(f"redirects is 0 to {MAX_REDIRECTS}")

    def with_media(self, **changes: object) -> EndpointConfig:
        """A copy whose media settings are changed: `config.with_media(rtcp_mux=True)`."""
        # `MediaConfig` looks at what each of them is.
        return replace(self, media=replace(self.media, **changes))  # type: ignore[arg-type]


def _check_address(text: str) -> None:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        raise ConfigurationError(f"{text!r} is not an IP address") from None


def _holds_password(uri: str) -> bool:
    """Whether a URI has one before its host; its scheme may be left out."""
    scheme, _, rest = uri.partition(":")
    user = (rest if scheme.lower() in {"sip", "sips"} else uri).rpartition("@")[0]
    return ":" in user and "://" not in user
