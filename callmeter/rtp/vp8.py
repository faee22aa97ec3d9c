"""VP8 in RTP (RFC 7741): a frame cut into payloads, and what a payload says of its frame."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from callmeter.errors import LocalProtocolError, RtpSyntaxError
from callmeter.rtp.video import VideoPayload

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["RESERVED", "describe", "frame_of", "frame_size", "is_key_frame", "packetize"]

RESERVED: Final = 0x48
"""Bits of the first octet that a sender leaves 0, and a receiver ignores (RFC 7741 4.2)."""
_EXTENDED: Final = 0x80
_STARTS_PARTITION: Final = 0x10
_PARTITION: Final = 0x07
_HAS_PICTURE_ID: Final = 0x80
_HAS_LAYER_INDEX: Final = 0x40
_HAS_LAYER_OR_KEY_INDEX: Final = 0x30
_LONG_PICTURE_ID: Final = 0x80
_PICTURE_IDS: Final = 1 << 15
_INTER_FRAME: Final = 0x01
_START_CODE: Final = b"\x9d\x01\x2a"
_KEY_FRAME_HEADER: Final = 10
_SIZE_BITS: Final = 0x3FFF
_RFC: Final = "RFC 7741 section 4.2"


class _Descriptor(NamedTuple):
    """The payload descriptor, as far as a meter cares.

    Attributes:
        length: Octets of it.
        starts_frame: The first partition starts here.
        picture_id: None when it says none.
    """

    length: int
    starts_frame: bool
    picture_id: int | None


def packetize(frame: bytes, limit: int, picture_id: int | None = None) -> list[bytes]:
    """The payloads of one frame, in order; the marker belongs to the last.

    Args:
        frame: As the encoder made it.
        limit: Octets a payload may have, the descriptor included.
        picture_id: Number of the frame, taken modulo 2**15; None sends none.

    Raises:
        LocalProtocolError: The frame is empty, or the limit leaves no room for it.
    """
    extension = b""
    if picture_id is not None:
        number = _LONG_PICTURE_ID << 8 | picture_id % _PICTURE_IDS
        extension = bytes([_HAS_PICTURE_ID]) + number.to_bytes(2, "big")
    first = _EXTENDED if extension else 0
    room = limit - 1 - len(extension)
    if not frame or room < 1:
        raise LocalProtocolError("a VP8 frame has octets, and a payload has room for some of them")
    head = bytes([first | _STARTS_PARTITION]) + extension
    following = bytes([first]) + extension
    return [
        (following if start else head) + frame[start : start + room]
        for start in range(0, len(frame), room)
    ]


def describe(payload: bytes) -> VideoPayload:
    """What a payload says of its frame.

    Raises:
        RtpSyntaxError: Descriptor or frame header are cut off, or no VP8.
    """
    descriptor = _read_descriptor(payload)
    if not descriptor.starts_frame:
        return VideoPayload(starts_frame=False, key_frame=None, picture_id=descriptor.picture_id)
    frame = payload[descriptor.length : descriptor.length + _KEY_FRAME_HEADER]
    return VideoPayload(
        starts_frame=True,
        key_frame=is_key_frame(frame),
        size=frame_size(frame),
        picture_id=descriptor.picture_id,
    )


def frame_of(payloads: Sequence[bytes]) -> bytes:
    """The frame whose payloads these are, in order and all of them.

    Raises:
        RtpSyntaxError: They are not those of one frame.
    """
    pieces: list[bytes] = []
    for payload in payloads:
        descriptor = _read_descriptor(payload)
        if descriptor.starts_frame == bool(pieces):
            raise RtpSyntaxError("a VP8 frame starts once, with its first payload", rfc=_RFC)
        pieces.append(payload[descriptor.length :])
    return b"".join(pieces)


def is_key_frame(frame: bytes) -> bool:
    """Whether a frame, or the start of one, is decoded without any other (RFC 6386 9.1)."""
    return not frame[0] & _INTER_FRAME


def frame_size(frame: bytes) -> tuple[int, int] | None:
    """Width and height in the header of a key frame (RFC 6386 section 9.1); None of others.

    Raises:
        RtpSyntaxError: The start code is missing.
    """
    if not is_key_frame(frame) or len(frame) < _KEY_FRAME_HEADER:
        return None
    if frame[3:6] != _START_CODE:
        raise RtpSyntaxError(
            "a VP8 key frame without its start code", rfc="RFC 6386 section 9.1", excerpt=frame
        )
    width, height = int.from_bytes(frame[6:8], "little"), int.from_bytes(frame[8:10], "little")
    return width & _SIZE_BITS, height & _SIZE_BITS


def _read_descriptor(payload: bytes) -> _Descriptor:
    try:
        first = payload[0]
        length, picture_id = 1, None
        if first & _EXTENDED:
            length, picture_id = _read_extension(payload)
        payload[length]
    except IndexError:
        raise RtpSyntaxError("a VP8 payload is cut off", rfc=_RFC, excerpt=payload) from None
    starts = first & (_STARTS_PARTITION | _PARTITION) == _STARTS_PARTITION
    return _Descriptor(length, starts, picture_id)


def _read_extension(payload: bytes) -> tuple[int, int | None]:
    """Length of the descriptor with its extensions, and the picture identifier."""
    flags = payload[1]
    length, picture_id = 2, None
    if flags & _HAS_PICTURE_ID:
        picture_id = payload[2]
        length = 3
        if picture_id & _LONG_PICTURE_ID:
            picture_id = (picture_id & ~_LONG_PICTURE_ID) << 8 | payload[3]
            length = 4
    length += flags & _HAS_LAYER_INDEX != 0
    length += flags & _HAS_LAYER_OR_KEY_INDEX != 0
    return length, picture_id
