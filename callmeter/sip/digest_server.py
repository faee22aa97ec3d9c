"""Digest authentication as a server (RFC 3261 section 22, RFC 7616, RFC 8760)."""

from __future__ import annotations

import hmac
import re
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from callmeter.errors import ConfigurationError, SipSyntaxError
from callmeter.sip.digest_hash import ALGORITHMS, canonical_algorithm, digest_response
from callmeter.sip.grammar import quote
from callmeter.sip.headers import AuthParams
from callmeter.sip.uri import SipUri, parse_uri

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from callmeter.sip.message import Request

__all__ = ["DigestServer", "Outcome", "Verdict"]

MAX_NONCES = 10_000
"""Nonces in use whose counts are remembered."""

MAC_OCTETS = 16
_NONCE = re.compile(r"([0-9a-f]{12})[0-9a-f]{32}([0-9a-f]{32})")
_NONCE_COUNT = re.compile(r"[0-9A-Fa-f]{8}")


class Outcome(Enum):
    """What credentials are worth."""

    OK = "ok"
    STALE = "stale"
    """The password is right, the nonce is not fresh: challenge again with `stale=True`."""
    BAD = "bad"
    ABSENT = "absent"
    """No credentials for this realm."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of a check; `user` is the user name of an `OK`, else None."""

    outcome: Outcome
    user: str | None = None

    @property
    def stale(self) -> bool:
        """Whether only the nonce was wrong."""
        return self.outcome is Outcome.STALE


