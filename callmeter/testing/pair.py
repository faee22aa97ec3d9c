"""Two user agents on a virtual network: whole calls in virtual time, without a socket.

```python
pair = Pair(seed=7)
pair.bob.on_event = lambda event: (
    event.session.accept(answer, pair.clock.now) if isinstance(event, IncomingInvite) else []
)
session, effects = pair.alice.core.invite(pair.bob.core.identity.contact, 0.0, body=offer)
pair.alice.apply(effects)
pair.run(10.0)
```

Each message travels as octets and is parsed where it arrives.
"""

from __future__ import annotations

from collections import deque
from heapq import heappop, heappush
from itertools import count
from random import Random
from typing import TYPE_CHECKING, TypeVar

from callmeter.config import TimerConfig
from callmeter.errors import SipSyntaxError
from callmeter.sip.headers import NameAddr
from callmeter.sip.identity import Identity
from callmeter.sip.message import Request, Response
from callmeter.sip.parser import parse_message
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
from callmeter.sip.user_agent import UserAgentCore
from callmeter.testing.clock import VirtualClock
from callmeter.testing.network import Address, Datagram, LinkConditions, VirtualNetwork

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from callmeter.sip.session_events import Effect, Event
    from callmeter.sip.transaction.effects import Effect as TransactionEffect
    from callmeter.sip.transaction.effects import Key

__all__ = ["Pair", "Party"]

E = TypeVar("E")

TRANSACTION_EFFECTS = (Send, Deliver, TimedOut, TransportFailed, Terminated)


class Party:
    """One user agent with its transaction layer, at one address.

    Attributes:
        name: User part of its address of record.
        address: Where it is reached.
        core: The user agent.
        layer: Its transactions.
        events: What the core told, and when.
        on_event: Called with each event; the effects it returns, if any, are applied.
        on_request: Called with each request before the core is; unless it returns None, its
            effects are applied and the core never sees the request.
        received: Messages that arrived and could be read, in order.
        names: Addresses of hosts that a URI may name.
        transport: What its Via says; anything but "UDP" stops retransmissions.
        malformed: How many arrivals could not be read.
    """

    def __init__(
        self,
        name: str,
        address: Address,
        network: VirtualNetwork,
        clock: VirtualClock,
        *,
        timers: TimerConfig | None = None,
        seed: int = 0,
        transport: str = "UDP",
    ) -> None:
        host, port = address
        random = Random(f"{seed} {name}")  # noqa: S311  repeatable on purpose
        timers = timers or TimerConfig()
        identity = Identity(
            aor=NameAddr(SipUri("sip", host, user=name)), contact=SipUri("sip", host, port, name)
        )
        self.name = name
        self.address = address
        self.core = UserAgentCore(identity, timers, random.randbytes)
        self.layer = TransactionLayer(timers, random.randbytes)
        self.events: list[tuple[float, Event]] = []
        self.on_event: Callable[[Event], Iterable[Effect] | None] | None = None
        self.on_request: Callable[[Key, Request], Iterable[Effect] | None] | None = None
        self.received: list[Request | Response] = []
        self.names: dict[str, Address] = {}
        self.transport = transport
        self.malformed = 0
        self._network = network
        self._clock = clock
        self._tokens: dict[Key, int] = {}
        self._keys: dict[int, Key] = {}

    def __len__(self) -> int:
        """What is left of sessions, requests and transactions."""
        return len(self.core) + len(self.layer) + len(self._tokens)

    @property
    def contact(self) -> SipUri:
        """The URI that reaches this party."""
        return self.core.identity.contact

    def events_of(self, kind: type[E]) -> list[E]:
        """The events of one class, in order."""
        return [event for _, event in self.events if isinstance(event, kind)]

    def apply(self, effects: Iterable[Effect | TransactionEffect]) -> None:
        """Carry out effects, and what follows from them at once."""
        queue: deque[Effect | TransactionEffect] = deque(effects)
        while queue:
            effect = queue.popleft()
            if isinstance(effect, TRANSACTION_EFFECTS):
                queue.extend(self._apply_transaction(effect))
            else:
                queue.extend(self._apply_core(effect))

    def receive(self, datagram: Datagram) -> None:
        """A datagram arrived."""
        source = Hop(self.transport, *datagram.source)
        try:
            message = parse_message(datagram.data)
        except SipSyntaxError as error:
            self.malformed += 1
            if isinstance(error.partial, Request):
                refusal = error.partial.create_response(error.status, str(error))
                self.apply([Send(None, refusal, source)])
            return
        self.received.append(message)
        self.apply(self.layer.on_message(message, source, self._clock.now))

    def next_deadline(self) -> float | None:
        """When this party wants to be called next."""
        return _earliest(self.layer.next_deadline(), self.core.next_deadline())

    def on_deadline(self) -> None:
        """Do what is due."""
        self.apply(self.layer.on_deadline(self._clock.now))
        self.apply(self.core.on_deadline(self._clock.now))

    def _apply_core(self, effect: Effect) -> Sequence[Effect | TransactionEffect]:
        now = self._clock.now
        match effect:
            case SendRequest(token, request):
                hop = self._hop_of(request)
                if hop is None:
                    return self.core.on_transport_error(token, "no such host", now)
                key, effects = self.layer.request(request, hop, self._sent_by, now)
                self._tokens[key] = token
                self._keys[token] = key
                return effects
            case SendAck(request):
                hop = self._hop_of(request)
                return [] if hop is None else self.layer.stateless(request, hop, self._sent_by)
            case CancelRequest(token, headers):
                invite = self._keys.get(token)
                return [] if invite is None else self.layer.cancel(invite, now, headers=headers)[1]
            case Respond(key, response):
                return self.layer.respond(key, response, now)
            case _:
                self.events.append((now, effect))
                return [] if self.on_event is None else list(self.on_event(effect) or ())

    def _apply_transaction(self, effect: TransactionEffect) -> Sequence[Effect | TransactionEffect]:
        now = self._clock.now
        match effect:
            case Send(_, message, hop):
                destination = (hop.host, hop.port)
                self._network.send(Datagram(self.address, destination, message.to_bytes()))
                return []
            case Deliver(key, message):
                return self._deliver(key, message, now)
            case TimedOut(key, timer):
                token = self._tokens.get(key)
                if token is None:
                    return self.core.on_server_timeout(key, timer, now)
                return self.core.on_timeout(token, timer, now)
            case TransportFailed(key, error):
                token = self._tokens.get(key)
                if token is None:
                    return self.core.on_server_transport_error(key, error, now)
                return self.core.on_transport_error(token, error, now)
            case Terminated(key):
                token = self._tokens.pop(key, None)
                if token is not None:
                    del self._keys[token]
                return []

    def _deliver(
        self, key: Key | None, message: Request | Response, now: float
    ) -> Sequence[Effect]:
        if isinstance(message, Response):
            token = None if key is None else self._tokens.get(key)
            return [] if token is None else self.core.on_response(token, message, now)
        if key is None:
            return self.core.on_ack(message, now)
        effects = None if self.on_request is None else self.on_request(key, message)
        if effects is not None:
            return list(effects)
        cancelled = self.layer.invite_key_of(message) if message.method == "CANCEL" else None
        merged = self.layer.is_merged(message, key)
        return self.core.on_request(key, message, now, merged=merged, invite_key=cancelled)

    @property
    def _sent_by(self) -> str:
        return f"{self.address[0]}:{self.address[1]}"

    def _hop_of(self, request: Request) -> Hop | None:
        """The top Route, or the Request-URI (RFC 3261 section 8.1.2), without the DNS."""
        uri = request.routes[0].uri if request.routes else request.uri
        if not isinstance(uri, SipUri):
            return None
        if uri.host in self.names:
            return Hop(self.transport, *self.names[uri.host])
        if not uri.host.replace(".", "").isdecimal():
            return None
        return Hop(self.transport, uri.host, uri.port or 5060)


