"""A relay of media that loses packets and delays some: what a bad line does to a call.

It stands between two phones by changing the ports in their session descriptions, as a SIP ALG does.
Both multiplex RTCP with RTP. What is lost depends on the seed alone.
"""

from __future__ import annotations

import asyncio
import re
from random import Random
from typing import TYPE_CHECKING, Final, Self

from peers.alg import LENGTH
from peers.program import HOST

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

_PORTS: Final = {
    kind: re.compile(b"(?<=\r\nm=%s )[0-9]+" % kind.encode()) for kind in ("audio", "video")
}
_RTCP: Final = range(192, 224)
"""Second octets of RTCP and SRTCP (RFC 5761 section 4)."""


class LossyRelay:
    """Media of one call: give `forward` and `backward` to a `SipAlg`.

    Args:
        loss: Share of the datagrams to the caller that is lost, from 0 to 1.
        jitter: Seconds by which each of them is late, at most.
        kind: Of the media that goes through it: `"audio"` or `"video"`.
    """

    def __init__(self, *, loss: float = 0, jitter: float = 0, kind: str = "audio") -> None:
        self._loss = loss
        self._jitter = jitter
        self._port = _PORTS[kind]
        self._random = Random(7)
        self._ports: dict[str, int] = {}

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._to_caller, _ = await loop.create_datagram_endpoint(
            lambda: _Side(self._from_caller), local_addr=(HOST, 0)
        )
        self._to_callee, _ = await loop.create_datagram_endpoint(
            lambda: _Side(self._from_callee), local_addr=(HOST, 0)
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._to_caller.close()
        self._to_callee.close()

    def forward(self, message: bytes) -> bytes:
        """The offer: the callee shall send here."""
        return self._replaced(message, "caller", self._to_callee)

    def backward(self, message: bytes) -> bytes:
        """The answer: the caller shall send here."""
        return self._replaced(message, "callee", self._to_caller)

    def _replaced(self, message: bytes, party: str, side: asyncio.DatagramTransport) -> bytes:
        head, end, body = message.partition(b"\r\n\r\n")
        found = self._port.search(body)
        if not found:
            return message
        self._ports[party] = int(found[0])
        body = self._port.sub(b"%d" % side.get_extra_info("sockname")[1], body)
        return LENGTH.sub(b"%d" % len(body), head) + end + body

    def _from_caller(self, data: bytes) -> None:
        if "callee" in self._ports:
            self._to_callee.sendto(data, (HOST, self._ports["callee"]))

    def _from_callee(self, data: bytes) -> None:
        if "caller" not in self._ports or self._random.random() < self._loss:
            return
        asyncio.get_running_loop().call_later(
            self._jitter * self._random.random(),
            lambda: (
                self._to_caller.is_closing()
                or self._to_caller.sendto(data, (HOST, self._ports["caller"]))
            ),
        )


class LateRelay(LossyRelay):
    """A mixer that begins to pass on video when its key frame is over, and passes no RTCP back.

    Args:
        peer: Whose video it is: `"caller"` or `"callee"`.
        seconds: How much of it is kept back.
    """

    def __init__(self, peer: str, *, seconds: float) -> None:
        super().__init__(kind="video")
        self._peer = peer
        self._seconds = seconds
        self._begun: float | None = None

    def _from_caller(self, data: bytes) -> None:
        if self._passes(data, "caller"):
            super()._from_caller(data)

    def _from_callee(self, data: bytes) -> None:
        if self._passes(data, "callee"):
            super()._from_callee(data)

    def _passes(self, data: bytes, sender: str) -> bool:
        reports = data[1] in _RTCP
        if reports or sender != self._peer:
            return reports == (sender == self._peer)
        now = asyncio.get_running_loop().time()
        self._begun = self._begun or now
        return now - self._begun >= self._seconds


class _Side(asyncio.DatagramProtocol):
    """One socket."""

    def __init__(self, receive: Callable[[bytes], None]) -> None:
        self._receive = receive

    def datagram_received(self, data: bytes, _source: tuple[str, int]) -> None:
        self._receive(data)
