"""The format parameters of H.264 (RFC 6184 section 8.1) and which fit each other (8.2.2)."""

from __future__ import annotations

import binascii
from base64 import b64decode, b64encode
from dataclasses import dataclass, replace
from typing import Final, Self

from callmeter.sdp.grammar import decimal
from callmeter.sdp.opus import format_parameters

__all__ = ["CONSTRAINED_BASELINE", "H264Parameters", "answer_parameters", "answers", "fits"]

CONSTRAINED_BASELINE: Final = "CB"

_IDENTIFIER_OCTETS: Final = 3
_INTERLEAVED: Final = 2
_UNKNOWN_MODE: Final = -1
_MAX_PARAMETER_SETS: Final = 32
_LEVEL_1B: Final = 9
_LEVEL_11: Final = 11
_BETWEEN_1_AND_11: Final = 10.5
_CONSTRAINT_SET_3: Final = 0x10
_OLD_PROFILES: Final = frozenset({0x42, 0x4D, 0x58})
"""Those that write level 1b as 1.1 with a flag (ITU-T H.264 annex A.3.1)."""

_PROFILES: Final = (
    (0x42, 0b0100_1111, 0b0100_0000, CONSTRAINED_BASELINE),
    (0x4D, 0b1000_1111, 0b1000_0000, CONSTRAINED_BASELINE),
    (0x58, 0b1100_1111, 0b1100_0000, CONSTRAINED_BASELINE),
    (0x42, 0b0100_1111, 0b0000_0000, "B"),
    (0x58, 0b1100_1111, 0b1000_0000, "B"),
    (0x4D, 0b1010_1111, 0b0000_0000, "M"),
    (0x58, 0b1100_1111, 0b0000_0000, "E"),
    (0x64, 0b1111_1111, 0b0000_1100, "CH"),
    (0x64, 0b1111_1111, 0b0000_0000, "H"),
    (0x6E, 0b1111_1111, 0b0000_0000, "H10"),
    (0x7A, 0b1111_1111, 0b0000_0000, "H42"),
    (0xF4, 0b1111_1111, 0b0000_0000, "H44"),
    (0x6E, 0b1111_1111, 0b0001_0000, "H10I"),
    (0x7A, 0b1111_1111, 0b0001_0000, "H42I"),
    (0xF4, 0b1111_1111, 0b0001_0000, "H44I"),
    (0x2C, 0b1111_1111, 0b0001_0000, "C44I"),
)
"""profile_idc, and the bits of profile-iop that tell: RFC 6184 table 5, with Constrained High."""

