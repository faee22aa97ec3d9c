"""SIP messages: an ordered multimap of raw header lines with typed access on demand.

A parsed message keeps the octets of its header lines; text and typed values are made when
they are asked for and kept until the headers change.
"""

from __future__ import annotations

from itertools import compress, repeat
from operator import eq
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar

from callmeter.errors import LocalProtocolError, SipSyntaxError
from callmeter.sip.grammar import is_token, split_list, to_bytes, to_text
from callmeter.sip.headers import ContentType, CSeq, NameAddr, Via, parse_delta_seconds
from callmeter.sip.uri import Uri, parse_uri

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = ["COMPACT_FORMS", "REASON_PHRASES", "Headers", "Message", "Request", "Response"]

T = TypeVar("T")

COMPACT_FORMS = {
    "a": "Accept-Contact",
    "b": "Referred-By",
    "c": "Content-Type",
    "d": "Request-Disposition",
    "e": "Content-Encoding",
    "f": "From",
    "i": "Call-ID",
    "j": "Reject-Contact",
    "k": "Supported",
    "l": "Content-Length",
    "m": "Contact",
    "n": "Identity-Info",
    "o": "Event",
    "r": "Refer-To",
    "s": "Subject",
    "t": "To",
    "u": "Allow-Events",
    "v": "Via",
    "x": "Session-Expires",
    "y": "Identity",
}
"""Compact header names of the IANA registry."""

_FREQUENT_NAMES = (
    "Accept",
    "Accept-Encoding",
    "Accept-Language",
    "Allow",
    "Authorization",
    "Content-Disposition",
    "CSeq",
    "Date",
    "Expires",
    "Max-Forwards",
    "Min-Expires",
    "Min-SE",
    "P-Asserted-Identity",
    "P-Preferred-Identity",
    "Path",
    "Privacy",
    "Proxy-Authenticate",
    "Proxy-Authorization",
    "Proxy-Require",
    "RAck",
    "Reason",
    "Record-Route",
    "Replaces",
    "Require",
    "Retry-After",
    "Route",
    "RSeq",
    "Server",
    "Service-Route",
    "Timestamp",
    "Unsupported",
    "User-Agent",
    "Warning",
    "WWW-Authenticate",
)

# RFC 3261 section 7.3.1: these hold commas and yet are no comma lists.
_NOT_LISTS = frozenset(
    {
        "authorization",
        "proxy-authorization",
        "www-authenticate",
        "proxy-authenticate",
        "date",
        "subject",
        "organization",
        "user-agent",
        "server",
        "call-id",
        "from",
        "to",
    }
)

REASON_PHRASES = {
    100: "Trying",
    180: "Ringing",
    181: "Call Is Being Forwarded",
    182: "Queued",
    183: "Session Progress",
    199: "Early Dialog Terminated",
    200: "OK",
    202: "Accepted",
    204: "No Notification",
    300: "Multiple Choices",
    301: "Moved Permanently",
    302: "Moved Temporarily",
    305: "Use Proxy",
    380: "Alternative Service",
    400: "Bad Request",
    401: "Unauthorized",
    402: "Payment Required",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    406: "Not Acceptable",
    407: "Proxy Authentication Required",
    408: "Request Timeout",
    410: "Gone",
    412: "Conditional Request Failed",
    413: "Request Entity Too Large",
    414: "Request-URI Too Long",
    415: "Unsupported Media Type",
    416: "Unsupported URI Scheme",
    420: "Bad Extension",
    421: "Extension Required",
    422: "Session Interval Too Small",
    423: "Interval Too Brief",
    428: "Use Identity Header",
    429: "Provide Referrer Identity",
    430: "Flow Failed",
    433: "Anonymity Disallowed",
    436: "Bad Identity Info",
    437: "Unsupported Credential",
    438: "Invalid Identity Header",
    439: "First Hop Lacks Outbound Support",
    440: "Max-Breadth Exceeded",
    469: "Bad Info Package",
    470: "Consent Needed",
    480: "Temporarily Unavailable",
    481: "Call/Transaction Does Not Exist",
    482: "Loop Detected",
    483: "Too Many Hops",
    484: "Address Incomplete",
    485: "Ambiguous",
    486: "Busy Here",
    487: "Request Terminated",
    488: "Not Acceptable Here",
    489: "Bad Event",
    491: "Request Pending",
    493: "Undecipherable",
    494: "Security Agreement Required",
    500: "Server Internal Error",
    501: "Not Implemented",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Server Time-out",
    505: "Version Not Supported",
    513: "Message Too Large",
    555: "Push Notification Service Not Supported",
    580: "Precondition Failure",
    600: "Busy Everywhere",
    603: "Decline",
    604: "Does Not Exist Anywhere",
    606: "Not Acceptable",
    607: "Unwanted",
    608: "Rejected",
}
"""Reason phrases of the IANA registry of response codes."""


