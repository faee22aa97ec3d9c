"""Signalling load: calls without media, by the thousand a second, answered or placed.

The shells drive the transports, the transaction layer and the two lean user agents of
`callmeter.sip.signaling_uas` and `callmeter.sip.signaling_uac`. Each message is dealt with as it
comes, and one tick serves all timers.
"""

from __future__ import annotations

import asyncio
import secrets
from abc import ABC, abstractmethod
from contextlib import AsyncExitStack, contextmanager
from math import inf
from typing import TYPE_CHECKING, Any, Final, Self

from callmeter.config import StackConfig, Transport
from callmeter.errors import (
    CallmeterError,
    ConfigurationError,
    ConnectionFailed,
    LocalProtocolError,
    SipSyntaxError,
    TransportError,
)
from callmeter.load.outbox import LEAST, bursts
from callmeter.sip.learned_shapes import LearnedShapes
from callmeter.sip.message import Request, Response
from callmeter.sip.next_hop import host_port, next_hop_uri, transport_of
from callmeter.sip.parser import ParserLimits, is_keepalive, parse_message
from callmeter.sip.prepared_messages import PreparedRequest
from callmeter.sip.session_events import CancelRequest, Respond, SendAck, SendRequest
from callmeter.sip.transaction.effects import (
    Deliver,
    Hop,
    Send,
    Terminated,
    TimedOut,
    TransportFailed,
)
from callmeter.sip.transaction.layer import TransactionLayer
from callmeter.transport.layer import Route, TransportLayer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from types import TracebackType

    from callmeter.load.outbox import Posted
    from callmeter.sip.learned_shapes import Usual
    from callmeter.sip.transaction.key import Key
    from callmeter.sip.uri import SipUri

__all__ = ["PACE", "SignalingShell", "contact_uri", "description"]

TICK: Final = 0.01
"""Seconds between two looks at the timers; the shortest that RFC 3261 has is 200 ms."""
PACE: Final = 0.01
"""Seconds between two readings while much comes: waking up for each datagram costs a sixth more."""
PAGE: Final = 4_096
HOPS: Final = 1_024
"""Destinations that are remembered."""


class _Entropy:
    """Random octets, fetched from the system by the page."""

    __slots__ = ("_at", "_page")

    def __init__(self) -> None:
        self._page = b""
        self._at = 0

    def __call__(self, count: int) -> bytes:
        at = self._at
        taken = self._page[at : at + count]
        if len(taken) < count:
            self._page = secrets.token_bytes(PAGE)
            taken = self._page[:count]
            at = 0
        self._at = at + count
        return taken


