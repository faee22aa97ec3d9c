"""Offer and answer (RFC 3264): which description may follow which, and what an answer may say.

```text
STABLE ──create_offer──> LOCAL_OFFER  ──receive_answer──> STABLE
STABLE ──receive_offer─> REMOTE_OFFER ──create_answer───> STABLE
LOCAL_OFFER, REMOTE_OFFER ──rollback──> STABLE      REMOTE_OFFER ──decline──> STABLE
```
"""

from __future__ import annotations

from dataclasses import replace
from enum import Enum
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from callmeter.errors import LocalProtocolError, NegotiationError
from callmeter.sdp.attributes import Attribute, Direction, Setup
from callmeter.sdp.codecs import renumbered, select_formats
from callmeter.sdp.description import (
    Connection,
    Line,
    MediaDescription,
    MediaLine,
    Origin,
    SessionDescription,
)
from callmeter.sdp.feedback import agreed_feedback
from callmeter.sdp.received_answer import agreed_keying, answered_track, with_default_setup
from callmeter.sdp.remote_track import RemoteTrack, read_formats, read_tracks

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from callmeter.sdp.tracks import TrackAnswer, TrackOffer

__all__ = [
    "TRANSITIONS",
    "Action",
    "NegotiationState",
    "OfferAnswer",
    "agreed_keying",
    "answer_direction",
    "select_formats",
]

_LAST_FIRST_VERSION: Final = 2**62 - 2
_NO_OFFER: Final = SessionDescription(())


class NegotiationState(Enum):
    """Whose offer is open."""

    STABLE = "stable"
    LOCAL_OFFER = "local offer"
    REMOTE_OFFER = "remote offer"


class Action(Enum):
    """What moves the state."""

    CREATE_OFFER = "create_offer"
    RECEIVE_ANSWER = "receive_answer"
    RECEIVE_OFFER = "receive_offer"
    CREATE_ANSWER = "create_answer"
    ROLLBACK = "rollback"
    DECLINE = "decline"


TRANSITIONS: Final[Mapping[tuple[NegotiationState, Action], NegotiationState]] = MappingProxyType(
    {
        (NegotiationState.STABLE, Action.CREATE_OFFER): NegotiationState.LOCAL_OFFER,
        (NegotiationState.STABLE, Action.RECEIVE_OFFER): NegotiationState.REMOTE_OFFER,
        (NegotiationState.LOCAL_OFFER, Action.RECEIVE_ANSWER): NegotiationState.STABLE,
        (NegotiationState.LOCAL_OFFER, Action.ROLLBACK): NegotiationState.STABLE,
        (NegotiationState.REMOTE_OFFER, Action.CREATE_ANSWER): NegotiationState.STABLE,
        (NegotiationState.REMOTE_OFFER, Action.ROLLBACK): NegotiationState.STABLE,
        (NegotiationState.REMOTE_OFFER, Action.DECLINE): NegotiationState.STABLE,
    }
)


def answer_direction(offered: Direction, wanted: Direction) -> Direction:
    """What to answer to `offered` when `wanted` is what this side would like.

    Sendonly is answered recvonly or inactive, inactive is answered inactive (RFC 3264
    section 6.1).
    """
    return wanted.answer_to(offered)