def _known_keys() -> dict[bytes | str, str]:
    keys: dict[bytes | str, str] = {}
    for short, name in COMPACT_FORMS.items():
        for spelling in (short, short.upper()):
            keys[spelling] = keys[spelling.encode()] = name.lower()
    for name in (*COMPACT_FORMS.values(), *_FREQUENT_NAMES):
        for spelling in (name, name.lower(), name.upper(), name.title()):
            keys[spelling] = keys[spelling.encode()] = name.lower()
    return keys


KEYS = _known_keys()
"""Frequent spellings of header names, as octets and as text, to the key they are filed under."""


def header_key(name: str | bytes) -> str | None:
    """The key a header name is filed under: long form, lower case; None when it is no token.

    Blanks round the name are ignored, so that `Name :` and `Name` are one header.
    """
    key = KEYS.get(name)
    if key is None:
        text = to_text(name).strip(" \t")
        if not is_token(text):
            return None
        key = text.lower()
        key = KEYS.get(key, key)
    return key


class Headers:
    """Header lines in order; names are compared without case and in long or compact form.

    Args:
        lines: Pairs of name and value. A value that is no string is written by `str()`.
    """

    __slots__ = ("line_keys", "line_names", "line_values", "typed")

    def __init__(self, lines: Iterable[tuple[str, object]] = ()) -> None:
        self.line_keys: list[str] = []
        self.line_names: list[bytes] = []
        self.line_values: list[bytes] = []
        self.typed: dict[str, Any] = {}
        """Typed values made so far; any change of the headers empties it."""
        for name, value in lines:
            self.add(name, value)

    @classmethod
    def from_raw(cls, keys: list[str], names: list[bytes], values: list[bytes]) -> Self:
        """Take over lines that were checked already: parallel lists, values stripped."""
        headers = cls.__new__(cls)
        headers.line_keys = keys
        headers.line_names = names
        headers.line_values = values
        headers.typed = {}
        return headers

    def get(self, name: str) -> str | None:
        """The value of the first line of that name, or None."""
        value = self.get_raw(name)
        return None if value is None else value.decode("utf-8", "surrogateescape")

    def get_raw(self, name: str) -> bytes | None:
        """The octets of the first line of that name, or None."""
        key = KEYS.get(name) or header_key(name)
        if key not in self.line_keys:
            return None
        return self.line_values[self.line_keys.index(key)]

    def get_all(self, name: str) -> list[str]:
        """The value of each line of that name, in order."""
        key = KEYS.get(name) or header_key(name)
        return [
            value.decode("utf-8", "surrogateescape")
            for value in compress(self.line_values, map(eq, self.line_keys, repeat(key)))
        ]

    def values(self, name: str) -> list[str]:
        """The elements of all lines of that name: comma lists are split, empty ones left out.

        Headers that hold commas without being lists (challenges, credentials, Date, free
        text) give one value per line.
        """
        lines = self.get_all(name)
        if header_key(name) in _NOT_LISTS:
            return lines
        return [element for line in lines for element in split_list(line) if element]

    def add(self, name: str, value: object) -> None:
        """Append a line.

        Raises:
            LocalProtocolError: The name is no token, or the value has a CR, LF or NUL.
        """
        self._insert(len(self.line_keys), name, value)

    def insert(self, name: str, value: object) -> None:
        """Put a line before the first of that name, or on top.

        Raises:
            LocalProtocolError: The name is no token, or the value has a CR, LF or NUL.
        """
        key = header_key(name)
        self._insert(self.line_keys.index(key) if key in self.line_keys else 0, name, value)

    def set(self, name: str, value: object) -> None:
        """Put one line in place of all of that name, or at the end.

        Raises:
            LocalProtocolError: The name is no token, or the value has a CR, LF or NUL.
        """
        key = header_key(name)
        place = self.line_keys.index(key) if key in self.line_keys else len(self.line_keys)
        self._insert(place, name, value)
        self._delete([at for at, k in enumerate(self.line_keys) if k == key and at != place])

    def remove(self, name: str) -> None:
        """Remove all lines of that name, if any."""
        key = header_key(name)
        self._delete([at for at, k in enumerate(self.line_keys) if k == key])

    def remove_first(self, name: str) -> None:
        """Remove the first line of that name, if any."""
        key = header_key(name)
        if key in self.line_keys:
            self._delete([self.line_keys.index(key)])

    def extend(self, lines: Iterable[tuple[str, object]]) -> None:
        """Append lines.

        Raises:
            LocalProtocolError: A name is no token, or a value has a CR, LF or NUL.
        """
        for name, value in lines:
            self.add(name, value)

    def copy_lines(self, source: Headers, name: str, *, first: bool = False) -> None:
        """Append the lines of that name from other headers, octet for octet.

        Args:
            source: Where the lines come from.
            name: Name of the header.
            first: Take the first line only.
        """
        key = header_key(name)
        for at, k in enumerate(source.line_keys):
            if k == key:
                self.line_keys.append(k)
                self.line_names.append(source.line_names[at])
                self.line_values.append(source.line_values[at])
                if first:
                    break
        self.typed.clear()

    def append_raw(self, name: str, octets: bytes) -> None:
        """Append octets to the first line of that name, if there is one."""
        key = header_key(name)
        if key in self.line_keys:
            self.line_values[self.line_keys.index(key)] += octets
        self.typed.clear()

    def copy(self) -> Headers:
        """Independent headers with the same lines."""
        return Headers.from_raw(self.line_keys[:], self.line_names[:], self.line_values[:])

    def write(self, start_line: bytes, body: bytes) -> bytes:
        """A whole message: the first Content-Length line, or a new one, tells the body's size."""
        length = b"%d" % len(body)
        names, values = self.line_names, self.line_values
        if "content-length" not in self.line_keys:
            names, values = [*names, b"Content-Length"], [*values, length]
        elif values[self.line_keys.index("content-length")] != length or (
            self.line_keys.count("content-length") > 1
        ):
            only = self.copy()
            only.set("Content-Length", len(body))
            names, values = only.line_names, only.line_values
        lines = map(b": ".join, zip(names, values, strict=True))
        return b"\r\n".join((start_line, *lines, b"", body))

    def _insert(self, place: int, name: str, value: object) -> None:
        key = header_key(name)
        text = value if isinstance(value, str) else str(value)
        if key is None:
            raise LocalProtocolError(f"{name!r} is no header name")
        if "\r" in text or "\n" in text or "\0" in text:
            raise LocalProtocolError(f"the value of {name} may not have a line break or NUL")
        try:
            raw = to_bytes(text.strip(" \t"))
        except UnicodeEncodeError:
            raise LocalProtocolError(f"the value of {name} is no text") from None
        self.line_keys.insert(place, key)
        self.line_names.insert(place, name.strip(" \t").encode())
        self.line_values.insert(place, raw)
        self.typed.clear()

    def _delete(self, places: list[int]) -> None:
        for at in reversed(places):
            del self.line_keys[at], self.line_names[at], self.line_values[at]
        self.typed.clear()

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and header_key(name) in self.line_keys

    def __iter__(self) -> Iterator[tuple[str, str]]:
        for name, value in zip(self.line_names, self.line_values, strict=True):
            yield name.decode(), value.decode("utf-8", "surrogateescape")

    def __len__(self) -> int:
        return len(self.line_keys)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Headers):
            return NotImplemented
        return self.line_keys == other.line_keys and self.line_values == other.line_values

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Headers({self.line_keys!r})"


