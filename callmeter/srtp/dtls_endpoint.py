"""DTLS-SRTP on one media port: which association is the peer's (RFC 5763, RFC 5764 section 5.1).

Anybody can send a ClientHello, an alert or half a fragment to an open port. Every ClientHello
therefore gets an association of its own, bound to where it came from, and only the one whose
certificate has the fingerprint of the session description becomes the call's. What breaks before
that takes nothing else with it, and nothing is said about it to the peer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from callmeter.config import DEFAULT_SUITES
from callmeter.errors import DtlsTimeout, FingerprintMismatch, MediaSecurityError, NegotiationError
from callmeter.sdp.attributes import Setup
from callmeter.srtp import dtls_records
from callmeter.srtp.dtls import DEFAULT_MTU, DEFAULT_TIMEOUT, DtlsAssociation, DtlsKeys, DtlsRole

if TYPE_CHECKING:
    from collections.abc import Sequence

    from callmeter.config import SrtpSuite
    from callmeter.sdp.attributes import Fingerprint
    from callmeter.srtp.dtls_certificate import DtlsCertificate, KeyLog

__all__ = ["MAX_PROVISIONAL", "DtlsResult", "DtlsStatistics", "DtlsTransport", "role_for"]

Address = tuple[str, int]

MAX_PROVISIONAL: Final = 4
"""Handshakes under way at once, whoever they are with."""
UNANSWERED: Final = 2.0
"""Seconds after which a handshake that led to nothing makes room for another."""
ANNOUNCE_AFTER: Final = 2.0
"""Seconds a failure waits for the peer to do better: the address of a datagram can be forged."""
MAX_ATTEMPTS: Final = 3
RETRY_AFTER: Final = 0.5
"""Seconds for what is still under way for a broken handshake: a new one would choke on it."""
_MAX_DISTRUSTED: Final = 64


def role_for(local: Setup, remote: Setup) -> DtlsRole | None:
    """Who starts the handshake (RFC 4145 section 4.1, RFC 5763 section 5).

    Args:
        local: a=setup of this end's description.
        remote: a=setup of the peer's.

    Returns:
        The role of this end; None when one of them says holdconn, and there is no handshake.

    Raises:
        NegotiationError: Both want the same.
    """
    if Setup.HOLDCONN in {local, remote}:
        return None
    if local is remote:
        raise NegotiationError(f"both ends say a=setup:{local}: nobody would start the handshake")
    if local is Setup.ACTIVE or remote is Setup.PASSIVE:
        return "client"
    return "server"


@dataclass(slots=True)
class DtlsStatistics:
    """Counters of one media port.

    Attributes:
        datagrams_sent: DTLS datagrams handed out.
        datagrams_received: DTLS datagrams taken in.
        ignored: Of these, those that belonged to no handshake.
        discarded: Handshakes that ended without verified keys.
        rehandshakes: Verified handshakes after the first, renegotiations among them.
    """

    datagrams_sent: int = 0
    datagrams_received: int = 0
    ignored: int = 0
    discarded: int = 0
    rehandshakes: int = 0


@dataclass(frozen=True, slots=True)
class DtlsResult:
    """What one input led to.

    Attributes:
        outgoing: Datagrams, each with where to send it.
        keys: New keys, in the one result that verified them; media switches to them.
        source: Where the peer with these keys is.
        failure: Why the handshake that the session description asked for is over. Keys that
            were verified before stay good.
    """

    outgoing: tuple[tuple[bytes, Address], ...] = ()
    keys: DtlsKeys | None = None
    source: Address | None = None
    failure: MediaSecurityError | None = None


@dataclass(slots=True, eq=False)
class _Candidate:
    association: DtlsAssociation
    source: Address
    born: float
    refused: bool = False
    """Whether what the peer renegotiated was refused."""


_Identities = tuple["DtlsCertificate", "DtlsRole | None", "tuple[Fingerprint, ...] | None"]
"""Who this end is, and whom it knows how."""


class DtlsTransport:
    """All DTLS on one media port, from the first ClientHello to close_notify.

    Datagrams may come before the session description of the peer: their handshakes run, and
    wait for `start()`, which gives role and fingerprints.

    Attributes:
        remote: Signalled address of the peer's media, None before `start()`. A description that
            only moves it sets it.
        keys: The keys in use, None before the first verified handshake.
        source: Where the peer that has them is.
        statistics: Counters.

    Args:
        certificate: Of this end.
        suites: SRTP suites in order of preference.
        mtu: Octets of UDP payload that a datagram may have.
        timeout: Seconds from `start()` to verified keys.
        symmetric: Whether the peer may come from another address than the signalled one.
        renegotiation: Whether the peer may renegotiate in an association.
        key_log: Is given the secrets of every handshake, for a capture.
    """

    __slots__ = (
        "_announce_at",
        "_attempts",
        "_before",
        "_candidates",
        "_certificate",
        "_closed",
        "_current",
        "_distrusted",
        "_failed",
        "_failure",
        "_fingerprints",
        "_give_up_at",
        "_key_log",
        "_keys",
        "_mtu",
        "_outgoing",
        "_parked",
        "_remembered",
        "_renegotiation",
        "_retry_at",
        "_role",
        "_suites",
        "_symmetric",
        "_timeout",
        "keys",
        "remote",
        "source",
        "statistics",
    )

    def __init__(
        self,
        certificate: DtlsCertificate,
        *,
        suites: Sequence[SrtpSuite] = DEFAULT_SUITES,
        mtu: int = DEFAULT_MTU,
        timeout: float = DEFAULT_TIMEOUT,
        symmetric: bool = True,
        renegotiation: bool = False,
        key_log: KeyLog | None = None,
    ) -> None:
        self._certificate = certificate
        self._suites = tuple(suites)
        self._mtu = mtu
        self._timeout = timeout
        self._symmetric = symmetric
        self._renegotiation = renegotiation
        self._key_log = key_log
        self._role: DtlsRole | None = None
        self._fingerprints: tuple[Fingerprint, ...] | None = None
        self._before: _Identities | None = None
        self._candidates: list[_Candidate] = []
        self._current: _Candidate | None = None
        self._parked: _Candidate | None = None
        self._remembered: _Candidate | None = None
        self._distrusted: set[Address] = set()
        self._attempts = 0
        self._give_up_at: float | None = None
        self._announce_at: float | None = None
        self._retry_at: float | None = None
        self._failed = False
        self._closed = False
        self._outgoing: list[tuple[bytes, Address]] = []
        self._keys: DtlsKeys | None = None
        self._failure: MediaSecurityError | None = None
        self.remote: Address | None = None
        self.keys: DtlsKeys | None = None
        self.source: Address | None = None
        self.statistics = DtlsStatistics()

    def __repr__(self) -> str:
        state = "established" if self._current else "failed" if self._failed else "handshaking"
        return f"<DtlsTransport {self._role or 'early'} {state}>"

    @property
    def established(self) -> bool:
        """Whether there are verified keys."""
        return self.keys is not None

    @property
    def broken_off(self) -> bool:
        """Whether a handshake failed so far, or somebody said that it is over."""
        under_way = any(each.association.broken_off for each in self._candidates)
        return under_way or self._failed or self._remembered is not None

    def start(
        self, role: DtlsRole, fingerprints: Sequence[Fingerprint], remote: Address, now: float
    ) -> DtlsResult:
        """Use the peer's session description: the first, or one that asks for a new association.

        Keys in use stay good until the new ones are verified.

        Args:
            role: Of this end, from `role_for`.
            fingerprints: Of the peer.
            remote: Address of its media.
            now: Seconds of the caller's clock, here and below.
        """
        self._role = role
        self._fingerprints = tuple(fingerprints)
        self._before = None
        self.remote = remote
        self._give_up_at = now + self._timeout
        self._announce_at = self._retry_at = self._remembered = None
        self._failed = False
        self._attempts = 0
        self._distrusted.clear()
        early, self._candidates = self._candidates, []
        if self._parked:
            early.append(self._parked)
            self._parked = None
        if role == "client":
            self.statistics.discarded += len(early)
            self._attempt(remote, now)
            return self._result()
        self._candidates = [each for each in early if self._symmetric or each.source == remote]
        for candidate in list(self._candidates):
            datagrams = candidate.association.expect(self._fingerprints, now)
            self._queue(datagrams, candidate.source)
            self._judge(candidate, now)
        return self._result()

    def renew(self, certificate: DtlsCertificate) -> None:
        """A description of this end asks for a new association (RFC 8842 section 5.2).

        Whoever answers it may begin the handshake before the answer is here: it runs, and waits
        for `start()`. The keys in use stay good until the new ones are verified.

        Args:
            certificate: Of this end, from now on.
        """
        if self._before is None:
            self._before = self._certificate, self._role, self._fingerprints
        self._certificate = certificate
        self._role = self._fingerprints = None

    def withdraw(self) -> None:
        """The description of `renew()` was refused: all is as it was."""
        if self._before is not None:
            self._certificate, self._role, self._fingerprints = self._before
            self._before = None
            self.statistics.discarded += len(self._candidates)
            self._candidates.clear()

    def forget_peer(self) -> DtlsResult:
        """Another peer takes what this end described: the keys in use are not for that one.

        Handshakes under way wait for the `start` that follows; one of them may be its.
        """
        if self._current:
            self._queue(self._current.association.close(), self._current.source)
        self._current = self.keys = self.source = None
        return self._result()

    def on_datagram(self, data: bytes, source: Address, now: float) -> DtlsResult:
        """Take a datagram whose first octet is 20 to 63 (RFC 7983 section 7)."""
        self.statistics.datagrams_received += 1
        takers = [] if self._closed else self._takers(data, source, now)
        self.statistics.ignored += not takers
        for candidate in takers:
            answered = candidate.association.answered
            self._queue(candidate.association.on_datagram(data, now), source)
            if self._role == "client" and candidate.association.answered and not answered:
                candidate.source = source
            self._judge(candidate, now, source)
        return self._result()

    def on_deadline(self, now: float) -> DtlsResult:
        """Do what is due. Early or late calls do no harm."""
        if self._closed:
            return DtlsResult()
        for candidate in self._associations():
            self._queue(candidate.association.on_deadline(now), candidate.source)
            self._judge(candidate, now)
        if self._give_up_at is not None and now >= self._give_up_at:
            self._announce(self._remembered)
        elif self._announce_at is not None and now >= self._announce_at:
            if self._candidates:
                self._announce_at = now + ANNOUNCE_AFTER
            else:
                self._announce(self._remembered)
        elif self.remote and self._retry_at is not None and now >= self._retry_at:
            self._attempt(self.remote, now)
        return self._result()

    def next_deadline(self) -> float | None:
        """When `on_deadline` has something to do, None when never."""
        if self._closed:
            return None
        due = [each.association.next_deadline() for each in self._associations()]
        due += (self._give_up_at, self._announce_at, self._retry_at)
        return min((each for each in due if each is not None), default=None)

    def evidence(self, candidate: _Candidate | None = None) -> dict[str, Any]:
        """What happened so far, for errors and reports; no key material.

        Args:
            candidate: The handshake in question; None takes one that is under way.
        """
        shown = candidate or next(iter(self._candidates), None)
        return {
            "role": self._role,
            **(shown.association.evidence() if shown else {}),
            "peer": self.remote,
            "source": candidate.source if candidate else None,
            "port_datagrams_sent": self.statistics.datagrams_sent,
            "port_datagrams_received": self.statistics.datagrams_received,
        }

    def close(self) -> DtlsResult:
        """End it with the media session: close_notify to the peer, silence to everybody else."""
        if self._current and not self._closed:
            self._queue(self._current.association.close(), self._current.source)
        self._closed = True
        self._candidates.clear()
        self._parked = self._remembered = None
        return self._result()

    def _associations(self) -> list[_Candidate]:
        return [*([self._current] if self._current else ()), *self._candidates]

    def _takers(self, data: bytes, source: Address, now: float) -> list[_Candidate]:
        """The associations that a datagram is shown to."""
        if self._failed and not self._current:
            return []
        if not self._symmetric and self.remote not in {None, source}:
            return []
        takers = [each for each in self._associations() if each.source == source]
        if self._role == "client":
            return takers or self._moved(data, source)
        hello = dtls_records.client_random(data)
        if hello is None:
            return takers
        known = [each for each in takers if each.association.hello == hello]
        return known or self._welcome(source, now)

    def _moved(self, data: bytes, source: Address) -> list[_Candidate]:
        """The handshake under way, when its answer may come from elsewhere than it was sent to."""
        if source in self._distrusted or len(self._distrusted) >= _MAX_DISTRUSTED:
            return []
        fits = dtls_records.starts_server_flight(data) or source == self.remote
        return [each for each in self._candidates if fits and not each.association.answered]

    def _welcome(self, source: Address, now: float) -> list[_Candidate]:
        """A new association for a ClientHello, when there is room."""
        if len(self._candidates) >= MAX_PROVISIONAL:
            waiting = [each for each in self._candidates if not each.association.answered]
            strangers = [each for each in waiting if each.source != self.remote]
            if source != self.remote or not strangers:
                strangers = [each for each in waiting if now - each.born >= UNANSWERED]
            if not strangers:
                return []
            self._candidates.remove(strangers[0])
            self.statistics.discarded += 1
        for candidate in self._candidates:
            if candidate.source == source:
                # The peer may have begun anew: answers to what it forgot would confuse it.
                candidate.association.hold_back()
        return [self._new("server", source, now)]

    def _attempt(self, remote: Address, now: float) -> None:
        """Start a handshake as client."""
        self._retry_at = None
        candidate = self._new("client", remote, now)
        self._queue(candidate.association.start(now), remote)

    def _new(self, role: DtlsRole, source: Address, now: float) -> _Candidate:
        association = DtlsAssociation(
            self._certificate,
            role=role,
            fingerprints=self._fingerprints,
            suites=self._suites,
            mtu=self._mtu,
            timeout=self._timeout,
            renegotiation=self._renegotiation,
            key_log=self._key_log,
        )
        if role == "server":
            association.start(now)
        candidate = _Candidate(association, source, now)
        self._candidates.append(candidate)
        return candidate

    def _judge(self, candidate: _Candidate, now: float, source: Address | None = None) -> None:
        """See what became of an association after it was given something."""
        if candidate is self._current:
            self._follow(candidate)
            return
        if candidate not in self._candidates:
            return
        association = candidate.association
        if association.established:
            self._candidates.remove(candidate)
            self._switch(candidate)
        elif association.failure:
            self._candidates.remove(candidate)
            self.statistics.discarded += 1
            self._failed_with(candidate, association.failure, source or candidate.source, now)

    def _switch(self, candidate: _Candidate) -> None:
        """The peer is verified: its keys are those of the call from now on."""
        self.statistics.rehandshakes += self._current is not None
        self.statistics.discarded += len(self._candidates)
        self._candidates.clear()
        self._current = candidate
        self._give_up_at = self._announce_at = self._retry_at = None
        self._remembered = self._parked = None
        self.keys = self._keys = candidate.association.keys
        self.source = candidate.source

    def _follow(self, current: _Candidate) -> None:
        """The verified peer may have renegotiated."""
        association = current.association
        failure = association.failure
        if failure and not current.refused:
            current.refused = True
            failure.evidence |= self.evidence(current) | failure.evidence
            self._queue(association.farewell(), current.source)
            self._failure = failure
        elif not failure and association.keys is not self.keys:
            self.statistics.rehandshakes += 1
            self.keys = self._keys = association.keys

    def _failed_with(
        self, candidate: _Candidate, failure: MediaSecurityError, source: Address, now: float
    ) -> None:
        """Decide whether a failed handshake is the peer's, and whether to try again."""
        signalled = source == self.remote
        if isinstance(failure, FingerprintMismatch) and (self._current or not signalled):
            # Its fingerprint may be in a description that is still on its way.
            self._parked = candidate
        if self._give_up_at is None:
            return
        if self._remembered is None or signalled:
            self._remembered = candidate
        if signalled and candidate.association.complete:
            # Nobody completes a handshake under an address that is not theirs.
            self._announce(candidate)
        elif self._role == "client" and not isinstance(failure, DtlsTimeout):
            self._retry(candidate, failure, source, now)
        elif signalled and self._announce_at is None:
            self._announce_at = now + ANNOUNCE_AFTER

    def _retry(
        self, candidate: _Candidate, failure: MediaSecurityError, source: Address, now: float
    ) -> None:
        if source == self.remote:
            self._attempts += 1
        else:
            self._distrusted.add(source)
        if "alert" in failure.evidence or self._attempts >= MAX_ATTEMPTS:
            self._announce(candidate)
        else:
            self._retry_at = now + RETRY_AFTER

    def _announce(self, candidate: _Candidate | None) -> None:
        """The handshake is over: tell the caller why, and the peer that it is."""
        failure = candidate.association.failure if candidate else None
        if failure is None:
            failure = DtlsTimeout(f"no DTLS handshake within {self._timeout:g} s")
        failure.evidence |= self.evidence(candidate) | failure.evidence
        if candidate:
            self._queue(candidate.association.farewell(), candidate.source)
        self.statistics.discarded += len(self._candidates)
        self._candidates.clear()
        self._give_up_at = self._announce_at = self._retry_at = None
        self._remembered = None
        self._failure = failure
        self._failed = True

    def _queue(self, datagrams: list[bytes], destination: Address) -> None:
        self._outgoing += [(each, destination) for each in datagrams]

    def _result(self) -> DtlsResult:
        self.statistics.datagrams_sent += len(self._outgoing)
        result = DtlsResult(
            tuple(self._outgoing),
            self._keys,
            self.source if self._keys else None,
            self._failure,
        )
        self._outgoing.clear()
        self._keys = self._failure = None
        return result