class OfferAnswer:
    """The negotiation of one session.

    It owns the o= line: the session id stays, the version grows by one with each description that
    differs from the one sent before (RFC 3264 section 8). A failed call leaves the state as it
    was. Descriptions are immutable, so `copy.copy` forks the negotiation for another dialog of a
    forked INVITE.

    Args:
        username: o= user name, `"-"` for none.
        session_id: o= session id and first version, 1 to 2**62 - 2.
        address: Address of o= and of the session's c= line.
        name: s= session name.
    """

    def __init__(
        self, *, username: str = "-", session_id: int, address: str, name: str = "callmeter"
    ) -> None:
        if session_id not in range(1, _LAST_FIRST_VERSION + 1):
            raise LocalProtocolError("session_id is 1 to 2**62 - 2")
        self._origin = Origin(
            username, session_id, session_id, "IN", Connection.to(address).address_type, address
        )
        self._address = address
        self._name = name
        self._state = NegotiationState.STABLE
        self._local: SessionDescription | None = None
        self._remote: SessionDescription | None = None
        self._offer = _NO_OFFER
        self._offered_tracks: tuple[RemoteTrack, ...] = ()
        self._sent: SessionDescription | None = None
        self._remote_tracks: tuple[RemoteTrack, ...] = ()
        # Payload type numbers of each m= line since the session began: RFC 3264 section 8.3.2.
        self._bound: tuple[Mapping[int, tuple[str, int, int]], ...] = ()

    @property
    def state(self) -> NegotiationState:
        """Whose offer is open."""
        return self._state

    @property
    def local(self) -> SessionDescription | None:
        """The description of this side that was agreed on last."""
        return self._local

    @property
    def remote(self) -> SessionDescription | None:
        """The description of the other side that was agreed on last."""
        return self._remote

    @property
    def offer(self) -> SessionDescription | None:
        """The offer that is open, None in `STABLE`."""
        return None if self._state is NegotiationState.STABLE else self._offer

    @property
    def remote_tracks(self) -> tuple[RemoteTrack, ...]:
        """The m= lines of `remote`, as agreed on last."""
        return self._remote_tracks

    def create_offer(
        self, tracks: Sequence[TrackOffer | None], *, attributes: Sequence[Attribute] = ()
    ) -> SessionDescription:
        """Offer these tracks, the first for the first m= line and so on.

        An m= line never goes away: where a re-offer has None, or no track at all, the line is
        offered with port 0 (RFC 3264 section 8.2). Formats keep the payload types they had
        earlier in the session.

        Args:
            tracks: One for each m= line.
            attributes: Session-level attributes.

        Raises:
            LocalProtocolError: An offer is open, None stands where there never was an m= line, or
                a line that is in use would change its media type.
        """
        state = self._next(Action.CREATE_OFFER)
        before = self._local.media if self._local is not None else ()
        media: list[MediaDescription] = []
        for index in range(max(len(tracks), len(before))):
            track = tracks[index] if index < len(tracks) else None
            earlier = before[index] if index < len(before) else None
            media.append(self._offered_media(index, track, earlier))
        offer = self._describe(media, ("0 0",), attributes)
        self._offer = self._sent = offer
        self._state = state
        return offer

    def receive_answer(self, description: SessionDescription) -> list[RemoteTrack]:
        """Take the answer to the open offer.

        Returns:
            One track for each m= line: formats that were offered, `keying` as agreed, direction
            brought into what the offer allows. A refused line is `rejected`.

        Raises:
            LocalProtocolError: No offer of this side is open.
            NegotiationError: Number or order of the m= lines differ from the offer.
            ProfileMismatch: A line that is in use has another kind of protocol, or asks for SRTP
                where no keys were offered.
            NoCommonCodec: A line that is in use has none of the offered formats.
        """
        state = self._next(Action.RECEIVE_ANSWER)
        offered = read_tracks(self._offer)
        if len(offered) != len(description.media):
            raise NegotiationError(
                f"the answer has {len(description.media)} m= lines, the offer {len(offered)}"
            )
        tracks = [answered_track(track, description) for track in offered]
        self._commit(state, local=self._offer, remote=description, tracks=tracks)
        return tracks

    def receive_offer(self, description: SessionDescription) -> list[RemoteTrack]:
        """Take an offer of the other side.

        Returns:
            One track for each m= line, `keying` being what is offered.

        Raises:
            LocalProtocolError: An offer is open; when it is our own that is glare, to be answered
                491 (RFC 3261 section 14.2).
        """
        state = self._next(Action.RECEIVE_OFFER)
        tracks = [with_default_setup(item, Setup.ACTIVE) for item in read_tracks(description)]
        self._offer = description
        self._offered_tracks = tuple(tracks)
        self._state = state
        return tracks

    def create_answer(
        self, answers: Sequence[TrackAnswer | None], *, attributes: Sequence[Attribute] = ()
    ) -> SessionDescription:
        """Answer the open offer.

        Args:
            answers: One for each m= line of the offer; None refuses it with port 0.
            attributes: Session-level attributes.

        Raises:
            LocalProtocolError: No offer of the other side is open, the number of answers differs
                from that of the m= lines, or an answer says what the offer does not allow.
        """
        state = self._next(Action.CREATE_ANSWER)
        if len(answers) != len(self._offer.media):
            raise LocalProtocolError(
                f"{len(answers)} answers for {len(self._offer.media)} m= lines"
            )
        media: list[MediaDescription] = []
        for offered, track, answer in zip(
            self._offer.media, self._offered_tracks, answers, strict=True
        ):
            if answer is None:
                media.append(_disabled(offered))
            else:
                media.append(self._answered_media(track, answer))
        if all(item.key != "group" for item in attributes):
            attributes = [*_bundle_group(self._offered_tracks, answers), *attributes]
        # RFC 3264 section 6: the t= line of the answer is that of the offer.
        timing = tuple(value for value in self._offer.timing if value) or ("0 0",)
        answered = self._describe(media, timing, attributes)
        self._sent = answered
        self._commit(state, local=answered, remote=self._offer, tracks=self._offered_tracks)
        return answered

    def decline(self) -> None:
        """The offer of the other side was refused (488): what was agreed on before stays."""
        self._close(self._next(Action.DECLINE))

    def rollback(self) -> None:
        """The open offer failed or met another (glare): what was agreed on before stays."""
        self._close(self._next(Action.ROLLBACK))

    def _next(self, action: Action) -> NegotiationState:
        try:
            return TRANSITIONS[self._state, action]
        except KeyError:
            raise LocalProtocolError(
                f"{action.value} is not allowed in state {self._state.value}"
            ) from None

    def _close(self, state: NegotiationState) -> None:
        self._offer = _NO_OFFER
        self._offered_tracks = ()
        self._state = state

    def _commit(
        self,
        state: NegotiationState,
        *,
        local: SessionDescription,
        remote: SessionDescription,
        tracks: Sequence[RemoteTrack],
    ) -> None:
        own = read_formats(local)
        bound: list[Mapping[int, tuple[str, int, int]]] = []
        for index, (mine, theirs) in enumerate(zip(own, tracks, strict=True)):
            numbers = dict(self._bound[index]) if index < len(self._bound) else {}
            for item in (*mine, *theirs.formats):
                numbers.setdefault(item.payload_type, item.key)
            bound.append(numbers)
        self._bound = tuple(bound)
        self._local = local
        self._remote = remote
        self._remote_tracks = tuple(tracks)
        self._close(state)

    def _describe(
        self,
        media: Sequence[MediaDescription],
        timing: Iterable[str],
        attributes: Iterable[Attribute],
    ) -> SessionDescription:
        """The description with the o= version that is due."""
        tail = (
            Line("s", self._name),
            Line("c", str(Connection.to(self._address))),
            *(Line("t", value) for value in timing),
            *(Line("a", str(item)) for item in attributes),
        )

        def version(number: int) -> SessionDescription:
            origin = replace(self._origin, session_version=number)
            head = (Line("v", "0"), Line("o", str(origin)))
            return SessionDescription((*head, *tail), tuple(media))

        if self._sent is None:
            return version(self._origin.session_version)
        latest = self._sent.origin.session_version
        same = version(latest)
        return same if same == self._sent else version(latest + 1)

    def _offered_media(
        self, index: int, track: TrackOffer | None, earlier: MediaDescription | None
    ) -> MediaDescription:
        if track is None:
            if earlier is None:
                raise LocalProtocolError("only an m= line that was there can be disabled")
            return _disabled(earlier)
        if earlier is not None and earlier.port and earlier.kind != track.kind:
            raise LocalProtocolError(
                f"m= line {index} is {earlier.kind} and cannot become {track.kind}"
            )
        bound = self._bound[index] if index < len(self._bound) else {}
        track = replace(track, formats=renumbered(track.formats, bound))
        return track.describe(
            track.kind, track.profile.value, Setup.ACTPASS, session_address=self._address
        )

    def _answered_media(self, offered: RemoteTrack, answer: TrackAnswer) -> MediaDescription:
        _check_answer(offered, answer)
        extra = answer.attributes
        if offered.mid is not None and all(item.key != "mid" for item in extra):
            extra = (Attribute("mid", offered.mid), *extra)
        multiplexed = answer.rtcp_mux and offered.rtcp_mux
        answer = replace(
            answer,
            direction=answer_direction(offered.direction, answer.direction),
            rtcp_mux=multiplexed,
            rtcp_port=None if multiplexed else answer.rtcp_port,
            feedback=agreed_feedback(
                offered.feedback,
                answer.feedback,
                [item.payload_type for item in answer.formats],
            ),
            reduced_size=answer.reduced_size and offered.reduced_size,
            attributes=extra,
        )
        setup = offered.setup.answer if offered.setup is not None else Setup.ACTIVE
        return answer.describe(offered.kind, offered.protocol, setup, session_address=self._address)


