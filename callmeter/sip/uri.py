"""SIP, SIPS, tel and other URIs (RFC 3261 sections 19.1 and 25.1, RFC 3966, RFC 5118).

Parts are kept as they stand on the wire, escapes included, so that a URI is written back
unchanged. What they mean is asked for by `user_text`, `param` and `header`, which undo
escapes once.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, replace

from callmeter.errors import SipSyntaxError
from callmeter.sip.grammar import (
    Params,
    excerpt,
    normal_escapes,
    param_text,
    parse_host_port,
    to_text,
    unescape,
)

__all__ = ["OtherUri", "SipUri", "TelUri", "Uri", "parse_uri"]

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*+):")
# "#" is no user character by the grammar, yet dialled codes arrive with it unescaped.
_USER_INFO = re.compile(
    r"((?:[A-Za-z0-9\-_.!~*'()&=+$,;?/#]|%[0-9A-Fa-f]{2})++)"
    r"(?::((?:[A-Za-z0-9\-_.!~*'()&=+$,]|%[0-9A-Fa-f]{2})*+))?@"
)
_PARAMS = re.compile(
    r"(?:;(?:[A-Za-z0-9\-_.!~*'()\[\]/:&+$]|%[0-9A-Fa-f]{2})++"
    r"(?:=(?:[A-Za-z0-9\-_.!~*'()\[\]/:&+$]|%[0-9A-Fa-f]{2})*+)?)*+"
)
_HEADER = r"(?:[A-Za-z0-9\-_.!~*'()\[\]/?:+$]|%[0-9A-Fa-f]{2})"
_HEADERS = re.compile(rf"\?{_HEADER}++={_HEADER}*+(?:&{_HEADER}++={_HEADER}*+)*+")
_TEL = re.compile(r"(\+?[0-9A-Fa-f*#\-.()]++)((?:;[A-Za-z0-9\-]++(?:=[^;\x00-\x20<>\"]++)?)*+)")
_OTHER = re.compile(r"[!#-;=?-~]++")

_RFC_URI = "RFC 3261 section 19.1"
# RFC 3261 section 19.1.4: these count although only one of two URIs has them.
_TELLING_PARAMS = ("user", "ttl", "method", "maddr", "transport")


@dataclass(frozen=True, slots=True)
class SipUri:
    """A SIP or SIPS URI.

    Attributes:
        scheme: `"sip"` or `"sips"`.
        host: Host name or address, as written; an IPv6 address without its brackets.
        port: Port, or None when none is written.
        user: User part, still escaped, or None.
        password: Password, still escaped, or None. It is not shown by `repr`.
        params: URI parameters in order, still escaped; a value of None has no `=`.
        headers: Headers in order, still escaped.
    """

    scheme: str
    host: str
    port: int | None = None
    user: str | None = None
    password: str | None = None
    params: Params = ()
    headers: tuple[tuple[str, str], ...] = ()

    @property
    def user_bytes(self) -> bytes:
        """Octets of the user part, unescaped once; empty when there is none."""
        return b"" if self.user is None else unescape(self.user)

    @property
    def user_text(self) -> str:
        """User part unescaped once, UTF-8 with replacement; empty when there is none."""
        return self.user_bytes.decode("utf-8", "replace")

    @property
    def transport(self) -> str | None:
        """The transport parameter in lower case, or None."""
        value = self.param("transport")
        return value.lower() if value else None

    @property
    def lr(self) -> bool:
        """Whether the URI is that of a loose router (RFC 3261 section 19.1.1)."""
        return self.has_param("lr")

    @property
    def maddr(self) -> str | None:
        """The maddr parameter, an IPv6 address without brackets, or None."""
        value = self.param("maddr")
        return value.strip("[]") if value else None

    @property
    def method(self) -> str | None:
        """The method parameter, or None."""
        return self.param("method") or None

    @property
    def host_port(self) -> str:
        """Host and port as on the wire."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port is None else f"{host}:{self.port}"

    def param(self, name: str) -> str | None:
        """The unescaped value of a parameter; `""` when it has none, None when absent."""
        lowered = name.lower()
        for key, value in self.params:
            if _meaning(key).lower() == lowered:
                return "" if value is None else _meaning(value)
        return None

    def has_param(self, name: str) -> bool:
        """Whether the parameter is there, with or without a value."""
        return self.param(name) is not None

    def header(self, name: str) -> str | None:
        """The unescaped value of a header of the URI, or None."""
        lowered = name.lower()
        for key, value in self.headers:
            if _meaning(key).lower() == lowered:
                return _meaning(value)
        return None

    def with_params(self, **params: str | None) -> SipUri:
        """A copy with these parameters set, escaped as given; None sets one without value."""
        kept = self.without_params(*params).params
        return replace(self, params=kept + tuple(params.items()))

    def without_params(self, *names: str) -> SipUri:
        """A copy without these parameters."""
        lowered = {name.lower() for name in names}
        kept = tuple(param for param in self.params if _meaning(param[0]).lower() not in lowered)
        return replace(self, params=kept)

    def aor(self) -> SipUri:
        """Scheme, user, host and port alone: what an address of record is compared by."""
        return SipUri(self.scheme, self.host, self.port, self.user)

    def equivalent(self, other: Uri) -> bool:
        """Whether two URIs are the same resource by RFC 3261 section 19.1.4."""
        if not isinstance(other, SipUri):
            return False
        return (
            self.scheme == other.scheme
            and self.port == other.port
            and _same_escapes(self.user, other.user)
            and _same_escapes(self.password, other.password)
            and _normal_host(self.host) == _normal_host(other.host)
            and _same_params(self.params, other.params)
            and _header_set(self.headers) == _header_set(other.headers)
        )

    def __repr__(self) -> str:
        hidden = self if self.password is None else replace(self, password="***")  # noqa: S106  stars
        return f"SipUri({str(hidden)!r})"

    def __str__(self) -> str:
        user = ""
        if self.user is not None:
            user = f"{self.user}@" if self.password is None else f"{self.user}:{self.password}@"
        text = f"{self.scheme}:{user}{self.host_port}"
        if self.params:
            text += param_text(self.params)
        if self.headers:
            text += "?" + "&".join(f"{name}={value}" for name, value in self.headers)
        return text


