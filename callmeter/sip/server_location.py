"""Where a request to a URI goes: NAPTR, SRV and addresses (RFC 3263 section 4).

`ServerLocation` is the procedure without a network. It says what to ask, takes the answers, and
ends with the targets in the order in which they are to be tried.

Two things differ from RFC 3263 on purpose, for `Transport.AUTO` only: a port written in a URI
with a host name is ignored, because the DNS decides the port, and the last resort is UDP on
port 5060. `strict=True`, for URIs that a peer gave, takes the port as RFC 3263 does.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from itertools import accumulate, groupby, islice
from typing import TYPE_CHECKING, Any

from callmeter.config import Transport

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Sequence

    from callmeter.sip.uri import SipUri

__all__ = [
    "AddressRecord",
    "Answer",
    "Location",
    "NaptrRecord",
    "Question",
    "ServerLocation",
    "SrvRecord",
    "Target",
    "srv_order",
]

MAX_TARGETS = 32
"""A request is tried at no more addresses than this."""
FAMILIES = ("A", "AAAA")

_ROOT = "."
_NAPTR_SERVICES = {
    "sips+d2t": Transport.TLS,
    "sip+d2t": Transport.TCP,
    "sip+d2u": Transport.UDP,
    # RFC 7118 section 9. There is no plain WebSocket here, so SIP+D2W is passed over.
    "sips+d2w": Transport.WSS,
}
_SRV_PREFIX = {
    Transport.TLS: "_sips._tcp",
    Transport.TCP: "_sip._tcp",
    Transport.UDP: "_sip._udp",
    Transport.WSS: "_sips._ws",
}
_SECURE = (Transport.TLS, Transport.WSS)
# What is looked for without NAPTR records, best first. No registered SRV name leads to a
# WebSocket server, so AUTO finds one by NAPTR alone.
_WITHOUT_NAPTR = (Transport.TLS, Transport.TCP, Transport.UDP)
_LAST_RESORT = (Transport.UDP, Transport.TCP, Transport.TLS, Transport.WSS)
_BY_PARAMETER = {
    "udp": Transport.UDP,
    "tcp": Transport.TCP,
    "tls": Transport.TLS,
    "ws": Transport.WSS,
    "wss": Transport.WSS,
}


@dataclass(frozen=True, slots=True)
class Question:
    """One question for the DNS.

    Attributes:
        name: Domain name in lower case, without a final dot.
        type: `"NAPTR"`, `"SRV"`, `"A"` or `"AAAA"`.
    """

    name: str
    type: str

    def __str__(self) -> str:
        return f"{self.type} {self.name}"


@dataclass(frozen=True, slots=True)
class NaptrRecord:
    """A naming authority pointer (RFC 3403 section 4.1)."""

    order: int
    preference: int
    flags: str
    service: str
    regexp: str
    replacement: str

    def __str__(self) -> str:
        return (
            f'{self.order} {self.preference} "{self.flags}" "{self.service}" "{self.regexp}" '
            f"{self.replacement}"
        )


@dataclass(frozen=True, slots=True)
class SrvRecord:
    """A server of a service (RFC 2782); a target of `.` says that there is none."""

    priority: int
    weight: int
    port: int
    target: str

    def __str__(self) -> str:
        return f"{self.priority} {self.weight} {self.port} {self.target}"


@dataclass(frozen=True, slots=True)
class AddressRecord:
    """An IPv4 or IPv6 address."""

    address: str

    def __str__(self) -> str:
        return self.address


Record = NaptrRecord | SrvRecord | AddressRecord

_OUTCOME_WORDS = {
    "no-data": "no such record",
    "nxdomain": "no such name",
    "failure": "no answer",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a question.

    Attributes:
        question: The question.
        records: Its records; empty unless `outcome` is `"ok"`.
        outcome: `"ok"`, `"no-data"` (the name has no such record), `"nxdomain"` (there is no
            such name) or `"failure"` (nobody could say).
        ttl: Seconds for which it may be kept.
        detail: What went wrong, or where the answer is from, in words.
    """

    question: Question
    records: tuple[Record, ...] = ()
    outcome: str = "ok"
    ttl: float = 0.0
    detail: str = ""

    def __str__(self) -> str:
        said = ", ".join(str(record) for record in self.records)
        words = said or _OUTCOME_WORDS.get(self.outcome, self.outcome)
        return f"{self.question}: {words}" + (f" ({self.detail})" if self.detail else "")


