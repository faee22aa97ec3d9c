"""The keys that DTLS gives one stream: of its media port, and of its RTCP port without mux.

Without rtcp-mux each port has an association and keys of its own (RFC 5764 section 4.1).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeAlias

from callmeter.errors import NegotiationError
from callmeter.media.dtls_session import DtlsSession
from callmeter.sdp.attributes import Setup
from callmeter.srtp.context import SrtpContext
from callmeter.srtp.dtls import DEFAULT_TIMEOUT
from callmeter.srtp.dtls_endpoint import DtlsTransport, role_for
from callmeter.srtp.libsrtp import DOOR
from callmeter.srtp.sdes import ALL_PROTECTED

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from callmeter.config import SrtpSuite
    from callmeter.errors import MediaSecurityError
    from callmeter.media.dtls_session import DatagramPort
    from callmeter.sdp.attributes import Fingerprint
    from callmeter.srtp.dtls import DtlsKeys, DtlsRole
    from callmeter.srtp.dtls_certificate import DtlsCertificate, KeyLog
    from callmeter.srtp.protection_profiles import ProtectionProfile
    from callmeter.srtp.stream_policy import Door

__all__ = ["DtlsKeying"]

Contexts: TypeAlias = "tuple[SrtpContext, SrtpContext]"
Address: TypeAlias = "tuple[str, int]"
_Peer: TypeAlias = "tuple[DtlsRole, frozenset[Fingerprint], str | None, str]"
"""What makes an association: own role, the peer's fingerprints and a=tls-id, the own a=tls-id."""
_ID_OCTETS: Final = 20
"""RFC 8842 section 4: at least 120 bits of entropy."""


