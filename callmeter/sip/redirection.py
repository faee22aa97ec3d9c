"""Where a redirected call may go next (RFC 3261 sections 8.1.3.4 and 19.1.5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from callmeter.sip.uri import SipUri

if TYPE_CHECKING:
    from callmeter.sip.headers import NameAddr
    from callmeter.sip.message import Response

__all__ = ["TargetSet"]

MAX_TARGETS = 32
"""Contacts of one call that are considered, however many its 3xx list."""


class TargetSet:
    """The targets of one call: each is tried once, those of a higher q first.

    Args:
        first: Whom the call was for. A call to a sips URI never goes to another scheme.
        limit: How many more may be tried.
    """

    __slots__ = ("_known", "_left", "_secure", "_waiting")

    def __init__(self, first: SipUri, limit: int) -> None:
        self._known = [first]
        self._left = limit
        self._secure = first.scheme == "sips"
        self._waiting: list[SipUri] = []

    def add(self, response: Response) -> None:
        """Take in the Contacts of a 3xx, before those that wait already."""
        contacts = response.contacts
        if isinstance(contacts, str):
            return
        found: list[SipUri] = []
        for contact in sorted(contacts, key=_quality, reverse=True):
            uri = contact.uri
            if (
                isinstance(uri, SipUri)
                and (uri.scheme == "sips" or not self._secure)
                and len(self._known) < MAX_TARGETS
                and not any(uri.equivalent(known) for known in self._known)
            ):
                self._known.append(uri)
                found.append(uri)
        self._waiting[:0] = found

    def next(self) -> SipUri | None:
        """The target to try now; None when none is left, or enough were tried."""
        if not self._waiting or not self._left:
            return None
        self._left -= 1
        return self._waiting.pop(0)


def _quality(contact: NameAddr) -> float:
    """The q of a Contact, 1 without a readable one (section 20.10)."""
    try:
        quality = float(contact.param("q") or 1)
    except ValueError:
        return 1.0
    return quality if 0 <= quality <= 1 else 1.0
