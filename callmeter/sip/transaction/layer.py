"""The transaction layer: finds the transaction of a message, and keeps their deadlines.

```text
request, cancel, respond, on_message, on_transport_error, on_deadline  ->  list[Effect]
```

The caller applies the effects after the call has returned, in their order.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING

from callmeter.errors import LocalProtocolError, SipSyntaxError
from callmeter.sip.message import Headers, Request, Response
from callmeter.sip.timers import TimerValues
from callmeter.sip.transaction.client import ClientTransaction
from callmeter.sip.transaction.effects import Deliver, Effect, Hop, Send
from callmeter.sip.transaction.invite_client import InviteClientTransaction
from callmeter.sip.transaction.invite_client import State as Calling
from callmeter.sip.transaction.invite_server import InviteServerTransaction
from callmeter.sip.transaction.key import (
    Key,
    client_key,
    is_legacy,
    legacy_ack_key,
    merge_key,
    new_branch,
    response_key,
    server_key,
)
from callmeter.sip.transaction.machine import OUTLINES
from callmeter.sip.transaction.response_route import response_way
from callmeter.sip.transaction.server import ServerTransaction
from callmeter.sip.transaction.timer_wheel import TimerWheel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from callmeter.config import TimerConfig

__all__ = ["TransactionCounters", "TransactionLayer"]

AnyClient = InviteClientTransaction | ClientTransaction
AnyServer = InviteServerTransaction | ServerTransaction

_INVITE, _BYE = OUTLINES["INVITE"], OUTLINES["BYE"]

SHORTEST_RETRY_AFTER = 5
RETRY_AFTER_SPREAD = 26


class TransactionCounters:
    """What the layer saw and did not pass on.

    Attributes:
        stray_responses: Responses of no transaction, from the wrong transport, or with a Via
            below ours.
        retransmissions_absorbed: Messages that a transaction took without telling anybody.
        rejected_over_limit: Requests that got a stateless 503.
        malformed: Messages whose Via, CSeq, From or To cannot be read.
    """

    __slots__ = (
        "malformed",
        "rejected_over_limit",
        "retransmissions_absorbed",
        "stray_responses",
    )

    def __init__(self) -> None:
        self.stray_responses = 0
        self.retransmissions_absorbed = 0
        self.rejected_over_limit = 0
        self.malformed = 0


class TransactionLayer:
    """All transactions of one stack (RFC 3261 section 17).

    Args:
        timers: T1, T2 and T4.
        entropy: Gives that many random octets.
        limit: Live server transactions from which on new work gets a stateless 503. What belongs
            to a dialog, BYE and CANCEL are served up to twice as many.

    Attributes:
        overloaded: Whether new work gets a 503 whatever the number, as there is no time for it.
    """

    __slots__ = (
        "_clients",
        "_datagrams",
        "_deadlines",
        "_entropy",
        "_legacy_invites",
        "_merges",
        "_secret",
        "_servers",
        "_streams",
        "counters",
        "limit",
        "overloaded",
    )

    def __init__(
        self, timers: TimerConfig, entropy: Callable[[int], bytes], *, limit: int = 10_000
    ) -> None:
        self.counters = TransactionCounters()
        self.limit = limit
        self.overloaded = False
        self._entropy = entropy
        self._secret = entropy(16)
        self._datagrams = TimerValues.of(timers, reliable=False)
        self._streams = TimerValues.of(timers, reliable=True)
        self._clients: dict[Key, AnyClient] = {}
        self._servers: dict[Key, AnyServer] = {}
        self._deadlines: TimerWheel[AnyClient | AnyServer] = TimerWheel()
        self._merges: dict[Key, Key] = {}
        # ACKs of RFC 2543 peers name a To tag that the INVITE did not have.
        self._legacy_invites: dict[Key, Key] = {}

    def __len__(self) -> int:
        """Live transactions, of clients and servers."""
        return len(self._clients) + len(self._servers)

    # -- Client side -------------------------------------------------------------------------

    def request(
        self, request: Request, hop: Hop, sent_by: str, now: float
    ) -> tuple[Key, list[Effect]]:
        """Send a request, with a new branch, in a new client transaction.

        Args:
            request: Any but an ACK; it is copied, and Vias it has are dropped.
            hop: Where to.
            sent_by: `host` or `host:port` for our Via.
            now: Loop time.

        Returns:
            The key that the transaction's effects bear, and its first effects.
        """
        method = request.method
        if method == "ACK":
            raise LocalProtocolError("an ACK has no transaction of its own; send it stateless")
        branch = self.new_branch()
        sent = _with_via(request, hop, sent_by, branch)
        key = client_key(branch, method)
        kind = InviteClientTransaction if method == "INVITE" else ClientTransaction
        return key, self._start_client(kind(key, sent, hop, self._timers(hop)), now)

    def new_branch(self) -> str:
        """A branch with 64 random bits."""
        return new_branch(self._entropy)

    def begin(self, request: Request, branch: str, hop: Hop, now: float) -> Key:
        """As `request`, for who has put the Via with this branch on and sends it by datagram."""
        method = request.method
        key = ("c", branch, method)
        kind = InviteClientTransaction if method == "INVITE" else ClientTransaction
        transaction = self._clients[key] = kind(key, request, hop, self._datagrams)
        self._deadlines.put(transaction, transaction.begin(now))
        return key

    def hear(self, key: Key, status: int, source: Hop, now: float) -> bool:
        """Take a response by datagram that its user acts on here and now.

        Args:
            key: `response_key` of it.
            status: Its status code.
            source: Where it came from.
            now: Loop time.

        Returns:
            Whether it is taken. If not, nothing has changed, and `on_message` knows why.
        """
        transaction = self._clients.get(key)
        if transaction is None or transaction.hop.transport != source.transport:
            return False
        when = transaction.hear(status, now)
        if when is None:
            return False
        self._deadlines.put(transaction, when)
        return True

    def stateless(self, message: Request, hop: Hop, sent_by: str) -> list[Effect]:
        """Send a request that nobody answers: the ACK of a 2xx (RFC 3261 section 13.2.2.4)."""
        sent = _with_via(message, hop, sent_by, self.new_branch())
        return [Send(None, sent, hop)]

    def resend(self, key: Key, hop: Hop | None, now: float) -> list[Effect]:
        """Send a request once more, to `hop`: its connection was lost before its answer came.

        It is the same request with the same branch, so that a peer that has it already takes
        this for a retransmission and repeats its answer. An INVITE that somebody has answered
        provisionally waits 64*T1 for the next word.

        Args:
            key: Of its client transaction.
            hop: Where to; None leaves it to the peer to find a way back (RFC 3261 section
                18.2.2).
            now: Loop time.
        """
        transaction = self._clients.get(key)
        if transaction is None:
            return []
        resent: AnyClient = transaction
        if isinstance(transaction, InviteClientTransaction):
            if not transaction.on_flow_lost(now):
                return []
            self._deadlines.arm(transaction)
            # Nobody's phone is to ring anew for a call that was given up.
            resent = self._clients.get(transaction.cancel_key or (), transaction)
        if hop is None:
            return []
        transaction.hop = resent.hop = hop
        return [Send(resent.key, resent.request, hop)]

    def cancel(
        self, key: Key, now: float, *, headers: Iterable[tuple[str, str]] = ()
    ) -> tuple[Key | None, list[Effect]]:
        """Ask for the end of an INVITE (RFC 3261 section 9.1).

        The CANCEL waits for a provisional response, and is never sent if a final one comes
        first. A second call changes nothing.

        Args:
            key: Of the INVITE client transaction.
            now: Loop time.
            headers: Further header lines of the CANCEL, such as Reason.

        Returns:
            The CANCEL's own key and the effects; None where the INVITE has its final response.
        """
        invite = self._clients.get(key)
        if not isinstance(invite, InviteClientTransaction):
            return None, []
        if invite.state is not Calling.CALLING and invite.state is not Calling.PROCEEDING:
            return None, []
        if invite.cancel_key is not None:
            return invite.cancel_key, []
        # 9.1: the same branch, so that the CANCEL finds its INVITE.
        cancel_key = invite.cancel_key = ("c", key[1], "CANCEL")
        request = _cancel_of(invite.request, headers)
        cancel = ClientTransaction(cancel_key, request, invite.hop, invite.timers)
        if invite.state is Calling.CALLING:
            invite.waiting_cancel = cancel
            return cancel_key, []
        return cancel_key, self._send_cancel(invite, cancel, now)

    def _send_cancel(
        self, invite: InviteClientTransaction, cancel: ClientTransaction, now: float
    ) -> list[Effect]:
        invite.on_cancel_sent(now)
        self._deadlines.arm(invite)
        return self._start_client(cancel, now)

    def _start_client(self, transaction: AnyClient, now: float) -> list[Effect]:
        self._clients[transaction.key] = transaction
        effects = transaction.start(now)
        self._deadlines.arm(transaction)
        return effects

    # -- Server side -------------------------------------------------------------------------

    def respond(self, key: Key, response: Response, now: float) -> list[Effect]:
        """Answer a request that was delivered under `key`; nothing if it has gone meanwhile."""
        transaction = self._servers.get(key)
        if transaction is None:
            return []
        effects = transaction.respond(response, now)
        self._settle(transaction)
        return effects

    def accept_at_once(self, key: Key, merge: Key, source: Hop, now: float) -> bool:
        """Take an INVITE that its user answers with a 2xx here and now, and repeats itself.

        What `on_message` with its `Deliver`, and `respond`, come to for a request that came by
        datagram from where its Via says.

        Args:
            key: `server_key` of the request, made by RFC 3261's rules.
            merge: Its `merge_key`.
            source: Where it came from.
            now: Loop time.

        Returns:
            Whether it is taken. If not, nothing has changed, and `on_message` knows why.
        """
        servers, merges = self._servers, self._merges
        if key in servers or merge in merges or self.overloaded or len(servers) >= self.limit:
            return False
        transaction = InviteServerTransaction(key, _INVITE, source, self._datagrams)
        servers[key] = transaction
        merges[merge] = key
        transaction.merge = merge
        self._deadlines.put(transaction, transaction.accept(now))
        return True

    def complete_at_once(self, key: Key, source: Hop, response: Response, now: float) -> bool:
        """Take a BYE of a dialog that its user gives this final response here and now.

        Arguments and result are as in `accept_at_once`; the response is not sent by this.
        """
        servers = self._servers
        if key in servers or self.overloaded or len(servers) >= self.limit:
            return False
        transaction = servers[key] = ServerTransaction(key, _BYE, source, self._datagrams)
        self._deadlines.put(transaction, transaction.complete(response, now))
        return True

    def serves(self, key: Key) -> bool:
        """Whether there is a server transaction of this key."""
        return key in self._servers

    def invite_key_of(self, cancel: Request) -> Key | None:
        """The live INVITE server transaction that a CANCEL is about (RFC 3261 section 9.2)."""
        key = server_key(cancel, "INVITE")
        return key if key in self._servers else None

    def merged_with(self, request: Request, key: Key) -> Key | None:
        """The transaction of an earlier copy of this request that is being served, or None.

        When both are for one user agent, the later copy gets 482 (8.2.2.2). A proxy that forks
        to two of them that share this layer is in its right.
        """
        if request.to_tag is not None:
            return None
        server = self._servers.get(key)
        merge = merge_key(request) if server is None else server.merge
        first = self._merges.get(merge or (), key)
        return None if first == key else first

    def is_merged(self, request: Request, key: Key) -> bool:
        """Whether there is such an earlier copy, where one user agent has the layer to itself."""
        return self.merged_with(request, key) is not None

    # -- From the network and the clock ------------------------------------------------------

    def on_message(self, message: Request | Response, source: Hop, now: float) -> list[Effect]:
        """Take a message.

        Args:
            message: As parsed; the top Via of a request gets `received` and `rport`.
            source: Where it came from, with the connection it came on.
            now: Loop time.
        """
        try:
            if isinstance(message, Response):
                return self._on_response(message, source, now)
            if message.method == "ACK":
                return self._on_ack(message, now)
            return self._on_request(message, source, now)
        except SipSyntaxError:
            # The parser has let it pass, for it reads only what it must; nothing was kept.
            self.counters.malformed += 1
            return []

    def on_transport_error(self, key: Key | None, error: str, now: float) -> list[Effect]:
        """A `Send` failed, or the connection it went by is lost (RFC 3261 section 17.1.4)."""
        if key is None:
            return []
        transaction = self._clients.get(key) or self._servers.get(key)
        if transaction is None:
            return []
        effects = transaction.on_transport_error(error, now)
        self._settle(transaction)
        return effects

    def on_deadline(self, now: float) -> list[Effect]:
        """Fire what is due."""
        effects: list[Effect] = []
        while (transaction := self._deadlines.pop_due(now)) is not None:
            effects += transaction.on_deadline(now)
            self._settle(transaction)
        return effects

    def next_deadline(self) -> float | None:
        """When `on_deadline` wants to be called; None if not at all."""
        return self._deadlines.next_deadline()

    def _on_response(self, response: Response, source: Hop, now: float) -> list[Effect]:
        transaction = self._clients.get(response_key(response))
        if (
            transaction is None
            or transaction.hop.transport != source.transport
            # 8.1.3.3: we are the only UA on its way; a second Via was meant for somebody else.
            or not _has_one_via(response)
        ):
            self.counters.stray_responses += 1
            return []
        effects = transaction.on_response(response, now)
        if not effects or type(effects[-1]) is Send:
            self.counters.retransmissions_absorbed += 1
        if (
            type(transaction) is InviteClientTransaction
            and transaction.waiting_cancel is not None
            and transaction.state is Calling.PROCEEDING
        ):
            effects += self._send_cancel(transaction, transaction.waiting_cancel, now)
        self._settle(transaction)
        return effects

    def _on_ack(self, ack: Request, now: float) -> list[Effect]:
        key = server_key(ack, "INVITE")
        legacy = is_legacy(key)
        if legacy:
            key = self._legacy_invites.get(legacy_ack_key(ack), key)
        transaction = self._servers.get(key)
        if not isinstance(transaction, InviteServerTransaction):
            return [Deliver(None, ack)]
        answer = transaction.response
        if legacy and (answer is None or ack.to_tag != answer.to_tag):
            return [Deliver(None, ack)]
        effects = transaction.on_ack(ack, now)
        self._settle(transaction)
        return effects

    def _on_request(self, request: Request, source: Hop, now: float) -> list[Effect]:
        key = server_key(request)
        transaction = self._servers.get(key)
        if transaction is not None:
            self.counters.retransmissions_absorbed += 1
            if source.reliable and source.connection != transaction.hop.connection:
                # Its connection was lost, and the request came by another: so may the answer.
                transaction.fallback = source
            return transaction.on_request(now)
        merge = None if request.to_tag is not None else merge_key(request)
        hop, fallback = response_way(request, source)
        if (self.overloaded or len(self._servers) >= self.limit) and self._sheds(request):
            return self._refuse(request, key, hop)
        kind = InviteServerTransaction if request.method == "INVITE" else ServerTransaction
        transaction = kind(key, request, hop, self._timers(hop), fallback)
        self._servers[key] = transaction
        if merge is not None:
            transaction.merge = merge
            self._merges.setdefault(merge, key)
        if is_legacy(key) and request.method == "INVITE":
            self._legacy_invites[legacy_ack_key(request)] = key
        effects = transaction.start(now)
        self._deadlines.arm(transaction)
        return effects

    # -- Housekeeping ------------------------------------------------------------------------

    def _timers(self, hop: Hop) -> TimerValues:
        return self._streams if hop.reliable else self._datagrams

    def _sheds(self, request: Request) -> bool:
        """Over the limit only what ends or continues calls gets in, and not without end."""
        if len(self._servers) >= 2 * self.limit:
            return True
        return request.to_tag is None and request.method not in {"BYE", "CANCEL"}

    def _refuse(self, request: Request, key: Key, hop: Hop) -> list[Effect]:
        """A 503 that leaves nothing behind (8.2.7): the same To tag each time it is asked for."""
        self.counters.rejected_over_limit += 1
        octets = repr(key).encode("utf-8", "backslashreplace")
        tag = blake2b(octets, key=self._secret, digest_size=8).hexdigest()
        wait = SHORTEST_RETRY_AFTER + self._entropy(1)[0] % RETRY_AFTER_SPREAD
        response = request.create_response(503, to_tag=tag, headers=[("Retry-After", str(wait))])
        return [Send(None, response, hop)]

    def _settle(self, transaction: AnyClient | AnyServer) -> None:
        """After each event: forget a transaction that has ended, else note its deadline."""
        if not transaction.terminated:
            self._deadlines.arm(transaction)
            return
        self._deadlines.disarm(transaction)
        key = transaction.key
        if self._clients.pop(key, None) is not None:
            return
        merge = self._servers.pop(key).merge
        if merge is not None and self._merges.get(merge) == key:
            del self._merges[merge]
        if is_legacy(key):
            self._legacy_invites.pop(key[:-1], None)


def _has_one_via(response: Response) -> bool:
    usual = response.usual
    return len(response.vias) == 1 if usual is None else usual.more_vias is None


def _with_via(request: Request, hop: Hop, sent_by: str, branch: str) -> Request:
    """A copy that bears our Via, and no other: a user agent is where requests begin."""
    # RFC 3581 section 3: rport asks for answers by the way the request came. RFC 5923 section 4:
    # alias lets the peer send its own requests by the same connection.
    alias = ";alias" if hop.reliable else ""
    return request.with_via(f"SIP/2.0/{hop.transport} {sent_by};branch={branch};rport{alias}")


def _cancel_of(invite: Request, headers: Iterable[tuple[str, str]]) -> Request:
    """9.1: all that makes up the INVITE's identity, and its route, but none of its body."""
    lines = Headers()
    lines.copy_lines(invite.headers, "Via", first=True)
    lines.add("Max-Forwards", "70")
    for name in ("From", "To", "Call-ID", "Route"):
        lines.copy_lines(invite.headers, name)
    lines.add("CSeq", f"{invite.cseq.number} CANCEL")
    lines.extend(headers)
    return Request("CANCEL", invite.uri, lines)
