"""Reliable provisional responses: their order, and which one waits for its PRACK (RFC 3262)."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from callmeter.errors import SipSyntaxError
from callmeter.sip.extension_headers import RAck, parse_rseq

if TYPE_CHECKING:
    from callmeter.sip.headers import CSeq
    from callmeter.sip.message import Request, Response

__all__ = ["ReliableReceiver", "ReliableSender", "is_reliable", "rack_of"]

MAX_QUEUE = 16
"""Provisional responses that wait for their turn; an application that sends more is wrong."""


def is_reliable(response: Response) -> bool:
    """Whether a response asks for a PRACK (section 4)."""
    return (
        100 < response.status < 200  # noqa: PLR2004  a 100 is hop by hop
        and "100rel" in {tag.lower() for tag in response.require}
        and bool(response.to_tag)
        and _rseq(response) is not None
    )


def rack_of(request: Request) -> RAck | None:
    """The RAck of a PRACK; None when absent or malformed."""
    value = request.headers.get_raw("RAck")
    if value is None:
        return None
    try:
        return RAck.parse(value)
    except SipSyntaxError:
        return None


class ReliableSender:
    """The callee's reliable responses to one INVITE: one at a time (section 3).

    Attributes:
        outstanding: The response that no PRACK has acknowledged, or None.
    """

    __slots__ = ("_queue", "_rseq", "_waited_for", "outstanding")

    def __init__(self, first: int) -> None:
        self._rseq = first
        self._queue: deque[Response] = deque()
        self._waited_for: RAck | None = None
        self.outstanding: Response | None = None

    @property
    def idle(self) -> bool:
        """Whether nothing waits, neither for a PRACK nor for its turn."""
        return self.outstanding is None and not self._queue

    @property
    def full(self) -> bool:
        """Whether as many responses wait as may."""
        return len(self._queue) >= MAX_QUEUE

    def add(self, response: Response) -> None:
        """Take a response in."""
        self._queue.append(response)

    def next(self) -> Response | None:
        """The response to send now, with its RSeq, unless one is outstanding."""
        if self.outstanding is not None or not self._queue:
            return None
        response = self._queue.popleft()
        self._rseq += 1
        response.headers.add("Require", "100rel")
        response.headers.add("RSeq", str(self._rseq))
        cseq = response.cseq
        self._waited_for = RAck(self._rseq, cseq.number, cseq.method)
        self.outstanding = response
        return response

    def on_prack(self, rack: RAck) -> bool:
        """Whether a PRACK acknowledges what is outstanding; then nothing is any more."""
        if rack != self._waited_for:
            return False
        self._waited_for = None
        self.outstanding = None
        return True

    def stop(self) -> None:
        """The final response goes out: nothing more is sent, but the last PRACK may come."""
        self._queue.clear()
        self.outstanding = None


class ReliableReceiver:
    """The caller's end in one early dialog: what was received so far (section 4)."""

    __slots__ = ("_cseq", "_last")

    def __init__(self) -> None:
        self._last = 0
        self._cseq: CSeq | None = None

    def on_response(self, response: Response) -> RAck | None:
        """What the PRACK says; None for what was acknowledged already or is too early."""
        number = _rseq(response) or 0
        cseq = response.cseq
        if cseq == self._cseq and number != self._last + 1:
            return None
        self._cseq = cseq
        self._last = number
        return RAck(number, cseq.number, cseq.method)


def _rseq(response: Response) -> int | None:
    value = response.headers.get("RSeq")
    return None if value is None else parse_rseq(value)
