"""Typed header values: Via, From and its like, CSeq, authentication, Content-Type.

Each class has `parse(text)`, which raises `SipSyntaxError`, and `str()`, which gives the wire
text back. Parameters are kept in order and as written; `param(name)` gives their meaning.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

from callmeter.errors import SipSyntaxError
from callmeter.sip.grammar import (
    QUOTED,
    TOKEN,
    Params,
    excerpt,
    find_param,
    param_text,
    parse_host_port,
    parse_params,
    quote,
    split_list,
    to_text,
    unquote,
    without_param,
)
from callmeter.sip.uri import Uri, parse_uri

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "MAX_CSEQ",
    "MAX_METHOD",
    "AuthParams",
    "CSeq",
    "Challenge",
    "ContentType",
    "NameAddr",
    "Via",
    "parse_challenges",
    "parse_delta_seconds",
]

MAX_CSEQ = 2**31 - 1
MAX_METHOD = 64
MAX_DELTA_SECONDS = 2**32 - 1

_VIA = re.compile(
    rf"({TOKEN}++)[ \t]*+/[ \t]*+({TOKEN}++)[ \t]*+/[ \t]*+({TOKEN}++)[ \t]++(?=[\[A-Za-z0-9_])"
)
_CSEQ = re.compile(rf"0*([0-9]{{1,10}})[ \t]++({TOKEN}++)")
# Octets above ASCII are no tokens, yet names arrive with them unquoted.
_DISPLAY = re.compile(rf"[ \t]*+(?:({QUOTED})|((?:{TOKEN}|[ \t]|[^\x00-\x7f])*+))[ \t]*+<")
_CONTENT_TYPE = re.compile(rf"({TOKEN}++)[ \t]*+/[ \t]*+({TOKEN}++)")
_SCHEME = re.compile(rf"[ \t]*+({TOKEN}++)(?:[ \t]++|\Z)")
_AUTH_PARAM = re.compile(
    rf"({TOKEN}++)[ \t]*+=[ \t]*+({QUOTED}|[^\x00-\x20,\"]*+)[ \t]*+(?=,|\Z)", re.DOTALL
)
_DELTA = re.compile(r"([0-9]++)")


@dataclass(frozen=True, slots=True)
class Via:
    """One hop of the response path (RFC 3261 section 20.42).

    Attributes:
        transport: `"UDP"`, `"TCP"`, `"TLS"`, `"WS"`, `"WSS"` or one unknown here, as written.
        host: Host of sent-by, an IPv6 address without brackets.
        port: Port of sent-by, or None.
        params: Parameters in order, as written.
        protocol: Protocol name and version.
    """

    transport: str
    host: str
    port: int | None = None
    params: Params = ()
    protocol: str = "SIP/2.0"

    @classmethod
    def parse(cls, text: bytes | str) -> Self:
        """Parse one Via value.

        Raises:
            SipSyntaxError: It is malformed.
        """
        text = to_text(text).strip(" \t")
        found = _VIA.match(text)
        if found is None:
            raise SipSyntaxError(
                "malformed Via", rfc="RFC 3261 section 20.42", excerpt=excerpt(text)
            )
        name, version, transport = found.groups()
        host, port, position = parse_host_port(text, found.end())
        params = parse_params(text, position)
        return cls(transport, host, port, params, f"{name}/{version}")

    @property
    def branch(self) -> str | None:
        """The transaction identifier, or None."""
        return find_param(self.params, "branch")

    @property
    def received(self) -> str | None:
        """Where the request really came from; IPv6 without brackets (RFC 5118 section 4.5)."""
        value = find_param(self.params, "received")
        return value.strip("[]") if value else None

    @property
    def rport(self) -> int | str | None:
        """The source port, `""` when it was asked for, None when not (RFC 3581)."""
        value = find_param(self.params, "rport")
        if value and len(value) < 6 and value.isascii() and value.isdigit():  # noqa: PLR2004  65535
            return int(value)
        return None if value is None else ""

    @property
    def maddr(self) -> str | None:
        """The maddr parameter, IPv6 without brackets, or None."""
        value = find_param(self.params, "maddr")
        return value.strip("[]") if value else None

    @property
    def sent_by(self) -> str:
        """Host and port as on the wire."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port is None else f"{host}:{self.port}"

    def param(self, name: str) -> str | None:
        """The value of a parameter; `""` when it has none, None when absent."""
        return find_param(self.params, name.lower())

    def with_param(self, name: str, value: str | int | None = None) -> Via:
        """A copy with the parameter set, in its place or at the end."""
        return replace(self, params=_set_param(self.params, name, value))

    def without_param(self, name: str) -> Via:
        """A copy without the parameter."""
        return replace(self, params=without_param(self.params, name))

    def __str__(self) -> str:
        return f"{self.protocol}/{self.transport} {self.sent_by}{param_text(self.params)}"


