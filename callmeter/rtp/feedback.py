"""RTCP feedback messages (RFC 4585 section 6, RFC 5104 section 4.3.1), without their header.

Generic NACK, picture loss, slice loss and full intra requests have a form of their own here.
Other formats (TMMBR, REMB, transport-wide feedback) are left to `rtcp`, which keeps them as they
came.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from callmeter.errors import LocalProtocolError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

__all__ = [
    "PAYLOAD_FEEDBACK",
    "TRANSPORT_FEEDBACK",
    "Feedback",
    "FeedbackCounts",
    "FullIntraRequest",
    "GenericNack",
    "IntraRequest",
    "PictureLossIndication",
    "SliceLoss",
    "SliceLossIndication",
    "build_feedback",
    "concerns",
    "parse_feedback",
]

TRANSPORT_FEEDBACK: Final = 205
PAYLOAD_FEEDBACK: Final = 206

_GENERIC_NACK: Final = (TRANSPORT_FEEDBACK, 1)
_PICTURE_LOSS: Final = (PAYLOAD_FEEDBACK, 1)
_SLICE_LOSS: Final = (PAYLOAD_FEEDBACK, 2)
_FULL_INTRA: Final = (PAYLOAD_FEEDBACK, 4)

_SSRCS = struct.Struct("!II")
_NACK = struct.Struct("!HH")
_SLICE = struct.Struct("!I")
_INTRA = struct.Struct("!IB3x")
_BITMASK: Final = 16
_SEQUENCES: Final = 1 << 16
_MAX_MACROBLOCK: Final = 0x1FFF
_MAX_PICTURE: Final = 0x3F


@dataclass(frozen=True, slots=True)
class GenericNack:
    """Packets that did not arrive (RFC 4585 section 6.2.1).

    Attributes:
        sender: SSRC of who asks.
        media: SSRC of the stream they belong to.
        lost: Their sequence numbers, in order of the stream.
    """

    sender: int
    media: int
    lost: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class PictureLossIndication:
    """Something of a picture is lost: send a key frame when convenient (RFC 4585 6.3.1)."""

    sender: int
    media: int


@dataclass(frozen=True, slots=True)
class SliceLoss:
    """Macroblocks of one picture that are lost, in scan order.

    Attributes:
        first: The first one, 13 bits.
        number: How many, 13 bits.
        picture: The six lowest bits of the picture's identifier.
    """

    first: int
    number: int
    picture: int


@dataclass(frozen=True, slots=True)
class SliceLossIndication:
    """Parts of pictures are lost (RFC 4585 section 6.3.2)."""

    sender: int
    media: int
    losses: tuple[SliceLoss, ...]


@dataclass(frozen=True, slots=True)
class IntraRequest:
    """One wanted key frame; a request that is sent again keeps its number.

    Attributes:
        ssrc: The stream it is wanted of.
        sequence: Command number, 8 bits.
    """

    ssrc: int
    sequence: int


@dataclass(frozen=True, slots=True)
class FullIntraRequest:
    """Send a key frame as soon as possible (RFC 5104 section 4.3.1)."""

    sender: int
    requests: tuple[IntraRequest, ...]


Feedback = GenericNack | PictureLossIndication | SliceLossIndication | FullIntraRequest


@dataclass(slots=True)
class FeedbackCounts:
    """How many messages of each kind went one way."""

    nack: int = 0
    pli: int = 0
    fir: int = 0
    sli: int = 0

    def note(self, message: Feedback) -> str:
        """Count a message; returns the name of its kind."""
        name = _NAMES[type(message)]
        setattr(self, name, getattr(self, name) + 1)
        return name


_NAMES: Final[Mapping[type[Feedback], str]] = {
    GenericNack: "nack",
    PictureLossIndication: "pli",
    FullIntraRequest: "fir",
    SliceLossIndication: "sli",
}


def concerns(message: Feedback, ssrc: int) -> bool:
    """Whether a message is about this stream."""
    if isinstance(message, FullIntraRequest):
        return any(request.ssrc == ssrc for request in message.requests)
    return message.media == ssrc


def parse_feedback(kind: int, message_format: int, body: bytes) -> Feedback | None:
    """Read a feedback message.

    Args:
        kind: Packet type, 205 or 206.
        message_format: The five bits that stand for the count elsewhere.
        body: What follows the first word.

    Returns:
        The message; None when it is of another format.

    Raises:
        ValueError: It is too short, or longer than its entries.
    """
    parse = _PARSERS.get((kind, message_format))
    if parse is None:
        return None
    if len(body) < _SSRCS.size:
        raise ValueError("feedback without its two SSRCs")
    sender, media = _SSRCS.unpack_from(body)
    return parse(sender, media, body[_SSRCS.size :])


def _entries(layout: struct.Struct, control: bytes) -> Iterable[tuple[int, ...]]:
    if not control or len(control) % layout.size:
        raise ValueError("feedback control information of a wrong length")
    return layout.iter_unpack(control)


def _parse_nack(sender: int, media: int, control: bytes) -> GenericNack:
    lost = []
    for first, mask in _entries(_NACK, control):
        lost.append(first)
        lost += [(first + 1 + bit) % _SEQUENCES for bit in range(_BITMASK) if mask & (1 << bit)]
    return GenericNack(sender, media, tuple(lost))


def _parse_picture_loss(sender: int, media: int, control: bytes) -> PictureLossIndication:
    if control:
        raise ValueError("a picture loss indication has no control information")
    return PictureLossIndication(sender, media)


def _parse_slice_loss(sender: int, media: int, control: bytes) -> SliceLossIndication:
    losses = tuple(
        SliceLoss(word >> 19, word >> 6 & _MAX_MACROBLOCK, word & _MAX_PICTURE)
        for (word,) in _entries(_SLICE, control)
    )
    return SliceLossIndication(sender, media, losses)


def _parse_full_intra(sender: int, _media: int, control: bytes) -> FullIntraRequest:
    requests = tuple(IntraRequest(*entry) for entry in _entries(_INTRA, control))
    return FullIntraRequest(sender, requests)


_PARSERS: Final[Mapping[tuple[int, int], Callable[[int, int, bytes], Feedback]]] = {
    _GENERIC_NACK: _parse_nack,
    _PICTURE_LOSS: _parse_picture_loss,
    _SLICE_LOSS: _parse_slice_loss,
    _FULL_INTRA: _parse_full_intra,
}


def build_feedback(message: Feedback) -> tuple[int, int, bytes]:
    """Packet type, format and body of a message.

    Raises:
        LocalProtocolError: It asks for nothing, or a macroblock does not fit its field.
        struct.error: A number does not fit its field.
    """
    media = 0 if isinstance(message, FullIntraRequest) else message.media
    control = b""
    match message:
        case GenericNack():
            number = _GENERIC_NACK
            control = b"".join(_NACK.pack(*entry) for entry in _bitmasks(message.lost))
        case PictureLossIndication():
            number = _PICTURE_LOSS
        case SliceLossIndication():
            number = _SLICE_LOSS
            control = b"".join(map(_build_slice, message.losses))
        case _:
            number = _FULL_INTRA
            control = b"".join(_INTRA.pack(each.ssrc, each.sequence) for each in message.requests)
    if number is not _PICTURE_LOSS and not control:
        raise LocalProtocolError("a feedback message names what it is about")
    return *number, _SSRCS.pack(message.sender, media) + control


def _bitmasks(lost: Iterable[int]) -> list[tuple[int, int]]:
    """Each entry is a number and a mask of the 16 that follow it."""
    entries: list[tuple[int, int]] = []
    for number in lost:
        behind = (number - entries[-1][0]) % _SEQUENCES if entries else 0
        if 0 < behind <= _BITMASK:
            first, mask = entries[-1]
            entries[-1] = first, mask | 1 << (behind - 1)
        else:
            entries.append((number, 0))
    return entries


def _build_slice(loss: SliceLoss) -> bytes:
    fits = 0 <= loss.first <= _MAX_MACROBLOCK and 0 <= loss.number <= _MAX_MACROBLOCK
    if not fits or not 0 <= loss.picture <= _MAX_PICTURE:
        raise LocalProtocolError("macroblocks have 13 bits, a picture has 6")
    return _SLICE.pack(loss.first << 19 | loss.number << 6 | loss.picture)
