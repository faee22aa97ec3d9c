"""CallChanges: what re-INVITE and UPDATE change in a call, from either end."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from callmeter import events as call_events
from callmeter.call_bodies import BAD_DESCRIPTION, session_description, warning_for
from callmeter.call_failures import detail_of
from callmeter.errors import (
    CallFailed,
    CallmeterError,
    CallRejected,
    ConfigurationError,
    LocalProtocolError,
)
from callmeter.metrics.phases import Phase
from callmeter.sdp.attributes import Direction
from callmeter.sip.offer_exchange import describes_session
from callmeter.sip.session_events import (
    Provisional,
    RefreshDue,
    ReinviteAnswered,
    ReinviteEstablished,
    ReinviteFailed,
    ReinviteReceived,
    UpdateAnswered,
    UpdateFailed,
    UpdateReceived,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from callmeter.call_journal import CallJournal
    from callmeter.config import MediaConfig
    from callmeter.endpoint import Endpoint
    from callmeter.media_keys import RekeyRoc
    from callmeter.media_session import MediaSession
    from callmeter.sip.invite_session import InviteSession
    from callmeter.sip.message import Request, Response

__all__ = ["CallChanges"]

REQUEST_PENDING = 491


class _Change(NamedTuple):
    """A re-INVITE or UPDATE of this end that has no final response yet.

    Attributes:
        finished: Done when it has one. Who waits for it may be cancelled: the peer has agreed all
            the same then, or the offer has come to nothing.
        take: Uses the 2xx.
        undo: Everything is as it was before.
        offer: Makes its offer, of what is agreed on just then; None where the peer makes one.
    """

    finished: asyncio.Future[None]
    take: Callable[[Response], None]
    undo: Callable[[], None]
    offer: Callable[[], bytes] | None


class CallChanges:
    """What changes in a call: hold, resume, media, refreshes, and what the peer asks for.

    Args:
        endpoint: Whose call it is.
        media: Its audio.
        journal: Where the changes are noted.
        fail: Ends the call when an answer cannot be used.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        media: MediaSession,
        journal: CallJournal,
        fail: Callable[[CallmeterError], None],
    ) -> None:
        self._endpoint = endpoint
        self._media = media
        self._journal = journal
        self._fail = fail
        self._pending: _Change | None = None
        self._answers_by_ack = False
        self._early_answer: bytes | None = None
        self._acknowledged = asyncio.Event()

    # of this end

    async def hold(self, session: InviteSession) -> None:
        """Put the peer on hold."""
        await self._reoffer(
            session, Direction.SENDONLY, done=partial(self._tell_hold, by_peer=False)
        )

    async def resume(self, session: InviteSession) -> None:
        """Take the peer off hold."""
        await self._reoffer(
            session, Direction.SENDRECV, done=partial(self._tell_resumed, by_peer=False)
        )

    async def rekey(self, session: InviteSession, roc: RekeyRoc) -> None:
        """Agree on new keys."""
        if not self._media.secure:
            raise LocalProtocolError("the media is not encrypted: it has no key to change")
        await self._reoffer(session, rekey=roc)
        await self._media.renewed()
        self._journal.tell(call_events.Rekeyed(self._journal.at(), by_peer=False))

    async def update(
        self,
        session: InviteSession,
        config: MediaConfig | None,
        *,
        method: str | None,
        offer: bool,
    ) -> None:
        """Agree on the media anew."""
        if method not in {None, "INVITE", "UPDATE"}:
            raise ConfigurationError(f"media is updated by INVITE or UPDATE, not by {method!r}")
        if not offer and method == "UPDATE":
            raise ConfigurationError("only a re-INVITE can ask the peer for its offer")
        activates = False
        if config is not None:
            self._media.check_change(config)
            activates = self._media.config.deferred and not config.deferred
        keyless = self._media.keys_pending
        if offer:
            await self._reoffer(
                session,
                Direction.SENDRECV if activates else None,
                by_update=self._by_update(session, method),
                config=config,
                done=self._tell_updated,
            )
        else:
            await self._ask(session, config)
        if self._media.keys_pending and not keyless:
            # A line that is new has keys of its own, and is of no use before it has them.
            await self._media.keyed()
            if self._journal.record.life.phase is not Phase.INCALL:
                raise CallFailed("the call ended")

    @staticmethod
    def _by_update(session: InviteSession, method: str | None) -> bool:
        dialog = session.dialog
        return method == "UPDATE" or (
            method is None and dialog is not None and dialog.peer_serves("UPDATE")
        )

    def _check_free(self) -> None:
        if self._journal.record.life.phase is not Phase.INCALL:
            raise LocalProtocolError("a re-INVITE needs an answered call")
        if self._pending is not None:
            raise LocalProtocolError("another re-INVITE is under way in this call")
        if self._media.offering:
            raise LocalProtocolError("an offer of this end has no answer yet")

    async def _reoffer(
        self,
        session: InviteSession,
        direction: Direction | None = None,
        *,
        rekey: RekeyRoc | None = None,
        by_update: bool = False,
        config: MediaConfig | None = None,
        done: Callable[[], None] = lambda: None,
    ) -> None:
        media, send = self._media, session.update if by_update else session.reinvite
        offer = partial(media.create_offer, direction, rekey=rekey)

        def take(response: Response) -> None:
            early, self._early_answer = self._early_answer, None
            media.accept_answer(session_description(response) if early is None else early)
            done()

        await self._agree(session, lambda: send(offer(), self._journal.now), take, offer, config)

    async def _ask(self, session: InviteSession, config: MediaConfig | None) -> None:
        """Let the peer make the offer: a re-INVITE without one (RFC 3261 section 14.1)."""

        def take(response: Response) -> None:
            early, self._early_answer = self._early_answer, None
            # Otherwise a reliable 1xx held the offer, and PRACK the answer.
            if early is None:
                try:
                    answer = self._media.accept_offer(session_description(response))
                except BAD_DESCRIPTION as error:
                    self._fail(error)
                    raise
                self._run(session.ack(answer, self._journal.now))
            self._tell_updated()

        await self._agree(
            session, lambda: session.reinvite(b"", self._journal.now), take, None, config
        )

    async def _agree(
        self,
        session: InviteSession,
        send: Callable[[], Iterable[object]],
        take: Callable[[Response], None],
        offer: Callable[[], bytes] | None,
        config: MediaConfig | None,
    ) -> None:
        """Send a change of ours and wait until it is made.

        Raises:
            CallRejected: It was refused.
            LocalProtocolError: It cannot be sent now.
        """
        await self._quiet(session)
        self._check_free()
        media, before = self._media, self._media.config

        def undo() -> None:
            if offer is not None:
                media.rollback()
            media.config = before

        finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._pending, self._early_answer = _Change(finished, take, undo, offer), None
        media.config = config or before
        try:
            self._run(send())
        except BaseException:
            self._pending = None
            undo()
            raise
        await finished

    def _on_agreed(self, response: Response) -> None:
        """The 2xx to a change of ours."""
        change, self._pending = self._pending, None
        if change is None:
            return
        try:
            change.take(response)
        except CallmeterError as error:
            change.undo()
            if not change.finished.done():
                change.finished.set_exception(error)
        else:
            if not change.finished.done():
                change.finished.set_result(None)

    def _on_refused(self, error: CallmeterError) -> None:
        change, self._pending = self._pending, None
        if change is not None:
            change.undo()
            if not change.finished.done():
                change.finished.set_exception(error)

    async def _refresh(self, session: InviteSession) -> None:
        """Send the present description once more, so that the session goes on (RFC 4028 10)."""
        with suppress(CallmeterError):
            await self._reoffer(session)

    async def _quiet(self, session: InviteSession) -> None:
        """Wait for the ACK to our 2xx to a re-INVITE of the peer (RFC 3261 section 14.1).

        Without one the session gives up after 64*T1, and ends.
        """
        while session.awaits_ack and self._journal.record.life.phase is Phase.INCALL:
            self._acknowledged.clear()
            await self._acknowledged.wait()
            if self._journal.record.life.phase is not Phase.INCALL:
                raise CallFailed("the call ended")

    def end(self) -> None:
        """The call is over: whoever waits for a re-INVITE waits in vain."""
        self._acknowledged.set()
        self._on_refused(CallFailed("the call ended"))

    # what the core tells

    def on_event(self, event: object, now: float) -> None:
        """One event of the INVITE session; those of no re-INVITE are left alone."""
        match event:
            case ReinviteReceived(session, request):
                self._on_received(session, request, now)
            case ReinviteEstablished(session, ack):
                self._on_established(session, ack, now)
            case UpdateReceived(session, key, request) if key is not None:
                self._on_update(session, request, now)
            case Provisional(session, response):
                self._on_provisional(session, response, now)
            case RefreshDue(session) if self._pending is None:
                self._endpoint.stack.start_task(self._refresh(session))
            case ReinviteAnswered(_, response) | UpdateAnswered(_, response):
                self._on_agreed(response)
            case ReinviteFailed(_, _, _, response) | UpdateFailed(_, _, _, response):
                detail = detail_of(response)
                self._on_refused(CallRejected(event.status, event.reason, detail=detail))

    def _on_provisional(self, session: InviteSession, response: Response, now: float) -> None:
        """A reliable 1xx to our re-INVITE: it may hold what else the 2xx would."""
        if not describes_session(response) or self._early_answer is not None:
            return
        body = self._early_answer = session_description(response)
        if not session.awaits_prack():
            return
        try:
            answer = self._media.accept_offer(body)
        except BAD_DESCRIPTION as error:
            self._fail(error)
            return
        self._run(session.prack(answer, now))

    def _on_update(self, session: InviteSession, request: Request, now: float) -> None:
        media, was_held = self._media, self._media.on_hold
        if session.waiting_offer is not None:
            media.rollback()
        elif media.offering:
            # An UPDATE of ours that met another one waits to be sent again as it is.
            self._run(session.reject_update(REQUEST_PENDING, now))
            return
        try:
            answer = media.accept_offer(session_description(request))
        except BAD_DESCRIPTION as error:
            lines = warning_for(error, media.config.srtp.suites)
            self._run(session.reject_update(488, now, headers=lines))
        else:
            self._run(session.accept_update(answer, now))
            self._journal.tell(call_events.Updated(self._journal.at(now), by_peer=True))
            self._note_hold(was_held, now)
        self._renew_waiting(session)

    def _on_received(self, session: InviteSession, request: Request, now: float) -> None:
        media, was_held, rekeys = self._media, self._media.on_hold, self._media.rekeys_received
        terms = media.terms
        # One of ours that met another (491) waits to be sent again; it goes on from what is agreed
        # on now.
        waits = session.waiting_offer is not None
        if waits:
            media.rollback()
        elif media.offering:
            self._run(session.reject_reinvite(REQUEST_PENDING, now))
            return
        try:
            if request.body:
                answer = media.accept_offer(session_description(request))
            else:
                answer = media.create_offer()
        except BAD_DESCRIPTION as error:
            self._run(
                session.reject_reinvite(
                    488, now, headers=warning_for(error, self._media.config.srtp.suites)
                )
            )
        else:
            self._answers_by_ack = not request.body
            self._run(session.accept_reinvite(answer, now))
            if request.body:
                self._note_update(terms, now)
                self._note_hold(was_held, now)
            if media.rekeys_received > rekeys:
                self._journal.tell(call_events.Rekeyed(self._journal.at(now), by_peer=True))
        if waits and not self._answers_by_ack:
            self._renew_waiting(session)

    def _renew_waiting(self, session: InviteSession) -> None:
        """Let the offer that waits to be sent again start from what is agreed on now."""
        offer = None if self._pending is None else self._pending.offer
        if offer is not None and session.waiting_offer is not None:
            session.replace_waiting_offer(offer())

    def _on_established(self, session: InviteSession, ack: Request | None, now: float) -> None:
        self._acknowledged.set()
        if not self._answers_by_ack:
            return
        # Our 2xx held the offer, so the ACK has the answer (RFC 3261 section 14.2).
        self._answers_by_ack = False
        was_held, terms = self._media.on_hold, self._media.terms
        try:
            self._media.accept_answer(b"" if ack is None else session_description(ack))
        except BAD_DESCRIPTION as error:
            self._media.rollback()
            self._fail(error)
            return
        self._note_update(terms, now)
        self._note_hold(was_held, now)
        self._renew_waiting(session)

    def _note_update(self, before: tuple[object, ...], now: float) -> None:
        """A re-INVITE of the peer may be a refresh, or a hold which is told as such."""
        if self._media.terms != before:
            self._journal.tell(call_events.Updated(self._journal.at(now), by_peer=True))

    def _note_hold(self, was_held: bool, now: float) -> None:  # noqa: FBT001
        held = self._media.on_hold
        if held and not was_held:
            self._tell_hold(now, by_peer=True)
        elif was_held and not held:
            self._tell_resumed(now, by_peer=True)

    def _tell_hold(self, now: float | None = None, *, by_peer: bool) -> None:
        journal = self._journal
        now = journal.now if now is None else now
        journal.record.hold.begin(now)
        journal.tell(call_events.Held(journal.at(now), by_peer=by_peer))

    def _tell_resumed(self, now: float | None = None, *, by_peer: bool) -> None:
        journal = self._journal
        now = journal.now if now is None else now
        journal.record.hold.end(now)
        journal.tell(call_events.Resumed(journal.at(now), by_peer=by_peer))

    def _tell_updated(self) -> None:
        self._journal.tell(call_events.Updated(self._journal.at(), by_peer=False))

    def _run(self, effects: Iterable[object]) -> None:
        self._endpoint.stack.run(self._endpoint, effects)
