"""A session description as the lines it consists of (RFC 8866 section 5).

The lines are the truth and keep their order and text, known or not, so a parsed description is
written back octet for octet. Typed views (`origin`, `connection`, `attributes` ...) are read from
them. Everything is immutable: a changed description is a new one.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Final, Self

from callmeter.errors import LocalProtocolError
from callmeter.sdp.attributes import MAX_PORT, Attribute
from callmeter.sdp.grammar import BLANKS, decimal, folded, is_token, redacted, syntax_error, words

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "Bandwidth",
    "Connection",
    "Line",
    "MediaDescription",
    "MediaLine",
    "Origin",
    "Section",
    "SessionDescription",
]

_ORIGIN_WORDS: Final = 6
_MEDIA_WORDS: Final = 3
_MAX_BANDWIDTH: Final = 2**32 - 1
_MAX_PORT_COUNT: Final = 255
_FORBIDDEN: Final = "\r\n\0"


@dataclass(frozen=True, slots=True, repr=False)
class Line:
    """One `type=value` line.

    Raises:
        LocalProtocolError: The value contains CR, LF or NUL.
    """

    type: str
    value: str

    def __post_init__(self) -> None:
        if any(character in self.value for character in _FORBIDDEN):
            raise LocalProtocolError("an SDP line may not contain CR, LF or NUL")

    def __str__(self) -> str:
        return f"{self.type}={self.value}"

    def __repr__(self) -> str:
        return f"Line({redacted(str(self))!r})"


@dataclass(frozen=True, slots=True)
class Origin:
    """o=: who made the description, and which version of it this is (RFC 8866 section 5.2)."""

    username: str
    session_id: int
    session_version: int
    net_type: str
    address_type: str
    address: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read an o= value; a session id or version that is no number of 20 digits counts as 0."""
        parts = words(text)
        if len(parts) < _ORIGIN_WORDS:
            raise syntax_error("o= has fewer than six fields", "RFC 8866 section 5.2", f"o={text}")
        *username, session_id, version, net_type, address_type, address = parts
        return cls(
            " ".join(username),
            _session_number(session_id),
            _session_number(version),
            net_type,
            address_type,
            address,
        )

    def __str__(self) -> str:
        return (
            f"{self.username} {self.session_id} {self.session_version}"
            f" {self.net_type} {self.address_type} {self.address}"
        )


@dataclass(frozen=True, slots=True)
class Connection:
    """c=: where media is received (RFC 8866 section 5.7).

    Attributes:
        address: Host name or address, without brackets and without the suffix.
        address_type: `"IP4"` or `"IP6"`.
        suffix: Multicast scope and count after the address, `"127/3"`, or empty.
    """

    address: str
    address_type: str
    suffix: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `IN IP4 192.0.2.1`."""
        parts = words(text)
        fields = [folded(part) for part in parts[:2]]
        if len(parts) != 3 or fields[0] != "in" or fields[1] not in {"ip4", "ip6"}:  # noqa: PLR2004  three words
            raise syntax_error(
                "c= is not IN, IP4 or IP6, and an address", "RFC 8866 section 5.7", f"c={text}"
            )
        address, _, suffix = parts[2].partition("/")
        return cls(address.strip("[]"), parts[1].upper(), suffix)

    @classmethod
    def to(cls, address: str) -> Self:
        """The connection to `address`, its type read off the address."""
        return cls(address, "IP6" if ":" in address else "IP4")

    def __str__(self) -> str:
        suffix = f"/{self.suffix}" if self.suffix else ""
        return f"IN {self.address_type} {self.address}{suffix}"


@dataclass(frozen=True, slots=True)
class Bandwidth:
    """b=: proposed bandwidth, kbit/s for `AS` and `CT` (RFC 8866 section 5.8)."""

    kind: str
    value: int

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Read `AS:64`; None when it is not a name and a number."""
        kind, _, number = text.strip(BLANKS).partition(":")
        value = decimal(number, 0, _MAX_BANDWIDTH)
        return cls(kind, value) if value is not None and is_token(kind) else None

    def __str__(self) -> str:
        return f"{self.kind}:{self.value}"


