"""MediaAgreement: what the descriptions of one m= line of a call have led to so far."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, TypeAlias

from callmeter.errors import DtlsTimeout
from callmeter.media.ice_session import RTP
from callmeter.sdp.attributes import Direction

if TYPE_CHECKING:
    from callmeter.config import MediaConfig
    from callmeter.media.capture import MediaCapture
    from callmeter.media.codecs import AudioCodec
    from callmeter.media.ice_session import IceSession
    from callmeter.media.rtp_stream import RtpStream
    from callmeter.media.statistics import StreamStatistics
    from callmeter.media_keys import MediaKeys
    from callmeter.metrics.series import StreamSeries
    from callmeter.sdp.codecs import PayloadFormat
    from callmeter.sdp.remote_track import RemoteTrack

__all__ = ["Formats", "MediaAgreement"]

Formats: TypeAlias = "tuple[PayloadFormat, ...]"


class MediaAgreement:
    """What can be read of it; `MediaTrack` brings it about.

    Attributes:
        kind: `"audio"` or `"video"`.
        config: What is offered and accepted.
        ptime_ms: Length of a sent packet in milliseconds.
        coding: What encodes, and the samples of a packet; None before the answer.
        codec: Encoding name of the codec that is sent, None before the answer.
        profile: RTP profile of the m= line as text, None before the answer.
        keys: The keys it has.
        captured: What a capture has of its packets, or None.
    """

    kind: ClassVar[str] = "audio"
    keys: MediaKeys

    def __init__(self, config: MediaConfig) -> None:
        self.config = config
        self._agreed: tuple[RemoteTrack, Formats, Formats] | None = None
        self._stream: RtpStream | None = None
        self._ice: IceSession | None = None
        self._final: StreamStatistics | None = None
        self._course: StreamSeries | None = None
        self._direction = Direction.SENDRECV
        self._remote: RemoteTrack | None = None
        self._local: str | None = None
        self._begun = False
        self.captured: MediaCapture | None = None
        self.ptime_ms = config.ptime
        self.codec: str | None = None
        self.coding: tuple[AudioCodec, int] | None = None
        self.profile: str | None = None

    @property
    def agreed(self) -> bool:
        """Whether offer and answer have met."""
        return self._agreed is not None

    @property
    def keying(self) -> str:
        """`"none"`, `"sdes"` or `"dtls"`: how the keys in use were exchanged."""
        return self.keys.keying

    @property
    def suite(self) -> str | None:
        """Name of the SRTP suite in use, or None for clear media."""
        return self.keys.suite

    @property
    def secure(self) -> bool:
        """Whether every media packet of both directions goes through SRTP."""
        return self.keys.secure

    @property
    def warnings(self) -> list[str]:
        """What was given up on the way, one sentence each."""
        return self.keys.warnings

    @property
    def terms(self) -> tuple[object, ...]:
        """What was agreed on last, but for direction, address and keys; empty before."""
        if self._agreed is None:
            return ()
        track, formats, _ = self._agreed
        return track.protocol, track.ptime, *(item.encoding.upper() for item in formats)

    @property
    def direction(self) -> str:
        """`"sendrecv"`, `"sendonly"`, `"recvonly"` or `"inactive"`, as seen from here."""
        return str(self._direction.value)

    @property
    def local(self) -> str | None:
        """Own `"host:port"` for RTP."""
        return self._local if self._stream is None else self._local_of(self._stream)

    @staticmethod
    def _local_of(stream: RtpStream) -> str:
        return _host_port(stream.address, stream.port)

    @property
    def remote(self) -> str | None:
        """The peer's `"host:port"` for RTP, by its description or by its choice under ICE."""
        if self._remote is None:
            return None
        chosen = self._ice.destination(RTP) if self._ice is not None and self._ice.active else None
        return _host_port(*(chosen or (self._remote.address, self._remote.port)))

    @property
    def ice(self) -> bool:
        """Whether the peer finds its way to the media ports by ICE."""
        return self._ice is not None and self._ice.active

    @property
    def ice_restarts(self) -> int:
        """How often new ICE credentials came within the session (`ice_restarts`)."""
        return 0 if self._ice is None else self._ice.agent.statistics.restarts

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
        return self.keys.rehandshakes

    @property
    def rekeys_sent(self) -> int:
        """New keys this end asked for and the peer agreed to."""
        return self.keys.rekeys_sent

    @property
    def rekeys_received(self) -> int:
        """New keys the peer asked for."""
        return self.keys.rekeys_received

    @property
    def keys_pending(self) -> bool:
        """Whether media waits for the DTLS handshake."""
        return self._agreed is not None and self.keys.pending

    async def keyed(self) -> None:
        """Wait until media may flow: at once, or after the DTLS handshake.

        Raises:
            MediaSecurityError: `DtlsTimeout`, `FingerprintMismatch`, `DtlsHandshakeFailed`.
        """
        try:
            await self.keys.wait()
        except DtlsTimeout as error:
            if self._ice is not None and self._ice.active:
                raise self._ice.explained(error) from error
            if self._ice is None and self._agreed is not None and self._agreed[0].ice:
                raise DtlsTimeout(
                    f"{error}: the peer has ICE, which MediaConfig(ice=True) answers",
                    evidence=error.evidence,
                ) from error
            raise

    @property
    def _wants_mux(self) -> bool:
        # One DTLS association keys one port: without mux RTCP needs another.
        wanted = self.config.rtcp_mux
        if wanted is None:
            return self.keys.offers_dtls or self.config.shared_port
        return wanted


def _host_port(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
