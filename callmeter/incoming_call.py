"""IncomingCall: a call somebody else makes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from callmeter import events
from callmeter.call import Call
from callmeter.call_bodies import (
    BAD_DESCRIPTION,
    as_negotiation_error,
    session_description,
    warning_for,
)
from callmeter.errors import CallCancelled
from callmeter.metrics.phases import Outcome, Phase

if TYPE_CHECKING:
    from collections.abc import Iterable

    from callmeter.sip.invite_session import InviteSession
    from callmeter.sip.message import Request
    from callmeter.sip.server_session import ServerInviteSession

__all__ = ["IncomingCall"]


class IncomingCall(Call):
    """A call somebody else makes: `ring()`, `answer()` or `reject()` it."""

    @property
    def server_session(self) -> ServerInviteSession:
        """The session as callee (sans-IO), lower stability."""
        session: ServerInviteSession = self.session  # type: ignore[assignment]
        return session

    @property
    def caller(self) -> str:
        """URI of the From header."""
        return str(self.session.remote.uri)

    @property
    def request(self) -> Request:
        """The INVITE."""
        return self.server_session.request

    def ring(self, status: int = 180) -> None:
        """Send a provisional response."""
        self._run(self.server_session.progress(status, self._endpoint.stack.now))
        self._record.life.enter(Phase.RINGING)
        self._record.times.ringing_at = self._record.times.ringing_at or self._endpoint.stack.now
        self._tell(events.Ringing(self._at(), status, ""))

    def reject(self, status: int = 486, reason: str | None = None) -> None:
        """Refuse the call with a final status of 300 to 699."""
        now = self._endpoint.stack.now
        self._record.final_status = status
        self._run(self.server_session.reject(status, now, reason=reason))

    async def answer(self) -> Self:
        """Answer with 200 and wait for the ACK; returns the call itself.

        Raises:
            NegotiationError: The offer has nothing in common with the own settings; it was
                answered with 488.
            CallTimedOut: The ACK never came.
            CallCancelled: The caller gave up first.
        """
        if self.over:
            raise self._attach_report(self._error or CallCancelled("the call is over"))
        self._record.life.enter(Phase.NEGOTIATING)
        body = session_description(self.request)
        try:
            answer = self.media.accept_offer(body) if body else self.media.create_offer()
        except BAD_DESCRIPTION as error:
            failure = as_negotiation_error(error)
            self._error = failure
            self._record.life.settle(Outcome.NEGOTIATION_FAILED)
            self._record.final_status = 488
            now = self._endpoint.stack.now
            self._run(
                self.server_session.reject(
                    488, now, headers=warning_for(failure, self.media.config.srtp.suites)
                )
            )
            raise self._attach_report(failure) from error
        now = self._endpoint.stack.now
        self._record.times.answer_at = now
        self._record.final_status = 200
        self._run(self.server_session.accept(answer, now))
        await self._answered.wait()
        if self._error is not None:
            raise self._attach_report(self._error)
        return self

    def _on_established(self, ack: Request | None, now: float) -> None:
        if not self.request.body:
            try:
                self.media.accept_answer(b"" if ack is None else session_description(ack))
            except BAD_DESCRIPTION as error:
                self._fail_negotiation(error)
                return
        self._go(now, 200)

    def _hang_up(self, session: InviteSession) -> Iterable[object]:
        if session.answered:
            return super()._hang_up(session)
        self._record.final_status = 480
        return self.server_session.reject(480, self._endpoint.stack.now)
