"""MediaNegotiation: offer and answer of one call, keys included."""

from __future__ import annotations

from typing import TYPE_CHECKING

from callmeter.audio_track import AudioTrack
from callmeter.errors import CallmeterError, ConfigurationError, NoCommonCodec
from callmeter.sdp.attributes import Attribute
from callmeter.sdp.ice import ICE_SESSION_ATTRIBUTES
from callmeter.sdp.offer_answer import NegotiationState, OfferAnswer
from callmeter.sdp.parser import parse_description
from callmeter.srtp.libsrtp import supported_suites

if TYPE_CHECKING:
    from collections.abc import Callable

    from callmeter.config import MediaConfig
    from callmeter.media.engine import MediaEngine
    from callmeter.media_keys import RekeyRoc
    from callmeter.sdp.attributes import Direction
    from callmeter.sdp.remote_track import RemoteTrack
    from callmeter.srtp.dtls_certificate import DtlsCertificate

__all__ = ["MediaNegotiation", "check_media"]


def check_media(config: MediaConfig) -> None:
    """Refuse settings that this version cannot carry out.

    Raises:
        ConfigurationError: Naming the setting.
    """
    if config.srtp.enabled and not set(config.srtp.suites) & supported_suites():
        raise ConfigurationError(
            "this build of libsrtp has none of the suites: " + ", ".join(config.srtp.suites)
        )


class MediaNegotiation(AudioTrack):
    """The audio of a call, and the descriptions of the whole session."""

    def __init__(
        self,
        engine: MediaEngine,
        config: MediaConfig,
        address: str,
        *,
        entropy: Callable[[int], bytes],
        certificate: DtlsCertificate | None = None,
    ) -> None:
        super().__init__(engine, config, address, entropy=entropy, certificate=certificate)
        self._offer_answer = OfferAnswer(
            username="-",
            # RFC 8866 section 5.2: the session id fits a signed 63 bit number.
            session_id=1 + int.from_bytes(entropy(7), "big"),
            address=self._address,
        )

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
        track = self.describe_offer(direction, rekey=rekey)
        session: tuple[Attribute, ...] = ()
        if self.config.ice:
            session = (*ICE_SESSION_ATTRIBUTES, Attribute("group", f"BUNDLE {self.mid}"))
        return self._offer_answer.create_offer([track], attributes=session).to_bytes()

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
        self.check(track, track.formats)
        self.use_answer(track)

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
        answer = self.describe_answer(chosen)
        description = self._offer_answer.create_answer(
            [answer if track is chosen else None for track in tracks],
            attributes=ICE_SESSION_ATTRIBUTES if self.answers_ice else (),
        )
        self.use_offer()
        return description.to_bytes()

    def rollback(self) -> None:
        """An offer of ours was refused: what was agreed before stands."""
        self.withdraw()
        self._close_offer()

    def _close_offer(self) -> None:
        if self._offer_answer.offer is not None:
            self._offer_answer.rollback()
