"""Requests that a user agent sent and that wait for their final response (RFC 3261 8.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from callmeter.sip.digest import DigestClient
from callmeter.sip.headers import CSeq, parse_delta_seconds
from callmeter.sip.session_events import RequestAnswered, RequestFailed, SendRequest

if TYPE_CHECKING:
    from collections.abc import Callable

    from callmeter.sip.identity import Identity
    from callmeter.sip.message import Request, Response
    from callmeter.sip.session_events import Effect

__all__ = ["ClientRequest", "ClientRequests", "PlainRequestUser", "RequestUser", "retry_after"]

MAX_CHALLENGES = 4
"""A proxy, a server and a stale nonce of each: more is a loop."""

MAX_RETRY_AFTER = 3600
"""No server may silence us for longer, whatever its Retry-After says."""

CHALLENGES = frozenset({401, 407})


class RequestUser(Protocol):
    """To whom the responses to a request go."""

    def on_response(self, sent: ClientRequest, response: Response, now: float) -> list[Effect]:
        """A response of any class, authentication aside."""
        ...

    def on_failure(self, sent: ClientRequest, status: int, cause: str, now: float) -> list[Effect]:
        """No response will come: `status` is 408 or 503, `cause` "timeout" or "transport"."""
        ...


class ClientRequest:
    """One request under way.

    Attributes:
        request: As it was sent last; without Via.
        token: Names its present transaction.
        handle: The first token, which stays the same when a challenge is answered.
        user: To whom responses go.
        next_cseq: Gives the CSeq number of a repetition.
        challenges: How many were answered.
        abandoned: No further challenge is to be answered.
        error: What the network said when the request could not be sent, or empty.
    """

    __slots__ = (
        "abandoned",
        "challenges",
        "error",
        "handle",
        "next_cseq",
        "request",
        "token",
        "user",
    )

    def __init__(
        self, request: Request, token: int, user: RequestUser, next_cseq: Callable[[], int]
    ) -> None:
        self.request = request
        self.token = token
        self.handle = token
        self.user = user
        self.next_cseq = next_cseq
        self.challenges = 0
        self.abandoned = False
        self.error = ""


class ClientRequests:
    """All requests of one user agent that are under way, by token.

    A challenge is answered here, so that the users of a request see final outcomes only
    (RFC 3261 section 22.2 and 22.3).
    """

    def __init__(self, identity: Identity, entropy: Callable[[int], bytes]) -> None:
        self.identity = identity
        self._digest = DigestClient(entropy)
        self._pending: dict[int, ClientRequest] = {}
        self._last_token = 0

    def __len__(self) -> int:
        return len(self._pending)

    def send(
        self, request: Request, user: RequestUser, next_cseq: Callable[[], int]
    ) -> tuple[ClientRequest, list[Effect]]:
        """Send a request whose responses go to `user`."""
        sent = ClientRequest(request, self._new_token(), user, next_cseq)
        return sent, [self._start(sent)]

    def release(self, token: int) -> None:
        """Forget a request: nothing more is expected in its transaction."""
        self._pending.pop(token, None)

    def on_response(self, token: int, response: Response, now: float) -> list[Effect]:
        """A response in the transaction `token`."""
        sent = self._pending.get(token)
        if sent is None:
            return []
        if response.status in CHALLENGES:
            again = self._answer_challenge(sent, response)
            if again is not None:
                del self._pending[token]
                sent.request = again
                sent.token = self._new_token()
                return [self._start(sent)]
        # Further 2xx to an INVITE may follow for 64*T1; its user releases it then.
        if response.status >= (300 if sent.request.method == "INVITE" else 200):
            del self._pending[token]
        return sent.user.on_response(sent, response, now)

    def on_failure(
        self, token: int, status: int, cause: str, now: float, *, error: str = ""
    ) -> list[Effect]:
        """The transaction `token` ended without a final response; `error` is the network's word."""
        sent = self._pending.pop(token, None)
        if sent is None:
            return []
        sent.error = error
        return sent.user.on_failure(sent, status, cause, now)

    def _new_token(self) -> int:
        self._last_token += 1
        return self._last_token

    def _start(self, sent: ClientRequest) -> SendRequest:
        self._pending[sent.token] = sent
        return SendRequest(sent.token, sent.request)

    def _answer_challenge(self, sent: ClientRequest, response: Response) -> Request | None:
        credentials = self.identity.credentials
        if (
            credentials is None
            or sent.abandoned
            or sent.challenges >= MAX_CHALLENGES
            or not self.identity.may_answer(sent.request, response.status)
        ):
            return None
        authorized = self._digest.authorize(response, sent.request, credentials)
        if authorized is None:
            return None
        sent.challenges += 1
        authorized.headers.set("CSeq", CSeq(sent.next_cseq(), authorized.method))
        return authorized


class PlainRequestUser:
    """Turns the outcome of a request that belongs to no session into an event."""

    __slots__ = ()

    def on_response(self, sent: ClientRequest, response: Response, now: float) -> list[Effect]:
        """Tell of the final response."""
        del now
        return [RequestAnswered(sent.handle, response)] if response.status >= 200 else []  # noqa: PLR2004  the first final status

    def on_failure(self, sent: ClientRequest, status: int, cause: str, now: float) -> list[Effect]:
        """Tell that none came."""
        del now
        return [RequestFailed(sent.handle, status, cause, sent.error)]


def retry_after(response: Response) -> int | None:
    """Seconds of the Retry-After header, at most an hour; None without a readable one."""
    value = response.headers.get("Retry-After")
    seconds = None if value is None else parse_delta_seconds(value)
    return None if seconds is None else min(seconds, MAX_RETRY_AFTER)
