"""Datagrams of a signalling load on their way out: those that are alike leave together."""

from __future__ import annotations

from operator import itemgetter
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from callmeter.sip.transaction.effects import Hop
    from callmeter.sip.transaction.key import Key

__all__ = ["LEAST", "Posted", "bursts"]

LEAST: Final = 4
"""So many are worth being put side by side."""

Posted = tuple[bytes, "Hop", "Key | None", int]
"""Octets, where to, the transaction that is told when they cannot be sent, and how many of the
same call have to leave before them."""


def bursts(posted: list[Posted]) -> list[list[Posted]]:
    """Datagrams of one length to one hop side by side.

    An ACK is as long as the next call's, so that the BYE behind each is all that is between them.

    Returns:
        What may leave in one piece, in an order in which each call keeps its own.
    """
    found: dict[tuple[int, int, int], list[Posted]] = {}
    for each in posted:
        octets, hop, _, rank = each
        # The hops are alive, so that each is known by where it is.
        alike = rank, len(octets), id(hop)
        if alike in found:
            found[alike].append(each)
        else:
            found[alike] = [each]
    return [found[alike] for alike in sorted(found, key=itemgetter(0))]
