"""The next hop of a message: its URI, its transport, and where we are reached from there."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final, TypeVar

from callmeter.config import Transport
from callmeter.sip.headers import NameAddr
from callmeter.sip.message import Request, Response
from callmeter.sip.uri import SipUri

if TYPE_CHECKING:
    from callmeter.sip.transaction.effects import Hop

__all__ = ["default_port", "facing", "host_port", "next_hop_uri", "transport_of"]

MessageT = TypeVar("MessageT", Request, Response)

DEFAULT_PORT: Final = 5060
DEFAULT_TLS_PORT: Final = 5061

_TRANSPORTS: Final = {item.value: item for item in Transport if item is not Transport.AUTO}


def next_hop_uri(request: Request) -> SipUri | None:
    """Where a request goes: a topmost Route with `lr`, else the Request-URI (RFC 3261 8.1.2)."""
    if request.next_hop is not None:
        return request.next_hop if isinstance(request.next_hop, SipUri) else None
    routes = request.routes
    if routes and isinstance(routes[0].uri, SipUri) and routes[0].uri.lr:
        return routes[0].uri
    return request.uri if isinstance(request.uri, SipUri) else None


def host_port(address: tuple[str, int]) -> str:
    """Host and port as in a Via; port 0 is none."""
    host, port = address
    host = f"[{host}]" if ":" in host else host
    return f"{host}:{port}" if port else host


def transport_of(uri: SipUri, default: Transport) -> Transport:
    """The transport a URI asks for; a sips URI is never reached without TLS (RFC 3261 26.2.2)."""
    name = uri.transport
    # RFC 7118 section 5.5: `ws` stands for both, and plain WebSocket is not offered here.
    wanted = Transport.WSS if name in {"ws", "wss"} else _TRANSPORTS.get(name or "", default)
    if uri.scheme == "sips" and wanted in {Transport.UDP, Transport.TCP}:
        return Transport.TLS
    return wanted


def facing(message: MessageT, local: tuple[str, int], hop: Hop) -> MessageT:
    """The message with the Contact by which its peer reaches us, the very one if it has it."""
    contacts = message.contacts
    if not isinstance(contacts, list) or len(contacts) != 1:
        return message
    contact = contacts[0]
    uri = contact.uri
    # RFC 7118 section 5.5: `ws` stands for WebSocket, secure or not.
    word = "ws" if hop.transport == "WSS" else hop.transport.lower()
    if not isinstance(uri, SipUri) or uri.has_param("gr"):
        return message  # a GRUU (RFC 5627) is reached from everywhere
    wanted = (local[0], local[1] or None, word)
    if (uri.host, uri.port, uri.transport or "udp") == wanted:
        return message
    plain = replace(uri.without_params("transport"), host=local[0], port=local[1] or None)
    right = plain if word == "udp" else plain.with_params(transport=word)
    copy = message.copy()
    copy.headers.set("Contact", NameAddr(right, contact.display, contact.params))
    return copy


def default_port(hop: Hop) -> int:
    """The port of a URI or Via that names none (RFC 3261 section 19.1.2)."""
    return DEFAULT_TLS_PORT if hop.transport in {"TLS", "WSS"} else DEFAULT_PORT
