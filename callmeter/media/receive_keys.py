"""The keys of one received stream: the one in use, the one before, and the one to come.

A rekey does not reach both ends at once. Packets under the old key come after the switch, so its
context stays until the first packet under the new one. Packets under the new key may overtake the
description that has it, so what cannot be read while one is awaited is kept and tried again. And
whether a rollover counter starts anew is a question that peers answer differently (RFC 3711
section 3.3.1 says no to a new key, RFC 4568 section 7.1.4 says yes to a new address, and what is
deployed mostly resets it): the packets tell. Reports have no such order and go by time alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from callmeter.srtp.stream_policy import Status
from callmeter.srtp.trial import find_rollover

if TYPE_CHECKING:
    from collections.abc import Hashable

    from callmeter.srtp.context import SrtpContext

__all__ = ["HELD_MAX", "OLD_KEY_SECONDS", "Held", "ReceiveKeys"]

OLD_KEY_SECONDS: Final = 2.0
"""How long the old key may still be used when the new one is not."""
HELD_MAX: Final = 100
"""Packets kept for a key that is awaited: 2 s of them."""
CARRIED_TRIALS: Final = 20
"""Packets tried under the rollover counter of the key before; a flood does not cost more."""

Held = tuple[bytes, "Hashable", float]
"""A datagram, its source, and when it came."""


class ReceiveKeys:
    """Which key opens a packet.

    Attributes:
        context: The key in use; None on a plain stream.
        status: Why the last packet was refused under it.
        old_key_packets: Packets under the previous key after a rekey.
        unfollowed: Of these, those since the last rekey; 0 once the new key was seen.
        early_packets: Packets under a new key that came before it was known.
        roc_kept: New keys under which the peer's rollover counter went on.
        roc_resets: Changes of the peer's rollover counter under a key that stayed.
    """

    __slots__ = (
        "_carried",
        "_former",
        "_held",
        "_held_until",
        "_previous",
        "_previous_rtcp",
        "_previous_until",
        "_trials",
        "context",
        "early_packets",
        "old_key_packets",
        "roc_kept",
        "roc_resets",
        "status",
        "unfollowed",
    )

    def __init__(self) -> None:
        self.context: SrtpContext | None = None
        self.status = Status.OK
        self.old_key_packets = 0
        self.unfollowed = 0
        self.early_packets = 0
        self.roc_kept = 0
        self.roc_resets = 0
        self._previous: SrtpContext | None = None
        self._previous_rtcp: SrtpContext | None = None
        self._previous_until = 0.0
        self._carried: int | None = None
        self._former: int | None = None
        self._trials = 0
        self._held: list[Held] = []
        self._held_until: float | None = None

    @property
    def settled(self) -> bool:
        """Whether one key alone is in use, so that batches may judge the stream."""
        return self._previous is None and self._held_until is None

    # changes

    def change(self, context: SrtpContext | None, ssrc: int, now: float) -> None:
        """Take the key in use from now on; the same one again changes nothing.

        Args:
            context: It.
            ssrc: Source of the stream, whose rollover counter may go on; -1 before any packet.
            now: Loop time.
        """
        before = self.context
        if context is before:
            return
        self.unfollowed = 0
        self._close_previous()
        self._previous = self._previous_rtcp = before
        self._previous_until = now + OLD_KEY_SECONDS
        self._carried = None if before is None or ssrc < 0 else before.roc(ssrc)
        self._former = None
        self._trials = CARRIED_TRIALS
        self.context = context

    def expect(self, until: float) -> None:
        """A new key may be in use before it is known: keep what cannot be read until then."""
        self._held_until = until

    def release(self) -> list[Held]:
        """No new key is awaited any more; returns what was kept, to be judged again."""
        held, self._held = self._held, []
        self._held_until = None
        return held

    def forget_previous(self) -> None:
        """The old key has served for RTP; a report on its way may still need it."""
        self._previous = None

    def _close_previous(self) -> None:
        self.forget_previous()
        if self._previous_rtcp is not None:
            self._previous_rtcp.close()
            self._previous_rtcp = None

    def close(self) -> None:
        """Close all keys."""
        self._close_previous()
        self._held.clear()
        if self.context is not None:
            self.context.close()

    # time

    def next_deadline(self) -> float | None:
        """When `on_deadline` has something to do."""
        old = None if self._previous_rtcp is None else self._previous_until
        due = [at for at in (old, self._held_until) if at is not None]
        return min(due, default=None)

    def on_deadline(self, now: float) -> list[Held]:
        """End the life of an old key, and the wait for a new one; returns as `release` does."""
        if self._previous_rtcp is not None and now >= self._previous_until:
            self._close_previous()
        if self._held_until is not None and now >= self._held_until:
            return self.release()
        return []

    # packets

    def unprotect(self, datagram: bytes) -> bytes | None:
        """Open a packet under the key in use or the one before; None sets `status`."""
        context = self.context
        if context is None:
            return None
        failures, replayed = context.auth_failures, context.replayed
        packet = context.unprotect(datagram)
        if packet is None and context.auth_failures > failures and self._carried is not None:
            packet = self._unprotect_carried(context, datagram, self._carried)
        if packet is not None:
            self.forget_previous()
            self._carried = None
            self.unfollowed = 0
            return packet
        if self._previous is not None:
            packet = self._previous.unprotect(datagram)
            if packet is not None:
                self.old_key_packets += 1
                self.unfollowed += 1
                return packet
        if context.auth_failures > failures:
            self.status = Status.AUTH_FAIL
        elif context.replayed > replayed:
            self.status = Status.REPLAY_FAIL
        else:
            self.status = Status.FAIL
        return None

    def unprotect_rtcp(self, datagram: bytes) -> bytes | None:
        """Open a compound packet under the key in use or the one before.

        Reports need not keep their place among the packets of the media, which may come on
        another port: the old key opens them for as long as it lives.
        """
        context, previous = self.context, self._previous_rtcp
        packet = None if context is None else context.unprotect_rtcp(datagram)
        if packet is None and previous is not None:
            packet = previous.unprotect_rtcp(datagram)
        return packet

    def _unprotect_carried(
        self, context: SrtpContext, datagram: bytes, carried: int
    ) -> bytes | None:
        """Try a packet under the counter that the key before had reached."""
        self._trials -= 1
        if self._trials < 0:
            return None
        ssrc = int.from_bytes(datagram[8:12], "big")
        around = {carried - 1, carried, carried + 1} - {-1, 0}
        found = find_rollover(datagram, context, around)
        if found is None or not context.restart(ssrc, found):
            return None
        self.roc_kept += 1
        return context.unprotect(datagram)

    def keep(self, datagram: bytes, source: Hashable, arrival: float) -> bool:
        """Keep a packet that could not be opened; False when no key is awaited, or too many."""
        if self._held_until is None or len(self._held) >= HELD_MAX:
            return False
        self._held.append((datagram, source, arrival))
        return True

    def follow_rollover(self, datagram: bytes) -> bytes | None:
        """Open a packet whose rollover counter is another, and count from there."""
        context = self.context
        if context is None:
            return None
        ssrc = int.from_bytes(datagram[8:12], "big")
        found = find_rollover(datagram, context)
        if found is None and self._former is not None:
            # Whoever repeats old packets of the peer may have led us astray: it goes on there.
            found = find_rollover(datagram, context, {self._former, self._former + 1})
        current = context.roc(ssrc)
        if found is None or not context.restart(ssrc, found):
            return None
        self._former = current
        self.roc_resets += 1
        return context.unprotect(datagram)
