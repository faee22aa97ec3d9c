"""The registrar and stateless proxy without sockets: messages in, messages out.

It challenges with digest authentication, keeps bindings, and forwards requests between the
accounts it knows with itself in the Record-Route (RFC 3261 sections 10.3 and 16.11).
"""

from __future__ import annotations

import hashlib
import ipaddress
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from callmeter.sip.digest_server import DigestServer, Outcome, Verdict
from callmeter.sip.headers import NameAddr, Via
from callmeter.sip.message import Request, Response
from callmeter.sip.transaction.effects import Hop
from callmeter.sip.transaction.response_route import response_hops, stamp
from callmeter.sip.uri import SipUri

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from callmeter.sip.uri import Uri

__all__ = ["Binding", "RegistrarCore"]

T = TypeVar("T")

DEFAULT_EXPIRES = 3600
MAX_BINDINGS = 10
REMEMBERED = 1_000
"""Requests whose retransmissions are known again."""
DEFAULT_PORT = 5060
DEFAULT_TLS_PORT = 5061
FLOW = "callmeter-flow"
"""Parameter of the own Via: the connection that a request came on."""
OWN_TAG = "callmeter-registrar-"


@dataclass(slots=True)
class Binding:
    """One Contact of an account.

    Attributes:
        contact: Where the account says it is.
        hop: Where its REGISTER came from: what reaches it through address translation.
        expires_at: Loop time at which the binding ends.
        call_id: Call-ID of the REGISTER that made it.
        cseq: Its CSeq number; an older one changes nothing (RFC 3261 section 10.3).
    """

    contact: SipUri
    hop: Hop
    expires_at: float
    call_id: str
    cseq: int


