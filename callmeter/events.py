"""What happens in a call, as frozen values: `async for event in call.events()`.

Times are seconds since the INVITE was sent or received, on the monotonic clock. `str(event)` says
what happened in a few words.
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

    def __str__(self) -> str:
        return f"ringing: {self.status} {self.reason}".rstrip()


@dataclass(frozen=True, slots=True)
class EarlyMedia(CallEvent):
    """Media runs before the call is answered: a provisional response said where (RFC 3960)."""

    status: int

    def __str__(self) -> str:
        return f"early media with the {self.status}"


@dataclass(frozen=True, slots=True)
class Redirected(CallEvent):
    """The INVITE was sent elsewhere by a 3xx, or a target of one refused: `target` is next."""

    target: str

    def __str__(self) -> str:
        return f"sent on to {self.target}"


@dataclass(frozen=True, slots=True)
class Answered(CallEvent):
    """The INVITE was answered with a 2xx."""

    status: int

    def __str__(self) -> str:
        return f"answered: {self.status}"


@dataclass(frozen=True, slots=True)
class MediaStarted(CallEvent):
    """The first media packet that could be read; `source` is `"host:port"`."""

    source: str

    def __str__(self) -> str:
        return f"media from {self.source}"


@dataclass(frozen=True, slots=True)
class MediaSourceChanged(CallEvent):
    """Media now comes from another address or with another SSRC; the other field is empty."""

    source: str = ""
    ssrc: int | None = None

    def __str__(self) -> str:
        if self.ssrc is not None:
            return f"media now with SSRC {self.ssrc:#010x}"
        return f"media now from {self.source}"


@dataclass(frozen=True, slots=True)
class MediaSilent(CallEvent):
    """No media packet came for `seconds`."""

    seconds: float

    def __str__(self) -> str:
        return f"no media for {self.seconds:g} s"


@dataclass(frozen=True, slots=True)
class ConsentExpired(CallEvent):
    """A peer with ICE has not checked its way to us for `seconds` (RFC 7675): it has gone."""

    peer: str
    seconds: float

    def __str__(self) -> str:
        return f"{self.peer} has not checked its way here for {self.seconds:g} s"


@dataclass(frozen=True, slots=True)
class MediaUnreadable(CallEvent):
    """Packets arrive and none can be authenticated: the keys differ, or they are plain RTP."""

    packets: int
    looks_like_plain_rtp: bool

    def __str__(self) -> str:
        hint = "they look like plain RTP" if self.looks_like_plain_rtp else "the keys differ"
        return f"{self.packets} packets cannot be decrypted: {hint}"


@dataclass(frozen=True, slots=True)
class DtmfReceived(CallEvent):
    """One digit; `method` is `"rtp"` (RFC 4733) or `"info"` (RFC 2976)."""

    digit: str
    duration_ms: int
    method: str

    def __str__(self) -> str:
        return f"digit {self.digit} ({self.duration_ms} ms, by {self.method})"


@dataclass(frozen=True, slots=True)
class InfoReceived(CallEvent):
    """An INFO request that is not DTMF; it was answered with 200."""

    content_type: str
    body: bytes

    def __str__(self) -> str:
        return f"INFO: {self.content_type or 'no type'}, {len(self.body)} octets"


@dataclass(frozen=True, slots=True)
class Held(CallEvent):
    """A re-INVITE put the call on hold; `by_peer` tells who asked."""

    by_peer: bool

    def __str__(self) -> str:
        return _done("held", by_peer=self.by_peer)


@dataclass(frozen=True, slots=True)
class Rekeyed(CallEvent):
    """New media keys were agreed on."""

    by_peer: bool

    def __str__(self) -> str:
        return _done("new media keys", by_peer=self.by_peer)


@dataclass(frozen=True, slots=True)
class Updated(CallEvent):
    """The media was agreed on anew; `by_peer` tells who asked."""

    by_peer: bool

    def __str__(self) -> str:
        return _done("media agreed on anew", by_peer=self.by_peer)


@dataclass(frozen=True, slots=True)
class SessionRefreshed(CallEvent):
    """A new session interval began (RFC 4028); `by_peer` tells who refreshed it."""

    by_peer: bool

    def __str__(self) -> str:
        return _done("session refreshed", by_peer=self.by_peer)


@dataclass(frozen=True, slots=True)
class SessionExpired(CallEvent):
    """Nobody refreshed the session in time; unless expiry is soft, the call ends."""

    def __str__(self) -> str:
        return "the session expired: nobody refreshed it in time"


@dataclass(frozen=True, slots=True)
class Resumed(CallEvent):
    """A re-INVITE took the call off hold; `by_peer` tells who asked."""

    by_peer: bool

    def __str__(self) -> str:
        return _done("resumed", by_peer=self.by_peer)


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

    def __str__(self) -> str:
        how = "in the place of another call, " if self.attended else ""
        return f"the peer asks for a transfer: {how}to {self.target}"


@dataclass(frozen=True, slots=True)
class TransferProgress(CallEvent):
    """The peer tells how the call goes that we asked it for."""

    status: int
    reason: str

    def __str__(self) -> str:
        return f"the transfer: {self.status} {self.reason}".rstrip()


@dataclass(frozen=True, slots=True)
class Transferred(CallEvent):
    """`call` is answered and takes the place of this one, by REFER or by Replaces.

    The call stays in this process: a pickled event has None in its place.
    """

    remote: str
    call: Call = field(compare=False)

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.at, self.remote, None)

    def __str__(self) -> str:
        return f"transferred: {self.remote} is in the call now"


@dataclass(frozen=True, slots=True)
class Ended(CallEvent):
    """The call is over; `cause` is one word such as `"bye-received"` or `"rejected"`."""

    cause: str

    def __str__(self) -> str:
        return f"ended: {self.cause}"


def _done(what: str, *, by_peer: bool) -> str:
    return f"{what} by the peer" if by_peer else what
