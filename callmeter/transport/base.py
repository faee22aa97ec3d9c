"""What every SIP transport offers, and what it reports to (RFC 3261 section 18)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from callmeter.sip.transaction.effects import Hop

__all__ = ["SipTransport", "TransportUser"]


class TransportUser(Protocol):
    """Who takes what arrives; called from the event loop, never concurrently."""

    def on_datagram(self, data: bytes, source: Hop) -> None:
        """One datagram from `source`."""

    def on_unreachable(self, destination: Hop, error: str) -> None:
        """The network says that `destination` takes no messages (an ICMP error, a reset)."""


class SipTransport(Protocol):
    """One way to carry SIP messages."""

    name: str
    """`"UDP"`, `"TCP"` ... as in a Via header."""

    @property
    def local(self) -> tuple[str, int]:
        """Address and port that listen."""

    def send(self, data: bytes, hop: Hop) -> None:
        """Send one message; raises `TransportError` when it cannot even be queued."""

    def close(self) -> None:
        """Stop and free the sockets; a second call does nothing."""
