"""Which RTCP feedback both sides take: a=rtcp-fb in offers and answers (RFC 4585 section 4.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from callmeter.sdp.attributes import RtcpFb

__all__ = ["agreed_feedback", "feedback_for", "is_offered"]


def is_offered(item: RtcpFb, offered: Iterable[RtcpFb]) -> bool:
    """Whether an answer may say this: an offer for all formats covers each of them."""
    return any(
        _same(item, other) and other.payload_type in {None, item.payload_type} for other in offered
    )


def agreed_feedback(
    offered: Iterable[RtcpFb], own: Collection[RtcpFb], payload_types: Collection[int]
) -> tuple[RtcpFb, ...]:
    """What to answer: those offered that this side takes, for the formats of the answer.

    Args:
        offered: Of the other side.
        own: What this side takes.
        payload_types: Of the answer.
    """
    return tuple(
        dict.fromkeys(
            item
            for item in offered
            if item.payload_type in {None, *payload_types}
            and any(
                _same(item, mine) and mine.payload_type in {None, item.payload_type} for mine in own
            )
        )
    )


def feedback_for(feedback: Iterable[RtcpFb], payload_type: int) -> frozenset[str]:
    """The messages for one format in the words of the attribute, `"nack"`, `"nack pli"`."""
    return frozenset(
        f"{item.kind} {item.parameter}".rstrip()
        for item in feedback
        if item.payload_type in {None, payload_type}
    )


def _same(one: RtcpFb, other: RtcpFb) -> bool:
    return (one.kind, one.parameter) == (other.kind, other.parameter)
