"""What SIP transports are made of, and what they report to (RFC 3261 section 18)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from callmeter.errors import SipSyntaxError, TransportError
    from callmeter.sip.message import Request, Response
    from callmeter.sip.transaction.effects import Hop

__all__ = ["ByteLayer", "DatagramUser", "Received", "SipTransport", "StreamUser"]


class DatagramUser(Protocol):
    """Who takes datagrams; called from the event loop, never concurrently."""

    def on_datagram(self, data: bytes, source: Hop) -> None:
        """One datagram from `source`."""

    def on_unreachable(self, destination: Hop, error: str) -> None:
        """The network says that `destination` takes no messages: an ICMP error."""


class StreamUser(Protocol):
    """Who takes the messages of connections; called from the event loop, never concurrently."""

    def on_message(self, message: Request | Response, data: bytes, source: Hop) -> None:
        """One message from a connection; `data` is the message as it came."""

    def on_syntax_error(self, error: SipSyntaxError, source: Hop) -> None:
        """A bad message on a connection; answer it if it can be answered."""

    def on_unreachable(self, destination: Hop, error: str) -> None:
        """No connection to `destination` could be opened."""

    def on_flow_lost(self, flow: Hop, error: str) -> None:
        """A connection that was open has ended; `flow.connection` is its number."""


class SipTransport(Protocol):
    """One way to carry SIP messages."""

    name: str
    """`"UDP"`, `"TCP"` ... as in a Via header."""

    @property
    def local(self) -> tuple[str, int]:
        """Address and port that listen."""

    def send(self, data: bytes, hop: Hop) -> None:
        """Send one message; raises `TransportError` when it cannot even be queued."""

    def close(self) -> None:
        """Stop and free the sockets; a second call does nothing."""


@dataclass(frozen=True, slots=True)
class Received:
    """What a byte layer made of the octets it was given.

    Attributes:
        data: Octets for the layer above, one item per message where the layer keeps messages
            apart.
        outgoing: Octets for the layer below.
        closed: The peer has said goodbye in this layer.
        error: What ended the layer after `data`.
        pong: The peer has answered the keep-alive that `ping` made.
        pending: A message has begun and is not whole; only where the layer keeps messages apart.
    """

    data: tuple[bytes, ...] = ()
    outgoing: bytes = b""
    closed: bool = False
    error: TransportError | None = None
    pong: bool = False
    pending: bool = False


class ByteLayer(Protocol):
    """A protocol between the socket and SIP, without socket and clock: TLS, WebSocket.

    Attributes:
        established: Whether `send` may be called.
        keeps_messages: Whether each item of `Received.data` is one whole SIP message.
    """

    established: bool
    keeps_messages: bool

    def start(self) -> bytes:
        """The octets that open the conversation; empty on the side that waits."""
        ...

    def receive(self, data: bytes) -> Received:
        """Take octets from the layer below.

        Raises:
            TransportError: The layer has failed; `farewell()` may still have something to send.
        """
        ...

    def send(self, data: bytes) -> bytes:
        """Wrap octets, or one whole message where the layer keeps messages apart."""
        ...

    def ping(self) -> bytes | None:
        """A keep-alive of this layer's own, or None when it has none."""
        ...

    def close(self) -> bytes:
        """The octets that end the conversation, an alert after an error included."""
        ...
