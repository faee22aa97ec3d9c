"""One SIP connection: a socket, the byte layers on it, framing, queue and deadlines."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from enum import Enum
from typing import TYPE_CHECKING, Final, TypeVar

from callmeter.errors import ConnectionFailed, FlowLost, SipSyntaxError, TransportError
from callmeter.sip.framing import KeepAlive, StreamFramer
from callmeter.sip.parser import is_keepalive, parse_message

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Sequence

    from callmeter.sip.message import Request, Response
    from callmeter.sip.transaction.effects import Hop
    from callmeter.transport.base import ByteLayer
    from callmeter.transport.connection_pool import Address, ConnectionPool

__all__ = ["Connection", "ConnectionState"]

READ_OCTETS: Final = 65_536
READS_A_TURN: Final = 4
"""So that one busy peer cannot starve the others."""
LayerT = TypeVar("LayerT")
PING: Final = b"\r\n\r\n"
PONG: Final = b"\r\n"


class ConnectionState(Enum):
    """How far a connection is."""

    CONNECTING = "connecting"
    HANDSHAKING = "handshaking"
    OPEN = "open"
    CLOSED = "closed"


class Connection:
    """One connection, ours or accepted.

    Messages sent before it is open wait in its queue; if it never opens, the pool tells the
    user that the destination is unreachable.

    Attributes:
        hop: The peer, with this connection's number.
        state: How far it is.
        inbound: Whether the peer opened it.
        local: Own address and port, known once connected.
        opened_at: Loop time at which it opened.
        last_received: Loop time of the last octets.
        last_sent: Loop time of the last message of ours.
        failure: What ended it, or None.
        deadline: When its patience ends, and the words for it; None without one.
        addresses: What the pool finds it by, besides its number.
    """

    __slots__ = (
        "_dead",
        "_framer",
        "_keep_alive",
        "_layers",
        "_loop",
        "_outgoing",
        "_pong_expected",
        "_pool",
        "_queued",
        "_reading",
        "_socket",
        "_started",
        "_writing",
        "addresses",
        "deadline",
        "failure",
        "hop",
        "inbound",
        "last_received",
        "last_sent",
        "local",
        "opened_at",
        "ping_at",
        "pong_due",
        "state",
    )

    def __init__(
        self,
        pool: ConnectionPool,
        loop: asyncio.AbstractEventLoop,
        sock: socket.socket,
        hop: Hop,
        layers: Sequence[ByteLayer],
        *,
        inbound: bool,
    ) -> None:
        self._pool = pool
        self._loop = loop
        self._socket = sock
        self._layers = tuple(layers)
        self._framer = None
        if not any(layer.keeps_messages for layer in layers):
            self._framer = StreamFramer(pool.parser_limits)
        self._outgoing = bytearray()
        self._queued: list[bytes] = []
        self._started = 0
        self._reading = self._writing = self._dead = False
        self.hop = hop
        self.inbound = inbound
        self.local = ("", 0)
        self.state = ConnectionState.CONNECTING
        self.opened_at: float | None = None
        self.last_received = self.last_sent = loop.time()
        self.ping_at: float | None = None
        self.pong_due: float | None = None
        self._keep_alive: float | None = None
        self._pong_expected = True
        self.failure: TransportError | None = None
        self.addresses: list[Address] = []
        limits = pool.limits
        wait = limits.accept_handshake if inbound else limits.connect
        self.deadline: tuple[float, str] | None = (
            self.last_received + wait,
            f"timed out after {wait:g} s",
        )
        if inbound:
            self._on_connected()

    # opening

    def connect(self) -> None:
        """Begin to connect to the hop."""
        try:
            code = self._socket.connect_ex((self.hop.host, self.hop.port))
        except OSError as error:
            code = error.errno or errno.EADDRNOTAVAIL
        if code in {0, errno.EISCONN}:
            self._on_connected()
        elif code in {errno.EINPROGRESS, errno.EWOULDBLOCK}:
            self._watch_writing(on=True)
        else:
            self._refused(code)

    def _refused(self, code: int) -> None:
        self.fail(ConnectionFailed(f"{self.hop}: {os.strerror(code)}", destination=str(self.hop)))

    def _on_connected(self) -> None:
        name = self._socket.getsockname()
        self.local = (name[0], name[1])
        if not self.inbound and self.local == (self.hop.host, self.hop.port):
            # Nobody listens, and the system picked that very port for us: a TCP simultaneous
            # open with oneself.
            self._refused(errno.ECONNREFUSED)
            return
        self.state = ConnectionState.HANDSHAKING
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._loop.add_reader(self._socket.fileno(), self._on_readable)
        self._reading = True
        self._advance()

    def _advance(self) -> None:
        """Start each layer once the one below is established; open when all are."""
        try:
            while self._started < len(self._layers):
                if self._started and not self._layers[self._started - 1].established:
                    return
                layer = self._layers[self._started]
                self._started += 1
                self._put_below(self._started - 1, layer.start())
            if self._layers and not self._layers[-1].established:
                return
        except TransportError as error:
            self.fail(error)
            return
        if self.state is ConnectionState.HANDSHAKING:
            self._on_open()

    def _on_open(self) -> None:
        self.state = ConnectionState.OPEN
        self.opened_at = self._loop.time()
        self.deadline = None
        if self.inbound:
            # Whoever opens a connection has something to say; silence only costs a place.
            self._expect("no message came")
        self._pool.on_open(self)
        queued, self._queued = self._queued, []
        for data in queued:
            self._write_message(data)

    def layer(self, kind: type[LayerT]) -> LayerT | None:
        """Its byte layer of that kind, or None."""
        return next((layer for layer in self._layers if isinstance(layer, kind)), None)

    @property
    def vouched_for(self) -> bool:
        """Whether each layer that can tell has verified who the peer is."""
        return all(getattr(layer, "verified", True) for layer in self._layers)

    def vouches_for(self, name: str) -> bool:
        """Whether each layer that can tell has seen the peer prove that it has this name."""
        proofs = (getattr(layer, "vouches_for", None) for layer in self._layers)
        return all(proof(name) for proof in proofs if proof is not None)

    # sending

    def send(self, data: bytes) -> None:
        """Send or queue one message.

        Raises:
            FlowLost: The connection has ended.
            ConnectionFailed: The peer does not read, and the queue is full.
        """
        if self.state is ConnectionState.CLOSED:
            raise FlowLost(f"{self.hop}: the connection has ended", destination=str(self.hop))
        self.last_sent = self._loop.time()
        waiting = len(self._outgoing) + sum(map(len, self._queued)) + len(data)
        if waiting > self._pool.limits.write_queue:
            error = self._stuffed(waiting)
            self.fail(error)
            raise error
        if self.state is not ConnectionState.OPEN:
            self._queued.append(data)
            return
        self._write_message(data)
        if self.failure is not None:
            # It ended while this was written: what was to be sent has not been.
            raise self.failure

    def _write_message(self, data: bytes) -> None:
        self._put_below(len(self._layers), data)

    def _put_below(self, index: int, data: bytes) -> None:
        """Hand octets of layer `index` (len: SIP itself) down to the socket."""
        if not data:
            return
        try:
            for layer in reversed(self._layers[:index]):
                data = layer.send(data)
        except TransportError as error:
            self.fail(error)
            return
        if self.state is not ConnectionState.CLOSED:
            self._write(data)

    def _write(self, data: bytes) -> None:
        if self._dead:
            return
        if not self._outgoing:
            try:
                sent = self._socket.send(data)
            except (BlockingIOError, InterruptedError):
                sent = 0
            except OSError as error:
                self._lost(error)
                return
            data = data[sent:]
        if data:
            self._outgoing += data
            self._watch_writing(on=True)

    def _on_writable(self) -> None:
        if self.state is ConnectionState.CONNECTING:
            self._watch_writing(on=False)
            code = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code:
                self._refused(code)
            else:
                self._on_connected()
            return
        try:
            sent = self._socket.send(self._outgoing)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._lost(error)
            return
        del self._outgoing[:sent]
        if not self._outgoing:
            self._watch_writing(on=False)

    def _watch_writing(self, *, on: bool) -> None:
        if on and not self._writing:
            self._loop.add_writer(self._socket.fileno(), self._on_writable)
        elif self._writing and not on:
            self._loop.remove_writer(self._socket.fileno())
        self._writing = on

    # receiving

    def _on_readable(self) -> None:
        for _ in range(READS_A_TURN):
            try:
                data = self._socket.recv(READ_OCTETS)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                self._lost(error)
                return
            if not data:
                self._ended_by_peer()
                return
            self.last_received = self._loop.time()
            self._take(0, data)
            if self.state is ConnectionState.CLOSED or len(data) < READ_OCTETS:
                return

    def _ended_by_peer(self, how: str = "closed by the peer") -> None:
        for layer in self._layers[: self._started]:
            try:
                # A layer knows best what an end in the middle of its handshake means.
                layer.receive(b"")
            except TransportError as error:
                self.fail(error)
                return
        self.fail(FlowLost(f"{self.hop}: {how}", destination=str(self.hop)))

    def _lost(self, error: OSError) -> None:
        """The socket has failed; the peer's last words may still wait in it."""
        if self._dead:
            return
        self._dead = True
        data = b""
        with contextlib.suppress(OSError):
            data = self._socket.recv(READ_OCTETS)
        if data:
            self._take(0, data)
        if self.state is not ConnectionState.CLOSED:
            self._ended_by_peer(error.strerror or str(error))

    def _take(self, index: int, data: bytes) -> None:
        """Octets for layer `index`, or for SIP above them all."""
        if index == len(self._layers):
            self._take_sip(data)
            return
        try:
            received = self._layers[index].receive(data)
        except TransportError as error:
            self.fail(error)
            return
        self._answer(index, received.outgoing)
        if self.state is ConnectionState.HANDSHAKING:
            self._advance()
        for item in received.data:
            if self.state is ConnectionState.CLOSED:
                return
            self._take(index + 1, item)
        if self.state is ConnectionState.CLOSED:
            return
        if received.pong:
            self.pong_due = None
        if self._layers[index].keeps_messages and self.state is ConnectionState.OPEN:
            if received.data:
                self.deadline = None
            self._expect_whole(pending=received.pending)
        if received.error is not None:
            self.fail(received.error)
        elif received.closed:
            self._ended_by_peer()

    def _answer(self, index: int, data: bytes) -> None:
        """Hand down what a layer says by itself: a peer may not ask for it without reading it."""
        self._put_below(index, data)
        waiting = len(self._outgoing)
        if data and waiting > self._pool.limits.write_queue:
            self.fail(self._stuffed(waiting))

    def _stuffed(self, waiting: int) -> ConnectionFailed:
        return ConnectionFailed(
            f"{self.hop}: {waiting} octets wait and the peer does not read",
            destination=str(self.hop),
        )

    def _take_sip(self, data: bytes) -> None:
        framer = self._framer
        if framer is None:
            self._take_whole(data)
            return
        while self.state is not ConnectionState.CLOSED:
            try:
                items = framer.feed(data)
            except SipSyntaxError as error:
                self._pool.user.on_syntax_error(error, self.hop)
                if not framer.in_sync:
                    self.fail(FlowLost(f"{self.hop}: framing lost", destination=str(self.hop)))
                    return
                data = b""
                continue
            if items:
                self.deadline = None
            for item in items:
                self._deliver(item)
            if framer.error is None:
                break
            data = b""
        self._expect_whole(pending=framer.pending and self.state is ConnectionState.OPEN)

    def _expect_whole(self, *, pending: bool) -> None:
        if not pending:
            self.deadline = None
        else:
            self._expect("a message was not whole")

    def _expect(self, text: str) -> None:
        """Begin to wait, unless a wait has begun already."""
        wait = self._pool.limits.message
        at = self._loop.time() + wait if self.deadline is None else self.deadline[0]
        self.deadline = (at, f"{text} in {wait:g} s")

    def _take_whole(self, data: bytes) -> None:
        if is_keepalive(data):
            self._deliver(KeepAlive.PONG if data == PONG else KeepAlive.PING)
            return
        try:
            message = parse_message(data, self._pool.parser_limits)
        except SipSyntaxError as error:
            self._pool.user.on_syntax_error(error, self.hop)
            return
        self._pool.user.on_message(message, data, self.hop)

    def _deliver(self, item: Request | Response | KeepAlive) -> None:
        if self.state is ConnectionState.CLOSED:
            return
        if item is KeepAlive.PING:
            self._answer(len(self._layers), PONG)
        elif item is KeepAlive.PONG:
            self._pong_expected = True
            self.pong_due = None
        elif not isinstance(item, KeepAlive):
            self._pool.user.on_message(item, item.to_bytes(), self.hop)

    # time

    def on_sweep(self, now: float) -> bool:
        """Look at the deadlines, as the pool does twice a second; returns whether it ended."""
        if self.state is ConnectionState.CLOSED:
            return False
        limits = self._pool.limits
        if self.deadline is not None and now >= self.deadline[0]:
            self._time_out(self.deadline[1])
        elif self.pong_due is not None and now >= self.pong_due:
            # RFC 5626 section 4.4.1: a flow whose pong stays out is dead.
            self.fail(FlowLost(f"{self.hop}: no pong came", destination=str(self.hop)))
        elif self._idle_since() < now - limits.idle:
            self.fail(FlowLost(f"{self.hop}: idle", destination=str(self.hop)))
        elif self.ping_at is not None and now >= self.ping_at:
            self._ping(now)
            return False
        else:
            return False
        return True

    def _idle_since(self) -> float:
        if self.inbound:
            return self.last_received
        # One of ours is of use as long as anything goes by it, or is to.
        if self.ping_at is not None:
            return self._loop.time()
        return max(self.last_received, self.last_sent)

    def _time_out(self, text: str) -> None:
        for layer in self._layers[: self._started]:
            if not layer.established:
                timed_out = getattr(layer, "timed_out", None)
                if timed_out is not None:
                    self.fail(timed_out(text))
                    return
        self.fail(ConnectionFailed(f"{self.hop}: {text}", destination=str(self.hop)))

    def keep_alive(
        self, at: float, *, interval: float | None = None, pong_expected: bool = True
    ) -> None:
        """Ping the peer from `at` on (RFC 5626 section 4.4.1).

        Args:
            at: Loop time of the first ping.
            interval: Seconds between pings at most; None takes the limit's.
            pong_expected: Whether the flow is dead when no pong comes. A peer that has not said
                so need not know the CRLF ping; the first pong tells that it does.
        """
        self.ping_at = at
        self._keep_alive = interval
        self._pong_expected = pong_expected

    def _ping(self, now: float) -> None:
        if self.state is not ConnectionState.OPEN:
            return
        self.ping_at = now + self._pool.ping_interval(self.hop.transport, self._keep_alive)
        own = self._layers[-1].ping() if self._layers else None
        if own is not None or self._pong_expected:
            self.pong_due = now + self._pool.limits.pong
        if own is None:
            self._write_message(PING)
        else:
            self._put_below(len(self._layers) - 1, own)

    # ending

    def close(self) -> None:
        """End it in good order; the user is not told."""
        self._say_goodbye()
        self._free()

    def fail(self, error: TransportError) -> None:
        """End it; the pool tells the user what that means."""
        if self.state is ConnectionState.CLOSED:
            return
        was_open = self.state is ConnectionState.OPEN
        self.failure = error
        self._say_goodbye()
        self._free()
        self._pool.on_closed(self, error, was_open=was_open)

    def _say_goodbye(self) -> None:
        """Send what the layers say in parting, as far as the socket takes it at once."""
        if self.state in {ConnectionState.CLOSED, ConnectionState.CONNECTING}:
            return
        farewell = bytes(self._outgoing)
        for index in reversed(range(self._started)):
            try:
                data = self._layers[index].close()
                for layer in reversed(self._layers[:index]):
                    data = layer.send(data) if data else b""
            except TransportError:
                continue
            farewell += data
        with contextlib.suppress(OSError):
            if farewell:
                self._socket.send(farewell)
            # A close with octets unread would be a reset, and take the last words along.
            self._socket.shutdown(socket.SHUT_WR)
            self._socket.recv(READ_OCTETS)

    def _free(self) -> None:
        if self.state is ConnectionState.CLOSED:
            return
        self._watch_writing(on=False)
        if self._reading:
            self._loop.remove_reader(self._socket.fileno())
            self._reading = False
        self.state = ConnectionState.CLOSED
        self._outgoing.clear()
        self._queued.clear()
        self._socket.close()
