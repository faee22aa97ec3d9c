"""MediaTrack: one m= line of a call - its keys, its way to the peer, its stream.

Audio and video each have a track of their own, with a port, keys and a DTLS association of its
own; `MediaNegotiation` puts what they say into one description.
"""

from __future__ import annotations

import asyncio
import ipaddress
from abc import ABC, abstractmethod
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from callmeter.config import SrtpPolicy
from callmeter.errors import NegotiationError, NoCommonCodec, SrtpRequired
from callmeter.media.capture import MediaCapture
from callmeter.media.ice_session import RTCP, RTP, IceSession, peer_of, runs_checks
from callmeter.media_agreement import Formats, MediaAgreement
from callmeter.media_keys import MediaKeys
from callmeter.sdp.attributes import Attribute, Direction, RtcpFb, Setup
from callmeter.sdp.codecs import select_formats
from callmeter.sdp.feedback import agreed_feedback, feedback_for
from callmeter.sdp.offer_answer import answer_direction
from callmeter.sdp.profiles import Keying, profile_for
from callmeter.sdp.tracks import TrackAnswer, TrackOffer

if TYPE_CHECKING:
    from collections.abc import Callable

    from callmeter.config import MediaConfig
    from callmeter.media.dtls_session import DatagramPort
    from callmeter.media.engine import MediaEngine
    from callmeter.media.rtp_stream import RtpStream
    from callmeter.media.statistics import StreamStatistics
    from callmeter.media_keys import RekeyRoc
    from callmeter.metrics.series import StreamSeries
    from callmeter.sdp.codecs import PayloadFormat
    from callmeter.sdp.profiles import RtpProfile
    from callmeter.sdp.remote_track import RemoteTrack
    from callmeter.srtp.dtls_certificate import DtlsCertificate

__all__ = ["MediaTrack"]

Address: TypeAlias = "tuple[str, int]"

EXTENDED_REPORTS: Final = ("voip-metrics", "rcvr-rtt=all")
"""What this end asks for in a=rtcp-xr (RFC 3611 section 5.1)."""
LATE_S: Final = 1.0
"""By how much packets may lag behind the time they were to be played in."""
ANSWER_SECONDS: Final = 32.0
"""How long an answer to a re-INVITE may take (64*T1, RFC 3261 section 17.1.1.2)."""


