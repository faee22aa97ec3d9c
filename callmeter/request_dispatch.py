"""RequestDispatch: the way of each request of ours from its user agent to a transaction.

It finds the targets (RFC 3263), keeps requests of a dialog on the connection the peer opened
(RFC 5923), tries the next target when one fails, says in each message where we are reached by
the way it takes, and knows whose transaction is whose.
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from callmeter.config import Transport
from callmeter.dialog_paths import DialogPaths
from callmeter.dispatch_parties import Attempt, Owner
from callmeter.errors import SipSyntaxError, TransportError
from callmeter.sip.headers import parse_delta_seconds
from callmeter.sip.next_hop import default_port, facing, host_port, next_hop_uri, transport_of
from callmeter.sip.transaction.effects import Hop, Send
from callmeter.sip.transaction.key import response_key
from callmeter.transport.layer import Route

if TYPE_CHECKING:
    from collections.abc import Iterable

    from callmeter.dialog_paths import DialogPath
    from callmeter.dispatch_parties import DispatchShell, StackUser
    from callmeter.sip.message import Request, Response
    from callmeter.sip.transaction.key import Key
    from callmeter.sip.uri import SipUri

__all__ = ["RequestDispatch"]

STREAM_ABOVE: Final = 1_300
"""Octets of a request that still goes by UDP when the path MTU is not known (RFC 3261 18.1.1)."""
VIA_OCTETS: Final = 90
"""What the Via takes that a request gets last: `sent-by`, branch and `rport`."""
MOST_REPEATS: Final = 3
"""How often a request goes out again by other connections: one by each that may be dead too."""
TRYING: Final = 100
MULTIPLE_CHOICES: Final = 300
SERVICE_UNAVAILABLE: Final = 503


class RequestDispatch:
    """Targets, connections and owners of the transactions of one stack.

    Args:
        shell: The stack.

    Attributes:
        unreachable: Requests and ACKs that found no way.
    """

    def __init__(self, shell: DispatchShell) -> None:
        self._shell = shell
        self._owners: dict[Key, Owner] = {}
        self._tokens: dict[tuple[int, int], Key] = {}
        self._cancelled: set[tuple[int, int]] = set()
        self._by_hop: dict[Hop, set[Key]] = {}
        self._paths = DialogPaths(self._alive)
        self.unreachable = 0

    def _alive(self, flow: Hop) -> bool:
        return self._shell.transport.alive(flow)

    @property
    def idle(self) -> bool:
        """Whether nothing is kept of any request or dialog."""
        return not (self._owners or self._tokens or self._by_hop or self._cancelled or self._paths)

    def clear(self) -> None:
        """Forget everything."""
        for table in (self._owners, self._tokens, self._by_hop, self._paths):
            table.clear()
        self._cancelled.clear()

    # owners

    def own(self, key: Key, user: StackUser, source: Hop | None = None) -> None:
        """A server transaction belongs to `user`; its request came from `source`."""
        self._owners[key] = Owner(user, hop=source)

    def owner(self, key: Key | None) -> Owner | None:
        """Whose transaction this is."""
        if key is None:
            return None
        owner = self._owners.get(key)
        if owner is None and key[0] == "c" and key[-1] == "CANCEL":
            # A CANCEL has the branch of its INVITE (RFC 3261 section 9.1), and nobody waits for
            # its response.
            invite = self._owners.get((*key[:-1], "INVITE"))
            return None if invite is None else Owner(invite.user)
        return owner

    def owner_of_response(self, response: Response) -> Owner | None:
        """Who waits for a response, if anybody does."""
        try:
            return self.owner(response_key(response))
        except SipSyntaxError:
            return None

    def forget(self, key: Key) -> None:
        """The transaction has gone."""
        owner = self._owners.pop(key, None)
        if owner is None:
            return
        for way in owner.ways:
            keys = self._by_hop[way]
            keys.discard(key)
            if not keys:
                del self._by_hop[way]
        if owner.attempt is not None:
            token = (id(owner.user), owner.attempt.token)
            if self._tokens.get(token) == key:
                del self._tokens[token]

    def forget_user(self, user: StackUser) -> None:
        """The endpoint has left; its transactions go without a word to the peer."""
        for key in [key for key, owner in self._owners.items() if owner.user is user]:
            self.forget(key)
        self._cancelled = {pair for pair in self._cancelled if pair[0] != id(user)}

    # the paths of dialogs

    def note_path(self, request: Request, source: Hop, user: StackUser | None) -> None:
        """Learn from a request that arrives by which way its sender can be reached."""
        if source.connection is None:
            return
        try:
            via = request.via
            if via.param("alias") is not None:
                # RFC 5923 section 4: requests to that port may use the connection it opened.
                port = via.port or default_port(source)
                self._shell.transport.pool.alias(source.connection, port)
            # Whoever merely knows the Call-ID does not draw a dialog to himself.
            if request.call_id in self._paths and user is not None and user.core.owns(request):
                self._paths.follow(request, source)
        except SipSyntaxError:
            return

    def follow(self, request: Request, source: Hop) -> None:
        """Remember how a dialog of ours came here, until `forget_dialog`."""
        self._paths.follow(request, source)

    def hop_of(self, call_id: str) -> Hop | None:
        """Where the dialog's INVITE went, or came from."""
        path = self._paths.get(call_id)
        return None if path is None else path.hop

    def forget_dialog(self, call_id: str) -> None:
        """The dialog of this Call-ID is over."""
        self._paths.forget(call_id)

    # requests

    def dispatch(self, user: StackUser, token: int | None, request: Request) -> None:
        """Send a request, or with token None the ACK of a 2xx."""
        target = next_hop_uri(request)
        if target is None:
            self._fail(user, token, f"{request.uri} has no address to send to")
            return
        in_dialog = request.to_tag is not None
        path = self._paths.get(request.call_id) if in_dialog else None
        flow = self._paths.flow_of(request.call_id, target) if in_dialog else None
        if flow is not None:
            self._send(user, token, request, [flow])
            return
        route = self._route(user, target, path)
        found = self._shell.transport.known(route)
        if found is not None:
            if path is None and found.location.asked:
                user.on_located(request.call_id, found.location)
            self._send(user, token, request, found.hops)
        else:
            self._shell.start_task(self._resolve(user, token, request, route))

    @staticmethod
    def _route(user: StackUser, target: SipUri, path: DialogPath | None) -> Route:
        if path is None:
            return Route(target, transport_of(target, user.transport), user.tls)
        default = user.transport
        if default is Transport.AUTO:
            default = Transport[path.hop.transport]
        # The peer's Contact is an address; whom its certificate has to name is settled since
        # the first request.
        transport = transport_of(target, default)
        return Route(target, transport, user.tls, name=path.hop.name, strict=True)

    async def _resolve(
        self, user: StackUser, token: int | None, request: Request, route: Route
    ) -> None:
        try:
            found = await self._shell.transport.locate(route)
        except TransportError as error:
            if not self._is_void(user, token):
                self._fail(user, token, str(error))
        else:
            if not self._is_void(user, token):
                user.on_located(request.call_id, found.location)
                self._send(user, token, request, found.hops)
        self._shell.settle()

    def _is_void(self, user: StackUser, token: int | None) -> bool:
        """Whether a request that waited was cancelled, or its endpoint has left."""
        if token is not None and (id(user), token) in self._cancelled:
            self._cancelled.discard((id(user), token))
            return True
        return not self._shell.serves(user)

    def cancel(self, user: StackUser, token: int, headers: Iterable[tuple[str, str]] = ()) -> None:
        """Cancel an INVITE of ours, also one that has not left yet."""
        key = self._tokens.get((id(user), token))
        if key is None:
            self._cancelled.add((id(user), token))
            self._fail(user, token, "cancelled before it was sent")
            return
        owner = self._owners.get(key)
        if owner is not None and owner.attempt is not None:
            # Nobody else's phone is to ring for a call that was given up.
            owner.attempt.hops.clear()
            if owner.hop is not None and owner.hop.connection is not None:
                # Its dialog may be forgotten when the loss of the connection shows.
                owner.back = self._way_back(user, owner.attempt.request)
        _, effects = self._shell.transactions.cancel(key, self._shell.now, headers=headers)
        self._shell.push(None, effects)

    def _send(
        self, user: StackUser, token: int | None, request: Request, hops: Iterable[Hop]
    ) -> None:
        targets = list(hops)
        if token is None:
            self._acknowledge(user, request, targets)
            return
        for_size = self._by_size(request, targets)
        newest = self._shell.transport.pool.newest
        hops = deque(for_size + targets)
        self._launch(Attempt(user, token, request, hops, newest, frozenset(for_size)))

    @staticmethod
    def _by_size(request: Request, hops: list[Hop]) -> list[Hop]:
        """What a request too large for a datagram is tried by first (RFC 3261 section 18.1.1)."""
        datagrams = [hop for hop in hops if hop.transport == "UDP"]
        if not datagrams or len(request.to_bytes()) + VIA_OCTETS <= STREAM_ABOVE:
            return []
        return [replace(hop, transport="TCP") for hop in datagrams]

    def _acknowledge(self, user: StackUser, request: Request, hops: list[Hop]) -> None:
        """Send an ACK, which has no transaction to try the next target for it."""
        transport = self._shell.transport
        if transport.ready(hops[0]) and (len(hops) == 1 or transport.connected(hops[0])):
            self._send_ack(user, request, hops[0])
        else:
            self._shell.start_task(self._connect_and_acknowledge(user, request, hops))

    def _send_ack(self, user: StackUser, request: Request, hop: Hop) -> None:
        shell = self._shell
        try:
            sent_by = host_port(shell.transport.local_towards(hop))
        except TransportError:
            self.unreachable += 1
            return
        for effect in shell.transactions.stateless(request, hop, sent_by):
            if isinstance(effect, Send):
                shell.transmit(user, None, effect.message, effect.hop)

    async def _connect_and_acknowledge(
        self, user: StackUser, request: Request, hops: list[Hop]
    ) -> None:
        try:
            hop = await self._shell.transport.first_open(hops)
        except TransportError:
            self.unreachable += 1
        else:
            self._send_ack(user, request, hop)

    def _launch(self, attempt: Attempt) -> None:
        """Try the next target: a new transaction with a new branch (RFC 3263 section 4.3)."""
        hop = attempt.hops.popleft()
        # What is left of the target before is over for the core: a CANCEL is not for that.
        self._tokens.pop((id(attempt.user), attempt.token), None)
        if self._shell.transport.ready(hop):
            self._start(attempt, hop)
        else:
            self._shell.start_task(self._connect_and_start(attempt, hop))

    async def _connect_and_start(self, attempt: Attempt, hop: Hop) -> None:
        try:
            await self._shell.transport.connect(hop)
        except TransportError as error:
            self._shell.transport.resolver.mark_failed(_destination(hop))
            if not self._is_void(attempt.user, attempt.token):
                self._next_target(attempt, str(error))
        else:
            if not self._is_void(attempt.user, attempt.token):
                self._start(attempt, hop)
        self._shell.settle()

    def _next_target(self, attempt: Attempt, error: str) -> None:
        if attempt.hops:
            self._launch(attempt)
        else:
            self._fail(attempt.user, attempt.token, error)

    def _start(self, attempt: Attempt, hop: Hop) -> None:
        shell, user = self._shell, attempt.user
        try:
            local = shell.transport.local_towards(hop)
        except TransportError as error:
            self._next_target(attempt, str(error))
            return
        request = attempt.request
        if hop not in attempt.for_size and not _is_unbinding(request):
            request = facing(request, local, hop)
            if request.method == "REGISTER":
                # The connection of the last one may have ended: this one binds its own way.
                user.move_home(local, hop.transport)
        if request.method == "INVITE" and request.to_tag is None:
            self._paths.begin(request.call_id, hop)
        key, effects = shell.transactions.request(request, hop, host_port(local), shell.now)
        self._owners[key] = owner = Owner(user, attempt, hop)
        self._tokens[id(user), attempt.token] = key
        self._note_way(key, owner, hop)
        shell.push(None, effects)

    def _note_way(self, key: Key, owner: Owner, way: Hop) -> None:
        owner.ways.add(way)
        self._by_hop.setdefault(way, set()).add(key)

    def note_sent(self, key: Key, hop: Hop) -> None:
        """A message of this transaction has gone, or waits to go, by a connection to `hop`."""
        owner = self._owners.get(key)
        if owner is None or hop.connection is not None:
            return
        connection = self._shell.transport.pool.find(hop)
        if connection is not None:
            # Its own number too: it may be one the peer opened, and has another port then.
            self._note_way(key, owner, hop)
            self._note_way(key, owner, connection.hop)

    def facing_response(self, key: Key, response: Response) -> Response:
        """The response with the Contact that is right for where its request came from."""
        owner = self._owners.get(key)
        if owner is None or owner.hop is None or response.status >= MULTIPLE_CHOICES:
            return response  # The Contact of a refusal is where to go instead.
        try:
            return facing(response, self._shell.transport.local_towards(owner.hop), owner.hop)
        except TransportError:
            return response

    def _fail(self, user: StackUser, token: int | None, error: str) -> None:
        self.unreachable += 1
        if token is not None:
            effects = user.core.on_transport_error(token, error, self._shell.now)
            self._shell.push(user, effects)

    # what becomes of them

    def on_response(self, key: Key, response: Response) -> None:
        """A response in a client transaction."""
        owner = self.owner(key)
        if owner is None or owner.attempt is None:
            return
        attempt = owner.attempt
        if response.status == SERVICE_UNAVAILABLE and not attempt.answered:
            # RFC 3263 section 4.3: this server wants to be left alone, the next may not.
            if owner.hop is not None:
                wait = response.headers.get("Retry-After")
                seconds = None if wait is None else parse_delta_seconds(wait)
                self._shell.transport.resolver.mark_unavailable(_destination(owner.hop), seconds)
            if attempt.hops:
                self._launch(attempt)
                return
        elif owner.hop is not None and not attempt.answered:
            self._shell.transport.resolver.mark_good(_destination(owner.hop))
        # A 100 is the word of the next server only, which may have to give up yet.
        attempt.answered = attempt.answered or response.status > TRYING
        effects = owner.user.core.on_response(attempt.token, response, self._shell.now)
        self._shell.push(owner.user, effects)

    def on_failure(self, key: Key, timer: str, error: str | None) -> None:
        """A transaction came to nothing: by a timer, or by an error of the network."""
        owner = self.owner(key)
        if owner is None:
            return
        user, attempt, now = owner.user, owner.attempt, self._shell.now
        if attempt is None:
            if key[0] == "c":
                return  # a CANCEL: its INVITE has timers of its own
            if error is not None:
                self._shell.push(user, user.core.on_server_transport_error(key, error, now))
            else:
                self._shell.push(user, user.core.on_server_timeout(key, timer, now))
            return
        if owner.hop is not None and not attempt.answered:
            self._shell.transport.resolver.mark_failed(_destination(owner.hop))
        if attempt.hops and not attempt.answered:
            self._launch(attempt)
        elif error is not None:
            self._shell.push(user, user.core.on_transport_error(attempt.token, error, now))
        else:
            self._shell.push(user, user.core.on_timeout(attempt.token, timer, now))

    def on_unreachable(self, destination: Hop, error: str) -> None:
        """No message gets to `destination`: its unanswered requests fail, and only they."""
        # An ACK has no transaction: when the 2xx comes again, its ACK is to go elsewhere.
        self._shell.transport.resolver.mark_failed(_destination(destination))
        for key in list(self._by_hop.get(destination, ())):
            self._fail_unanswered(key, error)

    def on_flow_lost(self, flow: Hop, error: str) -> None:
        """A connection has ended: what waited for an answer on it goes another way or fails."""
        for key in list(self._by_hop.get(flow, ())):
            if not self.resend(key, flow):
                self._fail_unanswered(key, error)

    def resend(self, key: Key | None, lost: Hop) -> bool:
        """Send an unanswered request once more, by another connection; False if it cannot be.

        The peer may have had it, or may have closed the connection just before: the branch
        stays, so that it is served once. An INVITE that rings is sent again as well: its answer
        has to find a way back.

        Args:
            key: Its transaction.
            lost: The connection, or the target whose connection, was lost.
        """
        if key is not None and key[-1] == "CANCEL":
            # It follows its INVITE (RFC 3261 section 9.1), which does not go out again then.
            key = (*key[:-1], "INVITE")
        owner = None if key is None else self._owners.get(key)
        if key is None or owner is None or owner.attempt is None:
            return False
        attempt = owner.attempt
        if attempt.answered and attempt.request.method != "INVITE":
            return False
        if lost.connection is not None and lost == owner.lost:
            return True  # told twice: by what was sent last, too
        hop = self._other_way(owner, attempt, lost)
        if hop is None and not attempt.answered:
            return False
        owner.lost = lost
        owner.repeats += 1
        self._shell.push(None, self._shell.transactions.resend(key, hop, self._shell.now))
        return True

    def _other_way(self, owner: Owner, attempt: Attempt, lost: Hop) -> Hop | None:
        """Where a request goes once more whose connection was lost, or None.

        One connection that was opened for its sake and lost again is enough. Those from before
        may have died along with the first, and nobody has noticed yet.
        """
        own = lost.connection is not None and lost.connection > attempt.newest
        if owner.repeats >= (1 if own else MOST_REPEATS):
            return None
        hop = owner.hop
        if hop is not None and hop.connection is not None:
            hop = owner.back or self._way_back(owner.user, attempt.request)
        return hop

    def _way_back(self, user: StackUser, request: Request) -> Hop | None:
        """Where a request in a dialog goes without the connection the peer opened."""
        target, path = next_hop_uri(request), self._paths.get(request.call_id)
        if target is None or path is None:
            return None
        found = self._shell.transport.known(self._route(user, target, path))
        return None if found is None else next(iter(found.hops), None)

    def _fail_unanswered(self, key: Key, error: str) -> None:
        owner = self._owners.get(key)
        if owner is None or (owner.attempt is not None and owner.attempt.answered):
            return
        if owner.attempt is None and key[0] == "c":
            return  # a CANCEL: its INVITE has timers of its own
        shell = self._shell
        shell.push(None, shell.transactions.on_transport_error(key, error, shell.now))


def _is_unbinding(request: Request) -> bool:
    """Whether this REGISTER takes a binding away: it has to name the Contact that was bound."""
    return request.method == "REGISTER" and request.expires == 0


def _destination(hop: Hop) -> tuple[str, str, int]:
    return hop.transport, hop.host, hop.port
