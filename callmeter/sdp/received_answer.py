"""What an answer means, line by line, seen from the offer it answers (RFC 3264 section 7).

Keys decide, not the m= line: peers answer SDES under UDP/TLS/RTP/SAVP, DTLS under RTP/SAVPF, and
leave a stray fingerprint in a plain answer.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from callmeter.errors import NegotiationError, NoCommonCodec, ProfileMismatch
from callmeter.sdp.attributes import Setup
from callmeter.sdp.codecs import STATIC_PAYLOAD_TYPES, find_format
from callmeter.sdp.feedback import is_offered
from callmeter.sdp.profiles import Keying
from callmeter.sdp.remote_track import RemoteTrack, read_track

if TYPE_CHECKING:
    from callmeter.sdp.description import SessionDescription

__all__ = ["agreed_keying", "answered_track", "with_default_setup"]


def agreed_keying(offered: RemoteTrack, answered: RemoteTrack) -> Keying:
    """Which keys offer and answer have in common; the m= lines only break a tie.

    An answer that carries both kinds of a dual offer means SDES where it changed the offered
    UDP/TLS protocol to one without, else DTLS.
    """
    sdes = offered.keying.sdes and answered.keying.sdes
    dtls = offered.keying.dtls and answered.keying.dtls
    if sdes and dtls:
        left_dtls = _names_dtls(offered) and not _names_dtls(answered)
        return Keying.SDES if left_dtls else Keying.DTLS
    return Keying.of(sdes=sdes, dtls=dtls)


def answered_track(offered: RemoteTrack, description: SessionDescription) -> RemoteTrack:
    """What an answer means for one line.

    Args:
        offered: The line as this side offered it.
        description: The answer, with as many m= lines as the offer.

    Raises:
        NegotiationError: The media type differs.
        ProfileMismatch: The protocol is of another kind, or asks for keys that were not offered.
        NoCommonCodec: None of the offered formats is left.
    """
    index = offered.index
    own = {item.payload_type: item for item in offered.formats}
    answered = read_track(description, index, {**STATIC_PAYLOAD_TYPES, **own})
    if answered.kind != offered.kind:
        raise NegotiationError(
            f"m= line {index} was offered as {offered.kind} and answered as {answered.kind}"
        )
    if answered.port == 0:
        return answered
    if offered.port == 0:
        return answered.noted(
            "a line offered with port 0 was answered with another",
            rejected=True,
            reason="offered with port 0",
        )
    if answered.profile is None:
        raise ProfileMismatch(f"{offered.protocol} was offered, {answered.protocol} answered")
    if answered.rejected:
        return answered
    answered = _with_offered_formats(offered, answered)
    answered = _with_agreed_keys(offered, answered)
    answered = with_default_setup(answered, Setup.PASSIVE)
    answered = _with_offered_feedback(offered, answered)
    if answered.rtcp_mux and not offered.rtcp_mux:
        answered = answered.noted("rtcp-mux was answered but not offered", rtcp_mux=False)
    if answered.rtcp_mux:
        answered = replace(answered, rtcp_port=answered.port, rtcp_address=answered.address)
    legal = answered.direction.answer_to(offered.direction)
    if legal is not answered.direction:
        answered = answered.noted(
            f"{answered.direction} does not answer {offered.direction}, taken as {legal}",
            direction=legal,
        )
    return answered


def _with_offered_formats(offered: RemoteTrack, answered: RemoteTrack) -> RemoteTrack:
    common = tuple(
        item for item in answered.formats if find_format(offered.formats, item) is not None
    )
    if not common:
        raise NoCommonCodec(f"m= line {offered.index} was answered with none of its formats")
    if common != answered.formats:
        extra = ", ".join(item.encoding for item in answered.formats if item not in common)
        return answered.noted(f"formats answered but not offered: {extra}", formats=common)
    return answered


def _with_offered_feedback(offered: RemoteTrack, answered: RemoteTrack) -> RemoteTrack:
    """Feedback that was not offered is not used (RFC 4585 section 4.2)."""
    common = tuple(item for item in answered.feedback if is_offered(item, offered.feedback))
    if common != answered.feedback:
        extra = ", ".join(str(item) for item in answered.feedback if item not in common)
        answered = answered.noted(f"feedback answered but not offered: {extra}", feedback=common)
    return replace(answered, reduced_size=answered.reduced_size and offered.reduced_size)


def _with_agreed_keys(offered: RemoteTrack, answered: RemoteTrack) -> RemoteTrack:
    keying = agreed_keying(offered, answered)
    insists = answered.profile is not None and answered.profile.secure
    if offered.keying is Keying.NONE and insists:
        raise ProfileMismatch(
            f"{offered.protocol} was offered without keys, {answered.protocol} answered"
        )
    if answered.protocol != offered.protocol:
        answered = answered.noted(f"{offered.protocol} was offered, {answered.protocol} answered")
    if answered.keying is not keying:
        answered = answered.noted(
            f"keys in the answer: {answered.keying.value}, offered: {offered.keying.value},"
            f" taken: {keying.value}"
        )
    return replace(answered, keying=keying)


def with_default_setup(track: RemoteTrack, default: Setup) -> RemoteTrack:
    """The DTLS role where a=setup is missing, or is actpass in an answer.

    Without a=setup an offer is active and an answer passive (RFC 4145 section 4). actpass is no
    answer; a peer that sends it waits for nobody, so it is taken as active.
    """
    if not track.fingerprints:
        return track
    if track.setup is None:
        return track.noted(f"a=setup is missing, taken as {default}", setup=default)
    if default is Setup.PASSIVE and track.setup is Setup.ACTPASS:
        return track.noted("actpass was answered, taken as active", setup=Setup.ACTIVE)
    return track


def _names_dtls(track: RemoteTrack) -> bool:
    return track.profile is not None and track.profile.dtls
