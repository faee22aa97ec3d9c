"""Whether an offer waits for its answer in a dialog (RFC 3264 section 4, RFC 6337 section 2).

Descriptions are opaque here: what counts is which message brought one, and who owes an answer.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from callmeter.errors import SipSyntaxError

if TYPE_CHECKING:
    from callmeter.sip.message import Message

__all__ = ["OfferExchange", "Pending", "describes_session"]

DESCRIPTIONS = frozenset({"application/sdp", "multipart/mixed", "multipart/alternative"})


class Pending(Enum):
    """Whose offer has no answer yet."""

    NONE = "none"
    LOCAL = "local"
    REMOTE = "remote"


class OfferExchange:
    """The offer/answer exchanges of one dialog, one after the other.

    Attributes:
        pending: Whose offer waits for an answer.
        complete: Whether a first exchange is done: later descriptions in responses to the same
            INVITE are copies (RFC 6337 section 2.1).
    """

    __slots__ = ("complete", "pending")

    def __init__(self, pending: Pending = Pending.NONE) -> None:
        self.pending = pending
        self.complete = False

    def __repr__(self) -> str:
        return f"<OfferExchange {self.pending.value}>"

    @property
    def idle(self) -> bool:
        """Whether either end may make an offer."""
        return self.pending is Pending.NONE

    def on_sent(self) -> None:
        """We sent a description: the answer to theirs, or an offer."""
        self._on_description(Pending.REMOTE, Pending.LOCAL)

    def on_received(self) -> None:
        """They sent a description: the answer to ours, or an offer."""
        self._on_description(Pending.LOCAL, Pending.REMOTE)

    def withdraw(self) -> None:
        """The offer was refused or came to nothing."""
        self.pending = Pending.NONE

    def _on_description(self, answered: Pending, offered: Pending) -> None:
        if self.pending is answered:
            self.pending = Pending.NONE
            self.complete = True
        else:
            self.pending = offered


def describes_session(message: Message) -> bool:
    """Whether a message carries an offer or an answer."""
    if not message.body:
        return False
    try:
        content_type = message.content_type
    except SipSyntaxError:
        return False
    return content_type is not None and content_type.media_type in DESCRIPTIONS
