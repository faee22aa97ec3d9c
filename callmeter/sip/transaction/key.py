"""What makes two messages belong to one transaction (RFC 3261 sections 17.1.3 and 17.2.3).

Keys are tuples of parsed values, never joined text: no choice of octets in one header can imitate
another.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from callmeter.sip.transaction.effects import Key

if TYPE_CHECKING:
    from collections.abc import Callable

    from callmeter.sip.message import Request, Response

__all__ = [
    "MAGIC_COOKIE",
    "Key",
    "client_key",
    "is_legacy",
    "legacy_ack_key",
    "merge_key",
    "new_branch",
    "response_key",
    "server_key",
]

MAGIC_COOKIE = "z9hG4bK"
"""Begins every branch that RFC 3261 makes unique; its octets are compared as they are."""


def new_branch(entropy: Callable[[int], bytes]) -> str:
    """A branch with 64 random bits."""
    return MAGIC_COOKIE + entropy(8).hex()


def client_key(branch: str, method: str) -> Key:
    """The key of the client transaction that sent `method` with `branch`."""
    return ("c", branch, method)


def response_key(response: Response) -> Key:
    """The client transaction a response belongs to: 17.1.3, branch and CSeq method."""
    usual = response.usual
    if usual is not None:
        return ("c", usual.branch, usual.method)
    return ("c", response.via.branch, response.cseq.method)


def server_key(request: Request, method: str | None = None) -> Key:
    """The server transaction of a request: 17.2.3.

    Args:
        request: As it came; `received` and `rport` do not matter.
        method: `"INVITE"` for the transaction that an ACK or CANCEL is about, None for the
            request's own.
    """
    method = method or request.method
    usual = request.usual
    if usual is not None and usual.branch.startswith(MAGIC_COOKIE) and usual.branch != MAGIC_COOKIE:
        port = usual.port
        return ("s", usual.branch, usual.host.lower(), None if port is None else int(port), method)
    via = request.via
    branch = via.branch
    if branch is None or not branch.startswith(MAGIC_COOKIE) or branch == MAGIC_COOKIE:
        return (*_legacy_key(request, method), request.to_tag)
    return ("s", branch, via.host.lower(), via.port, method)


def legacy_ack_key(ack: Request) -> Key:
    """All of an INVITE's RFC 2543 key but the tag of To, which its answer has chosen since."""
    return _legacy_key(ack, "INVITE")


def is_legacy(key: Key) -> bool:
    """Whether the rules of RFC 2543 made this server key."""
    return key[0] == "s2543"


def merge_key(request: Request) -> Key:
    """Equal for the copies of one request that came along different paths (8.2.2.2)."""
    usual = request.usual
    if usual is not None:
        return (usual.from_tag, usual.call_id, int(usual.number), request.method)
    return (request.from_.tag, request.call_id, request.cseq.number, request.method)


def _legacy_key(request: Request, method: str) -> Key:
    """17.2.3 for a branch without the cookie, or with nothing behind it (RFC 4475 badbranch)."""
    via = request.via
    return (
        "s2543",
        str(request.uri),
        request.from_tag,
        request.call_id,
        request.cseq.number,
        (via.transport, via.host.lower(), via.port, via.branch),
        method,
    )
