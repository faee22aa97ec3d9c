"""MediaNegotiation: what offer and answer agree on for one call's audio, keys included."""

from __future__ import annotations

import ipaddress
from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias

from callmeter.codec_agreement import (
    codec_name,
    coding_for,
    event_for,
    is_voice,
    noise_number,
    opus_format,
    packet_time,
)
from callmeter.config import SrtpPolicy
from callmeter.errors import (
    CallmeterError,
    ConfigurationError,
    NegotiationError,
    NoCommonCodec,
    SrtpRequired,
)
from callmeter.media.capture import MediaCapture
from callmeter.media.codecs import find_codec
from callmeter.media.ice_session import RTCP, RTP, IceSession, peer_of, runs_checks
from callmeter.media.parameters import StreamParameters
from callmeter.media_agreement import Formats, MediaAgreement
from callmeter.media_keys import MediaKeys
from callmeter.sdp.attributes import Attribute, Direction, RtcpFb, Setup
from callmeter.sdp.codecs import find_format, formats_for, select_formats
from callmeter.sdp.feedback import agreed_feedback, feedback_for
from callmeter.sdp.ice import ICE_SESSION_ATTRIBUTES
from callmeter.sdp.offer_answer import NegotiationState, OfferAnswer, answer_direction
from callmeter.sdp.parser import parse_description
from callmeter.sdp.profiles import Keying, profile_for
from callmeter.sdp.tracks import TrackAnswer, TrackOffer
from callmeter.srtp.libsrtp import supported_suites

if TYPE_CHECKING:
    from collections.abc import Callable

    from callmeter.config import MediaConfig
    from callmeter.media.dtls_session import DatagramPort
    from callmeter.media.engine import MediaEngine
    from callmeter.media.stream import MediaStream
    from callmeter.media_keys import RekeyRoc
    from callmeter.sdp.codecs import PayloadFormat
    from callmeter.sdp.profiles import RtpProfile
    from callmeter.sdp.remote_track import RemoteTrack
    from callmeter.srtp.dtls_certificate import DtlsCertificate

__all__ = ["MediaNegotiation", "check_media"]

Address: TypeAlias = "tuple[str, int]"

EXTENDED_REPORTS = ("voip-metrics", "rcvr-rtt=all")
"""What this end asks for in a=rtcp-xr (RFC 3611 section 5.1)."""
ANSWER_SECONDS = 32.0
"""How long an answer to a re-INVITE may take (64*T1, RFC 3261 section 17.1.1.2)."""


def check_media(config: MediaConfig) -> None:
    """Refuse settings that this version cannot carry out.

    Raises:
        ConfigurationError: Naming the setting.
    """
    if config.srtp.enabled and not set(config.srtp.suites) & supported_suites():
        raise ConfigurationError(
            "this build of libsrtp has none of the suites: " + ", ".join(config.srtp.suites)
        )


