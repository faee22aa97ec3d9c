"""The caller's side of many calls that are signalling alone: INVITE, ACK, and BYE after a while.

Transactions are the transaction layer's. What is left out is what a call is without: media, and
with them the reading of the answer; credentials, redirection, and an application to ask.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Final, NamedTuple

from callmeter.sip.capabilities import ACCEPT, Capabilities
from callmeter.sip.dialog import Dialog
from callmeter.sip.prepared_messages import (
    PreparedRequest,
    RequestTemplate,
    ResponseTemplate,
    WrittenRequest,
)
from callmeter.sip.session_events import CancelRequest, Respond, SendAck, SendRequest
from callmeter.sip.timers import NEVER
from callmeter.sip.transaction.timer_wheel import TimerWheel

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from callmeter.sip.learned_shapes import Usual
    from callmeter.sip.message import Request, Response
    from callmeter.sip.session_events import Effect
    from callmeter.sip.transaction.effects import Hop
    from callmeter.sip.transaction.key import Key
    from callmeter.sip.transaction.layer import TransactionLayer
    from callmeter.sip.uri import SipUri

__all__ = ["Means", "Post", "SignalingUac", "UacCounters", "Way"]

FINAL: Final = 200
FAILURE: Final = 300


class UacCounters:
    """What became of the calls.

    Attributes:
        invites: Calls that were begun.
        answered: Calls that got a 2xx.
        ended: Calls that ended with a BYE, ours or the callee's, and its response.
        refused: Calls that got another final response.
        failed: Calls that got none, or whose BYE got none.
        statuses: Final responses to INVITEs by their status.
    """

    __slots__ = ("answered", "ended", "failed", "invites", "refused", "statuses")

    def __init__(self) -> None:
        self.invites = 0
        self.answered = 0
        self.ended = 0
        self.refused = 0
        self.failed = 0
        self.statuses: dict[int, int] = {}

    def __repr__(self) -> str:
        counts = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__slots__)
        return f"{type(self).__name__}({counts})"


class State(Enum):
    """How far a call is."""

    CALLING = "calling"
    ANSWERED = "answered"
    CANCELLED = "cancelled"
    LEAVING = "leaving"


CALLING, ANSWERED, CANCELLED, LEAVING = State

Way = tuple["Hop", str]
"""The next hop, and sent-by of our Via towards it."""
Post = tuple[bytes, "Hop", "Key | None"]
"""Octets to send by datagram, and the transaction that is told when they cannot be sent."""


class Means(NamedTuple):
    """What calls in one step need beyond themselves.

    Attributes:
        layer: The transactions.
        ways: How datagrams get to a URI, by its text.
        tokens: What transactions were begun as, `SendRequest.token`.
        keys: The reverse, of INVITEs, as nothing else is cancelled.
    """

    layer: TransactionLayer
    ways: dict[str, Way]
    tokens: dict[Key, int]
    keys: dict[int, Key]


class UacCall:
    """One call.

    Attributes:
        token: Names its INVITE towards the shell; its BYE has the negative of it.
        tag: Our tag.
        remote: To value, with the tag of who answered; empty before.
        target: Where requests in its dialog go, once it is answered.
        ack: The ACK of its 2xx, once it was made.
        bye: What will end it, once it is answered.
    """

    __slots__ = (
        "ack",
        "bye",
        "call_id",
        "due",
        "remote",
        "request",
        "slot",
        "state",
        "tag",
        "target",
        "token",
    )

    def __init__(self, token: int, tag: str, call_id: str, request: Request) -> None:
        self.token = token
        self.tag = tag
        self.call_id = call_id
        self.request = request
        self.state = CALLING
        self.remote = ""
        self.target = ""
        self.ack: Request | None = None
        self.bye: Request | None = None
        self.due = NEVER
        self.slot: int | None = None

    def next_deadline(self) -> float:
        """When something is to be done without being asked."""
        return self.due


class SignalingUac:
    """Places calls, without sockets and clock.

    Args:
        target: Whom to call.
        caller: Value of From without tag.
        contact: URI of the Contact.
        offer: The session description of every INVITE, or of none if empty.
        entropy: `entropy(n)` gives n octets nobody can guess.
        hold: Seconds from the ACK to the BYE.
        ring_timeout: Seconds until an INVITE that rings is cancelled.

    Attributes:
        counters: What became of the calls.
    """

    __slots__ = (
        "_ack",
        "_by_tag",
        "_bye",
        "_caller",
        "_calls",
        "_capabilities",
        "_deadlines",
        "_entropy",
        "_hold",
        "_invite",
        "_ok",
        "_ring_timeout",
        "_target",
        "_to",
        "_token",
        "counters",
    )

    def __init__(
        self,
        target: SipUri,
        caller: str,
        contact: str,
        offer: bytes,
        entropy: Callable[[int], bytes],
        *,
        hold: float = 0.0,
        ring_timeout: float = 180.0,
    ) -> None:
        self.counters = UacCounters()
        self._target = str(target)
        self._to = f"<{target.aor()}>"
        self._caller = caller
        self._entropy = entropy
        self._hold = hold
        self._ring_timeout = ring_timeout
        self._capabilities = Capabilities()
        lines = [("Contact", f"<{contact}>")]
        more = [*lines, *self._capabilities.contact_lines]
        if offer:
            more.append(("Content-Type", ACCEPT))
        self._invite = RequestTemplate("INVITE", more, offer)
        self._ack = RequestTemplate("ACK", lines)
        self._bye = RequestTemplate("BYE")
        self._ok = ResponseTemplate(200)
        self._calls: dict[int, UacCall] = {}
        self._by_tag: dict[str, UacCall] = {}
        self._token = 0
        self._deadlines: TimerWheel[UacCall] = TimerWheel()

    def __len__(self) -> int:
        """Live calls."""
        return len(self._calls)

    # -- Commands ----------------------------------------------------------------------------

    def call(self, now: float) -> list[Effect]:
        """Begin a call."""
        self._token = token = self._token + 1
        random = self._entropy(16).hex()
        tag, call_id = random[:16], random[16:]
        local = f"{self._caller};tag={tag}"
        request = self._invite.fill(self._target, local, self._to, call_id, 1)
        call = UacCall(token, tag, call_id, request)
        self._calls[token] = self._by_tag[tag] = call
        self.counters.invites += 1
        self._arm(call, now + self._ring_timeout)
        return [SendRequest(token, request)]

    def call_at_once(self, means: Means, now: float) -> Post | None:
        """As `call`, in one step, where the way to the target is known; else None."""
        target = self._target
        way = means.ways.get(target)
        if way is None:
            return None
        hop, sent_by = way
        layer, number = means.layer, self._token + 1
        self._token = number
        random = self._entropy(16).hex()
        tag, call_id = random[:16], random[16:]
        branch = layer.new_branch()
        via, local = f"{sent_by};branch={branch}", f"{self._caller};tag={tag}"
        octets = self._invite.write_whole(target, via, local, self._to, call_id, 1)
        request = WrittenRequest("INVITE", target, octets)
        key = layer.begin(request, branch, hop, now)
        means.tokens[key] = number
        means.keys[number] = key
        call = self._calls[number] = self._by_tag[tag] = UacCall(number, tag, call_id, request)
        self.counters.invites += 1
        call.due = due = now + self._ring_timeout
        self._deadlines.put(call, due)
        return octets, hop, key

    def hang_up(self) -> list[Effect]:
        """End all calls: BYE where they are answered, CANCEL where they are not."""
        effects: list[Effect] = []
        for call in self._calls.values():
            effects += self._leave(call)
        return effects

    # -- Inputs ------------------------------------------------------------------------------

    def on_response(self, token: int, response: Response, now: float) -> list[Effect]:
        """A response in the client transaction of `token`."""
        call = self._calls.get(abs(token))
        if call is None or response.status < FINAL:
            return []
        if token < 0:
            self._forget(call)
            self.counters.ended += 1
            return []
        if response.status < FAILURE:
            return self._on_success(call, response, now)
        self._note(response.status)
        self._forget(call)
        self.counters.refused += 1
        return []

    def on_usual(
        self, means: Means, usual: Usual, source: Hop, now: float
    ) -> Sequence[Post] | None:
        """The response of a plain call in one step, without the effects of all others.

        It does what the transaction layer and `on_response` do with the message, and sends the
        same octets.

        Args:
            means: What is needed beyond the calls.
            usual: What `LearnedShapes` found.
            source: Where the response came from, by datagram.
            now: Loop time.

        Returns:
            What to send; None where it takes more than this. Nothing has changed then, and the
            message is for the layer.
        """
        shape, (_, branch, _, _, to, _, _, _), _ = usual
        status, method, layer = shape.status, shape.method, means.layer
        key = ("c", branch, method)
        token = means.tokens.get(key)
        call = None if token is None else self._calls.get(abs(token))
        if call is None or not status or not shape.one_via:
            return None
        if method != "INVITE":
            if not layer.hear(key, status, source, now):
                return None
            self._forget(call)
            self.counters.ended += 1
            return ()
        if status < FINAL:
            return () if layer.hear(key, status, source, now) else None
        target = shape.target
        if target is None or shape.special or call.state is not CALLING:
            return None
        way = means.ways.get(target)
        if way is None or not layer.hear(key, status, source, now):
            return None
        self._note(status)
        self.counters.answered += 1
        call.remote = to[1:]
        call.target = target
        return self._acknowledge(call, means, way, now)

    def _acknowledge(self, call: UacCall, means: Means, way: Way, now: float) -> Sequence[Post]:
        """The ACK, and the BYE unless the call is held."""
        layer, (hop, sent_by) = means.layer, way
        local, remote, target = f"{self._caller};tag={call.tag}", call.remote, call.target
        via = f"{sent_by};branch={layer.new_branch()}"
        octets = self._ack.write_whole(target, via, local, remote, call.call_id, 1)
        ack = octets, hop, None
        if self._hold > 0:
            lines = self._bye.write(local, remote, call.call_id, 2)
            call.bye = PreparedRequest("BYE", target, lines)
            call.state = ANSWERED
            self._arm(call, now + self._hold)
            return (ack,)
        call.state = LEAVING
        self._disarm(call)
        branch = layer.new_branch()
        via = f"{sent_by};branch={branch}"
        octets = self._bye.write_whole(target, via, local, remote, call.call_id, 2)
        key = layer.begin(WrittenRequest("BYE", target, octets), branch, hop, now)
        means.tokens[key] = -call.token
        return ack, (octets, hop, key)

    def on_failure(self, token: int) -> list[Effect]:
        """The layer's `TimedOut` or `TransportFailed` for the client transaction of `token`."""
        call = self._calls.get(abs(token))
        if call is not None:
            self._forget(call)
            self.counters.failed += 1
        return []

    def on_request(self, key: Key, request: Request) -> list[Effect]:
        """A request of a callee: BYE ends the call, what changes it is refused."""
        call = self._by_tag.get(request.to_tag or "")
        if call is None or call.call_id != request.call_id or not call.remote:
            return [self._reply(key, request, 481)]
        refusal = self._capabilities.inspect(request)
        if refusal is not None:
            return [self._reply(key, request, *refusal)]
        if request.method == "INVITE":
            return [self._reply(key, request, 488)]
        if request.method == "BYE":
            # Our own may be under way: whichever is answered first, it is over.
            self._forget(call)
            self.counters.ended += 1
        return [Respond(key, self._ok.fill(request, call.tag))]

    def on_deadline(self, now: float) -> list[Effect]:
        """Do what is due by `now`."""
        effects: list[Effect] = []
        while (call := self._deadlines.pop_due(now)) is not None:
            call.due = NEVER
            effects += self._leave(call)
        return effects

    def next_deadline(self) -> float | None:
        """When `on_deadline` wants to be called; None for not at all."""
        return self._deadlines.next_deadline()

    # -- Calls -------------------------------------------------------------------------------

    def _on_success(self, call: UacCall, response: Response, now: float) -> list[Effect]:
        usual = response.usual
        remote = str(response.to) if usual is None else usual.to[1:]
        if call.remote:
            if remote == call.remote:
                # The ACK was lost (RFC 3261 section 13.2.2.4).
                return [self._ack_of(call)]
            # Another fork has answered, too.
            dialog = Dialog.from_response(call.request, response)
            dialog.confirm(response)
            ack, bye = dialog.create_ack(1), dialog.create_request("BYE")
            return [SendAck(ack), SendRequest(0, bye)]
        self._note(response.status)
        self.counters.answered += 1
        call.remote = remote
        target = response.contact_uri
        if usual is None or usual.special is not None or target is None:
            dialog = Dialog.from_response(call.request, response)
            dialog.confirm(response)
            call.ack, call.bye = dialog.create_ack(1), dialog.create_request("BYE")
        else:
            call.target = target
            local = f"{self._caller};tag={call.tag}"
            call.bye = self._bye.fill(target, local, remote, call.call_id, 2)
        if self._hold <= 0 or call.state is CANCELLED:
            return [self._ack_of(call), *self._leave(call)]
        call.state = ANSWERED
        self._arm(call, now + self._hold)
        return [self._ack_of(call)]

    def _ack_of(self, call: UacCall) -> SendAck:
        """The ACK of the 2xx, each time that comes."""
        if call.ack is None:
            local = f"{self._caller};tag={call.tag}"
            call.ack = self._ack.fill(call.target, local, call.remote, call.call_id, 1)
        return SendAck(call.ack)

    def _leave(self, call: UacCall) -> list[Effect]:
        if call.bye is not None and call.state is not LEAVING:
            call.state = LEAVING
            self._disarm(call)
            return [SendRequest(-call.token, call.bye)]
        if call.state is CALLING:
            call.state = CANCELLED
            self._disarm(call)
            return [CancelRequest(call.token)]
        return []

    def _note(self, status: int) -> None:
        statuses = self.counters.statuses
        statuses[status] = statuses.get(status, 0) + 1

    def _reply(
        self,
        key: Key,
        request: Request,
        status: int,
        headers: tuple[tuple[str, str], ...] = (),
        reason: str | None = None,
    ) -> Respond:
        tag = self._entropy(8).hex()
        response = request.create_response(status, reason, to_tag=tag, headers=headers)
        return Respond(key, response)

    def _forget(self, call: UacCall) -> None:
        del self._calls[call.token], self._by_tag[call.tag]
        self._disarm(call)

    def _arm(self, call: UacCall, at: float) -> None:
        call.due = at
        self._deadlines.arm(call)

    def _disarm(self, call: UacCall) -> None:
        call.due = NEVER
        self._deadlines.disarm(call)
