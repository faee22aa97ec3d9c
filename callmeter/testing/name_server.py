"""A name server for tests: one zone on a loopback port, and the ways in which servers fail.

async with NameServer("_sip._udp SRV 10 0 5060 @") as names:
    config = StackConfig(name_servers=(names.address,))
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Self, cast

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.zone

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

__all__ = ["NameServer"]

HOST = "127.0.0.1"
TRIES = 20
WITHOUT_EDNS = 512
MAX_LINKS = 16
PREFIX = 2


class NameServer(asyncio.DatagramProtocol):
    """Serves a zone by UDP and TCP on one port.

    Args:
        zone: Records in zone file notation without class and TTL columns, relative to `origin`.
        origin: The domain.
        ttl: TTL of every record that names none.

    Attributes:
        asked: `"SRV _sip._udp.example.test"` for each question, in order, TCP ones included.
        by_tcp: The same, of those by TCP.
        silent: Take questions and answer none.
        rcode: Answer every question with this code, such as `"SERVFAIL"`, when not None.
        truncates: Cut every UDP answer short.
        knows_edns: Whether EDNS is understood; else it is answered with FORMERR.
        delay: Seconds before an answer by UDP.
        streams: TCP connections that are open.
        rewrite: Takes the octets of an answer and returns those that are sent.
    """

    def __init__(self, zone: str, *, origin: str = "example.test", ttl: int = 60) -> None:
        self.asked: list[str] = []
        self.by_tcp: list[str] = []
        self.silent = False
        self.rcode: str | None = None
        self.truncates = False
        self.knows_edns = True
        self.delay = 0.0
        self.rewrite: Callable[[bytes], bytes] = bytes
        self.port = 0
        self.streams: set[asyncio.Transport] = set()
        self._origin = dns.name.from_text(origin)
        self._ttl = ttl
        self._transport: asyncio.DatagramTransport | None = None
        self._server: asyncio.Server | None = None
        self.load(zone)

    def load(self, zone: str) -> None:
        """Serve these records from now on."""
        self._zone = dns.zone.from_text(
            f"$TTL {self._ttl}\n{zone}\n", self._origin, relativize=False, check_origin=False
        )

    @property
    def address(self) -> str:
        """`"host:port"`, as `StackConfig.name_servers` takes it."""
        return f"{HOST}:{self.port}"

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        for _ in range(TRIES):
            self._transport, _ = await loop.create_datagram_endpoint(
                lambda: self, local_addr=(HOST, self.port)
            )
            port = self._transport.get_extra_info("sockname")[1]
            try:
                self._server = await loop.create_server(lambda: _Stream(self), HOST, port)
            except OSError:
                self._transport.close()
            else:
                self.port = port
                return self
        raise OSError(f"no port of {HOST} is free for UDP and TCP")

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
        await asyncio.sleep(0)  # the loop closes sockets in its next turn

    def close(self) -> None:
        """Serve no longer: the port is closed, what is sent there is refused."""
        if self._transport is not None:
            self._transport.close()
        if self._server is not None:
            self._server.close()
        for stream in self.streams:
            stream.abort()

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """A question by UDP."""
        answer = self.answer(data, datagram=True)
        if answer is not None:
            asyncio.get_running_loop().call_later(self.delay, self._reply, answer, addr)

    def _reply(self, answer: bytes, addr: tuple[str, int]) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.sendto(answer, addr)

    def answer(self, data: bytes, *, datagram: bool) -> bytes | None:
        """The octets that answer these; None for no answer."""
        try:
            query = dns.message.from_wire(data)
        except dns.exception.DNSException:
            return None
        question = query.question[0]
        kind = dns.rdatatype.to_text(question.rdtype)
        name = question.name.to_text(omit_final_dot=True).lower()
        self.asked.append(f"{kind} {name}")
        if not datagram:
            self.by_tcp.append(f"{kind} {name}")
        if self.silent:
            return None
        response = dns.message.make_response(query)
        response.flags |= dns.flags.AA
        if self.rcode is not None:
            response.set_rcode(dns.rcode.from_text(self.rcode))
        elif query.edns >= 0 and not self.knows_edns:
            response.use_edns(False)  # noqa: FBT003  dnspython's own signature
            response.set_rcode(dns.rcode.FORMERR)
        else:
            self._look_up(question.name, question.rdtype, response)
        room = (query.payload if query.edns >= 0 else WITHOUT_EDNS) if datagram else 65_535
        if not (datagram and self.truncates):
            with contextlib.suppress(dns.exception.TooBig):
                return self.rewrite(response.to_wire(max_size=room))
        response.answer.clear()
        response.flags |= dns.flags.TC
        return self.rewrite(response.to_wire())

    def _look_up(
        self, name: dns.name.Name, kind: dns.rdatatype.RdataType, response: dns.message.Message
    ) -> None:
        if not name.is_subdomain(self._origin):
            response.flags &= ~dns.flags.AA
            response.set_rcode(dns.rcode.REFUSED)
            return
        for _ in range(MAX_LINKS):
            found = self._zone.get_rrset(name, kind)
            if found is not None:
                response.answer.append(found)
                return
            link = self._zone.get_rrset(name, dns.rdatatype.CNAME)
            if link is None:
                break
            response.answer.append(link)
            name = cast("dns.name.Name", link[0].target)
        ours = name.is_subdomain(self._origin)
        if ours and not any(known.is_subdomain(name) for known in self._zone.nodes):
            response.set_rcode(dns.rcode.NXDOMAIN)


class _Stream(asyncio.Protocol):
    """One TCP connection: messages behind their length (RFC 1035 section 4.2.2)."""

    def __init__(self, server: NameServer) -> None:
        self._server = server
        self._data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._server.streams.add(self._transport)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  the protocol's own
        self._server.streams.discard(self._transport)

    def data_received(self, data: bytes) -> None:
        self._data += data
        while len(self._data) >= PREFIX:
            end = PREFIX + int.from_bytes(self._data[:PREFIX], "big")
            if len(self._data) < end:
                return
            answer = self._server.answer(self._data[PREFIX:end], datagram=False)
            self._data = self._data[end:]
            if answer is not None:
                self._transport.write(len(answer).to_bytes(PREFIX, "big") + answer)