@dataclass(frozen=True, slots=True)
class TelUri:
    """A telephone number (RFC 3966).

    Attributes:
        scheme: `"tel"`.
        rest: What follows the colon, as written.
    """

    scheme: str
    rest: str

    @property
    def number(self) -> str:
        """The number without visual separators."""
        return re.sub(r"[\-.()]", "", self.rest.partition(";")[0])

    def param(self, name: str) -> str | None:
        """The value of a parameter; `""` when it has none, None when absent."""
        for param in self.rest.split(";")[1:]:
            key, _, value = param.partition("=")
            if key.lower() == name.lower():
                return _meaning(value)
        return None

    def equivalent(self, other: Uri) -> bool:
        """Whether both are the same number with the same parameters (RFC 3966 section 4)."""
        return (
            isinstance(other, TelUri)
            and self.number.lower() == other.number.lower()
            and sorted(self.rest.lower().split(";")[1:])
            == sorted(other.rest.lower().split(";")[1:])
        )

    def __str__(self) -> str:
        return f"{self.scheme}:{self.rest}"


@dataclass(frozen=True, slots=True)
class OtherUri:
    """A URI of a scheme that is opaque here.

    Attributes:
        scheme: In lower case; empty only in what could be read of a malformed message.
        rest: What follows the colon, as written.
    """

    scheme: str
    rest: str

    def equivalent(self, other: Uri) -> bool:
        """Whether both are written the same, apart from the case of the scheme."""
        return self == other

    def __str__(self) -> str:
        return f"{self.scheme}:{self.rest}" if self.scheme else self.rest


Uri = SipUri | TelUri | OtherUri


def parse_uri(text: bytes | str) -> Uri:
    """Parse one URI, with nothing around it.

    Args:
        text: The URI, without `<>` and blanks.

    Returns:
        A `SipUri` for sip and sips, a `TelUri` for tel, else an `OtherUri`.

    Raises:
        SipSyntaxError: It is no URI (RFC 3261 section 25.1).
    """
    text = to_text(text)
    found = _SCHEME.match(text)
    if found is None:
        raise _malformed("a URI starts with a scheme", text)
    scheme = found[1].lower()
    if scheme in {"sip", "sips"}:
        return _parse_sip(scheme, text, found.end())
    rest = text[found.end() :]
    if scheme == "tel":
        if _TEL.fullmatch(rest) is None:
            raise _malformed("malformed telephone number", text)
        return TelUri(scheme, rest)
    if _OTHER.fullmatch(rest) is None:
        raise _malformed("a character that no URI can have", text)
    return OtherUri(scheme, rest)


def _parse_sip(scheme: str, text: str, position: int) -> SipUri:
    user = password = None
    found = _USER_INFO.match(text, position)
    if found is not None:
        user, password = found.groups()
        position = found.end()
    host, port, position = parse_host_port(text, position)
    if position == len(text):
        return SipUri(scheme, host, port, user, password)
    params: Params = ()
    headers: tuple[tuple[str, str], ...] = ()
    found = _PARAMS.match(text, position)
    if found is not None and found[0]:
        params = tuple(_name_value(param) for param in found[0][1:].split(";"))
        position = found.end()
    found = _HEADERS.match(text, position)
    if found is not None:
        pairs = (header.partition("=") for header in found[0][1:].split("&"))
        headers = tuple((name, value) for name, _, value in pairs)
        position = found.end()
    if position != len(text):
        raise _malformed("malformed SIP URI", text[position:])
    return SipUri(scheme, host, port, user, password, params, headers)


def _name_value(param: str) -> tuple[str, str | None]:
    name, equals, value = param.partition("=")
    return name, value if equals else None


def _meaning(text: str) -> str:
    return to_text(unescape(text)) if "%" in text else text


def _same_escapes(one: str | None, other: str | None) -> bool:
    if one is None or other is None:
        return one is other
    return normal_escapes(one) == normal_escapes(other)


def _normal_host(host: str) -> str:
    try:
        return str(ipaddress.IPv6Address(host))
    except ValueError:
        return host.lower()


def _same_params(ours: Params, theirs: Params) -> bool:
    one, other = _param_map(ours), _param_map(theirs)
    shared = one.keys() & other.keys()
    return all(one[name] == other[name] for name in shared) and not any(
        (name in one) != (name in other) for name in _TELLING_PARAMS
    )


def _param_map(params: Params) -> dict[str, str | None]:
    return {
        normal_escapes(name).lower(): None if value is None else normal_escapes(value).lower()
        for name, value in reversed(params)
    }


def _header_set(headers: tuple[tuple[str, str], ...]) -> list[tuple[str, str]]:
    return sorted((normal_escapes(name).lower(), normal_escapes(value)) for name, value in headers)


def _malformed(message: str, text: str) -> SipSyntaxError:
    return SipSyntaxError(message, rfc=_RFC_URI, excerpt=excerpt(text))
