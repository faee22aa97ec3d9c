"""The SIP URIs that a user writes: settings, and whom to call."""

from __future__ import annotations

from callmeter.errors import ConfigurationError, SipSyntaxError
from callmeter.sip.uri import SipUri, parse_uri

__all__ = ["proxy_uri", "setting_uri", "target_uri"]


def setting_uri(name: str, text: str) -> SipUri:
    """The URI of a setting; `sip:` may be left out.

    Raises:
        ConfigurationError: It is no SIP URI.
    """
    try:
        uri = parse_uri(text if text.lower().startswith(("sip:", "sips:")) else f"sip:{text}")
    except SipSyntaxError as error:
        raise ConfigurationError(f"{name} {text!r} is not a SIP URI: {error}") from None
    if not isinstance(uri, SipUri):
        raise ConfigurationError(f"{name} {text!r} is not a SIP URI")
    return uri


def proxy_uri(text: str) -> SipUri:
    """The Route to an outbound proxy.

    Raises:
        ConfigurationError: It is no SIP URI.
    """
    uri = setting_uri("outbound_proxy", text)
    return uri if uri.lr else uri.with_params(lr=None)


def target_uri(given: str | SipUri, aor: SipUri) -> SipUri:
    """Whom a user means: a SIP URI, or a user name at the domain of `aor`.

    Raises:
        ConfigurationError: It is neither.
    """
    if isinstance(given, SipUri):
        return given
    if not isinstance(given, str):
        raise ConfigurationError(
            f"whom to call is a SIP URI or a user name, not {type(given).__name__}"
        )
    target = given
    if not target.lower().startswith(("sip:", "sips:", "tel:")):
        suffix = "" if "@" in target else f"@{str(aor.aor()).rpartition('@')[2]}"
        target = f"{aor.scheme}:{target}{suffix}"
    try:
        uri = parse_uri(target)
    except SipSyntaxError as error:
        raise ConfigurationError(f"{given!r} is not a SIP URI: {error}") from None
    if not isinstance(uri, SipUri):
        raise ConfigurationError(f"{given!r} is not a SIP URI")
    return uri
