"""How loud a stream is: the mean power of one packet in sixteen, by table from the octets.

The level is that of RFC 6464 section 3: 0 dBov is a square wave of full scale, -127 is silence.

A packet is speech when it is well above the quietest one of late, or so loud that no pause is. The
rest is noise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from callmeter.rtp import g711
from callmeter.rtp.header import FIXED_HEADER

if TYPE_CHECKING:
    import numpy.typing as npt

    from callmeter.media.lanes import LaneTable

    Integers = npt.NDArray[np.int64]

__all__ = [
    "NO_LAW",
    "LevelStatistics",
    "add_batch",
    "add_decoded",
    "add_packet",
    "add_power",
    "law_of",
    "level_dbov",
    "level_statistics",
]

NO_LAW: Final = -1
"""Of a codec whose octets have no level of their own."""
SILENCE_DBOV: Final = -127.0
_OTHERS: Final = 15
"""Packets whose sequence number has one of these bits are not measured."""
_LONGEST: Final = 80
"""Octets of a packet that are measured in a batch, 10 ms."""
_AUDIBLE: Final = 10**-5.0
"""Power of -50 dBov: what is below is no speech."""
_LOUD: Final = 10**-3.0
"""Power of -30 dBov: what is above is no noise, even if it is steady, as a tone is."""
_ABOVE_FLOOR: Final = 10**0.9
"""Speech is 9 dB above its pauses."""
_FORGET: Final = 1.02
"""How much the floor rises from one measured packet to the next: a factor of two in 11 seconds."""
_LAWS: Final = tuple(g711.Law)
_OCTETS: Final = 256
_POWER: Final = np.concatenate(
    [(g711.decode(bytes(range(_OCTETS)), law) / 32768.0) ** 2 for law in _LAWS]
).astype(np.float32)
"""Power of each octet, one law after the other."""
_PLACES: Final = {law.value: _OCTETS * number for number, law in enumerate(_LAWS)}


def law_of(codec: str) -> int:
    """Where the law of a codec begins in the table, or `NO_LAW`."""
    return _PLACES.get(codec, NO_LAW)


def add_packet(lanes: LaneTable, row: int, sequence: int, payload: bytes, codec: str) -> None:
    """Measure a packet that was judged alone, when it is its turn."""
    if sequence & _OTHERS or not payload:
        return
    law = law_of(codec)
    if law != NO_LAW:
        octets = np.frombuffer(payload, np.uint8)
        add_power(lanes, row, float(_POWER[law : law + _OCTETS][octets].mean()))


def add_power(lanes: LaneTable, row: int, power: float) -> None:
    """Take the mean power of a packet that somebody else has measured: a decoder.

    Args:
        lanes: Has the sums.
        row: The stream.
        power: 1 is a square wave of full scale.
    """
    _add(lanes, np.array([row]), np.array([power]))


def add_decoded(lanes: LaneTable, row: int, codec: str, power: float) -> None:
    """The same of a codec; where its octets have a level it was measured by them."""
    if law_of(codec) == NO_LAW:
        add_power(lanes, row, power)


def _add(lanes: LaneTable, rows: Integers, power: npt.NDArray[np.floating]) -> None:
    np.add.at(lanes.level_power, rows, power)
    np.add.at(lanes.level_packets, rows, 1)
    floor = np.fmin(lanes.level_floor[rows] * _FORGET, power)
    # Digital silence would hide the noise that comes after it for minutes.
    lanes.level_floor[rows] = np.maximum(floor, _AUDIBLE / 1e3)
    speech = (power > _AUDIBLE) & ((power > floor * _ABOVE_FLOOR) | (power > _LOUD))
    np.add.at(lanes.speech_power, rows, np.where(speech, power, 0))
    np.add.at(lanes.speech_packets, rows, speech)


def add_batch(
    lanes: LaneTable,
    octets: npt.NDArray[np.uint8],
    slots: Integers,
    rows: Integers,
    sequences: Integers,
    lengths: Integers,
) -> None:
    """Measure those packets of a batch whose turn it is.

    Args:
        lanes: Has the sums.
        octets: One packet in each row, decrypted, without CSRCs or extension.
        slots: The rows of `octets` that matter.
        rows: The stream of each.
        sequences: The sequence number of each.
        lengths: Octets of payload of each.
    """
    turn = np.flatnonzero((sequences & _OTHERS) == 0)
    if not len(turn):
        return
    laws = lanes.level_law[rows[turn]]
    measurable = (laws != NO_LAW) & (lengths[turn] > 0)
    if not measurable.all():
        turn, laws = turn[measurable], laws[measurable]
        if not len(turn):
            return
    # The same part of each, as long as the shortest.
    length = min(int(lengths[turn].min()), _LONGEST)
    payloads = octets[slots[turn], FIXED_HEADER : FIXED_HEADER + length]
    power = _POWER[payloads + laws[:, np.newaxis]].mean(axis=1)
    _add(lanes, rows[turn], power)


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelStatistics:
    """How loud a stream was so far; None where nothing was measured.

    Attributes:
        packets: How many were measured.
        mean: Level of all of them, dBov.
        signal, noise: Level of speech, and of its pauses.
        speech_share: Percent of the packets that was speech.
    """

    packets: int
    mean: float | None
    signal: float | None
    noise: float | None
    speech_share: float | None


def level_statistics(lanes: LaneTable, row: int) -> LevelStatistics:
    """Of one stream, so far."""
    packets, speech = int(lanes.level_packets[row]), int(lanes.speech_packets[row])
    power, loud = float(lanes.level_power[row]), float(lanes.speech_power[row])
    return LevelStatistics(
        packets=packets,
        mean=_mean_dbov(power, packets),
        signal=_mean_dbov(loud, speech),
        noise=_mean_dbov(power - loud, packets - speech),
        speech_share=speech / packets * 100 if packets else None,
    )


def level_dbov(lanes: LaneTable, row: int) -> float | None:
    """Mean level of a stream so far, None before the first packet that was measured."""
    return _mean_dbov(float(lanes.level_power[row]), int(lanes.level_packets[row]))


def _mean_dbov(power: float, packets: int) -> float | None:
    if not packets:
        return None
    mean = power / packets
    return SILENCE_DBOV if mean <= 0 else max(SILENCE_DBOV, 10 * math.log10(mean))