_CONTAIN_BASELINE: Final = frozenset({CONSTRAINED_BASELINE, "B", "M", "E", "CH", "H"})
"""What decodes these decodes Constrained Baseline too (ITU-T H.264 annex A.2)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class H264Parameters:
    """What a description says about a format of H.264.

    Attributes:
        profile_level_id: profile_idc, profile-iop and level_idc; None when nothing is said, or
            nothing that can be read. By the RFC this is Baseline of level 1; those who leave it
            out do not mean that, so it goes with every profile here.
        packetization_mode: 0 single NAL unit, 1 non-interleaved, 2 interleaved.
        level_asymmetry_allowed: Each direction may have a level of its own.
        parameter_sets: NAL units that are needed before the first picture.
    """

    profile_level_id: bytes | None = None
    packetization_mode: int = 0
    level_asymmetry_allowed: bool = False
    parameter_sets: tuple[bytes, ...] = ()

    @classmethod
    def parse(cls, fmtp: str | None) -> Self:
        """The parameters of an a=fmtp line; what cannot be read counts as not said."""
        found = format_parameters(fmtp)
        mode = decimal(found.get("packetization-mode", "0"), 0, _INTERLEAVED)
        return cls(
            profile_level_id=_identifier(found.get("profile-level-id", "")),
            packetization_mode=_UNKNOWN_MODE if mode is None else mode,
            level_asymmetry_allowed=found.get("level-asymmetry-allowed") == "1",
            parameter_sets=_parameter_sets(found.get("sprop-parameter-sets", "")),
        )

    def __str__(self) -> str:
        """The text of an a=fmtp line; the mode is always said."""
        mode = self.packetization_mode
        said = {
            "level-asymmetry-allowed": int(self.level_asymmetry_allowed) or None,
            "packetization-mode": mode if mode >= 0 else None,
            "profile-level-id": (self.profile_level_id or b"").hex() or None,
            "sprop-parameter-sets": ",".join(
                b64encode(unit).decode("ascii") for unit in self.parameter_sets
            )
            or None,
        }
        return ";".join(f"{name}={value}" for name, value in said.items() if value is not None)

    @property
    def profile(self) -> str | None:
        """`"CB"`, `"B"`, `"M"` ... of RFC 6184 table 5; digits when the table has none."""
        if self.profile_level_id is None:
            return None
        idc, flags, _ = self.profile_level_id
        for known, mask, wanted, name in _PROFILES:
            if idc == known and flags & mask == wanted:
                return name
        return self.profile_level_id[:2].hex()


def fits(one: H264Parameters, other: H264Parameters) -> bool:
    """Whether both stand for one format: same mode, same profile (RFC 6184 section 8.2.2)."""
    if one.packetization_mode != other.packetization_mode:
        return False
    return None in {one.profile, other.profile} or one.profile == other.profile


def answers(own: H264Parameters, offered: H264Parameters) -> bool:
    """Whether a side that takes `own` can answer `offered`.

    A stream of Constrained Baseline is one of Baseline, Main, Extended and High as well.
    """
    if fits(own, offered):
        return True
    return (
        own.packetization_mode == offered.packetization_mode
        and own.profile == CONSTRAINED_BASELINE
        and offered.profile in _CONTAIN_BASELINE
    )


def answer_parameters(own: H264Parameters, offered: H264Parameters) -> H264Parameters:
    """What to answer: the offered profile, and the lower level unless both let them differ."""
    asymmetric = own.level_asymmetry_allowed and offered.level_asymmetry_allowed
    said, mine = offered.profile_level_id, own.profile_level_id
    if said is not None and mine is not None:
        level = _level(mine) if asymmetric else min(_level(mine), _level(said), key=_rank)
        mine = _with_level(said, level)
    return replace(own, profile_level_id=mine or said, level_asymmetry_allowed=asymmetric)


def _identifier(text: str) -> bytes | None:
    try:
        octets = binascii.unhexlify(text)
    except ValueError:
        return None
    return octets if len(octets) == _IDENTIFIER_OCTETS else None


def _parameter_sets(text: str) -> tuple[bytes, ...]:
    units = []
    for part in text.split(",", _MAX_PARAMETER_SETS)[:_MAX_PARAMETER_SETS]:
        try:
            unit = b64decode(part + "=" * (-len(part) % 4), validate=True)
        except ValueError:
            return ()
        if unit:
            units.append(unit)
    return tuple(units)


def _level(identifier: bytes) -> int:
    """level_idc, 9 for level 1b however it is written."""
    idc, flags, level = identifier
    old_1b = idc in _OLD_PROFILES and level == _LEVEL_11 and flags & _CONSTRAINT_SET_3
    return _LEVEL_1B if old_1b else level


def _rank(level: int) -> float:
    return _BETWEEN_1_AND_11 if level == _LEVEL_1B else level


def _with_level(identifier: bytes, level: int) -> bytes:
    idc, flags, _ = identifier
    if idc in _OLD_PROFILES:
        flags &= ~_CONSTRAINT_SET_3
        if level == _LEVEL_1B:
            flags, level = flags | _CONSTRAINT_SET_3, _LEVEL_11
    return bytes([idc, flags, level])
