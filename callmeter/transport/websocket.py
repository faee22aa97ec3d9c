"""SIP over WebSocket: one SIP message in one WebSocket message (RFC 6455, RFC 7118)."""

from __future__ import annotations

import logging
import re
from abc import ABC, abstractmethod
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, cast

from websockets.client import ClientProtocol
from websockets.exceptions import InvalidState
from websockets.frames import CloseCode, Frame, Opcode
from websockets.http11 import Request, Response
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.typing import Origin, Subprotocol
from websockets.uri import WebSocketURI

from callmeter.errors import ConfigurationError, ConnectionFailed, FlowLost, TransportError
from callmeter.transport.base import Received
from callmeter.transport.tls import TlsLayer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from callmeter.sip.transaction.effects import Hop
    from callmeter.transport.base import ByteLayer
    from callmeter.transport.tls_settings import TlsSettings

__all__ = [
    "ClientWebSocket",
    "ServerWebSocket",
    "WebSocketLayer",
    "client_layers",
    "invalid_contact_host",
    "server_layers",
]

SIP: Final = Subprotocol("sip")
MAX_MESSAGE: Final = 65_536
MAX_HEAD: Final = 16_384
"""Octets of the HTTP request or response that opens a WebSocket."""
HOST_OCTETS: Final = 12
RESOURCE: Final = re.compile(r"/[!\"$-~]*", re.ASCII)
STATUS_LINE: Final = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2})(?: ([^\r\n]*))?\r\n")
HTTP: Final = b"HTTP/1."
NO_HTTP: Final = "server does not support WebSocket: it does not speak HTTP"

LOG: Final = logging.getLogger(__name__)
# At DEBUG the library writes out the messages themselves, credentials included.
LOG.setLevel(logging.WARNING)


def invalid_contact_host(entropy: Callable[[int], bytes]) -> str:
    """A host name for Contact and Via of who has no address of its own (RFC 7118 appendix B.1).

    Args:
        entropy: Gives random octets.

    Returns:
        A random name under `.invalid`, which never resolves (RFC 2606 section 2).
    """
    return f"{entropy(HOST_OCTETS).hex()}.invalid"


def client_layers(
    hop: Hop,
    tls: TlsSettings | None = None,
    *,
    resource: str = "/",
    origin: str | None = None,
    max_message: int = MAX_MESSAGE,
) -> tuple[ByteLayer, ...]:
    """The layers of a connection to a `WS` or `WSS` hop, the lowest first.

    Args:
        hop: The server.
        tls: Trust and own certificate; for WSS.
        resource: See `ClientWebSocket`.
        origin: See `ClientWebSocket`.
        max_message: See `ClientWebSocket`.

    Raises:
        ConfigurationError: WSS without TLS settings, or the resource is no path.
    """
    web = ClientWebSocket(hop, resource=resource, origin=origin, max_message=max_message)
    if hop.transport != "WSS":
        return (web,)
    if tls is None:
        raise ConfigurationError("WSS needs TLS settings")
    return TlsLayer.client(tls, hop.name or hop.host, destination=str(hop)), web


def server_layers(
    tls: TlsSettings | None,
    *,
    resource: str | None = "/",
    origins: Sequence[str | None] | None = None,
    max_message: int = MAX_MESSAGE,
) -> tuple[ByteLayer, ...]:
    """The layers of an accepted connection, the lowest first.

    Args:
        tls: Own certificate, for WSS; None for WS.
        resource: See `ServerWebSocket`.
        origins: See `ServerWebSocket`.
        max_message: See `ServerWebSocket`.

    Raises:
        ConfigurationError: The TLS settings hold no certificate, or the resource is no path.
    """
    web = ServerWebSocket(resource=resource, origins=origins, max_message=max_message)
    return (web,) if tls is None else (TlsLayer.server(tls), web)


