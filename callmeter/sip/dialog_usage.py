"""The life of a session inside its dialog: requests both ways, and the end (RFC 3261 12.2, 15).

`InviteSession` adds INVITEs to it. A session ends with exactly one of the events `Failed`,
`Cancelled` and `Ended`.
"""

from __future__ import annotations

from abc import abstractmethod
from enum import Enum
from typing import TYPE_CHECKING, ClassVar

from callmeter.errors import LocalProtocolError
from callmeter.sip.dialog import DialogState
from callmeter.sip.session_events import (
    Cancelled,
    Ended,
    InfoReceived,
    MessageReceived,
    RequestAnswered,
    RequestFailed,
    RequestReceived,
    Respond,
)
from callmeter.sip.usage import Usage

if TYPE_CHECKING:
    from callmeter.sip.client_requests import ClientRequest
    from callmeter.sip.dialog import Dialog
    from callmeter.sip.headers import NameAddr
    from callmeter.sip.invite_session import InviteSession
    from callmeter.sip.message import Request, Response
    from callmeter.sip.session_events import Effect, Event
    from callmeter.sip.transaction.key import Key
    from callmeter.sip.uri import Uri
    from callmeter.sip.usage import Agent, HeaderLines

__all__ = ["UNANSWERED", "DialogUsage", "Role", "SessionState"]

DIALOG_LOST = {408: "timeout", 481: "dialog-lost"}
"""Responses that end the dialog, whatever they answer (RFC 3261 section 12.2.1.2)."""


class Role(Enum):
    """Who called."""

    UAC = "uac"
    UAS = "uas"


class SessionState(Enum):
    """How far the session is."""

    CALLING = "calling"
    """UAC: nothing but a 100 came yet."""
    INCOMING = "incoming"
    """UAS: nothing was answered yet."""
    EARLY = "early"
    """A provisional response above 100 came or went."""
    CANCELLING = "cancelling"
    """UAC: CANCEL was asked for; the final response is awaited."""
    ANSWERED = "answered"
    """A 2xx came or went; its ACK is outstanding."""
    ESTABLISHED = "established"
    """INVITE, 2xx, ACK: complete."""
    ENDING = "ending"
    """Our BYE waits for its response."""
    ENDED = "ended"


UNANSWERED = frozenset(
    {SessionState.CALLING, SessionState.INCOMING, SessionState.EARLY, SessionState.CANCELLING}
)
CONTACT_METHODS = frozenset({"INVITE", "NOTIFY", "REFER", "SUBSCRIBE", "UPDATE"})
"""Requests that refresh the target, so that they say where we are reached."""

CHANGES = ("retry", "update-retry", "refresh", "expiry")
"""Timers of what is not done any more once BYE was sent."""

OVER = frozenset({SessionState.ENDING, SessionState.ENDED})


