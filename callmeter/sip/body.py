"""Multipart bodies (RFC 2046 section 5.1, RFC 5621)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from callmeter.errors import SipSyntaxError
from callmeter.sip.headers import ContentType
from callmeter.sip.parser import parse_header_lines

if TYPE_CHECKING:
    from callmeter.sip.message import Headers, Message

__all__ = ["MAX_DEPTH", "MAX_PARTS", "Part", "multipart"]

MAX_DEPTH = 3
MAX_PARTS = 16

_RFC = "RFC 2046 section 5.1.1"
_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,\-./:=? ]{0,69}[0-9A-Za-z'()+_,\-./:=?]")


class Part:
    """One part of a multipart body.

    Attributes:
        headers: Its own header lines.
        body: Its octets, unchanged.
        parts: Its parts when it is a multipart itself.
    """

    __slots__ = ("body", "headers", "parts")

    def __init__(self, headers: Headers, body: bytes, parts: tuple[Part, ...] = ()) -> None:
        self.headers = headers
        self.body = body
        self.parts = parts

    @property
    def content_type(self) -> ContentType:
        """Its Content-Type; text/plain when it has none (RFC 2046 section 5.1).

        Raises:
            SipSyntaxError: Malformed.
        """
        value = self.headers.get_raw("Content-Type")
        return ContentType("text", "plain") if value is None else ContentType.parse(value)

    def __repr__(self) -> str:
        return f"<Part {len(self.body)} octets, {len(self.parts)} parts>"


def multipart(message: Message) -> list[Part]:
    """The parts of a multipart body; an empty list when the body is of another type.

    At most 16 parts in all and three multiparts within each other are read.

    Raises:
        SipSyntaxError: No usable boundary, no end boundary, a malformed part, or too many.
    """
    content_type = message.content_type
    if content_type is None or content_type.type != "multipart":
        return []
    return list(_split(message.body, content_type, 1, [MAX_PARTS]))


def _split(
    body: bytes, content_type: ContentType, depth: int, budget: list[int]
) -> tuple[Part, ...]:
    if depth > MAX_DEPTH:
        raise _malformed("multiparts are nested too deeply")
    boundary = content_type.param("boundary") or ""
    if _BOUNDARY.fullmatch(boundary) is None:
        raise _malformed("no usable boundary")
    parts = []
    for octets in _between_delimiters(body, boundary.encode()):
        budget[0] -= 1
        if budget[0] < 0:
            raise _malformed("too many parts")
        part = _part(octets)
        inner = part.content_type
        if inner.type == "multipart":
            part.parts = _split(part.body, inner, depth + 1, budget)
        parts.append(part)
    return tuple(parts)


def _between_delimiters(body: bytes, boundary: bytes) -> list[bytes]:
    """What stands between the delimiter lines, each with the CRLF that ends the first."""
    delimiter = re.compile(rb"(?:\A|\r\n)--" + re.escape(boundary) + rb"(--)?[ \t]*+(?=\r\n|\Z)")
    found: list[bytes] = []
    start: int | None = None
    for line in delimiter.finditer(body):
        if start is not None:
            found.append(body[start : line.start()])
            if len(found) > MAX_PARTS:
                raise _malformed("too many parts")
        if line[1] is not None:
            if start is None:
                break
            return found
        start = line.end()
    raise _malformed("no end boundary")


def _part(octets: bytes) -> Part:
    octets = octets[2:]
    if octets[:2] == b"\r\n":
        return Part(parse_header_lines(b""), octets[2:])
    head, blank, body = octets.partition(b"\r\n\r\n")
    if not blank:
        head = octets.removesuffix(b"\r\n")
    return Part(parse_header_lines(head), body)


def _malformed(message: str) -> SipSyntaxError:
    return SipSyntaxError(message, rfc=_RFC)
