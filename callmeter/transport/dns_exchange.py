"""One question to one name server, and what its answer says (RFC 1035, RFC 6891, RFC 7766).

dnspython makes and reads the messages. The sockets are our own: a connected one learns from an
ICMP error at once that nobody serves there, where an unconnected one waits for its time-out.
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
from dns.rdtypes.ANY.CNAME import CNAME
from dns.rdtypes.IN.A import A
from dns.rdtypes.IN.AAAA import AAAA
from dns.rdtypes.IN.NAPTR import NAPTR
from dns.rdtypes.IN.SRV import SRV

from callmeter.sip.server_location import (
    AddressRecord,
    Answer,
    NaptrRecord,
    Question,
    Record,
    SrvRecord,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dns.rdata import Rdata

    from callmeter.transport.system_names import NameServer

__all__ = ["Alias", "NameServerFailed", "NameServerSilent", "ask_server"]

PAYLOAD = 1232
"""UDP payload asked for by EDNS: what passes every path unfragmented."""
MAX_ANSWER = 8192
"""Octets of an answer over TCP; reading more records would hold up the event loop."""
MAX_STRAYS = 16
"""Datagrams on our socket that are no answer, before the server is given up."""
MAX_ALIASES = 8
_HEADER = 12
_TRUNCATED = 0x02


class NameServerFailed(Exception):  # noqa: N818  says what happened
    """The server gave no usable answer; the message says why, and names the server."""


class NameServerSilent(NameServerFailed):
    """The server gave no answer in time."""


@dataclass(frozen=True, slots=True)
class Alias:
    """The name has another name that is to be asked instead (RFC 1034 section 3.6.2).

    Attributes:
        name: That name.
        ttl: Seconds for which this holds.
    """

    name: str
    ttl: float


async def ask_server(server: NameServer, question: Question, seconds: float) -> Answer | Alias:
    """Ask one question, by UDP, and again by TCP if the answer is cut short.

    Args:
        server: IP address and port.
        question: What to ask.
        seconds: Time for the whole exchange.

    Returns:
        What the server says: records, that there are none, or another name to ask.

    Raises:
        NameServerSilent: Nothing came in time.
        NameServerFailed: Nobody serves there, or the answer is of no use.
    """
    where = f"[{server[0]}]:{server[1]}" if ":" in server[0] else f"{server[0]}:{server[1]}"
    try:
        name = dns.name.from_text(question.name)
        query = dns.message.make_query(name, question.type, use_edns=0, payload=PAYLOAD)
        query.to_wire()
    except (dns.exception.DNSException, UnicodeError) as error:
        raise NameServerFailed(f"no domain name: {error}") from error
    try:
        async with asyncio.timeout(seconds):
            message = await _exchange(server, query)
            if message.rcode() == dns.rcode.FORMERR:
                # A server from before EDNS (RFC 6891 section 7).
                query = dns.message.make_query(name, question.type)
                message = await _exchange(server, query)
    except TimeoutError:
        raise NameServerSilent(f"{where} did not answer in {seconds:g} s") from None
    except OSError as error:
        raise NameServerFailed(f"{where}: {error.strerror or error}") from error
    except _Unusable as error:
        raise NameServerFailed(f"{where}: {error}") from error
    rcode = message.rcode()
    if rcode not in {dns.rcode.NOERROR, dns.rcode.NXDOMAIN}:
        raise NameServerFailed(f"{where} answered {dns.rcode.to_text(rcode)}")
    try:
        return _read(message, name, question)
    except _Unusable as error:
        raise NameServerFailed(f"{where}: {error}") from error


class _Unusable(Exception):  # noqa: N818  internal
    """An answer that cannot be used."""


async def _exchange(server: NameServer, query: dns.message.Message) -> dns.message.Message:
    loop = asyncio.get_running_loop()
    wire = query.to_wire()
    with _connected(server, socket.SOCK_DGRAM) as datagrams:
        datagrams.connect(server)
        await loop.sock_sendall(datagrams, wire)
        for _ in range(MAX_STRAYS):
            data = await loop.sock_recv(datagrams, MAX_ANSWER)
            if data[:2] != wire[:2] or len(data) < _HEADER:
                continue  # not ours: late, or forged with a guessed number
            if data[2] & _TRUNCATED:
                break
            message = _parse(data)
            if query.is_response(message):
                return message
        else:
            raise _Unusable("what came is no answer to the question")
    with _connected(server, socket.SOCK_STREAM) as stream:
        await loop.sock_connect(stream, server)
        await loop.sock_sendall(stream, len(wire).to_bytes(2, "big") + wire)
        length = int.from_bytes(await _exactly(loop, stream, 2), "big")
        if length > MAX_ANSWER:
            raise _Unusable(f"an answer of {length} octets, at most {MAX_ANSWER} are read")
        message = _parse(await _exactly(loop, stream, length))
    if not query.is_response(message):
        raise _Unusable("what came is no answer to the question")
    return message


@contextmanager
def _connected(server: NameServer, kind: socket.SocketKind) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in server[0] else socket.AF_INET
    with socket.socket(family, kind) as opened:
        opened.setblocking(False)  # noqa: FBT003  the socket module's own signature
        yield opened


async def _exactly(loop: asyncio.AbstractEventLoop, stream: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        piece = await loop.sock_recv(stream, count - len(data))
        if not piece:
            raise _Unusable("the connection ended before the answer did")
        data += piece
    return data


def _parse(data: bytes) -> dns.message.Message:
    try:
        return dns.message.from_wire(data, ignore_trailing=True)
    except Exception as error:  # a library reads what a stranger sent
        raise _Unusable(f"not a DNS message: {type(error).__name__}") from error


def _read(message: dns.message.Message, name: dns.name.Name, question: Question) -> Answer | Alias:
    wanted = dns.rdatatype.from_text(question.type)
    ttl: float | None = None
    for _ in range(MAX_ALIASES):
        found = message.get_rrset(message.answer, name, dns.rdataclass.IN, wanted)
        if found is not None:
            records = tuple(one for rdata in found if (one := _record(rdata)) is not None)
            ttl = found.ttl if ttl is None else min(ttl, found.ttl)
            return Answer(question, records, ttl=float(ttl))
        link = message.get_rrset(message.answer, name, dns.rdataclass.IN, dns.rdatatype.CNAME)
        if link is None or not isinstance(link[0], CNAME):
            break
        name = link[0].target
        ttl = link.ttl if ttl is None else min(ttl, link.ttl)
    else:
        raise _Unusable(f"aliases in a circle, or more than {MAX_ALIASES}")
    if message.rcode() == dns.rcode.NXDOMAIN:
        return Answer(question, outcome="nxdomain")
    if ttl is not None:
        return Alias(_text(name), ttl)
    if not message.flags & (dns.flags.AA | dns.flags.RA):
        raise _Unusable("it does not know this domain and asks nobody else")
    return Answer(question, outcome="no-data")


def _record(rdata: Rdata) -> Record | None:
    match rdata:
        case NAPTR():
            return NaptrRecord(
                rdata.order,
                rdata.preference,
                rdata.flags.decode("ascii", "replace"),
                rdata.service.decode("ascii", "replace"),
                rdata.regexp.decode("ascii", "replace"),
                _text(rdata.replacement),
            )
        case SRV():
            return SrvRecord(rdata.priority, rdata.weight, rdata.port, _text(rdata.target))
        case A() | AAAA():
            return AddressRecord(rdata.address)
    return None


def _text(name: dns.name.Name) -> str:
    return name.to_text(omit_final_dot=True).lower()