class DialogUsage(Usage):
    """A session apart from its INVITEs.

    Attributes:
        role: Who called.
        state: How far it is.
        request: The INVITE that started it.
        dialog: The dialog; a UAC has none before the 2xx.
        last_response: The last response to `request`, received or sent.
    """

    __slots__ = ("_bye", "_end", "_open", "dialog", "last_response", "request", "state")

    role: ClassVar[Role]

    def __init__(
        self,
        agent: Agent,
        request: Request,
        local_tag: str,
        state: SessionState,
        dialog: Dialog | None,
    ) -> None:
        super().__init__(agent, request.call_id, local_tag)
        self.request = request
        self.state = state
        self.dialog = dialog
        self.last_response: Response | None = None
        self._bye: ClientRequest | None = None
        self._end: Event | None = None
        self._open: dict[Key, Request] = {}

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.call_id} {self.state.value}>"

    @property
    def answered(self) -> bool:
        """Whether a 2xx came or went and the dialog still lives."""
        return self.dialog is not None and self.dialog.confirmed

    @property
    def over(self) -> bool:
        """Whether BYE was sent or the session ended."""
        return self.state in OVER

    @property
    def local(self) -> NameAddr:
        """Our From or To."""
        return self.request.from_ if self.dialog is None else self.dialog.local

    @property
    def remote(self) -> NameAddr:
        """The peer's From or To."""
        return self.request.to if self.dialog is None else self.dialog.remote

    @property
    def remote_target(self) -> Uri:
        """Where the next request goes."""
        return self.request.uri if self.dialog is None else self.dialog.remote_target

    def info(
        self, content_type: str, body: bytes, now: float, *, headers: HeaderLines = ()
    ) -> tuple[int, list[Effect]]:
        """Send an INFO; `RequestAnswered` or `RequestFailed` with the token follows."""
        return self.send("INFO", now, body=body, content_type=content_type, headers=headers)

    def send(
        self,
        method: str,
        now: float,
        *,
        body: bytes = b"",
        content_type: str = "",
        headers: HeaderLines = (),
    ) -> tuple[int, list[Effect]]:
        """Send a request of another method in the dialog, as `info` does.

        Raises:
            LocalProtocolError: The session is not answered, or over.
        """
        del now
        sent, effects = self._send(self._confirmed_dialog(), method, headers, body, content_type)
        return sent.handle, effects

    def answer(
        self,
        key: Key,
        status: int,
        now: float,
        *,
        reason: str | None = None,
        headers: HeaderLines = (),
    ) -> list[Effect]:
        """Answer an INFO, a MESSAGE or a further request by its key; nothing if that was done."""
        del now
        request = self._open.pop(key, None)
        if request is None:
            return []
        return [self._reply(key, request, status, reason=reason, headers=headers)]

    def on_request(self, key: Key, request: Request, now: float) -> list[Effect]:
        """A request for this Call-ID and our tag, of a method that is served."""
        dialog = self._dialog_of(request)
        if dialog is None or (self.over and request.method != "BYE"):
            return [self._reply(key, request, 481)]
        if not dialog.in_order(request):
            return [self._reply(key, request, 500, reason="CSeq Out Of Order")]
        match request.method:
            case "BYE":
                return self._on_bye(key, request)
            case "INVITE":
                return self._on_reinvite(key, request, now)
            case _:
                return self._on_method(key, request, now)

    def on_response(self, sent: ClientRequest, response: Response, now: float) -> list[Effect]:
        """A response to a request of this session."""
        if sent.request.method == "INVITE":
            return self._on_invite_response(sent, response, now)
        if response.status < 200:  # noqa: PLR2004  the first final status
            return []
        if sent.request.method == "BYE":
            return self._on_bye_done(sent, "bye-sent")
        effects: list[Effect] = [RequestAnswered(sent.handle, response)]
        return effects + self._check_lost(response)

    def on_failure(self, sent: ClientRequest, status: int, cause: str, now: float) -> list[Effect]:
        """No response came to a request of this session."""
        del now
        if sent.request.method == "INVITE":
            return self._on_invite_failure(sent, status, cause)
        if sent.request.method == "BYE":
            return self._on_bye_done(sent, "bye-timeout" if cause == "timeout" else cause)
        effects: list[Effect] = [RequestFailed(sent.handle, status, cause, sent.error)]
        # A lost connection is not a lost dialog: the next request may find another way.
        return effects + self._lose(cause) if cause == "timeout" and self.answered else effects

    def _on_method(self, key: Key, request: Request, now: float) -> list[Effect]:
        """A request in the dialog, in order, of any method but BYE and INVITE."""
        del now
        if request.method in {"INFO", "MESSAGE"}:
            self._open[key] = request
            kind = InfoReceived if request.method == "INFO" else MessageReceived
            return [kind(self._session, key, request)]
        if request.method in self._agent.capabilities.further:
            self._open[key] = request
            return [RequestReceived(self._session, key, request)]
        return [self._reply(key, request, 200, headers=self._agent.capabilities.lines)]

    @property
    @abstractmethod
    def _session(self) -> InviteSession:
        """This usage, as events name it."""

    @abstractmethod
    def _on_reinvite(self, key: Key, request: Request, now: float) -> list[Effect]:
        """An INVITE in the dialog."""

    @abstractmethod
    def _on_invite_response(
        self, sent: ClientRequest, response: Response, now: float
    ) -> list[Effect]:
        """A response to an INVITE of ours."""

    @abstractmethod
    def _on_invite_failure(self, sent: ClientRequest, status: int, cause: str) -> list[Effect]:
        """No response to an INVITE of ours."""

    @abstractmethod
    def _withdraw(self) -> list[Effect]:
        """The session ends: answer the peer's INVITE and drop our plans."""

    def _dialog_of(self, request: Request) -> Dialog | None:
        dialog = self.dialog
        if dialog is None or dialog.remote_tag != (request.from_tag or ""):
            return None
        return dialog

    def _confirmed_dialog(self) -> Dialog:
        dialog = self.dialog
        if dialog is None or not dialog.confirmed or self.over:
            raise LocalProtocolError(f"no session is established: it is {self.state.value}")
        return dialog

    def _send(
        self,
        dialog: Dialog,
        method: str,
        headers: HeaderLines = (),
        body: bytes = b"",
        content_type: str = "",
    ) -> tuple[ClientRequest, list[Effect]]:
        request = dialog.create_request(method)
        self._agent.complete(
            request, headers, body, content_type, contact=method in CONTACT_METHODS
        )
        return self._agent.requests.send(request, self, dialog.next_cseq)

    def _reply(
        self,
        key: Key,
        request: Request,
        status: int,
        *,
        reason: str | None = None,
        headers: HeaderLines = (),
        body: bytes = b"",
        content_type: str = "",
        contact: bool = False,
    ) -> Respond:
        response = self._agent.respond(
            request,
            status,
            tag=self.local_tag,
            reason=reason,
            headers=headers,
            body=body,
            content_type=content_type,
            contact=contact,
        )
        return Respond(key, response)

    def _send_bye(self, dialog: Dialog, end: Event, headers: HeaderLines = ()) -> list[Effect]:
        """Send BYE; `end` is the event once it is answered."""
        self.state = SessionState.ENDING
        self._end = end
        self._disarm(*CHANGES)
        self._bye, effects = self._send(dialog, "BYE", headers)
        return effects

    def _on_bye(self, key: Key, request: Request) -> list[Effect]:
        reply = self._reply(key, request, 200)
        if self.over:
            return [reply]  # two BYEs crossed: ours will be answered, too
        if self.answered:
            end: Event = Ended(self._session, "bye-received")
        else:
            end = Cancelled(self._session)
        # Section 15.1.2: what is pending is answered, and first, so that nobody waits for it.
        *replies, event = self._finish(end)
        return [*replies, reply, event]

    def _on_bye_done(self, sent: ClientRequest, cause: str) -> list[Effect]:
        if sent is not self._bye:
            return []  # sent after the end, or to a fork
        end = self._end
        if end is None or (isinstance(end, Ended) and cause != "bye-sent"):
            end = Ended(self._session, cause)
        return self._finish(end)

    def _check_lost(self, response: Response) -> list[Effect]:
        # In an early dialog it is one of several, perhaps, and the INVITE decides.
        if response.status not in DIALOG_LOST or not self.answered:
            return []
        return self._lose(DIALOG_LOST[response.status])

    def _lose(self, cause: str) -> list[Effect]:
        """Give the dialog up; a BYE tells the peer, should it still be there."""
        if self.over or self.dialog is None:
            return []
        _, effects = self._send(self.dialog, "BYE")
        return effects + self._finish(Ended(self._session, cause))

    def _finish(self, event: Event) -> list[Effect]:
        """End, once: answer what is open, stop, and leave the table."""
        effects: list[Effect] = [
            self._reply(key, request, 487) for key, request in self._open.items()
        ]
        self._open.clear()
        effects += self._withdraw()
        self.state = SessionState.ENDED
        if self.dialog is not None:
            self.dialog.state = DialogState.TERMINATED
        # The integers stay: a late 2xx is acknowledged even now.
        self._disarm(*[name for name in self._timers if isinstance(name, str)])
        self._agent.sessions.pop((self.call_id, self.local_tag), None)
        return [*effects, event]
