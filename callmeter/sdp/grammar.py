"""Lexical rules of RFC 8866 section 9 that more than one line type uses.

Text is decoded octets, so every rule here is spelled in ASCII: `int()`, `str.split()` and the
digit class of `re` also take what Unicode calls a digit or a blank.
"""

from __future__ import annotations

import re
from typing import Final

from callmeter.errors import SdpSyntaxError

__all__ = ["BLANKS", "decimal", "folded", "is_token", "redacted", "syntax_error", "words"]

BLANKS: Final = " \t"

_DECIMAL: Final = re.compile(r"[0-9]{1,10}")
_TOKEN: Final = re.compile(r"[!#-'*+\-.0-9A-Z^-~]+")
_BLANK_RUN: Final = re.compile(r"[ \t]+")
_INLINE_KEY: Final = re.compile(r"inline:.*", re.IGNORECASE | re.DOTALL)
# What stands behind the suite is optional, so that a line without it is not searched again from
# each further "crypto:": where the first has nothing behind it, no other has.
_CRYPTO_LINE: Final = re.compile(
    r"(crypto[ \t]*+:[ \t]*+[^ \t]*+[ \t]*+[^ \t]*+)([ \t].*)?", re.IGNORECASE | re.DOTALL
)
_LONG_BASE64: Final = re.compile(r"[A-Za-z0-9+/]{32,}={0,2}")
_SECRET_LINE: Final = re.compile(
    r"(^k=|^a=[ \t]*(?:ice-pwd|key-mgmt)[ \t]*:).*", re.IGNORECASE | re.DOTALL
)


def decimal(text: str, low: int, high: int) -> int | None:
    """The number in `text` when it is 1 to 10 ASCII digits within `low` to `high`, else None."""
    if not _DECIMAL.fullmatch(text):
        return None
    number = int(text)
    return number if low <= number <= high else None


def is_token(text: str) -> bool:
    """Whether `text` is a token (RFC 8866 section 9)."""
    return _TOKEN.fullmatch(text) is not None


def words(text: str) -> list[str]:
    """`text` cut at runs of blanks; blanks at both ends do not count."""
    stripped = text.strip(BLANKS)
    return _BLANK_RUN.split(stripped) if stripped else []


def folded(text: str) -> str:
    """`text` in lower case when it is ASCII, so that no other letter folds onto an ASCII one."""
    return text.lower() if text.isascii() else text


def redacted(line: str) -> str:
    """An SDP line (`"a=..."`) with key material replaced by `***`, for people to read.

    A line break may have cut a key off its attribute, so whatever looks like one goes too.
    """
    line = _INLINE_KEY.sub("inline:***", line)
    line = _CRYPTO_LINE.sub(lambda found: found[1] + (" ***" if found[2] else ""), line)
    line = _SECRET_LINE.sub(r"\1***", line)
    return _LONG_BASE64.sub("***", line)


def syntax_error(message: str, rfc: str, line: str) -> SdpSyntaxError:
    """The error for a bad `line`, its excerpt freed of key material."""
    excerpt = redacted(line).encode("utf-8", "surrogateescape")
    return SdpSyntaxError(message, rfc=rfc, excerpt=excerpt)
