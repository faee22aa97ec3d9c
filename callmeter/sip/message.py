"""SIP messages: header lines with typed access on demand (RFC 3261 section 7).

A parsed message keeps the octets of its header lines; text and typed values are made when
they are asked for and kept until the headers change.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Literal, Self, TypeVar

from callmeter.errors import LocalProtocolError, SipSyntaxError
from callmeter.sip.grammar import is_token, split_list, to_bytes, to_text
from callmeter.sip.header_fields import Headers
from callmeter.sip.headers import ContentType, CSeq, NameAddr, Via, parse_delta_seconds
from callmeter.sip.status import REASON_PHRASES
from callmeter.sip.uri import Uri, parse_uri
from callmeter.sip.usual_message import UsualLines

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from callmeter.sip.usual_message import Found

__all__ = ["REASON_PHRASES", "Headers", "Message", "Request", "Response"]

T = TypeVar("T")

_blank = object.__new__
_GROUPS = {name: number for number, name in enumerate(UsualLines._fields, 1)}
_BRANCH, _FROM_TAG, _TO_TAG = _GROUPS["branch"], _GROUPS["from_tag"], _GROUPS["to_tag"]
_CALL_ID, _NUMBER, _CONTACT = _GROUPS["call_id"], _GROUPS["number"], _GROUPS["contact"]


class Message:
    """What requests and responses share.

    Typed access never changes the headers: to change a value, set the header. Values are
    parsed when first asked for. In a message that `parse_message` gave, Via, From, To,
    Call-ID, CSeq, Max-Forwards, Contact, Route and Record-Route were checked already.

    Attributes:
        body: The body, octet for octet.
    """

    __slots__ = ("_headers", "_seen", "_usual", "body")

    _headers: Headers
    _seen: Found | None
    _usual: UsualLines | None
    body: bytes
    is_request = False

    def __init__(self) -> None:
        raise TypeError("a message is a Request or a Response")

    @property
    @abstractmethod
    def start_line(self) -> str:
        """The Request-Line or Status-Line."""

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
    def headers(self) -> Headers:
        """The header lines; of a message of the usual shape made when first asked for."""
        usual = self.usual if self._seen is not None else None
        if usual is not None:
            self._headers = Headers.from_usual(usual)
            self._seen = None
        return self._headers

    @headers.setter
    def headers(self, headers: Headers) -> None:
        self._headers = headers
        self._seen = None

    @property
    def usual(self) -> UsualLines | None:
        """What the parser saw of a message of the usual shape; None once its headers changed."""
        seen = self._seen
        if seen is None:
            found: UsualLines | None = self._headers.typed.get("usual")
            return found
        if self._usual is None:
            # The check of `_make` is not needed: the groups of the pattern are its fields.
            self._usual = tuple.__new__(UsualLines, seen.groups())
        return self._usual

    @property
    def branch(self) -> str | None:
        """The branch of the topmost Via, or None.

        Raises:
            SipSyntaxError: Via is absent or malformed.
        """
        seen = self._seen
        if seen is not None:
            return seen[_BRANCH]
        usual = self.usual
        return self.via.branch if usual is None else usual.branch

    @property
    def from_tag(self) -> str | None:
        """The tag of From, or None.

        Raises:
            SipSyntaxError: From is absent or malformed.
        """
        seen = self._seen
        if seen is not None:
            return seen[_FROM_TAG]
        usual = self.usual
        return self.from_.tag if usual is None else usual.from_tag

    @property
    def to_tag(self) -> str | None:
        """The tag of To, or None.

        Raises:
            SipSyntaxError: To is absent or malformed.
        """
        seen = self._seen
        if seen is not None:
            return seen[_TO_TAG]
        usual = self.usual
        return self.to.tag if usual is None else usual.to_tag

    @property
    def cseq_number(self) -> int:
        """The number of CSeq.

        Raises:
            SipSyntaxError: CSeq is absent or malformed.
        """
        seen = self._seen
        if seen is not None:
            return int(seen[_NUMBER])
        usual = self.usual
        return self.cseq.number if usual is None else int(usual.number)

    @property
    def contact_uri(self) -> str | None:
        """The URI of the first Contact as text, None where there is none, or `*`.

        Raises:
            SipSyntaxError: A Contact is malformed.
        """
        seen = self._seen
        usual = None if seen is not None else self.usual
        text = seen[_CONTACT] if seen is not None else None if usual is None else usual.contact
        if text is not None:
            start = text.rfind("<")
            return text.partition(";")[0] if start < 0 else text[start + 1 : text.rfind(">")]
        contacts = self.contacts
        return None if contacts == "*" or not contacts else str(contacts[0].uri)

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
        seen = self._seen
        if seen is not None:
            return seen[_CALL_ID]
        usual = self.usual
        if usual is not None:
            return usual.call_id
        return self._typed("call-id", lambda: to_text(self._required("Call-ID")))

    @property
    def cseq(self) -> CSeq:
        """The CSeq value.

        Raises:
            SipSyntaxError: Absent or malformed.
        """
        return self._typed("cseq", self._parse_cseq)

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

    def _parse_cseq(self) -> CSeq:
        usual = self.usual
        if usual is None:
            return CSeq.parse(self._required("CSeq"))
        return CSeq(int(usual.number), usual.method)

    def _parse_vias(self) -> list[Via]:
        usual = self.usual
        if usual is not None and usual.more_vias is None:
            return [Via.parse("SIP/2.0/" + usual.via)]
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

    Attributes:
        next_hop: Where the request goes first when its headers do not tell, a strict router
            (RFC 3261 section 12.2.1.1); else None.
    """

    __slots__ = ("_uri", "_uri_text", "method", "next_hop")

    _uri_text: str

    is_request = True

    def __init__(
        self,
        method: str,
        uri: Uri | str | bytes,
        headers: Headers | Iterable[tuple[str, object]] = (),
        body: bytes = b"",
    ) -> None:
        self.headers = headers if isinstance(headers, Headers) else Headers(headers)
        self.body = body
        self.method = method
        self.next_hop: Uri | None = None
        self._uri: Uri | None = None
        if isinstance(uri, bytes):
            self._uri_text = uri.decode("utf-8", "surrogateescape")
        elif isinstance(uri, str):
            self._uri_text = uri
        else:
            self.uri = uri

    @classmethod
    def from_usual(cls, found: Found, data: bytes) -> Self:
        """The request whose head the pattern of usual messages has found in the data."""
        request = _blank(cls)
        request._seen = found  # noqa: SLF001  its own class
        request._usual = request._uri = request.next_hop = None  # noqa: SLF001  its own class
        request.body = data[found.end() :]
        request.method, request._uri_text = found.group(1, 2)  # noqa: SLF001  its own class
        return request

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
    def uri_text(self) -> str:
        """The Request-URI as written."""
        return self._uri_text

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

        Raises:
            LocalProtocolError: The tag is no token, or a header has a line break or NUL.
        """
        if to_tag is not None and not is_token(to_tag):
            raise LocalProtocolError("a tag is a token")
        response = Response(status, reason, body=body)
        usual = self.usual
        if usual is not None and usual.more_vias is None and usual.special is None:
            response.headers = _copied(usual, None if status == 100 else to_tag)  # noqa: PLR2004
            response.headers.extend(headers)
            return response
        own = response.headers
        own.copy_lines(self.headers, "Via")
        for name in ("From", "To", "Call-ID", "CSeq"):
            own.copy_lines(self.headers, name, first=True)
        if status == 100:  # noqa: PLR2004  Trying
            own.copy_lines(self.headers, "Timestamp", first=True)
        elif to_tag is not None and not self._is_to_tagged():
            own.append_raw("To", b";tag=" + to_tag.encode())
        own.extend(headers)
        return response

    def _is_to_tagged(self) -> bool:
        try:
            return self.to_tag is not None
        except SipSyntaxError:
            return True  # what is malformed is given back as it came

    def with_via(self, via: str) -> Request:
        """A copy that bears this Via, and no other."""
        headers = self.headers.copy()
        if "Via" in headers:
            headers.remove("Via")
        headers.insert("Via", via)
        return Request(self.method, self.uri, headers, self.body)

    def copy(self) -> Request:
        """An independent request of the same content."""
        request = Request(self.method, self._uri_text, self.headers.copy(), self.body)
        request._uri = self._uri
        request.next_hop = self.next_hop
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
        self.headers = headers if isinstance(headers, Headers) else Headers(headers)
        self.body = body
        self.status = status
        self.reason = REASON_PHRASES.get(status, "") if reason is None else reason

    @classmethod
    def from_usual(cls, found: Found, data: bytes) -> Self:
        """The response whose head the pattern of usual messages has found in the data."""
        response = _blank(cls)
        response._seen = found  # noqa: SLF001  its own class
        response._usual = None  # noqa: SLF001  its own class
        response.body = data[found.end() :]
        response.status = int(found[1])
        response.reason = found[2]
        return response

    @property
    def start_line(self) -> str:
        """The Status-Line."""
        return f"SIP/2.0 {self.status} {self.reason}"

    def copy(self) -> Response:
        """An independent response of the same content."""
        return Response(self.status, self.reason, self.headers.copy(), self.body)

    def __repr__(self) -> str:
        return f"<Response {self.start_line!r}>"


def _copied(usual: UsualLines, to_tag: str | None) -> Headers:
    """What a response repeats of a usual request with one Via."""
    to = usual.to if to_tag is None or usual.to_tag is not None else f"{usual.to};tag={to_tag}"
    return Headers.from_raw(
        ["via", "from", "to", "call-id", "cseq"],
        [b"Via", b"From", b"To", b"Call-ID", b"CSeq"],
        [
            b"SIP/2.0/" + usual.via.encode(),
            usual.from_.strip().encode("latin-1"),
            to.strip().encode("latin-1"),
            usual.call_id.encode(),
            f"{usual.number} {usual.method}".encode(),
        ],
    )


def _absent(name: str) -> SipSyntaxError:
    return SipSyntaxError(f"no {name} header", rfc="RFC 3261 section 8.1.1")