class Message:
    """What requests and responses share.

    Typed access never changes the headers: to change a value, set the header. Values are
    parsed when first asked for. In a message that `parse_message` gave, Via, From, To,
    Call-ID, CSeq, Max-Forwards, Contact, Route and Record-Route were checked already.

    Attributes:
        headers: The header lines.
        body: The body, octet for octet.
    """

    __slots__ = ("body", "headers")

    is_request = False

    def __init__(self, headers: Headers | Iterable[tuple[str, object]], body: bytes) -> None:
        self.headers = headers if isinstance(headers, Headers) else Headers(headers)
        self.body = body

    @property
    def start_line(self) -> str:
        """The Request-Line or Status-Line."""
        raise AssertionError  # a message is a Request or a Response

    def to_bytes(self) -> bytes:
        """The message as on the wire; Content-Length is computed.

        Raises:
            LocalProtocolError: The start line has a line break or NUL.
        """
        start_line = self.start_line
        if "\r" in start_line or "\n" in start_line or "\0" in start_line:
            raise LocalProtocolError("the start line may not have a line break or NUL")
        return self.headers.write(to_bytes(start_line), self.body)

    @property
    def via(self) -> Via:
        """The topmost Via value.

        Raises:
            SipSyntaxError: Absent or malformed.
        """
        vias: list[Via] = self._typed("vias", self._parse_vias)
        if not vias:
            raise _absent("Via")
        return vias[0]

    @property
    def vias(self) -> list[Via]:
        """All Via values, topmost first."""
        return self._typed("vias", self._parse_vias)[:]

    @property
    def from_(self) -> NameAddr:
        """The From value.

        Raises:
            SipSyntaxError: Absent or malformed.
        """
        return self._typed("from", lambda: NameAddr.parse(self._required("From")))

    @property
    def to(self) -> NameAddr:
        """The To value.

        Raises:
            SipSyntaxError: Absent or malformed.
        """
        return self._typed("to", lambda: NameAddr.parse(self._required("To")))

    @property
    def call_id(self) -> str:
        """The Call-ID.

        Raises:
            SipSyntaxError: Absent.
        """
        return self._typed("call-id", lambda: to_text(self._required("Call-ID")))

    @property
    def cseq(self) -> CSeq:
        """The CSeq value.

        Raises:
            SipSyntaxError: Absent or malformed.
        """
        return self._typed("cseq", lambda: CSeq.parse(self._required("CSeq")))

    @property
    def contacts(self) -> list[NameAddr] | Literal["*"]:
        """All Contact values, or `"*"` (RFC 3261 section 10.2.2).

        Raises:
            SipSyntaxError: One is malformed, or `*` is not alone.
        """
        found: list[NameAddr] | Literal["*"] = self._typed("contacts", self._parse_contacts)
        return found if found == "*" else found[:]

    @property
    def routes(self) -> list[NameAddr]:
        """All Route values, topmost first.

        Raises:
            SipSyntaxError: One is malformed.
        """
        return self._typed("routes", lambda: self._name_addrs("Route"))[:]

    @property
    def record_routes(self) -> list[NameAddr]:
        """All Record-Route values, topmost first.

        Raises:
            SipSyntaxError: One is malformed.
        """
        return self._typed("record-routes", lambda: self._name_addrs("Record-Route"))[:]

    @property
    def max_forwards(self) -> int | None:
        """Max-Forwards, or None when absent; it may be above 255 (RFC 4475 section 3.1.2.4)."""
        value = self.headers.get("Max-Forwards")
        return None if value is None else parse_delta_seconds(value)

    @property
    def expires(self) -> int | None:
        """Expires in seconds, at most 2**32 - 1; None when absent or malformed."""
        value = self.headers.get("Expires")
        return None if value is None else parse_delta_seconds(value)

    @property
    def content_type(self) -> ContentType | None:
        """The Content-Type, or None when absent.

        Raises:
            SipSyntaxError: Malformed.
        """
        return self._typed("content-type", self._parse_content_type)

    @property
    def require(self) -> tuple[str, ...]:
        """Option tags of Require, in order and as written."""
        return self._typed("require", lambda: tuple(self.headers.values("Require")))

    @property
    def supported(self) -> frozenset[str]:
        """Option tags of Supported, in lower case."""
        return self._typed(
            "supported",
            lambda: frozenset(tag.lower() for tag in self.headers.values("Supported")),
        )

    @property
    def allow(self) -> frozenset[str]:
        """Methods of Allow."""
        return self._typed("allow", lambda: frozenset(self.headers.values("Allow")))

    def _typed(self, key: str, parse: Callable[[], T]) -> T:
        typed = self.headers.typed
        if key not in typed:
            typed[key] = parse()
        value: T = typed[key]
        return value

    def _required(self, name: str) -> bytes:
        value = self.headers.get_raw(name)
        if value is None:
            raise _absent(name)
        return value

    def _parse_vias(self) -> list[Via]:
        lines = self.headers.get_all("Via")
        return [Via.parse(element) for line in lines for element in split_list(line)]

    def _name_addrs(self, name: str) -> list[NameAddr]:
        lines = self.headers.get_all(name)
        return [NameAddr.parse(element) for line in lines for element in split_list(line)]

    def _parse_contacts(self) -> list[NameAddr] | Literal["*"]:
        if self.headers.get_all("Contact") == ["*"]:
            return "*"
        return self._name_addrs("Contact")

    def _parse_content_type(self) -> ContentType | None:
        value = self.headers.get_raw("Content-Type")
        return None if value is None else ContentType.parse(value)


