"""MediaKeys: which keys the media of one call has, by a=crypto lines or by DTLS."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

from callmeter.config import SrtpPolicy
from callmeter.errors import (
    LocalProtocolError,
    NegotiationError,
    NoCommonSuite,
    ProfileMismatch,
    SrtpRequired,
)
from callmeter.media.dtls_keying import DtlsKeying
from callmeter.media.sdes_keying import SdesKeying
from callmeter.sdp.attributes import Attribute, Setup
from callmeter.srtp.dtls_certificate import DtlsCertificate
from callmeter.srtp.libsrtp import DOOR

if TYPE_CHECKING:
    from collections.abc import Callable

    from callmeter.config import SrtpConfig
    from callmeter.errors import MediaSecurityError
    from callmeter.media.dtls_session import DatagramPort
    from callmeter.sdp.attributes import CryptoAttribute, Fingerprint
    from callmeter.sdp.remote_track import RemoteTrack
    from callmeter.srtp.context import SrtpContext
    from callmeter.srtp.dtls_certificate import KeyLog
    from callmeter.srtp.sdes import CryptoLine
    from callmeter.srtp.stream_policy import Door

__all__ = ["KeyAttributes", "MediaKeys", "RekeyRoc"]

Address: TypeAlias = "tuple[str, int]"
Contexts: TypeAlias = "tuple[SrtpContext, SrtpContext]"
RekeyRoc: TypeAlias = Literal["reset", "keep"]
"""What becomes of the own rollover counter under a new key."""


@dataclass(frozen=True, slots=True)
class KeyAttributes:
    """What a description of this end says of its keys.

    Attributes:
        crypto: Its a=crypto lines.
        fingerprints: Of its certificate, when it takes DTLS.
        setup: Its role in the handshake, None without DTLS.
        tls_id: Name of its end of the association (RFC 8842), None to say nothing of it.
    """

    crypto: tuple[CryptoAttribute, ...] = ()
    fingerprints: tuple[Fingerprint, ...] = ()
    setup: Setup | None = None
    tls_id: str | None = None

    @property
    def attributes(self) -> tuple[Attribute, ...]:
        """What has no place of its own in a track."""
        return () if self.tls_id is None else (Attribute("tls-id", self.tls_id),)


class OpenPort(Protocol):
    """What opens the media ports of the call, once."""

    def __call__(self, *, rtcp_mux: bool) -> DatagramPort:
        """Return them; under `rtcp_mux` there is a single one."""


class MediaKeys:
    """The keys of one call's audio, offered, chosen and in use.

    Attributes:
        sdes: Those of a=crypto lines.
        dtls: Those of DTLS, None before an own description mentions it.
        send: Context of what leaves, None while it leaves in clear.
        receive: Context of what arrives.
        warnings: What was given up on the way, one sentence each.
        rekeys_sent: New keys this end asked for and the peer agreed to.
        rekeys_received: New keys the peer asked for.

    Args:
        config: Method, policy and suites.
        entropy: Returns so many random octets.
        certificate: Of this end, None where it takes no DTLS.
        symmetric: Whether the peer may come from another address than the signalled one.
        open_port: Gives the ports that carry the handshakes.
        on_keys: Called when DTLS has contexts, or others than before.
        key_log: Is given the secrets of DTLS handshakes, for a capture.
        door: Opens the SRTP sessions.
    """

    def __init__(
        self,
        config: SrtpConfig,
        entropy: Callable[[int], bytes],
        certificate: DtlsCertificate | None,
        *,
        symmetric: bool,
        open_port: OpenPort,
        on_keys: Callable[[], None],
        key_log: KeyLog | None = None,
        door: Door = DOOR,
    ) -> None:
        self._door = door
        self._config = config
        self._entropy = entropy
        self._certificate = certificate
        self._symmetric = symmetric
        self._key_log = key_log
        self._open_port = open_port
        self._on_keys = on_keys
        self._in_clear = False
        self.sdes = SdesKeying(config, entropy, door=door)
        self.dtls: DtlsKeying | None = None
        self.send: SrtpContext | None = None
        self.receive: SrtpContext | None = None
        self.warnings: list[str] = []
        self.rekeys_sent = 0
        self.rekeys_received = 0
        self._rekey: RekeyRoc | None = None
        self._forked = False

    # what is in use

    @property
    def keying(self) -> str:
        """`"none"`, `"sdes"` or `"dtls"`: how the keys in use were exchanged."""
        if self.send is None:
            return "none"
        return "sdes" if self.sdes.in_use else "dtls"

    @property
    def suite(self) -> str | None:
        """Name of the SRTP suite in use, or None for clear media."""
        if self.sdes.local is not None:
            return self.sdes.local.profile.name
        profile = None if self.dtls is None else self.dtls.profile
        return None if profile is None else profile.name

    @property
    def secure(self) -> bool:
        """Whether every media packet of both directions goes through SRTP."""
        return self.send is not None and self.receive is not None

    @property
    def rtcp(self) -> Contexts | None:
        """Contexts of an RTCP port with keys of its own."""
        return self.dtls.rtcp_contexts if self.dtls is not None and self.keying == "dtls" else None

    @property
    def rehandshakes(self) -> int:
        """DTLS handshakes completed after the first."""
        return 0 if self.dtls is None else self.dtls.rehandshakes

    @property
    def pending(self) -> bool:
        """Whether there is DTLS without verified keys."""
        return self.dtls is not None and not self.dtls.established

    def evidence(self) -> dict[str, Any]:
        """What the DTLS handshake came to so far, for errors."""
        return {} if self.dtls is None else self.dtls.evidence()

    @property
    def broken_off(self) -> bool:
        """Whether a DTLS handshake failed so far, or somebody said that it is over."""
        return self.dtls is not None and self.dtls.broken_off

    @property
    def offers_dtls(self) -> bool:
        """Whether this end takes DTLS."""
        srtp = self._config
        return srtp.enabled and srtp.method.offers_dtls and not self._in_clear

    # offers of this end

    def create_offer(self, *, first: bool, rekey: RekeyRoc | None = None) -> KeyAttributes:
        """The keys of an offer.

        Args:
            first: Whether nothing was agreed on before.
            rekey: Asks for new keys, and says what becomes of the rollover counter.

        Raises:
            LocalProtocolError: The peer cannot be asked for new keys.
            TransportError: No media port is free.
        """
        srtp = self._config
        self._rekey = rekey
        if self.sdes.in_use or (
            first and srtp.method.offers_sdes and srtp.enabled and not self._in_clear
        ):
            self.sdes.create_offer(fresh=rekey is not None)
        if rekey is not None and self.keying == "dtls":
            self._renew()
        fingerprints = self._own_fingerprints(rtcp_mux=False)
        return KeyAttributes(
            crypto=tuple(line.to_attribute() for line in self.sdes.offered),
            fingerprints=fingerprints,
            tls_id=self.dtls.tls_id if fingerprints and self.dtls is not None else None,
        )

    def withdraw(self) -> None:
        """The offer came to nothing: the keys in use stay."""
        self._rekey = None
        self._forked = False
        self.sdes.withdraw()
        if self.dtls is not None:
            self.dtls.withdraw()

    def fall_back(self, status: int) -> bool:
        """Give up SRTP for the next offer, if the policy is Offered and keys were offered.

        Args:
            status: The response that refused the offer.
        """
        offered = bool(self.sdes.offered) or self.offers_dtls
        if self._config.policy is not SrtpPolicy.OFFERED or not offered:
            return False
        self.sdes.offered = ()
        self._in_clear = True
        self._warn(f"the peer refused SRTP with {status}: the media is not encrypted")
        return True

    def follow(self, other: MediaKeys) -> None:
        """Give up SRTP if another track of the call has."""
        self._in_clear = self._in_clear or other._in_clear

    def expect_fork(self) -> None:
        """The next answer may be of another peer: what was agreed with the one before is not."""
        self._forked = True

    def accept_answer(self, track: RemoteTrack) -> None:
        """Use the keys of an answer, or of DTLS once `start` has them.

        Raises:
            NegotiationError: The answer has none that may be used.
            MediaSecurityError: Its keys are not usable.
        """
        srtp = self._config
        if not self.sdes.offered and not self.offers_dtls:
            return
        if track.keying.dtls:
            self.sdes.offered = ()
            self._note_agreed()
            return
        if not track.keying.sdes:
            if srtp.policy is SrtpPolicy.REQUIRED:
                raise SrtpRequired(
                    f"the answer has no {self._wanted}, and the SRTP policy is Required"
                )
            if self.secure:
                raise SrtpRequired("the answer drops the encryption that was agreed before")
            self._warn("the peer answered without SRTP: the media is not encrypted")
            return
        self.sdes.accept_answer(track.crypto, roc_continues=self._rekey == "keep")
        self._note_agreed()
        self._use_sdes()

    def _note_agreed(self) -> None:
        self.rekeys_sent += self._rekey is not None
        self._rekey = None

    # offers of the peer

    def accept_offer(self, track: RemoteTrack, *, rtcp_mux: bool, moved: bool) -> KeyAttributes:
        """Choose keys of an offer; returns what the answer says of them.

        Args:
            track: What the peer offers.
            rtcp_mux: Whether RTP and RTCP share a port.
            moved: Whether its media is elsewhere than before.

        Raises:
            NegotiationError: The offer has none that may be used.
            MediaSecurityError: Its keys are not usable.
            TransportError: No media port is free.
        """
        if track.keying.dtls and self.offers_dtls and not self.sdes.in_use:
            setup = self._answered_setup(track)
            fingerprints = self._own_fingerprints(rtcp_mux=rtcp_mux)
            told = None if self.dtls is None or track.tls_id is None else self.dtls.tls_id
            return KeyAttributes(fingerprints=fingerprints, setup=setup, tls_id=told)
        chosen = self._choose_sdes(track, moved=moved)
        return KeyAttributes(crypto=() if chosen is None else (chosen.to_attribute(),))

    def _choose_sdes(self, track: RemoteTrack, *, moved: bool) -> CryptoLine | None:
        srtp = self._config
        insists = track.profile is not None and track.profile.secure
        if not srtp.enabled:
            if insists:
                raise ProfileMismatch(
                    f"the offer insists on SRTP ({track.protocol}), and the SRTP policy is Disabled"
                )
            return None
        if not track.crypto or not srtp.method.offers_sdes:
            if srtp.policy is SrtpPolicy.REQUIRED:
                raise SrtpRequired(
                    f"the offer has no {self._wanted}, and the SRTP policy is Required"
                )
            if insists:
                raise NoCommonSuite(
                    f"the offer insists on SRTP ({track.protocol}) without a usable key",
                    supported=srtp.suites,
                )
            if self.secure:
                raise SrtpRequired("the offer drops the encryption that was agreed before")
            self._warn("the peer offered no SRTP: the media is not encrypted")
            return None
        try:
            known = self.sdes.receive
            local = self.sdes.accept_offer(track.crypto, moved=moved)
            self.rekeys_received += known is not None and self.sdes.receive is not known
        except NoCommonSuite:
            if insists or srtp.policy is SrtpPolicy.REQUIRED or self.secure:
                raise
            self._warn("no SRTP suite in common: the media is not encrypted")
            return None
        self._use_sdes()
        return local

    def _use_sdes(self) -> None:
        self.send, self.receive = self.sdes.send, self.sdes.receive

    @property
    def _wanted(self) -> str:
        method = self._config.method
        names = ["a=crypto line"] * method.offers_sdes + ["a=fingerprint"] * method.offers_dtls
        return " nor ".join(names)

    # DTLS

    def _own_fingerprints(self, *, rtcp_mux: bool) -> tuple[Fingerprint, ...]:
        wanted = self.offers_dtls and not self.sdes.in_use
        if not wanted or self._certificate is None:
            return ()
        if self.dtls is None:
            # Before the description leaves: the peer's ClientHello may overtake its answer.
            self.dtls = DtlsKeying(
                self._open_port(rtcp_mux=rtcp_mux),
                self._certificate,
                self._on_dtls_keys,
                self._on_refused,
                suites=self._config.suites,
                symmetric=self._symmetric,
                entropy=self._entropy,
                timeout=self._config.dtls.handshake_timeout,
                renegotiation=self._config.dtls.renegotiation,
                key_log=self._key_log,
                door=self._door,
            )
        return (self.dtls.fingerprint,)

    def _renew(self) -> None:
        """Let the next offer ask for a new association."""
        dtls, settings = self.dtls, self._config.dtls
        if dtls is None or self._certificate is None:
            return
        if settings.certificate is None:
            dtls.renew(DtlsCertificate.of(settings, datetime.now(tz=UTC)))
        elif dtls.names_associations:
            dtls.renew(self._certificate)
        else:
            raise LocalProtocolError(
                "the peer knows no a=tls-id, and with a certificate that is configured nothing "
                "else tells it of new keys"
            )

    def _answered_setup(self, track: RemoteTrack) -> Setup:
        offered = track.setup or Setup.ACTIVE
        answer = offered.answer
        if self.dtls is not None:
            before = self.dtls.tls_id
            answer = self.dtls.answer_to(offered, track.fingerprints, track.tls_id)
            self.rekeys_received += self.dtls.tls_id != before
        if answer is Setup.HOLDCONN:
            raise NegotiationError("a=setup:holdconn gives nobody the DTLS handshake")
        return answer

    def start(
        self,
        track: RemoteTrack,
        setup: Setup | None,
        *,
        remote: Address,
        rtcp_remote: Address | None,
    ) -> bool:
        """Start the handshake if DTLS was agreed on; False when media has to wait for it.

        Args:
            track: What the peer agreed to.
            setup: Role of this end, None without DTLS.
            remote: Where the peer's media is.
            rtcp_remote: Where its RTCP is, None under mux.

        Raises:
            NegotiationError: The roles leave nobody to start the handshake.
        """
        dtls, forked = self.dtls, self._forked
        self._forked = False
        if setup is None or dtls is None or not track.keying.dtls:
            self._drop_dtls()
            return True
        before = dtls.contexts
        dtls.start(
            (setup, track.setup or Setup.PASSIVE),
            track.fingerprints,
            remote,
            rtcp_remote if rtcp_remote is not None and rtcp_remote[1] else None,
            tls_id=track.tls_id,
            forked=forked,
        )
        # The keys in use stay good until a new association has others.
        return before is not None and dtls.contexts is before

    async def wait(self) -> None:
        """Wait until media may flow: at once, or after the DTLS handshake.

        Raises:
            MediaSecurityError: `DtlsTimeout`, `FingerprintMismatch`, `DtlsHandshakeFailed`.
        """
        if self.dtls is not None:
            await self.dtls.wait()

    async def renewed(self) -> None:
        """Wait for the keys of a new DTLS association, if one is under way.

        Raises:
            MediaSecurityError: Its handshake failed; the keys before it stay in use.
        """
        if self.dtls is not None:
            await self.dtls.renewed()

    @property
    def renewing(self) -> bool:
        """Whether a DTLS handshake for other keys than those in use is under way."""
        return self.dtls is not None and self.dtls.renewing

    def close(self, *, running: bool) -> None:
        """Say close_notify and free the keys that no running stream has.

        Args:
            running: Whether a stream was started: it closes the contexts it was given.
        """
        if self.dtls is not None:
            self.dtls.close()
        if not running:
            for context in (self.send, self.receive):
                if context is not None:
                    context.close()

    def _on_dtls_keys(self) -> None:
        # A handshake that ends after the peer has changed to SDES keys nothing.
        if self.dtls is not None and self.dtls.contexts is not None and not self.sdes.in_use:
            self.send, self.receive = self.dtls.contexts
            self._on_keys()

    def _on_refused(self, error: MediaSecurityError) -> None:
        self._warn(f"a new DTLS handshake failed, the keys before it stay in use: {error}")

    def _drop_dtls(self) -> None:
        if self.dtls is not None and not self.dtls.established:
            self.dtls.close()
            self.dtls = None

    def _warn(self, text: str) -> None:
        if text not in self.warnings:
            self.warnings.append(text)
