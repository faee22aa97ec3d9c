"""The format parameters of Opus (RFC 7587 section 6.1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

from callmeter.sdp.grammar import decimal, folded

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["OpusParameters", "format_parameters"]

MAX_BITRATE: Final = 510_000
MIN_BITRATE: Final = 6000
MAX_RATE: Final = 48_000
MIN_RATE: Final = 8000
LONGEST_PTIME: Final = 120
SHORTEST_PTIME: Final = 3


def format_parameters(fmtp: str | None) -> dict[str, str]:
    """`name=value; name=value` as a mapping, names in lower case; the first of a name counts."""
    found: dict[str, str] = {}
    for part in (fmtp or "").split(";"):
        name, _, value = part.strip().partition("=")
        if name:
            found.setdefault(folded(name.strip()), value.strip())
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class OpusParameters:
    """What a receiver of Opus says about itself; what it does not say has the RFC's default.

    Attributes:
        max_playback_rate: Highest sampling rate it renders; more would be in vain.
        max_average_bitrate: Bits a second it takes, None for no limit.
        stereo: It would rather have two channels.
        sprop_stereo: It is going to send two channels.
        constant_bitrate: It wants all packets of one length.
        in_band_fec: It makes use of in-band forward error correction.
        discontinuous: It would rather not get packets in silence.
        min_ptime: Shortest packet it would like, in milliseconds.
    """

    max_playback_rate: int = MAX_RATE
    max_average_bitrate: int | None = None
    stereo: bool = False
    sprop_stereo: bool = False
    constant_bitrate: bool = False
    in_band_fec: bool = False
    discontinuous: bool = False
    min_ptime: int = SHORTEST_PTIME

    @classmethod
    def parse(cls, fmtp: str | None) -> Self:
        """The parameters of an a=fmtp line; values out of range are taken for the default."""
        found = format_parameters(fmtp)
        bitrate = _number(found, "maxaveragebitrate", MIN_BITRATE, MAX_BITRATE)
        rate = _number(found, "maxplaybackrate", MIN_RATE, MAX_RATE)
        min_ptime = _number(found, "minptime", SHORTEST_PTIME, LONGEST_PTIME)
        return cls(
            max_playback_rate=MAX_RATE if rate is None else rate,
            max_average_bitrate=bitrate,
            stereo=found.get("stereo") == "1",
            sprop_stereo=found.get("sprop-stereo") == "1",
            constant_bitrate=found.get("cbr") == "1",
            in_band_fec=found.get("useinbandfec") == "1",
            discontinuous=found.get("usedtx") == "1",
            min_ptime=SHORTEST_PTIME if min_ptime is None else min_ptime,
        )

    def __str__(self) -> str:
        """The text of an a=fmtp line; defaults are left out."""
        rate = self.max_playback_rate
        values = {
            "minptime": self.min_ptime if self.min_ptime != SHORTEST_PTIME else None,
            "maxplaybackrate": rate if rate < MAX_RATE else None,
            "maxaveragebitrate": self.max_average_bitrate,
            "stereo": self.stereo or None,
            "sprop-stereo": self.sprop_stereo or None,
            "cbr": self.constant_bitrate or None,
            "useinbandfec": self.in_band_fec or None,
            "usedtx": self.discontinuous or None,
        }
        return ";".join(f"{name}={int(value)}" for name, value in values.items() if value)


def _number(found: Mapping[str, str], name: str, low: int, high: int) -> int | None:
    return decimal(found.get(name, ""), low, high)