class DtlsKeying:
    """One or two DTLS associations and the SRTP contexts that came of them.

    Attributes:
        tls_id: Name of the own end of the association (RFC 8842 section 4).
        contexts: To send and to receive, None before the first verified handshake.
        rtcp_contexts: The same for RTCP on a port of its own, None under mux.
        profile: Protection profile agreed on for media.

    Args:
        port: Which carries the handshakes, from now on.
        certificate: Of this end.
        on_keys: Called when there are contexts for media, or others than before.
        on_refused: Called when a handshake after the first failed: its keys stay in use.
        suites: SRTP suites in order of preference.
        symmetric: Whether the peer may come from another address than the signalled one.
        entropy: Returns so many random octets.
        timeout: Seconds a handshake may take.
        renegotiation: Whether the peer may renegotiate.
        key_log: Is given the secrets of every handshake, for a capture.
        door: Opens the SRTP sessions.
    """

    def __init__(
        self,
        port: DatagramPort,
        certificate: DtlsCertificate,
        on_keys: Callable[[], None],
        on_refused: Callable[[MediaSecurityError], None],
        *,
        suites: Sequence[SrtpSuite],
        symmetric: bool,
        entropy: Callable[[int], bytes],
        timeout: float = DEFAULT_TIMEOUT,
        renegotiation: bool = False,
        key_log: KeyLog | None = None,
        door: Door = DOOR,
    ) -> None:
        self._door = door
        self._port = port
        self._certificate = certificate
        self._on_keys, self._on_refused = on_keys, on_refused
        self._suites = suites
        self._symmetric = symmetric
        self._key_log = key_log
        self._entropy = entropy
        self._timeout = timeout
        self._renegotiation = renegotiation
        self._peer: _Peer | None = None
        self._before: tuple[DtlsCertificate, str] | None = None
        self._media = DtlsSession(port, self._transport(), self._on_media_keys, on_refused)
        self._rtcp: DtlsSession | None = None
        self.tls_id = self._new_id()
        self.contexts: Contexts | None = None
        self.rtcp_contexts: Contexts | None = None
        self.profile: ProtectionProfile | None = None

    def _transport(self) -> DtlsTransport:
        return DtlsTransport(
            self._certificate,
            suites=self._suites,
            symmetric=self._symmetric,
            timeout=self._timeout,
            renegotiation=self._renegotiation,
            key_log=self._key_log,
        )

    @property
    def established(self) -> bool:
        """Whether media has verified keys."""
        return self._media.established

    @property
    def broken_off(self) -> bool:
        """Whether a handshake of media failed so far, or somebody said that it is over."""
        return self._media.transport.broken_off

    @property
    def rehandshakes(self) -> int:
        """Verified handshakes of the media port after the first."""
        return self._media.transport.statistics.rehandshakes

    def evidence(self) -> dict[str, Any]:
        """What the handshake of the media port came to so far."""
        return self._media.transport.evidence()

    @property
    def fingerprint(self) -> Fingerprint:
        """Of the own certificate, for the session description."""
        return self._certificate.fingerprint()

    @property
    def renewing(self) -> bool:
        """Whether a handshake for other keys than those in use is under way."""
        return self._media.renewing

    @property
    def names_associations(self) -> bool:
        """Whether the peer knows a=tls-id, and so may be asked for another association by it."""
        return self._peer is not None and self._peer[2] is not None

    def _new_id(self) -> str:
        return self._entropy(_ID_OCTETS).hex()

    def renew(self, certificate: DtlsCertificate) -> None:
        """Ask for a new association in the next description of this end.

        Args:
            certificate: Of this end from now on. A new one makes peers that do not know a=tls-id
                begin anew too (RFC 5763 section 6.6).
        """
        if self._before is None:
            self._before = self._certificate, self.tls_id
        self._certificate, self.tls_id = certificate, self._new_id()
        for session in self._sessions():
            session.transport.renew(certificate)

    def withdraw(self) -> None:
        """The description of `renew` was refused: all is as it was."""
        if self._before is not None:
            self._certificate, self.tls_id = self._before
            self._before = None
            for session in self._sessions():
                session.transport.withdraw()

    def _sessions(self) -> list[DtlsSession]:
        return [self._media] if self._rtcp is None else [self._media, self._rtcp]

    def answer_to(
        self, setup: Setup, fingerprints: Sequence[Fingerprint], tls_id: str | None
    ) -> Setup:
        """The role to answer an offer with.

        An offer that names the peer of the association in use keeps it, and so the roles stay:
        others would ask for a new one (RFC 8842 section 5.3). A new one has a new name.
        """
        if self._peer is not None and not self._media.failed:
            role, known, known_id, _ = self._peer
            own = Setup.ACTIVE if role == "client" else Setup.PASSIVE
            same = known == frozenset(fingerprints) and _same_id(known_id, tls_id)
            if same and setup is Setup.ACTPASS:
                return own
            if not same or setup.answer is not own:
                self.tls_id = self._new_id()
        return setup.answer

    def start(
        self,
        setups: tuple[Setup, Setup],
        fingerprints: Sequence[Fingerprint],
        remote: Address,
        rtcp_remote: Address | None,
        *,
        tls_id: str | None = None,
        forked: bool = False,
    ) -> None:
        """Use what was agreed; the same peer again keeps its associations.

        Args:
            setups: a=setup of this end and of the peer.
            fingerprints: Of the peer.
            remote: Where its media is.
            rtcp_remote: Where its RTCP is, None under mux.
            tls_id: Of the peer, None when it knows no such thing.
            forked: Whether the peer may be another one that answers the same offer: no keys of
                the one before are used for it.

        Raises:
            NegotiationError: The roles leave nobody to start the handshake.
        """
        local, theirs = setups
        role = role_for(local, theirs)
        if role is None:
            raise NegotiationError(f"a=setup:{theirs} gives nobody the DTLS handshake")
        peer = (role, frozenset(fingerprints), tls_id, self.tls_id)
        # Nor does a handshake that is still under way begin anew.
        known = None if self._media.failed else self._peer
        same = known is not None and _same_peer(known, peer)
        if forked and not same:
            for session in self._sessions():
                session.forget_peer()
            self.contexts = self.rtcp_contexts = self.profile = None
        self._peer, self._before = peer, None
        if rtcp_remote is None:
            self._end_rtcp()
        elif same and self._rtcp is not None:
            self._rtcp.transport.remote = rtcp_remote
        else:
            if self._rtcp is None:
                self._rtcp = DtlsSession(
                    self._port,
                    self._transport(),
                    self._on_rtcp_keys,
                    self._on_refused,
                    rtcp=True,
                )
            self._rtcp.start(role, fingerprints, rtcp_remote)
        if same:
            self._media.transport.remote = remote
        else:
            self._media.start(role, fingerprints, remote)

    async def wait(self) -> None:
        """Wait for the keys of media.

        Raises:
            MediaSecurityError: The handshake failed: `DtlsTimeout`, `FingerprintMismatch` ...
        """
        await self._media.wait()

    async def renewed(self) -> None:
        """Wait for the keys of a new association of media, if one is under way.

        Raises:
            MediaSecurityError: Its handshake failed; the keys before it stay in use.
        """
        await self._media.renewed()

    def close(self) -> None:
        """Say close_notify on each port; a second call does nothing."""
        self._media.close()
        self._end_rtcp()

    def _end_rtcp(self) -> None:
        if self._rtcp is not None:
            self._rtcp.close()
        self._rtcp = self.rtcp_contexts = None

    def _on_media_keys(self, keys: DtlsKeys) -> None:
        self.contexts = _contexts(keys, self._door)
        self.profile = keys.profile
        self._on_keys()

    def _on_rtcp_keys(self, keys: DtlsKeys) -> None:
        self.rtcp_contexts = _contexts(keys, self._door)
        if self.established:
            self._on_keys()


def _same_peer(known: _Peer, peer: _Peer) -> bool:
    return (known[:2], known[3]) == (peer[:2], peer[3]) and _same_id(known[2], peer[2])


def _same_id(known: str | None, tls_id: str | None) -> bool:
    """A description without a=tls-id says nothing of it."""
    return known is None or tls_id is None or known == tls_id


def _contexts(keys: DtlsKeys, door: Door) -> Contexts:
    return (
        SrtpContext((keys.profile, keys.send, ALL_PROTECTED), "send", door=door),
        SrtpContext((keys.profile, keys.receive, ALL_PROTECTED), "receive", door=door),
    )
