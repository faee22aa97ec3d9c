"""A network between endpoints in real time: loss, delay, damage, partitions, rebound addresses.

Two endpoints that register with a `Registrar` behind it talk through it: SIP by UDP on its way to
and from the registrar, and all media, by a relay that stands in the session descriptions. The
n-th datagram on a path always has the same fate under the same seed.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from callmeter.errors import LocalProtocolError
from callmeter.testing.media_relay import MediaRelay
from callmeter.testing.network import Fates, LinkConditions

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from callmeter.sip.message import Request, Response
    from callmeter.testing.registrar import Registrar

    Path = tuple[str, str]
    Trap = Callable[[str, str, bytes], bool]
    Deliver = Callable[[bytes], None]

__all__ = ["REGISTRAR", "ImpairedNetwork"]

REGISTRAR: Final = "registrar"
"""What the paths of SIP messages call the registrar."""
PERFECT: Final = LinkConditions(delay=0.0)


class ImpairedNetwork:
    """The way between endpoints; without any word it is perfect.

    Paths lead from one user to another (media) or to and from `"registrar"` (SIP). SIP by TCP,
    TLS and WSS is only ever held back by a partition: TCP mends the rest.

    Args:
        seed: Decides what is lost, delayed and doubled.

    Attributes:
        counters: Datagrams `sent`, `lost`, `too_long`, `duplicated`, `reordered`, `corrupted` and
            `delivered`.
    """

    def __init__(self, seed: int | str = 0) -> None:
        self.counters: Counter[str] = Counter()
        self._seed = seed
        self._rules: list[tuple[str | None, str | None, bool, LinkConditions]] = []
        self._cuts: set[tuple[str | None, str | None]] = set()
        self._traps: list[Trap] = []
        self._fates: dict[tuple[str, str, bool], Fates] = {}
        self._held: list[tuple[str, str, Callable[[], None]]] = []
        self._under_way: set[asyncio.TimerHandle] = set()
        self._relay: MediaRelay | None = None

    # what a test says

    def impair(
        self,
        conditions: LinkConditions,
        source: str | None = None,
        destination: str | None = None,
        *,
        signaling: bool = True,
        media: bool = True,
    ) -> None:
        """Let a path do this to datagrams from now on; the last word on a path counts.

        Args:
            conditions: What it does.
            source: User whose datagrams are meant, or `"registrar"`; None is everybody.
            destination: Whom they are for; None is everybody.
            signaling: Whether SIP is meant.
            media: Whether RTP, RTCP, DTLS and STUN are meant.
        """
        kinds = [kind for kind, meant in ((True, signaling), (False, media)) if meant]
        self._rules += [(source, destination, kind, conditions) for kind in kinds]

    def partition(self, source: str | None = None, destination: str | None = None) -> None:
        """Let nothing through from `source` to `destination`, None being everybody, until `heal`.

        Datagrams are lost; what travels by TCP arrives after the healing.
        """
        self._cuts.add((source, destination))

    def heal(self) -> None:
        """End every partition."""
        self._cuts.clear()
        held, self._held = self._held, []
        for _, _, deliver in held:
            deliver()

    def lose(self, chosen: Trap, *, times: int = 1) -> None:
        """Lose the next datagrams of which `chosen(source, destination, data)` is true."""
        self._traps += [chosen] * times

    def rebind(self, user: str) -> None:
        """Let the address translation in front of a user forget its media.

        What the user sends comes from other ports from now on, and what is sent to the old ones
        is lost.

        Raises:
            LocalProtocolError: No registrar is behind this network.
        """
        if self._relay is None:
            raise LocalProtocolError("no registrar is behind this network yet")
        self._relay.rebind(user)

    # what the registrar asks

    @asynccontextmanager
    async def in_front_of(self, registrar: Registrar) -> AsyncIterator[Registrar]:
        """Be the way to a running registrar, and between those who call by it."""
        relay = self._relay = MediaRelay(registrar.address[0], self.carry_media)
        registrar.network = self
        try:
            yield registrar
        finally:
            registrar.network = None
            self._relay = None
            for handle in self._under_way:
                handle.cancel()
            self._under_way.clear()
            self._held.clear()
            relay.close()

    def relay_media(self, message: Request | Response, source: str, destination: str) -> None:
        """Put the relay into the session description of a message."""
        kind = message.content_type
        if self._relay is None or kind is None or kind.media_type != "application/sdp":
            return
        message.body = self._relay.rewrite(message.body, message.call_id, source, destination)

    def carry_signaling(
        self, data: bytes, source: str, destination: str, deliver: Deliver, *, reliable: bool
    ) -> None:
        """Take a SIP message to or from the registrar."""
        if not reliable:
            self._carry(data, source, destination, deliver, signaling=True)
        elif self._is_cut(source, destination):
            self._held.append((source, destination, lambda: deliver(data)))
        else:
            deliver(data)

    def carry_media(self, data: bytes, source: str, destination: str, deliver: Deliver) -> None:
        """Take a datagram of the media from one user to another."""
        self._carry(data, source, destination, deliver, signaling=False)

    def _carry(
        self, data: bytes, source: str, destination: str, deliver: Deliver, *, signaling: bool
    ) -> None:
        self.counters["sent"] += 1
        if self._is_cut(source, destination) or self._is_trapped(source, destination, data):
            self.counters["lost"] += 1
            return
        path = (source, destination, signaling)
        fates = self._fates.get(path)
        if fates is None:
            seed = f"{self._seed} {source} {destination} {signaling}"
            fates = self._fates[path] = Fates(seed, self.counters)
        for delay, arriving in fates.of(data, self._conditions(path)):
            self._later(delay, arriving, deliver)

    def _later(self, delay: float, data: bytes, deliver: Deliver) -> None:
        def arrive() -> None:
            self._under_way.discard(handle)
            self.counters["delivered"] += 1
            deliver(data)

        if delay > 0:
            handle = asyncio.get_running_loop().call_later(delay, arrive)
            self._under_way.add(handle)
        else:
            self.counters["delivered"] += 1
            deliver(data)

    def _conditions(self, path: tuple[str, str, bool]) -> LinkConditions:
        source, destination, signaling = path
        for wanted_source, wanted_destination, kind, conditions in reversed(self._rules):
            if (
                kind == signaling
                and wanted_source in {None, source}
                and wanted_destination in {None, destination}
            ):
                return conditions
        return PERFECT

    def _is_cut(self, source: str, destination: str) -> bool:
        return any(
            cut_source in {None, source} and cut_destination in {None, destination}
            for cut_source, cut_destination in self._cuts
        )

    def _is_trapped(self, source: str, destination: str, data: bytes) -> bool:
        for place, chosen in enumerate(self._traps):
            if chosen(source, destination, data):
                del self._traps[place]
                return True
        return False
