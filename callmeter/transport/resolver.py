"""The resolver: questions of RFC 3263 put to name servers, with a memory.

Rules of the memory: an answer is kept for its TTL, at least 5 s and at most an hour. That a name
or record does not exist is kept for 30 s. When no server answers, the last good answer serves for
another day (RFC 8767), and the failure itself is kept for 5 s so that a thousand calls do not ask
a dead server a thousand times. There is one query in flight for a question, however many wait.

Times: one try is 2 s, one question 5 s in all, over every server twice at most; a question to
servers that are all known to be silent is one try. A caller that has an old answer to go on with
waits 1.8 s for a fresh one.
"""

from __future__ import annotations

import asyncio
import ipaddress
import secrets
import socket
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from callmeter.config import Transport
from callmeter.errors import ResolutionFailed
from callmeter.sip.server_location import (
    FAMILIES,
    AddressRecord,
    Answer,
    Location,
    Question,
    ServerLocation,
)
from callmeter.transport.dns_exchange import (
    MAX_ALIASES,
    Alias,
    NameServerFailed,
    NameServerSilent,
    ask_server,
)
from callmeter.transport.system_names import SystemNames, parse_name_server
from callmeter.transport.target_health import TargetHealth

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from callmeter.sip.uri import SipUri
    from callmeter.transport.system_names import NameServer
    from callmeter.transport.target_health import Destination

__all__ = ["Resolver", "ResolverTimes"]

EVERY_TRANSPORT = frozenset({Transport.UDP, Transport.TCP, Transport.TLS, Transport.WSS})
REMEMBERED = 4096
"""Answers kept; beyond, the oldest is forgotten."""
AT_ONCE = 64
"""Queries under way at the same time."""
ROUNDS = 2


@dataclass(frozen=True, kw_only=True)
class ResolverTimes:
    """Seconds of the resolver's clock.

    Attributes:
        one_try: For one server to answer.
        question: For one question, all tries together.
        stale_wait: A caller waits so long for a fresh answer before it takes an old one.
        least: An answer is kept at least so long.
        most: An answer is kept at most so long.
        negative: How long "there is none" is kept.
        failure: How long "nobody answers" is kept.
        stale: How long an outdated answer serves while nobody answers.
        stale_again: Then servers are asked again after so long.
        silent: A server that did not answer stands behind the others for so long.
    """

    one_try: float = 2.0
    question: float = 5.0
    stale_wait: float = 1.8
    least: float = 5.0
    most: float = 3600.0
    negative: float = 30.0
    failure: float = 5.0
    stale: float = 86_400.0
    stale_again: float = 30.0
    silent: float = 30.0


@dataclass(slots=True)
class _Kept:
    answer: Answer
    fresh_until: float
    stale_until: float


@dataclass(frozen=True, slots=True)
class _Flight:
    task: asyncio.Task[None]
    begun: float


