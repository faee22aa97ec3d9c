"""Which calls a parametrised test makes: transport x keying x suite x profile x policy."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any, Final

from callmeter.config import SrtpMethod, SrtpPolicy, SrtpSuite, Transport
from callmeter.errors import ConfigurationError
from callmeter.setting_words import member, unknown
from callmeter.testing.endpoint_settings import CLEAR, PROFILES

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pytest

__all__ = ["CallCase", "call_cases", "callmeter_matrix"]

DTLS_SUITES: Final = frozenset(
    {
        SrtpSuite.AES_CM_128_HMAC_SHA1_80,
        SrtpSuite.AES_CM_128_HMAC_SHA1_32,
        SrtpSuite.AEAD_AES_128_GCM,
        SrtpSuite.AEAD_AES_256_GCM,
    }
)
"""Those with a DTLS-SRTP protection profile (RFC 5764 section 4.1.2, RFC 7714 section 14.2)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallCase:
    """One combination; None leaves a setting to its default.

    Attributes:
        transport: How both ends reach the registrar.
        keying: How SRTP keys are exchanged; `"none"` is clear media.
        suite: The one suite that is offered and taken.
        profile: `"avp"`, `"avpf"` or `"osrtp"`; the keys make RTP/SAVP or UDP/TLS/RTP/SAVP of it.
        policy: Whether encryption is compulsory.
    """

    transport: str | None = None
    keying: str | None = None
    suite: SrtpSuite | None = None
    profile: str | None = None
    policy: str | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """What `endpoint` takes."""
        given = {
            "transport": self.transport,
            "srtp": self.keying,
            "suite": self.suite,
            "profile": self.profile,
            "policy": self.policy,
        }
        return {name: value for name, value in given.items() if value is not None}

    @property
    def legal(self) -> bool:
        """Whether any call can be like this; see `callmeter_matrix` for the rules."""
        if self.keying is None:
            return self.policy is None or self.policy == "disabled"
        if self.keying == "none":
            return self.suite is None and self.profile != "osrtp" and self.policy in NO_KEYS
        by_dtls = self.keying in {"dtls", "dual"}
        if by_dtls and self.suite is not None and self.suite not in DTLS_SUITES:
            return False
        if self.profile == "osrtp" and self.policy == "required":
            return False
        return self.policy != "disabled"

    def __str__(self) -> str:
        parts = (self.transport, self.keying, self.suite, self.profile, self.policy)
        return "-".join(str(part) for part in parts if part is not None)


NO_KEYS: Final = frozenset({None, "disabled"})


def call_cases(
    *,
    transport: Iterable[Any] | None = None,
    keying: Iterable[Any] | None = None,
    suite: Iterable[Any] | None = None,
    profile: Iterable[Any] | None = None,
    policy: Iterable[Any] | None = None,
) -> list[CallCase]:
    """The legal combinations, in the order of the axes; see `callmeter_matrix`."""
    if keying is None and (suite is not None or policy is not None):
        keying = ("sdes",)
    axes = (
        _axis(transport, lambda each: member(Transport, "transport", each).value),
        _axis(keying, _keying),
        _axis(suite, lambda each: member(SrtpSuite, "suite", each)),
        _axis(profile, _profile),
        _axis(policy, lambda each: member(SrtpPolicy, "policy", each).value),
    )
    # Clear media has no suite: one case stands for all of them.
    cases = dict.fromkeys(
        CallCase(
            transport=by,
            keying=keys,
            suite=None if keys == "none" else which,
            profile=form,
            policy="disabled" if keys == "none" and rule is not None else rule,
        )
        for by, keys, which, form, rule in product(*axes)
    )
    return [each for each in cases if each.legal]


def callmeter_matrix(
    *,
    transport: Iterable[Any] | None = None,
    keying: Iterable[Any] | None = None,
    suite: Iterable[Any] | None = None,
    profile: Iterable[Any] | None = None,
    policy: Iterable[Any] | None = None,
) -> pytest.MarkDecorator:
    """Run a test with every combination of these settings that a call can have.

    `endpoint` and `call` take the settings by themselves; a test that wants to know them asks for
    `case`. The identifiers read `tls-sdes-AES_CM_128_HMAC_SHA1_80-avpf-required`.

    Left out are: clear media with a suite or a policy (it appears once, with neither); keys with
    the policy `disabled`; a suite that DTLS has no protection profile for, with `dtls` and
    `dual`; opportunistic SRTP (`osrtp`) with the policy `required` or without keys.

    Args:
        transport: `"udp"`, `"tcp"`, `"tls"`, `"wss"`.
        keying: `"none"`, `"sdes"`, `"dtls"`, `"dual"`; a suite or policy alone means `"sdes"`.
        suite: Suites by name.
        profile: `"avp"`, `"avpf"`, `"osrtp"`.
        policy: `"offered"`, `"required"`; keys without a policy are required.

    Raises:
        ConfigurationError: A value that does not exist, or no combination is left.
    """
    import pytest  # noqa: PLC0415  only whoever writes tests has it

    __tracebackhide__ = True
    try:
        cases = call_cases(
            transport=transport, keying=keying, suite=suite, profile=profile, policy=policy
        )
    except ConfigurationError as error:
        # The line that is wrong is that of the test.
        raise error.with_traceback(None) from None
    if not cases:
        raise pytest.UsageError("callmeter_matrix: no combination of these settings is legal")
    return pytest.mark.parametrize("case", cases, ids=[str(each) or "default" for each in cases])


def _axis(values: Iterable[Any] | None, read: Any) -> tuple[Any, ...]:
    if values is None:
        return (None,)
    each = (values,) if isinstance(values, str) else values
    return tuple(None if value is None else read(value) for value in each)


def _keying(value: Any) -> str:
    if str(value).lower() in CLEAR:
        return "none"
    return member(SrtpMethod, "keying", value).name.lower()


def _profile(value: Any) -> str:
    word = str(value).lower()
    if word not in PROFILES:
        raise unknown("profile", value, PROFILES)
    return word
