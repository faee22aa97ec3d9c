"""Header lines: an ordered multimap of raw octets (RFC 3261 section 7.3)."""

from __future__ import annotations

from itertools import compress, repeat
from operator import eq
from typing import TYPE_CHECKING, Any, Self, cast

from callmeter.errors import LocalProtocolError
from callmeter.sip.grammar import is_token, split_list, to_bytes, to_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from callmeter.sip.usual_message import UsualLines

__all__ = ["COMPACT_FORMS", "KEYS", "Headers", "header_key"]

COMPACT_FORMS = {
    "a": "Accept-Contact",
    "b": "Referred-By",
    "c": "Content-Type",
    "d": "Request-Disposition",
    "e": "Content-Encoding",
    "f": "From",
    "i": "Call-ID",
    "j": "Reject-Contact",
    "k": "Supported",
    "l": "Content-Length",
    "m": "Contact",
    "n": "Identity-Info",
    "o": "Event",
    "r": "Refer-To",
    "s": "Subject",
    "t": "To",
    "u": "Allow-Events",
    "v": "Via",
    "x": "Session-Expires",
    "y": "Identity",
}
"""Compact header names of the IANA registry."""

_FREQUENT_NAMES = (
    "Accept",
    "Accept-Encoding",
    "Accept-Language",
    "Allow",
    "Authorization",
    "Content-Disposition",
    "CSeq",
    "Date",
    "Expires",
    "Max-Forwards",
    "Min-Expires",
    "Min-SE",
    "P-Asserted-Identity",
    "P-Preferred-Identity",
    "Path",
    "Privacy",
    "Proxy-Authenticate",
    "Proxy-Authorization",
    "Proxy-Require",
    "RAck",
    "Reason",
    "Record-Route",
    "Replaces",
    "Require",
    "Retry-After",
    "Route",
    "RSeq",
    "Server",
    "Service-Route",
    "Timestamp",
    "Unsupported",
    "User-Agent",
    "Warning",
    "WWW-Authenticate",
)

# RFC 3261 section 7.3.1: these hold commas and yet are no comma lists.
_NOT_LISTS = frozenset(
    {
        "authorization",
        "proxy-authorization",
        "www-authenticate",
        "proxy-authenticate",
        "date",
        "subject",
        "organization",
        "user-agent",
        "server",
        "call-id",
        "from",
        "to",
    }
)


def _known_keys() -> dict[bytes | str, str]:
    keys: dict[bytes | str, str] = {}
    for short, name in COMPACT_FORMS.items():
        for spelling in (short, short.upper()):
            keys[spelling] = keys[spelling.encode()] = name.lower()
    for name in (*COMPACT_FORMS.values(), *_FREQUENT_NAMES):
        for spelling in (name, name.lower(), name.upper(), name.title()):
            keys[spelling] = keys[spelling.encode()] = name.lower()
    return keys


KEYS = _known_keys()
"""Frequent spellings of header names, as octets and as text, to the key they are filed under."""


def header_key(name: str | bytes) -> str | None:
    """The key a header name is filed under: long form, lower case; None when it is no token.

    Blanks round the name are ignored, so that `Name :` and `Name` are one header.
    """
    key = KEYS.get(name)
    if key is None:
        text = to_text(name).strip(" \t")
        if not is_token(text):
            return None
        key = text.lower()
        key = KEYS.get(key, key)
    return key


