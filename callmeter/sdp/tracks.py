"""What this side says about one m= line, in an offer or in an answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from callmeter.errors import LocalProtocolError
from callmeter.sdp.attributes import (
    MAX_PAYLOAD_TYPE,
    MAX_PORT,
    Attribute,
    CryptoAttribute,
    Direction,
    Fingerprint,
    Fmtp,
    RtcpAttribute,
    RtcpFb,
    Setup,
)
from callmeter.sdp.description import Connection, Line, MediaDescription, MediaLine
from callmeter.sdp.grammar import is_token
from callmeter.sdp.profiles import Keying, RtpProfile

if TYPE_CHECKING:
    from callmeter.sdp.codecs import PayloadFormat

__all__ = ["TrackAnswer", "TrackOffer"]

_MAX_SSRC: Final = 2**32 - 1


@dataclass(frozen=True, kw_only=True)
class TrackAnswer:
    """What is answered for one m= line.

    The m= line's protocol is that of the offer (RFC 3264 section 6), whatever the keys.

    Attributes:
        port: Where RTP is received; 0 refuses or disables the stream.
        address: Where media is received, an IP address or host name.
        formats: In order of preference; in an answer the offerer's numbers.
        direction: What this side wants; an answer takes the part of it that the offer allows.
        ptime: Packet time in milliseconds this side prefers to receive.
        bandwidth: What this side takes at most, in kbit/s with all headers (RFC 8866 section 5.8,
            `AS`); None says nothing.
        rtcp_mux: RTP and RTCP on one port (RFC 5761); in an answer only if it was offered.
        rtcp_port: Where RTCP is received without rtcp-mux, None for the next port.
        crypto: a=crypto lines (RFC 4568): all choices in an offer, the chosen one in an answer.
        fingerprints: a=fingerprint lines (RFC 8122).
        setup: Role in the DTLS handshake; None takes actpass in an offer, and in an answer the
            role that fits the offer's.
        feedback: RTCP feedback messages (RFC 4585); in an answer only those that were offered.
        reduced_size: RTCP packets need not begin with a report (RFC 5506); in an answer only if
            it was offered.
        extended_reports: What this side wants to be told in extended reports (RFC 3611).
        ssrc: SSRC this side sends with, announced with `cname` (RFC 5576).
        cname: Its RTCP canonical name.
        attributes: Further attributes, written last.

    Raises:
        LocalProtocolError: A value that no description can hold.
    """

    port: int
    address: str
    formats: tuple[PayloadFormat, ...]
    direction: Direction = Direction.SENDRECV
    ptime: int | None = None
    bandwidth: int | None = None
    rtcp_mux: bool = False
    rtcp_port: int | None = None
    crypto: tuple[CryptoAttribute, ...] = ()
    fingerprints: tuple[Fingerprint, ...] = ()
    setup: Setup | None = None
    feedback: tuple[RtcpFb, ...] = ()
    reduced_size: bool = False
    extended_reports: tuple[str, ...] = ()
    ssrc: int | None = None
    cname: str | None = None
    attributes: tuple[Attribute, ...] = ()

    def __post_init__(self) -> None:
        if not self.formats:
            raise LocalProtocolError("a track has at least one format")
        numbers = [item.payload_type for item in self.formats]
        in_range = all(0 <= number <= MAX_PAYLOAD_TYPE for number in numbers)
        if not in_range or len(set(numbers)) != len(numbers):
            raise LocalProtocolError("payload types are 0 to 127, each used once")
        if not all(0 <= port <= MAX_PORT for port in (self.port, self.rtcp_port or 0)):
            raise LocalProtocolError(f"a port is 0 to {MAX_PORT}")
        if not 0 <= (self.ssrc or 0) <= _MAX_SSRC:
            raise LocalProtocolError("ssrc is a number of 32 bits")
        if not self.address or any(blank in self.address for blank in " \t"):
            raise LocalProtocolError("address is one IP address or host name")

    @property
    def keying(self) -> Keying:
        """The keys this track carries."""
        return Keying.of(sdes=bool(self.crypto), dtls=bool(self.fingerprints))

    def describe(
        self, kind: str, protocol: str, setup: Setup, *, session_address: str
    ) -> MediaDescription:
        """The m= section that says this.

        Args:
            kind: `"audio"` ...
            protocol: Text for the m= line.
            setup: The DTLS role where `setup` is None.
            session_address: Address of the session's c= line; another gets a c= of its own.
        """
        formats = tuple(str(item.payload_type) for item in self.formats)
        media = MediaLine(kind, self.port, protocol, formats)
        lines = [Line("a", str(attribute)) for attribute in self._attributes(setup)]
        if self.bandwidth is not None:
            lines.insert(0, Line("b", f"AS:{self.bandwidth}"))
        if self.address != session_address:
            lines.insert(0, Line("c", str(Connection.to(self.address))))
        return MediaDescription.build(media, lines)

    def _attributes(self, setup: Setup) -> list[Attribute]:
        found: list[Attribute] = []
        for item in self.formats:
            found.append(Attribute("rtpmap", str(item.rtpmap)))
            if item.fmtp is not None:
                found.append(Attribute("fmtp", str(Fmtp(item.payload_type, item.fmtp))))
        if self.ptime is not None:
            found.append(Attribute("ptime", str(self.ptime)))
        found.append(Attribute(self.direction.value))
        found += self._rtcp_attributes()
        found += [Attribute("crypto", str(crypto)) for crypto in self.crypto]
        if self.fingerprints:
            found.append(Attribute("setup", self.setup or setup))
        found += [Attribute("fingerprint", str(item)) for item in self.fingerprints]
        if self.ssrc is not None and self.cname is not None:
            found.append(Attribute("ssrc", f"{self.ssrc} cname:{self.cname}"))
        return [*found, *self.attributes]

    def _rtcp_attributes(self) -> list[Attribute]:
        """Where RTCP is received and which feedback is taken.

        With rtcp-mux the port is written only when a separate one is kept open for a peer that
        cannot multiplex (RFC 5761 section 5.1.1).
        """
        port = self.rtcp_port
        if port is None and not self.rtcp_mux and 0 < self.port < MAX_PORT:
            port = self.port + 1
        found = [] if port is None else [Attribute("rtcp", str(RtcpAttribute(port)))]
        if self.rtcp_mux:
            found.append(Attribute("rtcp-mux"))
        if self.reduced_size:
            found.append(Attribute("rtcp-rsize"))
        if self.extended_reports:
            found.append(Attribute("rtcp-xr", " ".join(self.extended_reports)))
        return found + [Attribute("rtcp-fb", str(item)) for item in self.feedback]


@dataclass(frozen=True, kw_only=True)
class TrackOffer(TrackAnswer):
    """What is offered for one m= line: a `TrackAnswer` with the m= line's own fields.

    Attributes:
        kind: Media type.
        profile: The m= line's protocol, by `profile_for`.
    """

    kind: str = "audio"
    profile: RtpProfile

    def __post_init__(self) -> None:
        super().__post_init__()
        if not is_token(self.kind):
            raise LocalProtocolError("kind is a media type such as 'audio'")