class WebSocketLayer(ABC):
    """What both sides of a WebSocket do; see `ClientWebSocket` and `ServerWebSocket`.

    Text and binary messages are taken; what is UTF-8 is sent as text (RFC 7118 section 4.2).

    Attributes:
        established: Whether the handshake is done.
        keeps_messages: Each WebSocket message is one SIP message.
    """

    def __init__(self, protocol: ClientProtocol | ServerProtocol, destination: str) -> None:
        self.established = False
        self.keeps_messages = True
        self._protocol = protocol
        self._destination = destination
        self._head = bytearray()
        self._message = bytearray()
        self._is_text = self._is_partial = False
        self._pings = 0

    def start(self) -> bytes:
        """The octets that open the conversation; empty on the side that waits."""
        return b""

    def receive(self, data: bytes) -> Received:
        """Take octets from the layer below; none at all mean that it has ended.

        Raises:
            ConnectionFailed: The handshake has failed; `close` gives what is still to send.
        """
        if self.established:
            return self._take_frames(data)
        if not data:
            raise self._failed("server does not support WebSocket: it closed the connection")
        searched = max(len(self._head) - 3, 0)
        self._head += data
        end = self._head.find(b"\r\n\r\n", searched)
        size = len(self._head) if end < 0 else end + 4
        if size > MAX_HEAD:
            raise self._oversize_head()
        if end < 0:
            return Received()
        head, rest = bytes(self._head[:size]), bytes(self._head[size:])
        self._head.clear()
        self._take_head(head)
        self.established = True
        return self._take_frames(rest)

    def send(self, data: bytes) -> bytes:
        """Wrap one whole message.

        Raises:
            FlowLost: The WebSocket is not open.
        """
        try:
            if _is_utf8(data):
                self._protocol.send_text(data)
            else:
                self._protocol.send_binary(data)
        except InvalidState as error:
            raise FlowLost(self._told(f"WebSocket {error}"), destination=self._destination) from (
                error
            )
        return self._to_send()

    def ping(self) -> bytes | None:
        """A Ping frame; the Pong to it is told as `Received.pong`."""
        if not self.established:
            return None
        self._pings += 1
        self._protocol.send_ping(self._ping_data())
        return self._to_send()

    def close(self) -> bytes:
        """A Close frame, or what an error has left to say."""
        if self._protocol.state is State.OPEN:
            self._protocol.send_close(CloseCode.NORMAL_CLOSURE)
        return self._to_send()

    def timed_out(self, text: str) -> TransportError:
        """What to say when the handshake took too long."""
        return self._failed(f"no answer to the WebSocket handshake: {text}")

    # the handshake

    @abstractmethod
    def _take_head(self, head: bytes) -> None:
        """Judge the HTTP head of the peer; return when the WebSocket is open."""

    def _oversize_head(self) -> TransportError:
        return self._failed(f"HTTP head of more than {MAX_HEAD} octets")

    # frames

    def _take_frames(self, data: bytes) -> Received:
        protocol = self._protocol
        protocol.receive_data(data)
        # Once the handshake is done, frames are the only events.
        frames = cast("list[Frame]", protocol.events_received())
        messages: list[bytes] = []
        pong = False
        error: TransportError | None = None
        for frame in frames:
            if frame.opcode is Opcode.PONG:
                pong = pong or frame.data == self._ping_data()
            elif frame.opcode is Opcode.CLOSE:
                error = self._lost(f"closed by the peer: {protocol.close_rcvd}")
            elif frame.opcode is not Opcode.PING:
                message = self._assemble(frame)
                if message is not None and self._is_text and not _is_utf8(message):
                    protocol.fail(CloseCode.INVALID_DATA, "text that is not UTF-8")
                    error = self._lost("the peer sent text that is not UTF-8")
                    break
                if message is not None:
                    messages.append(message)
        if error is None and protocol.parser_exc is not None:
            error = self._lost(f"the peer broke the WebSocket protocol: {protocol.parser_exc}")
        begun = self._is_partial or bool(protocol.reader.buffer) or (bool(data) and not frames)
        return Received(
            tuple(messages),
            self._to_send(),
            closed=error is not None,
            error=error,
            pong=pong,
            pending=begun,
        )

    def _assemble(self, frame: Frame) -> bytes | None:
        """The message that this data frame completes, or None."""
        if frame.opcode is not Opcode.CONT:
            self._is_text = frame.opcode is Opcode.TEXT
        self._is_partial = not frame.fin
        if frame.fin and not self._message:
            return bytes(frame.data)
        self._message += frame.data
        if self._is_partial:
            return None
        message = bytes(self._message)
        self._message.clear()
        return message

    def _ping_data(self) -> bytes:
        return self._pings.to_bytes(4, "big")

    def _to_send(self) -> bytes:
        return b"".join(self._protocol.data_to_send())

    # words

    def _told(self, text: str) -> str:
        return f"{self._destination}: {text}" if self._destination else text

    def _failed(self, text: str) -> ConnectionFailed:
        return ConnectionFailed(self._told(text), destination=self._destination)

    def _lost(self, text: str) -> FlowLost:
        return FlowLost(self._told(text), destination=self._destination)


