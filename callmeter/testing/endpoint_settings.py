"""Settings of an endpoint as keywords: `srtp="dtls", transport="tls", suites=[...], ptime=40`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields, replace
from enum import Enum
from typing import Any, Final, TypeVar

from callmeter.config import (
    Codec,
    Credentials,
    EndpointConfig,
    MediaConfig,
    SrtpConfig,
    SrtpMethod,
    SrtpPolicy,
    SrtpSuite,
    Transport,
)
from callmeter.setting_words import member, unknown

__all__ = ["endpoint_config", "media_config"]

E = TypeVar("E", bound=Enum)

CLEAR: Final = frozenset({"none", "off", "clear"})
PROFILES: Final = {
    "avp": {"feedback": False},
    "avpf": {"feedback": True},
    "osrtp": {"feedback": False, "osrtp": True},
}
"""RTP profiles by what decides them beside the keys: RFC 3551, RFC 4585, RFC 8643."""
SHORT: Final = frozenset({"srtp", "policy", "suite", "suites", "codec", "codecs", "profile"})


def endpoint_config(
    aor: str,
    credentials: Credentials | None = None,
    *,
    transport: Transport | str = Transport.UDP,
    **settings: Any,
) -> EndpointConfig:
    """The configuration of an endpoint.

    Args:
        aor: Address of record.
        credentials: For challenges.
        transport: How the registrar is reached: `"udp"`, `"tcp"`, `"tls"`, `"wss"`.
        settings: Those of `media_config`, and every attribute of `EndpointConfig`.

    Raises:
        ConfigurationError: A name or value that does not exist, with the nearest that does.
    """
    own = {name: settings.pop(name) for name in _names(EndpointConfig) & settings.keys()}
    base = own.pop("media", None)
    media = media_config(base or MediaConfig(), **settings)
    return EndpointConfig(
        aor, credentials, member(Transport, "transport", transport), media=media, **own
    )


def media_config(base: MediaConfig, **settings: Any) -> MediaConfig:
    """Media settings from keywords.

    Args:
        base: What is not named stays as it is here.
        settings: `srtp` is a method (`"none"`, `"sdes"`, `"dtls"`, `"dual"`) or an `SrtpConfig`;
            a method makes the policy `REQUIRED` unless `policy` says otherwise. `suite` or
            `suites`, `codec` or `codecs`, `profile` (`"avp"`, `"avpf"`, `"osrtp"`), and every
            attribute of `MediaConfig` and `SrtpConfig`.

    Raises:
        ConfigurationError: A name or value that does not exist.
    """
    short = {name: settings.pop(name) for name in SHORT & settings.keys()}
    _check_names(settings)
    if (profile := short.get("profile")) is not None:
        if profile not in PROFILES:
            raise unknown("profile", profile, PROFILES)
        settings = {**PROFILES[profile], **settings}
    srtp = _srtp(base.srtp, short, settings)
    if "codec" in short or "codecs" in short:
        settings["codecs"] = _members(Codec, "codec", short.get("codecs", short.get("codec")))
    return replace(base, srtp=srtp, **settings)


def _srtp(base: SrtpConfig, short: dict[str, Any], settings: dict[str, Any]) -> SrtpConfig:
    """The SRTP settings; takes what is theirs out of `settings`."""
    changes = {name: settings.pop(name) for name in _names(SrtpConfig) & settings.keys()}
    given = short.get("srtp")
    if isinstance(given, SrtpConfig):
        base = given
    elif given is not None and str(given).lower() in CLEAR:
        changes["policy"] = SrtpPolicy.DISABLED
    elif given is not None:
        changes["method"] = member(SrtpMethod, "srtp", given)
        opportunistic = changes.get("osrtp", base.osrtp)
        changes["policy"] = SrtpPolicy.OFFERED if opportunistic else SrtpPolicy.REQUIRED
    if short.get("policy") is not None:
        changes["policy"] = member(SrtpPolicy, "policy", short["policy"])
    suites = short.get("suites", short.get("suite"))
    if suites is not None:
        changes["suites"] = _members(SrtpSuite, "suite", suites)
    return replace(base, **changes)


def _members(kind: type[E], name: str, value: Any) -> tuple[E, ...]:
    several = isinstance(value, Iterable) and not isinstance(value, str | Enum)
    return tuple(member(kind, name, each) for each in (value if several else (value,)))


def _check_names(settings: dict[str, Any]) -> None:
    known = _names(MediaConfig) | _names(SrtpConfig) | _names(EndpointConfig) | SHORT
    for name in settings:
        if name not in known:
            raise unknown("setting", name, known | {"transport", "answer", "stack", "register"})


def _names(kind: type[Any]) -> set[str]:
    return {item.name for item in fields(kind)}