@dataclass(frozen=True, slots=True)
class NameAddr:
    """A URI with a display name and header parameters: From, To, Contact, Route, Refer-To.

    Attributes:
        uri: The address.
        display: Display name without quotes and escapes, or None.
        params: Header parameters in order, as written.
    """

    uri: Uri
    display: str | None = None
    params: Params = ()

    @classmethod
    def parse(cls, text: bytes | str) -> Self:
        """Parse one name-addr or addr-spec (RFC 3261 sections 20.10 and 25.1).

        Raises:
            SipSyntaxError: It is malformed, or its URI needs `<>` and has none.
        """
        text = to_text(text)
        found = _DISPLAY.match(text)
        if found is None:
            return cls._parse_bare(text.strip(" \t"))
        close = text.find(">", found.end())
        if close < 0:
            raise _malformed("a < without its >", text)
        quoted, tokens = found.groups()
        display = tokens.strip(" \t") or None if quoted is None else unquote(quoted)
        uri = parse_uri(text[found.end() : close])
        return cls(uri, display, parse_params(text, close + 1))

    @classmethod
    def _parse_bare(cls, text: str) -> Self:
        # Without <> all after the first ";" are header parameters, and "?" and "," are
        # forbidden (RFC 3261 section 20.10).
        address, semicolon, rest = text.partition(";")
        address = address.rstrip(" \t")
        if "?" in address or "," in address or "@" in rest:
            raise _malformed("this URI has to stand in <>", text)
        return cls(parse_uri(address), None, parse_params(semicolon + rest))

    @property
    def tag(self) -> str | None:
        """The tag of a From or To, or None."""
        return find_param(self.params, "tag") or None

    def param(self, name: str) -> str | None:
        """The unquoted value of a parameter; `""` when it has none, None when absent."""
        return find_param(self.params, name.lower())

    def with_param(self, name: str, value: str | int | None = None) -> NameAddr:
        """A copy with the header parameter set, in its place or at the end."""
        return replace(self, params=_set_param(self.params, name, value))

    def without_param(self, name: str) -> NameAddr:
        """A copy without the header parameter."""
        return replace(self, params=without_param(self.params, name))

    def __str__(self) -> str:
        display = "" if self.display is None else quote(self.display) + " "
        return f"{display}<{self.uri}>{param_text(self.params)}"


@dataclass(frozen=True, slots=True)
class CSeq:
    """Sequence number and method (RFC 3261 section 20.16)."""

    number: int
    method: str

    @classmethod
    def parse(cls, text: bytes | str) -> Self:
        """Parse a CSeq value.

        Raises:
            SipSyntaxError: It is malformed, the number is above 2**31 - 1, or the method
                is longer than 64 characters.
        """
        text = to_text(text).strip(" \t")
        found = _CSEQ.fullmatch(text)
        if found is None or len(found[2]) > MAX_METHOD or int(found[1]) > MAX_CSEQ:
            raise SipSyntaxError(
                "malformed CSeq", rfc="RFC 3261 section 8.1.1.5", excerpt=excerpt(text)
            )
        return cls(int(found[1]), found[2])

    def __str__(self) -> str:
        return f"{self.number} {self.method}"


