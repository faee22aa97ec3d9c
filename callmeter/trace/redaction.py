r"""Take the secrets out of a SIP message, whatever its octets are.

What goes: digest responses and the nonces they were made with, other credentials, SDES keys,
k= keys, ICE passwords, passwords in URIs. What stays: user names, realms, suites, key lengths,
lifetimes, all a diagnosis needs. The patterns work on octets and not on a parsed message, so that
a message no parser accepts does not leak either. In doubt more is taken out, never less.

Every pattern runs in linear time: its repetitions are possessive and start at a fixed word.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["REDACTED", "filled", "redact"]

REDACTED: Final = b"[redacted]"

_NO_PASSWORD: Final = b"(redacted)"
"""RFC 3261 section 25.1 allows no brackets there, and a redacted message is still to be parsed."""

_CREDENTIALS: Final = re.compile(
    rb"(?:(?<=[\r\n])|\A)"
    rb"((?:proxy-)?(?:authorization|authentication-info)[ \t]*+:)"
    rb"((?:[^\r\n]++|\r?\n[ \t]|\r[ \t])*+)",
    re.IGNORECASE,
)
_DONE: Final = rb"\[redacted(?: [0-9]{1,9} characters)?\]"
_CREDENTIAL_PART: Final = re.compile(
    rb'([A-Za-z0-9_-]++)[ \t\r\n]*+=[ \t\r\n]*+("(?:[^"\\]++|\\.)*+"?|%b|(?:(?!%b)[^\s,"])*+)'
    rb"|(%b)|(?:(?!%b)[^\s,])++" % (_DONE, _DONE, _DONE, _DONE),
    re.DOTALL,
)
"""What was redacted before is a part of its own, so that a second pass changes nothing."""
_HARMLESS: Final = frozenset(
    {b"username", b"realm", b"uri", b"algorithm", b"qop", b"nc", b"opaque", b"userhash"}
)
_SECRET: Final = frozenset(
    {b"response", b"nonce", b"cnonce", b"auts", b"rspauth", b"nextnonce", b"nonce-prime"}
)
_SCHEME: Final = re.compile(rb"([ \t\r\n]*+)(digest|basic|bearer)(?![^ \t\r\n])", re.IGNORECASE)

_CRYPTO: Final = re.compile(rb"(a[ \t]*+=[ \t]*+crypto[ \t]*+:)([^\r\n]*+)", re.IGNORECASE)
_REDACTED_BEFORE: Final = re.compile(_DONE)
_CRYPTO_WORD: Final = re.compile(rb"(?:" + _DONE + rb"|[^ \t])++")
_TAG: Final = re.compile(rb"[0-9]{1,9}")
_SUITE: Final = re.compile(rb"(?:[A-Za-z0-9]{1,8}_){1,7}[A-Za-z0-9]{1,8}")
_SESSION_PARAMETER: Final = re.compile(
    rb"-?(?:KDR=[0-9]{1,2}|WSH=[0-9]{1,9}|FEC_ORDER=[A-Z_]{1,10}"
    rb"|UN(?:ENCRYPTED|AUTHENTICATED)_SRTC?P)",
    re.IGNORECASE,
)
_AFTER_KEY: Final = re.compile(rb"(?:\|(?:2\^)?[0-9]{1,15})?(?:\|[0-9]{1,309}:[0-9]{1,3})?")
_INLINE: Final = re.compile(rb"(inline:)([^|;\s\[]++)", re.IGNORECASE)
_OTHER_KEYS: Final = re.compile(
    rb"((?:(?<=[\r\n])|\A)[ \t]*+(?:a[ \t]*+=[ \t]*+(?:ice-pwd|key-mgmt)[ \t]*+:|k[ \t]*+=))"
    rb"([^\r\n]++)",
    re.IGNORECASE,
)
_OTHER_KEY_WORDS: Final = (b"ice-pwd", b"key-mgmt", b"k=", b"k ", b"k\t")

_COUNTED: Final = re.compile(rb"\[redacted ([0-9]{1,9}) characters\]")
_LONGEST_KEY: Final = 65_535

_WORD_ENDS: Final = (b" ", b"\t", b"\n", b"\r", b"\f", b"\v", b"<", b">", b'"')
_BEFORE_AT: Final = re.compile(rb'[^\s<>"@]++@?')
_USER_AND_PASSWORD: Final = re.compile(
    rb"((?<![a-z0-9])(?:sips?|https?):(?://)?[^:]*+:)[^@]++@", re.IGNORECASE
)


def redact(message: bytes) -> bytes:
    """A message without its secrets.

    Args:
        message: Octets as sent or received; any octets at all.

    Returns:
        The same octets, with each secret replaced by `[redacted]`, keys by
        `[redacted 40 characters]`, passwords in URIs by `(redacted)`.
    """
    # most messages hold no secret: look for the words first, it is many times cheaper
    lower = message.lower()
    if b"crypto" in lower:
        message = _CRYPTO.sub(_without_crypto_keys, message)
    if b"inline:" in lower:
        message = _INLINE.sub(_without_inline_key, message)
    if any(word in lower for word in _OTHER_KEY_WORDS):
        message = _OTHER_KEYS.sub(rb"\1" + REDACTED, message)
    if _may_hold_password(message):
        message = _BEFORE_AT.sub(_without_password, message)
    # last: a quotation mark that one of the others took shall not change what is read here
    if b"authorization" in lower or b"authentication-info" in lower:
        message = _CREDENTIALS.sub(_without_credentials, message)
    return message


def filled(message: bytes) -> bytes:
    """A redacted message whose keys have stand-ins of their own length, for other programs to read.

    They expect base64 after `inline:`, and find it; the octets that a body had, it has again.
    """
    return _COUNTED.sub(lambda found: b"x" * min(int(found[1]), _LONGEST_KEY), message)


def _may_hold_password(message: bytes) -> bool:
    """Whether two colons stand before an `@` in one word: after the scheme and after the user."""
    for before in message.split(b"@")[:-1]:
        start = max(map(before.rfind, _WORD_ENDS)) + 1
        if before.count(b":", start) > 1:
            return True
    return False


def _counted(secret: bytes) -> bytes:
    if _REDACTED_BEFORE.fullmatch(secret):
        return secret
    return b"[redacted %d characters]" % len(secret)


def _without_credentials(header: re.Match[bytes]) -> bytes:
    value = header[2]
    scheme = _SCHEME.match(value)
    start = scheme.end() if scheme else 0
    if scheme and scheme[2].lower() != b"digest":
        return header[1] + scheme[0] + b" " + REDACTED
    return header[1] + value[:start] + _CREDENTIAL_PART.sub(_without_secret_part, value[start:])


def _without_secret_part(part: re.Match[bytes]) -> bytes:
    if part[1] is None:
        return part[3] or REDACTED
    name, value = part[1].lower(), part[2]
    if name not in _HARMLESS | _SECRET:
        return REDACTED
    quoted = value.startswith(b'"')
    if name in _HARMLESS and not (quoted and (len(value) == 1 or not value.endswith(b'"'))):
        return part[0]
    return part[1] + (b'="' + REDACTED + b'"' if quoted else b"=" + REDACTED)


def _without_crypto_keys(line: re.Match[bytes]) -> bytes:
    place = -1

    def word(found: re.Match[bytes]) -> bytes:
        nonlocal place
        place += 1
        text = found[0]
        if (
            (place == 0 and _TAG.fullmatch(text))
            or (place == 1 and _SUITE.fullmatch(text))
            or _SESSION_PARAMETER.fullmatch(text)
        ):
            return text
        return b";".join(map(_without_key, text.split(b";")))

    return line[1] + _CRYPTO_WORD.sub(word, line[2])


def _without_key(text: bytes) -> bytes:
    before, inline, key = text.rpartition(b"inline:")
    if not inline or before not in {b"", b"FEC_KEY="}:
        return _counted(text)
    secret, bar, rest = key.partition(b"|")
    if not _AFTER_KEY.fullmatch(bar + rest):
        return before + inline + _counted(key)
    return before + inline + _counted(secret) + bar + rest


def _without_inline_key(found: re.Match[bytes]) -> bytes:
    return found[1] + _counted(found[2])


def _without_password(found: re.Match[bytes]) -> bytes:
    if not found[0].endswith(b"@"):
        return found[0]
    return _USER_AND_PASSWORD.sub(rb"\1" + _NO_PASSWORD + b"@", found[0])
