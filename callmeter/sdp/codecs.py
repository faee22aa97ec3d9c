"""Payload formats: RFC 3551's static table, dynamic numbers, and which format equals which."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import chain
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, TypeVar

from callmeter.errors import ConfigurationError, SdpSyntaxError
from callmeter.sdp.attributes import MAX_PAYLOAD_TYPE, Fmtp, RtpMap
from callmeter.sdp.grammar import decimal, folded, syntax_error
from callmeter.sdp.h264_format import H264Parameters, answer_parameters, answers, fits

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from callmeter.sdp.description import MediaDescription

__all__ = [
    "DTMF_EVENTS",
    "ENCODINGS",
    "STATIC_PAYLOAD_TYPES",
    "VIDEO_ENCODINGS",
    "PayloadFormat",
    "find_format",
    "formats_for",
    "payload_formats",
    "renumbered",
    "select_formats",
    "telephone_event",
]

DTMF_EVENTS: Final = "0-15"
"""Events 0-9, *, #, A-D (RFC 4733 section 3.2)."""

_EVENT_NAME: Final = "telephone-event"
_NOISE_NAME: Final = "cn"
_H264_NAME: Final = "h264"
_NOISE: Final = 13
_FIRST_STATIC_GAP: Final = 35
_LAST_STATIC_GAP: Final = 63
_FIRST_DYNAMIC: Final = 96

_Value = TypeVar("_Value", RtpMap, Fmtp)


@dataclass(frozen=True, slots=True)
class PayloadFormat:
    """One format of an RTP m= line.

    Attributes:
        payload_type: Its number in this description, 0 to 127.
        encoding: Encoding name, compared without case.
        clock_rate: RTP timestamp units a second.
        channels: Audio channels.
        fmtp: Format parameters as text, None without an a=fmtp line.
    """

    payload_type: int
    encoding: str
    clock_rate: int
    channels: int = 1
    fmtp: str | None = None

    @property
    def key(self) -> tuple[str, int, int]:
        """What two descriptions of one format have in common: name, clock rate, channels.

        To the name of H.264 belong its profile and packetization mode (RFC 6184 section 8.2.2).
        """
        name = folded(self.encoding)
        if self.is_h264:
            parameters = H264Parameters.parse(self.fmtp)
            name += f"/{parameters.packetization_mode}/{parameters.profile or ''}"
        return name, self.clock_rate, self.channels

    @property
    def is_telephone_event(self) -> bool:
        """Whether this carries RFC 4733 events and no audio."""
        return folded(self.encoding) == _EVENT_NAME

    @property
    def is_comfort_noise(self) -> bool:
        """Whether this carries RFC 3389 noise for the pauses of other formats."""
        return folded(self.encoding) == _NOISE_NAME

    @property
    def is_h264(self) -> bool:
        """Whether this is H.264, which is many formats under one name."""
        return folded(self.encoding) == _H264_NAME

    @property
    def accompanies(self) -> bool:
        """Whether it carries no audio of its own, but goes with one of the same clock rate."""
        return self.is_telephone_event or self.is_comfort_noise

    @property
    def rtpmap(self) -> RtpMap:
        """Its a=rtpmap value."""
        return RtpMap(self.payload_type, self.encoding, self.clock_rate, self.channels)

    def matches(self, other: PayloadFormat) -> bool:
        """Whether both stand for the same format, whatever their numbers."""
        if not (self.is_h264 and other.is_h264):
            return self.key == other.key
        own, its = H264Parameters.parse(self.fmtp), H264Parameters.parse(other.fmtp)
        return self.key[1:] == other.key[1:] and fits(own, its)


def _static() -> Iterator[tuple[int, PayloadFormat]]:
    audio = (
        (0, "PCMU", 8000, 1),
        (3, "GSM", 8000, 1),
        (4, "G723", 8000, 1),
        (5, "DVI4", 8000, 1),
        (6, "DVI4", 16_000, 1),
        (7, "LPC", 8000, 1),
        (8, "PCMA", 8000, 1),
        (9, "G722", 8000, 1),
        (10, "L16", 44_100, 2),
        (11, "L16", 44_100, 1),
        (12, "QCELP", 8000, 1),
        (13, "CN", 8000, 1),
        (14, "MPA", 90_000, 1),
        (15, "G728", 8000, 1),
        (16, "DVI4", 11_025, 1),
        (17, "DVI4", 22_050, 1),
        (18, "G729", 8000, 1),
    )
    video = (
        (25, "CelB"),
        (26, "JPEG"),
        (28, "nv"),
        (31, "H261"),
        (32, "MPV"),
        (33, "MP2T"),
        (34, "H263"),
    )
    for number, encoding, rate, channels in audio:
        yield number, PayloadFormat(number, encoding, rate, channels)
    for number, encoding in video:
        yield number, PayloadFormat(number, encoding, 90_000)


