"""Octets to messages: one datagram, one message (RFC 3261 sections 7 and 18.3).

There are two ways to the same result. A message of the usual shape, as most are, is checked
by one pattern, which takes a part of what the grammar takes and nothing else; its lines are
split when first asked for. Every other message goes line by line through the full grammar,
which alone decides what is wrong.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from itertools import compress, repeat
from typing import cast

from callmeter.errors import SipSyntaxError
from callmeter.sip.extension_headers import Replaces
from callmeter.sip.grammar import KNOWN_METHODS, is_token, to_bytes, to_text
from callmeter.sip.header_fields import KEYS, Headers, header_key
from callmeter.sip.message import Request, Response
from callmeter.sip.uri import OtherUri, SipUri
from callmeter.sip.usual_message import (
    USUAL_LINE_COUNT,
    Found,
    UsualLines,
    match_request,
    match_response,
)

__all__ = [
    "DEFAULT_LIMITS",
    "Head",
    "ParserLimits",
    "is_keepalive",
    "parse_header_lines",
    "parse_message",
    "usual_match",
    "usual_message",
]

_RFC_GRAMMAR = "RFC 3261 section 25.1"


@dataclass(frozen=True, slots=True)
class ParserLimits:
    """What is refused before memory is spent on it.

    Attributes:
        message: Octets of one message; more is a 513.
        start_line: Octets of the start line; more is a 414.
        header_line: Octets of one header with its continuation lines; more is a 400.
        head: Octets of start line and headers; more is a 513.
        header_lines: Header lines; more is a 400.
        vias: Via values; more is a 400.
        routes: Route or Record-Route values; more is a 400.
        body: Octets of the body; more is a 413.
        usual: Octets of a head that cannot be over one of these limits; computed.
        small: Octets of a message that cannot; computed.
    """

    message: int = 65_535
    start_line: int = 8_192
    header_line: int = 8_192
    head: int = 32_768
    header_lines: int = 256
    vias: int = 64
    routes: int = 64
    body: int = 65_536
    usual: int = field(init=False, repr=False)
    small: int = field(init=False, repr=False)

    def __post_init__(self) -> None:
        counts = min(self.header_lines, self.vias, self.routes)
        octets = min(self.start_line, self.header_line, self.head)
        usual = octets if counts >= USUAL_LINE_COUNT else 0
        object.__setattr__(self, "usual", usual)
        object.__setattr__(self, "small", min(usual, self.message, self.body))


DEFAULT_LIMITS = ParserLimits()

_SINGLE = frozenset(
    {
        "from",
        "to",
        "call-id",
        "cseq",
        "max-forwards",
        "content-type",
        "content-disposition",
        "event",
        "expires",
        "min-expires",
        "min-se",
        "rack",
        "refer-to",
        "referred-by",
        "replaces",
        "rseq",
        "session-expires",
    }
)
_LOST_ESCAPES = re.compile(r"\?(to-tag|from-tag)\?")
_OF_INVITE = frozenset({"INVITE", "ACK", "CANCEL"})
_FOLD = re.compile(rb"[ \t]*+\r\n[ \t]++")
_VERSION = re.compile(rb"[Ss][Ii][Pp]/[0-9]++\.[0-9]++")
_STATUS = re.compile(rb"([1-6][0-9]{2})(?: ([^\x00-\x08\x0a-\x1f\x7f]*+))?")

_call_id = re.compile(rb"[!-~\x80-\xff]++").fullmatch
_LENGTH = UsualLines._fields.index("length") + 1

_digits = re.compile(rb"[0-9]++").fullmatch


class Head:
    """Start line and header lines of a message whose body is not yet looked at.

    Args:
        data: Start line and headers, without the empty line that ends them.
        limits: What is refused.

    Raises:
        SipSyntaxError: Over a limit, or a line is no header line: there is no telling where
            the message ends.
    """

    __slots__ = ("headers", "limits", "start_line")

    def __init__(self, data: bytes, limits: ParserLimits) -> None:
        self.limits = limits
        self.headers = Headers()
        lines = data.split(b"\r\n")
        count = len(lines) - 1
        self.start_line = lines.pop(0)
        faults: list[tuple[str, int]] = []
        if len(self.start_line) > limits.start_line:
            faults.append(("the start line is too long", 414))
        if data.count(b"\n") != count or data.count(b"\r") != count:
            faults.append(("a CR or LF alone", 400))
            lines = [line for line in lines if b"\n" not in line and b"\r" not in line]
            if b"\n" in self.start_line or b"\r" in self.start_line:
                self.start_line = b""
        elif b"\n " in data or b"\n\t" in data:
            if lines[0][:1] in {b" ", b"\t"}:
                faults.append(("the start line cannot be folded", 400))
            lines = _FOLD.sub(b" ", b"\r\n".join(lines)).split(b"\r\n")
        if count > limits.header_lines:
            faults.append(("too many header lines", 400))
            del lines[limits.header_lines :]
        if len(data) > limits.header_line and max(map(len, lines), default=0) > limits.header_line:
            faults.append(("a header line is too long", 400))
        if lines and not self._file(lines):
            faults.append(("a line that is no header line", 400))
        if faults:
            message, status = faults[0]
            raise self.error(message, status=status, excerpt=data)

    def _file(self, lines: list[bytes]) -> bool:
        """File the lines under their keys; False when one is no header line."""
        names, colons, values = zip(*map(bytes.partition, lines, repeat(b":")), strict=True)
        keys = [*map(KEYS.get, names)]
        stripped = [*map(bytes.strip, values, repeat(b" \t"))]
        if None not in keys and all(colons):
            self.headers = Headers.from_raw(cast("list[str]", keys), [*names], stripped)
            return True
        any_keys = [
            header_key(name) if colon else None for name, colon in zip(names, colons, strict=True)
        ]
        self.headers = Headers.from_raw(
            [key for key in any_keys if key],
            [name.strip(b" \t") for name in compress(names, any_keys)],
            [*compress(stripped, any_keys)],
        )
        return None not in any_keys

    def content_length(self) -> int | None:
        """The declared octets of the body, or None when not declared.

        Raises:
            SipSyntaxError: It is not 1 to 10 digits, two lines differ, or the body would be
                over the limit.
        """
        headers = self.headers
        value = headers.get_raw("Content-Length")
        if value is None:
            return None
        if headers.line_keys.count("content-length") > 1:
            lengths = {_length(to_bytes(text)) for text in headers.get_all("Content-Length")}
            length = lengths.pop() if len(lengths) == 1 else None
        else:
            length = _length(value)
        if length is None:
            raise self.error(
                "malformed or contradictory Content-Length",
                rfc="RFC 3261 section 20.14",
                excerpt=value,
            )
        if length > self.limits.body:
            raise self.error("the body is too long", status=413)
        return length

    def message(self, body: bytes) -> Request | Response:
        """The message, checked.

        Raises:
            SipSyntaxError: It is no valid message; `status` tells how to answer it.
        """
        try:
            if self.start_line[:4].upper() == b"SIP/":
                message: Request | Response = self._response(body)
            else:
                message = self._request(body)
            _check_headers(message, self.limits)
        except SipSyntaxError as error:
            error.partial = self._partial()
            raise
        return message

    def _request(self, body: bytes) -> Request:
        parts = self.start_line.split(b" ")
        if len(parts) != 3:  # noqa: PLR2004  method, Request-URI, version
            raise SipSyntaxError(
                "malformed Request-Line", rfc="RFC 3261 section 7.1", excerpt=self.start_line
            )
        method, uri, version = parts
        if version != b"SIP/2.0":
            _check_version(version)
        text = to_text(method)
        if text not in KNOWN_METHODS and not is_token(text):
            raise SipSyntaxError("malformed method", rfc=_RFC_GRAMMAR, excerpt=method)
        request = Request(text, uri, self.headers, body)
        if isinstance(request.uri, SipUri) and request.uri.headers:
            return _without_uri_headers(request, request.uri, uri)
        return request

    def _response(self, body: bytes) -> Response:
        version, _, rest = self.start_line.partition(b" ")
        if version != b"SIP/2.0":
            _check_version(version)
        found = _STATUS.fullmatch(rest)
        if found is None:
            raise SipSyntaxError(
                "malformed Status-Line", rfc="RFC 3261 section 7.2", excerpt=self.start_line
            )
        return Response(int(found[1]), to_text(found[2] or b""), self.headers, body)

    def _partial(self) -> Request | Response | None:
        """What can be read, so that a request can be refused; None when there is no start."""
        first, _, rest = self.start_line.partition(b" ")
        if not rest:
            return None
        if first[:4].upper() == b"SIP/":
            found = _STATUS.fullmatch(rest)
            return None if found is None else Response(int(found[1]), "", self.headers)
        method = to_text(first)
        uri = to_text(rest.rpartition(b" ")[0] or rest)
        return Request(method, OtherUri("", uri), self.headers) if is_token(method) else None

    def error(
        self, message: str, *, status: int = 400, rfc: str = _RFC_GRAMMAR, excerpt: bytes = b""
    ) -> SipSyntaxError:
        """An error that carries what could be read so far."""
        return SipSyntaxError(
            message, rfc=rfc, excerpt=excerpt, status=status, partial=self._partial()
        )


def _without_uri_headers(request: Request, uri: SipUri, raw: bytes) -> Request:
    """The request with a Replaces of its Request-URI among its headers.

    baresip 1.0 puts the Refer-To there as it stands when it is transferred, with a question mark
    for each escape. Headers there are forbidden (RFC 3261 section 19.1.1), and this one says all
    the same which call is meant: whoever looks for it compares all three fields.

    Raises:
        SipSyntaxError: There are others, or the method takes no part in an INVITE.
    """
    names = [name.lower() for name, _ in uri.headers]
    if names != ["replaces"] or request.method not in _OF_INVITE or "Replaces" in request.headers:
        raise SipSyntaxError(
            "headers in the Request-URI", rfc="RFC 3261 section 19.1.1", excerpt=raw
        )
    wanted = Replaces.parse(_LOST_ESCAPES.sub(r";\1=", uri.header("Replaces") or ""))
    if request.method == "INVITE":
        request.headers.add("Replaces", str(wanted))
    return Request(request.method, replace(uri, headers=()), request.headers, request.body)


def parse_message(data: bytes, limits: ParserLimits = DEFAULT_LIMITS) -> Request | Response:
    """Parse one datagram, or one WebSocket message.

    Octets behind the Content-Length are ignored; without one the body runs to the end
    (RFC 3261 section 18.3).

    Args:
        data: The datagram.
        limits: What is refused.

    Returns:
        A checked message.

    Raises:
        SipSyntaxError: It is no valid message. `status` is the answer to a request (400,
            413, 414, 505, 513), `partial` what can be read of it, or None.
    """
    if type(data) is not bytes:
        data = bytes(data)
    found = usual_match(data, limits)
    if found is None:
        return _any_message(data, limits)
    return (Response if data[:4] == b"SIP/" else Request).from_usual(found, data)


def usual_message(data: bytes, limits: ParserLimits) -> Request | Response | None:
    """The message if it has the usual shape and fills the data, else None: that says nothing."""
    found = usual_match(data, limits)
    return None if found is None else _message(found, data)


def _message(found: Found, data: bytes) -> Request | Response:
    return (Response if data[:4] == b"SIP/" else Request).from_usual(found, data)


def usual_match(data: bytes, limits: ParserLimits) -> Found | None:
    """The match of the head if a message has the usual shape and fills the data, else None.

    Its groups are the fields of `UsualLines`. None says nothing about the message.
    """
    # One character for each octet; all that the pattern captures alone is ASCII.
    text = data.decode("latin-1")
    found = match_response(text) if data[:4] == b"SIP/" else match_request(text)
    if found is None:
        return None
    end, size, length = found.end(), len(data), int(found[_LENGTH])
    if (
        end + length != size
        or (size > limits.small and not _fits(end, size, length, limits))
        or text.rfind("..", 0, end) >= 0  # in half the time of `find`
    ):
        return None
    return found


def _fits(end: int, size: int, length: int, limits: ParserLimits) -> bool:
    return end <= limits.usual and size <= limits.message and length <= limits.body


def _any_message(data: bytes, limits: ParserLimits) -> Request | Response:
    if data[:2] == b"\r\n":
        data = data.lstrip(b"\r\n")
    end = data.find(b"\r\n\r\n")
    if end < 0 or end > limits.head:
        head = Head(_whole_lines(data, limits), limits)
        raise head.error("the headers do not end", status=400 if end < 0 else 513)
    head = Head(data[:end], limits)
    if len(data) > limits.message:
        raise head.error("the message is too long", status=513)
    body = data[end + 4 :]
    length = head.content_length()
    if length is not None and length != len(body):
        if length > len(body):
            raise head.error(
                "Content-Length is larger than the message", rfc="RFC 3261 section 18.3"
            )
        body = body[:length]
    if len(body) > limits.body:
        raise head.error("the body is too long", status=413)
    return head.message(body)


def parse_header_lines(data: bytes, limits: ParserLimits = DEFAULT_LIMITS) -> Headers:
    """Header lines alone, such as those of a part of a multipart body.

    Raises:
        SipSyntaxError: Over a limit, or a line is no header line.
    """
    if not data:
        return Headers()
    try:
        return Head(b"\r\n" + data, limits).headers
    except SipSyntaxError as error:
        error.partial = None
        raise


def is_keepalive(data: bytes) -> bool:
    """Whether a datagram holds nothing but CR, LF and NUL (RFC 5626 section 3.5.1)."""
    return not data.strip(b"\r\n\0")


def _whole_lines(data: bytes, limits: ParserLimits) -> bytes:
    cut = data[: limits.head]
    end = cut.rfind(b"\r\n")
    return cut if end < 0 else cut[:end]


def _check_version(version: bytes) -> None:
    if version.upper() == b"SIP/2.0":
        return
    known = _VERSION.fullmatch(version) is not None
    raise SipSyntaxError(
        "not SIP/2.0",
        rfc="RFC 3261 section 7.1",
        excerpt=version,
        status=505 if known else 400,
    )


def _length(value: bytes) -> int | None:
    return int(value) if value.isdigit() and len(value) <= 10 else None  # noqa: PLR2004  digits


def _check_headers(message: Request | Response, limits: ParserLimits) -> None:
    """Check the headers that are needed; the typed values are kept in the message."""
    headers = message.headers
    for name in ("Via", "From", "To", "Call-ID", "CSeq"):
        if name not in headers:
            raise SipSyntaxError(f"no {name} header", rfc="RFC 3261 section 8.1.1")
    seen = set()
    for key in headers.line_keys:
        if key in _SINGLE and key in seen:
            raise SipSyntaxError(f"more than one {key} header", rfc="RFC 3261 section 7.3.1")
        seen.add(key)
    if len(message.vias) > limits.vias:
        raise SipSyntaxError("too many Via values", rfc="RFC 3261 section 20.42")
    if max(len(message.routes), len(message.record_routes)) > limits.routes:
        raise SipSyntaxError("too many Route values", rfc="RFC 3261 section 20.34")
    if not _call_id(headers.get_raw("Call-ID") or b""):
        raise SipSyntaxError("malformed Call-ID", rfc="RFC 3261 section 20.8")
    message.from_, message.to, message.contacts  # noqa: B018  parsed here, and kept
    if message.body:
        message.content_type  # noqa: B018  parsed here, and kept
    method = message.cseq.method
    if isinstance(message, Request):
        hops = headers.get_raw("Max-Forwards")
        if hops is not None and not _digits(hops):
            raise SipSyntaxError("malformed Max-Forwards", rfc="RFC 3261 section 20.22")
        if method != message.method and message.method in KNOWN_METHODS:
            raise SipSyntaxError("CSeq names another method", rfc="RFC 3261 section 8.1.1.5")
