"""The callee's side of many calls that are signalling alone: every INVITE gets the same answer.

Transactions are the transaction layer's, and what is asked beyond a plain call is refused as any
user agent refuses it. What is left out is what a call is without: media, and with them the reading
of the offer; reliable provisional responses, session timers, and an application to ask.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Final, cast

from callmeter.sip.capabilities import ACCEPT, Capabilities
from callmeter.sip.dialog import Dialog
from callmeter.sip.message import Request
from callmeter.sip.prepared_messages import PreparedResponse, ResponseTemplate
from callmeter.sip.session_events import Respond, SendRequest
from callmeter.sip.timers import NEVER, backoff
from callmeter.sip.transaction.key import MAGIC_COOKIE
from callmeter.sip.transaction.timer_wheel import TimerWheel
from callmeter.sip.usual_message import match_request

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from callmeter.config import TimerConfig
    from callmeter.sip.learned_shapes import Usual
    from callmeter.sip.session_events import Effect
    from callmeter.sip.transaction.effects import Hop
    from callmeter.sip.transaction.key import Key
    from callmeter.sip.transaction.layer import TransactionLayer
    from callmeter.sip.usual_message import Found

__all__ = ["SignalingUas", "UasCounters"]

PLAIN: Final = frozenset({"INVITE", "BYE"})
RETRY_AFTER: Final = 10


class UasCounters:
    """What became of the calls.

    Attributes:
        invites: INVITEs that began a call.
        answered: Calls that got the 200.
        confirmed: Calls whose ACK came.
        ended: Calls that the caller ended.
        cancelled: Calls that the caller gave up before the answer.
        unacknowledged: Calls whose ACK never came; they were ended by our BYE.
        refused: Requests that got a final response from 300 on.
        repeated: Answers that were sent again as their ACK did not come.
    """

    __slots__ = (
        "answered",
        "cancelled",
        "confirmed",
        "ended",
        "invites",
        "refused",
        "repeated",
        "unacknowledged",
    )

    def __init__(self) -> None:
        self.invites = 0
        self.answered = 0
        self.confirmed = 0
        self.ended = 0
        self.cancelled = 0
        self.unacknowledged = 0
        self.refused = 0
        self.repeated = 0

    def __repr__(self) -> str:
        counts = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__slots__)
        return f"{type(self).__name__}({counts})"


class State(Enum):
    """How far a call is."""

    RINGING = "ringing"
    ANSWERED = "answered"
    CONFIRMED = "confirmed"


RINGING, ANSWERED, CONFIRMED = State


class UasCall:
    """One call; what it was made of is kept, as a request of ours would need it."""

    __slots__ = (
        "answer",
        "call_id",
        "cseq",
        "due",
        "from_tag",
        "gives_up_at",
        "interval",
        "key",
        "made_of",
        "slot",
        "state",
        "tag",
    )

    def __init__(
        self,
        key: Key,
        made_of: Request | bytes,
        tag: str,
        call_id: str,
        from_tag: str | None,
        number: int,
    ) -> None:
        self.key = key
        self.made_of = made_of
        self.tag = tag
        self.call_id = call_id
        self.from_tag = from_tag
        self.cseq = number
        self.state = RINGING
        self.answer = b""
        self.due = self.gives_up_at = NEVER
        self.interval = 0.0
        self.slot: int | None = None

    @property
    def request(self) -> Request:
        """The INVITE."""
        made_of = self.made_of
        if isinstance(made_of, bytes):
            found = cast("Found", match_request(made_of.decode("latin-1")))
            made_of = self.made_of = Request.from_usual(found, made_of)
        return made_of

    def next_deadline(self) -> float:
        """When something is to be done without being asked."""
        return self.due


class SignalingUas:
    """Answers calls, without sockets and clock.

    Args:
        answer: The session description of every 200, or of none if empty.
        contact: URI of the Contact; see `contact`.
        timers: RFC 3261 timer values.
        entropy: `entropy(n)` gives n octets nobody can guess.
        ring: Whether a 180 goes before the 200.
        answer_after: Seconds from the one to the other.
        limit: Live calls; an INVITE beyond gets a 503.

    Attributes:
        counters: What became of the calls.
    """

    __slots__ = (
        "_200",
        "_answer_after",
        "_by_key",
        "_calls",
        "_capabilities",
        "_contact",
        "_deadlines",
        "_entropy",
        "_limit",
        "_ok",
        "_ring",
        "_ringing",
        "_timers",
        "answer",
        "counters",
    )

    def __init__(
        self,
        answer: bytes,
        contact: str,
        timers: TimerConfig,
        entropy: Callable[[int], bytes],
        *,
        ring: bool = True,
        answer_after: float = 0.0,
        limit: int = 100_000,
    ) -> None:
        self.counters = UasCounters()
        self.answer = answer
        self._answer_after = answer_after
        self._timers = timers
        self._entropy = entropy
        self._ring = ring
        self._limit = limit
        self._capabilities = Capabilities()
        self._ok = ResponseTemplate(200)
        self._calls: dict[str, UasCall] = {}
        self._by_key: dict[Key, UasCall] = {}
        self._deadlines: TimerWheel[UasCall] = TimerWheel()
        self.contact = contact

    def __len__(self) -> int:
        """Live calls."""
        return len(self._calls)

    @property
    def contact(self) -> str:
        """Where calls that begin from now on are reached."""
        return self._contact

    @contact.setter
    def contact(self, uri: str) -> None:
        self._contact = uri
        contact = ("Contact", f"<{uri}>")
        self._ringing = ResponseTemplate(180, [contact])
        lines = [contact, *self._capabilities.contact_lines]
        if self.answer:
            lines.append(("Content-Type", ACCEPT))
        self._200 = ResponseTemplate(200, lines, self.answer)

    # -- Inputs ------------------------------------------------------------------------------

    def on_request(
        self,
        key: Key,
        request: Request,
        now: float,
        *,
        merged: bool = False,
        invite_key: Key | None = None,
    ) -> list[Effect]:
        """A request the transaction layer delivered.

        Args:
            key: Its server transaction.
            request: Any but an ACK.
            now: Loop time.
            merged: `TransactionLayer.is_merged(request, key)`.
            invite_key: For a CANCEL: `TransactionLayer.invite_key_of(request)`.
        """
        method = request.method
        if method == "CANCEL":
            return self._on_cancel(key, request, invite_key)
        if merged:
            return self._refuse(key, request, 482)
        usual = request.usual
        if (
            usual is None
            or usual.special is not None
            or method not in PLAIN
            or (request.body and usual.content_type is None)
        ):
            refusal = self._capabilities.inspect(request)
            if refusal is not None:
                return self._refuse(key, request, *refusal)
        tag = request.to_tag
        if tag is not None:
            return self._on_request_in_dialog(key, request, tag, now)
        if method == "INVITE":
            return self._on_invite(key, request, now)
        if method == "OPTIONS":
            tag = self._new_tag()
            lines = self._capabilities.lines
            return [Respond(key, request.create_response(200, to_tag=tag, headers=lines))]
        return self._refuse(key, request, 481)

    def on_ack(self, request: Request, now: float) -> list[Effect]:
        """The ACK of a 2xx: `Deliver(None, request)` of the transaction layer."""
        del now
        self._confirm(request.to_tag, request.call_id)
        return []

    def on_usual(
        self, layer: TransactionLayer, usual: Usual, source: Hop, now: float
    ) -> Sequence[bytes] | None:
        """A plain INVITE, ACK or BYE in one step, without the effects of all others.

        It does what the transaction layer and `on_request` or `on_ack` do with the message, and
        sends the same octets.

        Args:
            layer: The transactions of this user agent.
            usual: What `LearnedShapes` found.
            source: Where the request came from, by datagram.
            now: Loop time.

        Returns:
            What to send back to `source`; None where it takes more than this. Nothing has changed
            then, and the message is for the layer.
        """
        shape, (via, branch, from_, from_tag, to, to_tag, call_id, number), data = usual
        method, host = shape.method, shape.host
        if (
            not shape.plain
            or host != source.host
            or shape.port != source.port
            or branch == MAGIC_COOKIE
            or not branch.startswith(MAGIC_COOKIE)
        ):
            return None
        if method == "ACK":
            if layer.serves(("s", branch, host, source.port, "INVITE")):
                return None
            self._confirm(to_tag, call_id)
            return ()
        key = ("s", branch, host, source.port, method)
        if method == "BYE":
            call = self._calls.get(to_tag or "")
            if (
                call is None
                or call.call_id != call_id
                or call.from_tag != from_tag
                or call.state is RINGING
                or int(number) < call.cseq
            ):
                return None
            copied = (
                f"{via}\r\nFrom:{from_}\r\nTo:{to}\r\nCall-ID: {call_id}\r\nCSeq: {number} BYE\r\n"
            )
            octets = self._ok.write(copied.encode("latin-1"))
            if not layer.complete_at_once(key, source, PreparedResponse(200, octets), now):
                return None
            self._forget(call)
            self.counters.ended += 1
            return (octets,)
        if (
            method != "INVITE"
            or to_tag is not None
            or self._answer_after > 0
            or len(self._calls) >= self._limit
        ):
            return None
        sequence = int(number)
        if not layer.accept_at_once(key, (from_tag, call_id, sequence, "INVITE"), source, now):
            return None
        tag = self._entropy(8).hex()
        copied = (
            f"{via}\r\nFrom:{from_}\r\nTo:{to};tag={tag}\r\n"
            f"Call-ID: {call_id}\r\nCSeq: {number} INVITE\r\n"
        )
        lines = copied.encode("latin-1")
        call = self._calls[tag] = UasCall(key, data, tag, call_id, from_tag, sequence)
        counters, t1 = self.counters, self._timers.t1
        counters.invites += 1
        counters.answered += 1
        call.state = ANSWERED
        call.answer = octets = self._200.write(lines)
        call.interval = t1
        call.gives_up_at = now + 64 * t1
        call.due = due = now + t1
        self._deadlines.put(call, due)
        return (self._ringing.write(lines), octets) if self._ring else (octets,)

    def on_failure(self, key: Key) -> list[Effect]:
        """The layer's `TimedOut` or `TransportFailed` for a server transaction."""
        call = self._by_key.get(key)
        if call is not None and call.state is RINGING:
            self._forget(call)
        return []

    def on_deadline(self, now: float) -> list[Effect]:
        """Do what is due by `now`."""
        effects: list[Effect] = []
        while (call := self._deadlines.pop_due(now)) is not None:
            if call.state is RINGING:
                effects.append(self._accept(call, call.key, call.request, now))
            elif now >= call.gives_up_at:
                effects.append(self._give_up(call))
            else:
                call.interval = backoff(call.interval, self._timers.t2)
                self._arm(call, min(now + call.interval, call.gives_up_at))
                self.counters.repeated += 1
                effects.append(Respond(call.key, PreparedResponse(200, call.answer)))
        return effects

    def next_deadline(self) -> float | None:
        """When `on_deadline` wants to be called; None for not at all."""
        return self._deadlines.next_deadline()

    # -- Calls -------------------------------------------------------------------------------

    def _on_invite(self, key: Key, request: Request, now: float) -> list[Effect]:
        if len(self._calls) >= self._limit:
            return self._refuse(key, request, 503, (("Retry-After", str(RETRY_AFTER)),))
        tag = self._new_tag()
        call = self._calls[tag] = UasCall(
            key, request, tag, request.call_id, request.from_tag, request.cseq_number
        )
        self.counters.invites += 1
        effects: list[Effect] = []
        if self._ring:
            effects.append(Respond(key, self._ringing.fill(request, tag)))
        if self._answer_after > 0:
            self._by_key[key] = call
            self._arm(call, now + self._answer_after)
        else:
            effects.append(self._accept(call, key, request, now))
        return effects

    def _accept(self, call: UasCall, key: Key, request: Request, now: float) -> Respond:
        """The 200; until its ACK comes it is sent again (RFC 3261 section 13.3.1.4)."""
        if call.state is RINGING:
            self.counters.answered += 1
        if self._by_key:
            self._by_key.pop(key, None)
        call.key = key
        call.state = ANSWERED
        response = self._200.fill(request, call.tag)
        call.answer = response.to_bytes()
        call.interval = self._timers.t1
        call.gives_up_at = now + 64 * self._timers.t1
        self._arm(call, now + call.interval)
        return Respond(key, response)

    def _give_up(self, call: UasCall) -> SendRequest:
        """No ACK has come: the dialog stands all the same, and a BYE ends it."""
        self._forget(call)
        self.counters.unacknowledged += 1
        return SendRequest(0, Dialog.from_request(call.request, call.tag).create_request("BYE"))

    def _on_request_in_dialog(
        self, key: Key, request: Request, tag: str, now: float
    ) -> list[Effect]:
        call = self._calls.get(tag)
        if call is None or call.call_id != request.call_id or call.from_tag != request.from_tag:
            return self._refuse(key, request, 481)
        number = request.cseq_number
        if number < call.cseq:
            # Section 12.2.2: it was overtaken.
            return self._refuse(key, request, 500)
        call.cseq = number
        if request.method == "INVITE":
            if call.state is not CONFIRMED:
                # Section 14.2: one after the other.
                return self._refuse(key, request, 500, (("Retry-After", "1"),))
            return [self._accept(call, key, request, now)]
        reply = Respond(key, self._ok.fill(request, tag))
        if request.method != "BYE":
            return [reply]
        self._forget(call)
        self.counters.ended += 1
        if call.state is RINGING:
            return [reply, *self._refuse(call.key, call.request, 487, tag=tag)]
        return [reply]

    def _on_cancel(self, key: Key, request: Request, invite_key: Key | None) -> list[Effect]:
        # Section 9.2: a CANCEL is answered for itself, whatever becomes of the INVITE.
        if invite_key is None:
            return self._refuse(key, request, 481)
        call = self._by_key.get(invite_key)
        if call is None:
            return [Respond(key, self._ok.fill(request, self._new_tag()))]
        self._forget(call)
        self.counters.cancelled += 1
        reply = Respond(key, self._ok.fill(request, call.tag))
        return [reply, *self._refuse(call.key, call.request, 487, tag=call.tag)]

    def _refuse(
        self,
        key: Key,
        request: Request,
        status: int,
        headers: tuple[tuple[str, str], ...] = (),
        reason: str | None = None,
        *,
        tag: str | None = None,
    ) -> list[Effect]:
        self.counters.refused += 1
        tag = tag or self._new_tag()
        response = request.create_response(status, reason, to_tag=tag, headers=headers)
        return [Respond(key, response)]

    def _confirm(self, tag: str | None, call_id: str) -> None:
        """The ACK has come."""
        call = self._calls.get(tag or "")
        if call is not None and call.state is ANSWERED and call.call_id == call_id:
            call.state = CONFIRMED
            call.answer = b""
            self._disarm(call)
            self.counters.confirmed += 1

    def _forget(self, call: UasCall) -> None:
        del self._calls[call.tag]
        if self._by_key:
            self._by_key.pop(call.key, None)
        self._disarm(call)

    def _arm(self, call: UasCall, at: float) -> None:
        call.due = at
        self._deadlines.arm(call)

    def _disarm(self, call: UasCall) -> None:
        call.due = NEVER
        self._deadlines.disarm(call)

    def _new_tag(self) -> str:
        return self._entropy(8).hex()
