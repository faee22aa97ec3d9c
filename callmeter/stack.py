"""Stack: the transports, the transaction layer and the media engine that endpoints share.

The stack is a shell: it hands what arrives to pure machines and carries out the effects they
return, one after the other, after the machine's method has returned. It keeps one timer.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import secrets
import time
from collections import deque
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self

from callmeter.config import StackConfig, Transport
from callmeter.errors import (
    CallmeterError,
    ConfigurationError,
    LocalProtocolError,
    SipSyntaxError,
    TransportError,
)
from callmeter.media.engine import MediaEngine
from callmeter.sip.message import Request, Response
from callmeter.sip.parser import ParserLimits, is_keepalive, parse_message
from callmeter.sip.session_events import CancelRequest, Respond, SendAck, SendRequest
from callmeter.sip.transaction.effects import (
    Deliver,
    Hop,
    Send,
    Terminated,
    TimedOut,
    TransportFailed,
)
from callmeter.sip.transaction.key import response_key
from callmeter.sip.transaction.layer import TransactionLayer
from callmeter.sip.uri import SipUri
from callmeter.transport.layer import TransportLayer

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable
    from types import TracebackType

    from callmeter.sip.transaction.key import Key
    from callmeter.sip.user_agent import UserAgentCore
    from callmeter.trace.message_log import MessageLog

__all__ = ["Stack", "StackUser"]


class StackUser(Protocol):
    """An endpoint as its stack sees it."""

    core: UserAgentCore
    messages: MessageLog
    contact_user: str
    aor_user: str
    transport: Transport

    def face(self, local: tuple[str, int], transport: str) -> None:
        """Messages of this endpoint now leave from `local` by `transport`."""

    def face_home(self) -> None:
        """Messages that nobody asked for, such as refreshes, are about to leave."""

    def on_event(self, event: object, now: float) -> None:
        """One event of the user agent core."""


@dataclass(slots=True)
class _Attempt:
    """A request on its way through the targets of RFC 3263 section 4.3."""

    user: StackUser
    token: int
    request: Request
    hops: list[Hop]
    answered: bool = False


@dataclass(slots=True)
class _Owner:
    """Whose transaction a key names."""

    user: StackUser
    attempt: _Attempt | None = None
    hop: Hop | None = None


@dataclass(slots=True)
class StackCounters:
    """What the stack dropped or refused, by reason."""

    malformed: int = 0
    keepalives: int = 0
    unroutable: int = 0
    unreachable: int = 0
    received: int = 0
    sent: int = 0


@dataclass(slots=True)
class _Deadlines:
    """The earliest deadline of many machines, with lazy removal."""

    heap: list[tuple[float, int, StackUser | None]] = field(default_factory=list)
    armed: dict[int, float] = field(default_factory=dict)
    count: int = 0

    def set(self, owner: StackUser | None, at: float | None) -> None:
        """Note when `owner` wants to be called (None: the transaction layer)."""
        identity = id(owner)
        if at is None:
            self.armed.pop(identity, None)
        elif self.armed.get(identity) != at:
            self.armed[identity] = at
            self.count += 1
            heapq.heappush(self.heap, (at, self.count, owner))

    def earliest(self) -> float | None:
        """The next deadline that still stands."""
        while self.heap:
            at, _, owner = self.heap[0]
            if self.armed.get(id(owner)) == at:
                return at
            heapq.heappop(self.heap)
        return None

    def due(self, now: float) -> list[StackUser | None]:
        """Take out every owner whose deadline has come."""
        owners = []
        while (at := self.earliest()) is not None and at <= now:
            _, _, owner = heapq.heappop(self.heap)
            del self.armed[id(owner)]
            owners.append(owner)
        return owners


class Stack:
    """What many endpoints share; use it as `async with Stack(...) as stack`.

    Args:
        config: Addresses, timers, limits; the default listens on a free UDP port.

    Raises:
        ConnectionFailed: On entry, when an address or port cannot be bound.
    """

    def __init__(self, config: StackConfig | None = None) -> None:
        self.config = config or StackConfig()
        self.counters = StackCounters()
        self.transactions = TransactionLayer(
            self.config.timers,
            secrets.token_bytes,
            limit=self.config.limits.server_transactions,
        )
        self.media = MediaEngine(
            entropy=secrets.token_bytes,
            wall_clock=time.time,  # noqa: TID251  RTCP sender reports carry wall clock time
            max_streams=self.config.limits.media_ports,
        )
        self._limits = ParserLimits(message=self.config.limits.message)
        self._users: dict[str, StackUser] = {}
        self._owners: dict[Key, _Owner] = {}
        self._tokens: dict[tuple[int, int], Key] = {}
        self._cancelled: set[tuple[int, int]] = set()
        self._by_hop: dict[Hop, set[Key]] = {}
        self._flows: dict[str, tuple[Hop, tuple[str, int] | None]] = {}
        self._source: Hop | None = None
        self._work: deque[tuple[StackUser | None, object]] = deque()
        self._draining = False
        self._deadlines = _Deadlines()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._exit: AsyncExitStack | None = None
        self._tasks: asyncio.TaskGroup | None = None
        self._running: set[asyncio.Task[None]] = set()

    # life

    async def __aenter__(self) -> Self:
        if self._exit is not None:
            raise LocalProtocolError("this stack is already running")
        loop = asyncio.get_running_loop()
        self._loop = loop
        async with AsyncExitStack() as entered:
            self.transport = TransportLayer(loop, self, self.config)
            entered.callback(self.transport.close)
            self.transport.start()
            await entered.enter_async_context(self.media)
            self._tasks = await entered.enter_async_context(asyncio.TaskGroup())
            entered.callback(self._stop)
            self._exit = entered.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._exit is not None:
            leaving, self._exit = self._exit, None
            # An error of the body stays what it is: told to the task group, it would come out
            # wrapped in an exception group.
            await leaving.__aexit__(None, None, None)

    def _stop(self) -> None:
        for task in self._running:
            task.cancel()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._deadlines = _Deadlines()
        for table in (self._owners, self._tokens, self._by_hop, self._flows, self._users):
            table.clear()

    def attach(self, user: StackUser) -> None:
        """Give an endpoint its place: requests to its contact now reach it.

        Raises:
            LocalProtocolError: The stack is not running.
            ConfigurationError: The contact user is taken.
        """
        if self._exit is None:
            raise LocalProtocolError("enter the stack before its endpoints: async with Stack()")
        if user.contact_user in self._users:
            raise ConfigurationError(f"contact user {user.contact_user!r} is taken on this stack")
        self._users[user.contact_user] = user

    def detach(self, user: StackUser) -> None:
        """Take an endpoint out; its transactions are forgotten without a word to the peer."""
        self._users.pop(user.contact_user, None)
        self._deadlines.set(user, None)
        for key in [key for key, owner in self._owners.items() if owner.user is user]:
            self._forget(key)
        self._rearm()

    def contact_user_for(self, user: str) -> str:
        """A contact user that no other endpoint of this stack has: the name itself if free."""
        if user and user not in self._users:
            return user
        return f"{user}-{secrets.token_hex(4)}"

    def start_task(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine in the stack's own task group."""
        if self._tasks is None or self._exit is None:
            raise LocalProtocolError("the stack is not running")
        task = self._tasks.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    @property
    def idle(self) -> bool:
        """Whether no transaction, request or media stream is under way."""
        return not (self._owners or self._tokens or self._by_hop or self._cancelled or self._flows)

    @property
    def now(self) -> float:
        """The loop clock in seconds."""
        return self._loop.time()

    # what arrives

    def on_datagram(self, data: bytes, source: Hop) -> None:
        """One datagram from a transport; never raises for what it holds."""
        if is_keepalive(data):
            self.counters.keepalives += 1
            return
        try:
            message = parse_message(data, self._limits)
        except SipSyntaxError as error:
            self.on_syntax_error(error, source)
            return
        self.on_message(message, data, source)

    def on_message(self, message: Request | Response, data: bytes, source: Hop) -> None:
        """One message, from a datagram or a connection."""
        self.counters.received += 1
        self._source = source
        if isinstance(message, Request):
            user = self._route(message)
            if source.connection is not None:
                self._note_flow(message, source)
        else:
            owner = self._owner_of_response(message)
            user = owner.user if owner else None
        if user is not None:
            self._log(user, "received", source, data)
        self._push(None, self.transactions.on_message(message, source, self.now))
        self._settle()

    def _note_flow(self, request: Request, source: Hop) -> None:
        """Remember the connection a dialog came by, for requests in the other direction."""
        try:
            vias, call_id = request.vias, request.call_id
        except SipSyntaxError:
            return
        via = vias[0]
        if source.connection is not None and via.param("alias") is not None and via.port:
            self.transport.pool.alias(source.connection, via.port)
        # With one Via the peer itself is at the other end, with more it is a proxy that has to
        # be the next hop anyway.
        advertised = None if len(vias) == 1 else (via.host, via.port or 5060)
        self._flows[call_id] = (source, advertised)

    def on_syntax_error(self, error: SipSyntaxError, source: Hop) -> None:
        """A message that cannot be understood: answered once and without state, if at all."""
        self.counters.received += 1
        self._refuse(error, source)

    def on_flow_lost(self, flow: Hop, error: str) -> None:
        """A connection has ended: what waited for an answer on it goes another way or fails."""
        self.on_unreachable(replace(flow, connection=None), error)
        for key, owner in list(self._owners.items()):
            if owner.hop is not None and owner.hop.connection == flow.connection:
                self._fail_unanswered(key, owner, error)
        self._settle()

    def on_unreachable(self, destination: Hop, error: str) -> None:
        """An ICMP error ends the unanswered client transactions to that target only."""
        self.counters.unreachable += 1
        for key in list(self._by_hop.get(destination, ())):
            owner = self._owners.get(key)
            if owner is not None:
                self._fail_unanswered(key, owner, error)
        self._settle()

    def _fail_unanswered(self, key: Key, owner: _Owner, error: str) -> None:
        if owner.attempt is not None and not owner.attempt.answered:
            self._push(None, self.transactions.on_transport_error(key, error, self.now))

    def _refuse(self, error: SipSyntaxError, source: Hop) -> None:
        self.counters.malformed += 1
        request = error.partial
        # Only a request with the fields of RFC 3261 section 8.2.6 can be answered, once and
        # without state: an answer to a forged source must not become a stream of them.
        if not isinstance(request, Request) or request.method == "ACK":
            return
        try:
            response = request.create_response(error.status, str(error)[:80])
            self.transport.send(response.to_bytes(), source)
        except CallmeterError:
            return

    def _route(self, request: Request) -> StackUser | None:
        """The endpoint a request is for, by contact, address of record, or dialog."""
        user = request.uri.user_text if isinstance(request.uri, SipUri) else None
        if user is not None and (found := self._users.get(user)) is not None:
            return found
        users = list(self._users.values())
        if len(users) == 1:
            return users[0]
        invite_key = (
            self.transactions.invite_key_of(request) if request.method == "CANCEL" else None
        )
        for candidate in users:
            if candidate.core.owns(request, invite_key):
                return candidate
        if user is not None:
            for candidate in users:
                if candidate.aor_user == user:
                    return candidate
        return None

    def _owner_of_response(self, response: Response) -> _Owner | None:
        try:
            return self._owner(response_key(response))
        except SipSyntaxError:
            return None

    def _owner(self, key: Key | None) -> _Owner | None:
        if key is None:
            return None
        owner = self._owners.get(key)
        if owner is None and key[0] == "c" and key[-1] == "CANCEL":
            # A CANCEL has the branch of its INVITE (RFC 3261 section 9.1), and nobody waits for
            # its response.
            invite = self._owners.get((*key[:-1], "INVITE"))
            return None if invite is None else _Owner(invite.user)
        return owner

    # effects

    def run(self, user: StackUser, effects: Iterable[object]) -> None:
        """Carry out the effects of an endpoint's core."""
        self._push(user, effects)
        self._settle()

    def _push(self, user: StackUser | None, effects: Iterable[object]) -> None:
        self._work.extend((user, effect) for effect in effects)

    def _settle(self) -> None:
        if self._draining:
            return
        self._draining = True
        try:
            while self._work:
                user, effect = self._work.popleft()
                if user is None:
                    self._on_layer(effect)
                else:
                    self._on_core(user, effect)
                    self._deadlines.set(user, user.core.next_deadline())
        finally:
            self._draining = False
        self._deadlines.set(None, self.transactions.next_deadline())
        self._rearm()

    def _on_layer(self, effect: object) -> None:
        match effect:
            case Send(key, message, hop):
                owner = self._owner(key)
                self._transmit(owner.user if owner else None, key, message, hop)
            case Deliver(key, Request() as request):
                self._deliver_request(key, request)
            case Deliver(key, Response() as response):
                self._deliver_response(key, response)
            case TimedOut(key, timer):
                self._on_failure(key, timer, None)
            case TransportFailed(key, error):
                self._on_failure(key, "", error)
            case Terminated(key):
                self._forget(key)

    def _on_core(self, user: StackUser, effect: object) -> None:
        match effect:
            case SendRequest(token, request):
                self._dispatch(user, token, request)
            case SendAck(request):
                self._dispatch(user, None, request)
            case CancelRequest(token):
                key = self._tokens.get((id(user), token))
                if key is None:
                    # Still being resolved: the INVITE never leaves.
                    self._cancelled.add((id(user), token))
                    self._fail(user, token, "cancelled before it was sent")
                    return
                _, effects = self.transactions.cancel(key, self.now)
                self._push(None, effects)
            case Respond(key, response):
                self._push(None, self.transactions.respond(key, response, self.now))
            case _:
                user.on_event(effect, self.now)

    def _deliver_request(self, key: Key | None, request: Request) -> None:
        user = self._route(request)
        now = self.now
        if user is None:
            self.counters.unroutable += 1
            if key is not None:
                status = 481 if request.to.tag else 404
                self._push(
                    None,
                    self.transactions.respond(
                        key,
                        request.create_response(status, to_tag=secrets.token_hex(8)),
                        now,
                    ),
                )
            return
        if key is None:
            self._push(user, user.core.on_ack(request, now))
            return
        self._owners[key] = _Owner(user)
        self._face_source(user)
        merged = self.transactions.is_merged(request, key)
        invite_key = (
            self.transactions.invite_key_of(request) if request.method == "CANCEL" else None
        )
        self._push(
            user, user.core.on_request(key, request, now, merged=merged, invite_key=invite_key)
        )

    def _face_source(self, user: StackUser) -> None:
        if self._source is not None:
            with contextlib.suppress(TransportError):
                user.face(self.transport.local_towards(self._source), self._source.transport)

    def _deliver_response(self, key: Key | None, response: Response) -> None:
        owner = self._owner(key)
        if owner is None or owner.attempt is None:
            return
        owner.attempt.answered = True
        user, token = owner.user, owner.attempt.token
        self._push(user, user.core.on_response(token, response, self.now))

    def _on_failure(self, key: Key, timer: str, error: str | None) -> None:
        owner = self._owner(key)
        if owner is None:
            return
        user, attempt, now = owner.user, owner.attempt, self.now
        if attempt is None:
            if key[0] == "c":
                return  # a CANCEL: its INVITE has timers of its own
            if error is not None:
                self._push(user, user.core.on_server_transport_error(key, error, now))
            else:
                self._push(user, user.core.on_server_timeout(key, timer, now))
            return
        if attempt.hops and not attempt.answered:
            self._launch(attempt)
        elif error is not None:
            self._push(user, user.core.on_transport_error(attempt.token, error, now))
        else:
            self._push(user, user.core.on_timeout(attempt.token, timer, now))

    def _forget(self, key: Key) -> None:
        owner = self._owners.pop(key, None)
        if owner is None:
            return
        if owner.hop is not None:
            keys = self._by_hop.get(owner.hop)
            if keys is not None:
                keys.discard(key)
                if not keys:
                    del self._by_hop[owner.hop]
        if owner.attempt is not None:
            token = (id(owner.user), owner.attempt.token)
            if self._tokens.get(token) == key:
                del self._tokens[token]

    # what leaves

    def _dispatch(self, user: StackUser, token: int | None, request: Request) -> None:
        target = next_hop_uri(request)
        if target is None:
            self._fail(user, token, f"{request.uri} has no address to send to")
            return
        transport = _transport_of(target, user.transport)
        flow = self._flow_of(request, target)
        if flow is not None:
            self._send_on(user, token, request, [flow])
            return
        hop = self.transport.numeric_hop(target, transport)
        if hop is not None and self.transport.ready(hop):
            self._send_on(user, token, request, [hop])
        else:
            self.start_task(self._resolve_and_send(user, token, request, target, transport))

    def _flow_of(self, request: Request, target: SipUri) -> Hop | None:
        """The connection of a request in a dialog, when the next hop is at its other end.

        A peer behind address translation, or one that only connects out, is reached no other
        way (RFC 5923 section 5, RFC 5626 section 5.3).
        """
        if request.to.tag is None:
            return None
        flow, advertised = self._flows.get(request.call_id, (None, None))
        if flow is None or not self.transport.alive(flow):
            return None
        if advertised is not None and advertised != (target.host, target.port or 5060):
            return None
        return flow

    def forget_flow(self, call_id: str) -> None:
        """The dialog of this Call-ID is over."""
        self._flows.pop(call_id, None)

    async def _resolve_and_send(
        self,
        user: StackUser,
        token: int | None,
        request: Request,
        target: SipUri,
        transport: Transport,
    ) -> None:
        try:
            hops = await self.transport.resolve(target, transport)
        except TransportError as error:
            if token is not None:
                self._cancelled.discard((id(user), token))
            self._fail(user, token, str(error))
        else:
            self._send_on(user, token, request, hops)
        self._settle()

    def _fail(self, user: StackUser, token: int | None, error: str) -> None:
        if token is not None:
            self._push(user, user.core.on_transport_error(token, error, self.now))

    def _send_on(
        self, user: StackUser, token: int | None, request: Request, hops: list[Hop]
    ) -> None:
        if token is not None:
            if (id(user), token) in self._cancelled:
                self._cancelled.discard((id(user), token))
                return
            self._launch(_Attempt(user, token, request, list(hops)))
            return
        hop = hops[0]
        if not self.transport.ready(hop):
            self.start_task(self._connect_and_acknowledge(user, request, hop))
            return
        try:
            sent_by = _sent_by(self.transport.local_towards(hop))
        except TransportError:
            self.counters.unreachable += 1
            return
        for effect in self.transactions.stateless(request, hop, sent_by):
            if isinstance(effect, Send):
                self._transmit(user, None, effect.message, effect.hop)

    async def _connect_and_acknowledge(self, user: StackUser, request: Request, hop: Hop) -> None:
        try:
            await self.transport.connect(hop)
        except TransportError:
            self.counters.unreachable += 1
        else:
            self._send_on(user, None, request, [hop])

    def _launch(self, attempt: _Attempt) -> None:
        """Try the next target (RFC 3263 section 4.3): a new transaction with a new branch."""
        hop = attempt.hops.pop(0)
        if self.transport.ready(hop):
            self._start(attempt, hop)
        else:
            self.start_task(self._connect_and_start(attempt, hop))

    async def _connect_and_start(self, attempt: _Attempt, hop: Hop) -> None:
        try:
            await self.transport.connect(hop)
        except TransportError as error:
            self._next_target(attempt, str(error))
        else:
            if (id(attempt.user), attempt.token) in self._cancelled:
                self._cancelled.discard((id(attempt.user), attempt.token))
            else:
                self._start(attempt, hop)
        self._settle()

    def _next_target(self, attempt: _Attempt, error: str) -> None:
        if attempt.hops:
            self._launch(attempt)
        else:
            self._fail(attempt.user, attempt.token, error)

    def _start(self, attempt: _Attempt, hop: Hop) -> None:
        user = attempt.user
        try:
            local = self.transport.local_towards(hop)
        except TransportError as error:
            self._next_target(attempt, str(error))
            return
        key, effects = self.transactions.request(attempt.request, hop, _sent_by(local), self.now)
        self._owners[key] = _Owner(user, attempt, hop)
        self._tokens[id(user), attempt.token] = key
        self._by_hop.setdefault(hop, set()).add(key)
        self._push(None, effects)

    def _transmit(
        self, user: StackUser | None, key: Key | None, message: Request | Response, hop: Hop
    ) -> None:
        data = message.to_bytes()
        if user is not None:
            self._log(user, "sent", hop, data)
        try:
            self.transport.send(data, hop)
            self.counters.sent += 1
        except TransportError as error:
            self.counters.unreachable += 1
            if key is not None:
                self._push(None, self.transactions.on_transport_error(key, str(error), self.now))

    def _log(
        self, user: StackUser, direction: Literal["sent", "received"], hop: Hop, data: bytes
    ) -> None:
        try:
            local = _sent_by(self.transport.local_towards(hop))
        except (TransportError, ValueError):
            local = ""
        user.messages.add(
            direction=direction,
            time=self.now,
            transport=hop.transport,
            local=local,
            peer=_sent_by((hop.host, hop.port)),
            raw=data,
        )

    # time

    def _rearm(self) -> None:
        at = self._deadlines.earliest()
        if self._timer is not None:
            if at == self._timer_at:
                return
            self._timer.cancel()
            self._timer = None
        if at is not None and self._exit is not None:
            self._timer_at = at
            self._timer = self._loop.call_at(at, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        now = self.now
        for user in self._deadlines.due(now):
            if user is None:
                self._push(None, self.transactions.on_deadline(now))
            else:
                user.face_home()
                self._push(user, user.core.on_deadline(now))
                self._deadlines.set(user, user.core.next_deadline())
        self._settle()


def next_hop_uri(request: Request) -> SipUri | None:
    """Where a request goes: a topmost Route with `lr`, else the Request-URI (RFC 3261 8.1.2)."""
    routes = request.routes
    if routes and isinstance(routes[0].uri, SipUri) and routes[0].uri.lr:
        return routes[0].uri
    return request.uri if isinstance(request.uri, SipUri) else None


def _transport_of(uri: SipUri, default: Transport) -> Transport:
    name = uri.transport
    if name is None:
        return default
    try:
        return Transport(name)
    except ValueError:
        return default


def _sent_by(address: tuple[str, int]) -> str:
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