class ClientWebSocket(WebSocketLayer):
    """The side that asks for the WebSocket (RFC 6455 section 4.1).

    Args:
        hop: The server; the Host header has `hop.name`, or the address.
        resource: Path and query to ask for.
        origin: What to say in an Origin header; None has none, as is right for who is no browser.
        max_message: Octets of a received message.

    Raises:
        ConfigurationError: The resource is no path.
    """

    def __init__(
        self,
        hop: Hop,
        *,
        resource: str = "/",
        origin: str | None = None,
        max_message: int = MAX_MESSAGE,
    ) -> None:
        path, _, query = _checked(resource).partition("?")
        self._resource = resource
        self._client = ClientProtocol(
            WebSocketURI(hop.transport == "WSS", hop.name or hop.host, hop.port, path, query),
            origin=None if origin is None else Origin(origin),
            subprotocols=[SIP],
            max_size=max_message,
            logger=LOG,
        )
        super().__init__(self._client, str(hop))

    def start(self) -> bytes:
        """The HTTP request."""
        self._client.send_request(self._client.connect())
        return self._to_send()

    def receive(self, data: bytes) -> Received:
        """See `WebSocketLayer.receive`; the first octets tell who does not speak HTTP."""
        received = super().receive(data)
        if not self.established and not self._head.startswith(HTTP[: len(self._head)]):
            raise self._failed(NO_HTTP)
        return received

    def _take_head(self, head: bytes) -> None:
        line = STATUS_LINE.match(head)
        if line is None:
            raise self._failed(NO_HTTP)
        if line[1] != b"101":
            raise self._failed(self._refusal(int(line[1]), line[2] or b""))
        self._client.receive_data(head)
        for response in self._client.events_received():
            if isinstance(response, Response) and response.headers.get_all(
                "Sec-WebSocket-Protocol"
            ) != [SIP]:
                raise self._failed("peer does not speak SIP over WebSocket")
        error = self._client.handshake_exc
        if error is not None:
            raise self._failed(f"server does not support WebSocket: {error}")

    def _refusal(self, status: int, phrase: bytes) -> str:
        answer = f"{status} {_printable(phrase)}".rstrip()
        if status // 100 == 3:  # noqa: PLR2004  the class of redirections
            return f"server sends the WebSocket elsewhere: {answer}"
        if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.PROXY_AUTHENTICATION_REQUIRED}:
            return f"server wants HTTP credentials for the WebSocket: {answer}"
        if status == HTTPStatus.FORBIDDEN:
            return f"server forbids the WebSocket: {answer}"
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR and status != HTTPStatus.NOT_IMPLEMENTED:
            return f"server cannot serve the WebSocket now: {answer}"
        return f"server does not support WebSocket at {self._resource}: {answer}"


class ServerWebSocket(WebSocketLayer):
    """The side that is asked (RFC 6455 section 4.2).

    Args:
        resource: Path that is served, without query; None serves every path.
        origins: Origin headers that are welcome, None in it for requests without one; None
            instead of a list lets everybody in. It protects against foreign web pages in a
            user's browser only (RFC 6455 section 10.2).
        max_message: Octets of a received message.

    Raises:
        ConfigurationError: The resource is no path.
    """

    def __init__(
        self,
        *,
        resource: str | None = "/",
        origins: Sequence[str | None] | None = None,
        max_message: int = MAX_MESSAGE,
    ) -> None:
        self._resource = None if resource is None else _checked(resource)
        self._server = ServerProtocol(
            origins=cast("Sequence[Origin | None] | None", origins),
            subprotocols=[SIP],
            max_size=max_message,
            logger=LOG,
        )
        super().__init__(self._server, "")

    def _oversize_head(self) -> TransportError:
        return self._refused(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)

    def _take_head(self, head: bytes) -> None:
        self._server.receive_data(head)
        events = self._server.events_received()
        request = next((event for event in events if isinstance(event, Request)), None)
        if request is not None:
            self._answer(request)
        # The library answers what is too long by itself, and nothing to what is no HTTP.
        elif any(self._server.writes):
            raise self._failed(f"WebSocket request refused: {self._server.handshake_exc}")
        else:
            raise self._refused(HTTPStatus.BAD_REQUEST)

    def _answer(self, request: Request) -> None:
        response = self._server.accept(request)
        status = HTTPStatus(response.status_code)
        headers = {
            name: response.headers[name]
            for name in ("Allow", "Upgrade")
            if name in response.headers
        }
        versions = request.headers.get_all("Sec-WebSocket-Version")
        if status is HTTPStatus.BAD_REQUEST and versions and versions != ["13"]:
            # RFC 6455 section 4.4: say which version would do.
            status = HTTPStatus.UPGRADE_REQUIRED
            headers = {"Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
        elif status is HTTPStatus.SWITCHING_PROTOCOLS:
            if len(request.headers.get_all("Host")) != 1:
                status = HTTPStatus.BAD_REQUEST
            elif self._resource not in {None, request.path.partition("?")[0]}:
                status = HTTPStatus.NOT_FOUND
            else:
                self._server.send_response(response)
                return
        raise self._refused(status, headers)

    def _refused(
        self, status: HTTPStatus, headers: dict[str, str] | None = None
    ) -> ConnectionFailed:
        """Queue the refusal, in words of our own: nothing of the request is sent back."""
        response = self._server.reject(status, f"{status.phrase}\n")
        for name, value in (headers or {}).items():
            response.headers[name] = value
        self._server.writes.append(response.serialize())
        return self._failed(f"WebSocket request refused: {status.value} {status.phrase}")


def _checked(resource: str) -> str:
    if RESOURCE.fullmatch(resource) is None:
        raise ConfigurationError(f"{resource!r} is no path to ask for a WebSocket")
    return resource


def _is_utf8(data: bytes) -> bool:
    if data.isascii():
        return True
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _printable(phrase: bytes) -> str:
    return "".join(chr(octet) for octet in phrase[:60] if 0x20 <= octet < 0x7F)  # noqa: PLR2004
