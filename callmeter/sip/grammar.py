r"""Character classes and small rules of the SIP grammar (RFC 3261 section 25.1).

All classes are written out in ASCII: `\d`, `str.isdigit`, `strip()` and `lower()` know all of
Unicode, SIP does not. Text is decoded as UTF-8 with surrogateescape, so that octets that are
no UTF-8 survive a round trip.
"""

from __future__ import annotations

import ipaddress
import re
from contextlib import suppress

from callmeter.errors import SipSyntaxError

__all__ = [
    "KNOWN_METHODS",
    "Params",
    "check_ipv6",
    "escape",
    "escape_user",
    "excerpt",
    "find_param",
    "is_token",
    "normal_escapes",
    "param_text",
    "parse_host_port",
    "parse_params",
    "quote",
    "split_list",
    "to_bytes",
    "to_text",
    "unescape",
    "unquote",
    "without_param",
]

KNOWN_METHODS = frozenset(
    {
        "INVITE",
        "ACK",
        "BYE",
        "CANCEL",
        "OPTIONS",
        "REGISTER",
        "PRACK",
        "UPDATE",
        "INFO",
        "REFER",
        "MESSAGE",
        "SUBSCRIBE",
        "NOTIFY",
        "PUBLISH",
    }
)
"""Methods whose CSeq has to agree with the Request-Line; others get a 501 (RFC 4475 3.1.2.18)."""

TOKEN = r"[A-Za-z0-9\-.!%*_+`'~]"  # noqa: S105  a lexical token
"""One character of a token, as a regular expression class."""

QUOTED = r'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
"""A quoted-string; it is lenient about control characters, which a peer cannot put elsewhere."""

GEN_VALUE = r"[!#-+\-.-:=?-~]"
"""One character of an unquoted parameter value.

The grammar says token or host; peers put base64 and addresses into branches and tags, so every
visible ASCII character that separates nothing is taken.
"""

MAX_PORT = 65_535

Params = tuple[tuple[str, str | None], ...]
"""Parameters in order, as on the wire: a quoted value keeps its quotes, None has no `=`."""

_TOKEN = re.compile(TOKEN + "+")
_PARAM = re.compile(
    rf"[ \t]*+;[ \t]*+({TOKEN}++)(?:[ \t]*+=[ \t]*+({GEN_VALUE}++|{QUOTED}))?+", re.DOTALL
)
# An unterminated quoted string swallows the rest, or each quote would scan to the end again.
_LIST = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)|<[^<>]*+>|(,)', re.DOTALL)
_PAIR = re.compile(r"\\(.)", re.DOTALL)
_ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})")
_HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]*+")
_IPV6 = re.compile(r"[0-9A-Fa-f:.]{2,45}")
_HOST_PORT = re.compile(
    r"(?:\[([0-9A-Fa-f:.]*+)\]|([A-Za-z0-9_][A-Za-z0-9_.\-]*+))(?:[ \t]*+:[ \t]*+([0-9]{1,5}))?"
)
_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.!~*'()")
_USER = _UNRESERVED | frozenset(b"&=+$,;?/")


def to_text(data: bytes | str) -> str:
    """Octets as text; what is no UTF-8 becomes lone surrogates."""
    return data if isinstance(data, str) else data.decode("utf-8", "surrogateescape")


def to_bytes(text: str) -> bytes:
    """The inverse of `to_text`.

    Raises:
        UnicodeEncodeError: The text holds surrogates that `to_text` never makes.
    """
    return text.encode("utf-8", "surrogateescape")


def is_token(text: str) -> bool:
    """Whether the text is a token (RFC 3261 section 25.1)."""
    return _TOKEN.fullmatch(text) is not None


