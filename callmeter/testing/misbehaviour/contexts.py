"""SRTP contexts that do what was not agreed on."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from callmeter.config import SrtpSuite
from callmeter.errors import ConfigurationError
from callmeter.srtp.context import SrtpContext
from callmeter.srtp.protection_profiles import for_suite
from callmeter.srtp.sdes import CryptoLine, MasterKey, generate
from callmeter.testing.misbehaviour.kinds import Misbehaviour

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ClearRtcp", "RestartingContext", "wrong_context"]

MKI = 1
MKI_LENGTH = 4


class ClearRtcp(SrtpContext):
    """Leaves RTCP as it is."""

    def protect_rtcp(self, rtcp: bytes) -> bytes | None:
        """Return the compound packet unprotected."""
        return rtcp


class RestartingContext(SrtpContext):
    """Counts rollovers from 0 again each time the sequence numbers wrap.

    Args:
        line: The keys.

    Attributes:
        note: Called each time, or None.
    """

    __slots__ = ("_current", "_last", "note")

    def __init__(self, line: CryptoLine) -> None:
        super().__init__(line, "send")
        self._current = SrtpContext(line, "send")
        self._last = -1
        self.note: Callable[[], None] | None = None

    @property
    def handle(self) -> Any:
        """None: packets are protected one by one, so that a wrap is seen."""
        return None

    def protect(self, rtp: bytes) -> bytes | None:
        """Protect an RTP packet, after a wrap with a counter of 0."""
        sequence = int.from_bytes(rtp[2:4], "big")
        if sequence < self._last:
            self._current.close()
            self._current = SrtpContext(self.line, "send")
            if self.note is not None:
                self.note()
        self._last = sequence
        return self._current.protect(rtp)

    def close(self) -> None:
        """Free both sessions."""
        self._current.close()
        super().close()


def wrong_context(
    kind: Misbehaviour,
    agreed: SrtpContext | None,
    ssrc: int,
    entropy: Callable[[int], bytes],
) -> SrtpContext | None:
    """What to send with in place of what was agreed on.

    Args:
        kind: What to do wrong.
        agreed: The context that would be right, None for plain media.
        ssrc: Of the stream that is sent.
        entropy: Gives so many random octets.

    Raises:
        ConfigurationError: The suite that was agreed on leaves nothing to do wrong.
    """
    if kind is Misbehaviour.SECURE_MEDIA and agreed is None:
        profile = for_suite(SrtpSuite.AES_CM_128_HMAC_SHA1_80)
        return SrtpContext(generate(profile, 1, entropy), "send")
    if agreed is None or kind is Misbehaviour.PLAIN_MEDIA:
        return None
    line = agreed.line
    match kind:
        case Misbehaviour.OTHER_TAG_LENGTH:
            other = line.profile.other_tag_length
            if other is None:
                raise ConfigurationError(f"{line.profile.name} has one tag length alone")
            return SrtpContext(replace(line, profile=other), "send")
        case Misbehaviour.OTHER_SRTCP_ENCRYPTION:
            clear = line.parameters.unencrypted_srtcp
            parameters = replace(line.parameters, unencrypted_srtcp=not clear)
            return SrtpContext(replace(line, parameters=parameters), "send")
        case Misbehaviour.SHORT_SRTCP_TAGS:
            short = replace(line.profile, rtcp_tag_length=line.profile.rtp_tag_length)
            return SrtpContext(replace(line, profile=short), "send")
        case Misbehaviour.UNANNOUNCED_MKI:
            key = MasterKey(line.keys[0].key_and_salt, mki=MKI, mki_length=MKI_LENGTH)
            return SrtpContext(replace(line, keys=(key,)), "send")
        case Misbehaviour.RESET_ROC:
            return RestartingContext(line)
        case Misbehaviour.KEPT_ROC:
            context = SrtpContext(line, "send")
            if not context.set_roc(ssrc, 1):
                raise ConfigurationError("this build of libsrtp cannot set a rollover counter")
            return context
        case _:
            return agreed
