"""The keys that DTLS gives one stream: of its media port, and of its RTCP port without mux.

Without rtcp-mux each port has an association and keys of its own (RFC 5764 section 4.1).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from callmeter.errors import NegotiationError
from callmeter.media.dtls_session import DtlsSession
from callmeter.sdp.attributes import Setup
from callmeter.srtp.context import SrtpContext
from callmeter.srtp.dtls_endpoint import DtlsTransport, role_for
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

__all__ = ["DtlsKeying"]

Contexts: TypeAlias = "tuple[SrtpContext, SrtpContext]"
Address: TypeAlias = "tuple[str, int]"


class DtlsKeying:
    """One or two DTLS associations and the SRTP contexts that came of them.

    Attributes:
        fingerprint: Of the own certificate, for the session description.
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
        key_log: Is given the secrets of every handshake, for a capture.
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
        key_log: KeyLog | None = None,
    ) -> None:
        self._port = port
        self._certificate = certificate
        self._on_keys, self._on_refused = on_keys, on_refused
        self._suites = suites
        self._symmetric = symmetric
        self._key_log = key_log
        self._peer: tuple[DtlsRole, frozenset[Fingerprint]] | None = None
        self._media = DtlsSession(port, self._transport(), self._on_media_keys, on_refused)
        self._rtcp: DtlsSession | None = None
        self.fingerprint = certificate.fingerprint()
        self.contexts: Contexts | None = None
        self.rtcp_contexts: Contexts | None = None
        self.profile: ProtectionProfile | None = None

    def _transport(self) -> DtlsTransport:
        return DtlsTransport(
            self._certificate,
            suites=self._suites,
            symmetric=self._symmetric,
            key_log=self._key_log,
        )

    @property
    def established(self) -> bool:
        """Whether media has verified keys."""
        return self._media.established

    @property
    def rehandshakes(self) -> int:
        """Verified handshakes of the media port after the first."""
        return self._media.transport.statistics.rehandshakes

    def evidence(self) -> dict[str, Any]:
        """What the handshake of the media port came to so far."""
        return self._media.transport.evidence()

    def answer_to(self, setup: Setup, fingerprints: Sequence[Fingerprint]) -> Setup:
        """The role to answer an offer with.

        An offer that names the peer of the association in use keeps it, and so the roles stay:
        others would ask for a new one (RFC 8842 section 5.3).
        """
        if setup is Setup.ACTPASS and self.established and self._peer is not None:
            role, known = self._peer
            if known == frozenset(fingerprints):
                return Setup.ACTIVE if role == "client" else Setup.PASSIVE
        return setup.answer

    def start(
        self,
        setups: tuple[Setup, Setup],
        fingerprints: Sequence[Fingerprint],
        remote: Address,
        rtcp_remote: Address | None,
    ) -> None:
        """Use what was agreed; the same peer again keeps its associations.

        Args:
            setups: a=setup of this end and of the peer.
            fingerprints: Of the peer.
            remote: Where its media is.
            rtcp_remote: Where its RTCP is, None under mux.

        Raises:
            NegotiationError: The roles leave nobody to start the handshake.
        """
        local, theirs = setups
        role = role_for(local, theirs)
        if role is None:
            raise NegotiationError(f"a=setup:{theirs} gives nobody the DTLS handshake")
        peer = (role, frozenset(fingerprints))
        same = self.established and peer == self._peer
        self._peer = peer
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

    def close(self) -> None:
        """Say close_notify on each port; a second call does nothing."""
        self._media.close()
        self._end_rtcp()

    def _end_rtcp(self) -> None:
        if self._rtcp is not None:
            self._rtcp.close()
        self._rtcp = self.rtcp_contexts = None

    def _on_media_keys(self, keys: DtlsKeys) -> None:
        self.contexts = _contexts(keys)
        self.profile = keys.profile
        self._on_keys()

    def _on_rtcp_keys(self, keys: DtlsKeys) -> None:
        self.rtcp_contexts = _contexts(keys)
        if self.established:
            self._on_keys()


def _contexts(keys: DtlsKeys) -> Contexts:
    return (
        SrtpContext((keys.profile, keys.send, ALL_PROTECTED), "send"),
        SrtpContext((keys.profile, keys.receive, ALL_PROTECTED), "receive"),
    )
