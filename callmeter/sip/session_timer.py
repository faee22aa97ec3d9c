"""The session timer of one dialog (RFC 4028): what is asked, agreed and due.

It sends nothing: the session adds its header lines, reports what came of them, and calls when
`refresh_at` or `end_at` is reached.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from callmeter.errors import SipSyntaxError
from callmeter.session_config import SHORTEST_SESSION, Extension
from callmeter.sip.extension_headers import SessionExpires

if TYPE_CHECKING:
    from callmeter.session_config import SessionTimerConfig
    from callmeter.sip.message import Message, Request, Response

__all__ = ["MAX_INTERVAL_CHANGES", "SessionTimer", "session_interval"]

INTERVAL_TOO_SMALL = 422

MAX_INTERVAL_CHANGES = 3
"""How often a 422 is obeyed."""

SHORTEST_AGREED = 10
"""No peer may make us refresh more often than for this interval."""

MARGIN = 32.0
"""BYE goes this long before the session expires, or a third of the interval if that is less."""


def session_interval(message: Message, name: str = "Session-Expires") -> SessionExpires | None:
    """The Session-Expires or Min-SE of a message; None when absent or malformed."""
    value = message.headers.get_raw(name)
    if value is None:
        return None
    try:
        return SessionExpires.parse(value)
    except SipSyntaxError:
        return None


class SessionTimer:
    """The interval that both ends agreed on, and who refreshes.

    Attributes:
        policy: What we want.
        interval: Seconds agreed on; 0 while the session does not expire.
        refreshing: Whether refreshing is our duty.
        refresh_at: When to refresh, None if that is not our duty.
        end_at: When to end a session that nobody refreshed, None if it does not expire.
        sent: Refreshes of ours that the peer confirmed.
        received: Refreshes of the peer.
        failed: Refreshes of ours that were refused or lost.
        expired: Times that nobody refreshed in time.
    """

    __slots__ = (
        "_asked",
        "_changes",
        "_min_se",
        "end_at",
        "expired",
        "failed",
        "interval",
        "policy",
        "received",
        "refresh_at",
        "refreshing",
        "sent",
    )

    def __init__(self, policy: SessionTimerConfig) -> None:
        self.policy = policy
        self.interval = 0
        self.refreshing = False
        self.refresh_at: float | None = None
        self.end_at: float | None = None
        self.sent = 0
        self.received = 0
        self.failed = 0
        self.expired = 0
        self._asked = policy.expires
        self._changes = 0
        self._min_se = policy.min_se

    def __repr__(self) -> str:
        duty = "refreshing" if self.refreshing else "waiting"
        return f"<SessionTimer {self.interval} s, {duty}>" if self.interval else "<SessionTimer>"

    @property
    def refreshes(self) -> int:
        """Refreshes of both ends."""
        return self.sent + self.received

    # -- What we ask ------------------------------------------------------------------------

    def invite_lines(self) -> list[tuple[str, str]]:
        """What an INVITE outside a dialog asks for (section 7.1)."""
        if not self.policy.mode.offered:
            return []
        lines = self._lines(SessionExpires(self._asked, self.policy.refresher))
        if self.policy.mode is Extension.REQUIRED:
            lines.append(("Require", "timer"))
        return lines

    def refresh_lines(self) -> list[tuple[str, str]]:
        """What a re-INVITE or UPDATE says: roles stay as they are (section 7.4)."""
        if not self.interval:
            return []
        refresher = "uac" if self.refreshing else "uas"
        return self._lines(SessionExpires(max(self.interval, self._min_se), refresher))

    def _lines(self, value: SessionExpires) -> list[tuple[str, str]]:
        lines = [("Session-Expires", str(value))]
        if self._min_se > SHORTEST_SESSION:
            lines.append(("Min-SE", str(self._min_se)))
        return lines

    def lengthen(self, response: Response) -> bool:
        """Obey a 422 (section 7.3); False if it asks for no more than we did, or too often."""
        least = session_interval(response, "Min-SE")
        self._changes += 1
        if (
            least is None
            or least.seconds <= self._min_se
            or self._changes > MAX_INTERVAL_CHANGES
            or not self.policy.mode.offered
        ):
            return False
        self._min_se = least.seconds
        self._asked = max(self._asked, self._min_se)
        return True

    def on_answer(self, response: Response, now: float) -> None:
        """A 2xx to our INVITE, re-INVITE or UPDATE (section 7.2)."""
        agreed = session_interval(response)
        if agreed is None or not self.policy.mode.offered:
            self.stop()
        else:
            self._start(agreed.seconds, now, refreshing=agreed.refresher != "uas")

    # -- What the peer asks -----------------------------------------------------------------

    def inspect(self, request: Request) -> tuple[int, tuple[tuple[str, str], ...]] | None:
        """Status and header lines that refuse an INVITE or UPDATE (section 9); None if none."""
        if not self.policy.mode.offered:
            return None
        supported = _supports(request)
        if not supported and self.policy.mode is Extension.REQUIRED and request.to_tag is None:
            return 421, (("Require", "timer"),)
        asked = session_interval(request)
        # A peer that knows nothing of timers, for which a proxy asks, would not know what 422 is.
        if supported and asked is not None and asked.seconds < self.policy.min_se:
            return INTERVAL_TOO_SMALL, (("Min-SE", str(self.policy.min_se)),)
        return None

    def answer(self, request: Request, now: float) -> list[tuple[str, str]]:
        """What our 2xx says, and from now on holds (section 9, table 2)."""
        asked = session_interval(request)
        supported = _supports(request)
        if not self.policy.mode.offered or (asked is None and not supported):
            self.stop()
            return []
        least = session_interval(request, "Min-SE")
        wanted = max(self.policy.expires, 0 if least is None else least.seconds)
        seconds = wanted if asked is None else min(asked.seconds, wanted)
        if not supported:
            refresher = "uas"
        elif asked is not None and asked.refresher is not None:
            refresher = asked.refresher
        elif self.interval:
            refresher = "uas" if self.refreshing else "uac"
        else:
            refresher = self.policy.refresher or "uac"
        self._start(seconds, now, refreshing=refresher == "uas")
        lines = [("Session-Expires", str(SessionExpires(seconds, refresher)))]
        return [*lines, ("Require", "timer")] if supported else lines

    # -- What is due ------------------------------------------------------------------------

    def stop(self) -> None:
        """The session does not expire."""
        self.interval = 0
        self.refresh_at = self.end_at = None
        self.refreshing = False

    def on_refresh_failed(self, now: float) -> None:
        """Our refresh failed: try again in half of the time that is left, if it is worth it."""
        self.failed += 1
        left = (self.end_at or now) - now
        self.refresh_at = now + left / 2 if left > MARGIN / 4 else None

    def _start(self, seconds: int, now: float, *, refreshing: bool) -> None:
        self.interval = max(seconds, SHORTEST_AGREED)
        self.refreshing = refreshing
        self.refresh_at = now + self.interval / 2 if refreshing else None
        # Section 10: a little before the session expires, lest the peer be first.
        self.end_at = now + self.interval - min(MARGIN, self.interval / 3)


def _supports(request: Request) -> bool:
    return "timer" in request.supported or "timer" in request.require
