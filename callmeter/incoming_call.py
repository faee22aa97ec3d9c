"""IncomingCall: a call somebody else makes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self, cast

from callmeter import events
from callmeter.call import Call
from callmeter.call_bodies import BAD_DESCRIPTION, as_negotiation_error, warning_for
from callmeter.call_setup import CalleeSetup
from callmeter.errors import ConfigurationError, LocalProtocolError
from callmeter.metrics.phases import Outcome, Phase
from callmeter.sip.session_events import PrackReceived
from callmeter.uri_settings import setting_uri

if TYPE_CHECKING:
    from collections.abc import Iterable

    from callmeter.endpoint import Endpoint
    from callmeter.errors import CallmeterError
    from callmeter.media_session import MediaSession
    from callmeter.sip.invite_session import InviteSession
    from callmeter.sip.message import Request
    from callmeter.sip.server_session import ServerInviteSession
    from callmeter.sip.uri import SipUri

__all__ = ["IncomingCall"]


class IncomingCall(Call):
    """A call somebody else makes: `ring()`, `answer()` or `reject()` it."""

    def __init__(self, endpoint: Endpoint, media: MediaSession, *, remote: str) -> None:
        super().__init__(endpoint, media, remote=remote)
        self._callee = CalleeSetup(endpoint, media)

    @property
    def server_session(self) -> ServerInviteSession:
        """The session as callee (sans-IO), lower stability."""
        return cast("ServerInviteSession", self.session)

    @property
    def caller(self) -> str:
        """URI of the From header."""
        return str(self.session.remote.uri)

    @property
    def replaces(self) -> Call | None:
        """The call whose place it takes when it is answered, or None (RFC 3891)."""
        replaced = self.server_session.replaces
        return None if replaced is None else self._endpoint.call_of(replaced)

    @property
    def request(self) -> Request:
        """The INVITE."""
        return self.server_session.request

    def ring(self, status: int = 180, *, media: bool = False) -> None:
        """Send a provisional response, reliably where both ends can (RFC 3262).

        Args:
            status: 101 to 199.
            media: Whether it holds our answer, so that media runs before the call is answered
                (RFC 3960). Where the INVITE has no offer, it holds ours.

        Raises:
            NegotiationError: The offer has nothing in common with the own settings; it was
                answered with 488.
            LocalProtocolError: The call is answered or over, or has no offer and a caller that
                takes none in a provisional response.
        """
        body = self._describe(early=True) if media else b""
        now = self._endpoint.stack.now
        self._run(self.server_session.progress(status, now, body=body))
        self._record.life.enter(Phase.RINGING)
        self._record.times.ringing_at = self._record.times.ringing_at or now
        self._tell(events.Ringing(self._at(now), status, ""))
        if media and not self.media.offering:
            self._go_early(status, now)

    async def progress(self, status: int = 183) -> None:
        """Let media run before the call is answered, and wait until it does (RFC 3960).

        Args:
            status: 101 to 199, of the response that holds our answer, or our offer.

        Raises:
            NegotiationError: The offer has nothing in common with the own settings; it was
                answered with 488.
            LocalProtocolError: As with `ring`.
            CallCancelled: The caller gave up first.
            MediaSecurityError: The DTLS handshake failed.
        """
        self.ring(status, media=True)
        if self.media.offering:
            async for event in self.events():
                if isinstance(event, events.EarlyMedia):
                    break
        if self.over:
            raise self._attach_report(self._error or self._answered_already())
        await self.media.keyed()

    def reject(self, status: int = 486, reason: str | None = None) -> None:
        """Refuse the call.

        Args:
            status: 300 to 699.
            reason: Reason phrase, or None for the usual one.

        Raises:
            ConfigurationError: It is no such status.
            LocalProtocolError: The call is answered or over.
        """
        effects = self.server_session.reject(status, self._endpoint.stack.now, reason=reason)
        self._record.final_status = status
        self._run(effects)

    def redirect(self, *targets: str | SipUri, status: int = 302) -> None:
        """Send the caller elsewhere (RFC 3261 section 21.3).

        Args:
            targets: SIP URIs to try, in this order.
            status: 300 to 399.

        Raises:
            ConfigurationError: A target is no SIP URI, or there is none; or no such status.
            LocalProtocolError: The call is answered or over.
        """
        if not targets or not 300 <= status <= 399:  # noqa: PLR2004  the class of redirections
            raise ConfigurationError("a redirection has a target, and a status from 300 to 399")
        contacts = [("Contact", f"<{setting_uri('target', str(target))}>") for target in targets]
        now = self._endpoint.stack.now
        effects = self.server_session.reject(status, now, headers=contacts)
        self._record.final_status = status
        self._run(effects)

    async def answer(self) -> Self:
        """Answer with 200 and wait for the ACK; returns the call itself.

        Raises:
            NegotiationError: The offer has nothing in common with the own settings; it was
                answered with 488.
            CallTimedOut: The ACK never came.
            CallCancelled: The caller gave up first.
            LocalProtocolError: It is answered, or was rejected.
        """
        if self.over:
            raise self._attach_report(self._error or self._answered_already())
        if self._record.times.answer_at is not None:
            raise LocalProtocolError("the call is answered already")
        self._record.life.enter(Phase.NEGOTIATING)
        answer = self._describe()
        now = self._endpoint.stack.now
        self._record.times.answer_at = now
        self._record.final_status = 200
        replaced = self.replaces
        self._run(self.server_session.accept(answer, now))
        if replaced is not None:
            replaced.note_transferred(self)
        await self._answered.wait()
        if self._error is not None:
            raise self._attach_report(self._error)
        return self

    def _answered_already(self) -> CallmeterError:
        status = self._record.final_status
        return LocalProtocolError(f"the call is over, its final response was {status}")

    def _describe(self, *, early: bool = False) -> bytes:
        """The session description of our response; a call without one is refused."""
        try:
            return self._callee.describe(self.server_session, early=early)
        except BAD_DESCRIPTION as error:
            failure = self._refuse_description(error)
            raise self._attach_report(failure) from error

    def _refuse_description(self, error: CallmeterError) -> CallmeterError:
        failure = as_negotiation_error(error)
        self._error = failure
        self._record.life.settle(Outcome.NEGOTIATION_FAILED)
        self._record.final_status = 488
        now = self._endpoint.stack.now
        lines = warning_for(failure, self.media.config.srtp.suites)
        self._run(self.server_session.reject(488, now, headers=lines))
        return failure

    def on_event(self, event: object, now: float) -> None:
        """One event of the INVITE session (called by the endpoint)."""
        if isinstance(event, PrackReceived):
            self._on_prack(event, now)
        else:
            super().on_event(event, now)

    def _on_prack(self, event: PrackReceived, now: float) -> None:
        try:
            begun = self._callee.on_prack(event, now)
        except BAD_DESCRIPTION as error:
            if event.session.answered:
                self._fail_negotiation(error)
            else:
                self._refuse_description(error)
            return
        if begun and not event.session.answered:
            self._go_early(183, now)

    def _on_established(self, ack: Request | None, now: float) -> None:
        try:
            self._callee.on_established(ack)
        except BAD_DESCRIPTION as error:
            self._fail_negotiation(error)
            return
        self._go(now, 200)

    def _hang_up(self, session: InviteSession) -> Iterable[object]:
        if session.answered:
            return super()._hang_up(session)
        self._record.final_status = 480
        return self.server_session.reject(480, self._endpoint.stack.now)
