"""What a user agent core asks its surroundings to do, and what it tells them.

Effects are orders: a message to send, in the order of the list. Events are news; their first
field is what they are about. Both come in one list, so their order among each other is kept.

What the application has to do about an event, by the extension that `Capabilities` switches on:

```text
reliable       Provisional with session.awaits_prack(tag)  session.prack(answer, now, tag=...)
               PrackReceived with a key                    session.answer_prack(answer, now)
update         UpdateReceived with a key                   session.accept_update or reject_update
session_timer  RefreshDue                                  session.reinvite(present offer, now)
refer          ReferReceived                               usage.accept or reject, usage.report
               IncomingInvite with session.replaces        accept it: the other call is ended
message        MessageReceived                             session.answer, or core.reply
events         SubscribeReceived                           usage.accept or reject, usage.notify
further        RequestReceived                             session.answer, or core.reply
```

Descriptions: an answer comes once, in the first message that holds one. That may be a reliable
`Provisional`, `PrackReceived` or `PrackAnswered` in place of `Answered` or `Established`; the 2xx
has no body then, and a body that is given to `accept` is left out. `reinvite(b"", now)` and an
INVITE without a body ask the peer for an offer: it is in the 2xx, and `session.ack` answers it,
or in a reliable `Provisional`, and `session.prack` does.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from callmeter.sip.dialog import Dialog
    from callmeter.sip.extension_headers import SubscriptionState
    from callmeter.sip.invite_session import InviteSession
    from callmeter.sip.message import Request, Response
    from callmeter.sip.notifier import Notifier
    from callmeter.sip.refer import Referral
    from callmeter.sip.register import RegisterUsage
    from callmeter.sip.server_session import ServerInviteSession
    from callmeter.sip.subscriber import Subscriber
    from callmeter.sip.transaction.key import Key
    from callmeter.sip.uri import SipUri

__all__ = [
    "Answered",
    "CancelRequest",
    "Cancelled",
    "Effect",
    "Ended",
    "Established",
    "Event",
    "Failed",
    "IncomingInvite",
    "InfoReceived",
    "MessageReceived",
    "Notified",
    "Order",
    "PrackAnswered",
    "PrackReceived",
    "Provisional",
    "Redirected",
    "ReferReceived",
    "RefreshDue",
    "Registered",
    "RegistrationFailed",
    "ReinviteAnswered",
    "ReinviteCancelled",
    "ReinviteEstablished",
    "ReinviteFailed",
    "ReinviteReceived",
    "RequestAnswered",
    "RequestFailed",
    "RequestReceived",
    "Respond",
    "SendAck",
    "SendRequest",
    "SessionExpired",
    "SessionRefreshed",
    "SubscribeReceived",
    "SubscriptionAccepted",
    "SubscriptionEnded",
    "Unregistered",
    "UpdateAnswered",
    "UpdateFailed",
    "UpdateReceived",
]


@dataclass(slots=True, unsafe_hash=True)
class SendRequest:
    """Start a client transaction for `request` and report back by `token`.

    The next hop is the top Route, or the Request-URI without one. `Via` is not there yet.
    """

    token: int
    request: Request


@dataclass(slots=True, unsafe_hash=True)
class SendAck:
    """Send the ACK of a 2xx, outside of any transaction (RFC 3261 section 13.2.2.4)."""

    request: Request


@dataclass(frozen=True, slots=True)
class CancelRequest:
    """Send a CANCEL for the INVITE that was sent under `token` (section 9.1).

    Nothing, if its transaction has ended. `headers` are further lines of it, such as Reason.
    """

    token: int
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(slots=True, unsafe_hash=True)
class Respond:
    """Answer in the server transaction `key`; a 2xx to an INVITE comes here once per sending."""

    key: Key
    response: Response


@dataclass(frozen=True, slots=True)
class IncomingInvite:
    """Somebody calls; nothing but what the transaction layer says was answered yet.

    With `session.replaces` the call is to take the place of another one of ours, which is ended
    when this one is accepted (RFC 3891).
    """

    session: ServerInviteSession


@dataclass(frozen=True, slots=True)
class Provisional:
    """A 1xx to our INVITE or re-INVITE; a body is early media (RFC 3960) or an offer.

    `dialog` is the early dialog it came in, None for a 100 and one without a tag: each fork
    that rings has its own. A `reliable` one is acknowledged by PRACK, unless the session says
    `awaits_prack(tag)`: then its body is an offer, and `session.prack(answer, now, tag=...)`
    has to follow; or the INVITE was sent with `manual_prack`.
    """

    session: InviteSession
    response: Response
    dialog: Dialog | None = None
    reliable: bool = False


@dataclass(frozen=True, slots=True)
class Redirected:
    """A 3xx sent our INVITE elsewhere, or a target of one refused: `target` is tried now."""

    session: InviteSession
    target: SipUri


@dataclass(frozen=True, slots=True)
class Answered:
    """The first 2xx to our INVITE. The ACK is sent, unless the 2xx holds the offer."""

    session: InviteSession
    response: Response


@dataclass(frozen=True, slots=True)
class Established:
    """The ACK to our 2xx came; its body is an answer if our 2xx held the offer.

    `ack` is None where a later request of the peer showed that it has our 2xx.
    """

    session: InviteSession
    ack: Request | None


@dataclass(frozen=True, slots=True)
class Failed:
    """Our INVITE came to nothing; the session is over.

    `cause` is `"rejected"`, `"timeout"`, `"transport"`, `"cancelled"` or `"authentication"`.
    A cancelled call may hold a 2xx as its `response`: it crossed our CANCEL, and BYE has ended
    what it began.
    """

    session: InviteSession
    status: int
    reason: str
    response: Response | None
    cause: str


@dataclass(frozen=True, slots=True)
class Cancelled:
    """The caller gave up, or its Expires was over, before we answered.

    487 is sent and the session is over.
    """

    session: InviteSession


@dataclass(frozen=True, slots=True)
class Ended:
    """The session is over.

    `cause` is `"bye-sent"`, `"bye-received"`, `"bye-timeout"`, `"rejected"` (by us, as callee),
    `"ack-timeout"`, `"prack-timeout"`, `"timeout"` (a request in the dialog stayed unanswered),
    `"dialog-lost"` (the peer knows the dialog no more), `"session-expired"` or `"transport"`.
    """

    session: InviteSession
    cause: str


@dataclass(frozen=True, slots=True)
class ReinviteReceived:
    """The peer wants to change the session: `accept_reinvite` or `reject_reinvite` it."""

    session: InviteSession
    request: Request


@dataclass(frozen=True, slots=True)
class ReinviteEstablished:
    """The ACK to our 2xx to a re-INVITE came, as with `Established`."""

    session: InviteSession
    ack: Request | None


@dataclass(frozen=True, slots=True)
class ReinviteCancelled:
    """The peer withdrew its re-INVITE; the session goes on unchanged."""

    session: InviteSession


@dataclass(frozen=True, slots=True)
class ReinviteAnswered:
    """A 2xx to our re-INVITE; acknowledged, unless it holds the offer."""

    session: InviteSession
    response: Response


@dataclass(frozen=True, slots=True)
class ReinviteFailed:
    """Our re-INVITE was refused; the session goes on unchanged (section 14.1)."""

    session: InviteSession
    status: int
    reason: str
    response: Response | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class PrackReceived:
    """The caller has our reliable provisional response (RFC 3262 section 3).

    Its body is the answer to an offer in that response; or an offer of its own, and then `key`
    is not None and `session.answer_prack` has to follow. All others are answered already.
    """

    session: InviteSession
    key: Key | None
    request: Request


@dataclass(frozen=True, slots=True)
class PrackAnswered:
    """The final response, of any class, to a PRACK of ours that held an offer."""

    session: InviteSession
    response: Response


@dataclass(frozen=True, slots=True)
class UpdateReceived:
    """An UPDATE (RFC 3311), in an early or a confirmed dialog.

    With an offer, `key` is not None and `session.accept_update` or `session.reject_update` has
    to follow. Without one it is answered already: the peer's Contact has moved, or it refreshed
    the session.
    """

    session: InviteSession
    key: Key | None
    request: Request


@dataclass(frozen=True, slots=True)
class UpdateAnswered:
    """A 2xx to our UPDATE; its body is the answer to our offer."""

    session: InviteSession
    response: Response


@dataclass(frozen=True, slots=True)
class UpdateFailed:
    """Our UPDATE was refused or lost; the session goes on unchanged.

    A 491 does not come here before it came ten times: until then the UPDATE is sent again.
    """

    session: InviteSession
    status: int
    reason: str
    response: Response | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class RefreshDue:
    """Half of the session interval is over, and the peer serves no UPDATE (RFC 4028 10).

    `session.reinvite` with the present description, unchanged, refreshes the session. Where the
    peer serves UPDATE, the session refreshes itself.
    """

    session: InviteSession


@dataclass(frozen=True, slots=True)
class SessionRefreshed:
    """A 2xx to a re-INVITE or UPDATE began a new session interval."""

    session: InviteSession
    by_peer: bool


@dataclass(frozen=True, slots=True)
class SessionExpired:
    """Nobody refreshed the session in time.

    `Ended` with the cause "session-expired" follows at once, unless the policy is soft.
    """

    session: InviteSession


@dataclass(frozen=True, slots=True)
class InfoReceived:
    """An INFO (RFC 6086): answer it with `session.answer(key, ...)`."""

    session: InviteSession
    key: Key
    request: Request


@dataclass(frozen=True, slots=True)
class MessageReceived:
    """A MESSAGE (RFC 3428): `session.answer(key, ...)` it, or `core.reply` without a session."""

    session: InviteSession | None
    key: Key
    request: Request


@dataclass(frozen=True, slots=True)
class RequestReceived:
    """A request of one of the further methods: answer it as a MESSAGE."""

    session: InviteSession | None
    key: Key
    request: Request


@dataclass(frozen=True, slots=True)
class ReferReceived:
    """A REFER: `accept` it, call its `target` with its `invite_headers`, and `report`.

    Or `reject` it. The outcome may be reported after the session it came in has ended.
    """

    usage: Referral


@dataclass(frozen=True, slots=True)
class SubscribeReceived:
    """Somebody subscribes to one of our event packages: `accept` or `reject` it."""

    usage: Notifier


@dataclass(frozen=True, slots=True)
class SubscriptionAccepted:
    """A 2xx to our SUBSCRIBE, first or again, or to our REFER; `expires` seconds were granted."""

    usage: Subscriber
    expires: int
    response: Response


@dataclass(frozen=True, slots=True)
class Notified:
    """A NOTIFY; its body is the state, or for a REFER the status of the referred call.

    The latter is in `usage.progress`, too.
    """

    usage: Subscriber
    request: Request
    state: SubscriptionState


@dataclass(frozen=True, slots=True)
class SubscriptionEnded:
    """A subscription, ours or that of somebody else, is over.

    `cause` is `"terminated"` (by the notifier: `reason` and `retry_after` are its words),
    `"unsubscribed"`, `"expired"`, `"rejected"` (with a `status`), `"timeout"`, `"transport"`,
    `"no-notify"` (accepted, and never told anything) or `"no-subscription"` (a REFER whose
    outcome is not told, RFC 4488).
    """

    usage: Subscriber | Notifier
    cause: str
    status: int
    reason: str | None
    retry_after: int | None


@dataclass(frozen=True, slots=True)
class Registered:
    """The registrar granted `expires` seconds, first or again."""

    usage: RegisterUsage
    expires: int
    response: Response


@dataclass(frozen=True, slots=True)
class Unregistered:
    """The registrar removed the binding."""

    usage: RegisterUsage


@dataclass(frozen=True, slots=True)
class RegistrationFailed:
    """A REGISTER failed; `usage.retry_at` says when it will be tried again, if at all.

    `cause` is `"rejected"`, `"timeout"`, `"transport"` or `"authentication"`.
    """

    usage: RegisterUsage
    status: int
    reason: str
    cause: str


@dataclass(frozen=True, slots=True)
class RequestAnswered:
    """The final response to an INFO, an OPTIONS or another plain request, of any class."""

    token: int
    response: Response


@dataclass(frozen=True, slots=True)
class RequestFailed:
    """No response to such a request: `cause` is `"timeout"` or `"transport"`.

    `error` is what the network said, or empty.
    """

    token: int
    status: int
    cause: str
    error: str = ""


Order = SendRequest | SendAck | CancelRequest | Respond

Event = (
    IncomingInvite
    | Provisional
    | Redirected
    | Answered
    | Established
    | Failed
    | Cancelled
    | Ended
    | ReinviteReceived
    | ReinviteEstablished
    | ReinviteCancelled
    | ReinviteAnswered
    | ReinviteFailed
    | PrackReceived
    | PrackAnswered
    | UpdateReceived
    | UpdateAnswered
    | UpdateFailed
    | RefreshDue
    | SessionRefreshed
    | SessionExpired
    | InfoReceived
    | MessageReceived
    | RequestReceived
    | ReferReceived
    | SubscribeReceived
    | SubscriptionAccepted
    | Notified
    | SubscriptionEnded
    | Registered
    | Unregistered
    | RegistrationFailed
    | RequestAnswered
    | RequestFailed
)

Effect = Order | Event
