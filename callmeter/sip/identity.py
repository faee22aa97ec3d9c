"""Who an endpoint is towards its peers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from callmeter.sip.uri import SipUri

if TYPE_CHECKING:
    from callmeter.config import Credentials
    from callmeter.sip.headers import NameAddr
    from callmeter.sip.message import Request
    from callmeter.sip.uri import Uri

__all__ = ["Identity"]

PROXY_AUTHENTICATION_REQUIRED = 407


@dataclass(frozen=True, slots=True)
class Identity:
    """What an endpoint writes into its messages.

    Attributes:
        aor: From and To of its own requests.
        contact: Where it can be reached; the user part is unique to the endpoint.
        credentials: For challenges, or None.
        trusted_realm_hosts: Hosts whose challenges may be answered: the registrar, the outbound
            proxy, the own domain, the trunk. Nobody else ever sees a digest.
        routes: The pre-loaded route set, an outbound proxy with `lr`.
        user_agent: User-Agent and Server header; empty leaves them out.
        service_route: Where the registrar wants requests to go first (RFC 3608).
        gruu: In place of the Contact outside of REGISTER: a globally routable URI that the
            registrar made for this very user agent (RFC 5627), or None.
    """

    aor: NameAddr
    contact: SipUri
    credentials: Credentials | None = None
    trusted_realm_hosts: frozenset[str] = frozenset()
    routes: tuple[SipUri, ...] = ()
    user_agent: str = "callmeter"
    service_route: tuple[SipUri, ...] = ()
    gruu: SipUri | None = None

    @property
    def reached_at(self) -> SipUri:
        """The Contact of requests and responses other than REGISTER."""
        return self.contact if self.gruu is None else self.gruu

    @property
    def route_set(self) -> tuple[SipUri, ...]:
        """The pre-loaded route set of requests other than REGISTER (RFC 3608 section 6.1)."""
        routes, service = self.routes, self.service_route
        if routes and service and service[0].equivalent(routes[-1]):
            service = service[1:]
        return (*routes, *service)

    def may_answer(self, request: Request, status: int) -> bool:
        """Whether the challenge `status` (401 or 407) to `request` came from whom we trust.

        A 401 is the word of the server named by the Request-URI, a 407 that of the next hop.
        """
        asking: Uri = request.uri
        if status == PROXY_AUTHENTICATION_REQUIRED and request.routes:
            asking = request.routes[0].uri
        return isinstance(asking, SipUri) and _host(asking.host) in {
            _host(host) for host in self.trusted_realm_hosts
        }


def _host(text: str) -> str:
    return text.lower().rstrip(".").strip("[]")
