"""Call: the face of one INVITE session and its media."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Self, cast

from callmeter import events as call_events
from callmeter.call_bodies import (
    BAD_DESCRIPTION,
    as_negotiation_error,
    dtmf_of,
)
from callmeter.call_changes import CallChanges
from callmeter.call_failures import loss, reason_of, rejection
from callmeter.call_journal import CallJournal
from callmeter.call_media_events import tell_early_media, watch_media
from callmeter.call_requests import CallRequests
from callmeter.call_setup import CallerSetup
from callmeter.call_trace import write_trace
from callmeter.call_transfer import CallTransfers
from callmeter.errors import (
    AuthenticationFailed,
    CallCancelled,
    CallmeterError,
    CallTimedOut,
    DtlsHandshakeFailed,
    DtlsTimeout,
    LocalProtocolError,
    MediaSecurityError,
    NegotiationError,
)
from callmeter.metrics.phases import Outcome, Phase
from callmeter.sip.offer_exchange import describes_session
from callmeter.sip.session_events import (
    Answered,
    Cancelled,
    Ended,
    Established,
    Failed,
    InfoReceived,
    Provisional,
    Redirected,
    ReferReceived,
    SessionExpired,
    SessionRefreshed,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable
    from pathlib import Path
    from types import TracebackType

    from callmeter.call_report import CallReport
    from callmeter.endpoint import Endpoint
    from callmeter.media_session import MediaSession
    from callmeter.metrics.call_statistics import CallStatistics
    from callmeter.metrics.report import Finding
    from callmeter.sip.client_session import ClientInviteSession
    from callmeter.sip.invite_session import InviteSession
    from callmeter.sip.message import Request, Response
    from callmeter.sip.server_location import Location
    from callmeter.sip.transaction.key import Key
    from callmeter.trace.message_log import LoggedMessage

__all__ = ["Call"]

SDP = "application/sdp"
REFUSES_MEDIA = frozenset({415, 488, 606})
TRYING = 100
UNHEARD_S = 2.0
"""Seconds after the INVITE, sent three times by then, in which an end of the caller's waits for a
first response."""
USUAL_HANDSHAKE = 5.0
"""Seconds a DTLS handshake takes at most on a path that works; whoever hangs up in them merely did
so."""


class Call(CallRequests):
    """One call, from the INVITE to the response to its BYE.

    Leaving `async with call` hangs up: CANCEL while it rings, BYE once it is answered.

    Attributes:
        media: Its audio.
        remote: The other party's URI.
        call_id: Its Call-ID.
    """

    def __init__(self, endpoint: Endpoint, media: MediaSession, *, remote: str) -> None:
        self.media = media
        self.remote = remote
        self.call_id = ""
        self._call_ids: list[str] = []
        self._endpoint = endpoint
        self._session: InviteSession | None = None
        self._journal = CallJournal(remote, lambda: endpoint.stack.now)
        self._record = self._journal.record
        self._setup = CallerSetup(endpoint, media)
        self._watched = False
        self._changes = CallChanges(endpoint, media, self._journal, self._fail_negotiation)
        self._transfers = CallTransfers(endpoint, self, self._journal)
        self._answered = asyncio.Event()
        self._over = asyncio.Event()
        self._error: CallmeterError | None = None
        self._report: CallReport | None = None
        self._remains: tuple[float, list[LoggedMessage]] | None = None

    def __repr__(self) -> str:
        outcome = self.outcome
        state = self.phase.name if outcome is None else outcome.value
        return f"<{type(self).__name__} with {self.remote}: {state}>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.bye()

    def abandon(self, error: CallmeterError, now: float) -> None:
        """The INVITE never left (called by the endpoint); `error` gets the report."""
        self._record.times.invite_sent_at = now
        self._finish(now, "transport", error, Outcome.OSERROR)
        self._attach_report(error)

    def note_location(self, location: Location) -> None:
        """Where the DNS sent the INVITE (called by the endpoint)."""
        self._record.note_location(location)

    def begin(self, session: InviteSession, now: float) -> None:
        """The INVITE of `session` is on its way (called by the endpoint)."""
        self._session = session
        self.call_id = session.call_id
        self._call_ids.append(session.call_id)
        self._record.call_id = session.call_id
        if self._record.times.invite_sent_at is None:
            self._record.times.invite_sent_at = now
        self._record.life.enter(Phase.CALLING)

    # what it is doing

    @property
    def phase(self) -> Phase:
        """Where the call stands; it only moves forward."""
        return self._record.life.phase

    @property
    def outcome(self) -> Outcome | None:
        """How it ended, None while it runs."""
        return self._record.life.outcome

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self._over.is_set()

    @property
    def elapsed(self) -> float:
        """Seconds since the INVITE, as events count them; 0 before it."""
        return self._journal.at()

    @property
    def session(self) -> InviteSession:
        """The INVITE session (sans-IO), lower stability."""
        if self._session is None:
            raise LocalProtocolError("the call has not begun")
        return self._session

    async def answered(self, timeout: float | None = None) -> None:  # noqa: ASYNC109
        """Wait until the call is answered and its media runs.

        Args:
            timeout: Seconds until CANCEL; None takes the stack's `ring_timeout`.

        Raises:
            CallRejected: The callee or a server refused.
            CallTimedOut: Nobody answered in time.
            CallCancelled: It was cancelled.
            MediaSecurityError: The DTLS handshake failed; `DtlsTimeout`, `FingerprintMismatch` ...
            NegotiationError: The answer has nothing in common with the offer.
            AuthenticationFailed: The credentials were refused.
        """
        limit = self._endpoint.stack.config.timers.ring_timeout if timeout is None else timeout
        try:
            async with asyncio.timeout(limit):
                await self._answered.wait()
        except TimeoutError:
            error: CallmeterError = CallTimedOut(f"no answer within {limit:g} s", timer="ring")
            if self.media.keys_pending:
                error = self.media.unkeyed(
                    DtlsTimeout, f"answered, but no DTLS handshake within {limit:g} s"
                )
            self._error = self._error or error
            self._record.life.settle(Outcome.TIMEOUT)
            await self.bye()
        if self._error is not None:
            raise self._attach_report(self._error)

    async def ended(self) -> None:
        """Wait until the call is over, whoever ends it."""
        await self._over.wait()

    def events(self) -> AsyncIterator[call_events.CallEvent]:
        """What happened (the last 256 events) and happens, until `events.Ended`."""
        return self._journal.read()

    def report(self) -> CallReport:
        """What happened, as one picklable value; complete once the call is over."""
        if self._report is None and self._remains is not None:
            # Made once, of what stood at the end: most calls of a load are never asked.
            ended_at, messages = self._remains
            self._report = self._record.report(ended_at, self.media, messages)
            self._remains = None
        if self._report is not None:
            return self._report
        return self._record.report(self._endpoint.stack.now, self.media, self.messages)

    def statistics(self) -> CallStatistics:
        """The figures of this moment, send and receive apart; cheap enough for every second."""
        return self._record.statistics(self._endpoint.stack.now, self.media)

    def note_scenario(self, executed: int, failed: int) -> None:
        """How many actions of a scenario were done and failed so far (called by its runner)."""
        self._record.note_scenario(executed, failed)
        if self._report is not None:
            self._report = self._record.amended(self._report)

    def diagnosis(self) -> tuple[Finding, ...]:
        """What the checks find so far: each with its evidence, and a remedy where it is bad."""
        if self.over:
            return self.report().diagnosis
        return self._record.diagnosis(self._endpoint.stack.now, self.media, self.messages)

    @property
    def messages(self) -> list[LoggedMessage]:
        """Its SIP messages, secrets removed."""
        log = self._endpoint.messages
        return [message for call_id in self._call_ids for message in log.of_call(call_id)]

    def trace(self, path: str | Path) -> None:
        """Write what was said and heard, at any time.

        Args:
            path: A name that ends in `.pcapng` gets packets for Wireshark: the SIP messages, and
                the media when `MediaConfig.capture` or `call.media.capture()` asked for it. Any
                other gets the ladder and the messages as text. Secrets are left out.

        Raises:
            OSError: The file cannot be written.
        """
        write_trace(path, self.messages, self.media.captures)

    # what a user does

    async def bye(self) -> None:
        """Hang up and wait for the peer's word: CANCEL while it rings, BYE afterwards.

        A peer of which nothing was heard is waited for until two seconds after the INVITE. CANCEL
        has to wait for its first response (RFC 3261 section 9.1), and goes out when that comes,
        as long as the endpoint runs.

        A second call waits for the same end.
        """
        session = self._session
        if session is None or self.over:
            return
        self._record.life.enter(Phase.DISCONNECTING)
        if not session.over:
            self._run(self._hang_up(session))
        if not session.answered and self._record.times.trying_at is None:
            await self._leave_unheard()
        await self._over.wait()

    async def _leave_unheard(self) -> None:
        """Let go of an INVITE without a response: the core sees to what still becomes of it."""
        times, stack = self._record.times, self._endpoint.stack
        begun = stack.now if times.invite_sent_at is None else times.invite_sent_at
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, begun + UNHEARD_S - stack.now)):
                await self._over.wait()
        if times.trying_at is None and not self.over:
            error = CallCancelled("it was given up before the peer had said anything")
            self._finish(stack.now, "cancelled", error, Outcome.CALL_FAILED, unheard=True)

    def _hang_up(self, session: InviteSession) -> Iterable[object]:
        now = self._endpoint.stack.now
        if session.answered:
            return session.bye(now, reason_of(self._error))
        return cast("ClientInviteSession", session).cancel(now)

    # what the core tells

    def on_event(self, event: object, now: float) -> None:
        """One event of the INVITE session (called by the endpoint)."""
        match event:
            case Provisional(session) if not session.answered:
                self._on_provisional(event, now)
            case Redirected(_, target):
                self._tell(call_events.Redirected(self._at(now), str(target)))
            case SessionRefreshed(_, by_peer):
                self._record.refreshes += 1
                self._tell(call_events.SessionRefreshed(self._at(now), by_peer))
            case SessionExpired():
                self._record.expired = True
                self._tell(call_events.SessionExpired(self._at(now)))
            case Answered(_, response):
                self._on_answered(response, now)
            case Established(_, ack):
                self._on_established(ack, now)
            case Failed(_, status, reason, response, cause):
                self._on_failed(status, reason, response, cause, now)
            case Cancelled():
                self._finish(
                    now, "cancelled", CallCancelled("the caller gave up"), Outcome.CALL_FAILED
                )
            case InfoReceived(session, key, request):
                self._on_info(session, key, request, now)
            case ReferReceived(usage):
                self._transfers.on_refer(usage)
            case Ended(_, cause):
                self._on_ended(cause, now)
            case _:
                self._changes.on_event(event, now)

    def _on_provisional(self, event: Provisional, now: float) -> None:
        times, response = self._record.times, event.response
        times.trying_at = times.trying_at or now
        if response.status == TRYING:
            return
        if response.status == 180 or describes_session(response):  # noqa: PLR2004  Ringing
            times.ringing_at = times.ringing_at or now
        self._record.life.enter(Phase.RINGING)
        self._tell(call_events.Ringing(self._at(now), response.status, response.reason))
        try:
            begun = self._setup.on_provisional(event, now)
        except BAD_DESCRIPTION as error:
            self._fail_negotiation(error)
            return
        if begun:
            self._go_early(response.status, now)

    def _go_early(self, status: int, now: float) -> None:
        """Media runs, or waits for its keys, before the call is answered."""
        if self.media.keys_pending:
            work = tell_early_media(self.media, self._journal, status)
            self._endpoint.stack.start_task(work)
        else:
            self._tell(call_events.EarlyMedia(self._at(now), status))
        self._watch()

    def _on_answered(self, response: Response, now: float) -> None:
        times = self._record.times
        times.trying_at = times.trying_at or now
        times.answer_at = now
        self._record.final_status = response.status
        self._record.life.enter(Phase.NEGOTIATING)
        try:
            self._setup.on_answered(self.session, response, now)
        except BAD_DESCRIPTION as error:
            self._fail_negotiation(error)
            return
        self._go(now, response.status)

    def _on_established(self, ack: Request | None, now: float) -> None:
        del ack
        self._go(now, 200)

    def _go(self, now: float, status: int) -> None:
        """Answered and acknowledged: the call runs, once its media has keys."""
        if self.phase is Phase.DISCONNECTING or self._answered.is_set():
            return
        if self.media.keys_pending:
            self._endpoint.stack.start_task(self._await_keys(status))
        else:
            self._enter_call(now, status)

    async def _await_keys(self, status: int) -> None:
        try:
            await self.media.keyed()
        except MediaSecurityError as error:
            if not self.over:
                self._fail_negotiation(error)
        else:
            if self.phase is not Phase.DISCONNECTING and not self.over:
                self._enter_call(self._endpoint.stack.now, status)

    def _enter_call(self, now: float, status: int) -> None:
        self._record.life.enter(Phase.INCALL)
        self._record.keyed_at = now
        self._note_tls()
        self._answered.set()
        self._tell(call_events.Answered(self._at(now), status))
        self._watch()

    def _watch(self) -> None:
        """Tell what happens to the media from now on."""
        if self.media.stream is not None and not self._watched:
            self._watched = True
            self._endpoint.stack.start_task(watch_media(self.media.stream, self._journal))

    def _fail_negotiation(self, error: CallmeterError) -> None:
        # An INVITE that is answered is ended by a BYE (RFC 3261 section 13.2.2.4).
        self._error = self._error or as_negotiation_error(error)
        self._record.life.settle(Outcome.NEGOTIATION_FAILED)
        self._record.life.enter(Phase.DISCONNECTING)
        self._run(self._hang_up(self.session))

    def _on_failed(
        self, status: int, reason: str, response: Response | None, cause: str, now: float
    ) -> None:
        # A timer counts as 408 (RFC 3261 section 8.1.3.1); a network that refuses is no response.
        self._record.final_status = None if cause == "transport" else status
        error: CallmeterError
        outcome = Outcome.CALL_FAILED
        match cause:
            case "timeout":
                error = CallTimedOut("no final response to the INVITE", timer="B")
                outcome = Outcome.TIMEOUT
            case "transport":
                error = self._endpoint.network_error(reason)
                outcome = Outcome.OSERROR
            case "cancelled":
                error = CallCancelled("the call was cancelled")
            case "authentication":
                said = "the credentials were refused"
                if self._endpoint.config.credentials is None:
                    said = "the peer asks for credentials, and there are none"
                error = AuthenticationFailed(f"{said}: {status} {reason}".rstrip(), status=status)
            case _:
                if status in REFUSES_MEDIA and self.media.fall_back(status):
                    self._again_in_clear(now)
                    return
                error = rejection(status, reason, response, self.media.config.srtp)
                if isinstance(error, NegotiationError):
                    outcome = Outcome.NEGOTIATION_FAILED
        self._finish(now, cause, error, outcome)

    def _again_in_clear(self, now: float) -> None:
        """Policy Offered: an offer of SRTP that is refused outright is followed by one without."""
        refused = self.session
        try:
            self._endpoint.invite_again(self)
        except CallmeterError as error:
            self._finish(now, "transport", error, Outcome.OSERROR)
        self._endpoint.forget(refused)

    def _on_info(self, session: InviteSession, key: Key, request: Request, now: float) -> None:
        self._run(session.answer(key, 200, now))
        content = str(request.content_type or "")
        digit = dtmf_of(content, request.body)
        if digit is None:
            self._tell(call_events.InfoReceived(self._at(now), content, request.body))
            return
        self._record.digit("received")
        self._tell(call_events.DtmfReceived(self._at(now), digit[0], digit[1], "info"))

    def _on_ended(self, cause: str, now: float) -> None:
        self._record.times.bye_at = self._record.times.bye_at or now
        if self.media.keys_pending and self._error is None and not self._answered.is_set():
            self._note_unkeyed(cause, now)
        match cause:
            case "bye-sent" | "bye-received" | "rejected":
                self._finish(now, cause, self._error, None)
            case "bye-timeout":
                self._finish(now, cause, self._error, Outcome.TEARDOWN_ERROR)
            case _:
                error, outcome = loss(cause)
                if cause == "prack-timeout":
                    self._record.final_status = 504
                self._finish(now, cause, self._error or error, outcome)

    def _note_unkeyed(self, cause: str, now: float) -> None:
        """The call ended while the DTLS handshake ran: it was never there for its user."""
        answered_at = self._record.times.answer_at
        waited = 0.0 if answered_at is None else now - answered_at
        if cause == "bye-sent":
            self._error = CallCancelled("the call was given up before its media had keys")
            self._record.life.settle(Outcome.CALL_FAILED)
        elif cause == "bye-received" and (self.media.keys.broken_off or waited > USUAL_HANDSHAKE):
            self._error = self.media.unkeyed(
                DtlsHandshakeFailed,
                f"the peer hung up {waited:.1f} s after the answer, and its media had no keys yet",
            )
            self._record.life.settle(Outcome.NEGOTIATION_FAILED)
        elif cause == "bye-received":
            self._error = CallCancelled("the peer hung up before its media had keys")
            self._record.life.settle(Outcome.CALL_FAILED)

    def note_transferred(self, successor: Call) -> None:
        """Another call takes the place of this one (called by whoever answered it)."""
        self._tell(call_events.Transferred(self._at(), successor.remote, successor))

    # the end

    def _finish(
        self,
        now: float,
        cause: str,
        error: CallmeterError | None,
        outcome: Outcome | None,
        *,
        unheard: bool = False,
    ) -> None:
        if self.over:
            return
        self._error = error if self._error is None else self._error
        self.media.close()
        self._note_tls()
        warned = bool(self.media.warnings) or self._record.fell_back or self._record.expired
        self._record.finish(now, self._error, outcome, warned=warned)
        if self._session is not None:
            leave = self._endpoint.release if unheard else self._endpoint.forget
            leave(self._session)
        self._changes.end()
        self._over.set()
        self._answered.set()
        self._remains = now, self.messages
        self._tell(call_events.Ended(self._at(now), cause))
        self._journal.close()

    def _note_tls(self) -> None:
        self._record.tls = self._record.tls or self._endpoint.stack.tls_of_dialog(self.call_id)

    def _attach_report(self, error: CallmeterError) -> CallmeterError:
        error.report = self.report()
        return error

    def _tell(self, event: call_events.CallEvent) -> None:
        self._journal.tell(event)

    def _at(self, now: float | None = None) -> float:
        return self._journal.at(now)

    def _run(self, effects: Iterable[object]) -> None:
        self._endpoint.stack.run(self._endpoint, effects)
