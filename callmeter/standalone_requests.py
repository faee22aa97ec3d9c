"""StandaloneRequests: what an endpoint sends and receives besides calls and registrations."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from callmeter.errors import (
    CallTimedOut,
    ConfigurationError,
    ConnectionFailed,
    LocalProtocolError,
    RequestRejected,
)
from callmeter.inbox import Inbox
from callmeter.sip.session_events import (
    MessageReceived,
    Notified,
    RequestAnswered,
    RequestFailed,
    RequestReceived,
    SubscribeReceived,
    SubscriptionAccepted,
    SubscriptionEnded,
)
from callmeter.subscription import IncomingSubscription

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from callmeter.endpoint import Endpoint
    from callmeter.sip.headers import NameAddr
    from callmeter.sip.invite_session import InviteSession
    from callmeter.sip.message import Request, Response
    from callmeter.sip.transaction.key import Key

__all__ = [
    "IncomingMessage",
    "IncomingRequest",
    "StandaloneRequests",
    "UsageListener",
    "check_call_id",
    "header_lines",
    "request_error",
    "take_success",
]

WAITING = 1_000
"""Messages or requests that wait for the application; one more is answered with 480."""

TEMPORARILY_UNAVAILABLE = 480

OWN_FIELDS = frozenset(
    {"via", "v", "from", "f", "to", "t", "call-id", "i", "cseq", "max-forwards"}
    | {"content-length", "l"}
)
"""Of these a second one would break a request."""
MAX_CALL_ID = 255
_WORD = r"[-\w.!%*+`'~()<>:\\\"/\[\]?{}]+"
_CALL_ID = re.compile(f"{_WORD}(?:@{_WORD})?", re.ASCII)


def header_lines(headers: Mapping[str, str] | None) -> tuple[tuple[str, str], ...]:
    """The extra header fields that a user gives.

    Raises:
        ConfigurationError: A name or value that would break the message.
    """
    lines = tuple((headers or {}).items())
    for name, value in lines:
        if name.lower() in OWN_FIELDS:
            raise ConfigurationError(f"{name} is a header field that callmeter writes itself")
        if not name or any(c in f"{name}{value}" for c in "\r\n\0") or ":" in name:
            raise ConfigurationError(f"{name!r} is no header field of one line")
    return lines


def check_call_id(call_id: str, known: Collection[str]) -> None:
    """Refuse what is no Call-ID (RFC 3261 section 25.1), or that of another call.

    Raises:
        ConfigurationError: It is not of the form `word` or `word@word`, or too long.
        LocalProtocolError: A call that runs has it.
    """
    if len(call_id) > MAX_CALL_ID or _CALL_ID.fullmatch(call_id) is None:
        raise ConfigurationError(f"{call_id[:80]!r} is no Call-ID: word or word@word")
    if call_id in known:
        raise LocalProtocolError(f"another call has the Call-ID {call_id}")


def request_error(cause: str, error: str) -> Exception:
    """Why a request got no response."""
    if cause == "timeout":
        return CallTimedOut("no final response", timer="F")
    return ConnectionFailed(error or cause)


def take_success(response: Response) -> Response:
    """The response itself if it is a 2xx.

    Raises:
        RequestRejected: It is not.
    """
    if not 200 <= response.status < 300:  # noqa: PLR2004  the class of successes
        raise RequestRejected(response.status, response.reason)
    return response


class UsageListener(Protocol):
    """Who is told of a subscription of ours, or of the outcome of a REFER."""

    def on_event(self, event: SubscriptionAccepted | Notified | SubscriptionEnded) -> None:
        """One event of it."""


@dataclass(frozen=True, slots=True)
class IncomingMessage:
    """A MESSAGE that came; it was answered with 200 (RFC 3428).

    Attributes:
        sender: URI of its From.
        content_type: Type of the body.
        body: The octets.
        request: All of it.
    """

    sender: str
    content_type: str
    body: bytes
    request: Request

    @property
    def text(self) -> str:
        """The body as UTF-8."""
        return self.body.decode("utf-8", "replace")


class IncomingRequest:
    """A request of a method that was asked for by `endpoint.requests(...)`: `respond` to it.

    Attributes:
        request: The request.
        method: Its method.
        sender: URI of its From.
        answered: Whether it was responded to.
    """

    def __init__(
        self, endpoint: Endpoint, session: InviteSession | None, key: Key, request: Request
    ) -> None:
        self._endpoint = endpoint
        self._session = session
        self._key = key
        self.request = request
        self.method = request.method
        self.sender = _uri(request.from_)
        self.answered = False

    def respond(
        self, status: int, *, reason: str | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        """Send the final response.

        Args:
            status: 200 to 699.
            reason: Reason phrase, or None for the usual one.
            headers: More header fields.

        Raises:
            LocalProtocolError: It was responded to, or its time is over.
        """
        if self.answered or not self._endpoint.running:
            raise LocalProtocolError(f"the {self.method} has its response")
        lines = header_lines(headers)
        self.answered = True
        now, session = self._endpoint.stack.now, self._session
        if session is None:
            effects = self._endpoint.core.reply(
                self._key, self.request, status, now, reason=reason, headers=lines
            )
        else:
            effects = session.answer(self._key, status, now, reason=reason, headers=lines)
        self._endpoint.stack.run(self._endpoint, effects)

    async def expire(self, seconds: float) -> None:
        """Nobody else may know what it means: 480 after a while (called by the endpoint)."""
        await asyncio.sleep(seconds)
        if not self.answered and self._endpoint.running:
            self.respond(TEMPORARILY_UNAVAILABLE)


class StandaloneRequests:
    """Requests of one endpoint that are no part of a call, from either end.

    What nobody asked for is not served: MESSAGE, SUBSCRIBE and further methods get a 405 until
    somebody iterates over them. The first request for an iterator turns them on, until the
    endpoint is left.

    Args:
        endpoint: Whose they are.

    Attributes:
        usages: Who listens to which subscription.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._answers: dict[int, asyncio.Future[Response]] = {}
        self._messages: Inbox[IncomingMessage] = Inbox(WAITING)
        self._requests: Inbox[IncomingRequest] = Inbox(WAITING)
        self._subscriptions: Inbox[IncomingSubscription] = Inbox(WAITING)
        self.usages: dict[object, UsageListener] = {}

    def close(self) -> None:
        """The endpoint is left: who waits is told, and nothing is served any more."""
        for inbox in (self._messages, self._requests, self._subscriptions):
            inbox.close()
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(LocalProtocolError("the endpoint was left"))
        core = self._endpoint.core
        core.capabilities = replace(core.capabilities, message=False, further=(), events=())

    # what is sent

    async def exchange(self, token: int, effects: Iterable[object]) -> Response:
        """Send a request and wait for its final response, of any class.

        Raises:
            CallTimedOut: No final response.
            TransportError: It cannot be reached.
        """
        answer: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        self._answers[token] = answer
        try:
            self._endpoint.stack.run(self._endpoint, effects)
            return await answer
        finally:
            self._answers.pop(token, None)

    # what is served

    def messages(self) -> Inbox[IncomingMessage]:
        """Serve MESSAGE."""
        core = self._endpoint.core
        core.capabilities = replace(core.capabilities, message=True)
        return self._messages

    def requests(self, methods: tuple[str, ...]) -> Inbox[IncomingRequest]:
        """Serve further methods."""
        core = self._endpoint.core
        further = dict.fromkeys((*core.capabilities.further, *methods))
        core.capabilities = replace(core.capabilities, further=tuple(further))
        return self._requests

    def subscriptions(self, packages: tuple[str, ...]) -> Inbox[IncomingSubscription]:
        """Let others subscribe."""
        core = self._endpoint.core
        events = dict.fromkeys((*core.capabilities.events, *packages))
        core.capabilities = replace(core.capabilities, events=tuple(events))
        return self._subscriptions

    # what the core tells

    def on_event(self, event: object) -> bool:
        """One event of the core; False if it is about something else."""
        match event:
            case RequestAnswered(token, response):
                answer = self._answers.get(token)
                if answer is not None and not answer.done():
                    answer.set_result(response)
            case RequestFailed(token, _, cause, error):
                answer = self._answers.get(token)
                if answer is not None and not answer.done():
                    answer.set_exception(request_error(cause, error))
            case MessageReceived(session, key, request):
                self._on_message(session, key, request)
            case RequestReceived(session, key, request):
                self._on_request(IncomingRequest(self._endpoint, session, key, request))
            case SubscribeReceived(usage):
                self._on_subscribe(IncomingSubscription(self._endpoint, usage))
            case SubscriptionAccepted(usage) | Notified(usage) | SubscriptionEnded(usage):
                listener = self.usages.get(usage)
                if listener is not None:
                    listener.on_event(event)
            case _:
                return False
        return True

    @property
    def _patience(self) -> float:
        # The sender gives up after 64*T1; our word has to be there before.
        return 32 * self._endpoint.stack.config.timers.t1

    def _on_message(self, session: InviteSession | None, key: Key, request: Request) -> None:
        content = str(request.content_type or "text/plain")
        message = IncomingMessage(_uri(request.from_), content, request.body, request)
        status = 200 if self._messages.put(message) else TEMPORARILY_UNAVAILABLE
        IncomingRequest(self._endpoint, session, key, request).respond(status)

    def _on_request(self, incoming: IncomingRequest) -> None:
        if self._requests.put(incoming):
            self._endpoint.stack.start_task(incoming.expire(self._patience))
        else:
            incoming.respond(TEMPORARILY_UNAVAILABLE)

    def _on_subscribe(self, incoming: IncomingSubscription) -> None:
        if self._subscriptions.put(incoming):
            self._endpoint.stack.start_task(incoming.expire(self._patience))
        else:
            incoming.reject(TEMPORARILY_UNAVAILABLE)


def _uri(address: NameAddr) -> str:
    return str(address.uri)