class Request(Message):
    """A SIP request.

    Args:
        method: The method; case matters.
        uri: Request-URI, as `Uri` or text.
        headers: `Headers`, taken over and not copied, or pairs of name and value.
        body: The body.
    """

    __slots__ = ("_uri", "_uri_text", "method")

    is_request = True

    def __init__(
        self,
        method: str,
        uri: Uri | str | bytes,
        headers: Headers | Iterable[tuple[str, object]] = (),
        body: bytes = b"",
    ) -> None:
        super().__init__(headers, body)
        self.method = method
        self._uri: Uri | None = None
        self._uri_text = ""
        if isinstance(uri, str | bytes):
            self._uri_text = to_text(uri)
        else:
            self.uri = uri

    @property
    def uri(self) -> Uri:
        """The Request-URI.

        Raises:
            SipSyntaxError: It was given as text and is malformed.
        """
        if self._uri is None:
            self._uri = parse_uri(self._uri_text)
        return self._uri

    @uri.setter
    def uri(self, uri: Uri) -> None:
        self._uri = uri
        self._uri_text = str(uri)

    @property
    def start_line(self) -> str:
        """The Request-Line."""
        return f"{self.method} {self._uri_text} SIP/2.0"

    def create_response(
        self,
        status: int,
        reason: str | None = None,
        *,
        to_tag: str | None = None,
        headers: Iterable[tuple[str, object]] = (),
        body: bytes = b"",
    ) -> Response:
        """A response with the headers RFC 3261 section 8.2.6 wants copied.

        Args:
            status: 100 to 699.
            reason: Reason phrase, or None for that of the registry.
            to_tag: Tag for a To that has none, unless the status is 100.
            headers: Further headers.
            body: The body.
        """
        response = Response(status, reason, body=body)
        own = response.headers
        own.copy_lines(self.headers, "Via")
        for name in ("From", "To", "Call-ID", "CSeq"):
            own.copy_lines(self.headers, name, first=True)
        if status == 100:  # noqa: PLR2004  Trying
            own.copy_lines(self.headers, "Timestamp", first=True)
        elif to_tag is not None and not _has_tag(own):
            own.append_raw("To", b";tag=" + to_tag.encode())
        own.extend(headers)
        return response

    def copy(self) -> Request:
        """An independent request of the same content."""
        request = Request(self.method, self._uri_text, self.headers.copy(), self.body)
        request._uri = self._uri
        return request

    def __repr__(self) -> str:
        return f"<Request {self.start_line!r}>"