class Headers:
    """Header lines in order; names are compared without case and in long or compact form.

    Args:
        lines: Pairs of name and value. A value that is no string is written by `str()`.
    """

    __slots__ = ("_head", "line_keys", "line_names", "line_values", "typed")

    _head: bytes | str
    typed: dict[str, Any]

    def __init__(self, lines: Iterable[tuple[str, object]] = ()) -> None:
        self.line_keys = []
        self.line_names = []
        self.line_values = []
        self.typed = {}
        """Values made so far, and what the parser saw; any change of the headers empties it."""
        for name, value in lines:
            self.add(name, value)

    @classmethod
    def from_raw(cls, keys: list[str], names: list[bytes], values: list[bytes]) -> Self:
        """Take over lines that were checked already: parallel lists, values stripped."""
        headers = cls.__new__(cls)
        headers.line_keys = keys
        headers.line_names = names
        headers.line_values = values
        headers.typed = {}
        return headers

    @classmethod
    def from_usual(cls, usual: UsualLines) -> Self:
        """Take over what the pattern of usual messages has found; it is split when first needed."""
        headers = cls.__new__(cls)
        headers._head = usual.lines  # noqa: SLF001  its own class
        headers.typed = {"usual": usual}
        return headers

    @classmethod
    def from_head(cls, head: bytes) -> Self:
        """Take over octets that were checked already; they are split when first needed.

        Args:
            head: Lines without continuations, each after its CRLF.
        """
        headers = cls.__new__(cls)
        headers._head = head  # noqa: SLF001  its own class
        headers.typed = {}
        return headers

    if TYPE_CHECKING:
        line_keys: list[str]
        line_names: list[bytes]
        line_values: list[bytes]
    else:

        def __getattr__(self, name: str) -> Any:
            if name not in {"line_keys", "line_names", "line_values"}:
                raise AttributeError(name)
            head = self._head
            lines = (head if isinstance(head, bytes) else head.encode("latin-1")).split(b"\r\n")
            del lines[0]
            names, _, values = zip(*map(bytes.partition, lines, repeat(b":")), strict=True)
            keys = [*map(KEYS.get, names)]
            if None in keys:
                keys = [*map(header_key, names)]
            self.line_keys = keys
            self.line_names = [*names]
            self.line_values = [*map(bytes.strip, values, repeat(b" \t"))]
            return getattr(self, name)

    def get(self, name: str) -> str | None:
        """The value of the first line of that name, or None."""
        value = self.get_raw(name)
        return None if value is None else value.decode("utf-8", "surrogateescape")

    def get_raw(self, name: str) -> bytes | None:
        """The octets of the first line of that name, or None."""
        key = KEYS.get(name) or header_key(name)
        if key not in self.line_keys:
            return None
        return self.line_values[self.line_keys.index(key)]

    def get_all(self, name: str) -> list[str]:
        """The value of each line of that name, in order."""
        key = KEYS.get(name) or header_key(name)
        return [
            value.decode("utf-8", "surrogateescape")
            for value in compress(self.line_values, map(eq, self.line_keys, repeat(key)))
        ]

    def values(self, name: str) -> list[str]:
        """The elements of all lines of that name: comma lists are split, empty ones left out.

        Headers that hold commas without being lists (challenges, credentials, Date, free
        text) give one value per line.
        """
        lines = self.get_all(name)
        if header_key(name) in _NOT_LISTS:
            return lines
        return [element for line in lines for element in split_list(line) if element]

    def add(self, name: str, value: object) -> None:
        """Append a line.

        Raises:
            LocalProtocolError: The name is no token, or the value has a CR, LF or NUL.
        """
        self._insert(len(self.line_keys), name, value)

    def insert(self, name: str, value: object) -> None:
        """Put a line before the first of that name, or on top.

        Raises:
            LocalProtocolError: The name is no token, or the value has a CR, LF or NUL.
        """
        key = header_key(name)
        self._insert(self.line_keys.index(key) if key in self.line_keys else 0, name, value)

    def set(self, name: str, value: object) -> None:
        """Put one line in place of all of that name, or at the end.

        Raises:
            LocalProtocolError: The name is no token, or the value has a CR, LF or NUL.
        """
        key = header_key(name)
        place = self.line_keys.index(key) if key in self.line_keys else len(self.line_keys)
        self._insert(place, name, value)
        self._delete([at for at, k in enumerate(self.line_keys) if k == key and at != place])

    def remove(self, name: str) -> None:
        """Remove all lines of that name, if any."""
        key = header_key(name)
        self._delete([at for at, k in enumerate(self.line_keys) if k == key])

    def remove_first(self, name: str) -> None:
        """Remove the first line of that name, if any."""
        key = header_key(name)
        if key in self.line_keys:
            self._delete([self.line_keys.index(key)])

    def extend(self, lines: Iterable[tuple[str, object]]) -> None:
        """Append lines.

        Raises:
            LocalProtocolError: A name is no token, or a value has a CR, LF or NUL.
        """
        for name, value in lines:
            self.add(name, value)

    def copy_lines(self, source: Headers, name: str, *, first: bool = False) -> None:
        """Append the lines of that name from other headers, octet for octet.

        Args:
            source: Where the lines come from.
            name: Name of the header.
            first: Take the first line only.
        """
        key = KEYS.get(name) or header_key(name)
        keys = source.line_keys
        count = keys.count(cast("str", key))
        at = -1
        for _ in range(min(count, 1) if first else count):
            at = keys.index(cast("str", key), at + 1)
            self.line_keys.append(keys[at])
            self.line_names.append(source.line_names[at])
            self.line_values.append(source.line_values[at])
        self.typed.clear()

    def append_raw(self, name: str, octets: bytes) -> None:
        """Append octets to the first line of that name, if there is one."""
        key = header_key(name)
        if key in self.line_keys:
            self.line_values[self.line_keys.index(key)] += octets
        self.typed.clear()

    def copy(self) -> Headers:
        """Independent headers with the same lines."""
        return Headers.from_raw(self.line_keys[:], self.line_names[:], self.line_values[:])

    def write(self, start_line: bytes, body: bytes) -> bytes:
        """A whole message: the first Content-Length line, or a new one, tells the body's size."""
        length = b"%d" % len(body)
        names, values = self.line_names, self.line_values
        if "content-length" not in self.line_keys:
            names, values = [*names, b"Content-Length"], [*values, length]
        elif values[self.line_keys.index("content-length")] != length or (
            self.line_keys.count("content-length") > 1
        ):
            only = self.copy()
            only.set("Content-Length", len(body))
            names, values = only.line_names, only.line_values
        lines = map(b": ".join, zip(names, values, strict=True))
        return b"\r\n".join((start_line, *lines, b"", body))

    def _insert(self, place: int, name: str, value: object) -> None:
        key = header_key(name)
        text = value if isinstance(value, str) else str(value)
        if key is None:
            raise LocalProtocolError(f"{name!r} is no header name")
        if "\r" in text or "\n" in text or "\0" in text:
            raise LocalProtocolError(f"the value of {name} may not have a line break or NUL")
        try:
            raw = to_bytes(text.strip(" \t"))
        except UnicodeEncodeError:
            raise LocalProtocolError(f"the value of {name} is no text") from None
        self.line_keys.insert(place, key)
        self.line_names.insert(place, name.strip(" \t").encode())
        self.line_values.insert(place, raw)
        self.typed.clear()

    def _delete(self, places: list[int]) -> None:
        for at in reversed(places):
            del self.line_keys[at], self.line_names[at], self.line_values[at]
        self.typed.clear()

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and header_key(name) in self.line_keys

    def __iter__(self) -> Iterator[tuple[str, str]]:
        for name, value in zip(self.line_names, self.line_values, strict=True):
            yield name.decode(), value.decode("utf-8", "surrogateescape")

    def __len__(self) -> int:
        return len(self.line_keys)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Headers):
            return NotImplemented
        return self.line_keys == other.line_keys and self.line_values == other.line_values

    __hash__ = None  # type: ignore[assignment]  # its lines change

    def __repr__(self) -> str:
        return f"Headers({self.line_keys!r})"