class SignalingShell(ABC):
    """What both roles share: sockets, transactions and the tick."""

    def __init__(self, config: StackConfig | None, default: Transport, pace: float = PACE) -> None:
        if not 0 <= pace < inf:
            raise ConfigurationError(f"pace is a number of seconds, 0 or more, not {pace}")
        self._pace = pace
        self.config = config or StackConfig()
        self._default = default
        self._source: Hop | None = None
        self.malformed = 0
        self.unreachable = 0
        self._limits = ParserLimits(message=self.config.limits.message)
        self._shapes = LearnedShapes(self._limits)
        self._entropy = _Entropy()
        self._layer = TransactionLayer(
            self.config.timers,
            self._entropy,
            limit=self.config.limits.server_transactions,
        )
        self._exit: AsyncExitStack | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._looks_by_hand = False
        self._looked = 0.0
        self._locals: dict[tuple[str, str], tuple[str, int]] = {}
        self._hops: dict[str, Hop] = {}
        self._ways: dict[str, tuple[Hop, str]] = {}
        self._tokens: dict[Key, int] = {}
        self._keys: dict[int, Key] = {}
        self._ticked = asyncio.Event()
        self._outbox: list[Posted] = []
        self._now: float | None = None
        self._orders: dict[type, Callable[[Any, float], object]] = {
            Send: self._on_send,
            Deliver: self._on_deliver,
            Respond: self._on_respond,
            SendRequest: self._on_send_request,
            SendAck: self._on_send_ack,
            CancelRequest: self._on_cancel_request,
            TimedOut: self._on_timed_out,
            TransportFailed: self._on_timed_out,
            Terminated: self._on_terminated,
        }

    async def __aenter__(self) -> Self:
        if self._exit is not None:
            raise LocalProtocolError("it is running already")
        self._loop = asyncio.get_running_loop()
        entered = AsyncExitStack()
        try:
            tasks = await entered.enter_async_context(asyncio.TaskGroup())
            self.transport = TransportLayer(self._loop, self, self.config, tasks)
            entered.callback(self.transport.close)
            self.transport.start()
            self.transport.after_reading(self._send_posted)
            await self._begin()
            entered.callback(self._stop)
        except BaseException:
            # Told to the task group, the error would come out wrapped in an exception group.
            await entered.aclose()
            raise
        self._exit = entered
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._exit is not None:
            leaving, self._exit = self._exit, None
            await leaving.__aexit__(None, None, None)

    def _stop(self) -> None:
        self._send_posted()
        self._exit = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    @property
    def transactions(self) -> int:
        """Live transactions; those that wait for stragglers stay 32 s by UDP."""
        return len(self._layer)

    # what the roles differ in

    @abstractmethod
    async def _begin(self) -> None:
        """The transports are open."""

    @abstractmethod
    def _on_request(self, key: Key, request: Request, now: float) -> Iterable[object]:
        """A request was delivered."""

    @abstractmethod
    def _on_usual(self, usual: Usual, source: Hop, now: float) -> bool:
        """A usual message by datagram: whether the role is through with it, in one step.

        If not, nothing has changed.
        """

    @abstractmethod
    def _on_ack(self, request: Request, now: float) -> Iterable[object]:
        """The ACK of a 2xx was delivered."""

    @abstractmethod
    def _on_response(self, token: int, response: Response, now: float) -> Iterable[object]:
        """A response was delivered."""

    @abstractmethod
    def _on_failure(self, key: Key, token: int | None) -> Iterable[object]:
        """A transaction came to nothing."""

    @abstractmethod
    def _on_due(self, now: float) -> Iterable[object]:
        """Time has passed."""

    @abstractmethod
    def _next_deadline(self) -> float | None:
        """When the role has something to do."""

    # what arrives

    def on_datagram(self, data: bytes, source: Hop) -> None:
        """One datagram from a transport; never raises for what it holds."""
        usual = self._shapes.find(data)
        if usual is not None:
            now = self._now
            if now is None:
                # One look at the clock is enough for what is read in one go.
                now = self._now = self._loop.time()
                self._keep_time()
            if self._on_usual(usual, source, now):
                return
        try:
            message = parse_message(data, self._limits)
        except SipSyntaxError as error:
            if not is_keepalive(data):
                self.on_syntax_error(error, source)
            return
        self.on_message(message, data, source)

    def on_message(self, message: Request | Response, data: bytes, source: Hop) -> None:
        """One message, from a datagram or a connection."""
        del data
        now = self._loop.time()
        self._source = source
        self._apply(self._layer.on_message(message, source, now), now)
        if self._timer is None:
            self._keep_time()

    def on_syntax_error(self, error: SipSyntaxError, source: Hop) -> None:
        """A message that cannot be understood: answered once and without state, if at all."""
        self.malformed += 1
        request = error.partial
        if isinstance(request, Request) and request.method != "ACK":
            try:
                tag = secrets.token_hex(8)
                response = request.create_response(error.status, str(error)[:80], to_tag=tag)
                self.transport.send(response.to_bytes(), source)
            except CallmeterError:
                return

    def on_unreachable(self, destination: Hop, error: str) -> None:
        """The network takes no messages to this target; the timers of requests will tell."""
        del destination, error
        self.unreachable += 1

    def on_flow_lost(self, flow: Hop, error: str) -> None:
        """A connection has ended; the timers of requests will tell."""
        del flow, error
        self.unreachable += 1

    async def _until(self, reached: Callable[[], bool]) -> None:
        """Wait for what messages and time will bring; looked at once a tick."""
        while not reached():
            self._ticked.clear()
            await self._ticked.wait()

    # effects

    def _apply(self, effects: Iterable[object], now: float) -> None:
        orders = self._orders
        for effect in effects:
            orders[type(effect)](effect, now)

    def _post(self, octets: bytes, hop: Hop, key: Key | None = None, rank: int = 0) -> None:
        """Have a datagram sent once all has been read that has come, or by `_send_posted`.

        One by one, each would wake its receiver anew.
        """
        self._outbox.append((octets, hop, key, rank))

    def _send_posted(self) -> None:
        self._now = None
        if not self._outbox:
            return
        posted, self._outbox = self._outbox, []
        if len(posted) < LEAST:
            self._send_each(posted)
            return
        for burst in bursts(posted):
            sent = 0
            if len(burst) >= LEAST:
                sent = self.transport.send_alike([each[0] for each in burst], burst[0][1])
            self._send_each(burst[sent:])

    def _send_each(self, posted: list[Posted]) -> None:
        send = self.transport.datagram_sender()
        for octets, hop, key, _ in posted:
            try:
                send(octets, hop)
            except TransportError as error:
                self.unreachable += 1
                now = self._loop.time()
                self._apply(self._layer.on_transport_error(key, str(error), now), now)

    def _on_send(self, effect: Send, now: float) -> None:
        if self._outbox:
            self._send_posted()
        try:
            self.transport.send(effect.message.to_bytes(), effect.hop)
        except TransportError as error:
            self.unreachable += 1
            self._apply(self._layer.on_transport_error(effect.key, str(error), now), now)

    def _on_deliver(self, effect: Deliver, now: float) -> None:
        key, message = effect.key, effect.message
        if key is None:
            if isinstance(message, Request):
                self._apply(self._on_ack(message, now), now)
        elif isinstance(message, Request):
            self._apply(self._on_request(key, message, now), now)
        else:
            token = self._tokens.get(key)
            if token is not None:
                self._apply(self._on_response(token, message, now), now)

    def _on_respond(self, effect: Respond, now: float) -> None:
        self._apply(self._layer.respond(effect.key, effect.response, now), now)

    def _on_send_request(self, effect: SendRequest, now: float) -> None:
        request = effect.request
        try:
            hop = self._hop_of(request)
            sent_by = host_port(self._local_towards(hop))
        except TransportError:
            self.unreachable += 1
            self._apply(self._on_failure((), effect.token), now)
            return
        if isinstance(request, PreparedRequest) and not hop.reliable and len(self._ways) < HOPS:
            self._ways[request.uri_text] = hop, sent_by
        key, effects = self._layer.request(request, hop, sent_by, now)
        if effect.token:
            self._tokens[key] = effect.token
        if effect.token > 0:
            self._keys[effect.token] = key
        self._apply(effects, now)

    def _on_send_ack(self, effect: SendAck, now: float) -> None:
        try:
            hop = self._hop_of(effect.request)
            sent_by = host_port(self._local_towards(hop))
        except TransportError:
            self.unreachable += 1
            return
        self._apply(self._layer.stateless(effect.request, hop, sent_by), now)

    def _on_cancel_request(self, effect: CancelRequest, now: float) -> None:
        key = self._keys.get(effect.token)
        if key is not None:
            self._apply(self._layer.cancel(key, now)[1], now)

    def _on_timed_out(self, effect: TimedOut | TransportFailed, now: float) -> None:
        self._apply(self._on_failure(effect.key, self._tokens.get(effect.key)), now)

    def _on_terminated(self, effect: Terminated, now: float) -> None:
        del now
        token = self._tokens.pop(effect.key, None)
        if token is not None:
            self._keys.pop(token, None)

    # where

    def _local_towards(self, hop: Hop) -> tuple[str, int]:
        """Own address as `hop` sees it; a listener's does not change."""
        known = self._locals.get((hop.transport, hop.host))
        if known is None:
            known = self.transport.local_towards(hop)
            if hop.transport == "UDP" and len(self._locals) < HOPS:
                self._locals[hop.transport, hop.host] = known
        return known

    def _hop_of(self, request: Request) -> Hop:
        """Where a request goes: the address in its Route or Request-URI, without the DNS.

        Raises:
            ConnectionFailed: There is no address in it.
        """
        plain = isinstance(request, PreparedRequest)
        if plain and (hop := self._hops.get(request.uri_text)) is not None:
            return hop
        uri = next_hop_uri(request)
        if uri is not None:
            found = self.transport.known(self._route(uri))
            if found is not None and found.hops:
                if plain and len(self._hops) < HOPS:
                    self._hops[request.uri_text] = found.hops[0]
                return found.hops[0]
        raise ConnectionFailed(f"{request.uri_text} is no address", destination=request.uri_text)

    def _route(self, uri: SipUri) -> Route:
        transport = transport_of(uri, self._default)
        secure = transport in {Transport.TLS, Transport.WSS}
        return Route(uri, transport, self.transport.tls_number(self.config.tls) if secure else None)

    # time

    def _keep_time(self) -> None:
        """Have the timers looked at a tick from now."""
        if self._timer is None and self._exit is not None and not self._looks_by_hand:
            self._timer = self._loop.call_later(TICK, self._on_tick)

    def _on_tick(self) -> None:
        self._timer = None
        self._look(self._loop.time())
        if self._layer.next_deadline() is not None or self._next_deadline() is not None:
            self._keep_time()

    def _look(self, now: float) -> None:
        """Do what is due."""
        self._looked = now
        self._apply(self._layer.on_deadline(now), now)
        self._apply(self._on_due(now), now)
        self._ticked.set()

    @contextmanager
    def _by_hand(self) -> Iterator[Callable[[], float]]:
        """Datagrams and timers wait until what this gives is called; it gives the time.

        Each waking up costs as much as a call or two.
        """
        with self.transport.read_by_hand() as read:

            def turn() -> float:
                read()
                now = self._loop.time()
                if now - self._looked >= TICK:
                    self._look(now)
                return now

            self._looks_by_hand = True
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            try:
                yield turn
            finally:
                self._looks_by_hand = False
                self._keep_time()

    def _by_itself(self) -> float:
        """As what `_by_hand` gives, where nothing waits for it."""
        self._keep_time()
        return self._loop.time()


def description(host: str) -> bytes:
    """A session description that offers, or answers, PCMU and says that no media will come."""
    family = "IP6" if ":" in host else "IP4"
    return (
        f"v=0\r\no=- 1 1 IN {family} {host}\r\ns=-\r\nc=IN {family} {host}\r\nt=0 0\r\n"
        "m=audio 9 RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\na=inactive\r\n"
    ).encode("ascii")


def contact_uri(user: str, local: tuple[str, int], transport: str) -> str:
    """The URI of a Contact at this address."""
    # RFC 7118 section 5.5: `ws` stands for WebSocket, secure or not.
    word = "ws" if transport == "WSS" else transport.lower()
    param = "" if word == "udp" else f";transport={word}"
    return f"sip:{user or 'callmeter'}@{host_port(local)}{param}"
