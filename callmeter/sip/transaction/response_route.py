"""Where the answer to a request goes (RFC 3261 sections 18.2.1 and 18.2.2, RFC 3581)."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING

from callmeter.errors import SipSyntaxError
from callmeter.sip.grammar import param_text
from callmeter.sip.headers import Via
from callmeter.sip.transaction.effects import Hop

if TYPE_CHECKING:
    from callmeter.sip.message import Request

__all__ = ["response_hops", "response_way", "stamp"]

DEFAULT_PORT = 5060
DEFAULT_TLS_PORT = 5061

_OURS = ("received", "rport")


def stamp(request: Request, source: Hop) -> None:
    """Note in the top Via where the request really came from.

    A `received` or `rport` value that came with the request is overwritten: nobody but the
    receiver knows it, and an answer that followed it would go where the sender likes.

    Raises:
        SipSyntaxError: The Via cannot be written again.
    """
    usual = request.usual
    via = request.via
    asked = via.rport is not None
    if not asked and via.received is None and via.host == source.host:
        return
    params = [param for param in via.params if param[0].lower() not in _OURS]
    # RFC 3581 section 4: with rport, received is added even where it says nothing new.
    params.append(("received", source.host))
    if asked:
        params.append(("rport", str(source.port)))
    stamped = Via(via.transport, via.host, via.port, tuple(params), via.protocol)
    headers = request.headers
    vias = [stamped, *request.vias[1:]]
    # What else was parsed is still true: only the Via changes.
    typed = headers.typed.copy()
    text = ", ".join(map(str, vias))
    if "\0" in text:
        # A quoted pair may hold it, but nothing of ours sends one.
        raise SipSyntaxError("a NUL in Via", rfc="RFC 3261 section 20.42")
    headers.set("Via", text)
    if usual is not None:
        typed["usual"] = usual._replace(
            via=f"{via.transport} {via.sent_by}{param_text(stamped.params)}",
            before="",
            after=param_text(stamped.without_param("branch").params),
        )
    headers.typed.update(typed, vias=vias)


def response_way(request: Request, source: Hop) -> tuple[Hop, Hop | None]:
    """Where the responses to a request go, as `response_hops` says; the request is stamped.

    Raises:
        SipSyntaxError: The Via cannot be written again.
    """
    usual = request.usual
    if (
        usual is not None
        and not usual.after
        and not usual.before
        and usual.host == source.host
        and source.transport == "UDP"
        and int(usual.port or DEFAULT_PORT) == source.port
    ):
        # The Via says where it came from, and asks for nothing.
        return source, None
    hops = response_hops(request.via, source)
    stamp(request, source)
    return hops


def response_hops(via: Via, source: Hop) -> tuple[Hop, Hop | None]:
    """Where to send the responses, and where to try once more if that connection is gone.

    Args:
        via: The request's top Via.
        source: Where the request came from.
    """
    if not source.reliable:
        return _datagram_hop(via, source), None
    if source.connection is None or source.transport in {"WS", "WSS"}:
        return source, None  # a browser cannot be called back
    port = DEFAULT_TLS_PORT if source.transport == "TLS" else DEFAULT_PORT
    # RFC 5922 section 7.3: what the certificate has to name is the sent-by.
    name = via.host if source.transport == "TLS" else None
    return source, Hop(source.transport, source.host, via.port or port, name=name)


def _datagram_hop(via: Via, source: Hop) -> Hop:
    maddr = via.maddr
    if maddr is not None and _is_one_host(maddr):
        return Hop(source.transport, maddr, via.port or DEFAULT_PORT, source.connection)
    if via.rport is not None:
        return source
    return Hop(source.transport, source.host, via.port or DEFAULT_PORT, source.connection)


def _is_one_host(text: str) -> bool:
    """Whether an address is one machine's: no amplification by multicast or broadcast."""
    try:
        address = ip_address(text)
    except ValueError:
        return False
    return not (
        address.is_multicast or address.is_unspecified or address.is_loopback or address.is_reserved
    )
