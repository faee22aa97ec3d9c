"""What a transaction asks its surroundings to do, and the hop a message takes."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from callmeter.sip.message import Request, Response

__all__ = [
    "Deliver",
    "Effect",
    "Hop",
    "Key",
    "Send",
    "Terminated",
    "TimedOut",
    "TransportFailed",
]

# What is made for each message is not frozen: that would treble what making it costs. Nobody
# changes it all the same.

Key = tuple[Hashable, ...]
"""What the transaction layer knows a transaction by; see `callmeter.sip.transaction.key`."""


@dataclass(frozen=True, slots=True)
class Hop:
    """The next hop of a message, or the one it came from.

    Attributes:
        transport: `"UDP"`, `"TCP"`, `"TLS"`, `"WS"` or `"WSS"`.
        host: IP address; IPv6 without brackets.
        port: Port there.
        connection: The connection (or local socket) to use, by the number its owner gave it;
            None lets the transport layer choose or open one.
        name: The domain that was asked for, before any DNS: what a certificate has to name
            (RFC 5922 section 4).
        tls: Which of the transport layer's TLS settings to use, by its number.
    """

    transport: str
    host: str
    port: int
    connection: int | None = None
    name: str | None = None
    tls: int | None = None

    @property
    def reliable(self) -> bool:
        """Whether the transport retransmits by itself (RFC 3261 section 17)."""
        return self.transport != "UDP"

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.transport} {host}:{self.port}"


@dataclass(slots=True, unsafe_hash=True)
class Send:
    """Put `message` on the wire; a failure comes back as `on_transport_error(key, ...)`.

    `key` is None for what belongs to no transaction: the ACK of a 2xx, a stateless answer.
    """

    key: Key | None
    message: Request | Response
    hop: Hop


@dataclass(slots=True, unsafe_hash=True)
class Deliver:
    """Give `message` to the transaction user; `key` is None for the ACK of a 2xx."""

    key: Key | None
    message: Request | Response


@dataclass(frozen=True, slots=True)
class TimedOut:
    """The peer stayed silent too long.

    `timer` is the RFC's letter, `"B"`, `"F"` or `"H"`, or `"CANCEL"` where a cancelled INVITE
    got no final response (RFC 3261 section 9.1). `Terminated` follows.
    """

    key: Key
    timer: str


@dataclass(frozen=True, slots=True)
class TransportFailed:
    """The network did not take a message of this transaction; `error` says why."""

    key: Key
    error: str


@dataclass(slots=True, unsafe_hash=True)
class Terminated:
    """The transaction has gone, and its key means nothing any more."""

    key: Key


Effect = Send | Deliver | TimedOut | TransportFailed | Terminated