class DigestServer:
    """Challenges for one realm, and checks what comes back.

    Nonces carry their own time and seal, so a challenge leaves no state behind; only a nonce
    that was used with the right password is remembered, for its count.

    Args:
        realm: The protection space.
        lookup: Gives the password of a user name, or None.
        entropy: Gives that many random octets.
        algorithms: Strongest first: clients take the first they know (RFC 8760 section 2.4).
        qop: Qualities of protection on offer: `"auth"`, `"auth-int"` or both.
        lifetime: Seconds that a nonce is good for.
        proxy: Whether to speak as a proxy: 407 instead of 401.

    Raises:
        ConfigurationError: An algorithm or qop is not known here.
    """

    __slots__ = (
        "_algorithms",
        "_counts",
        "_entropy",
        "_floor",
        "_lifetime",
        "_lookup",
        "_qop",
        "_secret",
        "_stand_in",
        "challenge_header",
        "credentials_header",
        "realm",
        "status",
    )

    def __init__(
        self,
        realm: str,
        lookup: Callable[[str], str | None],
        entropy: Callable[[int], bytes],
        algorithms: Sequence[str] = ("SHA-256", "MD5"),
        *,
        qop: Sequence[str] = ("auth",),
        lifetime: float = 300.0,
        proxy: bool = False,
    ) -> None:
        if not algorithms or not set(algorithms) <= set(ALGORITHMS):
            raise ConfigurationError(f"algorithms are one or more of {', '.join(ALGORITHMS)}")
        if not qop or not set(qop) <= {"auth", "auth-int"}:
            raise ConfigurationError("qop is auth, auth-int or both")
        self.realm = realm
        self.status = 407 if proxy else 401
        self.challenge_header = "Proxy-Authenticate" if proxy else "WWW-Authenticate"
        self.credentials_header = "Proxy-Authorization" if proxy else "Authorization"
        self._lookup = lookup
        self._entropy = entropy
        self._algorithms = tuple(algorithms)
        self._qop = tuple(qop)
        self._lifetime = lifetime
        self._secret = entropy(32)
        # Hashed in place of the password of a user that does not exist: the same work.
        self._stand_in = entropy(16).hex()
        self._counts: dict[str, int] = {}
        self._floor = -1.0

    def __repr__(self) -> str:
        return f"DigestServer({self.realm!r})"

    def challenge(self, now: float, *, stale: bool = False) -> list[str]:
        """One header value per algorithm, for `challenge_header`.

        Args:
            now: Loop time, 0 or later.
            stale: Tell the client that its password was right (`Outcome.STALE`).
        """
        nonce = self._new_nonce(now)
        tail = ", stale=true" if stale else ""
        return [
            f'Digest realm={quote(self.realm)}, nonce="{nonce}", algorithm={algorithm}, '
            f'qop="{",".join(self._qop)}"{tail}'
            for algorithm in self._algorithms
        ]

    def check(self, request: Request, now: float) -> Verdict:
        """Judge the credentials of a request.

        An unknown user costs the same work and gets the same answer as a wrong password.

        Args:
            request: With its Request-URI as the client sent it.
            now: Loop time.
        """
        try:
            credentials = self._find(request)
        except SipSyntaxError:
            return Verdict(Outcome.BAD)
        if credentials is None:
            return Verdict(Outcome.ABSENT)
        username = credentials.get("username") or ""
        password = self._lookup(username)
        expected = self._expected(request, credentials, username, password or self._stand_in)
        given = credentials.get("response") or ""
        right = hmac.compare_digest(expected.encode(), given.encode("utf-8", "surrogateescape"))
        if not expected or not right or password is None:
            return Verdict(Outcome.BAD)
        # Without qop there is no count: such a nonce is good for one request.
        count = int(credentials.get("nc") or "", 16) if credentials.get("qop") else 1
        if not self._spend(credentials.get("nonce") or "", count, now):
            return Verdict(Outcome.STALE)
        return Verdict(Outcome.OK, username)

    def _find(self, request: Request) -> AuthParams | None:
        for line in request.headers.get_all(self.credentials_header):
            credentials = AuthParams.parse(line)
            if credentials.scheme.lower() == "digest" and credentials.get("realm") == self.realm:
                return credentials
        return None

    def _expected(
        self, request: Request, credentials: AuthParams, username: str, password: str
    ) -> str:
        """The response that would be right; empty where no response can be."""
        algorithm = canonical_algorithm(credentials.get("algorithm"))
        qop, count = credentials.get("qop"), credentials.get("nc")
        cnonce, uri = credentials.get("cnonce"), credentials.get("uri") or ""
        if algorithm not in self._algorithms or not _names(uri, request):
            return ""
        if qop is None:
            # The form of RFC 2069, which RFC 2617 section 3.2.2 lets a client choose.
            if "auth" not in self._qop:
                return ""
        elif (
            qop not in self._qop
            or not cnonce
            or count is None
            or _NONCE_COUNT.fullmatch(count) is None
        ):
            return ""
        return digest_response(
            algorithm,
            username=username,
            realm=self.realm,
            password=password,
            method=request.method,
            uri=uri,
            nonce=credentials.get("nonce") or "",
            qop=qop,
            nonce_count=count or "",
            cnonce=cnonce or "",
            body=request.body,
        )

    def _new_nonce(self, now: float) -> str:
        head = f"{int(now * 1000):012x}{self._entropy(16).hex()}"
        return head + self._seal(head)

    def _seal(self, head: str) -> str:
        return hmac.digest(self._secret, head.encode(), "sha256")[:MAC_OCTETS].hex()

    def _issued(self, nonce: str) -> float | None:
        """When we made this nonce; None if we did not."""
        found = _NONCE.fullmatch(nonce)
        if found is None or not hmac.compare_digest(found[2], self._seal(nonce[:44])):
            return None
        return int(found[1], 16) / 1000

    def _spend(self, nonce: str, count: int, now: float) -> bool:
        """Use a nonce once more; a count that was used before is a replay."""
        issued = self._issued(nonce)
        if issued is None or issued <= self._floor or now - issued > self._lifetime:
            return False
        if count <= self._counts.get(nonce, 0):
            return False
        self._counts[nonce] = count
        if len(self._counts) > MAX_NONCES:
            # What is forgotten could be replayed: nothing as old as that is taken any more.
            oldest = next(iter(self._counts))
            del self._counts[oldest]
            self._floor = max(self._floor, self._issued(oldest) or 0.0)
        return True


def _names(uri: str, request: Request) -> bool:
    """Whether the digest-uri is the Request-URI (RFC 7616 section 3.4.6)."""
    try:
        named, asked = parse_uri(uri), request.uri
    except SipSyntaxError:
        return False
    if isinstance(named, SipUri) and isinstance(asked, SipUri):
        return named.equivalent(asked)
    return str(named) == str(asked)
