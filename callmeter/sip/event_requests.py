"""SUBSCRIBE, NOTIFY and REFER: which subscription they are for (RFC 6665, RFC 3515)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from callmeter.sip.notifier import Notifier
from callmeter.sip.refer import Referral, ReferSubscriber, refer_to_of
from callmeter.sip.session_events import Respond, SubscribeReceived
from callmeter.sip.subscriber import Subscriber, event_of, is_for

if TYPE_CHECKING:
    from callmeter.sip.extension_headers import EventType
    from callmeter.sip.invite_session import InviteSession
    from callmeter.sip.message import Request
    from callmeter.sip.session_events import Effect
    from callmeter.sip.transaction.key import Key
    from callmeter.sip.usage import Agent, HeaderLines

__all__ = ["EventRequests"]


class EventRequests:
    """Finds the subscription of a request, or lets a new one begin.

    Args:
        agent: What it shares with the usages.
        limit: Live subscriptions; a request for more gets a 503.
    """

    __slots__ = ("_agent", "_limit")

    def __init__(self, agent: Agent, limit: int) -> None:
        self._agent = agent
        self._limit = limit

    def on_request(
        self, key: Key, request: Request, session: InviteSession | None, now: float
    ) -> list[Effect]:
        """A SUBSCRIBE, NOTIFY or REFER; `session` is the one whose dialog it names, if any."""
        match request.method:
            case "NOTIFY":
                return self._on_notify(key, request, now)
            case "SUBSCRIBE":
                return self._on_subscribe(key, request, session, now)
            case _:
                return self._on_refer(key, request, session)

    def _on_notify(self, key: Key, request: Request, now: float) -> list[Effect]:
        event = event_of(request)
        for usage in self._usages(request):
            if isinstance(usage, Subscriber) and event is not None and _matches(usage, event):
                return usage.on_notify(key, request, now)
        return [self._reply(key, request, 481)]

    def _on_subscribe(
        self, key: Key, request: Request, session: InviteSession | None, now: float
    ) -> list[Effect]:
        event = event_of(request)
        if event is None:
            return [self._reply(key, request, 489)]
        for usage in self._usages(request):
            if isinstance(usage, Notifier) and is_for(usage.event, event):
                if usage.dialog.remote_tag != request.from_tag:
                    return [self._reply(key, request, 481)]
                if not usage.dialog.in_order(request):
                    return [self._reply(key, request, 500, reason="CSeq Out Of Order")]
                return usage.on_subscribe(key, request, now)
        served = self._agent.capabilities.events
        if event.package.lower() not in served:
            return [self._reply(key, request, 489, [("Allow-Events", ", ".join(served))])]
        refusal = self._enter(key, request, session)
        if refusal is not None:
            return [refusal]
        dialog = None if session is None else session.dialog
        return [SubscribeReceived(Notifier(self._agent, key, request, event, dialog))]

    def _on_refer(self, key: Key, request: Request, session: InviteSession | None) -> list[Effect]:
        refer_to = refer_to_of(request)
        if refer_to is None:
            return [self._reply(key, request, 400, reason="Not Exactly One Refer-To")]
        if request.to_tag is None and not self._agent.capabilities.refer_outside:
            return [self._reply(key, request, 603)]
        refusal = self._enter(key, request, session)
        if refusal is not None:
            return [refusal]
        return Referral(self._agent, key, request, refer_to, session).start()

    def _enter(self, key: Key, request: Request, session: InviteSession | None) -> Respond | None:
        """The refusal of a request that is in no dialog of ours, or one too many."""
        if request.to_tag is not None:
            if session is None or session.over or not session.has_dialog(request.from_tag or ""):
                return self._reply(key, request, 481)
            if session.dialog is None or not session.dialog.in_order(request):
                return self._reply(key, request, 500, reason="CSeq Out Of Order")
        if sum(map(len, self._agent.subscriptions.values())) >= self._limit:
            wait = str(int(self._agent.uniform(5, 31)))
            return self._reply(key, request, 503, [("Retry-After", wait)])
        return None

    def _usages(self, request: Request) -> list[Subscriber | Notifier]:
        name = (request.call_id, request.to_tag or "")
        return self._agent.subscriptions.get(name, [])

    def _reply(
        self,
        key: Key,
        request: Request,
        status: int,
        headers: HeaderLines = (),
        reason: str | None = None,
    ) -> Respond:
        return Respond(key, self._agent.respond(request, status, reason=reason, headers=headers))


def _matches(usage: Subscriber, event: EventType) -> bool:
    if isinstance(usage, ReferSubscriber):
        return usage.matches(event)
    return is_for(usage.event, event)
