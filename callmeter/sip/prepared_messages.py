"""Messages that are all alike but for what identifies them, written from one template.

A template holds the octets that do not change. Filling it in is one formatting; header lines are
made only of a message that somebody looks into.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from callmeter.errors import LocalProtocolError
from callmeter.sip.grammar import is_token
from callmeter.sip.message import Request, Response
from callmeter.sip.parser import parse_message

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from callmeter.sip.usual_message import UsualLines

__all__ = [
    "PreparedRequest",
    "PreparedResponse",
    "RequestTemplate",
    "ResponseTemplate",
    "WrittenRequest",
]


_READ_LATE: Final = frozenset({"_headers", "_seen", "body"})
"""What a written message has of its text only once it is asked for."""


def _read(written: Request | Response) -> Request | Response:
    """Parse a written message, of which a part is asked for; gives what was parsed."""
    whole = parse_message(written.to_bytes())
    written.headers, written.body = whole.headers, whole.body
    return whole


class PreparedResponse(Response):
    """A response that is written already; its parts are parsed when they are asked for.

    Args:
        status: Its status code.
        octets: The whole of it.
    """

    __slots__ = ("octets",)

    def __init__(self, status: int, octets: bytes) -> None:
        self.status = status
        self.octets = octets

    def to_bytes(self) -> bytes:
        """The message as on the wire."""
        return self.octets

    if TYPE_CHECKING:
        octets: bytes
    else:

        def __getattr__(self, name: str) -> Any:
            if name not in _READ_LATE and name != "reason":
                raise AttributeError(name)
            self.reason = _read(self).reason
            return getattr(self, name)


class PreparedRequest(Request):
    """A request that is written already, but for its Via.

    Args:
        method: The method.
        uri: The Request-URI.
        lines: All behind the Via: header lines, empty line and body.
        via: The Via value, empty as long as there is none.
    """

    __slots__ = ("_via", "lines")

    def __init__(self, method: str, uri: str, lines: bytes, via: str = "") -> None:
        self.method = method
        self._uri_text = uri
        self._uri = None
        self.next_hop = None
        self.lines = lines
        self._via = via

    def with_via(self, via: str) -> Request:
        """The request with this Via, and no other."""
        return PreparedRequest(self.method, self._uri_text, self.lines, via)

    def to_bytes(self) -> bytes:
        """The message as on the wire."""
        start = f"{self.method} {self._uri_text} SIP/2.0\r\nVia: {self._via}\r\n"
        return start.encode() + self.lines

    if TYPE_CHECKING:
        lines: bytes
    else:

        def __getattr__(self, name: str) -> Any:
            if name not in _READ_LATE:
                raise AttributeError(name)
            via = self._via or "SIP/2.0/UDP localhost"
            whole = parse_message(PreparedRequest.to_bytes(self.with_via(via)))
            if not self._via:
                whole.headers.remove("Via")
            self.headers, self.body = whole.headers, whole.body
            return getattr(self, name)


class WrittenRequest(Request):
    """A request that is written already, its Via included: it goes where it goes.

    Args:
        method: The method.
        uri: The Request-URI.
        octets: The whole of it.
    """

    __slots__ = ("octets",)

    def __init__(self, method: str, uri: str, octets: bytes) -> None:
        self.method = method
        self._uri_text = uri
        self._uri = None
        self.next_hop = None
        self.octets = octets

    def to_bytes(self) -> bytes:
        """The message as on the wire."""
        return self.octets

    if TYPE_CHECKING:
        octets: bytes
    else:

        def __getattr__(self, name: str) -> Any:
            if name not in _READ_LATE:
                raise AttributeError(name)
            _read(self)
            return getattr(self, name)


class ResponseTemplate:
    """Responses of one kind to any number of requests (RFC 3261 section 8.2.6).

    Args:
        status: Status code.
        headers: Lines beyond those that a response copies from its request.
        body: The body.

    Raises:
        LocalProtocolError: A header has a line break or NUL.
    """

    __slots__ = ("_body", "_headers", "_start", "_tail", "status")

    def __init__(
        self, status: int, headers: Iterable[tuple[str, str]] = (), body: bytes = b""
    ) -> None:
        self.status = status
        self._headers = tuple(headers)
        self._body = body
        empty = Response(status, headers=self._headers, body=body)
        start, _, rest = empty.to_bytes().partition(b"\r\n")
        self._start = start + b"\r\nVia: SIP/2.0/"
        self._tail = rest

    def fill(self, request: Request, to_tag: str) -> Response:
        """The response to a request.

        Args:
            request: As it came.
            to_tag: Tag for a To that has none.
        """
        usual = request.usual
        if usual is None or usual.more_vias is not None or usual.special is not None:
            return self._compose(request, to_tag)
        return PreparedResponse(self.status, self._write(usual, to_tag))

    def write(self, copied: bytes) -> bytes:
        """The response to a usual request with one Via, whole.

        Args:
            copied: What it has of its request, from the Via behind its protocol to the line end
                of CSeq.
        """
        return self._start + copied + self._tail

    def _write(self, usual: UsualLines, to_tag: str) -> bytes:
        tag = "" if usual.to_tag is not None else f";tag={to_tag}"
        copied = (
            f"{usual.via}\r\nFrom:{usual.from_}\r\nTo:{usual.to}{tag}\r\n"
            f"Call-ID: {usual.call_id}\r\nCSeq: {usual.number} {usual.method}\r\n"
        )
        return self.write(copied.encode("latin-1"))

    def _compose(self, request: Request, to_tag: str) -> Response:
        routes = [("Record-Route", line) for line in request.headers.get_all("Record-Route")]
        return request.create_response(
            self.status, to_tag=to_tag, headers=[*routes, *self._headers], body=self._body
        )


class RequestTemplate:
    """Requests of one kind in any number of dialogs.

    Args:
        method: The method.
        headers: Lines beyond Via, From, To, Call-ID and CSeq.
        body: The body.

    Raises:
        LocalProtocolError: A header has a line break or NUL.
    """

    __slots__ = ("_tail", "method")

    def __init__(
        self, method: str, headers: Iterable[tuple[str, str]] = (), body: bytes = b""
    ) -> None:
        if not is_token(method):
            raise LocalProtocolError(f"{method!r} is no method")
        self.method = method
        empty = Request(method, "sip:localhost", [("Max-Forwards", "70"), *headers], body)
        self._tail = empty.to_bytes().partition(b"\r\n")[2]

    def fill(self, uri: str, local: str, remote: str, call_id: str, number: int) -> Request:
        """The request.

        Args:
            uri: The Request-URI.
            local: Value of From.
            remote: Value of To.
            call_id: Value of Call-ID.
            number: CSeq number.
        """
        return PreparedRequest(self.method, uri, self.write(local, remote, call_id, number))

    def write(self, local: str, remote: str, call_id: str, number: int) -> bytes:
        """All of the request behind its Via; arguments as in `fill`."""
        head = (
            f"From: {local}\r\nTo: {remote}\r\nCall-ID: {call_id}\r\n"
            f"CSeq: {number} {self.method}\r\n"
        )
        return head.encode("latin-1") + self._tail

    def write_whole(
        self, uri: str, via: str, local: str, remote: str, call_id: str, number: int
    ) -> bytes:
        """The request with its Via, whole.

        Args:
            uri: The Request-URI, of ASCII.
            via: Sent-by and branch of a Via by UDP.
            local: As in `fill`, and all that follows.
            remote: Value of To.
            call_id: Value of Call-ID.
            number: CSeq number.
        """
        head = (
            f"{self.method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {via};rport\r\n"
            f"From: {local}\r\nTo: {remote}\r\nCall-ID: {call_id}\r\n"
            f"CSeq: {number} {self.method}\r\n"
        )
        return head.encode("latin-1") + self._tail