STATIC_PAYLOAD_TYPES: Final[Mapping[int, PayloadFormat]] = MappingProxyType(dict(_static()))
"""RFC 3551 tables 4 and 5. G722 has the clock rate 8000 by historic error (section 4.5.2)."""

ENCODINGS: Final[Mapping[str, PayloadFormat]] = MappingProxyType(
    {
        "PCMU": STATIC_PAYLOAD_TYPES[0],
        "PCMA": STATIC_PAYLOAD_TYPES[8],
        "G722": STATIC_PAYLOAD_TYPES[9],
        "opus": PayloadFormat(111, "opus", 48_000, 2),
    }
)
"""The audio formats that can be offered, by encoding name. Opus always says 48000 and two channels,
whatever is sent (RFC 7587 section 4.1)."""

_H264: Final = H264Parameters(
    profile_level_id=b"\x42\xe0\x28", packetization_mode=1, level_asymmetry_allowed=True
)
_H264_SINGLE_UNIT: Final = PayloadFormat(
    98, "H264", 90_000, fmtp=str(replace(_H264, packetization_mode=0))
)
VIDEO_ENCODINGS: Final[Mapping[str, PayloadFormat]] = MappingProxyType(
    {
        "VP8": PayloadFormat(96, "VP8", 90_000),
        "H264": PayloadFormat(97, "H264", 90_000, fmtp=str(_H264)),
    }
)
"""The video formats that can be offered, by encoding name. H.264 is Constrained Baseline of level
4, which has room for 1920 x 1080 at 30 frames a second."""


def telephone_event(
    payload_type: int = 101, clock_rate: int = 8000, events: str = DTMF_EVENTS
) -> PayloadFormat:
    """The RFC 4733 format; its clock rate is that of the audio it belongs to (section 2.1)."""
    return PayloadFormat(payload_type, _EVENT_NAME, clock_rate, 1, events)


def formats_for(
    encodings: Iterable[str],
    *,
    telephone_event_payload_type: int | None = None,
    comfort_noise: bool = False,
    opus: PayloadFormat | None = None,
) -> tuple[PayloadFormat, ...]:
    """What an offer lists for these encoding names, in their order.

    Args:
        encodings: Names of `ENCODINGS` or of `VIDEO_ENCODINGS`. H.264 is listed twice: with
            fragments (packetization mode 1) and without (0).
        telephone_event_payload_type: Number of the first telephone-event format, None to offer
            none. There is one such format for each clock rate.
        comfort_noise: Offer the noise of RFC 3389 with those that have its static clock rate.
        opus: Its number and format parameters; None takes 111 and no parameters.

    Raises:
        ConfigurationError: A name is not known.
    """
    chosen: list[PayloadFormat] = []
    for name in encodings:
        known = ENCODINGS.get(name) or VIDEO_ENCODINGS.get(name)
        if known is None:
            raise ConfigurationError(f"{name!r} is not an encoding that can be offered")
        chosen.append(opus if opus is not None and opus.matches(known) else known)
        if known.is_h264:
            chosen.append(_H264_SINGLE_UNIT)
    noise = STATIC_PAYLOAD_TYPES[_NOISE]
    if comfort_noise and any(item.clock_rate == noise.clock_rate for item in chosen):
        chosen.append(noise)
    if telephone_event_payload_type is not None:
        rates = dict.fromkeys(item.clock_rate for item in chosen)
        chosen += [telephone_event(telephone_event_payload_type, rate) for rate in rates]
    return renumbered(chosen, {})


def find_format(formats: Iterable[PayloadFormat], wanted: PayloadFormat) -> PayloadFormat | None:
    """The first of `formats` that is the same format as `wanted`."""
    return next((item for item in formats if item.matches(wanted)), None)


