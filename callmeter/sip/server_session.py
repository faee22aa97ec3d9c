"""The callee's side of an invite session, up to the answer (RFC 3261 section 13.3)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from callmeter.errors import LocalProtocolError
from callmeter.sip.capabilities import ACCEPT
from callmeter.sip.dialog import Dialog, DialogState
from callmeter.sip.dialog_usage import Role, SessionState
from callmeter.sip.invite_session import InviteSession, Served
from callmeter.sip.session_events import Cancelled, Ended, IncomingInvite, Respond

if TYPE_CHECKING:
    from callmeter.sip.message import Request
    from callmeter.sip.session_events import Effect
    from callmeter.sip.transaction.key import Key
    from callmeter.sip.usage import Agent, HeaderLines, TimerName

__all__ = ["ServerInviteSession"]

REPEAT_PROVISIONAL = 60.0
"""Proxies give a silent INVITE up after three minutes (section 13.3.1.1)."""


class ServerInviteSession(InviteSession):
    """A call we get."""

    __slots__ = ("_provisional",)

    role: ClassVar[Role] = Role.UAS

    def __init__(self, agent: Agent, key: Key, request: Request) -> None:
        local_tag = agent.new_tag()
        dialog = Dialog.from_request(request, local_tag)
        super().__init__(agent, request, local_tag, SessionState.INCOMING, dialog)
        self._provisional: list[Effect] = []
        self._serve(Served(key, request, []))

    def start(self, now: float) -> list[Effect]:
        """Tell of the call, and note how long the caller will wait (section 13.3.1)."""
        expires = self.request.expires
        if expires is not None:
            self._arm("expires", now + expires)
        return [IncomingInvite(self)]

    def progress(
        self,
        status: int,
        now: float,
        *,
        reason: str | None = None,
        body: bytes = b"",
        content_type: str = ACCEPT,
        headers: HeaderLines = (),
    ) -> list[Effect]:
        """Send a provisional response, and again each minute until the final one.

        Raises:
            LocalProtocolError: The INVITE has its final response.
            ValueError: The status is none of 101 to 199.
        """
        _, served = self._unanswered()
        if not 101 <= status <= 199:  # noqa: PLR2004  100 is the transaction's own
            raise ValueError(f"a provisional status is 101 to 199, not {status}")
        self.state = SessionState.EARLY
        response = self._agent.respond(
            served.request,
            status,
            tag=self.local_tag,
            reason=reason,
            headers=[*self._record_routes(), *headers],
            body=body,
            content_type=content_type,
            contact=True,
        )
        self.last_response = response
        self._provisional = [Respond(served.key, response)]
        self._arm("progress", now + REPEAT_PROVISIONAL)
        return list(self._provisional)

    def accept(
        self, body: bytes, now: float, *, content_type: str = ACCEPT, headers: HeaderLines = ()
    ) -> list[Effect]:
        """Answer the call; `Established` follows when the ACK comes.

        Raises:
            LocalProtocolError: The INVITE has its final response.
        """
        dialog, served = self._unanswered()
        self._disarm("progress", "expires")
        self.state = SessionState.ANSWERED
        dialog.state = DialogState.CONFIRMED
        lines = [*self._record_routes(), *headers]
        return self._send_success(served, body, content_type, lines, now)

    def reject(
        self, status: int, now: float, *, reason: str | None = None, headers: HeaderLines = ()
    ) -> list[Effect]:
        """Refuse or redirect the call by a status from 300 to 699.

        Raises:
            LocalProtocolError: The INVITE has its final response.
            ValueError: The status is none of 300 to 699.
        """
        del now
        _, served = self._unanswered()
        if not 300 <= status <= 699:  # noqa: PLR2004  the classes of refusal
            raise ValueError(f"a refusal has a status from 300 to 699, not {status}")
        order = self._refuse(served, status, reason, headers)
        self.last_response = order.response
        return [order, *self._finish(Ended(self, "rejected"))]

    def _on_timer(self, name: TimerName, now: float) -> list[Effect]:
        match name:
            case "progress":
                self._arm("progress", now + REPEAT_PROVISIONAL)
                return list(self._provisional)
            case "expires":
                return self._finish(Cancelled(self))
            case _:
                return super()._on_timer(name, now)

    def _unanswered(self) -> tuple[Dialog, Served]:
        dialog, served = self.dialog, self._served
        if dialog is None or served is None or dialog.state is not DialogState.EARLY:
            raise LocalProtocolError(f"the call has its final response: it is {self.state.value}")
        return dialog, served

    def _record_routes(self) -> list[tuple[str, str]]:
        """What a response that creates a dialog repeats (section 12.1.1)."""
        return [("Record-Route", line) for line in self.request.headers.get_all("Record-Route")]