class Pair:
    """Alice and Bob, and whoever else is added, on one network.

    Args:
        seed: Decides everything random in the run.
        conditions: Of the network.
        timers: RFC 3261 timer values of both.
        transport: What messages say they travel by.

    Attributes:
        clock: The time.
        network: The network.
        alice: At 192.0.2.1:5060.
        bob: At 192.0.2.2:5060.
    """

    def __init__(
        self,
        seed: int = 0,
        conditions: LinkConditions | None = None,
        *,
        timers: TimerConfig | None = None,
        transport: str = "UDP",
    ) -> None:
        self.clock = VirtualClock()
        self.network = VirtualNetwork(self.clock, seed, conditions)
        self._parties: dict[Address, Party] = {}
        self._numbers = count()
        self._agenda: list[tuple[float, int, Party, Callable[[], Iterable[Effect]]]] = []
        self.alice, self.bob = (
            self.add(
                Party(
                    name,
                    (host, 5060),
                    self.network,
                    self.clock,
                    timers=timers,
                    seed=seed,
                    transport=transport,
                )
            )
            for name, host in (("alice", "192.0.2.1"), ("bob", "192.0.2.2"))
        )

    def __len__(self) -> int:
        """What is left of sessions, requests, transactions and datagrams, everywhere."""
        return sum(len(party) for party in self._parties.values()) + len(self.network)

    def add(self, party: Party) -> Party:
        """Let another party, or a subclass of its own, live on the network."""
        self._parties[party.address] = party
        return party

    def schedule(
        self, seconds: float, party: Party, action: Callable[[], Iterable[Effect]]
    ) -> None:
        """Let a party do something so many seconds from now; what `action` returns is applied."""
        heappush(self._agenda, (self.clock.now + seconds, next(self._numbers), party, action))

    def step(self, until: float) -> bool:
        """Go on to the next thing that happens by `until`; False if nothing does."""
        when = _earliest(
            self.network.next_deadline(),
            self._agenda[0][0] if self._agenda else None,
            *(party.next_deadline() for party in self._parties.values()),
        )
        if when is None or when > until:
            return False
        self.clock.advance_to(max(when, self.clock.now))
        for datagram in self.network.arrivals():
            party = self._parties.get(datagram.destination)
            if party is not None:
                party.receive(datagram)
        while self._agenda and self._agenda[0][0] <= self.clock.now:
            _, _, actor, action = heappop(self._agenda)
            actor.apply(action())
        for party in self._parties.values():
            party.on_deadline()
        return True

    def run(self, seconds: float) -> None:
        """Let so much virtual time pass."""
        until = self.clock.now + seconds
        while self.step(until):
            pass
        self.clock.advance_to(until)

    def run_until(self, reached: Callable[[], bool], within: float = 300.0) -> None:
        """Let time pass until `reached` is true.

        Raises:
            TimeoutError: It was not within so many virtual seconds.
        """
        until = self.clock.now + within
        while not reached():
            if not self.step(until):
                raise TimeoutError(f"not reached within {within} virtual seconds")


def _earliest(*deadlines: float | None) -> float | None:
    return min((when for when in deadlines if when is not None), default=None)
