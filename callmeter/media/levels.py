"""How loud a stream is: the mean power of one packet in sixteen, by table from the octets.

The level is that of RFC 6464 section 3: 0 dBov is a square wave of full scale, -127 is silence.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np

from callmeter.rtp import g711
from callmeter.rtp.header import FIXED_HEADER

if TYPE_CHECKING:
    import numpy.typing as npt

    from callmeter.media.lanes import LaneTable

    Integers = npt.NDArray[np.int64]

__all__ = ["NO_LAW", "add_batch", "add_packet", "law_of", "level_dbov"]

NO_LAW: Final = -1
"""Of a codec whose octets have no level of their own."""
SILENCE_DBOV: Final = -127.0
_OTHERS: Final = 15
"""Packets whose sequence number has one of these bits are not measured."""
_LONGEST: Final = 80
"""Octets of a packet that are measured in a batch, 10 ms."""
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
        lanes.level_power[row] += _POWER[law : law + _OCTETS][octets].mean()
        lanes.level_packets[row] += 1


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
    np.add.at(lanes.level_power, rows[turn], power)
    np.add.at(lanes.level_packets, rows[turn], 1)


def level_dbov(lanes: LaneTable, row: int) -> float | None:
    """Mean level of a stream so far, None before the first packet that was measured."""
    packets = int(lanes.level_packets[row])
    if not packets:
        return None
    power = float(lanes.level_power[row]) / packets
    return SILENCE_DBOV if power <= 0 else max(SILENCE_DBOV, 10 * math.log10(power))