@dataclass(frozen=True, slots=True)
class MediaLine:
    """m=: one stream (RFC 8866 section 5.14).

    Attributes:
        kind: `"audio"`, `"video"` ...
        port: Where media is received; 0 refuses or disables the stream.
        port_count: Number of port pairs, 1 when none is written.
        protocol: As written, `"RTP/AVP"`.
        formats: As written; payload types under an RTP protocol.
    """

    kind: str
    port: int
    protocol: str
    formats: tuple[str, ...]
    port_count: int = 1

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `audio 49170 RTP/AVP 0 8`; only a refused stream may go without formats."""
        parts = words(text)
        if len(parts) < _MEDIA_WORDS:
            raise _media_error("m= has fewer than three fields", text)
        kind, ports, protocol, *formats = parts
        port_text, slash, count_text = ports.partition("/")
        port = decimal(port_text, 0, MAX_PORT)
        count = decimal(count_text, 1, _MAX_PORT_COUNT) if slash else 1
        if port is None or count is None:
            raise _media_error("m= has a port that is not 0-65535", text)
        if not is_token(kind):
            raise _media_error("m= does not start with a media type", text)
        if port and not formats:
            raise _media_error("m= has no format", text)
        return cls(kind, port, protocol, tuple(formats), count)

    def __str__(self) -> str:
        port = str(self.port) if self.port_count == 1 else f"{self.port}/{self.port_count}"
        return " ".join((self.kind, port, self.protocol, *self.formats))


@dataclass(frozen=True)
class Section:
    """The lines that belong together: those of the session, or those of one stream."""

    lines: tuple[Line, ...]

    @cached_property
    def attributes(self) -> tuple[Attribute, ...]:
        """The a= lines in their order."""
        return tuple(Attribute.parse(value) for value in self.values("a"))

    @cached_property
    def connection(self) -> Connection | None:
        """The first c= line, None when there is none."""
        return next(map(Connection.parse, self.values("c")), None)

    @property
    def bandwidth(self) -> tuple[Bandwidth, ...]:
        """The b= lines that can be read."""
        return tuple(filter(None, map(Bandwidth.parse, self.values("b"))))

    def values(self, line_type: str) -> tuple[str, ...]:
        """The values of all lines of this type."""
        return tuple(line.value for line in self.lines if line.type == line_type)

    def attribute(self, name: str) -> str | None:
        """The value of the first attribute of that name: empty for a property, None if absent."""
        return next((value for value in self.attributes_named(name)), None)

    def attributes_named(self, *names: str) -> tuple[str, ...]:
        """The values of all attributes of these names, empty for a property attribute."""
        return tuple(value for key, value in self._attribute_values if key in names)

    @cached_property
    def _attribute_values(self) -> tuple[tuple[str, str], ...]:
        # A track is read by some twenty names: each is folded once, not twenty times.
        return tuple((item.key, item.value or "") for item in self.attributes)

    def has_attribute(self, name: str) -> bool:
        """Whether an attribute of that name is there."""
        return self.attribute(name) is not None

    def with_attributes(self, *attributes: Attribute) -> Self:
        """A copy with these attributes added at the end."""
        added = tuple(Line("a", str(item)) for item in attributes)
        return replace(self, lines=self.lines + added)

    def without_attributes(self, *names: str) -> Self:
        """A copy without the attributes of these names."""
        kept = tuple(
            line
            for line in self.lines
            if line.type != "a" or Attribute.parse(line.value).key not in names
        )
        return replace(self, lines=kept)


@dataclass(frozen=True)
class MediaDescription(Section):
    """One m= line and all that follows it up to the next."""

    @classmethod
    def build(cls, media: MediaLine, lines: Iterable[Line] = ()) -> Self:
        """A description of the stream `media` with these further lines."""
        return cls((Line("m", str(media)), *lines))

    @cached_property
    def media(self) -> MediaLine:
        """The m= line itself."""
        return MediaLine.parse(self.lines[0].value)

    @property
    def kind(self) -> str:
        """`"audio"`, `"video"` ..., as written."""
        return self.media.kind

    @property
    def port(self) -> int:
        """Where media is received; 0 refuses or disables the stream."""
        return self.media.port

    @property
    def port_count(self) -> int:
        """Number of port pairs."""
        return self.media.port_count

    @property
    def protocol(self) -> str:
        """The protocol as written."""
        return self.media.protocol

    @property
    def formats(self) -> tuple[str, ...]:
        """The formats as written."""
        return self.media.formats


@dataclass(frozen=True)
class SessionDescription(Section):
    """A whole session description.

    Attributes:
        lines: The lines before the first m=.
        media: The streams.
        notes: What the parser tolerated, in words. Not part of comparisons.
    """

    media: tuple[MediaDescription, ...] = ()
    notes: tuple[str, ...] = field(default=(), compare=False)

    @property
    def version(self) -> int:
        """v=, always 0 (RFC 8866 section 5.1)."""
        return 0

    @cached_property
    def origin(self) -> Origin:
        """The o= line.

        Raises:
            SdpSyntaxError: There is none; `parse_description` does not let such one through.
        """
        for text in self.values("o"):
            return Origin.parse(text)
        raise syntax_error("o= is missing", "RFC 8866 section 5.2", "")

    @property
    def name(self) -> str:
        """s=, `"-"` when it is missing."""
        return next(iter(self.values("s")), "-")

    @property
    def timing(self) -> tuple[str, ...]:
        """The t= lines, text."""
        return self.values("t")

    def with_media(self, index: int, media: MediaDescription) -> SessionDescription:
        """A copy whose stream at `index` is `media`."""
        streams = list(self.media)
        streams[index] = media
        return replace(self, media=tuple(streams))

    def to_bytes(self) -> bytes:
        """The description as it goes on the wire, every line ended by CRLF."""
        lines = [*self.lines, *(line for media in self.media for line in media.lines)]
        return "".join(f"{line}\r\n" for line in lines).encode("utf-8", "surrogateescape")

    def __str__(self) -> str:
        return self.to_bytes().decode("utf-8", "replace")


def _session_number(text: str) -> int:
    """A 64-bit number: it only tells versions apart, so an odd one is no reason to refuse."""
    high, low = decimal(text[:-10] or "0", 0, 10**10), decimal(text[-10:], 0, 10**10)
    return 0 if high is None or low is None else high * 10**10 + low


def _media_error(message: str, text: str) -> Exception:
    return syntax_error(message, "RFC 8866 section 5.14", f"m={text}")
