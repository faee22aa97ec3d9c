"""The arithmetic of digest access authentication (RFC 7616 section 3.4, RFC 3261 section 22.4)."""

from __future__ import annotations

import hashlib
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Protocol

    class _Hash(Protocol):
        def hexdigest(self) -> str: ...


__all__ = ["ALGORITHMS", "algorithm_rank", "canonical_algorithm", "digest_response", "hash_hex"]

SESSION_SUFFIX = "-sess"


def _available() -> Mapping[str, Callable[[bytes], _Hash]]:
    """Hash functions by IANA name, weakest first; SHA-512-256 depends on the OpenSSL in use."""
    functions: dict[str, Callable[[bytes], _Hash]] = {
        # What RFC 2617 asks for; SIP has devices that know nothing else.
        "MD5": partial(hashlib.md5, usedforsecurity=False),
        "SHA-256": hashlib.sha256,
    }
    if "sha512_256" in hashlib.algorithms_available:
        functions["SHA-512-256"] = partial(hashlib.new, "sha512_256")
    return functions


ALGORITHMS = _available()
"""The hash functions that work here, by their name in an `algorithm` parameter."""

_RANKS = {name: rank for rank, name in enumerate(ALGORITHMS)}
_CANONICAL = {
    (name + suffix).lower(): name + suffix for name in ALGORITHMS for suffix in ("", SESSION_SUFFIX)
}


def canonical_algorithm(text: str | None) -> str | None:
    """The IANA spelling of an `algorithm` value; None means it is not known here.

    A challenge without the parameter means MD5 (RFC 7616 section 3.3); an unknown name never does.
    """
    return "MD5" if text is None else _CANONICAL.get(text.lower())


def algorithm_rank(algorithm: str) -> int:
    """Greater is stronger; the `-sess` variants are as strong as the others."""
    return _RANKS[algorithm.removesuffix(SESSION_SUFFIX)]


def hash_hex(algorithm: str, data: bytes | str) -> str:
    """The hash that an algorithm is named for, in lower-case hex."""
    if isinstance(data, str):
        data = data.encode("utf-8", "surrogateescape")
    return ALGORITHMS[algorithm.removesuffix(SESSION_SUFFIX)](data).hexdigest()


def digest_response(
    algorithm: str,
    *,
    username: str,
    realm: str,
    password: str,
    method: str,
    uri: str,
    nonce: str,
    qop: str | None = None,
    nonce_count: str = "",
    cnonce: str = "",
    body: bytes = b"",
) -> str:
    """The `response` value that proves knowledge of the password.

    Args:
        algorithm: Canonical name, such as `"SHA-256"` or `"MD5-sess"`.
        username: Without quotes and escapes, as are `realm` and `nonce`.
        realm: From the challenge.
        password: The shared secret.
        method: Of the request.
        uri: The digest-uri, normally the Request-URI.
        nonce: From the challenge.
        qop: `"auth"`, `"auth-int"` or None for the form of RFC 2069.
        nonce_count: Eight hex digits; with `qop` only.
        cnonce: The client's nonce; with `qop` or a `-sess` algorithm.
        body: The octets of the body; hashed for `auth-int`.
    """
    secret = hash_hex(algorithm, f"{username}:{realm}:{password}")
    if algorithm.endswith(SESSION_SUFFIX):
        secret = hash_hex(algorithm, f"{secret}:{nonce}:{cnonce}")
    subject = f"{method}:{uri}"
    if qop == "auth-int":
        subject += ":" + hash_hex(algorithm, body)
    middle = nonce if qop is None else f"{nonce}:{nonce_count}:{cnonce}:{qop}"
    return hash_hex(algorithm, f"{secret}:{middle}:{hash_hex(algorithm, subject)}")