def _disabled(media: MediaDescription) -> MediaDescription:
    """The same line with port 0, its formats and protocol echoed (RFC 3264 sections 6, 8.2)."""
    return MediaDescription.build(MediaLine(media.kind, 0, media.protocol, media.formats or ("0",)))


def _bundle_group(
    tracks: Sequence[RemoteTrack], answers: Sequence[TrackAnswer | None]
) -> list[Attribute]:
    """The BUNDLE group of an answer in which no two m= lines share a port (RFC 9143 section 7.3).

    Browsers that insist on bundling want the group even around a single stream.
    """
    accepted = [
        track.mid
        for track, answer in zip(tracks, answers, strict=True)
        if answer is not None and track.bundle
    ]
    return [Attribute("group", f"BUNDLE {accepted[0]}")] if len(accepted) == 1 else []


def _check_answer(offered: RemoteTrack, answer: TrackAnswer) -> None:
    if offered.port == 0 or answer.port == 0:
        raise LocalProtocolError("an m= line with port 0 is answered with None")
    if offered.profile is None:
        raise LocalProtocolError(f"{offered.protocol} cannot be answered with an RTP track")
    numbers = {item.payload_type: item for item in offered.formats}
    for item in answer.formats:
        same = numbers.get(item.payload_type)
        if same is None or not same.matches(item):
            raise LocalProtocolError(f"payload type {item.payload_type} was not offered as this")
    if answer.crypto and answer.fingerprints:
        raise LocalProtocolError("an answer has a crypto line or a fingerprint, not both")
    if len(answer.crypto) > 1:
        raise LocalProtocolError("an answer has one crypto line")
    if not {item.tag for item in answer.crypto} <= {item.tag for item in offered.crypto}:
        raise LocalProtocolError("the crypto line answers a tag that was not offered")
    if answer.fingerprints and not offered.fingerprints:
        raise LocalProtocolError("a fingerprint cannot answer an offer without one")
    if answer.setup is Setup.ACTPASS:
        raise LocalProtocolError("actpass is no answer (RFC 5763 section 5)")
