"""Digest authentication as a client (RFC 3261 section 22, RFC 7616, RFC 8760).

A digest is a proof that whoever gets it can attack at leisure: it is made for realms of the
account only. Whether a challenge came from the account's own server is for the caller to know.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import TYPE_CHECKING

from callmeter.errors import SipSyntaxError
from callmeter.sip.digest_hash import (
    SESSION_SUFFIX,
    algorithm_rank,
    canonical_algorithm,
    digest_response,
)
from callmeter.sip.digest_server import DigestServer, Outcome, Verdict
from callmeter.sip.grammar import quote
from callmeter.sip.headers import AuthParams, parse_challenges

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from callmeter.config import Credentials
    from callmeter.sip.message import Request, Response

__all__ = ["DigestClient", "DigestServer", "Outcome", "Refusal", "Verdict", "answer"]

CREDENTIALS_FOR = {
    "WWW-Authenticate": "Authorization",
    "Proxy-Authenticate": "Proxy-Authorization",
}
"""Which header answers which challenge (RFC 3261 sections 22.2 and 22.3)."""

MAX_SESSIONS = 16
"""Realms whose nonces are remembered."""

FIRST_USE = "00000001"

_BREAKS = re.compile(r"[\r\n\0]")

Place = tuple[str, str]
"""The challenge header's name and the realm: RFC 3261's protection space."""


class Refusal(StrEnum):
    """Why a challenge was not answered."""

    NO_CHALLENGE = "the response holds no challenge"
    MALFORMED = "the challenge cannot be read"
    UNSUPPORTED = "the scheme, algorithm or qop is not known here"
    TOO_WEAK = "the algorithm is weaker than the required minimum"
    FOREIGN_REALM = "the realm is none of the account's"
    WRONG_CREDENTIALS = "the server refused these credentials"


class _Session:
    """A server nonce and how often it was used."""

    __slots__ = ("after_credentials", "challenge", "count")

    def __init__(self, challenge: AuthParams, count: int, *, after_credentials: bool) -> None:
        self.challenge = challenge
        self.count = count
        # Whether it replaced a nonce that the server had just refused.
        self.after_credentials = after_credentials


class DigestClient:
    """Answers challenges for one account, and uses nonces again.

    Args:
        entropy: Gives that many random octets.
        minimum: The weakest algorithm to use; `"SHA-256"` refuses servers that know only MD5.

    Attributes:
        refusal: Why the last `authorize` gave None; None after a success.
    """

    __slots__ = ("_entropy", "_minimum", "_pinned", "_sessions", "refusal")

    def __init__(self, entropy: Callable[[int], bytes], *, minimum: str = "MD5") -> None:
        self.refusal: Refusal | None = None
        self._entropy = entropy
        self._minimum = algorithm_rank(minimum)
        self._pinned: dict[str, str] = {}
        self._sessions: dict[Place, _Session] = {}

    def authorize(
        self,
        response: Response,
        request: Request,
        credentials: Credentials,
        *,
        allowed: Callable[[str], bool] | None = None,
    ) -> Request | None:
        """The request with the credentials that a 401 or 407 asks for.

        Args:
            response: With one or more challenges, of either kind.
            request: What it refused; it stays as it is.
            credentials: Their `realm`, when given, is the only one that is answered.
            allowed: Where `credentials` name no realm, says whether one is the account's.
                Without it that is the first realm that each kind of challenge has named.

        Returns:
            A copy, which the caller gives a new CSeq number. None if no challenge may or can be
            answered: see `refusal`.
        """
        chosen = self._choose(response, credentials, allowed)
        sent = _credentials_in(request)
        for place, challenge in chosen.items():
            if not self._renew(place, challenge, sent.get(place)):
                self.refusal = Refusal.WRONG_CREDENTIALS
                return None
        if not chosen:
            return None
        self.refusal = None
        # A nonce count is good for one sending: what was there before is signed anew too.
        return self._sign(request, credentials, {*sent, *chosen})

    def preempt(self, request: Request, credentials: Credentials) -> Request:
        """The request with credentials for the nonces known, before anybody asks.

        Saves the round trip of a challenge (RFC 7616 section 3.6). For requests to the account's
        own server only. Gives the request itself where no nonce is known.
        """
        return self._sign(request, credentials, self._sessions) if self._sessions else request

    def _choose(
        self,
        response: Response,
        credentials: Credentials,
        allowed: Callable[[str], bool] | None,
    ) -> dict[Place, AuthParams]:
        """For each protection space the topmost challenge we can answer (RFC 8760 2.4)."""
        chosen: dict[Place, AuthParams] = {}
        self.refusal = Refusal.NO_CHALLENGE
        for header in CREDENTIALS_FOR:
            for line in response.headers.get_all(header):
                for challenge in _read(line):
                    realm = challenge.get("realm") or ""
                    obstacle = _obstacle(challenge, self._minimum)
                    if obstacle is not None:
                        self.refusal = obstacle
                    elif self._is_ours(header, realm, credentials, allowed):
                        chosen.setdefault((header, realm), challenge)
                    else:
                        self.refusal = Refusal.FOREIGN_REALM
        return chosen

    def _is_ours(
        self,
        header: str,
        realm: str,
        credentials: Credentials,
        allowed: Callable[[str], bool] | None,
    ) -> bool:
        if credentials.realm is not None:
            return realm == credentials.realm
        if allowed is not None:
            return allowed(realm)
        return self._pinned.setdefault(header, realm) == realm

    def _renew(self, place: Place, challenge: AuthParams, sent: AuthParams | None) -> bool:
        """Begin to use the challenge's nonce; False if another try is pointless."""
        session = self._sessions.pop(place, None)
        nonce = challenge.get("nonce")
        count = 0
        if sent is None:
            if session is not None and session.challenge.get("nonce") == nonce:
                count = session.count
        elif not _may_retry(challenge, sent, session):
            return False
        while len(self._sessions) >= MAX_SESSIONS:
            del self._sessions[next(iter(self._sessions))]
        self._sessions[place] = _Session(challenge, count, after_credentials=sent is not None)
        return True

    def _sign(
        self, request: Request, credentials: Credentials, places: Collection[Place]
    ) -> Request:
        """A copy with credentials for those protection spaces whose nonce is known."""
        signed = request.copy()
        for challenge_header, header in CREDENTIALS_FOR.items():
            ours = [
                (realm, session)
                for (kind, realm), session in self._sessions.items()
                if kind == challenge_header and (kind, realm) in places
            ]
            realms = {realm for realm, _ in ours}
            others = [
                line for line in request.headers.get_all(header) if _realms(line).isdisjoint(realms)
            ]
            signed.headers.remove(header)
            signed.headers.extend((header, line) for line in others)
            for _, session in ours:
                session.count += 1
                value = _credentials(
                    session.challenge,
                    method=request.method,
                    # As on the wire: that is what the server compares.
                    uri=request.start_line.split(" ")[1],
                    username=credentials.username,
                    password=credentials.password,
                    body=request.body,
                    nonce_count=session.count,
                    entropy=self._entropy,
                )
                signed.headers.add(header, value)
        return signed


