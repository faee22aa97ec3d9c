"""CallChanges: the re-INVITEs of a call, from either end (RFC 3261 section 14)."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from callmeter import events as call_events
from callmeter.call_bodies import BAD_DESCRIPTION, session_description, warning_for
from callmeter.errors import CallFailed, CallRejected, LocalProtocolError
from callmeter.metrics.phases import Phase
from callmeter.sdp.attributes import Direction
from callmeter.sip.session_events import (
    ReinviteAnswered,
    ReinviteEstablished,
    ReinviteFailed,
    ReinviteReceived,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from callmeter.call_journal import CallJournal
    from callmeter.endpoint import Endpoint
    from callmeter.errors import CallmeterError
    from callmeter.media_keys import RekeyRoc
    from callmeter.media_session import MediaSession
    from callmeter.sip.invite_session import InviteSession
    from callmeter.sip.message import Request, Response

__all__ = ["CallChanges"]


class CallChanges:
    """What changes in a call that is answered: hold, resume, and what the peer asks for.

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
        self._pending: asyncio.Future[Response] | None = None
        self._offer: Callable[[], bytes] | None = None
        self._answers_by_ack = False

    # of this end

    async def hold(self, session: InviteSession) -> None:
        """Put the peer on hold."""
        await self._reoffer(session, Direction.SENDONLY)
        self._journal.record.hold.begin(self._journal.now)
        self._journal.tell(call_events.Held(self._journal.at(), by_peer=False))

    async def resume(self, session: InviteSession) -> None:
        """Take the peer off hold."""
        await self._reoffer(session, Direction.SENDRECV)
        self._journal.record.hold.end(self._journal.now)
        self._journal.tell(call_events.Resumed(self._journal.at(), by_peer=False))

    async def rekey(self, session: InviteSession, roc: RekeyRoc) -> None:
        """Agree on new keys."""
        if not self._media.secure:
            raise LocalProtocolError("the media is not encrypted: it has no key to change")
        await self._reoffer(session, rekey=roc)
        await self._media.keys.renewed()
        self._journal.tell(call_events.Rekeyed(self._journal.at(), by_peer=False))

    async def _reoffer(
        self,
        session: InviteSession,
        direction: Direction | None = None,
        *,
        rekey: RekeyRoc | None = None,
    ) -> None:
        if self._journal.record.life.phase is not Phase.INCALL:
            raise LocalProtocolError("a re-INVITE needs an answered call")
        if self._pending is not None:
            raise LocalProtocolError("another re-INVITE is under way in this call")
        self._offer = partial(self._media.create_offer, direction, rekey=rekey)
        offer = self._offer()
        answer: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        self._pending = answer
        try:
            self._run(session.reinvite(offer, self._journal.now))
            response = await answer
        except BaseException:
            self._media.rollback()
            raise
        finally:
            self._pending = self._offer = None
        self._media.accept_answer(session_description(response))

    def end(self) -> None:
        """The call is over: whoever waits for a re-INVITE waits in vain."""
        if self._pending is not None and not self._pending.done():
            self._pending.set_exception(CallFailed("the call ended"))

    # what the core tells

    def on_event(self, event: object, now: float) -> None:
        """One event of the INVITE session; those of no re-INVITE are left alone."""
        match event:
            case ReinviteReceived(session, request):
                self._on_received(session, request, now)
            case ReinviteEstablished(session, ack):
                self._on_established(session, ack, now)
            case ReinviteAnswered(_, response):
                if self._pending is not None and not self._pending.done():
                    self._pending.set_result(response)
            case ReinviteFailed(_, status, reason):
                if self._pending is not None and not self._pending.done():
                    self._pending.set_exception(CallRejected(status, reason))

    def _on_received(self, session: InviteSession, request: Request, now: float) -> None:
        media, was_held, rekeys = self._media, self._media.on_hold, self._media.rekeys_received
        # One of ours that met another (491) waits to be sent again; it goes on from what is agreed
        # on now.
        waits = session.waiting_offer is not None
        if waits:
            media.rollback()
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
                self._note_hold(was_held, now)
            if media.rekeys_received > rekeys:
                self._journal.tell(call_events.Rekeyed(self._journal.at(now), by_peer=True))
        if waits and not self._answers_by_ack:
            self._renew_waiting(session)

    def _renew_waiting(self, session: InviteSession) -> None:
        """Let the offer that waits to be sent again start from what is agreed on now."""
        if self._offer is not None and session.waiting_offer is not None:
            session.replace_waiting_offer(self._offer())

    def _on_established(self, session: InviteSession, ack: Request | None, now: float) -> None:
        if not self._answers_by_ack:
            return
        # Our 2xx held the offer, so the ACK has the answer (RFC 3261 section 14.2).
        self._answers_by_ack = False
        was_held = self._media.on_hold
        try:
            self._media.accept_answer(b"" if ack is None else session_description(ack))
        except BAD_DESCRIPTION as error:
            self._media.rollback()
            self._fail(error)
            return
        self._note_hold(was_held, now)
        self._renew_waiting(session)

    def _note_hold(self, was_held: bool, now: float) -> None:  # noqa: FBT001
        held, journal = self._media.on_hold, self._journal
        if held and not was_held:
            journal.record.hold.begin(now)
            journal.tell(call_events.Held(journal.at(now), by_peer=True))
        elif was_held and not held:
            journal.record.hold.end(now)
            journal.tell(call_events.Resumed(journal.at(now), by_peer=True))

    def _run(self, effects: Iterable[object]) -> None:
        self._endpoint.stack.run(self._endpoint, effects)
