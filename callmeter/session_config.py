"""Settings of the optional extensions of calls: frozen, checked at construction."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from callmeter.errors import ConfigurationError
from callmeter.setting_types import check_types
from callmeter.setting_words import settle

__all__ = [
    "LONGEST_SESSION",
    "MAX_REDIRECTS",
    "SHORTEST_SESSION",
    "Extension",
    "SessionTimerConfig",
    "TransferPolicy",
]

MAX_REDIRECTS = 5
"""How often a call may be sent elsewhere, at most."""

SHORTEST_SESSION = 90
LONGEST_SESSION = 7200
"""Session intervals that can be asked for; RFC 4028 section 4 forbids shorter ones."""


class Extension(Enum):
    """Whether an extension is used."""

    DISABLED = "disabled"
    """It is not offered, and a peer that requires it gets a 420."""
    SUPPORTED = "supported"
    """It is used where the peer can do it, too."""
    REQUIRED = "required"
    """A call without it fails, by 420 or 421."""

    @property
    def offered(self) -> bool:
        """Whether its option tag is in Supported."""
        return self is not Extension.DISABLED


class TransferPolicy(Enum):
    """What becomes of a REFER in a call, and of an INVITE with Replaces (RFC 3515, 3891)."""

    REFUSE = "refuse"
    """They are not served: 405 and 481."""
    ASK = "ask"
    """`events.TransferRequested` tells of a REFER, and `IncomingCall.replaces` of the other."""
    FOLLOW = "follow"
    """The endpoint calls whom the REFER names, and answers a call that replaces one of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionTimerConfig:
    """Session timers (RFC 4028).

    Attributes:
        mode: Whether sessions expire.
        expires: Seconds of Session-Expires to ask for, 90 to 7200.
        min_se: The shortest interval that is taken, 90 to `expires`.
        refresher: Who is asked to refresh: `"uac"`, `"uas"`, or None for no wish.
        soft_expiry: When nobody refreshes, only tell so, and go on.

    Raises:
        ConfigurationError: An interval or the refresher is none of these.
    """

    mode: Extension = Extension.DISABLED
    expires: int = 1800
    min_se: int = SHORTEST_SESSION
    refresher: str | None = "uac"
    soft_expiry: bool = False

    def __post_init__(self) -> None:
        settle(self, mode=Extension)
        check_types(self)
        if not SHORTEST_SESSION <= self.expires <= LONGEST_SESSION:
            raise ConfigurationError(
                f"expires of a session is {SHORTEST_SESSION} to {LONGEST_SESSION} s, "
                f"not {self.expires}"
            )
        if not SHORTEST_SESSION <= self.min_se <= self.expires:
            raise ConfigurationError(
                f"min_se is {SHORTEST_SESSION} s to expires, not {self.min_se}"
            )
        if self.refresher not in {"uac", "uas", None}:
            raise ConfigurationError(
                f"the refresher is 'uac', 'uas' or None, not {self.refresher!r}"
            )
