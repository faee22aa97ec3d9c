"""The lite agent of ICE (RFC 8445 section 2.5): it answers checks and lets the peer choose.

A lite agent has nothing but host candidates and sends no checks of its own. The peer, always the
controlling one, checks each pair, and says by USE-CANDIDATE which of them media takes. Whoever
proves by MESSAGE-INTEGRITY that it knows our password has it from our session description.

Checks without that proof are answered at most with an error that is no longer than they are, and
only few in a second: an open port must not multiply what is sent to it under a false address.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from callmeter.stun.message import error_response, read_request, success_response

if TYPE_CHECKING:
    from collections.abc import Callable

    from callmeter.stun.message import BindingRequest

__all__ = [
    "CONSENT_SECONDS",
    "MAX_SOURCES",
    "IceCredentials",
    "IceLite",
    "IceResult",
    "IceStatistics",
]

Address = tuple[str, int]

CONSENT_SECONDS: Final = 30.0
"""A peer that has not checked for so long has gone (RFC 7675 section 5.1)."""
MAX_SOURCES: Final = 16
"""Remote candidates kept for a component; the one not heard of for longest makes room."""
ERRORS_PER_SECOND: Final = 10
"""Answers to checks that prove nothing."""

_BAD_REQUEST: Final = 400
_UNAUTHORIZED: Final = 401
_UNKNOWN_ATTRIBUTE: Final = 420
_ROLE_CONFLICT: Final = 487


@dataclass(frozen=True, slots=True)
class IceCredentials:
    """User name fragment and password of one end (RFC 8445 section 5.3)."""

    ufrag: str
    password: str = field(repr=False)

    @classmethod
    def generate(cls, entropy: Callable[[int], bytes]) -> IceCredentials:
        """48 random bits of name, 144 of password; RFC 8445 asks for 24 and 128."""
        return cls(base64.b64encode(entropy(6)).decode(), base64.b64encode(entropy(18)).decode())

    @property
    def key(self) -> bytes:
        """The password as MESSAGE-INTEGRITY takes it."""
        return self.password.encode("ascii")


@dataclass(slots=True)
class IceStatistics:
    """Counters of one agent.

    Attributes:
        checks: Authentic checks, answered with success.
        conflicts: Checks whose sender took our role, answered with 487.
        unauthenticated: Checks that did not prove that their sender knows our password.
        ignored: STUN that is no Binding request, or cannot be read.
        restarts: ICE restarts (`ice_restarts`).
    """

    checks: int = 0
    conflicts: int = 0
    unauthenticated: int = 0
    ignored: int = 0
    restarts: int = 0


@dataclass(frozen=True, slots=True)
class IceResult:
    """What one datagram led to.

    Attributes:
        answer: To be sent back where it came from, or None.
        selected: Whether the component now has another pair than before.
    """

    answer: bytes | None = None
    selected: bool = False


@dataclass(slots=True)
class _Source:
    """A remote candidate that proved itself.

    Attributes:
        theirs: User name fragment it used for itself.
        checked_at: When it was last heard of.
        nominated_at: When it was last nominated, None when never.
    """

    theirs: str
    checked_at: float
    nominated_at: float | None = None


@dataclass(slots=True)
class _Component:
    """RTP or RTCP: who has proved itself, and whom media goes to.

    Attributes:
        sources: By address.
        selected: The nominated one.
        consent_until: When the peer counts as gone; None while it does not renew its consent.
    """

    sources: dict[Address, _Source] = field(default_factory=dict)
    selected: Address | None = None
    consent_until: float | None = None


class IceLite:
    """The agent of one media stream.

    Attributes:
        local: Own credentials, for the next description.
        remote: Those of the peer, None before its first description.
        statistics: Counters.

    Args:
        entropy: Gives random octets.
    """

    __slots__ = (
        "_components",
        "_entropy",
        "_errors_left",
        "_errors_since",
        "_former",
        "local",
        "remote",
        "statistics",
    )

    def __init__(self, entropy: Callable[[int], bytes]) -> None:
        self._entropy = entropy
        self._components: dict[int, _Component] = {}
        self._former: IceCredentials | None = None
        self._errors_left = float(ERRORS_PER_SECOND)
        self._errors_since = 0.0
        self.local = IceCredentials.generate(entropy)
        self.remote: IceCredentials | None = None
        self.statistics = IceStatistics()

    # offer and answer

    def accept_offer(self, remote: IceCredentials) -> bool:
        """Take the credentials of an offer; whether that is an ICE restart.

        A restart gives this end new credentials too (RFC 8839 section 4.4.1.1.1). The pair in
        use stays until the peer nominates another, and so do the answers to checks of it.
        """
        restarts = self.remote is not None and self.remote != remote
        if restarts:
            self._former, self.local = self.local, IceCredentials.generate(self._entropy)
        self._become(remote, restarts=restarts)
        return restarts

    def accept_answer(self, remote: IceCredentials) -> list[int]:
        """Take the credentials of an answer; the components that have a pair by that.

        Checks may have overtaken the answer: those of another end, to which the INVITE was
        forked, do not count any more.
        """
        self._become(remote, restarts=self.remote is not None and self.remote != remote)
        chosen: list[int] = []
        for number, component in self._components.items():
            nominated = [
                (source.nominated_at, address)
                for address, source in component.sources.items()
                if source.nominated_at is not None and source.theirs == remote.ufrag
            ]
            if nominated:
                _, address = max(nominated)
                if address != component.selected:
                    component.selected = address
                    chosen.append(number)
        return chosen

    def _become(self, remote: IceCredentials, *, restarts: bool) -> None:
        self.statistics.restarts += restarts
        self.remote = remote

    # what is known

    def selected(self, component: int) -> Address | None:
        """Where the peer wants the component's packets, None before a nomination."""
        found = self._components.get(component)
        return None if found is None else found.selected

    def is_proven(self, component: int, source: Address) -> bool:
        """Whether an authentic check of the component came from there."""
        found = self._components.get(component)
        return found is not None and source in found.sources

    # datagrams and time

    def on_datagram(self, data: bytes, source: Address, component: int, now: float) -> IceResult:
        """Take a STUN datagram.

        Args:
            data: The datagram.
            source: Where it came from.
            component: 1 for the port of RTP, 2 for that of RTCP.
            now: Seconds of the caller's clock, here and below.
        """
        request = read_request(data)
        if request is None:
            self.statistics.ignored += 1
            return IceResult()
        ours, _, theirs = (request.username or "").partition(":")
        credentials = self._credentials_of(ours, theirs)
        if credentials is None or not request.is_authentic(credentials.key):
            self.statistics.unauthenticated += 1
            return IceResult(self._refusal(request, len(data), now))
        if request.unknown:
            return IceResult(error_response(request, _UNKNOWN_ATTRIBUTE, credentials.key))
        if request.controlled:
            # A lite agent is the controlled one, whatever the tie-breaker says: its peer runs
            # the checks (RFC 8445 section 6.1.1).
            self.statistics.conflicts += 1
            return IceResult(error_response(request, _ROLE_CONFLICT, credentials.key))
        self.statistics.checks += 1
        answer = success_response(request, source, credentials.key)
        pair = self._heard(component, source, theirs, now)
        nominates = request.use_candidate and credentials is self.local
        return IceResult(answer, nominates and self._nominated(pair, component, source, now))

    def _credentials_of(self, ours: str, theirs: str) -> IceCredentials | None:
        """Own credentials that a check was made with, None when it was not made for us."""
        if ours == self.local.ufrag:
            known = self.remote is None or theirs == self.remote.ufrag
            return self.local if known else None
        former = self._former
        return former if former is not None and ours == former.ufrag else None

    def _refusal(self, request: BindingRequest, length: int, now: float) -> bytes | None:
        """An error to an unauthenticated request, never longer than it, and never many."""
        complete = request.signed and request.username is not None
        answer = error_response(request, _UNAUTHORIZED if complete else _BAD_REQUEST)
        gained = max(0.0, now - self._errors_since) * ERRORS_PER_SECOND
        self._errors_left = min(float(ERRORS_PER_SECOND), self._errors_left + gained)
        self._errors_since = now
        if self._errors_left < 1 or len(answer) > length:
            return None
        self._errors_left -= 1
        return answer

    def _heard(self, number: int, address: Address, theirs: str, now: float) -> _Source:
        """Note an authentic check."""
        component = self._components.setdefault(number, _Component())
        if address == component.selected:
            # From its second check on: an end of before RFC 7675 checks no more after the first.
            component.consent_until = now + CONSENT_SECONDS
        source = component.sources.get(address)
        if source is None:
            _make_room(component)
            source = component.sources[address] = _Source(theirs, now)
        source.theirs, source.checked_at = theirs, now
        return source

    def _nominated(self, source: _Source, number: int, address: Address, now: float) -> bool:
        """Note a nomination; whether it selects another pair."""
        source.nominated_at = now
        if self.remote is None:
            return False
        component, self._former = self._components[number], None
        component.sources = {
            place: each
            for place, each in component.sources.items()
            if each.theirs == self.remote.ufrag
        }
        # The latest counts: a peer flags the pair that it uses, and may change its mind.
        if address == component.selected:
            return False
        component.selected, component.consent_until = address, None
        return True

    def next_deadline(self) -> float | None:
        """When `on_deadline` has something to do, None when never."""
        due = [each.consent_until for each in self._components.values()]
        return min((at for at in due if at is not None), default=None)

    def on_deadline(self, now: float) -> list[int]:
        """The components whose peer has stopped to check: it does not want media any more."""
        gone: list[int] = []
        for number, component in self._components.items():
            if component.consent_until is not None and now >= component.consent_until:
                component.consent_until = None
                gone.append(number)
        return gone


def _make_room(component: _Component) -> None:
    if len(component.sources) < MAX_SOURCES:
        return
    spare = [each for each in component.sources if each != component.selected]
    del component.sources[min(spare, key=lambda each: component.sources[each].checked_at)]