class MediaTrack(MediaAgreement, ABC):
    """One m= line from the first description to the end of the call.

    Attributes:
        index: The place of the m= line.

    Args:
        engine: Where its stream runs.
        config: What is offered and accepted.
        address: Where media is received unless the settings say otherwise.
        entropy: Returns so many random octets.
        certificate: Of this end, None where it takes no DTLS.
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
        super().__init__(config)
        self.index = 0
        self._engine = engine
        self._entropy = entropy
        self._address = config.address or address
        self.keys = MediaKeys(
            config.srtp,
            entropy,
            certificate,
            symmetric=config.symmetric,
            open_port=self._open_port,
            on_keys=self._on_keys,
            key_log=self._note_secret if config.capture and config.capture.secrets else None,
            door=engine.sessions,
        )
        self._over = False
        self._may_share = True
        self._alone_with: Address | None = None
        self._wanted = Direction.INACTIVE if config.deferred else Direction.SENDRECV
        self._wanted_before = self._wanted
        self._chosen: tuple[RemoteTrack, Formats, Setup | None] | None = None
        self._agreed_at: float | None = None
        self._keyed_at: float | None = None

    # what its kind decides

    @abstractmethod
    def _formats(self) -> Formats:
        """What is offered and taken."""

    @abstractmethod
    def _carries(self, item: PayloadFormat) -> bool:
        """Whether a format is one that the track can do with alone."""

    @abstractmethod
    def _begin(self, track: RemoteTrack, formats: Formats, receivable: Formats) -> None:
        """Start the stream, or have it go on as agreed."""

    @abstractmethod
    def _new_stream(self, *, rtcp_mux: bool) -> RtpStream:
        """Ports of its own kind, bound."""

    @property
    def _wants_feedback(self) -> bool:
        """Whether AVPF is offered."""
        return self.config.feedback

    @property
    def _own_feedback(self) -> tuple[RtcpFb, ...]:
        return tuple(RtcpFb.parse(f"* {words}") for words in self.config.feedback_messages)

    @property
    def _ptime(self) -> int | None:
        return None

    @property
    def _bandwidth(self) -> int | None:
        return None

    # offers of this end

    def describe_offer(
        self, direction: Direction | None = None, *, rekey: RekeyRoc | None = None
    ) -> TrackOffer:
        """The m= line of an INVITE or re-INVITE.

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
        profile = self._profile(Keying.of(sdes=bool(keys.crypto), dtls=bool(keys.fingerprints)))
        track = TrackOffer(
            kind=self.kind,
            port=stream.port,
            address=self._address,
            formats=self._formats(),
            profile=profile,
            direction=self._wanted,
            ptime=self._ptime,
            bandwidth=self._bandwidth,
            rtcp_mux=self._wants_mux,
            rtcp_port=stream.rtcp_port,
            crypto=keys.crypto,
            fingerprints=keys.fingerprints,
            feedback=self._own_feedback if profile.feedback else (),
            reduced_size=profile.feedback,
            extended_reports=self._extended_reports,
            attributes=keys.attributes,
        )
        if stream.shared:
            lines = (*keys.attributes, Attribute("rtcp-mux-only"))
            track = replace(
                track, rtcp_port=None, ssrc=stream.ssrc, cname=stream.cname, attributes=lines
            )
        if self.config.ice:
            # Candidates of both ports: the peer may decline mux.
            lines = (Attribute("mid", self.mid), *self._browser_lines(rtcp_mux=False))
            lines += keys.attributes
            track = replace(track, ssrc=stream.ssrc, cname=stream.cname, attributes=lines)
        if rekey is not None:
            stream.expect_key(ANSWER_SECONDS)
        return track

    @property
    def mid(self) -> str:
        """Its identification tag in descriptions of this end."""
        return (None if self._remote is None else self._remote.mid) or str(self.index)

    def _profile(self, keying: Keying) -> RtpProfile:
        """Of an offer: what the keys ask for, and from then on what was agreed."""
        if self._remote is not None and self._remote.profile is not None:
            return self._remote.profile
        return profile_for(keying, feedback=self._wants_feedback, osrtp=self.config.srtp.osrtp)

    def use_answer(self, track: RemoteTrack) -> None:
        """Start the media as the peer has answered; `check` found no fault.

        Raises:
            NegotiationError: Nothing in common.
            MediaSecurityError: The keys in the answer are not usable.
        """
        self.keys.accept_answer(track)
        if self._ice is not None:
            self._ice.accept_answer(track)
        self._direction = track.direction.reversed
        # The answer's numbers are what it takes, the offer's what it sends (RFC 3264 section 5.1).
        self._agree(track, track.formats, self._formats(), Setup.ACTPASS)

    def withdraw(self) -> None:
        """The offer came to nothing: what was agreed before stands."""
        self._wanted = self._wanted_before
        self.keys.withdraw()
        if self._stream is not None:
            self._stream.expect_key(None)

    # offers of the peer

    def describe_answer(self, chosen: RemoteTrack) -> TrackAnswer:
        """The m= line of the answer; `use_offer` starts the media.

        Raises:
            NegotiationError: Nothing in common.
            MediaSecurityError: The keys in the offer are not usable.
            TransportError: No media port is free.
        """
        formats = select_formats(chosen.formats, self._formats())
        if not any(map(self._carries, formats)):
            offered = ", ".join(item.encoding for item in chosen.formats)
            raise NoCommonCodec(f"none of the codecs offered is known here: {offered}")
        self.check(chosen, formats)
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
            ptime=self._ptime,
            bandwidth=self._bandwidth,
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
        if self._ice is not None and self._ice.accept_offer(chosen):
            lines = (*self._browser_lines(rtcp_mux=mux), *keys.attributes)
            answer = replace(answer, ssrc=stream.ssrc, cname=stream.cname, attributes=lines)
        self._chosen = chosen, formats, keys.setup
        return answer

    @property
    def answers_ice(self) -> bool:
        """Whether the answer of `describe_answer` speaks of ICE."""
        found = None if self._chosen is None else self._chosen[0].ice_description
        return self._ice is not None and found is not None and not found.mismatch

    def use_offer(self) -> None:
        """Start the media as `describe_answer` has described it."""
        if self._chosen is not None:
            chosen, formats, setup = self._chosen
            self._chosen, self.index = None, chosen.index
            self._agree(chosen, formats, formats, setup)

    def _moves(self, track: RemoteTrack) -> bool:
        """Whether the peer's media is elsewhere than before."""
        before = self._remote
        if before is None or before.unusable_address or track.unusable_address:
            return False
        return (before.address, before.port) != (track.address, track.port)

    # both

    def check(self, track: RemoteTrack, formats: tuple[PayloadFormat, ...]) -> None:
        """Refuse what no stream can be started with, while nothing has been changed.

        Raises:
            NegotiationError: Naming the reason.
        """
        if not any(map(self._carries, formats)):
            raise NoCommonCodec(f"the answer has no {self.kind} codec that was offered")
        if self.config.ice and runs_checks(track):
            return  # Its address is a placeholder: checks will tell.
        version, own = _version(track.address), _version(self._address)
        if version is None:
            raise NegotiationError(f"the media address {track.address!r} is not an IP address")
        if version != own:
            raise NegotiationError(
                f"the media address {track.address} is IPv{version}, and media here is IPv{own}"
            )

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
        if self._agreed_at is None:
            self._agreed_at = self._engine.now()
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

    def _on_keys(self) -> None:
        if self._keyed_at is None:
            self._keyed_at = self._engine.now()
        if self._agreed is not None:
            self._begin(*self._agreed)

    def keyed_after(self, answered_at: float) -> float | None:
        """Seconds its first DTLS handshake took after the answer; None without one.

        Args:
            answered_at: Loop time of the answer to the call; the track may have come later.
        """
        if self._keyed_at is None or self._agreed_at is None:
            return None
        return max(0.0, self._keyed_at - max(answered_at, self._agreed_at))

    # ICE

    def _open_port(self, *, rtcp_mux: bool) -> DatagramPort:
        """The ports as DTLS is to see them."""
        stream = self._ports(rtcp_mux=rtcp_mux)
        return stream if self._ice is None else self._ice

    def _ports(self, *, rtcp_mux: bool) -> RtpStream:
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
        return (Attribute("msid", f"callmeter {self.kind}"), *lines)

    def _on_pair(self) -> None:
        """The peer has chosen where it wants its packets."""
        if self._begun and self._stream is not None and self._agreed is not None:
            self._begin(*self._agreed)

    # the stream

    def _open(self, *, rtcp_mux: bool) -> RtpStream:
        # An offer of mux keeps a second port until the answer agrees (RFC 5761 section 5.1.1).
        if self._stream is None:
            self._stream = self._new_stream(rtcp_mux=rtcp_mux)
            if self.config.capture is not None:
                self.captured = MediaCapture(self.config.capture)
                self._stream.capture_to(self.captured)
        return self._stream

    def _transport(self, track: RemoteTrack, payload_type: int) -> dict[str, Any]:
        """What the parameters of its stream say of the way to the peer.

        Raises:
            SrtpRequired: There are no keys, and the policy asks for them.
        """
        if self.config.srtp.policy is SrtpPolicy.REQUIRED and not self.secure:
            raise SrtpRequired("no keys were agreed on, and the SRTP policy is Required")
        self.profile = track.protocol
        self._remote = track
        mux = self.rtcp_mux
        return {
            "remote": self._destination(track),
            "remote_rtcp": self._rtcp_destination(track, mux=mux),
            "rtcp_mux": mux,
            "send": self._direction.sends and (self.ice or not track.unusable_address),
            "receive": self._direction.receives,
            "srtp_send": self.keys.send,
            "srtp_receive": self.keys.receive,
            "srtp_rtcp": self.keys.rtcp,
            # The peer's choice by ICE is not for packets to change.
            "symmetric": self.config.symmetric and not self.ice,
            "feedback": self._feedback_of(track, payload_type),
            "extended_reports": (
                track.extended_reports if self.config.extended_reports else frozenset()
            ),
            "reduced_size": self.feedback and track.reduced_size,
        }

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

    @staticmethod
    async def _until_played(
        playing: asyncio.Future[None], seconds: float | None, stop: Callable[[], object]
    ) -> float:
        """Wait for the end of what plays, and see to it; returns the seconds it took.

        It raises what the source raised.

        Args:
            playing: What the stream's `play` gave.
            seconds: How long it was to play, or None.
            stop: Ends it.
        """
        clock = asyncio.get_running_loop().time
        begun = clock()
        try:
            # Packets end it. While the call is held none are sent, and time passes all the same.
            await asyncio.wait({playing}, timeout=None if seconds is None else seconds + LATE_S)
        finally:
            if not playing.done():
                stop()
        playing.result()
        return clock() - begun

    def statistics(self) -> StreamStatistics | None:
        """What was sent and received so far; the last figures once the call ended."""
        if self._final is not None or self._stream is None:
            return self._final
        return self._stream.statistics()

    def series(self) -> StreamSeries | None:
        """The course of the stream: one sample a second, of a long call every two, four or more."""
        if self._course is not None or self._stream is None:
            return self._course
        return self._stream.series()

    @property
    def over(self) -> bool:
        """Whether it was closed."""
        return self._over

    def close(self) -> None:
        """Stop, keep the last figures, free the ports and keys; a second call does nothing."""
        self._over = True
        stream, self._stream = self._stream, None
        self.keys.close(running=self._begun)
        if self._ice is not None:
            self._ice.close()
        if stream is not None:
            self._local = self._local_of(stream)
            stream.stop()
            if self._begun:
                self._final = stream.statistics()
                self._course = stream.series()


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
