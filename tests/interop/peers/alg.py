"""A SIP ALG: a UDP relay that helps until it hurts.

It stands where a NAT would: what is sent to it goes on to its target from another socket, and what
comes back to that one goes back to whoever sent first. Messages with a session description are
altered on the way, in one direction.
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Final, Self

from peers.program import HOST

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    Mangle = Callable[[bytes], bytes]

KEY: Final = re.compile(rb"(?<=inline:)([A-Za-z0-9+/]{10})([A-Za-z0-9+/])")
LENGTH: Final = re.compile(rb"(?i)(?<=\r\nContent-Length: )[0-9]+")


def alter_key(message: bytes) -> bytes:
    """Change one character of each inline key."""
    return KEY.sub(lambda key: key[1] + (b"A" if key[2] != b"A" else b"B"), message)


def cut_key(message: bytes) -> bytes:
    """Say a Content-Length that ends four characters before the end of the last inline key."""
    _, end, body = message.partition(b"\r\n\r\n")
    keys = list(re.finditer(rb"inline:[A-Za-z0-9+/=]+", body))
    if not end or not keys:
        return message
    return LENGTH.sub(b"%d" % (keys[-1].end() - 4), message, count=1)


class SipAlg:
    """A relay to `target`: `async with SipAlg(("127.0.0.1", 5060), backward=alter_key) as alg`.

    Args:
        target: Where datagrams go.
        forward: Alters those to the target.
        backward: Alters those that come back.

    Attributes:
        port: Where to send them to.
        altered: How many were.
    """

    def __init__(
        self,
        target: tuple[str, int],
        *,
        forward: Mangle | None = None,
        backward: Mangle | None = None,
    ) -> None:
        self._target = target
        self._forward = forward
        self._backward = backward
        self._source: tuple[str, int] | None = None
        self.altered = 0

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._near, _ = await loop.create_datagram_endpoint(
            lambda: _Side(self._on_near), local_addr=(HOST, 0)
        )
        self._far, _ = await loop.create_datagram_endpoint(
            lambda: _Side(self._on_far), local_addr=(HOST, 0)
        )
        self.port = int(self._near.get_extra_info("sockname")[1])
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._near.close()
        self._far.close()

    def _on_near(self, data: bytes, source: tuple[str, int]) -> None:
        self._source = source
        self._far.sendto(self._mangled(data, self._forward), self._target)

    def _on_far(self, data: bytes, source: tuple[str, int]) -> None:
        del source
        if self._source is not None:
            self._near.sendto(self._mangled(data, self._backward), self._source)

    def _mangled(self, data: bytes, mangle: Mangle | None) -> bytes:
        if mangle is None:
            return data
        altered = mangle(data)
        self.altered += altered != data
        return altered


class _Side(asyncio.DatagramProtocol):
    """One socket."""

    def __init__(self, receive: Callable[[bytes, tuple[str, int]], None]) -> None:
        self._receive = receive

    def datagram_received(self, data: bytes, source: tuple[str, int]) -> None:
        self._receive(data, source)
