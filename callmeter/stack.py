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
from typing import TYPE_CHECKING, Any, Literal, Self

from callmeter.config import StackConfig
from callmeter.errors import (
    CallmeterError,
    ConfigurationError,
    FlowLost,
    LocalProtocolError,
    SipSyntaxError,
    TransportError,
)
from callmeter.loop_delay import LoopDelay
from callmeter.media.engine import MediaEngine
from callmeter.request_dispatch import RequestDispatch
from callmeter.sip.message import Request, Response
from callmeter.sip.next_hop import host_port
from callmeter.sip.parser import ParserLimits, is_keepalive, parse_message
from callmeter.sip.register import RecoveryPace
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
from callmeter.sip.uri import SipUri
from callmeter.stun.binding import binding_success, is_stun, response_to
from callmeter.trace.hep import encode_hep
from callmeter.transport.datagram_export import DatagramExport
from callmeter.transport.layer import TransportLayer

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable
    from types import TracebackType

    from callmeter.dispatch_parties import StackUser
    from callmeter.metrics.report import TlsReport
    from callmeter.sip.transaction.key import Key

__all__ = ["Stack"]


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

    Attributes:
        export: Counts what was sent to the HEP collector; None without one.

    Raises:
        ConnectionFailed: On entry, when an address or port cannot be bound, or there is no route
            to the HEP collector.
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
            segmentation=self.config.segmentation,
            io_uring=self.config.io_uring,
            tick_delay=self.config.limits.tick_delay,
            on_overload=self._on_media_late,
        )
        self.recovery = RecoveryPace()
        self.export: DatagramExport | None = None
        self._limits = ParserLimits(message=self.config.limits.message)
        self._users: dict[str, StackUser] = {}
        self._dispatch = RequestDispatch(self)
        self._source: Hop | None = None
        self._work: deque[tuple[StackUser | None, object]] = deque()
        self._draining = False
        self._deadlines = _Deadlines()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._watchers: dict[int, list[Callable[[], None]]] = {}
        self._stun: dict[bytes, Callable[[bytes, Hop], None]] = {}
        self._exit: AsyncExitStack | None = None
        self._tasks: asyncio.TaskGroup | None = None
        self._running: set[asyncio.Task[None]] = set()

    # life

    async def __aenter__(self) -> Self:
        if self._exit is not None:
            raise LocalProtocolError("this stack is already running")
        loop = asyncio.get_running_loop()
        self._loop = loop
        self._loop_delay = LoopDelay(loop, self.config.limits.loop_delay, self._on_loop_delay)
        entered = AsyncExitStack()
        try:
            self._tasks = await entered.enter_async_context(asyncio.TaskGroup())
            self.transport = TransportLayer(loop, self, self.config, self._tasks)
            entered.callback(self.transport.close)
            self.transport.start()
            await entered.enter_async_context(self.media)
            if self.config.hep is not None:
                self.export = DatagramExport(self.config.hep.address)
                entered.callback(self.export.close)
            entered.callback(self._stop)
        except BaseException:
            # As below: the task group is not to wrap it.
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
            # An error of the body stays what it is: told to the task group, it would come out
            # wrapped in an exception group.
            await leaving.__aexit__(None, None, None)

    def _stop(self) -> None:
        for task in self._running:
            task.cancel()
        self._loop_delay.close()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._deadlines = _Deadlines()
        self._dispatch.clear()
        self._users.clear()
        self._watchers.clear()

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
        self._dispatch.forget_user(user)
        self._rearm()

    def contact_user_for(self, user: str) -> str:
        """A contact user that no other endpoint of this stack has: the name itself if free."""
        if user and user not in self._users:
            return user
        return f"{user}-{secrets.token_hex(4)}"

    def serves(self, user: StackUser) -> bool:
        """Whether this endpoint has not left."""
        return self._users.get(user.contact_user) is user

    def start_task(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine in the stack's own task group."""
        if self._tasks is None or self._exit is None:
            raise LocalProtocolError("the stack is not running")
        task = self._tasks.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    @property
    def idle(self) -> bool:
        """Whether no request, transaction or dialog is under way."""
        return self._dispatch.idle

    @property
    def now(self) -> float:
        """The loop clock in seconds."""
        return self._loop.time()

    def _on_loop_delay(self, exceeded: bool) -> None:  # noqa: FBT001  it tells, it does not steer
        """The loop has become too slow for new work, or is fast enough again."""
        self.transactions.overloaded = exceeded or self.media.overload.exceeded

    def _on_media_late(self, exceeded: bool) -> None:  # noqa: FBT001  as above
        """Media leaves too late for more calls, or in time again."""
        self.transactions.overloaded = exceeded or self._loop_delay.exceeded

    # what arrives

    def on_datagram(self, data: bytes, source: Hop) -> None:
        """One datagram from a transport; never raises for what it holds."""
        if is_keepalive(data):
            self.counters.keepalives += 1
            return
        if is_stun(data):
            self._on_stun(data, source)
            return
        try:
            message = parse_message(data, self._limits)
        except SipSyntaxError as error:
            self.on_syntax_error(error, source)
            return
        self.on_message(message, data, source)

    def _on_stun(self, data: bytes, source: Hop) -> None:
        """Keep-alives of UDP flows, ours and the peers' (RFC 5626 section 8)."""
        self.counters.keepalives += 1
        watcher = self._stun.get(response_to(data) or b"")
        answer = binding_success(data, source.host, source.port)
        if watcher is not None:
            watcher(data, source)
        elif answer is not None:
            with contextlib.suppress(TransportError):
                self.transport.send(answer, source)

    def expect_stun(self, transaction_id: bytes, watcher: Callable[[bytes, Hop], None]) -> None:
        """Have `watcher` called with the STUN responses to a request, until `forget_stun`."""
        self._stun[transaction_id] = watcher

    def forget_stun(self, transaction_id: bytes) -> None:
        """Have it called no more."""
        self._stun.pop(transaction_id, None)

    def on_message(self, message: Request | Response, data: bytes, source: Hop) -> None:
        """One message, from a datagram or a connection."""
        self.counters.received += 1
        self._source = source
        if isinstance(message, Request):
            self._loop_delay.watch()
            user = self._route(message)
            self._dispatch.note_path(message, source, user)
        else:
            owner = self._dispatch.owner_of_response(message)
            user = owner.user if owner else None
        if user is not None:
            self._log(user, "received", source, data)
        self.push(None, self.transactions.on_message(message, source, self.now))
        self.settle()

    def on_syntax_error(self, error: SipSyntaxError, source: Hop) -> None:
        """A message that cannot be understood: answered once and without state, if at all."""
        self.counters.received += 1
        self._refuse(error, source)

    def on_flow_lost(self, flow: Hop, error: str) -> None:
        """A connection has ended: what waited for an answer on it goes another way or fails."""
        self._dispatch.on_flow_lost(flow, error)
        self.settle()
        for watcher in self._watchers.pop(flow.connection or 0, ()):
            watcher()

    def watch_flow(self, flow: Hop, watcher: Callable[[], None]) -> None:
        """Have `watcher` called when the connection of `flow` is lost, until `unwatch_flow`."""
        if flow.connection is not None:
            self._watchers.setdefault(flow.connection, []).append(watcher)

    def unwatch_flow(self, flow: Hop, watcher: Callable[[], None]) -> None:
        """Have it called no more."""
        watchers = self._watchers.get(flow.connection or 0, [])
        if watcher in watchers:
            watchers.remove(watcher)
        if not watchers:
            self._watchers.pop(flow.connection or 0, None)

    def on_unreachable(self, destination: Hop, error: str) -> None:
        """The network takes no messages to this target: its unanswered requests fail."""
        self.counters.unreachable += 1
        self._dispatch.on_unreachable(destination, error)
        self.settle()

    def follow_dialog(self, request: Request) -> None:
        """Requests in the dialog of this INVITE go back the way it came, until it is forgotten."""
        if self._source is not None:
            self._dispatch.follow(request, self._source)

    def forget_dialog(self, call_id: str) -> None:
        """The dialog of this Call-ID is over."""
        self._dispatch.forget_dialog(call_id)

    def tls_of_dialog(self, call_id: str) -> TlsReport | None:
        """What TLS says of the connection of a dialog, if there is one."""
        hop = self._dispatch.hop_of(call_id)
        return None if hop is None else self.transport.tls_of(hop)

    @property
    def source(self) -> Hop | None:
        """Where the message came from that is being dealt with."""
        return self._source

    def _refuse(self, error: SipSyntaxError, source: Hop) -> None:
        self.counters.malformed += 1
        request = error.partial
        # Only a request with the fields of RFC 3261 section 8.2.6 can be answered, once and
        # without state: an answer to a forged source must not become a stream of them.
        if not isinstance(request, Request) or request.method == "ACK":
            return
        try:
            response = request.create_response(
                error.status, str(error)[:80], to_tag=secrets.token_hex(8)
            )
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

    # effects

    def run(self, user: StackUser, effects: Iterable[object]) -> None:
        """Carry out the effects of an endpoint's core."""
        self.push(user, effects)
        self.settle()

    def push(self, user: StackUser | None, effects: Iterable[object]) -> None:
        """Queue effects of a core, or of the transaction layer (None)."""
        self._work.extend((user, effect) for effect in effects)
        if user is not None:
            # Its deadline may have moved without any effect.
            self._deadlines.set(user, user.core.next_deadline())

    def settle(self) -> None:
        """Carry out what is queued, in its order, and note the next deadlines."""
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
                owner = self._dispatch.owner(key)
                self.transmit(owner.user if owner else None, key, message, hop)
            case Deliver(key, Request() as request):
                self._deliver_request(key, request)
            case Deliver(key, Response() as response):
                if key is not None:
                    self._dispatch.on_response(key, response)
            case TimedOut(key, timer):
                self._dispatch.on_failure(key, timer, None)
            case TransportFailed(key, error):
                self._dispatch.on_failure(key, "", error)
            case Terminated(key):
                self._dispatch.forget(key)

    def _on_core(self, user: StackUser, effect: object) -> None:
        match effect:
            case SendRequest(token, request):
                self._dispatch.dispatch(user, token, request)
            case SendAck(request):
                self._dispatch.dispatch(user, None, request)
            case CancelRequest(token, headers):
                self._dispatch.cancel(user, token, headers)
            case Respond(key, response):
                response = self._dispatch.facing_response(key, response)
                self.push(None, self.transactions.respond(key, response, self.now))
            case _:
                user.on_event(effect, self.now)

    def _deliver_request(self, key: Key | None, request: Request) -> None:
        user = self._route(request)
        now = self.now
        if user is None:
            self.counters.unroutable += 1
            if key is not None:
                status = 481 if request.to_tag or request.method == "CANCEL" else 404
                self.push(
                    None,
                    self.transactions.respond(
                        key,
                        request.create_response(status, to_tag=secrets.token_hex(8)),
                        now,
                    ),
                )
            return
        if key is None:
            self.push(user, user.core.on_ack(request, now))
            return
        self._dispatch.own(key, user, self._source)
        self._face_source(user)
        first = self._dispatch.owner(self.transactions.merged_with(request, key))
        merged = first is not None and first.user is user
        invite_key = (
            self.transactions.invite_key_of(request) if request.method == "CANCEL" else None
        )
        self.push(
            user, user.core.on_request(key, request, now, merged=merged, invite_key=invite_key)
        )

    def _face_source(self, user: StackUser) -> None:
        if self._source is not None:
            with contextlib.suppress(TransportError):
                user.face(self.transport.local_towards(self._source), self._source.transport)

    # what leaves

    def transmit(
        self, user: StackUser | None, key: Key | None, message: Request | Response, hop: Hop
    ) -> None:
        """Put a message on the wire."""
        data = message.to_bytes() if user is None else user.write(message)
        if user is not None:
            if hop.transport == "TLS" and hop.connection is None and hop.tls is None:
                # A response by a new connection: trust is the endpoint's, not the transaction's.
                hop = replace(hop, tls=user.tls)
            self._log(user, "sent", hop, data)
        try:
            self.transport.send(data, hop)
            self.counters.sent += 1
            if key is not None and hop.reliable:
                self._dispatch.note_sent(key, hop)
        except TransportError as error:
            self.counters.unreachable += 1
            # A hop with a number names a connection, which has ended then.
            lost = isinstance(error, FlowLost) or hop.connection is not None
            if lost and self._dispatch.resend(key, hop):
                return
            if key is not None:
                self.push(None, self.transactions.on_transport_error(key, str(error), self.now))

    def _log(
        self, user: StackUser, direction: Literal["sent", "received"], hop: Hop, data: bytes
    ) -> None:
        try:
            local = host_port(self.transport.local_towards(hop))
        except (TransportError, ValueError):
            local = ""
        entry = user.messages.add(
            direction=direction,
            time=self.now,
            transport=hop.transport,
            local=local,
            peer=host_port((hop.host, hop.port)),
            raw=data,
            wall=self.media.wall(),
        )
        hep = self.config.hep
        if self.export is not None and hep is not None:
            self.export.send(
                encode_hep(entry, agent=hep.agent, password=hep.password, node=hep.node)
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
                self.push(None, self.transactions.on_deadline(now))
            else:
                user.face_home()
                self.push(user, user.core.on_deadline(now))
        self.settle()