@dataclass(frozen=True, slots=True)
class Target:
    """One address a request may be sent to.

    Attributes:
        transport: UDP, TCP, TLS or WSS.
        host: Name the address was found for: the target of an SRV record, or the domain.
        address: IP address, an IPv6 address without brackets.
        port: Port.
        name: The domain of the URI, before NAPTR and SRV. A certificate is checked against this
            name alone (RFC 5922 section 7): whoever forges DNS answers chooses `host`.
    """

    transport: Transport
    host: str
    address: str
    port: int
    name: str

    @property
    def destination(self) -> tuple[str, str, int]:
        """Transport name, address and port: what makes two targets the same server."""
        return self.transport.name, self.address, self.port

    def __str__(self) -> str:
        address = f"[{self.address}]" if ":" in self.address else self.address
        return f"{self.transport.name} {address}:{self.port}"


@dataclass(frozen=True, slots=True)
class Location:
    """The outcome of RFC 3263 for one URI.

    Attributes:
        domain: What was located.
        targets: Where to send, in order.
        asked: Every question with its answer, in the order of asking.
        fell_back: AUTO found neither NAPTR nor SRV and took the default transport and port.
    """

    domain: str
    targets: tuple[Target, ...]
    asked: tuple[Answer, ...] = ()
    fell_back: bool = False

    def to_dict(self) -> dict[str, Any]:
        """The location as `callmeter resolve --json` prints it."""
        return {
            "domain": self.domain,
            "asked": [
                {
                    "name": answer.question.name,
                    "type": answer.question.type,
                    "answers": [str(record) for record in answer.records],
                    "outcome": answer.outcome,
                    "detail": answer.detail,
                }
                for answer in self.asked
            ],
            "targets": [
                {
                    "transport": target.transport.name,
                    "host": target.host,
                    "address": target.address,
                    "port": target.port,
                }
                for target in self.targets
            ],
            "fell_back": self.fell_back,
        }


_Replies = dict[Question, Answer]
_Asking = tuple[Question, ...]
# Transport, host name and port of a server whose addresses are still to be found.
_Server = tuple[Transport, str, int]


