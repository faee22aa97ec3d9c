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
_LONGEST: Final = 160
_LAWS: Final = tuple(g711.Law)
_POWER: Final = np.stack(
    [(g711.decode(bytes(range(256)), law) / 32768.0) ** 2 for law in _LAWS]
).astype(np.float32)


def law_of(codec: str) -> int:
    """Row of the power table for a codec, or `NO_LAW`."""
    return next((number for number, law in enumerate(_LAWS) if law.value == codec), NO_LAW)


def add_packet(lanes: LaneTable, row: int, sequence: int, payload: bytes, codec: str) -> None:
    """Measure a packet that was judged alone, when it is its turn."""
    if sequence & _OTHERS or not payload:
        return
    law = law_of(codec)
    if law != NO_LAW:
        octets = np.frombuffer(payload, np.uint8)
        lanes.level_power[row] += float(_POWER[law, octets].mean())
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
    turn = ((sequences & _OTHERS) == 0) & (lanes.level_law[rows] != NO_LAW) & (lengths > 0)
    if not turn.any():
        return
    rows = rows[turn]
    # The same part of each, as long as the shortest.
    length = min(int(lengths[turn].min()), _LONGEST)
    payloads = octets[slots[turn], FIXED_HEADER : FIXED_HEADER + length]
    power = _POWER[lanes.level_law[rows][:, np.newaxis], payloads].mean(axis=1)
    np.add.at(lanes.level_power, rows, power)
    np.add.at(lanes.level_packets, rows, 1)


def level_dbov(lanes: LaneTable, row: int) -> float | None:
    """Mean level of a stream so far, None before the first packet that was measured."""
    packets = int(lanes.level_packets[row])
    if not packets:
        return None
    power = float(lanes.level_power[row]) / packets
    return SILENCE_DBOV if power <= 0 else max(SILENCE_DBOV, 10 * math.log10(power))
