"""SignalingAnswerer: calls without media are answered, by the thousand a second."""

from __future__ import annotations

from typing import TYPE_CHECKING

from callmeter.config import Transport
from callmeter.load.signaling_shell import PACE, SignalingShell, contact_uri, description
from callmeter.sip.signaling_uas import SignalingUas

if TYPE_CHECKING:
    from collections.abc import Iterable

    from callmeter.config import StackConfig
    from callmeter.sip.learned_shapes import Usual
    from callmeter.sip.message import Request, Response
    from callmeter.sip.signaling_uas import UasCounters
    from callmeter.sip.transaction.effects import Hop
    from callmeter.sip.transaction.key import Key

__all__ = ["SignalingAnswerer"]


class SignalingAnswerer(SignalingShell):
    """Answers every call with the same 200, and acts on its ACK, CANCEL and BYE.

    ```python
    async with SignalingAnswerer(StackConfig(bind="127.0.0.1", port=5060)) as answerer:
        await answerer.ended(10_000)
        print(answerer.counters.ended)
    ```

    On: the checked parser, the transaction layer with all its timers, 180 and 200, the 200 again
    until its ACK comes, BYE for a call whose ACK never came, CANCEL, re-INVITE, OPTIONS, refusals.
    Off: media, reading of offers, reliable provisional responses, session timers; message log,
    events and report of each call.

    Args:
        config: Addresses, transports, timers, limits.
        answer: Session description of each 200; None says that there is no media, `b""` leaves
            it out.
        ring: Whether a 180 goes before the 200.
        answer_after: Seconds from the one to the other.
        user: User part of the Contact.
        pace: While more than 1,500 datagrams a second come, seconds between two readings of them:
            answers are up to that much later. 0 reads each as it comes.

    Raises:
        ConfigurationError: `pace` is no time.
        ConnectionFailed: On entry, when an address or port cannot be bound.

    Attributes:
        transport: The transports (lower stability); `transport.listening("UDP")` is an address.
        malformed: Messages that could not be understood.
        unreachable: What could not be sent, and connections that were lost.
    """

    def __init__(
        self,
        config: StackConfig | None = None,
        *,
        answer: bytes | None = None,
        ring: bool = True,
        answer_after: float = 0.0,
        user: str = "callmeter",
        pace: float = PACE,
    ) -> None:
        super().__init__(config, Transport.UDP, pace)
        self._user = user
        self._face: tuple[str, int] | None = None
        self._faced: Hop | None = None
        self._uas = SignalingUas(
            b"" if answer is None else answer,
            f"sip:{user}@localhost",
            self.config.timers,
            self._entropy,
            ring=ring,
            answer_after=answer_after,
            limit=self.config.limits.dialogs,
        )
        self._describes = answer is None

    @property
    def counters(self) -> UasCounters:
        """What became of the calls so far."""
        return self._uas.counters

    @property
    def live(self) -> int:
        """Calls that have not ended."""
        return len(self._uas)

    async def ended(self, calls: int) -> UasCounters:
        """Wait until so many calls have ended, whichever way; returns the counters."""
        counters = self.counters
        await self._until(
            lambda: counters.ended + counters.cancelled + counters.unacknowledged >= calls
        )
        return counters

    async def _begin(self) -> None:
        self.transport.pace_reading(self._pace)

    def _on_request(self, key: Key, request: Request, now: float) -> Iterable[object]:
        source, method = self._source, request.method
        if method == "INVITE" and source is not None:
            self._face_towards(source)
        invite_key = self._layer.invite_key_of(request) if method == "CANCEL" else None
        merged = self._layer.is_merged(request, key)
        return self._uas.on_request(key, request, now, merged=merged, invite_key=invite_key)

    def _on_usual(self, usual: Usual, source: Hop, now: float) -> bool:
        if source is not self._faced:
            self._face_towards(source)
        replies = self._uas.on_usual(self._layer, usual, source, now)
        if replies is None:
            return False
        for rank, octets in enumerate(replies):
            self._post(octets, source, None, rank)
        return True

    def _face_towards(self, source: Hop) -> None:
        """Calls that come from there get the Contact that is right for them."""
        self._faced = source
        local = self._local_towards(source)
        if local is not self._face:
            self._face_as(local, source)

    def _face_as(self, local: tuple[str, int], source: Hop) -> None:
        """Calls by this way get the Contact that is right for it."""
        self._face = local
        if self._describes:
            self._uas.answer = description(local[0])
        self._uas.contact = contact_uri(self._user, local, source.transport)

    def _on_ack(self, request: Request, now: float) -> Iterable[object]:
        return self._uas.on_ack(request, now)

    def _on_response(self, token: int, response: Response, now: float) -> Iterable[object]:
        """The response to the BYE of an unacknowledged call: nobody waits for it."""
        del token, response, now
        return ()

    def _on_failure(self, key: Key, token: int | None) -> Iterable[object]:
        del token
        return self._uas.on_failure(key)

    def _on_due(self, now: float) -> Iterable[object]:
        return self._uas.on_deadline(now)

    def _next_deadline(self) -> float | None:
        return self._uas.next_deadline()
