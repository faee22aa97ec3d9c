"""DTLS on the port of one media stream: datagrams both ways, deadlines, and what came of it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol, TypeAlias

from callmeter.errors import MediaSecurityError, TransportError
from callmeter.rtp.demux import PacketKind

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from callmeter.sdp.attributes import Fingerprint
    from callmeter.srtp.dtls import DtlsKeys, DtlsRole
    from callmeter.srtp.dtls_endpoint import DtlsResult, DtlsTransport

__all__ = ["Control", "DatagramPort", "DtlsSession"]

Control: TypeAlias = "Callable[[PacketKind, bytes, tuple[str, int]], None]"


class DatagramPort(Protocol):
    """The ports of a stream, as its DTLS sees them: an `RtpStream`, or ICE on one."""

    def set_control(self, control: Control | None, *, rtcp: bool = False) -> None:
        """Pass what comes in to a callback."""

    def send_datagram(
        self, datagram: bytes, destination: tuple[str, int], *, rtcp: bool = False
    ) -> bool:
        """Send a datagram; False when it did not leave."""


class DtlsSession:
    """Drives a `DtlsTransport` for as long as its stream lives.

    Args:
        port: Which carries the handshake, from now on and before `start`.
        transport: The associations on it.
        on_keys: Told of each verified pair of keys, the first and those of a re-handshake.
        on_refused: Told why a re-handshake failed; the keys before it stay in use.
        rtcp: Whether this is the DTLS of the stream's RTCP port.

    Attributes:
        transport: See above.
        renewing: Whether a handshake for other keys than those in use is under way.
    """

    def __init__(
        self,
        port: DatagramPort,
        transport: DtlsTransport,
        on_keys: Callable[[DtlsKeys], None],
        on_refused: Callable[[MediaSecurityError], None],
        *,
        rtcp: bool = False,
    ) -> None:
        self.transport = transport
        self._port = port
        self._on_keys, self._on_refused = on_keys, on_refused
        self._rtcp = rtcp
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._waiters: list[asyncio.Future[None]] = []
        self._failure: MediaSecurityError | None = None
        self._refusal: MediaSecurityError | None = None
        self._closed = False
        self.renewing = False
        port.set_control(self._on_datagram, rtcp=rtcp)

    @property
    def established(self) -> bool:
        """Whether there are verified keys."""
        return self.transport.established

    @property
    def failed(self) -> bool:
        """Whether the first handshake led to nothing."""
        return self._failure is not None

    def start(
        self, role: DtlsRole, fingerprints: Sequence[Fingerprint], remote: tuple[str, int]
    ) -> None:
        """Use the peer's description; again for one with another fingerprint or role."""
        self._failure = self._refusal = None
        self.renewing = self.established
        self._carry_out(self.transport.start(role, fingerprints, remote, self._loop.time()))

    def forget_peer(self) -> None:
        """Another peer takes what this end described; `start` follows with its description."""
        self._carry_out(self.transport.forget_peer())

    async def wait(self) -> None:
        """Wait for verified keys.

        Raises:
            MediaSecurityError: The handshake failed: `DtlsTimeout`, `FingerprintMismatch` ...
        """
        while not self.established and self._failure is None and not self._closed:
            waiter = self._loop.create_future()
            self._waiters.append(waiter)
            await waiter
        if self._failure is not None:
            raise self._failure

    async def renewed(self) -> None:
        """Wait for the keys of a new association, if one is under way.

        Raises:
            MediaSecurityError: Its handshake failed; the keys before it stay in use.
        """
        while self.renewing and not self._closed:
            waiter = self._loop.create_future()
            self._waiters.append(waiter)
            await waiter
        if self._refusal is not None:
            raise self._refusal

    def close(self) -> None:
        """Say close_notify and forget everything; a second call does nothing."""
        if self._closed:
            return
        self._carry_out(self.transport.close())
        self._closed = True
        self._wake()

    def _on_datagram(self, kind: PacketKind, data: bytes, source: tuple[str, int]) -> None:
        if kind is PacketKind.DTLS and not self._closed:
            self._carry_out(self.transport.on_datagram(data, source, self._loop.time()))

    def _on_timer(self) -> None:
        self._timer = None
        self._carry_out(self.transport.on_deadline(self._loop.time()))

    def _carry_out(self, result: DtlsResult) -> None:
        for data, destination in result.outgoing:
            try:
                self._port.send_datagram(data, destination, rtcp=self._rtcp)
            except TransportError:
                continue  # lost like any datagram: the flight is sent again
        if result.keys is not None:
            self.renewing = False
            self._on_keys(result.keys)
        if result.failure is not None and self.established:
            self.renewing = False
            self._refusal = result.failure
            self._on_refused(result.failure)
        elif result.failure is not None:
            self._failure = result.failure
        if result.keys is not None or result.failure is not None:
            self._wake()
        self._rearm()

    def _rearm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        at = self.transport.next_deadline()
        if at is not None and not self._closed:
            self._timer = self._loop.call_at(at, self._on_timer)

    def _wake(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)
