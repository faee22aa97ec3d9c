"""CallSetup: the offer and the answer that set up a call, and what they may be carried by.

The offer is in the INVITE, or in the first response where the INVITE has none. The answer is in
the 2xx, in the ACK, or early: in a provisional response (RFC 3960), or in a PRACK (RFC 3262).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from callmeter.call_bodies import BAD_DESCRIPTION, session_description
from callmeter.errors import LocalProtocolError
from callmeter.sip.dialog_usage import SessionState
from callmeter.sip.offer_exchange import describes_session

if TYPE_CHECKING:
    from collections.abc import Iterable

    from callmeter.endpoint import Endpoint
    from callmeter.media_session import MediaSession
    from callmeter.sip.invite_session import InviteSession
    from callmeter.sip.message import Request, Response
    from callmeter.sip.server_session import ServerInviteSession
    from callmeter.sip.session_events import PrackReceived, Provisional

__all__ = ["CalleeSetup", "CallerSetup"]


class CallerSetup:
    """The first offer and answer of a call we make.

    A forked INVITE is answered by several phones. There is one media port, and it goes with the
    phone that was the last to answer early, until one is the first to send a 2xx.

    Args:
        endpoint: Whose call it is.
        media: Its audio.
    """

    def __init__(self, endpoint: Endpoint, media: MediaSession) -> None:
        self._endpoint = endpoint
        self._media = media
        self._agreed_with: str | None = None
        self._early: dict[str, bytes] = {}
        self._reliable: dict[str, bytes] = {}

    def on_provisional(self, event: Provisional, now: float) -> bool:
        """A 1xx to our INVITE; True if media runs because of it.

        Raises:
            SdpSyntaxError: Its description cannot be read, and it is final.
            NegotiationError: Nothing in common.
            MediaSecurityError: Its keys are not usable.
        """
        session, response, dialog = event.session, event.response, event.dialog
        if dialog is None or not describes_session(response):
            return False
        tag, body = dialog.remote_tag, session_description(response)
        if event.reliable and session.awaits_prack(tag):
            answer = self._media.accept_offer(body)
            self._agreed_with = tag
            self._run(session.prack(answer, now, tag=tag))
            return True
        if not session.request.body or tag in self._reliable:
            return False
        if event.reliable:
            self._reliable[tag] = body
        known = self._early.get(tag)
        if known is not None and (known == body or not event.reliable):
            return False  # It runs already, or the 2xx has the last word.
        first = self._agreed_with is None
        try:
            if first:
                self._media.accept_early_answer(body)
            else:
                self._media.accept_other_answer(body)
        except BAD_DESCRIPTION:
            # The 2xx has the last word, unless this one was acknowledged.
            if event.reliable and first:
                raise
            return False
        self._agreed_with, self._early[tag] = tag, body
        return True

    def on_answered(self, session: InviteSession, response: Response, now: float) -> None:
        """The first 2xx to our INVITE.

        Raises:
            SdpSyntaxError: Its description cannot be read.
            NegotiationError: Nothing in common.
            MediaSecurityError: Its keys are not usable.
        """
        tag = response.to_tag or ""
        if session.state is SessionState.ANSWERED:
            # It holds the offer, and the ACK the answer (RFC 3261 section 13.2.2.4).
            answer = self._media.accept_offer(session_description(response))
            self._run(session.ack(answer, now))
        elif not session.request.body:
            return  # A reliable 1xx held the offer, and PRACK the answer.
        else:
            known = self._reliable.get(tag)
            body = session_description(response) if known is None else known
            if self._agreed_with is None:
                self._media.accept_answer(body)
            elif self._agreed_with != tag or (known is None and body != self._early[tag]):
                self._media.accept_other_answer(body)
            self._media.close_refused()
        self._agreed_with = tag

    def _run(self, effects: Iterable[object]) -> None:
        self._endpoint.stack.run(self._endpoint, effects)


class CalleeSetup:
    """The first offer and answer of a call somebody else makes.

    Args:
        endpoint: Whose call it is.
        media: Its audio.
    """

    def __init__(self, endpoint: Endpoint, media: MediaSession) -> None:
        self._endpoint = endpoint
        self._media = media
        self._description: bytes | None = None

    def describe(self, session: ServerInviteSession, *, early: bool = False) -> bytes:
        """Our answer, or our offer where the INVITE has none; the same one each time.

        Args:
            session: The session as callee.
            early: For a provisional response.

        Raises:
            LocalProtocolError: The caller would not acknowledge an early offer.
            SdpSyntaxError: The offer cannot be read.
            NegotiationError: Nothing in common.
            MediaSecurityError: Its keys are not usable.
        """
        if self._description is None:
            body = session_description(session.request)
            if not body and early and not session.peer_takes_reliable:
                raise LocalProtocolError(
                    "the INVITE has no offer, and the caller takes no reliable provisional "
                    "response that could hold one (RFC 3262 section 5)"
                )
            media = self._media
            self._description = media.accept_offer(body) if body else media.create_offer()
        return self._description

    def on_prack(self, event: PrackReceived, now: float) -> bool:
        """The caller has our provisional response; True if it holds our answer.

        Raises:
            SdpSyntaxError: Its description cannot be read.
            NegotiationError: Nothing in common.
            MediaSecurityError: Its keys are not usable.
        """
        session = cast("ServerInviteSession", event.session)
        if event.key is not None:
            try:
                answer = self._media.accept_offer(session_description(event.request))
            except BAD_DESCRIPTION:
                self._run(session.answer_prack(b"", now))
                raise
            self._run(session.answer_prack(answer, now))
            return False
        if not self._media.offering or not describes_session(event.request):
            return False
        self._media.accept_answer(session_description(event.request))
        return True

    def on_established(self, ack: Request | None) -> None:
        """The ACK of our 2xx: it has the answer to our offer, if nothing before had.

        Raises:
            SdpSyntaxError: Its description cannot be read.
            NegotiationError: Nothing in common.
            MediaSecurityError: Its keys are not usable.
        """
        if self._media.offering:
            self._media.accept_answer(b"" if ack is None else session_description(ack))

    def _run(self, effects: Iterable[object]) -> None:
        self._endpoint.stack.run(self._endpoint, effects)
