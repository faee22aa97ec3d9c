"""The caller's side of an invite session, up to the answer (RFC 3261 section 13.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from callmeter.errors import LocalProtocolError
from callmeter.session_config import Extension
from callmeter.sip.client_requests import CHALLENGES
from callmeter.sip.dialog import Dialog
from callmeter.sip.dialog_usage import UNANSWERED, Role, SessionState
from callmeter.sip.headers import CSeq, NameAddr
from callmeter.sip.invite_session import InviteSession
from callmeter.sip.message import REASON_PHRASES
from callmeter.sip.redirection import TargetSet
from callmeter.sip.session_events import Answered, CancelRequest, Failed, Redirected
from callmeter.sip.session_modification import Offer
from callmeter.sip.session_timer import INTERVAL_TOO_SMALL

if TYPE_CHECKING:
    from callmeter.sip.client_requests import ClientRequest
    from callmeter.sip.message import Request, Response
    from callmeter.sip.session_events import Effect
    from callmeter.sip.transaction.key import Key
    from callmeter.sip.uri import SipUri
    from callmeter.sip.usage import Agent, HeaderLines

__all__ = ["ClientInviteSession"]

MAX_FORKS = 32
"""A proxy reaches no more phones at once than that; a hostile peer may invent tags."""


class ClientInviteSession(InviteSession):
    """A call we make.

    Attributes:
        early_dialogs: What provisional responses created, by the callee's tag.
    """

    __slots__ = (
        "_cseq",
        "_initial",
        "_manual_prack",
        "_proposal",
        "_target",
        "_targets",
        "early_dialogs",
    )

    role: ClassVar[Role] = Role.UAC

    def __init__(self, agent: Agent, target: SipUri, call_id: str | None = None) -> None:
        self._cseq = 1
        self._initial: ClientRequest | None = None
        self._manual_prack = False
        self._proposal = Offer(b"", "", ())
        self._target = target
        self._targets = TargetSet(target, agent.capabilities.redirects)
        self.early_dialogs: dict[str, Dialog] = {}
        local_tag = agent.new_tag()
        request = agent.create_request(
            "INVITE",
            target,
            NameAddr(target.aor()),
            CSeq(self._cseq, "INVITE"),
            call_id or agent.new_call_id(),
            local_tag,
        )
        super().__init__(agent, request, local_tag, SessionState.CALLING, None)

    def start(
        self,
        body: bytes,
        content_type: str,
        headers: HeaderLines,
        *,
        manual_prack: bool = False,
    ) -> list[Effect]:
        """Send the INVITE; without a body it asks for an offer."""
        self._manual_prack = manual_prack
        self._proposal = Offer(body, content_type, tuple(headers))
        return self._invite_callee()

    def _invite_callee(self) -> list[Effect]:
        proposal = self._proposal
        lines = [*proposal.headers, *self.timer.invite_lines()]
        if self._agent.capabilities.reliable is Extension.REQUIRED:
            lines.append(("Require", "100rel"))
        self._agent.complete(
            self.request, lines, proposal.body, proposal.content_type, contact=True
        )
        self._initial, effects = self._agent.requests.send(self.request, self, self._next_cseq)
        self._invite = self._initial
        return effects

    def _invite_again(self, target: SipUri) -> list[Effect]:
        """Send the INVITE anew, as sections 8.1.3.4 and 8.1.3.5 want it."""
        self.early_dialogs.clear()
        self.state = SessionState.CALLING
        self.request = self._agent.create_request(
            "INVITE",
            target,
            self.request.to,
            CSeq(self._next_cseq(), "INVITE"),
            self.call_id,
            self.local_tag,
        )
        return self._invite_callee()

    def cancel(self, now: float, headers: HeaderLines = ()) -> list[Effect]:
        """Give up before the answer (section 9.1); nothing if that was done already.

        `Failed` follows, with the cause "cancelled". A 2xx that crosses the CANCEL is
        acknowledged and ended by BYE.

        Raises:
            LocalProtocolError: The call was answered: end it by `bye`.
        """
        del now
        if self.over or self.state is SessionState.CANCELLING:
            return []
        if self._initial is None or self.state not in UNANSWERED:
            raise LocalProtocolError("the call was answered: bye, not cancel, ends it")
        self.state = SessionState.CANCELLING
        self._initial.abandoned = True
        return [CancelRequest(self._initial.token, tuple(headers))]

    def give_way(self, now: float) -> list[Effect]:
        """End the session, answered or not, because another one took its place."""
        return super().give_way(now) if self.answered else self.cancel(now)

    def on_request(self, key: Key, request: Request, now: float) -> list[Effect]:
        """As in any dialog; a BYE may come early, when each 2xx was lost on its way."""
        if self.state not in UNANSWERED or request.method != "BYE":
            return super().on_request(key, request, now)
        return [self._reply(key, request, 200), *self.cancel(now)]

    def _dialogs(self) -> dict[str, Dialog]:
        return self.early_dialogs if self.dialog is None else super()._dialogs()

    def _next_cseq(self) -> int:
        self._cseq += 1
        return self._cseq

    def _dialog_of(self, request: Request) -> Dialog | None:
        if self.dialog is None:
            return self.early_dialogs.get(request.from_tag or "")
        return super()._dialog_of(request)

    def _on_invite_response(
        self, sent: ClientRequest, response: Response, now: float
    ) -> list[Effect]:
        if sent is not self._initial:
            return super()._on_invite_response(sent, response, now)
        if 200 <= response.status < 300:  # noqa: PLR2004  a success
            return self._on_success(sent, response, now)
        if self.state not in UNANSWERED:
            return []
        self.last_response = response
        if response.status < 200:  # noqa: PLR2004  the first final status
            return self._on_provisional(sent, response)
        self._invite = None
        if self.state is SessionState.CANCELLING:
            cause = "cancelled"
        else:
            again = self._try_again(response)
            if again:
                return again
            cause = "authentication" if response.status in CHALLENGES else "rejected"
        return self._finish(Failed(self, response.status, response.reason, response, cause))

    def _try_again(self, response: Response) -> list[Effect]:
        """What a refusal leaves to try: another session interval, or another target."""
        status, target = response.status, self._target
        if status == INTERVAL_TOO_SMALL and self.timer.lengthen(response):
            return self._invite_again(target)
        if status // 100 == 3:  # noqa: PLR2004  a redirection
            self._targets.add(response)
        # A 6xx speaks for all targets, and a challenge would come again.
        if status >= 600 or status in CHALLENGES:  # noqa: PLR2004  the class of global failures
            return []
        return self._follow()

    def _follow(self) -> list[Effect]:
        target = self._targets.next()
        if target is None:
            return []
        self._target = target
        return [Redirected(self, target), *self._invite_again(target)]

    def _on_invite_failure(self, sent: ClientRequest, status: int, cause: str) -> list[Effect]:
        if sent is not self._initial:
            return super()._on_invite_failure(sent, status, cause)
        if self.state not in UNANSWERED:
            return []
        self._invite = None
        if self.state is SessionState.CANCELLING:
            cause = "cancelled"
        else:
            again = self._follow()
            if again:
                return again
        reason = sent.error or REASON_PHRASES[status]
        return self._finish(Failed(self, status, reason, None, cause))

    def _on_provisional(self, sent: ClientRequest, response: Response) -> list[Effect]:
        if response.status > 100:  # noqa: PLR2004  a 100 creates no dialog
            if self.state is SessionState.CALLING:
                self.state = SessionState.EARLY
            tag = response.to_tag
            known = self.early_dialogs
            if tag and tag not in known and len(known) < MAX_FORKS:
                known[tag] = Dialog.from_response(sent.request, response)
        dialog = self.early_dialogs.get(response.to_tag or "")
        asked = not sent.request.body and dialog is not None and not dialog.exchange.complete
        return self._on_provisional_in(dialog, response, asked=asked, manual=self._manual_prack)

    def _on_success(self, sent: ClientRequest, response: Response, now: float) -> list[Effect]:
        tag = response.to_tag or ""
        repeated = self._acks.get((sent.token, tag))
        if repeated is not None:
            return [repeated]
        if self.dialog is None:
            return self._on_first_success(sent, response, now)
        if tag == self.dialog.remote_tag:
            return []  # its ACK waits for the application's answer
        if len(self._acks) >= MAX_FORKS:
            return []
        # Section 13.2.2.4: another fork has answered, too; one call is enough.
        fork = Dialog.from_response(sent.request, response)
        ack = self._acknowledge(sent, fork)
        _, bye = self._send(fork, "BYE")
        return [ack, *bye]

    def _on_first_success(
        self, sent: ClientRequest, response: Response, now: float
    ) -> list[Effect]:
        dialog = self.early_dialogs.get(response.to_tag or "")
        if dialog is None:
            dialog = Dialog.from_response(sent.request, response)
        else:
            dialog.confirm(response)
        self.early_dialogs.clear()
        self.dialog = dialog
        self.last_response = response
        self._invite = None
        self._await_further(sent, now)
        if self.state is SessionState.CANCELLING:
            ack = self._acknowledge(sent, dialog)
            failed = Failed(self, 487, REASON_PHRASES[487], response, "cancelled")
            return [ack, *self._send_bye(dialog, failed)]
        events: list[Effect] = [Answered(self, response), *self._timer_answered(response, now)]
        if self._settle_offer(sent, dialog, response, taken=dialog.exchange.complete):
            self.state = SessionState.ANSWERED
            return events
        self.state = SessionState.ESTABLISHED
        return [self._acknowledge(sent, dialog), *events]
