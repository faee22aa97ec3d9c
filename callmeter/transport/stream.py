"""SIP over connections: TCP, and whatever byte layers are put on it (RFC 3261 section 18)."""

from __future__ import annotations

import errno
import socket
from typing import TYPE_CHECKING, Final

from callmeter.errors import ConnectionFailed

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence

    from callmeter.sip.transaction.effects import Hop
    from callmeter.transport.base import ByteLayer
    from callmeter.transport.connection import Connection
    from callmeter.transport.connection_pool import ConnectionPool

__all__ = ["StreamTransport"]

BACKLOG: Final = 1_024
ACCEPTS_A_TURN: Final = 64
NO_ROOM: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
PAUSE_S: Final = 0.5
"""Without a free descriptor a listening socket stays readable: look again later, do not spin."""


class StreamTransport:
    """One stream transport: its connections, and its listening socket if it has one.

    Args:
        loop: The running event loop.
        pool: Where its connections live.
        name: `"TCP"`, `"TLS"`, `"WS"` or `"WSS"`.
        client_layers: Makes the byte layers of a connection to a hop.
        server_layers: Makes those of an accepted one; None does not listen.
        bind: IP address to bind.
        port: Port to listen on; 0 takes a free one.
        tls: Number of the TLS settings of accepted connections.

    Raises:
        ConnectionFailed: The address or port cannot be bound.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        pool: ConnectionPool,
        name: str,
        *,
        client_layers: Callable[[Hop], Sequence[ByteLayer]],
        server_layers: Callable[[], Sequence[ByteLayer]] | None,
        bind: str,
        port: int,
        tls: int | None = None,
    ) -> None:
        self.name = name
        self._tls = tls
        self._loop = loop
        self._pool = pool
        self._client_layers = client_layers
        self._server_layers = server_layers
        self._bind = bind
        self._listener: socket.socket | None = None
        self._paused: asyncio.TimerHandle | None = None
        if server_layers is not None:
            self._listen(bind, port)

    def _listen(self, bind: str, port: int) -> None:
        family = socket.AF_INET6 if ":" in bind else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            listener.setblocking(False)  # noqa: FBT003  the socket module's own signature
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((bind, port))
            listener.listen(BACKLOG)
        except OSError as error:
            listener.close()
            where = f"{self.name} {bind}:{port}"
            raise ConnectionFailed(
                f"cannot listen on {where}: {error.strerror}", destination=where
            ) from error
        self._listener = listener
        self._loop.add_reader(listener.fileno(), self._on_acceptable)

    @property
    def listens(self) -> bool:
        """Whether peers can open connections to it."""
        return self._listener is not None

    @property
    def local(self) -> tuple[str, int]:
        """Address and port that listen; port 0 when none does."""
        if self._listener is None:
            return self._bind, 0
        name = self._listener.getsockname()
        return name[0], name[1]

    def connection(self, hop: Hop) -> Connection:
        """The live connection to `hop`, opened if there is none.

        Raises:
            TransportError: It cannot be opened.
        """
        found = self._pool.find(hop)
        if found is not None:
            return found
        if hop.connection is not None:
            raise ConnectionFailed(f"{hop}: the connection has ended", destination=str(hop))
        return self._pool.open(hop, self._client_layers(hop), self._bind)

    def send(self, data: bytes, hop: Hop) -> None:
        """Send or queue one message; a failure to connect is told to the user later.

        Raises:
            TransportError: It cannot even be queued.
        """
        self.connection(hop).send(data)

    def close(self) -> None:
        """Stop listening; the pool closes the connections."""
        if self._paused is not None:
            self._paused.cancel()
            self._paused = None
        if self._listener is not None:
            self._loop.remove_reader(self._listener.fileno())
            self._listener.close()
            self._listener = None

    def _on_acceptable(self) -> None:
        listener, make_layers = self._listener, self._server_layers
        if listener is None or make_layers is None:
            return
        for _ in range(ACCEPTS_A_TURN):
            try:
                accepted, peer = listener.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if error.errno in NO_ROOM:
                    self._pause(listener)
                    return
                # This peer has gone again (ECONNABORTED and the like); the next has not.
                continue
            self._pool.accept(accepted, (peer[0], peer[1]), self.name, make_layers, self._tls)

    def _pause(self, listener: socket.socket) -> None:
        self._loop.remove_reader(listener.fileno())
        self._paused = self._loop.call_later(PAUSE_S, self._resume, listener)

    def _resume(self, listener: socket.socket) -> None:
        self._paused = None
        self._loop.add_reader(listener.fileno(), self._on_acceptable)