class Resolver:
    """Where requests go, by RFC 3263, for as long as its owner's task group lives.

    Args:
        tasks: Queries run in this group, so that a caller who gives up takes nobody's answer
            away. A query never raises.
        name_servers: `"host"` or `"host:port"`; empty takes the machine's own, and then its
            hosts file and its other sources of addresses count too.
        supported: Transports that are open.
        families: Address types that can be reached, preferred first.
        entropy: Gives that many random octets.
        times: Time-outs and lifetimes.
        system: The machine's own names, when `name_servers` is empty.
        clock: Monotonic seconds; the event loop's when None.

    Raises:
        ConfigurationError: A name server that is none.
    """

    def __init__(
        self,
        tasks: asyncio.TaskGroup,
        *,
        name_servers: Sequence[str] = (),
        supported: frozenset[Transport] = EVERY_TRANSPORT,
        families: Sequence[str] = FAMILIES,
        entropy: Callable[[int], bytes] = secrets.token_bytes,
        times: ResolverTimes | None = None,
        system: SystemNames | None = None,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self._tasks = tasks
        self._configured = tuple(parse_name_server(text) for text in name_servers)
        self._supported = supported
        self._families = tuple(families)
        self._entropy = entropy
        self._times = times or ResolverTimes()
        self._numeric_servers: tuple[NameServer, ...] = ()
        self._system = None if self._configured else (system or SystemNames())
        self._clock = clock or asyncio.get_running_loop().time
        self._health = TargetHealth()
        self._kept: dict[Question, _Kept] = {}
        self._flights: dict[Question, _Flight] = {}
        self._silent_until: dict[NameServer, float] = {}
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._closed = False

    def close(self) -> None:
        """End the queries under way; who waits for them is told so. A second call does nothing."""
        self._closed = True
        for flight in self._flights.values():
            flight.task.cancel()

    # where a URI leads

    async def locate(
        self,
        uri: SipUri,
        transport: Transport,
        *,
        families: Sequence[str] | None = None,
        strict: bool = False,
    ) -> Location:
        """The targets a request to `uri` may take, best first, ailing ones last.

        Args:
            uri: Where the request goes.
            transport: How, `Transport.AUTO` included.
            families: Address types that can be reached; None takes the resolver's.
            strict: The URI is a peer's: its port counts under AUTO too.

        Raises:
            ResolutionFailed: There are none; `.attempts` says what was asked and answered.
        """
        location, error = await self.explain(uri, transport, families=families, strict=strict)
        if error is not None:
            raise ResolutionFailed(
                error,
                destination=f"{transport.name} {uri.host}",
                attempts=[str(answer) for answer in location.asked],
            )
        return location

    async def explain(
        self,
        uri: SipUri,
        transport: Transport,
        *,
        families: Sequence[str] | None = None,
        strict: bool = False,
    ) -> tuple[Location, str | None]:
        """Like `locate`, but a failure is told and not raised: the location and the error."""
        location = self._procedure(uri, transport, families, strict=strict)
        while questions := location.questions():
            for question in questions:
                self._begin(question)
            for question in questions:
                location.on_answer(await self.ask(question))
        return self._healthy(location.location), location.error

    def known(
        self,
        uri: SipUri,
        transport: Transport,
        *,
        families: Sequence[str] | None = None,
        strict: bool = False,
    ) -> Location | None:
        """Like `locate`, from memory alone and at once; None when something is to be asked."""
        location = self._procedure(uri, transport, families, strict=strict)
        while questions := location.questions():
            for question in questions:
                answer = self._fresh(question)
                if answer is None:
                    return None
                location.on_answer(answer)
        return None if location.error is not None else self._healthy(location.location)

    def _procedure(
        self, uri: SipUri, transport: Transport, families: Sequence[str] | None, *, strict: bool
    ) -> ServerLocation:
        return ServerLocation(
            uri,
            transport,
            supported=self._supported,
            families=self._families if families is None else families,
            entropy=self._entropy,
            strict=strict,
        )

    def _healthy(self, location: Location) -> Location:
        return replace(location, targets=self._health.usable(location.targets, self._clock()))

    def mark_failed(self, destination: Destination) -> None:
        """The transport failed there, or nobody answered: others come first for 30 s."""
        self._health.failed(destination, self._clock())

    def mark_unavailable(self, destination: Destination, retry_after: float | None = None) -> None:
        """503 came from there: not used for `retry_after` s, at most an hour; 60 s when None."""
        self._health.unavailable(destination, self._clock(), retry_after)

    def mark_good(self, destination: Destination) -> None:
        """Something other than 503 came from there: nothing is held against it any more."""
        self._health.good(destination)

    # questions and what is remembered of them

    async def ask(self, question: Question) -> Answer:
        """The answer to one question, from memory or from a server; never raises for the DNS."""
        answer = self._fresh(question)
        if answer is not None:
            return answer
        flight = self._begin(question)
        if flight is None:
            return Answer(question, outcome="failure", detail="the resolver is closed")
        kept = self._kept.get(question)
        if kept is not None and kept.stale_until > self._clock():
            waited = self._clock() - flight.begun
            # wait() does not cancel what it waits for, neither in time nor when it is cancelled.
            await asyncio.wait({flight.task}, timeout=max(0.0, self._times.stale_wait - waited))
            kept = self._kept.get(question, kept)
            if self._fresh(question) is None:
                return _outdated(kept.answer)
            return kept.answer
        await asyncio.wait({flight.task})
        kept = self._kept.get(question)
        if kept is None or flight.task.cancelled():
            return Answer(question, outcome="failure", detail="the resolver is closed")
        return kept.answer

    def _fresh(self, question: Question) -> Answer | None:
        kept = self._kept.get(question)
        return kept.answer if kept is not None and kept.fresh_until > self._clock() else None

    def _begin(self, question: Question) -> _Flight | None:
        """The query under way for this question, begun if need be; None when it needs none."""
        flight = self._flights.get(question)
        if flight is None and not self._closed and self._fresh(question) is None:
            task = self._tasks.create_task(self._query(question))
            flight = self._flights[question] = _Flight(task, self._clock())
            task.add_done_callback(lambda _: self._flights.pop(question, None))
        return flight

    async def _query(self, question: Question) -> None:
        self._keep(question, await self._find_out(question))

    def _keep(self, question: Question, answer: Answer) -> None:
        now, times = self._clock(), self._times
        before = self._kept.pop(question, None)
        if answer.outcome == "ok":
            seconds = min(max(answer.ttl, times.least), times.most)
            kept = _Kept(answer, now + seconds, now + seconds + times.stale)
        elif answer.outcome != "failure":
            kept = _Kept(answer, now + times.negative, 0.0)
        elif before is not None and before.stale_until > now:
            kept = _Kept(_outdated(before.answer), now + times.stale_again, before.stale_until)
        else:
            kept = _Kept(answer, now + times.failure, 0.0)
        self._kept[question] = kept
        if len(self._kept) > REMEMBERED:
            del self._kept[next(iter(self._kept))]

    # asking

    async def _find_out(self, question: Question) -> Answer:
        if _is_numeric(question.name):
            return Answer(question, outcome="nxdomain", detail="an address is no name")
        if self._system is None:
            return await self._in_turn(question, await self._configured_servers())
        await self._system.refresh(self._clock())
        # The names of services, _sip._udp.example.com, stand below the name they are for.
        name = question.name.split(".", 2)[-1] if question.type == "SRV" else question.name
        if self._system.knows(name):
            addresses: tuple[str, ...] = ()
            if question.type in FAMILIES:
                addresses = self._system.addresses(name, question.type)
            return _addresses(question, addresses, "from the hosts file")
        servers = self._system.servers
        answer = await self._in_turn(question, servers)
        if question.type in FAMILIES and (answer.outcome == "nxdomain" or not servers):
            return await self._from_system(question) or answer
        return answer

    async def _from_system(self, question: Question) -> Answer | None:
        """An address from whatever else the machine asks: search domains, mDNS, a directory."""
        family = socket.AF_INET6 if question.type == "AAAA" else socket.AF_INET
        try:
            async with asyncio.timeout(self._times.question):
                found = await asyncio.get_running_loop().getaddrinfo(
                    question.name, None, family=family, type=socket.SOCK_DGRAM
                )
        except (OSError, UnicodeError):
            return None
        addresses = tuple(dict.fromkeys(str(address[0]) for *_, address in found))
        return _addresses(question, addresses, "from the system")

    async def _configured_servers(self) -> tuple[NameServer, ...]:
        if self._numeric_servers:
            return self._numeric_servers
        servers: list[NameServer] = []
        for host, port in self._configured:
            if _is_numeric(host):
                servers.append((host, port))
                continue
            try:
                async with asyncio.timeout(self._times.question):
                    found = await asyncio.get_running_loop().getaddrinfo(
                        host, port, type=socket.SOCK_DGRAM
                    )
            except (OSError, UnicodeError):
                continue
            servers += [(str(address[0]), port) for *_, address in found]
        self._numeric_servers = tuple(dict.fromkeys(servers))
        return self._numeric_servers

    async def _in_turn(self, question: Question, servers: Sequence[NameServer]) -> Answer:
        try:
            async with asyncio.timeout(self._times.question):
                await self._slots.acquire()
        except TimeoutError:
            return Answer(question, outcome="failure", detail="too many questions at once")
        try:
            return await self._from_servers(question, servers)
        finally:
            self._slots.release()

    async def _from_servers(self, question: Question, servers: Sequence[NameServer]) -> Answer:
        """Walk the servers, and along aliases, within the time one question has."""
        if not servers:
            return Answer(question, outcome="failure", detail="no name server is known")
        times, now = self._times, self._clock()
        dead = all(self._silent_until.get(server, now) > now for server in servers)
        loop = asyncio.get_running_loop()
        end = loop.time() + (times.one_try if dead else times.question)
        asked, ttl = question, times.most
        for _ in range(MAX_ALIASES):
            reply = await self._ask_all(asked, servers, end)
            if not isinstance(reply, Alias):
                return replace(reply, question=question, ttl=min(ttl, reply.ttl))
            asked, ttl = Question(reply.name, question.type), min(ttl, reply.ttl)
        return Answer(question, outcome="failure", detail="aliases in a circle")

    async def _ask_all(
        self, question: Question, servers: Sequence[NameServer], end: float
    ) -> Answer | Alias:
        now, loop = self._clock(), asyncio.get_running_loop()
        left = sorted(servers, key=lambda server: self._silent_until.get(server, now) > now)
        reasons: dict[NameServer, str] = {}
        for _ in range(ROUNDS):
            again = []
            for server in left:
                seconds = min(self._times.one_try, end - loop.time())
                if seconds <= 0:
                    break
                try:
                    reply = await ask_server(server, question, seconds)
                except NameServerSilent as silence:
                    reasons[server] = str(silence)
                    self._silent_until[server] = self._clock() + self._times.silent
                    again.append(server)
                except NameServerFailed as failure:
                    reasons[server] = str(failure)
                else:
                    self._silent_until.pop(server, None)
                    return reply
            left = again
        detail = "; ".join(reasons.values()) or "no time was left"
        return Answer(question, outcome="failure", detail=detail)


def _outdated(answer: Answer) -> Answer:
    return replace(answer, detail="an old answer, for no name server gives a new one")


def _addresses(question: Question, addresses: Sequence[str], source: str) -> Answer:
    records = tuple(AddressRecord(address) for address in addresses)
    return Answer(question, records, "ok" if records else "no-data", detail=source)


def _is_numeric(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
