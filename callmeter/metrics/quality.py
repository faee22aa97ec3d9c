"""Conversational quality by the E-model (ITU-T G.107, narrow band): R factor and MOS.

R = Ro - Is - Id - Ie,eff + A. Everything that a packet network does not change has the default
value of G.107 table 3, which gives R = 93.2. What it changes are the delay, the codec and the loss
of packets.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, log2, log10, sqrt
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from callmeter.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "IMPAIRMENTS",
    "CodecImpairment",
    "Speech",
    "absolute_delay_impairment",
    "delay_impairment",
    "loss_impairment",
    "mos_of",
    "mouth_to_ear_ms",
    "r_factor",
    "r_factor_of",
]

NOISE_SUM: Final = -61.179
"""No, dBm0p: the noise sources of G.107 table 3 added (formula 7-3)."""
BASIC_RATIO: Final = 15 - 1.5 * (8 + NOISE_SUM)
"""Ro, with SLR = 8 dB (formula 7-2): 94.77."""
SIMULTANEOUS: Final = 1.4136
"""Is: loudness, sidetone and quantizing (formulas 7-8 to 7-17)."""
ECHO_LOSS: Final = 65.0
"""TELR, dB."""
PATH_LOSS: Final = 110.0
"""WEPL, dB."""
RECEIVE_LOUDNESS: Final = 2.0
"""RLR, dB."""
SENSITIVE_FROM_MS: Final = 100.0
"""mT: a shorter delay goes unnoticed; the default class of delay sensitivity has sT = 1."""

_MAX_MOS: Final = 4.5
_BEST_R: Final = 100.0


@dataclass(frozen=True, slots=True)
class CodecImpairment:
    """What a codec does to speech, by G.113 appendix I.

    Attributes:
        ie: Equipment impairment without loss.
        bpl: Robustness against random loss; the higher, the better.
    """

    ie: float
    bpl: float

    def __post_init__(self) -> None:
        if not 0 <= self.ie <= 95 or self.bpl <= 0:  # noqa: PLR2004  formula 7-29
            raise ConfigurationError(f"ie is 0 to 95 and bpl above 0, not {self.ie}, {self.bpl}")


IMPAIRMENTS: Final[Mapping[str, CodecImpairment]] = MappingProxyType(
    {
        "G.711": CodecImpairment(0, 4.3),
        "G.711 PLC": CodecImpairment(0, 25.1),
        "GSM-EFR": CodecImpairment(5, 10.0),
        "G.729A": CodecImpairment(11, 19.0),
        "G.723.1": CodecImpairment(15, 16.1),
    }
)
"""G.113 appendix I: G.711 without concealment and with that of its own appendix I, GSM-EFR at 12.2
kbit/s, G.729A with VAD at 8, G.723.1 with VAD at 6.3. It has no narrow-band value for G.722, nor
any for Opus."""


def mos_of(r: float) -> float:
    """The mean opinion score for an R factor (G.107 annex B): 1 to 4.5."""
    if r <= 0:
        return 1.0
    if r >= _BEST_R:
        return _MAX_MOS
    # The polynomial dips below 1 for R under 6.5.
    return max(1.0, 1 + 0.035 * r + r * (r - 60) * (100 - r) * 7e-6)


def loss_impairment(
    codec: CodecImpairment, loss_percent: float, *, burst_ratio: float = 1.0
) -> float:
    """Ie,eff (formula 7-29): codec and lost packets.

    Args:
        codec: The codec.
        loss_percent: Packets lost or come too late, 0 to 100.
        burst_ratio: Mean length of the observed runs of loss over that of random loss; 1 is
            random, more is bursts.
    """
    loss = min(max(loss_percent, 0.0), 100.0)
    return codec.ie + (95 - codec.ie) * loss / (loss / max(burst_ratio, 1.0) + codec.bpl)


def absolute_delay_impairment(delay_ms: float) -> float:
    """Idd (formulas 7-27, 7-28): what delay costs even without any echo."""
    if delay_ms <= SENSITIVE_FROM_MS:
        return 0.0
    x = log2(delay_ms / SENSITIVE_FROM_MS)
    sixth = 1 / 6
    early: float = (1 + x**6) ** sixth
    late: float = (1 + (x / 3) ** 6) ** sixth
    return 25 * (early - 3 * late + 2)


def delay_impairment(delay_ms: float, *, echo_loss_db: float = ECHO_LOSS) -> float:
    """Id = Idte + Idle + Idd (formulas 7-18 to 7-28), for T = Ta and Tr = 2 T.

    Args:
        delay_ms: One way, from mouth to ear.
        echo_loss_db: TELR, how much of the own voice comes back.
    """
    delay = max(delay_ms, 0.0)
    talker = 0.0
    if delay >= 1:
        spread = 40 * log10((1 + delay / 10) / (1 + delay / 150))
        echo = 80 + 2.5 * (echo_loss_db - spread + 6 * exp(-0.3 * delay**2) - 14)
        half = (-1.5 * (NOISE_SUM - RECEIVE_LOUDNESS) - echo) / 2
        talker = (half + sqrt(half**2 + 100) - 1) * (1 - exp(-delay))
    listener_echo: float = 10.5 * (PATH_LOSS + 7) * (2 * delay + 1) ** -0.25
    half = (BASIC_RATIO - listener_echo) / 2
    listener = half + sqrt(half**2 + 169)
    return talker + listener + absolute_delay_impairment(delay)


def r_factor(
    codec: CodecImpairment,
    *,
    delay_ms: float = 0.0,
    loss_percent: float = 0.0,
    burst_ratio: float = 1.0,
    echo_loss_db: float = ECHO_LOSS,
    advantage: float = 0.0,
) -> float:
    """The transmission rating factor R (formula 7-1), 0 to 100.

    Args:
        codec: The codec.
        delay_ms: One way, from mouth to ear; see `mouth_to_ear_ms`.
        loss_percent: Packets lost or come too late.
        burst_ratio: See `loss_impairment`.
        echo_loss_db: See `delay_impairment`.
        advantage: A: what users forgive for the sake of access, 0 for wire, 10 for a vehicle.
    """
    r = (
        BASIC_RATIO
        - SIMULTANEOUS
        - delay_impairment(delay_ms, echo_loss_db=echo_loss_db)
        - loss_impairment(codec, loss_percent, burst_ratio=burst_ratio)
        + advantage
    )
    return min(max(r, 0.0), _BEST_R)


def mouth_to_ear_ms(*, rtt_ms: float, ptime_ms: float, jitter_ms: float) -> float:
    """An estimate of the delay from mouth to ear, of what can be measured.

    Half the round trip, one packet to fill it, and a jitter buffer of twice the jitter but one
    packet at least. G.107 does not say how; this is a convention of callmeter.
    """
    return rtt_ms / 2 + ptime_ms + max(2 * jitter_ms, ptime_ms)


_ENCODINGS: Final[Mapping[str, CodecImpairment]] = MappingProxyType(
    {
        "PCMU": IMPAIRMENTS["G.711 PLC"],
        "PCMA": IMPAIRMENTS["G.711 PLC"],
        "G722": IMPAIRMENTS["G.711 PLC"],
        "OPUS": IMPAIRMENTS["G.711 PLC"],
    }
)
"""By encoding name. A receiver is taken to conceal losses, as all do that people listen to. Neither
G.722 nor Opus has a narrow-band value in G.113: a convention of callmeter takes that of G.711."""


@dataclass(frozen=True, slots=True)
class Speech:
    """What a stream of speech is made of, as the E-model needs it.

    Attributes:
        impairment: What its codec does to it.
        ptime_ms: Packet time.
    """

    impairment: CodecImpairment
    ptime_ms: float

    @classmethod
    def of(cls, codec: str, ptime_ms: float) -> Speech | None:
        """That of an encoding name, None where there is no value for it."""
        impairment = _ENCODINGS.get(codec.upper())
        return None if impairment is None else cls(impairment, ptime_ms)


def r_factor_of(
    speech: Speech,
    *,
    loss_percent: float,
    jitter_ms: float,
    rtt_ms: float | None = None,
    burst_ratio: float = 1.0,
) -> float:
    """R of a stream from what was measured of it.

    Args:
        speech: What it carries.
        loss_percent: Packets lost or come too late.
        jitter_ms: Interarrival jitter.
        rtt_ms: Round trip; None is taken for none, so that a call without RTCP has a value too.
        burst_ratio: See `loss_impairment`.
    """
    delay = mouth_to_ear_ms(rtt_ms=rtt_ms or 0.0, ptime_ms=speech.ptime_ms, jitter_ms=jitter_ms)
    return r_factor(
        speech.impairment, delay_ms=delay, loss_percent=loss_percent, burst_ratio=burst_ratio
    )
