"""The keep-alives of a registration over UDP (RFC 5626 section 4.4)."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from typing import TYPE_CHECKING

from callmeter.errors import TransportError
from callmeter.stun.binding import TRANSACTION_ID, binding_request, mapped_address

if TYPE_CHECKING:
    from collections.abc import Callable

    from callmeter.sip.transaction.effects import Hop
    from callmeter.stack import Stack

__all__ = ["DatagramFlow"]

PING_FROM, PING_TO = 24.0, 29.0
"""Seconds between datagrams that keep an address translation (RFC 5626 section 4.4.2)."""
PING = b"\r\n\r\n"
"""What every SIP server drops without a word."""
RTO = 0.5
"""Seconds to the second Binding request; doubled each time (RFC 8489 section 6.2.1)."""
REQUESTS = 7
LAST_WAIT = 16
"""Times the RTO that the last request is waited for."""


class DatagramFlow:
    """Keeps one UDP flow alive: by STUN where the registrar knows it, by empty lines elsewhere.

    Args:
        stack: Whose socket the flow is on.
        hop: The registrar's end of it.
        stun: Whether the registrar has said that it keeps flows.
        interval: Seconds of its Flow-Timer, None for the default.
        on_lost: Called once when no answer comes, or the own address has changed on the way.
    """

    def __init__(
        self,
        stack: Stack,
        hop: Hop,
        *,
        stun: bool,
        interval: float | None,
        on_lost: Callable[[], None],
    ) -> None:
        self._stack = stack
        self._hop = hop
        self._stun = stun
        self._span = (PING_FROM, PING_TO) if not interval else (0.8 * interval, float(interval))
        self._on_lost = on_lost
        self._timer: asyncio.TimerHandle | None = None
        self._transaction: bytes | None = None
        self._mapped: tuple[str, int] | None = None
        self._closed = False
        self._later()

    def close(self) -> None:
        """Send no more; a second call does nothing."""
        self._closed = True
        self._forget()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _later(self) -> None:
        shortest, longest = self._span
        wait = shortest + (longest - shortest) * secrets.randbelow(1_000) / 1_000
        self._call(wait, self._ping)

    def _call(self, wait: float, then: Callable[[], None]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(wait, then)

    def _ping(self) -> None:
        if not self._stun:
            self._send(PING)
            self._later()
            return
        self._transaction = secrets.token_bytes(TRANSACTION_ID)
        self._stack.expect_stun(self._transaction, self._on_response)
        self._ask(self._transaction, 1)

    def _ask(self, transaction: bytes, number: int) -> None:
        self._send(binding_request(transaction))
        if number < REQUESTS:
            wait = RTO * 2 ** (number - 1)
            self._call(wait, lambda: self._ask(transaction, number + 1))
        else:
            self._call(RTO * LAST_WAIT, self._lose)

    def _send(self, data: bytes) -> None:
        # A way that is lost shows by the answer that stays away, or at the next refresh.
        with contextlib.suppress(TransportError):
            self._stack.transport.send(data, self._hop)

    def _on_response(self, data: bytes, source: Hop) -> None:
        if (source.host, source.port) != (self._hop.host, self._hop.port):
            return
        self._forget()
        mapped = mapped_address(data)
        if mapped is not None and self._mapped not in {None, mapped}:
            # An address translation has begun anew: the binding names a way that is no more.
            self._lose()
            return
        self._mapped = mapped or self._mapped
        self._later()

    def _forget(self) -> None:
        if self._transaction is not None:
            self._stack.forget_stun(self._transaction)
            self._transaction = None

    def _lose(self) -> None:
        if not self._closed:
            self.close()
            self._on_lost()
