"""H.264 in RTP (RFC 6184): an access unit cut into payloads, and what a payload says of its frame.

Packetization modes 0 (single NAL units) and 1 (with STAP-A and FU-A) are there; the interleaved
mode 2 is not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from callmeter.errors import LocalProtocolError, RtpSyntaxError
from callmeter.rtp.h264_sps import picture_size
from callmeter.rtp.video import VideoPayload

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = [
    "IDR_SLICE",
    "SEQUENCE_PARAMETER_SET",
    "begins_access_unit",
    "describe",
    "frame_of",
    "nal_units",
    "packetize",
    "unit_type",
]

IDR_SLICE: Final = 5
SEQUENCE_PARAMETER_SET: Final = 7

_SLICES: Final = frozenset({1, 2, 5})
"""Those with a slice header: data partitions B and C follow theirs."""
_LAST_SLICE: Final = 5
_BEGIN_ACCESS_UNIT: Final = frozenset({6, 7, 8, 9, 14, 15, 16, 17, 18})
"""SEI, parameter sets, delimiter (ITU-T H.264 section 7.4.1.2.3)."""
_AGGREGATED: Final = frozenset({6, 7, 8, 9})
_LAST_SINGLE: Final = 23
_STAP_A: Final = 24
_FU_A: Final = 28

_TYPE: Final = 0x1F
_IMPORTANCE: Final = 0x60
_FORBIDDEN: Final = 0x80
_FIRST_FRAGMENT: Final = 0x80
_LAST_FRAGMENT: Final = 0x40
_FU_HEAD: Final = 2
_LENGTH: Final = 2
_START_CODE: Final = b"\0\0\1"
_LONG_START_CODE: Final = b"\0\0\0\1"
_FIRST_MACROBLOCK: Final = 0x80


def unit_type(unit: bytes) -> int:
    """nal_unit_type of a NAL unit."""
    return unit[0] & _TYPE


def nal_units(stream: bytes) -> list[bytes]:
    """The NAL units of an Annex B byte stream, without their start codes and without empty ones."""
    units = []
    start = stream.find(_START_CODE)
    while start >= 0:
        start += len(_START_CODE)
        end = stream.find(_START_CODE, start)
        # No NAL unit ends in a zero: those belong to the next start code (annex B.1.1).
        unit = stream[start : end if end >= 0 else None].rstrip(b"\0")
        if unit:
            units.append(unit)
        start = end
    return units


def packetize(access_unit: bytes, limit: int, *, mode: int = 1) -> list[bytes]:
    """The payloads of one access unit, in order; the marker belongs to the last.

    Units of the types that RTP has for itself (section 5.2) are left out: nobody decodes them.

    Args:
        access_unit: One picture with what belongs to it, as an Annex B byte stream.
        limit: Octets a payload may have.
        mode: Packetization mode the receiver has agreed to. In 1 units above the limit are cut
            (FU-A), and small ones without picture share a payload (STAP-A). In 0 each unit is a
            payload, so the encoder has to make slices that fit.

    Raises:
        LocalProtocolError: There is no NAL unit in it, or one that cannot be sent in this mode.
    """
    units = [unit for unit in nal_units(access_unit) if 0 < unit_type(unit) <= _LAST_SINGLE]
    if not units:
        raise LocalProtocolError("an access unit is an Annex B stream of one NAL unit or more")
    if mode == 0:
        longest = max(map(len, units))
        if longest > limit:
            raise LocalProtocolError(
                f"a NAL unit of {longest} octets does not fit {limit}, and the receiver takes no "
                "fragments (packetization-mode=0)"
            )
        return units
    if limit <= _FU_HEAD:
        raise LocalProtocolError(f"no NAL unit fits payloads of {limit} octets")
    payloads: list[bytes] = []
    together: list[bytes] = []
    for unit in units:
        if unit_type(unit) in _AGGREGATED and _aggregate_size([*together, unit]) <= limit:
            together.append(unit)
            continue
        payloads += _aggregate(together)
        together = []
        if unit_type(unit) in _AGGREGATED and _aggregate_size([unit]) <= limit:
            together.append(unit)
        else:
            payloads += _fragments(unit, limit)
    return payloads + _aggregate(together)


def _aggregate_size(units: Sequence[bytes]) -> int:
    return 1 + sum(_LENGTH + len(unit) for unit in units)


def _aggregate(units: Sequence[bytes]) -> list[bytes]:
    """A STAP-A (section 5.7.1) of several units, a unit alone as it is, or nothing."""
    if len(units) <= 1:
        return list(units)
    head = bytes([_STAP_A | max(unit[0] & _IMPORTANCE for unit in units)])
    return [head + b"".join(len(unit).to_bytes(_LENGTH, "big") + unit for unit in units)]


def _fragments(unit: bytes, limit: int) -> list[bytes]:
    """FU-As (section 5.8), or the unit itself when it fits."""
    if len(unit) <= limit:
        return [unit]
    indicator = unit[0] & ~_TYPE | _FU_A
    kind = unit_type(unit)
    room = limit - _FU_HEAD
    places = range(1, len(unit), room)
    return [
        bytes(
            [
                indicator,
                kind
                | (_FIRST_FRAGMENT if start == places[0] else 0)
                | (_LAST_FRAGMENT if start == places[-1] else 0),
            ]
        )
        + unit[start : start + room]
        for start in places
    ]


def describe(payload: bytes) -> VideoPayload:
    """What a payload says of its frame.

    `starts_frame` is what can begin an access unit: a delimiter, a parameter set, the slice with
    the first macroblock. A parameter set may have followed another one all the same.

    Raises:
        RtpSyntaxError: It is cut off, or of a type that modes 0 and 1 do not have.
    """
    if not payload or payload[0] & _FORBIDDEN:
        raise _error("an empty H.264 payload, or one with its forbidden bit set", "1.3", payload)
    kind = unit_type(payload)
    if 0 < kind <= _LAST_SINGLE:
        return _describe_unit(payload)
    if kind == _FU_A:
        return _describe_fragment(payload)
    if kind == _STAP_A:
        return _describe_aggregate(payload)
    raise _error(f"an H.264 payload of type {kind}", "5.2", payload)


def _describe_unit(unit: bytes) -> VideoPayload:
    kind = unit_type(unit)
    size = picture_size(unit) if kind == SEQUENCE_PARAMETER_SET else None
    return VideoPayload(begins_access_unit(unit), _is_key(kind), size, pictured=_is_slice(kind))


def begins_access_unit(unit: bytes) -> bool:
    """Whether a NAL unit after the last slice of a picture belongs to the next one."""
    kind = unit_type(unit)
    if kind in _SLICES:
        # first_mb_in_slice is an Exp-Golomb number: 0 is a single bit 1.
        return len(unit) > 1 and unit[1] >= _FIRST_MACROBLOCK
    return kind in _BEGIN_ACCESS_UNIT


def _is_slice(kind: int) -> bool:
    """Whether a unit is of the picture: a slice, or a partition of one."""
    return kind <= _LAST_SLICE


def _is_key(kind: int) -> bool | None:
    if kind in {IDR_SLICE, SEQUENCE_PARAMETER_SET}:
        return True
    return False if _is_slice(kind) else None


def _describe_fragment(payload: bytes) -> VideoPayload:
    if len(payload) <= _FU_HEAD:
        raise _error("an FU-A without content", "5.8", payload)
    kind = payload[1] & _TYPE
    if not 0 < kind <= _LAST_SINGLE:
        raise _error(f"an FU-A of a unit of type {kind}", "5.8", payload)
    starts = False
    if payload[1] & _FIRST_FRAGMENT:
        starts = begins_access_unit(bytes([kind, payload[2]]))
    return VideoPayload(starts, _is_key(kind), pictured=_is_slice(kind))


def _describe_aggregate(payload: bytes) -> VideoPayload:
    parts = [_describe_unit(unit) for unit in _aggregated(payload)]
    keys = {part.key_frame for part in parts}
    key = True if True in keys else False if False in keys else None
    size = next((part.size for part in parts if part.size is not None), None)
    pictured = any(part.pictured for part in parts)
    return VideoPayload(parts[0].starts_frame, key, size, pictured=pictured)


def _aggregated(payload: bytes) -> Iterator[bytes]:
    """The units of a STAP-A."""
    place = 1
    while True:
        length = int.from_bytes(payload[place : place + _LENGTH], "big")
        place += _LENGTH
        unit = payload[place : place + length]
        if not length or len(unit) < length or not 0 < unit_type(unit) <= _LAST_SINGLE:
            raise _error("a STAP-A whose lengths or types are wrong", "5.7.1", payload)
        yield unit
        place += length
        if place == len(payload):
            return


def frame_of(payloads: Sequence[bytes]) -> bytes:
    """The access unit whose payloads these are, in order and all of them, as Annex B.

    Raises:
        RtpSyntaxError: They are cut off, of another mode, or fragments are missing.
    """
    pieces: list[bytes] = []
    fragmented = 0
    for payload in payloads:
        describe(payload)
        kind = unit_type(payload)
        if kind == _FU_A:
            inner = payload[1] & _TYPE
            if fragmented != (0 if payload[1] & _FIRST_FRAGMENT else inner):
                raise _error("a fragment of an H.264 unit is missing", "5.8", payload)
            if not fragmented:
                pieces += _LONG_START_CODE, bytes([payload[0] & ~_TYPE | inner])
            pieces.append(payload[_FU_HEAD:])
            fragmented = 0 if payload[1] & _LAST_FRAGMENT else inner
            continue
        if fragmented:
            raise _error("the last fragment of an H.264 unit is missing", "5.8", payload)
        for unit in _aggregated(payload) if kind == _STAP_A else (payload,):
            pieces += _LONG_START_CODE, unit
    if fragmented:
        raise _error("the last fragment of an H.264 unit is missing", "5.8", payloads[-1])
    return b"".join(pieces)


def _error(message: str, section: str, excerpt: bytes) -> RtpSyntaxError:
    return RtpSyntaxError(message, rfc=f"RFC 6184 section {section}", excerpt=excerpt)
