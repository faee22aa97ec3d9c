"""What the usages of one user agent share: its identity, its requests and its deadlines.

The name is RFC 5057's: an invite usage, a registration. Each has named timers of its own and
keeps one place in the heap of deadlines.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias

from callmeter.errors import ConfigurationError
from callmeter.sip.client_requests import ClientRequests
from callmeter.sip.dialog import MAX_FORWARDS, routed_request, tagged
from callmeter.sip.headers import CSeq, NameAddr
from callmeter.sip.message import Headers, Request, Response
from callmeter.sip.timers import NEVER
from callmeter.sip.transaction.timer_wheel import TimerWheel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from callmeter.config import TimerConfig
    from callmeter.sip.capabilities import Capabilities
    from callmeter.sip.identity import Identity
    from callmeter.sip.invite_session import InviteSession
    from callmeter.sip.notifier import Notifier
    from callmeter.sip.session_events import Effect
    from callmeter.sip.subscriber import Subscriber
    from callmeter.sip.transaction.key import Key
    from callmeter.sip.uri import SipUri

__all__ = ["Agent", "HeaderLines", "TimerName", "Usage", "check_content"]

HeaderLines: TypeAlias = "Iterable[tuple[str, str]]"

TimerName = str | int
"""A timer of a usage; an integer is the token of an INVITE whose late 2xx are awaited."""


class Agent:
    """The part of a user agent that its usages need.

    Attributes:
        timers: RFC 3261 timer values.
        entropy: `entropy(n)` gives n octets nobody can guess.
        capabilities: Methods and extensions that are served.
        requests: Requests under way.
        deadlines: When a usage wants to be called.
        sessions: Live invite sessions, by Call-ID and local tag.
        served: Sessions by the INVITE server transaction that waits for their answer or
            their answer's ACK.
        subscriptions: Live ones, ours and those of others, by Call-ID and local tag.
    """

    __slots__ = (
        "capabilities",
        "deadlines",
        "entropy",
        "requests",
        "served",
        "sessions",
        "subscriptions",
        "timers",
    )

    def __init__(
        self,
        identity: Identity,
        timers: TimerConfig,
        entropy: Callable[[int], bytes],
        capabilities: Capabilities,
    ) -> None:
        self.timers = timers
        self.entropy = entropy
        self.capabilities = capabilities
        self.requests = ClientRequests(identity, entropy)
        self.deadlines: TimerWheel[Usage] = TimerWheel()
        self.sessions: dict[tuple[str, str], InviteSession] = {}
        self.served: dict[Key, InviteSession] = {}
        self.subscriptions: dict[tuple[str, str], list[Subscriber | Notifier]] = {}

    @property
    def identity(self) -> Identity:
        """Who we are."""
        return self.requests.identity

    @property
    def patience(self) -> float:
        """64*T1: for how long RFC 3261 waits for anything."""
        return 64 * self.timers.t1

    def add_subscription(self, usage: Subscriber | Notifier) -> None:
        """Note a subscription, so that its messages find it."""
        self.subscriptions.setdefault((usage.call_id, usage.local_tag), []).append(usage)

    def remove_subscription(self, usage: Subscriber | Notifier) -> None:
        """Forget one."""
        name = (usage.call_id, usage.local_tag)
        self.subscriptions[name].remove(usage)
        if not self.subscriptions[name]:
            del self.subscriptions[name]

    def new_tag(self) -> str:
        """A tag with 64 random bits (RFC 3261 section 19.3)."""
        return self.entropy(8).hex()

    def new_call_id(self) -> str:
        """A Call-ID with 128 random bits, and nothing that tells who we are."""
        return self.entropy(16).hex()

    def uniform(self, low: float, high: float) -> float:
        """A random number between `low` and `high`."""
        return low + (high - low) * int.from_bytes(self.entropy(4), "big") / 2**32

    def create_request(
        self, method: str, target: SipUri, to: NameAddr, cseq: CSeq, call_id: str, tag: str
    ) -> Request:
        """A request outside a dialog (section 8.1.1)."""
        headers = Headers()
        headers.add("Max-Forwards", MAX_FORWARDS)
        headers.add("From", tagged(self.identity.aor, tag))
        headers.add("To", to)
        headers.add("Call-ID", call_id)
        headers.add("CSeq", cseq)
        # Section 19.1.5: what a URI carries for the request to be made is not sent in it.
        uri = replace(target, headers=()).without_params("method")
        identity = self.identity
        known = identity.routes if method == "REGISTER" else identity.route_set
        routes = [NameAddr(route) for route in known]
        return routed_request(method, uri, routes, headers)

    def complete(
        self,
        message: Request | Response,
        headers: HeaderLines = (),
        body: bytes = b"",
        content_type: str = "",
        *,
        contact: bool = False,
    ) -> None:
        """Add what does not depend on the dialog: own name, Contact, extra lines, body.

        Raises:
            ConfigurationError: A body of no type.
        """
        name = self.identity.user_agent
        if name:
            message.headers.add("User-Agent" if message.is_request else "Server", name)
        if contact:
            message.headers.add("Contact", NameAddr(self.identity.reached_at))
            message.headers.extend(self.capabilities.contact_lines)
        for line in headers:
            message.headers.add(*line)
        if body:
            if "Content-Type" not in message.headers:
                check_content(body, content_type)
                message.headers.add("Content-Type", content_type)
            message.body = body

    def respond(
        self,
        request: Request,
        status: int,
        *,
        tag: str | None = None,
        reason: str | None = None,
        headers: HeaderLines = (),
        body: bytes = b"",
        content_type: str = "",
        contact: bool = False,
    ) -> Response:
        """A response of ours (section 8.2.6); a new tag unless one is given."""
        response = request.create_response(status, reason, to_tag=tag or self.new_tag())
        self.complete(response, headers, body, content_type, contact=contact)
        return response


def check_content(body: bytes, content_type: str, headers: HeaderLines = ()) -> None:
    """Refuse a body that nobody could read (section 20.15: it must have a Content-Type).

    Raises:
        ConfigurationError: It has no type.
    """
    if body and not content_type and not any(name.lower() == "content-type" for name, _ in headers):
        raise ConfigurationError(f"a body of {len(body)} octets has no content type")


class Usage(ABC):
    """A session or a registration: named timers, and one deadline in the agent's heap.

    Attributes:
        call_id: The Call-ID of its messages.
        local_tag: Our tag in them.
    """

    __slots__ = ("_agent", "_timers", "call_id", "local_tag", "slot")

    def __init__(self, agent: Agent, call_id: str, local_tag: str) -> None:
        self._agent = agent
        self._timers: dict[TimerName, float] = {}
        self.slot: int | None = None
        self.call_id = call_id
        self.local_tag = local_tag

    def next_deadline(self) -> float:
        """The earliest of its timers, `NEVER` without one."""
        return min(self._timers.values(), default=NEVER)

    def on_deadline(self, now: float) -> list[Effect]:
        """Fire each timer that is due, the earliest first."""
        effects: list[Effect] = []
        while self._timers:
            name = min(self._timers, key=self._timers.__getitem__)
            if self._timers[name] > now:
                break
            del self._timers[name]
            effects += self._on_timer(name, now)
        self._agent.deadlines.arm(self)
        return effects

    @abstractmethod
    def _on_timer(self, name: TimerName, now: float) -> list[Effect]:
        """This timer fired and is gone."""

    def _arm(self, name: TimerName, when: float) -> None:
        self._timers[name] = when
        self._agent.deadlines.arm(self)

    def _disarm(self, *names: TimerName) -> None:
        for name in names:
            self._timers.pop(name, None)
        if not self._timers:
            self._agent.deadlines.disarm(self)
