"""What happens in a call, as frozen values: `async for event in call.events()`.

Times are seconds since the INVITE was sent or received, on the monotonic clock.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from callmeter.call import Call
    from callmeter.call_transfer import TransferRequest

__all__ = [
    "Answered",
    "CallEvent",
    "ConsentExpired",
    "DtmfReceived",
    "EarlyMedia",
    "Ended",
    "Held",
    "InfoReceived",
    "MediaSilent",
    "MediaSourceChanged",
    "MediaStarted",
    "MediaUnreadable",
    "Redirected",
    "Rekeyed",
    "Resumed",
    "Ringing",
    "SessionExpired",
    "SessionRefreshed",
    "TransferProgress",
    "TransferRequested",
    "Transferred",
    "Updated",
]


@dataclass(frozen=True, slots=True)
class CallEvent:
    """Base of all call events.

    Attributes:
        at: Seconds since the INVITE.
    """

    at: float


@dataclass(frozen=True, slots=True)
class Ringing(CallEvent):
    """A provisional response above 100 came, or we sent one."""

    status: int
    reason: str


@dataclass(frozen=True, slots=True)
class EarlyMedia(CallEvent):
    """Media runs before the call is answered: a provisional response said where (RFC 3960)."""

    status: int


@dataclass(frozen=True, slots=True)
class Redirected(CallEvent):
    """The INVITE was sent elsewhere by a 3xx, or a target of one refused: `target` is next."""

    target: str


@dataclass(frozen=True, slots=True)
class Answered(CallEvent):
    """The INVITE was answered with a 2xx."""

    status: int


@dataclass(frozen=True, slots=True)
class MediaStarted(CallEvent):
    """The first media packet that could be read; `source` is `"host:port"`."""

    source: str


@dataclass(frozen=True, slots=True)
class MediaSourceChanged(CallEvent):
    """Media now comes from another address or with another SSRC; the other field is empty."""

    source: str = ""
    ssrc: int | None = None


@dataclass(frozen=True, slots=True)
class MediaSilent(CallEvent):
    """No media packet came for `seconds`."""

    seconds: float


@dataclass(frozen=True, slots=True)
class ConsentExpired(CallEvent):
    """A peer with ICE has not checked its way to us for `seconds` (RFC 7675): it has gone."""

    peer: str
    seconds: float


@dataclass(frozen=True, slots=True)
class MediaUnreadable(CallEvent):
    """Packets arrive and none can be authenticated: the keys differ, or they are plain RTP."""

    packets: int
    looks_like_plain_rtp: bool


@dataclass(frozen=True, slots=True)
class DtmfReceived(CallEvent):
    """One digit; `method` is `"rtp"` (RFC 4733) or `"info"` (RFC 2976)."""

    digit: str
    duration_ms: int
    method: str


@dataclass(frozen=True, slots=True)
class InfoReceived(CallEvent):
    """An INFO request that is not DTMF; it was answered with 200."""

    content_type: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Held(CallEvent):
    """A re-INVITE put the call on hold; `by_peer` tells who asked."""

    by_peer: bool


@dataclass(frozen=True, slots=True)
class Rekeyed(CallEvent):
    """New media keys were agreed on."""

    by_peer: bool


@dataclass(frozen=True, slots=True)
class Updated(CallEvent):
    """The media was agreed on anew; `by_peer` tells who asked."""

    by_peer: bool


@dataclass(frozen=True, slots=True)
class SessionRefreshed(CallEvent):
    """A new session interval began (RFC 4028); `by_peer` tells who refreshed it."""

    by_peer: bool


@dataclass(frozen=True, slots=True)
class SessionExpired(CallEvent):
    """Nobody refreshed the session in time; unless expiry is soft, the call ends."""


@dataclass(frozen=True, slots=True)
class Resumed(CallEvent):
    """A re-INVITE took the call off hold; `by_peer` tells who asked."""

    by_peer: bool


@dataclass(frozen=True, slots=True)
class TransferRequested(CallEvent):
    """The peer asks that this end calls somebody else: `await request.accept()`, or `reject()`.

    The request stays in this process: a pickled event has None in its place.
    """

    target: str
    attended: bool
    request: TransferRequest = field(compare=False)

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.at, self.target, self.attended, None)


@dataclass(frozen=True, slots=True)
class TransferProgress(CallEvent):
    """The peer tells how the call goes that we asked it for."""

    status: int
    reason: str


@dataclass(frozen=True, slots=True)
class Transferred(CallEvent):
    """`call` is answered and takes the place of this one, by REFER or by Replaces.

    The call stays in this process: a pickled event has None in its place.
    """

    remote: str
    call: Call = field(compare=False)

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.at, self.remote, None)


@dataclass(frozen=True, slots=True)
class Ended(CallEvent):
    """The call is over; `cause` is one word such as `"bye-received"` or `"rejected"`."""

    cause: str