def answer(
    challenges: Sequence[str],
    *,
    method: str,
    uri: str,
    username: str,
    password: str,
    entropy: Callable[[int], bytes],
    realms: Collection[str] | None = None,
    body: bytes = b"",
    nonce_count: int = 1,
) -> str | None:
    """The credentials for the topmost challenge that can be answered, without any memory.

    Args:
        challenges: Values of WWW-Authenticate, or of Proxy-Authenticate, in order.
        method: Of the request to come.
        uri: Its Request-URI as on the wire.
        username: Who we are.
        password: The shared secret.
        entropy: Gives that many random octets, for the cnonce.
        realms: Realms that may be answered; None for any.
        body: Of the request to come, for `auth-int`.
        nonce_count: How often the nonce will have been used with this request.

    Returns:
        The value of Authorization or Proxy-Authorization; None if there is nothing to answer.
    """
    for line in challenges:
        for challenge in _read(line):
            if _obstacle(challenge, 0) is not None:
                continue
            if realms is not None and challenge.get("realm") not in realms:
                continue
            return _credentials(
                challenge,
                method=method,
                uri=uri,
                username=username,
                password=password,
                body=body,
                nonce_count=nonce_count,
                entropy=entropy,
            )
    return None


def _read(line: str) -> list[AuthParams]:
    """The challenges of one header line; one that cannot be read stands for itself."""
    try:
        return parse_challenges([line])
    except SipSyntaxError:
        return [AuthParams("Digest")]


