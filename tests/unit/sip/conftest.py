"""A user agent core with a scripted peer, without a network."""

from __future__ import annotations

from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING

import pytest

from callmeter.config import Credentials, TimerConfig
from callmeter.sip.headers import NameAddr
from callmeter.sip.identity import Identity
from callmeter.sip.message import Request, Response
from callmeter.sip.session_events import Effect, IncomingInvite, Respond, SendRequest
from callmeter.sip.uri import SipUri
from callmeter.sip.user_agent import UserAgentCore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from callmeter.sip.client_session import ClientInviteSession
    from callmeter.sip.server_session import ServerInviteSession
    from callmeter.sip.usage import Agent

OFFER = b"v=0\r\n"
BOB = SipUri("sip", "example.net", user="bob")


class Rig:
    """One core, and a peer called Bob that says what the test tells it to."""

    def __init__(self, identity: Identity, entropy: Callable[[int], bytes]) -> None:
        self.core = UserAgentCore(identity, TimerConfig(), entropy)
        self.agent: Agent = self.core._agent
        self.now = 0.0
        self._keys = count(1)
        self.key = ("s", 0)

    def trust(self, *hosts: str, realm: str | None = None) -> None:
        self.core.identity = replace(
            self.core.identity,
            credentials=Credentials("alice", "s3cret", realm),
            trusted_realm_hosts=frozenset(hosts),
        )

    def request(
        self,
        method: str = "INVITE",
        *,
        to_tag: str | None = None,
        from_tag: str | None = "bobs",
        call_id: str = "call-1",
        cseq: int = 1,
        uri: str = "sip:alice@192.0.2.1:5060",
        headers: Iterable[tuple[str, str]] = (),
        contact: str | None = "<sip:bob@192.0.2.2:5060>",
        body: bytes = OFFER,
    ) -> Request:
        to = "<sip:alice@example.com>" + (f";tag={to_tag}" if to_tag else "")
        sender = "<sip:bob@example.net>" + (f";tag={from_tag}" if from_tag else "")
        request = Request(
            method,
            uri,
            [
                ("Via", f"SIP/2.0/UDP 192.0.2.2:5060;branch=z9hG4bK{next(self._keys)}"),
                ("Max-Forwards", "70"),
                ("From", sender),
                ("To", to),
                ("Call-ID", call_id),
                ("CSeq", f"{cseq} {method}"),
                *headers,
            ],
        )
        if contact is not None:
            request.headers.add("Contact", contact)
        if body and method in {"INVITE", "ACK"}:
            if "Content-Type" not in request.headers:
                request.headers.add("Content-Type", "application/sdp")
            request.body = body
        return request

    def deliver(self, request: Request, **how: object) -> list[Effect]:
        self.key = ("s", next(self._keys))
        if request.method == "ACK":
            return self.core.on_ack(request, self.now)
        return self.core.on_request(self.key, request, self.now, **how)

    def status(self, request: Request, **how: object) -> int:
        """The status of the only answer to a request."""
        (order,) = self.deliver(request, **how)
        assert isinstance(order, Respond)
        assert order.key == self.key
        return order.response.status

    def incoming(self, **how: object) -> ServerInviteSession:
        (event,) = self.deliver(self.request(**how))
        assert isinstance(event, IncomingInvite)
        return event.session

    def within(self, session: object, method: str, *, cseq: int = 2, **how: object) -> Request:
        """A request of the peer within the dialog of a session that the peer began."""
        return self.request(method, to_tag=session.local_tag, cseq=cseq, **how)

    def accepted(self, **how: object) -> ServerInviteSession:
        """A session that the peer began, acknowledged."""
        session = self.incoming(**how)
        session.accept(OFFER, self.now)
        self.deliver(self.within(session, "ACK", cseq=1))
        return session

    def call(self, *, body: bytes = OFFER) -> tuple[ClientInviteSession, SendRequest]:
        session, (order,) = self.core.invite(BOB, self.now, body=body)
        assert isinstance(order, SendRequest)
        return session, order

    def answered(self, *, body: bytes = OFFER) -> ClientInviteSession:
        """A session that we began, acknowledged if `body` was an offer."""
        session, order = self.call(body=body)
        self.answer(order, 200)
        return session

    def back(self, session: ClientInviteSession, method: str, **how: object) -> Request:
        """A request of the peer within the dialog of a session that we began."""
        return self.request(method, to_tag=session.local_tag, call_id=session.call_id, **how)

    def response(
        self,
        request: Request,
        status: int,
        *,
        tag: str | None = "bobs",
        headers: Iterable[tuple[str, str]] = (),
        contact: str | None = "<sip:bob@192.0.2.2:5060>",
        reason: str | None = None,
    ) -> Response:
        response = request.create_response(status, reason, to_tag=tag, headers=headers)
        if contact is not None:
            response.headers.add("Contact", contact)
        return response

    def answer(self, order: SendRequest, status: int, **how: object) -> list[Effect]:
        """The peer answers a request of ours."""
        response = self.response(order.request, status, **how)
        return self.core.on_response(order.token, response, self.now)

    def advance(self, seconds: float) -> list[Effect]:
        """Let time pass, deadline by deadline."""
        until = self.now + seconds
        effects: list[Effect] = []
        while (when := self.core.next_deadline()) is not None and when <= until:
            self.now = when
            effects += self.core.on_deadline(when)
        self.now = until
        return effects


@pytest.fixture
def entropy() -> Callable[[int], bytes]:
    """Octets that never repeat."""
    numbers = count(1)
    return lambda octets: (next(numbers) % 256**octets).to_bytes(octets, "big")


@pytest.fixture
def identity() -> Identity:
    return Identity(
        aor=NameAddr(SipUri("sip", "example.com", user="alice"), "Alice"),
        contact=SipUri("sip", "192.0.2.1", 5060, "alice-7f"),
    )


@pytest.fixture
def rig(identity: Identity, entropy: Callable[[int], bytes]) -> Rig:
    return Rig(identity, entropy)
