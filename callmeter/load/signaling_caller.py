"""SignalingCaller: calls without media are placed, by the thousand a second."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

from callmeter.config import Transport
from callmeter.errors import ConnectionFailed, LocalProtocolError
from callmeter.load.signaling_shell import PACE, SignalingShell, contact_uri, description
from callmeter.sip.signaling_uac import Means, SignalingUac
from callmeter.uri_settings import setting_uri

if TYPE_CHECKING:
    from collections.abc import Iterable

    from callmeter.config import StackConfig
    from callmeter.sip.learned_shapes import Usual
    from callmeter.sip.message import Request, Response
    from callmeter.sip.signaling_uac import UacCounters
    from callmeter.sip.transaction.effects import Hop
    from callmeter.sip.transaction.key import Key

__all__ = ["SignalingCaller"]

BY_HAND_FROM: Final = 500
"""Calls a second from which on datagrams are read in the pace of placing, not as they come."""


class SignalingCaller(SignalingShell):
    """Places calls at a steady rate: INVITE, ACK, and BYE after a while.

    ```python
    async with SignalingCaller("sip:service@127.0.0.1:5060") as caller:
        counters = await caller.run(calls=10_000, rate=1_000)
        print(counters.ended, counters.failed)
    ```

    On: the checked parser, the transaction layer with all its timers, ACK of each 2xx and of its
    repetitions, ACK and BYE for the 2xx of other forks, CANCEL, the callee's BYE. Off: media,
    reading of answers, credentials, redirection; message log, events and report of each call.

    Args:
        target: SIP URI with an address, not a name: the DNS is not asked.
        config: Addresses, timers, limits.
        caller: URI of From.
        offer: Session description of each INVITE; None says that there is no media, `b""`
            leaves it out.
        hold: Seconds from the ACK to the BYE.
        transport: How the target is reached unless its URI says so.
        pace: Seconds between two times that calls are placed; from 500 calls a second on, what
            comes by UDP is read and timers are looked at then, too, so that an ACK may be that
            much later.

    Raises:
        ConfigurationError: `target` or `caller` is no SIP URI, or `pace` no time.
        ConnectionFailed: On entry, when no port can be bound, or the target not be reached.

    Attributes:
        malformed: Messages that could not be understood.
        unreachable: What could not be sent, and connections that were lost.
    """

    def __init__(
        self,
        target: str,
        config: StackConfig | None = None,
        *,
        caller: str = "sip:callmeter@localhost",
        offer: bytes | None = None,
        hold: float = 0.0,
        transport: Transport = Transport.UDP,
        pace: float = PACE,
    ) -> None:
        super().__init__(config, transport, pace)
        self._target = setting_uri("target", target)
        self._caller = f"<{setting_uri('caller', caller)}>"
        self._offer = offer
        self._hold = hold

    @property
    def counters(self) -> UacCounters:
        """What became of the calls so far.

        Raises:
            LocalProtocolError: The caller has not been entered.
        """
        return self._calling.counters

    @property
    def live(self) -> int:
        """Calls that have not ended."""
        return len(self._calling)

    @property
    def _calling(self) -> SignalingUac:
        if self._uac is None:
            raise LocalProtocolError("enter the caller first: async with SignalingCaller(...)")
        return self._uac

    _uac: SignalingUac | None = None

    async def run(self, calls: int, rate: float) -> UacCounters:
        """Place calls and wait until each has ended; returns the counters.

        Cancelled, it hangs up the calls that live, without waiting for the word of their peers.

        Args:
            calls: How many.
            rate: How many a second; when that cannot be kept, as many as can be.
        """
        uac, start, placed = self._calling, self._loop.time(), 0
        by_hand = rate >= BY_HAND_FROM
        turns = self._by_hand() if by_hand else contextlib.nullcontext(self._by_itself)
        try:
            with turns as turn:
                while placed < calls or (by_hand and len(uac)):
                    now = turn()
                    due = min(calls, int((now - start) * rate) + 1)
                    self._place(due - placed, now)
                    placed = due
                    await asyncio.sleep(max(self._pace, start + placed / rate - self._loop.time()))
            await self._until(lambda: not len(uac))
        finally:
            self._apply(uac.hang_up(), self._loop.time())
        return uac.counters

    def _place(self, calls: int, now: float) -> None:
        uac, means = self._calling, self._means
        for _ in range(calls):
            post = uac.call_at_once(means, now)
            if post is None:
                self._apply(uac.call(now), now)
            else:
                self._post(*post)
        self._send_posted()

    async def _begin(self) -> None:
        found = self.transport.known(self._route(self._target))
        if found is None or not found.hops:
            where = str(self._target)
            raise ConnectionFailed(
                f"{where} is no address, and signalling load asks no DNS", destination=where
            )
        hop = await self.transport.first_open(found.hops)
        local = self._local_towards(hop)
        self._means = Means(self._layer, self._ways, self._tokens, self._keys)
        self._uac = SignalingUac(
            self._target,
            self._caller,
            contact_uri(self._target.user_text or "", local, hop.transport),
            description(local[0]) if self._offer is None else self._offer,
            self._entropy,
            hold=self._hold,
            ring_timeout=self.config.timers.ring_timeout,
        )

    def _on_request(self, key: Key, request: Request, now: float) -> Iterable[object]:
        del now
        return self._calling.on_request(key, request)

    def _on_usual(self, usual: Usual, source: Hop, now: float) -> bool:
        posts = None if self._uac is None else self._uac.on_usual(self._means, usual, source, now)
        if posts is None:
            return False
        for rank, post in enumerate(posts):
            self._post(*post, rank)
        return True

    def _on_ack(self, request: Request, now: float) -> Iterable[object]:
        """No INVITE is accepted here."""
        del request, now
        return ()

    def _on_response(self, token: int, response: Response, now: float) -> Iterable[object]:
        return self._calling.on_response(token, response, now)

    def _on_failure(self, key: Key, token: int | None) -> Iterable[object]:
        del key
        return () if token is None else self._calling.on_failure(token)

    def _on_due(self, now: float) -> Iterable[object]:
        return self._calling.on_deadline(now)

    def _next_deadline(self) -> float | None:
        return self._calling.next_deadline()