def _obstacle(challenge: AuthParams, minimum: int) -> Refusal | None:
    """Why this challenge cannot be answered, its realm aside."""
    if challenge.scheme.lower() != "digest":
        return Refusal.UNSUPPORTED
    if challenge.get("realm") is None or challenge.get("nonce") is None:
        return Refusal.MALFORMED
    if any(_BREAKS.search(value) for _, value in challenge.params):
        return Refusal.MALFORMED  # it would have to be echoed, and must not be
    algorithm = canonical_algorithm(challenge.get("algorithm"))
    if algorithm is None or _quality(challenge) == "":
        return Refusal.UNSUPPORTED
    return Refusal.TOO_WEAK if algorithm_rank(algorithm) < minimum else None


def _quality(challenge: AuthParams) -> str | None:
    """The qop to use; None for the form without, `""` if all on offer are unknown."""
    offered = challenge.get("qop")
    if not offered:
        return None
    names = {name.strip(" \t").lower() for name in offered.split(",")}
    # auth-int breaks where something on the way rewrites the body, and SIP has many of those.
    return next((name for name in ("auth", "auth-int") if name in names), "")


def _may_retry(challenge: AuthParams, sent: AuthParams, session: _Session | None) -> bool:
    """Whether a challenge to a request that had credentials is about the nonce alone."""
    stale = (challenge.get("stale") or "").lower() == "true"
    if sent.get("nc") not in {None, FIRST_USE}:
        # The nonce had been good before, so the password is; but not for the same nonce again.
        return stale or challenge.get("nonce") != sent.get("nonce")
    if not stale:
        return False
    # A second fresh nonce that is stale at first use makes a loop.
    if session is None or session.challenge.get("nonce") != sent.get("nonce"):
        return True
    return not session.after_credentials


def _credentials_in(request: Request) -> dict[Place, AuthParams]:
    found: dict[Place, AuthParams] = {}
    for challenge_header, header in CREDENTIALS_FOR.items():
        for line in request.headers.get_all(header):
            for credentials in _read(line):
                found[challenge_header, credentials.get("realm") or ""] = credentials
    return found


def _realms(line: str) -> set[str]:
    return {credentials.get("realm") or "" for credentials in _read(line)}


def _credentials(
    challenge: AuthParams,
    *,
    method: str,
    uri: str,
    username: str,
    password: str,
    body: bytes,
    nonce_count: int,
    entropy: Callable[[int], bytes],
) -> str:
    """A header value; which parameters are quoted is fixed (RFC 7616 section 3.4)."""
    algorithm = canonical_algorithm(challenge.get("algorithm")) or ""
    qop = _quality(challenge)
    nc = f"{nonce_count:08x}"
    cnonce = entropy(16).hex()
    response = digest_response(
        algorithm,
        username=username,
        realm=challenge.get("realm") or "",
        password=password,
        method=method,
        uri=uri,
        nonce=challenge.get("nonce") or "",
        qop=qop,
        nonce_count=nc,
        cnonce=cnonce,
        body=body,
    )
    params = [
        ("username", quote(username)),
        *_echo(challenge, "realm", "nonce"),
        ("uri", quote(uri)),
        ("response", f'"{response}"'),
    ]
    if challenge.get("algorithm") is not None:
        params.append(("algorithm", algorithm))
    if qop is not None or algorithm.endswith(SESSION_SUFFIX):
        params.append(("cnonce", f'"{cnonce}"'))
    params += _echo(challenge, "opaque")
    if qop is not None:
        params += [("qop", qop), ("nc", nc)]
    return str(AuthParams("Digest", tuple(params)))


def _echo(challenge: AuthParams, *names: str) -> Iterable[tuple[str, str]]:
    """Parameters of the challenge octet for octet, in quotes even if they came without."""
    for wanted in names:
        for name, value in challenge.params:
            if name.lower() == wanted:
                yield wanted, value if value.startswith('"') else quote(value)
                break
