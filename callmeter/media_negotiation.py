"""MediaNegotiation: offer and answer of one call, keys included."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, TypeVar

from callmeter.audio_track import AudioTrack
from callmeter.errors import (
    CallmeterError,
    ConfigurationError,
    MediaSecurityError,
    NegotiationError,
    NoCommonCodec,
    TransportError,
)
from callmeter.sdp.attributes import Attribute
from callmeter.sdp.ice import ICE_SESSION_ATTRIBUTES
from callmeter.sdp.offer_answer import NegotiationState, OfferAnswer
from callmeter.sdp.parser import parse_description
from callmeter.srtp.libsrtp import supported_suites
from callmeter.video_track import VideoTrack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from callmeter.config import MediaConfig
    from callmeter.media.capture import MediaCapture
    from callmeter.media.engine import MediaEngine
    from callmeter.media_keys import RekeyRoc
    from callmeter.media_track import MediaTrack
    from callmeter.sdp.attributes import Direction
    from callmeter.sdp.remote_track import RemoteTrack
    from callmeter.sdp.tracks import TrackAnswer, TrackOffer
    from callmeter.srtp.dtls_certificate import DtlsCertificate

__all__ = ["BY_PEER", "MediaNegotiation", "check_media"]

BY_PEER: Final = "by the peer: "
"""How `video_refused` begins when it was not this end."""
GIVEN_UP: Final = "given up"
NOT_WANTED: Final = "it is not wanted"
OWN_DOING: Final = frozenset({GIVEN_UP, NOT_WANTED})
"""Why there is none, while the settings have no video: with other settings there may be."""
Failure = TypeVar("Failure", bound=CallmeterError)


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
    """The audio of a call, and the descriptions of the whole session.

    Video is a second m= line beside it, with ports and keys of its own: without it there is the
    audio, and without audio there is no call.
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
        super().__init__(engine, config, address, entropy=entropy, certificate=certificate)
        self._offer_answer = OfferAnswer(
            username="-",
            # RFC 8866 section 5.2: the session id fits a signed 63 bit number.
            session_id=1 + int.from_bytes(entropy(7), "big"),
            address=self._address,
        )
        self._certificate = certificate
        self._video: VideoTrack | None = None

    # the tracks

    @property
    def video(self) -> VideoTrack | None:
        """The video; None while none was agreed on, see `video_refused`."""
        video = self._video
        return video if video is not None and video.agreed and not video.refused else None

    @property
    def video_refused(self) -> str:
        """Why there is no video though one end offered it; empty when there is, or none did."""
        return "" if self._video is None else self._video.refused

    @property
    def tracks(self) -> tuple[MediaTrack, ...]:
        """Audio and, where it was agreed on at any time, video."""
        video = self._video
        return (self,) if video is None or not video.agreed else (self, video)

    @property
    def captures(self) -> tuple[MediaCapture, ...]:
        """What captures have of the packets of each track."""
        found = (self.captured, None if self._video is None else self._video.captured)
        return tuple(capture for capture in found if capture is not None)

    def _open_video(self, index: int) -> VideoTrack:
        """The track in use, or a new one in place of one that is over."""
        video = self._video
        if video is None or video.over:
            video = self._video = VideoTrack(
                self._engine,
                self.config,
                self._address,
                entropy=self._entropy,
                certificate=self._certificate,
            )
            video.index = index
            video.keys.follow(self.keys)
        video.config = self.config
        return video

    def _refuse_video(self, reason: str) -> None:
        """There is no video, as yet or any more; figures of it stay."""
        video = self._video
        if video is not None:
            video.refused = reason
            if video.agreed:
                video.close()

    def close_refused(self) -> None:
        """The answer stands: the ports of video that was refused are of no use any more."""
        if self.video_refused and self._video is not None:
            self._video.close()

    def _live_video(self) -> VideoTrack | None:
        video = self._video
        return None if video is None or video.over else video

    def close(self) -> None:
        """Stop, keep the last figures, free the ports and keys; a second call does nothing."""
        super().close()
        if self._video is not None:
            self._video.close()

    @property
    def keys_pending(self) -> bool:
        """Whether media waits for a DTLS handshake."""
        video = self.video
        return super().keys_pending or (video is not None and video.keys_pending)

    async def keyed(self) -> None:
        """Wait until media may flow: at once, or after the DTLS handshake of each track.

        Raises:
            MediaSecurityError: `DtlsTimeout`, `FingerprintMismatch`, `DtlsHandshakeFailed`.
        """
        await super().keyed()
        if self.video is not None:
            with _about_video():
                await self.video.keyed()

    def unkeyed(self, kind: type[MediaSecurityError], message: str) -> MediaSecurityError:
        """The error of the track that waits for its DTLS handshake.

        Args:
            kind: Its class.
            message: What happened.
        """
        video = self.video
        if super().keys_pending or video is None or not video.keys_pending:
            return kind(message, evidence=self.keys.evidence())
        return _of_video(kind(message, evidence=video.keys.evidence()))

    async def renewed(self) -> None:
        """Wait for the keys of new DTLS associations, of those tracks where one is under way.

        Raises:
            MediaSecurityError: A handshake failed; the keys before it stay in use.
        """
        await self.keys.renewed()
        if self.video is not None:
            with _about_video():
                await self.video.keys.renewed()

    @property
    def warnings(self) -> list[str]:
        """What was given up on the way, one sentence each."""
        video = [] if self._video is None else self._video.warnings
        return [*super().warnings, *(f"video: {text}" for text in video)]

    @property
    def rehandshakes(self) -> int:
        """DTLS handshakes completed after the first of a track (`dtls_rehandshakes`)."""
        return super().rehandshakes + (0 if self._video is None else self._video.rehandshakes)

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
            video = self._live_video()
            if video is not None:
                video.keys.fall_back(status)
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
        known = self._offer_answer.local
        lines = 0 if known is None else len(known.media)
        offers: dict[int, TrackOffer] = {self.index: self.describe_offer(direction, rekey=rekey)}
        video = self._video_to_offer(max(lines, 1))
        if video is not None:
            offers[video.index] = video.describe_offer(direction, rekey=rekey)
        session: tuple[Attribute, ...] = ()
        if self.config.ice:
            session = ICE_SESSION_ATTRIBUTES
            if video is None:
                # One m= line, one port: what browsers that insist on bundling want to read.
                session = (*session, Attribute("group", f"BUNDLE {self.mid}"))
        places = range(max(lines, 1 + max(offers)))
        return self._offer_answer.create_offer(
            [offers.get(index) for index in places], attributes=session
        ).to_bytes()

    def _video_to_offer(self, index: int) -> VideoTrack | None:
        """Video that runs or is wanted; what the peer has refused is not asked for again."""
        video = self._video
        if self.config.video is None:
            return None
        if video is None:
            return self._open_video(index)
        if video.refused and video.refused not in OWN_DOING:
            return None
        return self._open_video(video.index)

    def accept_answer(self, body: bytes) -> None:
        """Take the answer and start the media.

        Raises:
            SdpSyntaxError: The answer cannot be read.
            NegotiationError: Nothing in common.
            MediaSecurityError: The keys in the answer are not usable.
        """
        self._take_answer(body)
        self.close_refused()

    def _take_answer(self, body: bytes) -> None:
        """As `accept_answer`; another one may take its place."""
        try:
            self._accept(self._offer_answer.receive_answer(parse_description(body)))
        except CallmeterError:
            self.rollback()
            raise

    def _accept(self, tracks: list[RemoteTrack]) -> None:
        if all(track.rejected for track in tracks):
            raise NoCommonCodec("the answer refuses every track")
        track = tracks[self.index]
        if track.rejected:
            raise NoCommonCodec("the answer refuses the audio")
        self.check(track, track.formats)
        video = self._live_video()
        seen = None if video is None or video.index >= len(tracks) else tracks[video.index]
        if video is not None and seen is not None and not seen.rejected:
            video.refused = ""
            with _about_video():
                video.check(seen, seen.formats)
            self.use_answer(track)
            with _about_video():
                video.use_answer(seen)
            return
        self.use_answer(track)
        if seen is not None:
            given_up = self.config.video is None
            self._refuse_video(GIVEN_UP if given_up else f"{BY_PEER}{seen.reason}")

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
        finally:
            self.close_refused()

    def _answer(self, tracks: list[RemoteTrack]) -> bytes:
        chosen = next(_live(tracks, "audio"), None)
        if chosen is None:
            raise NoCommonCodec("the offer has no audio track that can be used")
        answers = {chosen.index: self.describe_answer(chosen)}
        video = self._answer_video(tracks, answers)
        description = self._offer_answer.create_answer(
            [answers.get(track.index) for track in tracks],
            attributes=ICE_SESSION_ATTRIBUTES if self.answers_ice else (),
        )
        self.use_offer()
        if video is not None:
            video.use_offer()
        return description.to_bytes()

    def _answer_video(
        self, tracks: list[RemoteTrack], answers: dict[int, TrackAnswer]
    ) -> VideoTrack | None:
        """Take the video of an offer; what cannot be taken is refused, and the call goes on."""
        offered = next(_live(tracks, "video"), None)
        if offered is None or self.config.video is None:
            self._refuse_video("the peer offers none" if offered is None else NOT_WANTED)
            return None
        video = self._open_video(offered.index)
        if any(_same_transport(track, offered) for track in tracks if track.index in answers):
            self._refuse_video("the peer has it on the port of the audio (BUNDLE)")
            return None
        try:
            answers[offered.index] = video.describe_answer(offered)
        except (MediaSecurityError, NegotiationError, TransportError) as error:
            self._refuse_video(str(error))
            return None
        video.refused = ""
        return video

    def rollback(self) -> None:
        """An offer of ours was refused: what was agreed before stands."""
        self.withdraw()
        video = self._live_video()
        if video is not None:
            video.withdraw()
        self._close_offer()

    def _close_offer(self) -> None:
        if self._offer_answer.offer is not None:
            self._offer_answer.rollback()


@contextmanager
def _about_video() -> Iterator[None]:
    """What fails here says that it is about the video."""
    try:
        yield
    except (MediaSecurityError, NegotiationError) as error:
        _of_video(error)
        raise


def _of_video(error: Failure) -> Failure:
    # One that several wait for is the same each time.
    if not error.stream:
        error.stream = "video"
        error.args = (f"video: {error}",)
    return error


def _same_transport(one: RemoteTrack, other: RemoteTrack) -> bool:
    """Whether an m= line is on the port of another already (RFC 9143 7.2), not only may be."""
    if one.mid is None or one.mid not in other.bundle:
        return False
    if one.ice_description is None or other.ice_description is None:
        return (one.address, one.port) == (other.address, other.port)
    # A browser that insists on it gathers no candidates for the second line.
    return bool(one.ice_description.candidates) and not other.ice_description.candidates


def _live(tracks: list[RemoteTrack], kind: str) -> Iterator[RemoteTrack]:
    return (track for track in tracks if track.kind == kind and not track.rejected)
