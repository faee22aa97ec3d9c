"""Settings of codecs: frozen, checked at construction."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from callmeter.errors import ConfigurationError
from callmeter.setting_types import check_types

__all__ = ["Codec", "OpusConfig"]

MIN_BITRATE = 6000
MAX_BITRATE = 510_000


class Codec(StrEnum):
    """Codecs by their RFC 3551 / IANA encoding names; the case of a name does not matter."""

    PCMU = "PCMU"
    PCMA = "PCMA"
    G722 = "G722"
    OPUS = "opus"

    @classmethod
    def _missing_(cls, value: object) -> Codec | None:
        return cls.__members__.get(str(value).upper())


@dataclass(frozen=True, kw_only=True)
class OpusConfig:
    """How Opus is sent, and what is said of it in a=fmtp (RFC 7587).

    What the peer asks for is honoured in any case: its highest bit rate and sampling rate, and
    in-band error correction.

    Attributes:
        bitrate: Bits a second, 6000 to 510000. All packets have one length.
        in_band_fec: Tell the peer to send in-band forward error correction. callmeter counts a lost
            packet as lost whether its copy comes or not, and does not play the copy.
        discontinuous: Send hardly a packet while nothing plays, and tell the peer it may do so.
        max_bitrate: Bits a second the peer may send, None for no limit.
        payload_type: Its number in offers.
    """

    bitrate: int = 32_000
    in_band_fec: bool = False
    discontinuous: bool = False
    max_bitrate: int | None = None
    payload_type: int = 111

    def __post_init__(self) -> None:
        check_types(self)
        for name in ("bitrate", "max_bitrate"):
            value = getattr(self, name)
            if value is not None and not MIN_BITRATE <= value <= MAX_BITRATE:
                raise ConfigurationError(f"{name} of Opus is {MIN_BITRATE} to {MAX_BITRATE}")
        if self.payload_type not in range(96, 128):
            raise ConfigurationError("payload_type of Opus is 96 to 127")
