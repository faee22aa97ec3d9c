"""Session descriptions (RFC 8866) and their offer/answer model (RFC 3264), without any I/O."""

from __future__ import annotations

from callmeter.sdp.attributes import (
    Attribute,
    CryptoAttribute,
    Direction,
    Fingerprint,
    Fmtp,
    RtcpAttribute,
    RtcpFb,
    RtpMap,
    Setup,
)
from callmeter.sdp.codecs import (
    ENCODINGS,
    STATIC_PAYLOAD_TYPES,
    VIDEO_ENCODINGS,
    PayloadFormat,
    find_format,
    formats_for,
    select_formats,
    telephone_event,
)
from callmeter.sdp.description import (
    Connection,
    Line,
    MediaDescription,
    MediaLine,
    Origin,
    SessionDescription,
)
from callmeter.sdp.h264_format import H264Parameters
from callmeter.sdp.ice import Candidate, IceDescription, host_candidate
from callmeter.sdp.offer_answer import (
    NegotiationState,
    OfferAnswer,
    agreed_keying,
    answer_direction,
)
from callmeter.sdp.parser import SdpLimits, parse_description
from callmeter.sdp.profiles import Keying, RtpProfile, parse_profile, profile_for
from callmeter.sdp.remote_track import RemoteTrack, read_tracks, unusable_address
from callmeter.sdp.tracks import TrackAnswer, TrackOffer

__all__ = [
    "ENCODINGS",
    "STATIC_PAYLOAD_TYPES",
    "VIDEO_ENCODINGS",
    "Attribute",
    "Candidate",
    "Connection",
    "CryptoAttribute",
    "Direction",
    "Fingerprint",
    "Fmtp",
    "H264Parameters",
    "IceDescription",
    "Keying",
    "Line",
    "MediaDescription",
    "MediaLine",
    "NegotiationState",
    "OfferAnswer",
    "Origin",
    "PayloadFormat",
    "RemoteTrack",
    "RtcpAttribute",
    "RtcpFb",
    "RtpMap",
    "RtpProfile",
    "SdpLimits",
    "SessionDescription",
    "Setup",
    "TrackAnswer",
    "TrackOffer",
    "agreed_keying",
    "answer_direction",
    "find_format",
    "formats_for",
    "host_candidate",
    "parse_description",
    "parse_profile",
    "profile_for",
    "read_tracks",
    "select_formats",
    "telephone_event",
    "unusable_address",
]
