"""What the other side's description says about one m= line, made explicit.

Reading tolerates what peers are known to write and puts a note where it did. A line that cannot
be used is `rejected`, with the reason; nothing here ends the negotiation.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, TypeVar

from callmeter.errors import SdpSyntaxError
from callmeter.sdp.attributes import (
    MAX_PORT,
    CryptoAttribute,
    Direction,
    Fingerprint,
    RtcpAttribute,
    RtcpFb,
    Setup,
)
from callmeter.sdp.codecs import STATIC_PAYLOAD_TYPES, PayloadFormat, payload_formats
from callmeter.sdp.grammar import words
from callmeter.sdp.ice import IceDescription, read_ice
from callmeter.sdp.parser import packet_time
from callmeter.sdp.profiles import Keying, RtpProfile, parse_profile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from callmeter.sdp.description import MediaDescription, SessionDescription

__all__ = [
    "MAX_USED_MEDIA",
    "RemoteTrack",
    "read_formats",
    "read_track",
    "read_tracks",
    "unusable_address",
]

MAX_USED_MEDIA: Final = 8
"""m= lines beyond this many are read but not used."""

_DIRECTIONS: Final = tuple(direction.value for direction in Direction)
_ICE_ATTRIBUTES: Final = ("ice-ufrag", "ice-pwd", "candidate", "ice-lite")

_SSRC_DIGITS: Final = 10

_Value = TypeVar("_Value")


_TLS_ID: Final = re.compile(r"[A-Za-z0-9+/_-]{20,255}")


@dataclass(frozen=True, kw_only=True)
class RemoteTrack:
    """One m= line of the other side.

    Attributes:
        index: Its place, from 0.
        kind: Media type as written.
        protocol: Protocol of the m= line as written.
        profile: The same understood, None when it is not RTP over UDP.
        rejected: The line is refused, disabled or not usable.
        reason: Why, in words.
        address: Where the other side receives media, empty when it did not say.
        unusable_address: `"multicast"`, `"broadcast"` or `"unspecified"` when no media may be sent
            there, else None.
        port: Its RTP port.
        rtcp_address: Where it receives RTCP.
        rtcp_port: The port of that; 0 when there is none.
        rtcp_mux: It offers, or agreed to, RTP and RTCP on one port.
        formats: What it receives, with its numbers, in its order.
        direction: Its view: `SENDONLY` means that it sends and we only receive.
        hold: It put us on hold with address 0.0.0.0 (RFC 2543 section B.5).
        ptime: Packet time in milliseconds it prefers to receive.
        maxptime: Longest packet time it takes.
        keying: Offer: which keys it offers. Answer: which were agreed on.
        crypto: All a=crypto lines that can be read.
        fingerprints: All a=fingerprint lines that can be read.
        setup: Its role in the DTLS handshake; None without a fingerprint and a=setup.
        tls_id: Name of its end of the DTLS association (RFC 8842), or None.
        feedback: RTCP feedback messages it takes.
        reduced_size: It takes RTCP packets that do not begin with a report (RFC 5506).
        extended_reports: What it wants to be told in extended reports (RFC 3611 section 5), the
            names without their parameters.
        mid: Its identification tag (RFC 5888), or None.
        bundle: Tags of the BUNDLE group it belongs to (RFC 9143).
        ssrc: What it announced it sends with (RFC 5576), or None.
        ice: It speaks ICE (RFC 8839), so address and port may be placeholders.
        ice_description: Its credentials and candidates, None without usable credentials.
        notes: What was tolerated, dropped or corrected, in words; no key material.
    """

    index: int
    kind: str
    protocol: str
    profile: RtpProfile | None
    rejected: bool
    reason: str = ""
    address: str = ""
    unusable_address: str | None = None
    port: int
    rtcp_address: str = ""
    rtcp_port: int = 0
    rtcp_mux: bool = False
    formats: tuple[PayloadFormat, ...] = ()
    direction: Direction = Direction.SENDRECV
    hold: bool = False
    ptime: int | None = None
    maxptime: int | None = None
    keying: Keying = Keying.NONE
    crypto: tuple[CryptoAttribute, ...] = ()
    fingerprints: tuple[Fingerprint, ...] = ()
    setup: Setup | None = None
    tls_id: str | None = None
    feedback: tuple[RtcpFb, ...] = ()
    reduced_size: bool = False
    extended_reports: frozenset[str] = frozenset()
    mid: str | None = None
    bundle: tuple[str, ...] = ()
    ssrc: int | None = None
    ice: bool = False
    ice_description: IceDescription | None = None
    notes: tuple[str, ...] = ()

    @property
    def keys_missing(self) -> bool:
        """The profile asks for SRTP but there are no keys for it: an offer to answer with 488."""
        return self.profile is not None and self.profile.secure and self.keying is Keying.NONE

    def noted(self, note: str, **changes: object) -> RemoteTrack:
        """A copy with these changes and a note why."""
        # Fields of this class, by its own modules.
        return replace(self, notes=(*self.notes, note), **changes)  # type: ignore[arg-type]


def unusable_address(address: str) -> str | None:
    """Why no media may be sent to this address of a description, None when it may.

    Loopback is left to the caller: it depends on where the description came from.
    """
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return None
    if parsed.version == 6:  # noqa: PLR2004  IPv6
        parsed = parsed.ipv4_mapped or parsed
    if parsed.is_unspecified:
        return "unspecified"
    if parsed.is_multicast:
        return "multicast"
    return "broadcast" if str(parsed) == "255.255.255.255" else None


def read_tracks(description: SessionDescription) -> list[RemoteTrack]:
    """All m= lines of a description."""
    return [read_track(description, index) for index in range(len(description.media))]


def read_formats(description: SessionDescription) -> list[tuple[PayloadFormat, ...]]:
    """The formats of each m= line, as `read_track` finds them, and nothing else of it."""
    return [
        () if _refusal(media, index) else payload_formats(media)[0]
        for index, media in enumerate(description.media)
    ]


def read_track(
    description: SessionDescription,
    index: int,
    known: Mapping[int, PayloadFormat] = STATIC_PAYLOAD_TYPES,
) -> RemoteTrack:
    """One m= line.

    Args:
        description: Where it stands.
        index: Its place.
        known: What a payload type without a=rtpmap means.

    Raises:
        SdpSyntaxError: Only for a description that did not come from `parse_description`.
    """
    media = description.media[index]
    notes: list[str] = []
    profile = parse_profile(media.protocol)
    mid = media.attribute("mid")
    track = RemoteTrack(
        index=index,
        kind=media.kind,
        protocol=media.protocol,
        profile=profile,
        rejected=False,
        port=media.port,
        mid=mid,
        bundle=_bundle(description, mid),
    )
    refusal = _refusal(media, index)
    if refusal:
        return replace(track, rejected=True, reason=refusal)
    formats, format_notes = payload_formats(media, known)
    notes += format_notes
    fingerprints = _fingerprints(description, media, notes)
    crypto = _each(CryptoAttribute.parse, "crypto", media.attributes_named("crypto"), notes)
    track = replace(
        track,
        formats=formats,
        ptime=packet_time(media),
        maxptime=_maxptime(media, notes),
        crypto=crypto,
        fingerprints=fingerprints,
        keying=Keying.of(sdes=bool(crypto), dtls=bool(fingerprints)),
        setup=_setup(description, media, notes),
        tls_id=_tls_id(media, notes),
        feedback=_each(RtcpFb.parse, "rtcp-fb", media.attributes_named("rtcp-fb"), notes),
        reduced_size=media.has_attribute("rtcp-rsize"),
        extended_reports=_extended_reports(description, media),
        rtcp_mux=media.has_attribute("rtcp-mux"),
        direction=_direction(description, media, notes),
        ssrc=_ssrc(media),
        ice=any(part.attributes_named(*_ICE_ATTRIBUTES) for part in (media, description)),
        ice_description=read_ice(description, media, notes),
    )
    track = _with_addresses(track, description, media, notes)
    if track.keys_missing:
        notes.append(f"{media.protocol} without keys")
    return replace(track, notes=tuple(notes))


def _refusal(media: MediaDescription, index: int) -> str:
    """Why an m= line is out of use, empty when it is not."""
    if media.port == 0:
        return "port 0"
    if parse_profile(media.protocol) is None:
        return f"{media.protocol} is not RTP over UDP"
    return f"more than {MAX_USED_MEDIA} m= lines" if index >= MAX_USED_MEDIA else ""


def _extended_reports(description: SessionDescription, media: MediaDescription) -> frozenset[str]:
    """Of the m= section, or of the whole session where that says nothing (RFC 3611 section 5.1)."""
    text = media.attribute("rtcp-xr")
    if text is None:
        text = description.attribute("rtcp-xr") or ""
    return frozenset(word.partition("=")[0].lower() for word in words(text))


def _with_addresses(
    track: RemoteTrack,
    description: SessionDescription,
    media: MediaDescription,
    notes: list[str],
) -> RemoteTrack:
    connection = media.connection or description.connection
    if connection is None:
        return replace(track, rejected=True, reason="no connection address")
    address = connection.address
    unusable = unusable_address(address)
    track = replace(track, address=address, unusable_address=unusable)
    if unusable is not None:
        notes.append(f"the connection address is {unusable}")
    if unusable in {"multicast", "broadcast"}:
        return replace(track, rejected=True, reason=f"{unusable} address {address}")
    if unusable and not track.ice:
        direction = Direction.of(sends=track.direction.sends, receives=False)
        track = replace(track, hold=True, direction=direction)
    rtcp_port, rtcp_address = track.port + 1, address
    text = media.attribute("rtcp")
    if text is not None:
        rtcp = RtcpAttribute.parse(text)
        rtcp_port = rtcp.port
        if rtcp.address is not None and unusable_address(rtcp.address) is None:
            rtcp_address = rtcp.address
    if rtcp_port > MAX_PORT:
        notes.append("no port is left for RTCP")
        rtcp_port = 0
    return replace(track, rtcp_port=rtcp_port, rtcp_address=rtcp_address)


def _each(
    parse: Callable[[str], _Value], name: str, texts: Iterable[str], notes: list[str]
) -> tuple[_Value, ...]:
    """The values that can be read; the others are dropped and noted."""
    values: list[_Value] = []
    for number, text in enumerate(texts, 1):
        try:
            values.append(parse(text))
        except SdpSyntaxError as error:
            notes.append(f"a={name} line {number} dropped: {error}")
    return tuple(values)


def _fingerprints(
    description: SessionDescription, media: MediaDescription, notes: list[str]
) -> tuple[Fingerprint, ...]:
    """Those of the stream, else those of the session (RFC 8122 section 5)."""
    texts = media.attributes_named("fingerprint") or description.attributes_named("fingerprint")
    return tuple(dict.fromkeys(_each(Fingerprint.parse, "fingerprint", texts, notes)))


def _setup(
    description: SessionDescription, media: MediaDescription, notes: list[str]
) -> Setup | None:
    texts = media.attributes_named("setup") or description.attributes_named("setup")
    roles = _each(Setup.parse, "setup", texts, notes)
    if len(set(roles)) > 1:
        notes.append(f"a=setup is there with different roles, {roles[0]} is taken")
    return roles[0] if roles else None


def _tls_id(media: MediaDescription, notes: list[str]) -> str | None:
    found = media.attribute("tls-id")
    if found is None or _TLS_ID.fullmatch(found):
        return found
    notes.append("a=tls-id cannot be read and is left out (RFC 8842 section 4)")
    return None


def _ssrc(media: MediaDescription) -> int | None:
    """The first one announced; what cannot be read is no help, and no harm either."""
    number = (media.attribute("ssrc") or "").partition(" ")[0]
    usable = number.isascii() and number.isdigit() and len(number) <= _SSRC_DIGITS
    return int(number) if usable and int(number) < 1 << 32 else None


def _direction(
    description: SessionDescription, media: MediaDescription, notes: list[str]
) -> Direction:
    for part in (media, description):
        found = [item.key for item in part.attributes if item.key in _DIRECTIONS]
        if len(set(found)) > 1:
            notes.append(f"there are different directions, {found[0]} is taken")
        if found:
            return Direction(found[0])
    return Direction.SENDRECV


def _maxptime(media: MediaDescription, notes: list[str]) -> int | None:
    try:
        return packet_time(media, "maxptime")
    except SdpSyntaxError as error:
        notes.append(str(error))
        return None


def _bundle(description: SessionDescription, mid: str | None) -> tuple[str, ...]:
    for group in description.attributes_named("group"):
        semantics, *tags = [*words(group), ""]
        if semantics == "BUNDLE" and mid in tags:
            return tuple(filter(None, tags))
    return ()