def select_formats(
    offered: Sequence[PayloadFormat], supported: Sequence[PayloadFormat]
) -> tuple[PayloadFormat, ...]:
    """The formats to answer: the offerer's order and numbers (RFC 3264 section 6.1).

    Format parameters are those of `supported`, for an answer states what its sender takes; of
    H.264 the profile is the one offered (RFC 6184 section 8.2.2).
    telephone-event and comfort noise are kept where their clock rate is that of a chosen audio
    format (RFC 4733 section 2.1, RFC 3389 section 4), or where the stream was offered for events
    alone. Empty when nothing fits.
    """
    chosen: list[PayloadFormat] = []
    for item in offered:
        answer = _answer(item, supported)
        if answer is not None and find_format(chosen, item) is None:
            chosen.append(answer)
    if all(item.is_telephone_event for item in offered):
        return tuple(chosen)
    rates = {item.clock_rate for item in chosen if not item.accompanies}
    return tuple(item for item in chosen if not item.accompanies or item.clock_rate in rates)


def _answer(offered: PayloadFormat, supported: Sequence[PayloadFormat]) -> PayloadFormat | None:
    if not offered.is_h264:
        own = find_format(supported, offered)
        return None if own is None else replace(offered, fmtp=own.fmtp)
    wanted = H264Parameters.parse(offered.fmtp)
    for item in supported:
        if item.is_h264 and item.clock_rate == offered.clock_rate:
            parameters = H264Parameters.parse(item.fmtp)
            if answers(parameters, wanted):
                return replace(offered, fmtp=str(answer_parameters(parameters, wanted)))
    return None


def renumbered(
    formats: Iterable[PayloadFormat], bound: Mapping[int, tuple[str, int, int]]
) -> tuple[PayloadFormat, ...]:
    """`formats` with numbers that break no binding made earlier in the session.

    A payload type keeps its meaning for the whole session (RFC 3264 section 8.3.2): a format that
    has a number keeps it, and a number that means something else is not taken again.

    Args:
        formats: In order; their own numbers are wishes.
        bound: Payload type to `PayloadFormat.key` of all numbers used so far.

    Raises:
        ConfigurationError: There are more formats than numbers.
    """
    earlier: dict[tuple[str, int, int], list[int]] = {}
    for number, key in bound.items():
        earlier.setdefault(key, []).append(number)
    taken = set(bound)
    result: list[PayloadFormat] = []
    for item in formats:
        numbers = earlier.get(item.key)
        if numbers:
            number = numbers.pop(0)
        elif item.payload_type not in taken:
            number = item.payload_type
        else:
            number = _free_number(taken)
        taken.add(number)
        result.append(replace(item, payload_type=number))
    return tuple(result)


def payload_formats(
    media: MediaDescription, known: Mapping[int, PayloadFormat] = STATIC_PAYLOAD_TYPES
) -> tuple[tuple[PayloadFormat, ...], tuple[str, ...]]:
    """The formats of an RTP m= line, and notes on those left out.

    Args:
        media: The stream. When its port is 0 bad numbers are passed over.
        known: What a payload type without a=rtpmap means.

    Raises:
        SdpSyntaxError: A number is out of range in a stream that is in use.
    """
    live = media.port != 0
    notes: list[str] = []
    mapped = {item.payload_type: item for item in _each(RtpMap, "rtpmap", media)}
    parameters = {item.payload_type: item.parameters for item in _each(Fmtp, "fmtp", media)}
    formats: dict[int, PayloadFormat] = {}
    for text in media.formats:
        number = decimal(text, 0, MAX_PAYLOAD_TYPE)
        if number is None:
            if live:
                raise syntax_error(
                    "m= lists a payload type that is not 0-127",
                    "RFC 8866 section 5.14",
                    f"m={media.media}",
                )
            continue
        entry = mapped.get(number) or known.get(number)
        if entry is None:
            notes.append(f"payload type {number} has no a=rtpmap")
        elif number in formats:
            notes.append(f"payload type {number} is listed twice")
        else:
            formats[number] = PayloadFormat(
                number, entry.encoding, entry.clock_rate, entry.channels, parameters.get(number)
            )
    return tuple(formats.values()), tuple(notes)


def _each(kind: type[_Value], name: str, media: MediaDescription) -> Iterator[_Value]:
    """The values of one attribute, the last of a payload type first, so that the first wins."""
    for value in reversed(media.attributes_named(name)):
        try:
            yield kind.parse(value)
        except SdpSyntaxError:
            if media.port:
                raise


def _free_number(taken: set[int]) -> int:
    """A dynamic number, then one RFC 3551 left unassigned that RTCP cannot be mistaken for."""
    dynamic = range(_FIRST_DYNAMIC, MAX_PAYLOAD_TYPE + 1)
    for number in chain(dynamic, range(_FIRST_STATIC_GAP, _LAST_STATIC_GAP + 1)):
        if number not in taken:
            return number
    raise ConfigurationError("there are more formats than payload types")