class ServerLocation:
    """RFC 3263 section 4 for one URI: ask `questions()`, give each answer to `on_answer`.

    Args:
        uri: Where the request is to go.
        transport: How. A `transport` parameter of the URI decides before AUTO does; a sips URI
            is never reached by plain UDP or TCP.
        supported: Transports that are open here.
        families: Address types to look for, preferred first.
        entropy: Gives that many random octets, for the choice by weight.
        limit: Most targets, and most server names looked up.
        strict: A port written in the URI counts under AUTO too, as RFC 3263 says. For URIs that
            a peer gave: Contact, Record-Route.

    Attributes:
        finished: There is nothing more to ask.
        targets: Where to send, in order; empty until finished, and when `error` is set.
        asked: Every answer so far, in the order of asking.
        fell_back: AUTO found neither NAPTR nor SRV records.
        error: Why there are no targets, in words, or None.
    """

    def __init__(
        self,
        uri: SipUri,
        transport: Transport,
        *,
        supported: frozenset[Transport],
        families: Sequence[str] = FAMILIES,
        entropy: Callable[[int], bytes],
        limit: int = MAX_TARGETS,
        strict: bool = False,
    ) -> None:
        self.domain = uri.host.lower().removesuffix(_ROOT)
        self.finished = False
        self.targets: tuple[Target, ...] = ()
        self.asked: tuple[Answer, ...] = ()
        self.fell_back = False
        self.error: str | None = None
        self._uri = uri
        self._supported = supported
        self._families = tuple(families)
        self._entropy = entropy
        self._limit = limit
        self._strict = strict
        self._replies: dict[Question, Answer | None] = {}
        self._steps = self._procedure(transport)
        self._advance(None)

    @property
    def location(self) -> Location:
        """The outcome as a value."""
        return Location(self.domain, self.targets, self.asked, self.fell_back)

    def questions(self) -> tuple[Question, ...]:
        """What to ask now, all at once if possible; empty when finished."""
        return tuple(question for question, reply in self._replies.items() if reply is None)

    def on_answer(self, answer: Answer) -> None:
        """Take the answer to one of `questions()`; any other answer is ignored."""
        if self._replies.get(answer.question, answer) is not None:
            return
        self._replies[answer.question] = answer
        replies = {q: reply for q, reply in self._replies.items() if reply is not None}
        if len(replies) == len(self._replies):
            self.asked += tuple(replies.values())
            self._advance(replies)

    def _advance(self, replies: _Replies | None) -> None:
        try:
            asking = next(self._steps) if replies is None else self._steps.send(replies)
        except StopIteration:
            self._replies = {}
            self.finished = True
        else:
            self._replies = dict.fromkeys(asking)

    # the procedure

    def _procedure(self, asked_for: Transport) -> Generator[_Asking, _Replies, None]:
        uri = self._uri
        decided, self.error = _decide(uri, asked_for, self._supported)
        if self.error is not None:
            return
        host = (uri.maddr or uri.host).lower().removesuffix(_ROOT)
        address = _numeric(host)
        # The DNS has no say about a numeric host, so its port counts, under AUTO too.
        port = uri.port if decided or address or self._strict else None
        chosen = decided or self._last_resort()
        if address is not None:
            self._take(chosen, host, address, port or chosen.default_port)
        elif port is not None:
            yield from self._addresses([(chosen, host, port)])
        elif decided is not None:
            yield from self._fixed(decided, host)
        else:
            yield from self._auto(host)

    def _last_resort(self) -> Transport:
        return next(transport for transport in _LAST_RESORT if self._usable(transport))

    def _usable(self, transport: Transport) -> bool:
        secure = transport in _SECURE or self._uri.scheme != "sips"
        return secure and transport in self._supported

    def _fixed(self, transport: Transport, host: str) -> Generator[_Asking, _Replies, None]:
        # Section 4.2: the transport is known, the port is not.
        names = [(transport, f"{_SRV_PREFIX[transport]}.{host}")]
        servers, replies = yield from self._servers(names)
        if servers:
            yield from self._addresses(servers)
        elif _not_offered(replies):
            self.error = _because(f"{host} offers no {transport.name}", replies)
        else:
            yield from self._addresses([(transport, host, transport.default_port)])

    def _auto(self, host: str) -> Generator[_Asking, _Replies, None]:
        question = Question(host, "NAPTR")
        pointers = yield (question,)
        names = self._services(pointers[question].records)
        pointed = bool(names)
        if not pointed:
            candidates = filter(self._usable, _WITHOUT_NAPTR)
            names = [(transport, f"{_SRV_PREFIX[transport]}.{host}") for transport in candidates]
        servers, replies = yield from self._servers(names)
        if servers:
            yield from self._addresses(servers)
        elif pointed:
            self.error = _because(f"the NAPTR records of {host} lead to no server", replies)
        elif _not_offered(replies):
            self.error = _because(f"{host} offers no service that is open here", replies)
        elif any(reply.outcome == "failure" for reply in replies):
            # Plain UDP is for a domain known to have no records, not for one nobody answers for.
            self.error = _because(f"the services of {host} could not be found out", replies)
        else:
            self.fell_back = True
            chosen = self._last_resort()
            yield from self._addresses([(chosen, host, chosen.default_port)])

    def _services(self, records: Iterable[Record]) -> list[tuple[Transport, str]]:
        """SRV names of the NAPTR records that can be used, best first (section 4.1)."""
        usable = [
            (record.order, record.preference, _LAST_RESORT[::-1].index(transport), name)
            for record in records
            if isinstance(record, NaptrRecord)
            and record.flags.lower() == "s"
            and not record.regexp
            and (transport := _NAPTR_SERVICES.get(record.service.lower())) is not None
            and self._usable(transport)
            and (name := record.replacement.lower().removesuffix(_ROOT))
        ]
        names = [(_LAST_RESORT[::-1][rank], name) for _, _, rank, name in sorted(usable)]
        return list(dict.fromkeys(names))[: self._limit]

    def _servers(
        self, names: Sequence[tuple[Transport, str]]
    ) -> Generator[_Asking, _Replies, tuple[list[_Server], list[Answer]]]:
        """The servers of these services in order, and the answers they come from."""
        questions = {name: Question(name, "SRV") for _, name in names}
        replies = (yield tuple(questions.values())) if questions else {}
        servers: list[_Server] = []
        for transport, name in names:
            records = [
                record
                for record in replies[questions[name]].records
                if isinstance(record, SrvRecord) and record.target != _ROOT and record.port
            ]
            ordered = islice(srv_order(records, self._entropy), self._limit)
            servers += [
                (transport, record.target.lower().removesuffix(_ROOT), record.port)
                for record in ordered
            ]
        return servers, list(replies.values())

    def _addresses(self, servers: Sequence[_Server]) -> Generator[_Asking, _Replies, None]:
        """Targets from servers: every address of every host, a host without one passed over."""
        hosts = list(dict.fromkeys(host for _, host, _ in servers))[: self._limit]
        questions = [
            Question(host, family)
            for host in hosts
            if _numeric(host) is None
            for family in self._families
        ]
        replies = (yield tuple(questions)) if questions else {}
        for transport, host, port in servers:
            # An SRV target is to be a name (RFC 2782). Some zones hold an address all the same.
            if (address := _numeric(host)) is not None:
                self._take(transport, host, address, port)
            for family in self._families:
                reply = replies.get(Question(host, family))
                for record in reply.records if reply else ():
                    if isinstance(record, AddressRecord):
                        self._take(transport, host, record.address, port)
        if not self.targets:
            self.error = _because(f"no address for {self.domain}", replies.values())

    def _take(self, transport: Transport, host: str, address: str, port: int) -> None:
        target = Target(transport, host, address, port, self.domain)
        known = {one.destination for one in self.targets}
        if len(known) < self._limit and target.destination not in known:
            self.targets += (target,)