@dataclass(frozen=True, slots=True)
class ContentType:
    """A media type (RFC 3261 section 20.15), type and subtype in lower case."""

    type: str
    subtype: str
    params: Params = ()

    @classmethod
    def parse(cls, text: bytes | str) -> Self:
        """Parse a Content-Type value.

        Raises:
            SipSyntaxError: It is malformed.
        """
        text = to_text(text).strip(" \t")
        found = _CONTENT_TYPE.match(text)
        if found is None:
            raise SipSyntaxError(
                "malformed Content-Type", rfc="RFC 3261 section 20.15", excerpt=excerpt(text)
            )
        params = parse_params(text, found.end())
        return cls(found[1].lower(), found[2].lower(), params)

    @property
    def media_type(self) -> str:
        """Type and subtype: `"application/sdp"`."""
        return f"{self.type}/{self.subtype}"

    def param(self, name: str) -> str | None:
        """The unquoted value of a parameter; `""` when it has none, None when absent."""
        return find_param(self.params, name.lower())

    def __str__(self) -> str:
        return f"{self.media_type}{param_text(self.params)}"


@dataclass(frozen=True, slots=True, repr=False)
class AuthParams:
    """A challenge or credentials: scheme and parameters (RFC 3261 section 20.7, 20.44).

    `repr` shows the scheme and the realm alone.

    Attributes:
        scheme: `"Digest"`, as written.
        params: Parameters in order, as written: a quoted value keeps its quotes.
    """

    scheme: str
    params: tuple[tuple[str, str], ...] = ()

    @classmethod
    def parse(cls, text: bytes | str) -> Self:
        """Parse one challenge or one set of credentials.

        Raises:
            SipSyntaxError: It is malformed, or there is more than one.
        """
        found = list(_auth_values(to_text(text)))
        if len(found) != 1:
            raise SipSyntaxError("not exactly one challenge", rfc="RFC 3261 section 20.44")
        return cls(*found[0])

    def get(self, name: str) -> str | None:
        """The unquoted value of the first parameter of that name, or None."""
        return find_param(self.params, name.lower())

    def __repr__(self) -> str:
        return f"AuthParams(scheme={self.scheme!r}, realm={self.get('realm')!r})"

    def __str__(self) -> str:
        params = ", ".join(f"{name}={value}" for name, value in self.params)
        return f"{self.scheme} {params}" if params else self.scheme


Challenge = AuthParams
"""A WWW-Authenticate or Proxy-Authenticate value."""


def parse_challenges(values: Iterable[str]) -> list[AuthParams]:
    """All challenges of some header lines, in order; a line may hold more than one.

    Raises:
        SipSyntaxError: One is malformed.
    """
    return [AuthParams(*found) for value in values for found in _auth_values(value)]


def parse_delta_seconds(text: str) -> int | None:
    """Seconds at the start of a value, at most 2**32 - 1; None when there is no number.

    What follows, such as the comment and parameters of a Retry-After, is left alone.
    """
    found = _DELTA.match(text.strip(" \t"))
    if found is None:
        return None
    digits = found[1].lstrip("0") or "0"
    return MAX_DELTA_SECONDS if len(digits) > 10 else min(int(digits), MAX_DELTA_SECONDS)  # noqa: PLR2004


def _auth_values(text: str) -> list[tuple[str, tuple[tuple[str, str], ...]]]:
    values: list[tuple[str, list[tuple[str, str]]]] = []
    for element in filter(None, split_list(text)):
        found = _AUTH_PARAM.fullmatch(element)
        if found is None:
            start = _SCHEME.match(element)
            if start is None:
                raise _malformed_auth()
            values.append((start[1], []))
            if start.end() == len(element):
                continue
            found = _AUTH_PARAM.fullmatch(element, start.end())
        if found is None or not values:
            raise _malformed_auth()
        values[-1][1].append((found[1], found[2]))
    return [(scheme, tuple(params)) for scheme, params in values]


def _set_param(params: Params, name: str, value: str | int | None) -> Params:
    text = None if value is None else str(value)
    lowered = name.lower()
    names = [key.lower() for key, _ in params]
    if lowered not in names:
        return (*params, (name, text))
    place = names.index(lowered)
    return (*params[:place], (name, text), *without_param(params[place + 1 :], name))


def _malformed(message: str, text: str) -> SipSyntaxError:
    return SipSyntaxError(message, rfc="RFC 3261 section 20.10", excerpt=excerpt(text))


def _malformed_auth() -> SipSyntaxError:
    # No excerpt: credentials are not for logs.
    return SipSyntaxError("malformed authentication header", rfc="RFC 3261 section 25.1")
