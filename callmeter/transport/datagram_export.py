"""Datagrams to a collector: sent and forgotten, so that no call ever waits for one."""

from __future__ import annotations

import socket

from callmeter.errors import ConnectionFailed

__all__ = ["DatagramExport"]


class DatagramExport:
    """A UDP socket that only sends.

    Args:
        address: IP address and port of the collector.

    Attributes:
        sent: Datagrams handed to the kernel.
        dropped: Datagrams that the kernel refused, or that were too long to be sent.

    Raises:
        ConnectionFailed: The system has no route to the collector.
    """

    __slots__ = ("_socket", "dropped", "sent")

    def __init__(self, address: tuple[str, int]) -> None:
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_DGRAM)
        self._socket.settimeout(0)
        self.sent = 0
        self.dropped = 0
        try:
            self._socket.connect(address)
        except OSError as error:
            self._socket.close()
            raise ConnectionFailed(
                f"no datagram can be sent to the collector at {address[0]} port {address[1]}: "
                f"{error.strerror}"
            ) from error

    def send(self, datagram: bytes | None) -> None:
        """Send one; None is one that was too long."""
        try:
            if datagram is not None:
                self._socket.send(datagram)
                self.sent += 1
                return
        except OSError:
            # Nobody listens, or the queue is full: the next one may get through.
            pass
        self.dropped += 1

    def close(self) -> None:
        """Free the socket."""
        self._socket.close()
