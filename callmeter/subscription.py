"""Subscriptions to the state of somebody else, and of others to ours (RFC 6665)."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

from callmeter.async_block import AsyncBlock
from callmeter.errors import CallTimedOut, LocalProtocolError, RequestRejected
from callmeter.inbox import Inbox
from callmeter.sip.session_events import Notified, SubscriptionAccepted, SubscriptionEnded
from callmeter.sip.subscriber import SubscriptionPhase

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from types import TracebackType

    from callmeter.endpoint import Endpoint
    from callmeter.sip.message import Request
    from callmeter.sip.notifier import Notifier
    from callmeter.sip.subscriber import Subscriber
    from callmeter.sip.uri import SipUri

__all__ = ["IncomingSubscription", "Notification", "Subscription"]

WAITING = 256
"""Notifications that wait for their reader; the state that is told later is lost."""


@dataclass(frozen=True, slots=True)
class Notification:
    """What a NOTIFY says; the body is not looked into.

    Attributes:
        body: The state, as octets.
        content_type: Its type; empty without a body.
        state: `"active"`, `"pending"` or `"terminated"`.
        expires: Seconds the subscription has left, or None.
        reason: Why it is terminated, or None.
        request: The NOTIFY.
    """

    body: bytes
    content_type: str
    state: str
    expires: int | None
    reason: str | None
    request: Request

    @property
    def text(self) -> str:
        """The body as UTF-8."""
        return self.body.decode("utf-8", "replace")


class Subscription(AsyncBlock):
    """A subscription of ours: `async with endpoint.subscribe("sip:alice@...") as subscription`.

    It is made on entry, refreshed at 80 to 90 % of the granted time while the block runs, and
    ended on exit. `async for notification in subscription` gives what is told, until it is over.

    Attributes:
        target: Whose state.
        event: The event package.
        expires: Seconds that were granted last.
        end: Why it is over: `"terminated"` (by the notifier), `"unsubscribed"`, `"expired"`,
            `"rejected"`, `"timeout"`, `"transport"` or `"no-notify"`; None while it runs.

    Raises:
        RequestRejected: On entry, when it is refused.
        CallTimedOut: On entry, when nobody answers.
        TransportError: On entry, when the target cannot be reached.
        LocalProtocolError: When it is read and was not entered.
    """

    usage: ClassVar[str] = "write `async with endpoint.subscribe(...) as subscription`"

    def __init__(
        self,
        endpoint: Endpoint,
        target: SipUri,
        event: str,
        expires: int,
        headers: Iterable[tuple[str, str]],
    ) -> None:
        self.target = str(target)
        self.event = event
        self.expires = 0
        self.end: str | None = None
        self._endpoint = endpoint
        self._uri = target
        self._asked = expires
        self._headers = tuple(headers)
        self._usage: Subscriber | None = None
        self._notifications: Inbox[Notification] = Inbox(WAITING)
        self._begun = asyncio.Event()
        self._over = asyncio.Event()
        self._refusal: Exception | None = None

    async def __aenter__(self) -> Self:
        self._entered = True
        if self._usage is not None:
            raise LocalProtocolError("this subscription was entered already: subscribe anew")
        endpoint = self._endpoint
        await endpoint.face_target(self._uri)
        usage, effects = endpoint.core.subscribe(
            self._uri, self.event, self._asked, endpoint.stack.now, headers=self._headers
        )
        self._usage = usage
        endpoint.standalone.usages[usage] = self
        try:
            endpoint.stack.run(endpoint, effects)
            await self._begun.wait()
        except BaseException:
            # Cancelled: the notifier may have agreed by now.
            endpoint.stack.run(endpoint, usage.unsubscribe(endpoint.stack.now))
            self._forget(usage)
            raise
        if self._refusal is not None:
            self._forget(usage)
            raise self._refusal
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        usage, endpoint = self._usage, self._endpoint
        if usage is None:
            return
        try:
            endpoint.face_home()
            endpoint.stack.run(endpoint, usage.unsubscribe(endpoint.stack.now))
            await self._over.wait()
        finally:
            self._forget(usage)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Notification:
        if not self._entered:
            self._entered = True
            raise LocalProtocolError(f"a subscription is read within its block: {self.usage}")
        return await self._notifications.__anext__()

    async def refresh(self) -> None:
        """Ask for the whole time, and so for the state, again now.

        Raises:
            LocalProtocolError: The subscription is not entered, or over.
        """
        if self._usage is None:
            raise LocalProtocolError("enter the subscription first: async with subscribe(...)")
        self._endpoint.face_home()
        self._endpoint.stack.run(self._endpoint, self._usage.refresh(self._endpoint.stack.now))

    def _forget(self, usage: Subscriber) -> None:
        self._endpoint.standalone.usages.pop(usage, None)
        self._notifications.close()
        self._endpoint.stack.forget_dialog(usage.call_id)

    def on_event(self, event: SubscriptionAccepted | Notified | SubscriptionEnded) -> None:
        """One event of the subscription."""
        match event:
            case SubscriptionAccepted(_, expires, _):
                self.expires = expires
                self._begun.set()
            case Notified(_, request, state):
                content = str(request.content_type or "") if request.body else ""
                self._notifications.put(
                    Notification(
                        request.body, content, state.state, state.expires, state.reason, request
                    )
                )
                self._begun.set()
            case SubscriptionEnded(_, cause, status, reason, _):
                self._on_ended(cause, status, reason)

    def _on_ended(self, cause: str, status: int, reason: str | None) -> None:
        self.end = cause
        self.expires = 0
        if not self._begun.is_set():
            match cause:
                case "rejected":
                    self._refusal = RequestRejected(status, reason or "")
                case "transport":
                    self._refusal = self._endpoint.network_error(reason or "no way to the notifier")
                case _:
                    self._refusal = CallTimedOut("no answer to the SUBSCRIBE", timer="F")
        self._notifications.close()
        self._begun.set()
        self._over.set()


class IncomingSubscription:
    """Somebody subscribes to a state of ours: `accept` or `reject` it, then `notify`.

    Attributes:
        subscriber: URI of the From.
        event: The event package.
        request: The SUBSCRIBE.
        end: Why it is over, None while it runs.
    """

    def __init__(self, endpoint: Endpoint, usage: Notifier) -> None:
        self._endpoint = endpoint
        self._usage = usage
        self._over = asyncio.Event()
        self.event = usage.event.package
        self.request = usage.request
        self.subscriber = str(usage.request.from_.uri)
        self.end: str | None = None
        self._follows = usage.request.to.tag is None
        endpoint.standalone.usages[usage] = self
        if self._follows:
            endpoint.stack.follow_dialog(usage.request)

    @property
    def over(self) -> bool:
        """Whether it has ended, or was refused."""
        return self._over.is_set()

    def accept(
        self,
        body: bytes = b"",
        content_type: str = "",
        *,
        expires: int | None = None,
        pending: bool = False,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Agree, and tell the present state at once (RFC 6665 section 4.2.1.2).

        Args:
            body: The state.
            content_type: Its type.
            expires: Seconds to grant, at most what was asked for; None for all of it.
            pending: The subscription waits for somebody's consent; `notify` makes it active.
            headers: More header fields of the 200.

        Raises:
            ConfigurationError: A body of no type.
            LocalProtocolError: It was answered already.
        """
        self._run(
            self._usage.accept(
                self._endpoint.stack.now,
                expires=expires,
                pending=pending,
                body=body,
                content_type=content_type,
                headers=tuple((headers or {}).items()),
            )
        )

    def reject(self, status: int = 603, reason: str | None = None) -> None:
        """Refuse.

        Raises:
            LocalProtocolError: It was answered already.
        """
        self._run(self._usage.reject(status, self._endpoint.stack.now, reason=reason))

    def notify(self, body: bytes, content_type: str) -> None:
        """Tell the new state.

        Raises:
            ConfigurationError: A body of no type.
            LocalProtocolError: It was not accepted, or is over.
        """
        self._run(self._usage.notify(body, content_type, self._endpoint.stack.now))

    def terminate(
        self, *, reason: str = "noresource", body: bytes = b"", content_type: str = ""
    ) -> None:
        """End it by a last NOTIFY.

        Raises:
            ConfigurationError: A body of no type.
            LocalProtocolError: It was not accepted, or is over.
        """
        self._run(
            self._usage.terminate(
                self._endpoint.stack.now, reason=reason, body=body, content_type=content_type
            )
        )

    async def ended(self) -> None:
        """Wait until it is over, whoever ends it."""
        await self._over.wait()

    async def expire(self, seconds: float) -> None:
        """Nobody took it: 480 after a while (called by the endpoint)."""
        await asyncio.sleep(seconds)
        if self._usage.phase is SubscriptionPhase.SUBSCRIBING and self._endpoint.running:
            self.reject(480)

    def on_event(self, event: SubscriptionAccepted | Notified | SubscriptionEnded) -> None:
        """One event of the subscription."""
        if isinstance(event, SubscriptionEnded):
            self.end = event.cause
            self._endpoint.standalone.usages.pop(self._usage, None)
            if self._follows:
                self._endpoint.stack.forget_dialog(self._usage.call_id)
            self._over.set()

    def _run(self, effects: Iterable[object]) -> None:
        self._endpoint.stack.run(self._endpoint, effects)
