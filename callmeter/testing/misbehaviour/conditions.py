"""What has to be configured so that a misbehaviour can happen at all."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from callmeter.config import SrtpPolicy, SrtpSuite
from callmeter.errors import ConfigurationError
from callmeter.srtp.protection_profiles import for_suite
from callmeter.testing.misbehaviour.kinds import SUITE_SPELLING, Misbehaviour

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from callmeter.config import SrtpConfig
    from callmeter.srtp.protection_profiles import ProtectionProfile

__all__ = ["amount_of", "check_conditions"]

FLIGHTS: Final = (1, 2)
"""Flights of its own that each end of a DTLS handshake has (RFC 6347 section 4.2.4)."""

OF_SDES: Final = frozenset(
    {
        Misbehaviour.ALTERED_KEY,
        Misbehaviour.TRUNCATED_KEY,
        Misbehaviour.UNPADDED_KEY,
        Misbehaviour.MISSPELT_SUITE,
        Misbehaviour.MISSING_MKI,
        Misbehaviour.EXPIRED_LIFETIME,
    }
)
"""They are about a=crypto lines."""
OF_DTLS: Final = frozenset(
    {
        Misbehaviour.WRONG_FINGERPRINT,
        Misbehaviour.MISSING_FINGERPRINT,
        Misbehaviour.BOTH_ACTIVE,
        Misbehaviour.BOTH_PASSIVE,
        Misbehaviour.DROPPED_FLIGHT,
        Misbehaviour.LATE_HANDSHAKE,
    }
)
"""They are about a=fingerprint, a=setup or the handshake."""
OF_SRTP: Final = frozenset(
    {
        Misbehaviour.OTHER_TAG_LENGTH,
        Misbehaviour.PLAIN_MEDIA,
        Misbehaviour.CLEAR_SRTCP,
        Misbehaviour.OTHER_SRTCP_ENCRYPTION,
        Misbehaviour.SHORT_SRTCP_TAGS,
        Misbehaviour.IGNORED_REKEY,
        Misbehaviour.RESET_ROC,
        Misbehaviour.KEPT_ROC,
        Misbehaviour.UNANNOUNCED_MKI,
    }
)
"""They are about packets under keys of either method."""
OF_SUITES: Final[Mapping[Misbehaviour, tuple[str, Callable[[ProtectionProfile], bool]]]] = {
    Misbehaviour.UNPADDED_KEY: (
        "whose inline keys are padded",
        lambda profile: profile.master_length % 3 != 0,
    ),
    Misbehaviour.MISSPELT_SUITE: (
        "that is misspelt so",
        lambda profile: profile.name == SUITE_SPELLING[0],
    ),
    Misbehaviour.OTHER_TAG_LENGTH: (
        "with another tag length",
        lambda profile: profile.other_tag_length is not None,
    ),
    Misbehaviour.SHORT_SRTCP_TAGS: (
        "with a shorter tag of RTP than of RTCP",
        lambda profile: profile.rtp_tag_length < profile.rtcp_tag_length,
    ),
}
"""Which suites leave them something to do wrong, in words and as a question."""


def check_conditions(kind: Misbehaviour, srtp: SrtpConfig) -> None:
    """Refuse what could not happen in any call, and would make a test pass that tests nothing.

    Args:
        kind: What is to be done wrong.
        srtp: The keying of the endpoint.

    Raises:
        ConfigurationError: It cannot happen with this keying.
    """
    method = srtp.method.name
    if kind is Misbehaviour.SECURE_MEDIA and srtp.policy is SrtpPolicy.REQUIRED:
        raise _impossible(kind, "clear media", "the SRTP policy is REQUIRED")
    if kind not in OF_SDES | OF_DTLS | OF_SRTP:
        return
    if not srtp.enabled:
        raise _impossible(kind, "SRTP", "the SRTP policy is DISABLED")
    if kind in OF_SDES and not srtp.method.offers_sdes:
        raise _impossible(kind, "the SRTP method SDES or DUAL", f"the SRTP method is {method}")
    if kind in OF_DTLS and not srtp.method.offers_dtls:
        raise _impossible(kind, "the SRTP method DTLS or DUAL", f"the SRTP method is {method}")
    words, leaves_room = OF_SUITES.get(kind, ("", None))
    if leaves_room is not None and not any(leaves_room(for_suite(each)) for each in srtp.suites):
        fitting = ", ".join(suite for suite in SrtpSuite if leaves_room(for_suite(suite)))
        given = ", ".join(srtp.suites)
        raise _impossible(kind, f"a suite {words} ({fitting})", f"the suites are {given}")


def amount_of(kind: Misbehaviour, amount: object) -> float:
    """How much is done wrong: what was asked for, or the usual amount.

    Args:
        kind: What is to be done wrong.
        amount: How much of it, None for the usual amount.

    Raises:
        ConfigurationError: It has no measure, or none like this.
    """
    if amount is None:
        return kind.amount
    if not kind.amount:
        raise ConfigurationError(f"{kind.name} has no amount: it {kind.does}")
    if isinstance(amount, bool) or not isinstance(amount, int | float) or not math.isfinite(amount):
        raise ConfigurationError(f"amount of {kind.name} is a number, not {amount!r}")
    if kind is Misbehaviour.DROPPED_FLIGHT and amount not in FLIGHTS:
        raise ConfigurationError(f"amount of {kind.name} is the flight 1 or 2, not {amount:g}")
    if kind is Misbehaviour.CONTENT_LENGTH:
        if not int(amount):
            raise ConfigurationError(f"amount of {kind.name} is other than 0")
    elif amount <= 0 or (kind is not Misbehaviour.LATE_HANDSHAKE and amount < 1):
        raise ConfigurationError(f"amount of {kind.name} is more than 0, not {amount:g}")
    return amount


def _impossible(kind: Misbehaviour, needed: str, found: str) -> ConfigurationError:
    return ConfigurationError(f"{kind.name} needs {needed}, and {found}: it would never happen")