class Response(Message):
    """A SIP response.

    Args:
        status: Status code, 100 to 699.
        reason: Reason phrase, or None for that of the registry.
        headers: `Headers`, taken over and not copied, or pairs of name and value.
        body: The body.
    """

    __slots__ = ("reason", "status")

    def __init__(
        self,
        status: int,
        reason: str | None = None,
        headers: Headers | Iterable[tuple[str, object]] = (),
        body: bytes = b"",
    ) -> None:
        super().__init__(headers, body)
        self.status = status
        self.reason = REASON_PHRASES.get(status, "") if reason is None else reason

    @property
    def start_line(self) -> str:
        """The Status-Line."""
        return f"SIP/2.0 {self.status} {self.reason}"

    def copy(self) -> Response:
        """An independent response of the same content."""
        return Response(self.status, self.reason, self.headers.copy(), self.body)

    def __repr__(self) -> str:
        return f"<Response {self.start_line!r}>"


def _has_tag(headers: Headers) -> bool:
    try:
        return NameAddr.parse(headers.get_raw("To") or b"").tag is not None
    except SipSyntaxError:
        return True  # what is malformed is given back as it came


def _absent(name: str) -> SipSyntaxError:
    return SipSyntaxError(f"no {name} header", rfc="RFC 3261 section 8.1.1")
