"""A dialog: the peer-to-peer relation that requests after the first travel in (RFC 3261 12)."""

from __future__ import annotations

from dataclasses import replace
from enum import Enum
from typing import TYPE_CHECKING

from callmeter.sip.headers import CSeq, NameAddr
from callmeter.sip.message import Headers, Request
from callmeter.sip.offer_exchange import OfferExchange, describes_session
from callmeter.sip.reliable import ReliableReceiver
from callmeter.sip.uri import SipUri

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from callmeter.sip.extension_headers import RAck
    from callmeter.sip.message import Response
    from callmeter.sip.uri import Uri

__all__ = ["MAX_FORWARDS", "Dialog", "DialogState", "routed_request", "tagged"]

MAX_FORWARDS = 70
"""What a request starts with (RFC 3261 section 8.1.1.6)."""


class DialogState(Enum):
    """How far the dialog is."""

    EARLY = "early"
    """A provisional response with a To tag created it."""
    CONFIRMED = "confirmed"
    """A 2xx did."""
    TERMINATED = "terminated"


class Dialog:
    """Both ends' view of one dialog; the `local` values are ours.

    Attributes:
        call_id: Its Call-ID.
        local: Our From or To, with our tag.
        remote: Theirs, with their tag unless they speak RFC 2543.
        remote_target: Where requests go: the peer's Contact.
        route_set: Proxies in between, nearest first.
        local_cseq: Number of the last request sent.
        remote_cseq: Number of the last request received, None before the first.
        secure: Whether the dialog was set up by a SIPS URI (section 12.1.1).
        state: Early, confirmed or terminated.
        exchange: Whose offer waits for an answer.
        peer_methods: The peer's Allow, None as long as it said nothing.
        receiver: Which reliable provisional responses came in it.
        unacknowledged: The one whose PRACK waits for the application, or None.
        owes_answer: That PRACK has to answer an offer.
    """

    __slots__ = (
        "call_id",
        "exchange",
        "local",
        "local_cseq",
        "owes_answer",
        "peer_methods",
        "receiver",
        "remote",
        "remote_cseq",
        "remote_target",
        "route_set",
        "secure",
        "state",
        "unacknowledged",
    )

    def __init__(
        self,
        *,
        call_id: str,
        local: NameAddr,
        remote: NameAddr,
        remote_target: Uri,
        route_set: Iterable[NameAddr] = (),
        local_cseq: int = 0,
        remote_cseq: int | None = None,
        secure: bool = False,
        state: DialogState = DialogState.CONFIRMED,
    ) -> None:
        self.call_id = call_id
        self.local = local
        self.remote = remote
        self.remote_target = remote_target
        self.route_set = tuple(route_set)
        self.local_cseq = local_cseq
        self.remote_cseq = remote_cseq
        self.secure = secure
        self.state = state
        self.exchange = OfferExchange()
        self.peer_methods: frozenset[str] | None = None
        self.receiver = ReliableReceiver()
        self.unacknowledged: RAck | None = None
        self.owes_answer = False

    @classmethod
    def from_response(cls, request: Request, response: Response) -> Dialog:
        """The UAC's side: what `response` to our INVITE creates (section 12.1.2)."""
        confirmed = response.status >= 200  # noqa: PLR2004  the first final status
        dialog = cls(
            call_id=request.call_id,
            local=request.from_,
            remote=response.to,
            remote_target=request.uri,
            route_set=reversed(response.record_routes),
            local_cseq=request.cseq.number,
            secure=_is_sips(request.uri),
            state=DialogState.CONFIRMED if confirmed else DialogState.EARLY,
        )
        dialog.refresh_target(response)
        if describes_session(request):
            dialog.exchange.on_sent()
        return dialog

    @classmethod
    def from_request(cls, request: Request, local_tag: str) -> Dialog:
        """The UAS's side: what answering this INVITE will create (section 12.1.1)."""
        # The request names no better place when the peer left out its Contact.
        dialog = cls(
            call_id=request.call_id,
            local=tagged(request.to, local_tag),
            remote=request.from_,
            remote_target=request.from_.uri,
            route_set=request.record_routes,
            remote_cseq=request.cseq.number,
            secure=_is_sips(request.uri),
            state=DialogState.EARLY,
        )
        dialog.refresh_target(request)
        if describes_session(request):
            dialog.exchange.on_received()
        return dialog

    @property
    def local_tag(self) -> str:
        """Our tag."""
        return self.local.tag or ""

    @property
    def remote_tag(self) -> str:
        """The peer's tag, empty where an RFC 2543 peer set none."""
        return self.remote.tag or ""

    @property
    def confirmed(self) -> bool:
        """Whether a 2xx was exchanged and the dialog still lives."""
        return self.state is DialogState.CONFIRMED

    def confirm(self, response: Response) -> None:
        """Take over what the 2xx says: route set and target (section 13.2.2.4)."""
        self.route_set = tuple(reversed(response.record_routes))
        self.refresh_target(response)
        self.state = DialogState.CONFIRMED

    def refresh_target(self, message: Request | Response) -> None:
        """Follow the Contact of a target refresh request or its response (section 12.2)."""
        if "Allow" in message.headers:
            self.peer_methods = message.allow
        contacts = message.contacts
        if isinstance(contacts, str) or not contacts:
            return
        uri = contacts[0].uri
        if isinstance(uri, SipUri):
            self.remote_target = uri

    def peer_serves(self, method: str) -> bool:
        """Whether the peer said that it serves a method."""
        return self.peer_methods is not None and method in self.peer_methods

    def next_cseq(self) -> int:
        """The CSeq number of the next request."""
        self.local_cseq += 1
        return self.local_cseq

    def in_order(self, request: Request) -> bool:
        """Note the CSeq of a request; False if a later one was seen (section 12.2.2)."""
        number = request.cseq.number
        if self.remote_cseq is not None and number < self.remote_cseq:
            return False
        self.remote_cseq = number
        return True

    def create_request(self, method: str) -> Request:
        """A request in this dialog, with the next CSeq (section 12.2.1.1)."""
        return self._create(method, self.next_cseq())

    def create_ack(self, cseq_number: int) -> Request:
        """The ACK of a 2xx: the CSeq number is the INVITE's (section 13.2.2.4)."""
        return self._create("ACK", cseq_number)

    def _create(self, method: str, cseq_number: int) -> Request:
        headers = Headers()
        headers.add("Max-Forwards", MAX_FORWARDS)
        headers.add("From", self.local)
        headers.add("To", self.remote)
        headers.add("Call-ID", self.call_id)
        headers.add("CSeq", CSeq(cseq_number, method))
        return routed_request(method, self.remote_target, self.route_set, headers)


def tagged(address: NameAddr, tag: str) -> NameAddr:
    """`address` with this tag and no other header parameter."""
    return NameAddr(address.uri, address.display, (("tag", tag),))


def routed_request(
    method: str, target: Uri, route_set: Sequence[NameAddr], headers: Headers
) -> Request:
    """A request with its Route lines and Request-URI (RFC 3261 section 12.2.1.1).

    A first route without `lr` is a strict router: it finds itself in the Request-URI, and the
    target at the end of the Route. It is also the next hop, whatever the next route says.
    """
    first = route_set[0].uri if route_set else None
    strict = isinstance(first, SipUri) and not first.lr
    routes = [*route_set[1:], NameAddr(target)] if strict else route_set
    for route in routes:
        headers.add("Route", route)
    if not isinstance(first, SipUri) or not strict:
        return Request(method, target, headers)
    request = Request(method, _as_request_uri(first), headers)
    request.next_hop = request.uri
    return request


def _as_request_uri(uri: SipUri) -> SipUri:
    """Without what a Request-URI may not have (section 19.1.1, table 1)."""
    return replace(uri, headers=()).without_params("method")


def _is_sips(uri: Uri) -> bool:
    return isinstance(uri, SipUri) and uri.scheme == "sips"