def srv_order(records: Iterable[SrvRecord], entropy: Callable[[int], bytes]) -> Iterator[SrvRecord]:
    """SRV records in the order of RFC 2782: priority ascending, chance by weight within one.

    A record of weight 0 beside others is taken with the small chance RFC 2782 gives it. Where no
    weight is 0, chances are exactly in proportion: the RFC's own draw, from 0 on, would favour
    the record that happens to come first.
    """
    by_priority = groupby(sorted(records, key=_priority), key=_priority)
    for _, group in by_priority:
        left = sorted(group, key=lambda record: record.weight > 0)
        while left:
            total = sum(record.weight for record in left)
            lowest = 0 if left[0].weight == 0 else 1
            drawn = lowest + int.from_bytes(entropy(8), "big") % (total - lowest + 1)
            running = accumulate(record.weight for record in left)
            yield left.pop(next(index for index, upto in enumerate(running) if drawn <= upto))


def _priority(record: SrvRecord) -> int:
    return record.priority


def _decide(
    uri: SipUri, asked_for: Transport, supported: frozenset[Transport]
) -> tuple[Transport | None, str | None]:
    """The transport that is certain before any question (None: AUTO), or why there is none."""
    secure = uri.scheme == "sips"
    decided = asked_for
    if uri.transport is not None:
        found = _BY_PARAMETER.get(uri.transport)
        if found is None or (secure and found is Transport.UDP):
            return None, f"{uri.scheme} over transport {uri.transport!r} is not known"
        decided = found
    if secure and decided in {Transport.UDP, Transport.TCP}:
        # RFC 3261 section 26.2.2: in a sips URI, TCP means TLS over TCP.
        decided = Transport.TLS
    if decided is not Transport.AUTO:
        return (decided, None) if decided in supported else (None, f"{decided.name} is not open")
    if supported.isdisjoint(_SECURE if secure else _LAST_RESORT):
        return None, f"no transport for {uri.scheme} is open"
    return None, None


def _numeric(host: str) -> str | None:
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return None


def _not_offered(replies: Iterable[Answer]) -> bool:
    """Whether SRV records are there and lead nowhere: a target of `.` or a port of 0."""
    return any(isinstance(record, SrvRecord) for reply in replies for record in reply.records)


def _because(what: str, replies: Iterable[Answer]) -> str:
    return f"{what}: " + "; ".join(str(reply) for reply in replies)
