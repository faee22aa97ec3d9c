"""MediaNegotiation: what offer and answer agree on for one call's audio, keys included."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, TypeAlias

from callmeter.config import Codec, SrtpPolicy
from callmeter.errors import (
    CallmeterError,
    ConfigurationError,
    NegotiationError,
    NoCommonCodec,
    NoCommonSuite,
    ProfileMismatch,
    SrtpRequired,
)
from callmeter.media.dtls_keying import DtlsKeying
from callmeter.media.parameters import StreamParameters
from callmeter.media.sdes_keying import SdesKeying
from callmeter.sdp.attributes import Direction, Setup
from callmeter.sdp.codecs import formats_for, select_formats
from callmeter.sdp.offer_answer import NegotiationState, OfferAnswer, answer_direction
from callmeter.sdp.parser import parse_description
from callmeter.sdp.profiles import Keying, profile_for
from callmeter.sdp.tracks import TrackAnswer, TrackOffer
from callmeter.srtp.libsrtp import supported_suites

if TYPE_CHECKING:
    from collections.abc import Callable

    from callmeter.config import MediaConfig
    from callmeter.media.engine import MediaEngine
    from callmeter.media.statistics import StreamStatistics
    from callmeter.media.stream import MediaStream
    from callmeter.sdp.attributes import Fingerprint
    from callmeter.sdp.codecs import PayloadFormat
    from callmeter.sdp.profiles import RtpProfile
    from callmeter.sdp.remote_track import RemoteTrack
    from callmeter.srtp.context import SrtpContext
    from callmeter.srtp.dtls_certificate import DtlsCertificate
    from callmeter.srtp.sdes import CryptoLine

__all__ = ["MediaNegotiation", "check_media"]

Formats: TypeAlias = "tuple[PayloadFormat, ...]"

PTIMES = range(5, 121, 5)
"""Packet times in milliseconds that the engine can keep."""


def check_media(config: MediaConfig) -> None:
    """Refuse settings that this version cannot carry out.

    Raises:
        ConfigurationError: Naming the setting.
    """
    if config.srtp.enabled and not set(config.srtp.suites) & supported_suites():
        raise ConfigurationError(
            "this build of libsrtp has none of the suites: " + ", ".join(config.srtp.suites)
        )


class MediaNegotiation:
    """Offer and answer of one call's audio, its keys, and the stream they start.

    Attributes:
        ptime_ms: Length of a sent packet in milliseconds.
        codec: `"PCMU"` or `"PCMA"`, None before the answer.
        profile: RTP profile of the m= line as text, None before the answer.
        keying: `"none"`, `"sdes"` or `"dtls"`.
        suite: SRTP suite in use, or None.
        warnings: What was given up on the way, one sentence each.
    """

    def __init__(
        self,
        engine: MediaEngine,
        config: MediaConfig,
        address: str,
        *,
        entropy: Callable[[int], bytes],
        certificate: DtlsCertificate | None = None,
    ) -> None:
        self.config = config
        self._certificate = certificate
        self._dtls: DtlsKeying | None = None
        self._agreed: tuple[RemoteTrack, Formats, Formats] | None = None
        self._engine = engine
        self._address = config.address or address
        self._offer_answer = OfferAnswer(
            username="-",
            # RFC 8866 section 5.2: the session id fits a signed 63 bit number.
            session_id=1 + int.from_bytes(entropy(7), "big"),
            address=self._address,
        )
        self._stream: MediaStream | None = None
        self._final: StreamStatistics | None = None
        self._sdes = SdesKeying(config.srtp, entropy)
        self._send_context: SrtpContext | None = None
        self._receive_context: SrtpContext | None = None
        self._direction = Direction.SENDRECV
        self._wanted = Direction.SENDRECV
        self._wanted_before = Direction.SENDRECV
        self._remote: RemoteTrack | None = None
        self._local: str | None = None
        self._begun = False
        self._in_clear = False
        self.ptime_ms = config.ptime
        self.codec: str | None = None
        self.profile: str | None = None
        self.warnings: list[str] = []

    # what was agreed

    @property
    def keying(self) -> str:
        """`"none"`, `"sdes"` or `"dtls"`: how the keys in use were exchanged."""
        if self._send_context is None:
            return "none"
        return "sdes" if self._sdes.in_use else "dtls"

    @property
    def suite(self) -> str | None:
        """Name of the SRTP suite in use, or None for clear media."""
        if self._sdes.local is not None:
            return self._sdes.local.profile.name
        profile = None if self._dtls is None else self._dtls.profile
        return None if profile is None else profile.name

    @property
    def secure(self) -> bool:
        """Whether every media packet of both directions goes through SRTP."""
        return self._send_context is not None and self._receive_context is not None

    @property
    def direction(self) -> str:
        """`"sendrecv"`, `"sendonly"`, `"recvonly"` or `"inactive"`, as seen from here."""
        return str(self._direction.value)

    @property
    def local(self) -> str | None:
        """Own `"host:port"` for RTP."""
        return self._local if self._stream is None else self._local_of(self._stream)

    @staticmethod
    def _local_of(stream: MediaStream) -> str:
        return _host_port(stream.address, stream.port)

    @property
    def remote(self) -> str | None:
        """The peer's `"host:port"` for RTP, from its session description."""
        if self._remote is None:
            return None
        return _host_port(self._remote.address, self._remote.port)

    @property
    def rtcp_mux(self) -> bool:
        """Whether RTP and RTCP share a port."""
        return self._remote is not None and self._muxes(self._remote)

    def _muxes(self, track: RemoteTrack) -> bool:
        return self._wants_mux and track.rtcp_mux

    @property
    def feedback(self) -> bool:
        """Whether AVPF was agreed on."""
        profile = None if self._remote is None else self._remote.profile
        return profile is not None and profile.feedback

    @property
    def on_hold(self) -> bool:
        """Whether the direction agreed on is other than both ways."""
        return self._remote is not None and self._direction is not Direction.SENDRECV

    @property
    def rehandshakes(self) -> int:
        """DTLS handshakes completed after the first (`dtls_rehandshakes`)."""
        return 0 if self._dtls is None else self._dtls.rehandshakes

    @property
    def keys_pending(self) -> bool:
        """Whether media waits for the DTLS handshake."""
        return self._agreed is not None and self._dtls is not None and not self._dtls.established

    async def keyed(self) -> None:
        """Wait until media may flow: at once, or after the DTLS handshake.

        Raises:
            MediaSecurityError: `DtlsTimeout`, `FingerprintMismatch`, `DtlsHandshakeFailed`.
        """
        if self._dtls is not None:
            await self._dtls.wait()

    # offer and answer

    @property
    def _wants_mux(self) -> bool:
        # One DTLS association keys one port: without mux RTCP needs another.
        return self.config.rtcp_mux or self._offers_dtls

    @property
    def _offers_dtls(self) -> bool:
        srtp = self.config.srtp
        return srtp.enabled and srtp.method.offers_dtls and not self._in_clear

    @property
    def offering(self) -> bool:
        """Whether an offer of ours waits for its answer."""
        return self._offer_answer.state is NegotiationState.LOCAL_OFFER

    def fall_back(self, status: int) -> bool:
        """Give up SRTP for the next offer, if the policy is Offered and keys were offered.

        Args:
            status: The response that refused the offer.
        """
        offered = bool(self._sdes.offered) or self._offers_dtls
        if self.config.srtp.policy is not SrtpPolicy.OFFERED or not offered:
            return False
        self.rollback()
        self._sdes.offered = ()
        self._in_clear = True
        self._warn(f"the peer refused SRTP with {status}: the media is not encrypted")
        return True

    def create_offer(self, direction: Direction = Direction.SENDRECV) -> bytes:
        """The session description of an INVITE or re-INVITE.

        Raises:
            TransportError: No media port is free.
        """
        stream = self._open(rtcp_mux=False)
        srtp = self.config.srtp
        self._wanted_before, self._wanted = self._wanted, direction
        first = srtp.method.offers_sdes and srtp.enabled and self._is_first and not self._in_clear
        if self._sdes.in_use or first:
            self._sdes.create_offer()
        fingerprints = self._own_fingerprints()
        keying = Keying.of(sdes=bool(self._sdes.offered), dtls=bool(fingerprints))
        track = TrackOffer(
            port=stream.port,
            address=self._address,
            formats=self._formats(),
            profile=self._profile(keying),
            direction=direction,
            ptime=self.config.ptime,
            rtcp_mux=self._wants_mux,
            rtcp_port=stream.rtcp_port,
            crypto=tuple(line.to_attribute() for line in self._sdes.offered),
            fingerprints=fingerprints,
        )
        return self._offer_answer.create_offer([track]).to_bytes()

    def _profile(self, keying: Keying) -> RtpProfile:
        """Of an offer: what the keys ask for, and from then on what was agreed."""
        if self._remote is not None and self._remote.profile is not None:
            return self._remote.profile
        config = self.config
        return profile_for(keying, feedback=config.feedback, osrtp=config.srtp.osrtp)

    def accept_answer(self, body: bytes) -> None:
        """Take the answer and start the media.

        Raises:
            SdpSyntaxError: The answer cannot be read.
            NegotiationError: Nothing in common.
            MediaSecurityError: The keys in the answer are not usable.
        """
        try:
            tracks = self._offer_answer.receive_answer(parse_description(body))
        except CallmeterError:
            self.rollback()
            raise
        track = next((track for track in tracks if not track.rejected), None)
        if track is None:
            raise NoCommonCodec("the answer refuses every track")
        self._check(track, track.formats)
        self._accept_keys(track)
        self._direction = track.direction.reversed
        # The answer's numbers are what it takes, the offer's what it sends (RFC 3264 section 5.1).
        self._agree(track, track.formats, self._formats(), Setup.ACTPASS)

    def accept_offer(self, body: bytes) -> bytes:
        """Take an offer, start the media, return the answer.

        Raises:
            SdpSyntaxError: The offer cannot be read.
            NegotiationError: Nothing in common: answer 488.
            MediaSecurityError: The keys in the offer are not usable.
            TransportError: No media port is free.
        """
        tracks = self._offer_answer.receive_offer(parse_description(body))
        try:
            return self._answer(tracks)
        except CallmeterError:
            self._close_offer()
            raise

    def _answer(self, tracks: list[RemoteTrack]) -> bytes:
        chosen = next(
            (track for track in tracks if track.kind == "audio" and not track.rejected), None
        )
        if chosen is None:
            raise NoCommonCodec("the offer has no audio track that can be used")
        formats = select_formats(chosen.formats, self._formats())
        if not any(item.encoding.upper() in Codec.__members__ for item in formats):
            offered = ", ".join(item.encoding for item in chosen.formats)
            raise NoCommonCodec(f"none of the codecs offered is known here: {offered}")
        self._check(chosen, formats)
        by_dtls = self._chooses_dtls(chosen)
        setup = self._answered_setup(chosen) if by_dtls else None
        crypto = None if by_dtls else self._choose_keys(chosen)
        mux = self._muxes(chosen)
        stream = self._open(rtcp_mux=mux)
        self._direction = answer_direction(chosen.direction, self._wanted)
        answer = TrackAnswer(
            port=stream.port,
            address=self._address,
            formats=formats,
            direction=self._direction,
            ptime=self.config.ptime,
            rtcp_mux=mux,
            rtcp_port=None if mux else stream.rtcp_port,
            crypto=() if crypto is None else (crypto.to_attribute(),),
            fingerprints=self._own_fingerprints() if by_dtls else (),
            setup=setup,
        )
        description = self._offer_answer.create_answer(
            [answer if track is chosen else None for track in tracks]
        )
        self._agree(chosen, formats, formats, setup)
        return description.to_bytes()

    def rollback(self) -> None:
        """An offer of ours was refused: what was agreed before stands."""
        self._wanted = self._wanted_before
        self._close_offer()

    def _close_offer(self) -> None:
        if self._offer_answer.offer is not None:
            self._offer_answer.rollback()

    def _check(self, track: RemoteTrack, formats: tuple[PayloadFormat, ...]) -> None:
        """Refuse what no stream can be started with, while nothing has been changed."""
        if not any(_is_voice(item) for item in formats):
            raise NoCommonCodec("the answer has no audio codec that was offered")
        version, own = _version(track.address), _version(self._address)
        if version is None:
            raise NegotiationError(f"the media address {track.address!r} is not an IP address")
        if version != own:
            raise NegotiationError(
                f"the media address {track.address} is IPv{version}, and media here is IPv{own}"
            )

    def _formats(self) -> tuple[PayloadFormat, ...]:
        config = self.config
        event = config.telephone_event_payload_type if config.telephone_event else None
        return formats_for(config.codecs, telephone_event_payload_type=event)

    # keys

    def _accept_keys(self, track: RemoteTrack) -> None:
        srtp = self.config.srtp
        if not self._sdes.offered and not self._offers_dtls:
            return
        if track.keying.dtls:
            self._sdes.offered = ()
            return
        if not track.keying.sdes:
            if srtp.policy is SrtpPolicy.REQUIRED:
                raise SrtpRequired(
                    f"the answer has no {self._wanted_keys}, and the SRTP policy is Required"
                )
            if self.secure:
                raise SrtpRequired("the answer drops the encryption that was agreed before")
            self._warn("the peer answered without SRTP: the media is not encrypted")
            return
        self._sdes.accept_answer(track.crypto)
        self._use_sdes()

    def _choose_keys(self, track: RemoteTrack) -> CryptoLine | None:
        srtp = self.config.srtp
        insists = track.profile is not None and track.profile.secure
        if not srtp.enabled:
            if insists:
                raise ProfileMismatch(
                    f"the offer insists on SRTP ({track.protocol}), and the SRTP policy is Disabled"
                )
            return None
        if not track.crypto or not srtp.method.offers_sdes:
            if srtp.policy is SrtpPolicy.REQUIRED:
                raise SrtpRequired(
                    f"the offer has no {self._wanted_keys}, and the SRTP policy is Required"
                )
            if insists:
                raise NoCommonSuite(
                    f"the offer insists on SRTP ({track.protocol}) without a usable key",
                    supported=srtp.suites,
                )
            if self.secure:
                raise SrtpRequired("the offer drops the encryption that was agreed before")
            self._warn("the peer offered no SRTP: the media is not encrypted")
            return None
        try:
            local = self._sdes.accept_offer(track.crypto)
        except NoCommonSuite:
            if insists or srtp.policy is SrtpPolicy.REQUIRED or self.secure:
                raise
            self._warn("no SRTP suite in common: the media is not encrypted")
            return None
        self._use_sdes()
        return local

    def _use_sdes(self) -> None:
        self._send_context, self._receive_context = self._sdes.send, self._sdes.receive

    # DTLS

    @property
    def _wanted_keys(self) -> str:
        method = self.config.srtp.method
        names = ["a=crypto line"] * method.offers_sdes + ["a=fingerprint"] * method.offers_dtls
        return " nor ".join(names)

    @property
    def _is_first(self) -> bool:
        return self._remote is None and self._agreed is None

    def _own_fingerprints(self) -> tuple[Fingerprint, ...]:
        wanted = self._offers_dtls and not self._sdes.in_use
        if not wanted or self._certificate is None:
            return ()
        if self._dtls is None:
            # Before the description leaves: the peer's ClientHello may overtake its answer.
            self._dtls = DtlsKeying(
                self._open(rtcp_mux=False),
                self._certificate,
                self._on_dtls_keys,
                suites=self.config.srtp.suites,
                symmetric=self.config.symmetric,
            )
        return (self._dtls.fingerprint,)

    def _answered_setup(self, track: RemoteTrack) -> Setup:
        offered = track.setup or Setup.ACTIVE
        answer = offered.answer
        if self._dtls is not None:
            answer = self._dtls.answer_to(offered, track.fingerprints)
        if answer is Setup.HOLDCONN:
            raise NegotiationError("a=setup:holdconn gives nobody the DTLS handshake")
        return answer

    def _chooses_dtls(self, track: RemoteTrack) -> bool:
        return track.keying.dtls and self._offers_dtls and not self._sdes.in_use

    def _agree(
        self, track: RemoteTrack, formats: Formats, receivable: Formats, setup: Setup | None
    ) -> None:
        """Start the media, after a DTLS handshake where that gives the keys."""
        if setup is None or self._dtls is None or not track.keying.dtls:
            self._drop_dtls()
            self._begin(track, formats, receivable)
            return
        self._agreed = (track, formats, receivable)
        before = self._dtls.contexts
        rtcp = None if self._muxes(track) else (track.rtcp_address, track.rtcp_port)
        self._dtls.start(
            (setup, track.setup or Setup.PASSIVE),
            track.fingerprints,
            (track.address, track.port),
            rtcp if rtcp is not None and rtcp[1] else None,
        )
        if before is not None and self._dtls.contexts is before:
            # The keys in use stay good until a new association has others.
            self._begin(*self._agreed)

    def _on_dtls_keys(self) -> None:
        dtls, agreed = self._dtls, self._agreed
        # A handshake that ends after the peer has changed to SDES keys nothing.
        if dtls is not None and dtls.contexts is not None and agreed and not self._sdes.in_use:
            self._send_context, self._receive_context = dtls.contexts
            self._begin(*agreed)

    def _drop_dtls(self) -> None:
        if self._dtls is not None and not self._dtls.established:
            self._dtls.close()
            self._dtls = None

    def _warn(self, text: str) -> None:
        if text not in self.warnings:
            self.warnings.append(text)

    # the stream

    def _open(self, *, rtcp_mux: bool) -> MediaStream:
        # An offer of mux keeps a second port until the answer agrees (RFC 5761 section 5.1.1).
        if self._stream is None:
            self._stream = self._engine.open_stream(
                self._address,
                rtcp_mux=rtcp_mux,
                ports=self.config.ports,
                dscp=self.config.dscp,
            )
        return self._stream

    def _begin(self, track: RemoteTrack, formats: Formats, receivable: Formats) -> None:
        voice = next(item for item in formats if _is_voice(item))
        if self.config.srtp.policy is SrtpPolicy.REQUIRED and not self.secure:
            raise SrtpRequired("no keys were agreed on, and the SRTP policy is Required")
        self.codec = voice.encoding.upper()
        self.profile = track.protocol
        self._remote = track
        mux = self.rtcp_mux
        ptime = track.ptime or self.config.ptime
        self.ptime_ms = ptime if ptime in PTIMES else self.config.ptime
        self._begun = True
        self._open(rtcp_mux=mux).start(
            StreamParameters(
                codec=self.codec,
                payload_type=voice.payload_type,
                receive_payload_types={
                    item.payload_type: item.encoding.upper()
                    for item in receivable
                    if _is_voice(item)
                },
                ptime_ms=self.ptime_ms,
                clock_rate=voice.clock_rate,
                remote=(track.address, track.port),
                remote_rtcp=self._rtcp_destination(track, mux=mux),
                rtcp_mux=mux,
                send=self._direction.sends and not track.unusable_address,
                receive=self._direction.receives,
                telephone_event=_event_number(formats),
                receive_telephone_event=_event_number(receivable),
                srtp_send=self._send_context,
                srtp_receive=self._receive_context,
                srtp_rtcp=self._rtcp_contexts,
                symmetric=self.config.symmetric,
            )
        )

    def _rtcp_destination(self, track: RemoteTrack, *, mux: bool) -> tuple[str, int] | None:
        if mux:
            return None
        # Without mux the keys of the media port are not for RTCP (RFC 5764 section 4.1).
        keyed = self.keying != "dtls" or self._rtcp_contexts is not None
        return track.rtcp_address, track.rtcp_port if keyed else 0

    @property
    def _rtcp_contexts(self) -> tuple[SrtpContext, SrtpContext] | None:
        if self._dtls is None or self.keying != "dtls":
            return None
        return self._dtls.rtcp_contexts


def _is_voice(item: PayloadFormat) -> bool:
    return item.encoding.upper() in Codec.__members__


def _event_number(formats: tuple[PayloadFormat, ...]) -> int | None:
    return next((item.payload_type for item in formats if item.is_telephone_event), None)


def _version(address: str) -> int | None:
    """4 or 6; None for what is no IP address."""
    try:
        return ipaddress.ip_address(address).version
    except ValueError:
        return None


def _host_port(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
