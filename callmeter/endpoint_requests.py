"""EndpointRequests: what an endpoint asks and is asked besides calls and registrations."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from callmeter.standalone_requests import StandaloneRequests, header_lines, take_success
from callmeter.subscription import Subscription

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from callmeter.endpoint import Endpoint
    from callmeter.sip.message import Response
    from callmeter.sip.transaction.effects import Hop
    from callmeter.sip.uri import SipUri
    from callmeter.sip.user_agent import UserAgentCore
    from callmeter.stack import Stack
    from callmeter.standalone_requests import IncomingMessage, IncomingRequest
    from callmeter.subscription import IncomingSubscription

__all__ = ["EndpointRequests"]


class EndpointRequests(ABC):
    """The part of an `Endpoint` that deals with OPTIONS, MESSAGE, SUBSCRIBE and other requests."""

    core: UserAgentCore
    standalone: StandaloneRequests

    @property
    @abstractmethod
    def stack(self) -> Stack:
        """The running stack."""

    @abstractmethod
    def target(self, given: str | SipUri) -> SipUri:
        """Whom a user means: a SIP URI, or a user name at the own domain."""

    @abstractmethod
    async def face_target(self, uri: SipUri, routes: tuple[SipUri, ...] | None = None) -> Hop:
        """Have a connection towards `uri`, and the Contact that is right for it."""

    @abstractmethod
    def _itself(self) -> Endpoint:
        """The endpoint."""

    async def options(
        self, target: str | SipUri, *, headers: dict[str, str] | None = None
    ) -> Response:
        """Ask what `target` can do (RFC 3261 section 11); returns its final response.

        Args:
            target: SIP URI, or a user name at the domain of the own address of record.
            headers: More header fields.

        Raises:
            CallTimedOut: No final response.
            TransportError: It cannot be reached.
        """
        uri = self.target(target)
        await self.face_target(uri)
        sent = self.core.options(uri, self.stack.now, headers=header_lines(headers))
        return await self.standalone.exchange(*sent)

    async def message(
        self,
        target: str | SipUri,
        text: str | bytes,
        *,
        content_type: str = "text/plain;charset=UTF-8",
        headers: dict[str, str] | None = None,
    ) -> Response:
        """Send a MESSAGE (RFC 3428) and wait for its 2xx; 202 means that somebody keeps it.

        Args:
            target: SIP URI, or a user name at the domain of the own address of record.
            text: What to say.
            content_type: Its type.
            headers: More header fields.

        Raises:
            ConfigurationError: A text of no type.
            RequestRejected: It was refused.
            CallTimedOut: No final response.
            TransportError: The target cannot be reached.
        """
        uri = self.target(target)
        await self.face_target(uri)
        body = text.encode() if isinstance(text, str) else text
        lines = header_lines(headers)
        now = self.stack.now
        sent = self.core.request(
            "MESSAGE", uri, now, body=body, content_type=content_type, headers=lines
        )
        return take_success(await self.standalone.exchange(*sent))

    def subscribe(
        self,
        target: str | SipUri,
        event: str = "message-summary",
        *,
        expires: int = 3600,
        headers: dict[str, str] | None = None,
    ) -> Subscription:
        """A subscription to somebody's state for the length of an `async with` block (RFC 6665).

        Args:
            target: SIP URI, or a user name at the domain of the own address of record.
            event: The event package: message-summary, dialog, presence ...
            expires: Seconds to ask for; 0 asks for the state once.
            headers: More header fields of each SUBSCRIBE, such as Accept.
        """
        return Subscription(
            self._itself(), self.target(target), event, expires, header_lines(headers)
        )

    def incoming_messages(self) -> AsyncIterator[IncomingMessage]:
        """Messages as they come, each answered with 200; before the first use they get a 405."""
        return self.standalone.messages()

    def incoming_subscriptions(self, *packages: str) -> AsyncIterator[IncomingSubscription]:
        """Who subscribes to a state of ours, of one of these event packages."""
        return self.standalone.subscriptions(packages)

    def requests(self, *methods: str) -> AsyncIterator[IncomingRequest]:
        """Requests of methods that are not served otherwise, such as PUBLISH: respond to them."""
        return self.standalone.requests(methods)