class MediaNegotiation(MediaAgreement):
    """Offer and answer of one call's audio, its keys, and the stream they start."""

    def __init__(
        self,
        engine: MediaEngine,
        config: MediaConfig,
        address: str,
        *,
        entropy: Callable[[int], bytes],
        certificate: DtlsCertificate | None = None,
    ) -> None:
        super().__init__(config)
        self._engine = engine
        self._entropy = entropy
        self._address = config.address or address
        self._offer_answer = OfferAnswer(
            username="-",
            # RFC 8866 section 5.2: the session id fits a signed 63 bit number.
            session_id=1 + int.from_bytes(entropy(7), "big"),
            address=self._address,
        )
        self.keys = MediaKeys(
            config.srtp,
            entropy,
            certificate,
            symmetric=config.symmetric,
            open_port=self._open_port,
            on_keys=self._on_dtls_keys,
            key_log=self._note_secret if config.capture and config.capture.secrets else None,
        )
        self._may_share = True
        self._alone_with: Address | None = None
        self._wanted = Direction.INACTIVE if config.deferred else Direction.SENDRECV
        self._wanted_before = self._wanted

    # offer and answer

    @property
    def offering(self) -> bool:
        """Whether an offer of ours waits for its answer."""
        return self._offer_answer.state is NegotiationState.LOCAL_OFFER

    def fall_back(self, status: int) -> bool:
        """Give up SRTP for the next offer, if the policy is Offered and keys were offered.

        Args:
            status: The response that refused the offer.
        """
        gave_up = self.keys.fall_back(status)
        if gave_up:
            self.rollback()
        return gave_up

    def create_offer(
        self, direction: Direction | None = None, *, rekey: RekeyRoc | None = None
    ) -> bytes:
        """The session description of an INVITE or re-INVITE.

        Args:
            direction: What this end wants from now on; None wants what it did.
            rekey: Asks for new keys, and says what becomes of the rollover counter.

        Raises:
            TransportError: No media port is free.
        """
        stream = self._ports(rtcp_mux=False)
        self._wanted_before, self._wanted = self._wanted, direction or self._wanted
        first = self._remote is None and self._agreed is None
        keys = self.keys.create_offer(first=first, rekey=rekey)
        keying = Keying.of(sdes=bool(keys.crypto), dtls=bool(keys.fingerprints))
        profile = self._profile(keying)
        track = TrackOffer(
            port=stream.port,
            address=self._address,
            formats=self._formats(),
            profile=profile,
            direction=self._wanted,
            ptime=self.config.ptime,
            rtcp_mux=self._wants_mux,
            rtcp_port=stream.rtcp_port,
            crypto=keys.crypto,
            fingerprints=keys.fingerprints,
            feedback=self._own_feedback if profile.feedback else (),
            reduced_size=profile.feedback,
            extended_reports=self._extended_reports,
            attributes=keys.attributes,
        )
        session: tuple[Attribute, ...] = ()
        if stream.shared:
            lines = (*keys.attributes, Attribute("rtcp-mux-only"))
            track = replace(
                track, rtcp_port=None, ssrc=stream.ssrc, cname=stream.cname, attributes=lines
            )
        if self.config.ice:
            mid = (None if self._remote is None else self._remote.mid) or "0"
            # Candidates of both ports: the peer may decline mux.
            lines = (Attribute("mid", mid), *self._browser_lines(rtcp_mux=False))
            lines += keys.attributes
            track = replace(track, ssrc=stream.ssrc, cname=stream.cname, attributes=lines)
            session = (*ICE_SESSION_ATTRIBUTES, Attribute("group", f"BUNDLE {mid}"))
        if rekey is not None:
            stream.expect_key(ANSWER_SECONDS)
        return self._offer_answer.create_offer([track], attributes=session).to_bytes()

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
            self._accept(self._offer_answer.receive_answer(parse_description(body)))
        except CallmeterError:
            self.rollback()
            raise

    def _accept(self, tracks: list[RemoteTrack]) -> None:
        track = next((track for track in tracks if not track.rejected), None)
        if track is None:
            raise NoCommonCodec("the answer refuses every track")
        self._check(track, track.formats)
        self.keys.accept_answer(track)
        if self._ice is not None:
            self._ice.accept_answer(track)
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
        if not any(map(is_voice, formats)):
            offered = ", ".join(item.encoding for item in chosen.formats)
            raise NoCommonCodec(f"none of the codecs offered is known here: {offered}")
        self._check(chosen, formats)
        mux = self._muxes(chosen)
        self._may_share, self._alone_with = mux, _not_told_apart(chosen)
        keys = self.keys.accept_offer(chosen, rtcp_mux=mux, moved=self._moves(chosen))
        stream = self._ports(rtcp_mux=mux)
        self._direction = answer_direction(chosen.direction, self._wanted)
        answer = TrackAnswer(
            port=stream.port,
            address=self._address,
            formats=formats,
            direction=self._direction,
            ptime=self.config.ptime,
            rtcp_mux=mux,
            rtcp_port=None if mux else stream.rtcp_port,
            crypto=keys.crypto,
            fingerprints=keys.fingerprints,
            setup=keys.setup,
            extended_reports=self._extended_reports if chosen.extended_reports else (),
            attributes=keys.attributes,
        )
        if stream.shared:
            answer = replace(answer, ssrc=stream.ssrc, cname=stream.cname)
        if chosen.profile is not None and chosen.profile.feedback:
            answer = replace(answer, feedback=self._own_feedback, reduced_size=True)
        session: tuple[Attribute, ...] = ()
        if self._ice is not None and self._ice.accept_offer(chosen):
            lines = (*self._browser_lines(rtcp_mux=mux), *keys.attributes)
            answer = replace(answer, ssrc=stream.ssrc, cname=stream.cname, attributes=lines)
            session = ICE_SESSION_ATTRIBUTES
        description = self._offer_answer.create_answer(
            [answer if track is chosen else None for track in tracks], attributes=session
        )
        self._agree(chosen, formats, formats, keys.setup)
        return description.to_bytes()

    def rollback(self) -> None:
        """An offer of ours was refused: what was agreed before stands."""
        self._wanted = self._wanted_before
        self.keys.withdraw()
        if self._stream is not None:
            self._stream.expect_key(None)
        self._close_offer()

    def _moves(self, track: RemoteTrack) -> bool:
        """Whether the peer's media is elsewhere than before."""
        before = self._remote
        if before is None or before.unusable_address or track.unusable_address:
            return False
        return (before.address, before.port) != (track.address, track.port)

    def _close_offer(self) -> None:
        if self._offer_answer.offer is not None:
            self._offer_answer.rollback()

    def _check(self, track: RemoteTrack, formats: tuple[PayloadFormat, ...]) -> None:
        """Refuse what no stream can be started with, while nothing has been changed."""
        if not any(map(is_voice, formats)):
            raise NoCommonCodec("the answer has no audio codec that was offered")
        if self.config.ice and runs_checks(track):
            return  # Its address is a placeholder: checks will tell.
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
        return formats_for(
            config.codecs,
            telephone_event_payload_type=event,
            comfort_noise=config.comfort_noise,
            opus=opus_format(config.opus),
        )

    @property
    def _own_feedback(self) -> tuple[RtcpFb, ...]:
        return tuple(RtcpFb.parse(f"* {words}") for words in self.config.feedback_messages)

    @property
    def _extended_reports(self) -> tuple[str, ...]:
        return EXTENDED_REPORTS if self.config.extended_reports else ()

    def _feedback_of(self, track: RemoteTrack, payload_type: int) -> frozenset[str]:
        """The feedback agreed on; under AVP there is none (RFC 4585 section 4.2)."""
        if track.profile is None or not track.profile.feedback:
            return frozenset()
        agreed = agreed_feedback(track.feedback, self._own_feedback, [payload_type])
        return feedback_for(agreed, payload_type)

    def _agree(
        self, track: RemoteTrack, formats: Formats, receivable: Formats, setup: Setup | None
    ) -> None:
        """Start the media, after a DTLS handshake where that gives the keys."""
        self._agreed = (track, formats, receivable)
        remote: Address = (track.address, track.port)
        rtcp: Address = (track.rtcp_address, track.rtcp_port)
        if self._ice is not None and self._ice.active:
            remote, rtcp = peer_of(RTP), peer_of(RTCP)
        elif self._stream is not None:
            self._stream.expect_peer(remote, track.ssrc)
        if self.keys.start(
            track, setup, remote=remote, rtcp_remote=None if self._muxes(track) else rtcp
        ):
            self._begin(*self._agreed)
        if self.keys.renewing and self._stream is not None:
            self._stream.expect_key(self.config.srtp.dtls.handshake_timeout)

    def _note_secret(self, line: bytes) -> None:
        if self.captured is not None:
            self.captured.note_secret(line)

    def _on_dtls_keys(self) -> None:
        if self._agreed is not None:
            self._begin(*self._agreed)

    # ICE

    def _open_port(self, *, rtcp_mux: bool) -> DatagramPort:
        """The ports as DTLS is to see them."""
        stream = self._ports(rtcp_mux=rtcp_mux)
        return stream if self._ice is None else self._ice

    def _ports(self, *, rtcp_mux: bool) -> MediaStream:
        """The stream, and ICE on it if it is wanted: checks may overtake an answer."""
        stream = self._open(rtcp_mux=rtcp_mux)
        if self.config.ice and self._ice is None:
            self._ice = IceSession(stream, self._entropy, self._on_pair)
        return stream

    def _browser_lines(self, *, rtcp_mux: bool) -> tuple[Attribute, ...]:
        """The way here by ICE, and by what browsers tell streams (RFC 8830)."""
        if self._ice is None:
            return ()
        lines = self._ice.describe(self._address, rtcp_mux=rtcp_mux)
        return (Attribute("msid", "callmeter audio"), *lines)

    def _on_pair(self) -> None:
        """The peer has chosen where it wants its packets."""
        if self._begun and self._stream is not None and self._agreed is not None:
            self._begin(*self._agreed)

    # the stream

    def _open(self, *, rtcp_mux: bool) -> MediaStream:
        # An offer of mux keeps a second port until the answer agrees (RFC 5761 section 5.1.1).
        if self._stream is None:
            self._stream = self._engine.open_stream(
                self._address,
                rtcp_mux=rtcp_mux,
                ports=self.config.ports,
                dscp=self.config.dscp,
                shared=self._shares,
                alone_with=self._alone_with,
            )
            if self.config.capture is not None:
                self.captured = MediaCapture(self.config.capture)
                self._stream.capture_to(self.captured)
        return self._stream

    @property
    def _shares(self) -> bool:
        """Whether the stream goes to the port that calls share."""
        config = self.config
        alone = config.ice or config.capture is not None
        return config.shared_port and self._may_share and not alone

    def _begin(self, track: RemoteTrack, formats: Formats, receivable: Formats) -> None:
        voice = next(item for item in formats if is_voice(item))
        wanted = find_format(track.formats, voice) or voice
        event, heard = event_for(formats, voice), event_for(receivable, voice)
        if self.config.srtp.policy is SrtpPolicy.REQUIRED and not self.secure:
            raise SrtpRequired("no keys were agreed on, and the SRTP policy is Required")
        self.codec = codec_name(voice)
        self.profile = track.protocol
        self._remote = track
        mux = self.rtcp_mux
        self.ptime_ms = packet_time(track, wanted, self.config.ptime)
        first, self._begun = not self._begun, True
        coding = coding_for(wanted, self.config.opus) or find_codec(self.codec)
        self.coding = coding, coding.sample_rate * self.ptime_ms // 1000
        stream = self._open(rtcp_mux=mux)
        stream.start(
            StreamParameters(
                codec=self.codec,
                payload_type=voice.payload_type,
                receive_payload_types={
                    item.payload_type: codec_name(item) for item in receivable if is_voice(item)
                },
                coding=coding,
                ptime_ms=self.ptime_ms,
                clock_rate=voice.clock_rate,
                remote=self._destination(track),
                remote_rtcp=self._rtcp_destination(track, mux=mux),
                rtcp_mux=mux,
                send=self._direction.sends and (self.ice or not track.unusable_address),
                receive=self._direction.receives,
                telephone_event=None if event is None else event.payload_type,
                telephone_event_rate=None if event is None else event.clock_rate,
                receive_telephone_event=None if heard is None else heard.payload_type,
                receive_telephone_events={
                    item.payload_type: item.clock_rate
                    for item in receivable
                    if item.is_telephone_event
                },
                comfort_noise=noise_number(formats, voice) if self.config.comfort_noise else None,
                receive_comfort_noise=noise_number(receivable, voice),
                srtp_send=self.keys.send,
                srtp_receive=self.keys.receive,
                srtp_rtcp=self.keys.rtcp,
                # The peer's choice by ICE is not for packets to change.
                symmetric=self.config.symmetric and not self.ice,
                feedback=self._feedback_of(track, voice.payload_type),
                extended_reports=(
                    track.extended_reports if self.config.extended_reports else frozenset()
                ),
                reduced_size=self.feedback and track.reduced_size,
            )
        )
        if first and self.config.jitter_buffer is not None:
            stream.buffer(self.config.jitter_buffer)

    def _destination(self, track: RemoteTrack) -> Address:
        if self._ice is None or not self._ice.active:
            return track.address, track.port
        return self._ice.destination(RTP) or (self._address, 0)

    def _rtcp_destination(self, track: RemoteTrack, *, mux: bool) -> Address | None:
        if mux:
            return None
        # Without mux the keys of the media port are not for RTCP (RFC 5764 section 4.1).
        keyed = self.keying != "dtls" or self.keys.rtcp is not None
        if self._ice is not None and self._ice.active:
            chosen = self._ice.destination(RTCP) if keyed else None
            return chosen or (self._address, 0)
        return track.rtcp_address, track.rtcp_port if keyed else 0


def _not_told_apart(track: RemoteTrack) -> Address | None:
    """The peer of an offer by which its packets could not be told from another's there.

    A handshake says nothing of the call it is for, and clear packets only their SSRC.
    """
    told = bool(track.crypto) or track.ssrc is not None
    return None if told and not track.fingerprints else (track.address, track.port)


def _version(address: str) -> int | None:
    """4 or 6; None for what is no IP address."""
    try:
        return ipaddress.ip_address(address).version
    except ValueError:
        return None
