"""Octets to a session description: strict about numbers and limits, tolerant about form.

Accepted with a note: LF without CR, no newline at the end, empty lines, a missing s= or t=.
Lines and attributes that are not known are kept.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from callmeter.errors import SdpSyntaxError
from callmeter.sdp.attributes import RtcpAttribute
from callmeter.sdp.codecs import payload_formats
from callmeter.sdp.description import Line, MediaDescription, Section, SessionDescription
from callmeter.sdp.grammar import BLANKS, decimal, syntax_error
from callmeter.sdp.profiles import parse_profile

__all__ = ["DEFAULT_LIMITS", "MAX_PTIME", "SdpLimits", "packet_time", "parse_description"]

MAX_PTIME: Final = 500
_LINE: Final = re.compile(r"([A-Za-z])=(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class SdpLimits:
    """Caps checked before anything is built.

    Attributes:
        octets: Of the whole description.
        line: Octets of one line.
        media: m= lines.
        attributes: a= lines in all.
    """

    octets: int = 65_536
    line: int = 8192
    media: int = 64
    attributes: int = 512


DEFAULT_LIMITS: Final = SdpLimits()


def parse_description(data: bytes, limits: SdpLimits = DEFAULT_LIMITS) -> SessionDescription:
    """Read a session description (RFC 8866).

    Args:
        data: The body of type application/sdp.
        limits: What to refuse for its size.

    Returns:
        The description; `notes` says what was tolerated.

    Raises:
        SdpSyntaxError: It cannot be understood, has a number out of range in a stream that is in
            use, or exceeds a limit.
    """
    notes: list[str] = []
    lines = _lines(data, limits, notes)
    _check_counts(lines, limits)
    bounds = [index for index, line in enumerate(lines) if line.type == "m"] + [len(lines)]
    session = lines[: bounds[0]]
    _check_session(session, notes)
    media = tuple(MediaDescription(tuple(lines[start:end])) for start, end in pairwise(bounds))
    description = SessionDescription(tuple(session), media, tuple(notes))
    _check_values(description)
    return description


def packet_time(media: Section, name: str = "ptime") -> int | None:
    """a=ptime in milliseconds, brought into 1 to 500, None when it is absent.

    Raises:
        SdpSyntaxError: It is not a number.
    """
    text = media.attribute(name)
    if text is None:
        return None
    value = decimal(text, 0, 10**10)
    if value is None:
        raise syntax_error(f"a={name} is not a number", "RFC 8866 section 6.4", f"a={name}:{text}")
    return min(max(value, 1), MAX_PTIME)


def _lines(data: bytes, limits: SdpLimits, notes: list[str]) -> list[Line]:
    if len(data) > limits.octets:
        raise SdpSyntaxError(f"the description has more than {limits.octets} octets")
    if b"\0" in data:
        raise SdpSyntaxError("the description contains NUL", rfc="RFC 8866 section 5")
    rows = data.split(b"\n")
    if rows[-1]:
        notes.append("the last line has no newline")
    else:
        rows.pop()
    if any(not row.endswith(b"\r") for row in rows[: data.count(b"\n")]):
        notes.append("lines end in LF instead of CRLF")
    lines: list[Line] = []
    for row in rows:
        octets = row.rstrip(b"\r")
        if len(octets) > limits.line:
            raise SdpSyntaxError(f"a line has more than {limits.line} octets")
        text = octets.decode("utf-8", "surrogateescape")
        if not text.strip(BLANKS):
            notes.append("there is an empty line")
            continue
        match = _LINE.fullmatch(text)
        if match is None or "\r" in text:
            raise syntax_error("a line is not type=value", "RFC 8866 section 5", text)
        lines.append(Line(match[1], match[2]))
    return lines


def _check_counts(lines: list[Line], limits: SdpLimits) -> None:
    types = [line.type for line in lines]
    if types.count("m") > limits.media:
        raise SdpSyntaxError(f"there are more than {limits.media} m= lines")
    if types.count("a") > limits.attributes:
        raise SdpSyntaxError(f"there are more than {limits.attributes} a= lines")


def _check_session(lines: list[Line], notes: list[str]) -> None:
    if not lines or lines[0].type != "v":
        raise SdpSyntaxError("the description does not start with v=", rfc="RFC 8866 section 5.1")
    if lines[0].value.strip(BLANKS) != "0":
        raise syntax_error("v= is not 0", "RFC 8866 section 5.1", str(lines[0]))
    types = [line.type for line in lines]
    notes.extend(f"{name}= is missing" for name in "st" if name not in types)
    notes.extend(f"{name}= is there twice" for name in "vosc" if types.count(name) > 1)


def _check_values(description: SessionDescription) -> None:
    """Read what has a grammar, so that a description that was parsed can be used."""
    _ = description.origin, description.connection
    for media in description.media:
        if parse_profile(media.protocol) is None:
            continue
        payload_formats(media)
        if media.port:
            _ = media.connection
            packet_time(media)
            for text in media.attributes_named("rtcp"):
                RtcpAttribute.parse(text)