@dataclass
class RegistrarCore:
    """The registrar without sockets: messages in, messages out.

    Attributes:
        accounts: Passwords by user name.
        address: Own host and port.
        listening: Own host and port of those transports for which they differ from `address`.
        realm: Digest realm.
        entropy: `entropy(n)` gives n octets nobody can guess.
        algorithms: Digest algorithms offered, the preferred first.
        min_expires: A shorter registration is refused with 423.
        authenticate_calls: Ask for credentials of an INVITE too, with 407.
        bindings: By user name.
    """

    accounts: Mapping[str, str] = field(repr=False)
    address: tuple[str, int]
    realm: str
    entropy: Callable[[int], bytes]
    algorithms: tuple[str, ...] = ("SHA-256", "MD5")
    min_expires: int = 10
    authenticate_calls: bool = False
    listening: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    bindings: dict[str, list[Binding]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        digests = [
            DigestServer(self.realm, self.accounts.get, self.entropy, self.algorithms, proxy=proxy)
            for proxy in (False, True)
        ]
        self._digest, self._proxy_digest = digests
        self._key = self.entropy(16)
        self._answered: dict[tuple[object, ...], list[tuple[Request | Response, Hop]]] = {}
        self._admitted: dict[tuple[object, ...], bool] = {}

    def on_message(
        self, message: Request | Response, source: Hop, now: float
    ) -> list[tuple[Request | Response, Hop]]:
        """Take one message; returns what to send, and where."""
        if isinstance(message, Response):
            return self._forward_response(message)
        return self._on_request(message, source, now)

    # requests

    def _on_request(
        self, request: Request, source: Hop, now: float
    ) -> list[tuple[Request | Response, Hop]]:
        stamp(request, source)
        if request.method == "ACK" and (request.to.tag or "").startswith(OWN_TAG):
            # The ACK of a refusal of ours ends here (RFC 3261 section 8.2.7).
            return []
        routes = request.routes
        left = routes
        while left and self._is_own(left[0].uri):
            # Both of them, where the transport changes here (RFC 5658 section 5).
            left = left[1:]
        if left != routes:
            _put_routes(request, left)
        routes = left
        if request.method == "REGISTER":
            # A retransmission is no second request: its nonce count is spent (section 17.2.2).
            key = _identity_of(request)
            if key not in self._answered:
                answer = self._answer_register(request, source, now)
                _remember(self._answered, key, answer)
            return self._answered[key]
        return self._proxy(request, routes, source, now)

    def _answer_register(
        self, request: Request, source: Hop, now: float
    ) -> list[tuple[Request | Response, Hop]]:
        verdict = self._digest.check(request, now)
        if verdict.user is None:
            return self._challenge(request, source, self._digest, verdict, now)
        aor = request.to.uri
        user = aor.user_text if isinstance(aor, SipUri) else None
        if user != verdict.user:
            return self._answer(request, source, 403)
        contacts = request.contacts
        if contacts == "*":
            if request.expires != 0:
                # Section 10.3 step 6: the wildcard only ever removes.
                return self._answer(request, source, 400)
            self.bindings.pop(user, None)
            return self._answer(request, source, 200)
        for contact in contacts:
            expires = _expires_of(contact, request)
            if 0 < expires < self.min_expires:
                headers = [("Min-Expires", str(self.min_expires))]
                return self._answer(request, source, 423, headers=headers)
        for contact in contacts:
            self._bind(user, contact, _expires_of(contact, request), request, source, now)
        bound = [
            (
                "Contact",
                str(NameAddr(item.contact, None, (("expires", str(_seconds(item, now))),))),
            )
            for item in self.bound(user, now)
        ]
        return self._answer(request, source, 200, headers=bound)

    def _bind(
        self,
        user: str,
        contact: NameAddr,
        expires: int,
        request: Request,
        source: Hop,
        now: float,
    ) -> None:
        uri = contact.uri
        if not isinstance(uri, SipUri):
            return
        bindings = self.bindings.setdefault(user, [])
        known = next((item for item in bindings if item.contact.equivalent(uri)), None)
        number = request.cseq.number
        if known is not None:
            if known.call_id == request.call_id and number < known.cseq:
                return
            bindings.remove(known)
        if expires:
            bindings.append(Binding(uri, source, now + expires, request.call_id, number))
            del bindings[:-MAX_BINDINGS]
        if not bindings:
            del self.bindings[user]

    def bound(self, user: str, now: float) -> list[Binding]:
        """The live bindings of an account, the newest last."""
        live = [item for item in self.bindings.get(user, ()) if item.expires_at > now]
        if live:
            self.bindings[user] = live
        else:
            self.bindings.pop(user, None)
        return list(live)

    def _proxy(
        self, request: Request, routes: list[NameAddr], source: Hop, now: float
    ) -> list[tuple[Request | Response, Hop]]:
        extensions = request.headers.values("Proxy-Require")
        if extensions and request.method not in {"ACK", "CANCEL"}:
            headers = [("Unsupported", ", ".join(extensions))]
            return self._answer(request, source, 420, headers=headers)
        target = request.uri
        if not isinstance(target, SipUri):
            return self._answer(request, source, 416)
        foreign = bool(routes) or not self._is_own(target)
        if foreign and request.to.tag is not None:
            uri = routes[0].uri if routes else target
            return self._forward(request, source, self._flow_of(uri, now) or self._hop_of(uri))
        # An attended transfer leads to a Contact (RFC 5589 section 7), which is an account too.
        bound = self._binding_at(target, now) if foreign and not routes else None
        if foreign and bound is None:
            # No open relay: out of a dialog only own accounts are reached.
            return self._answer(request, source, 481 if request.method == "CANCEL" else 404)
        if self._must_authenticate(request):
            verdict = self._proxy_digest.check(request, now)
            if verdict.user is None:
                return self._challenge(request, source, self._proxy_digest, verdict, now)
            _remember(self._admitted, _identity_of(request), value=True)
        if bound is not None:
            return self._forward(request, source, bound.hop)
        user = target.user_text
        if not user:
            return self._answer(request, source, 200 if request.method == "OPTIONS" else 404)
        bindings = self.bound(user, now)
        if not bindings:
            return self._answer(request, source, 480 if user in self.accounts else 404)
        request.uri = bindings[-1].contact
        return self._forward(request, source, bindings[-1].hop)

    def _challenge(
        self, request: Request, source: Hop, digest: DigestServer, verdict: Verdict, now: float
    ) -> list[tuple[Request | Response, Hop]]:
        stale = verdict.outcome is Outcome.STALE
        headers = [(digest.challenge_header, value) for value in digest.challenge(now, stale=stale)]
        return self._answer(request, source, digest.status, headers=headers)

    def _must_authenticate(self, request: Request) -> bool:
        return (
            self.authenticate_calls
            and request.method == "INVITE"
            and request.to.tag is None
            and _identity_of(request) not in self._admitted
        )

    def _forward(
        self, request: Request, source: Hop, hop: Hop | None
    ) -> list[tuple[Request | Response, Hop]]:
        if request.max_forwards == 0:
            return self._answer(request, source, 483)
        if hop is None:
            return self._answer(request, source, 502)
        # RFC 3261 section 16.11: a stateless branch is a function of the request, the same for
        # its retransmissions, its CANCEL and the ACK of its refusal.
        seed = (request.via.branch or "") + request.call_id + str(request.cseq.number)
        branch = hashlib.blake2s(seed.encode("utf-8", "replace"), key=self._key, digest_size=12)
        params: list[tuple[str, str | None]] = [("branch", f"z9hG4bK{branch.hexdigest()}")]
        if source.connection is not None and source.reliable:
            # RFC 3261 section 18.2.2: responses go back on the connection of the request.
            params.append((FLOW, str(source.connection)))
        own = Via(hop.transport, *self._address_on(hop.transport), tuple(params))
        _put_via(request, [own, *request.vias])
        hops = 70 if request.max_forwards is None else request.max_forwards
        request.headers.set("Max-Forwards", str(hops - 1))
        if request.method == "INVITE":
            for transport in dict.fromkeys((source.transport, hop.transport)):
                request.headers.insert("Record-Route", str(NameAddr(self._route(transport))))
        request.headers.remove("Proxy-Authorization")
        return [(request, hop)]

    def _answer(
        self,
        request: Request,
        source: Hop,
        status: int,
        *,
        headers: list[tuple[str, str]] | None = None,
    ) -> list[tuple[Request | Response, Hop]]:
        if request.method == "ACK":
            return []
        seed = (request.via.branch or "") + request.call_id
        tag = hashlib.blake2s(seed.encode("utf-8", "replace"), key=self._key, digest_size=8)
        response = request.create_response(
            status, to_tag=OWN_TAG + tag.hexdigest(), headers=headers or ()
        )
        return [(response, response_hops(request.via, source)[0])]

    def _address_on(self, transport: str) -> tuple[str, int]:
        return self.listening.get(transport, self.address)

    def _route(self, transport: str) -> SipUri:
        """The own URI of a Record-Route."""
        params: tuple[tuple[str, str | None], ...] = (("lr", None),)
        if transport != "UDP":
            # RFC 7118 section 5.5: `ws` stands for WebSocket, secure or not.
            word = "ws" if transport == "WSS" else transport.lower()
            params = (("transport", word), *params)
        return SipUri("sip", *self._address_on(transport), params=params)

    def _is_own(self, uri: object) -> bool:
        if not isinstance(uri, SipUri):
            return False
        own = {self.address, *self.listening.values()}
        name = uri.host.lower()
        return (name, uri.port or DEFAULT_PORT) in own or (
            name == self.realm.lower() and uri.port in {None, *(port for _, port in own)}
        )

    def _flow_of(self, uri: Uri, now: float) -> Hop | None:
        """The connection to a contact that is bound by one: nobody connects to a client."""
        if not isinstance(uri, SipUri):
            return None
        flows = (item for item in self._all_bound(now) if item.hop.reliable)
        return next((item.hop for item in flows if item.contact.equivalent(uri)), None)

    def _binding_at(self, uri: SipUri, now: float) -> Binding | None:
        """Whoever is bound at this very Contact, the newest where several are."""
        found = [item for item in self._all_bound(now) if item.contact.equivalent(uri)]
        return found[-1] if found else None

    def _all_bound(self, now: float) -> list[Binding]:
        return [item for user in list(self.bindings) for item in self.bound(user, now)]

    def _hop_of(self, uri: Uri) -> Hop | None:
        """Where a URI leads without asking anybody, or None."""
        if not isinstance(uri, SipUri) or not _is_address(uri.host):
            return None
        transport = (uri.transport or "udp").upper()
        if transport != "UDP" and transport not in self.listening:
            return None
        port = uri.port or (DEFAULT_TLS_PORT if transport == "TLS" else DEFAULT_PORT)
        return Hop(transport, uri.host, port)

    # responses

    def _forward_response(self, response: Response) -> list[tuple[Request | Response, Hop]]:
        vias = response.vias
        if len(vias) < 2:  # noqa: PLR2004  ours and the next
            return []
        own, following = vias[:2]
        if (own.host, own.port) != self._address_on(own.transport):
            return []
        _put_via(response, vias[1:])
        rport = following.rport
        port = rport if isinstance(rport, int) else (following.port or DEFAULT_PORT)
        host = following.received or following.host
        flow = own.param(FLOW)
        connection = int(flow) if flow is not None and flow.isdecimal() else None
        # A response with a name there answers nothing of ours: stamped Vias have an address.
        hop = Hop(following.transport, host, port, connection)
        return [(response, hop)] if _is_address(host) else []


def _put_via(message: Request | Response, vias: list[Via]) -> None:
    message.headers.remove("Via")
    for via in reversed(vias):
        message.headers.insert("Via", str(via))


def _put_routes(request: Request, routes: list[NameAddr]) -> None:
    request.headers.remove("Route")
    for route in reversed(routes):
        request.headers.insert("Route", str(route))


def _remember(table: dict[tuple[object, ...], T], key: tuple[object, ...], value: T) -> None:
    table[key] = value
    while len(table) > REMEMBERED:
        del table[next(iter(table))]


def _identity_of(request: Request) -> tuple[object, ...]:
    """What a retransmission has in common with its original (RFC 3261 section 17.2.3)."""
    via, cseq = request.via, request.cseq
    return via.branch, via.host, via.port, request.call_id, cseq.number, cseq.method


def _expires_of(contact: NameAddr, request: Request) -> int:
    text = contact.param("expires")
    if text is not None and text.isascii() and text.isdigit():
        return min(int(text[:10]), 2**31)
    return DEFAULT_EXPIRES if request.expires is None else request.expires


def _seconds(binding: Binding, now: float) -> int:
    # Rounded up: what was granted for 600 s a moment ago is not 599.
    return math.ceil(round(binding.expires_at - now, 3))


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
