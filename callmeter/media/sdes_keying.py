"""The keys of a=crypto lines for one stream, and the SRTP contexts made of them (RFC 4568)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from callmeter.srtp.context import SrtpContext
from callmeter.srtp.libsrtp import DOOR
from callmeter.srtp.sdes import SessionParameters, accept_answer, accept_offer, generate, offer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from callmeter.config import SrtpConfig
    from callmeter.sdp.attributes import CryptoAttribute
    from callmeter.srtp.sdes import CryptoLine
    from callmeter.srtp.stream_policy import Door

__all__ = ["SdesKeying"]


class SdesKeying:
    """What was offered, what is in use.

    Attributes:
        offered: Lines of the last offer of this end, empty when none has keys.
        local: The own line in use, None before there is one.
        remote: The peer's line in use.
        send: Context of the own line.
        receive: Context of the peer's line.

    Args:
        config: Suites and session parameters.
        entropy: Returns so many random octets.
        door: Opens the sessions.
    """

    def __init__(
        self, config: SrtpConfig, entropy: Callable[[int], bytes], *, door: Door = DOOR
    ) -> None:
        self._config = config
        self._entropy = entropy
        self._door = door
        self.offered: tuple[CryptoLine, ...] = ()
        self.local: CryptoLine | None = None
        self.remote: CryptoLine | None = None
        self.send: SrtpContext | None = None
        self.receive: SrtpContext | None = None

    @property
    def in_use(self) -> bool:
        """Whether media is keyed by these lines."""
        return self.local is not None

    @property
    def _parameters(self) -> SessionParameters:
        return SessionParameters(unencrypted_srtcp=self._config.unencrypted_srtcp)

    def create_offer(self, *, fresh: bool = False) -> None:
        """Make the lines of an offer.

        A refresh names only the suite in use, with the same key: a new one would reset the
        peer's context (RFC 4568 section 7.1.4), and other suites look like a new session.

        Args:
            fresh: Whether a new key takes the place of the one in use.
        """
        local = self.local
        if local is None:
            self.offered = offer(self._config.suites, self._entropy, parameters=self._parameters)
        elif fresh:
            self.offered = (
                generate(
                    local.profile, local.tag, self._entropy, parameters=local.parameters.negotiated
                ),
            )
        else:
            self.offered = (local,)

    def withdraw(self) -> None:
        """The offer came to nothing: the keys in use stay."""
        self.offered = ()

    def accept_answer(self, crypto: Sequence[CryptoAttribute], *, roc_continues: bool) -> None:
        """Use what the answer chose.

        Args:
            crypto: The a=crypto lines of the answer.
            roc_continues: Whether a new key carries on the rollover counter of the old one.

        Raises:
            NoCommonSuite: No line can be used.
            SdesKeyError: The answer sends back a key of the offer.
            MediaSecurityError: No context can be made of a line.
        """
        self._use(*accept_answer(self.offered, crypto), roc_continues=roc_continues)
        self.offered = ()

    def accept_offer(self, crypto: Sequence[CryptoAttribute], *, moved: bool) -> CryptoLine:
        """Use one of the lines offered; returns the own one for the answer.

        Args:
            crypto: The a=crypto lines of the offer.
            moved: Whether the peer's media is elsewhere now: who is there may not know how far
                the rollover counter of the own key has come, so there is a new one
                (RFC 4568 section 7.1.4).

        Raises:
            NoCommonSuite: No line can be used.
            SdesKeyError: A key is broken.
            MediaSecurityError: No context can be made of a line.
        """
        current = None
        if self.local is not None and self.remote is not None and not moved:
            current = self.local, self.remote
        local, remote = accept_offer(
            crypto, self._config.suites, self._entropy, allowed=self._parameters, current=current
        )
        self._use(local, remote)
        return local

    def _use(self, local: CryptoLine, remote: CryptoLine, *, roc_continues: bool = False) -> None:
        # A key that is repeated keeps its context, and with it the rollover counter: libsrtp
        # would start again at 0 (RFC 3711 section 3.3.1). Nothing changes unless both can be made.
        send, receive = self.send, self.receive
        if send is None or not _same_keys(self.local, local):
            send = SrtpContext(local, "send", door=self._door)
            send.continues = roc_continues
        if not _same_keys(self.remote, remote):
            receive = SrtpContext(remote, "receive", door=self._door)
        self.send, self.receive = send, receive
        self.local, self.remote = local, remote


def _same_keys(known: CryptoLine | None, line: CryptoLine) -> bool:
    return known is not None and (known.profile, known.keys, known.parameters) == (
        line.profile,
        line.keys,
        line.parameters,
    )
