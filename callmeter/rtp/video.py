"""What one RTP payload of a video stream says of its frame, whatever the codec."""

from __future__ import annotations

from typing import Final, NamedTuple

__all__ = ["CLOCK_RATE", "VideoPayload"]

CLOCK_RATE: Final = 90_000
"""Timestamp units a second of every video format here (RFC 3551 section 5)."""


class VideoPayload(NamedTuple):
    """One payload, looked at and not decoded.

    Attributes:
        starts_frame: Nothing of its frame need come before it.
        key_frame: Whether its frame can be decoded without any other; None when this payload
            cannot tell.
        size: Width and height of the picture, where it says so.
        picture_id: Number of the frame, 7 or 15 bits, of a codec that counts them.
        pictured: Something of the picture itself is in it, and not what goes before one alone.
    """

    starts_frame: bool
    key_frame: bool | None
    size: tuple[int, int] | None = None
    picture_id: int | None = None
    pictured: bool = True