def quote(text: str) -> str:
    """The text as a quoted-string."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    if not escaped.isprintable():
        escaped = re.sub(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]", r"\\\g<0>", escaped)
    return f'"{escaped}"'


def unquote(text: str) -> str:
    """The meaning of a quoted-string; other text is given back unchanged."""
    if len(text) > 1 and text[0] == text[-1] == '"':
        inner = text[1:-1]
        return _PAIR.sub(r"\1", inner) if "\\" in inner else inner
    return text


def unescape(text: str) -> bytes:
    """Octets behind `%HH` escapes, undone once (RFC 3261 section 19.1.2)."""
    data = to_bytes(text)
    if b"%" not in data:
        return data
    return _ESCAPE.sub(lambda found: bytes((int(found[1], 16),)), data)


def escape(data: bytes, allowed: frozenset[int]) -> str:
    """Text in which every octet that is not allowed stands as `%HH`."""
    return "".join(chr(octet) if octet in allowed else f"%{octet:02X}" for octet in data)


def escape_user(user: str | bytes) -> str:
    """A user part for a SIP URI: `escape_user("#31#")` is `"%2331%23"`."""
    return escape(user if isinstance(user, bytes) else to_bytes(user), _USER)


def normal_escapes(text: str) -> str:
    """One spelling for all escaped forms that RFC 3261 section 19.1.4 calls equivalent.

    Escapes of unreserved characters are undone; those of reserved ones stay, in upper case.
    """
    if "%" not in text:
        return text

    def one(found: re.Match[bytes]) -> bytes:
        octet = int(found[1], 16)
        return bytes((octet,)) if octet in _UNRESERVED else found[0].upper()

    return to_text(_ESCAPE.sub(one, to_bytes(text)))


def split_list(text: str) -> list[str]:
    """Elements of a comma list, stripped; commas in quotes or `<>` do not separate."""
    if "," not in text:
        return [text.strip(" \t")]
    if '"' not in text and "<" not in text:
        return [element.strip(" \t") for element in text.split(",")]
    elements = []
    start = 0
    for found in _LIST.finditer(text):
        if found[1] is not None:
            elements.append(text[start : found.start()].strip(" \t"))
            start = found.end()
    elements.append(text[start:].strip(" \t"))
    return elements


def parse_params(text: str, position: int = 0) -> Params:
    """Header parameters `;name=value;...` from a position to the end.

    Raises:
        SipSyntaxError: An empty parameter, or characters no parameter can have.
    """
    params = []
    end = len(text)
    while position < end:
        found = _PARAM.match(text, position)
        if found is None:
            if not text[position:].strip(" \t"):
                break
            raise SipSyntaxError(
                "malformed parameter",
                rfc="RFC 3261 section 7.3.1",
                excerpt=excerpt(text, position),
            )
        params.append((found[1], found[2]))
        position = found.end()
    return tuple(params)


def param_text(params: Params) -> str:
    """Parameters as on the wire."""
    return "".join(f";{name}" if value is None else f";{name}={value}" for name, value in params)


def find_param(params: Params, name: str) -> str | None:
    """The first value of a parameter, unquoted; `""` when it has none, None when absent."""
    for key, value in params:
        if key == name or key.lower() == name:
            return "" if value is None else unquote(value)
    return None


def without_param(params: Params, name: str) -> Params:
    """The parameters less all of that name."""
    lowered = name.lower()
    return tuple(param for param in params if param[0].lower() != lowered)


def parse_host_port(text: str, position: int) -> tuple[str, int | None, int]:
    """Host (IPv6 without brackets), port and the position behind them.

    Raises:
        SipSyntaxError: No host, a bad IPv6 reference, or a port above 65535.
    """
    found = _HOST_PORT.match(text, position)
    if found is None:
        raise SipSyntaxError(
            "malformed host", rfc="RFC 3261 section 25.1", excerpt=excerpt(text, position)
        )
    ipv6, host, digits = found.groups()
    if ipv6 is not None:
        check_ipv6(ipv6)
        host = ipv6
    elif ".." in host:
        raise SipSyntaxError(
            "malformed host", rfc="RFC 3261 section 25.1", excerpt=excerpt(text, position)
        )
    port = None
    if digits is not None:
        port = int(digits)
        if port > MAX_PORT:
            raise SipSyntaxError(
                "port above 65535", rfc="RFC 3261 section 25.1", excerpt=digits.encode()
            )
    return host, port, found.end()


def check_ipv6(text: str) -> None:
    """Check the inside of an IPv6 reference.

    Raises:
        SipSyntaxError: It is no IPv6 address (RFC 5118 section 4).
    """
    if _IPV6.fullmatch(text) is not None:
        with suppress(ValueError):
            ipaddress.IPv6Address(text)
            return
    raise SipSyntaxError(
        "malformed IPv6 reference", rfc="RFC 5118 section 4", excerpt=excerpt(text)
    )


def excerpt(text: str, position: int = 0) -> bytes:
    """What an error shows of the offending text."""
    return text[position : position + 80].encode("utf-8", "replace")
