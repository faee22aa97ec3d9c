"""What a jitter buffer would make of the streams that somebody wants to know it of.

It costs nothing while nobody does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from callmeter.jitter_buffer_config import JitterBufferSettings
    from callmeter.media.lanes import LaneTable
    from callmeter.rtp.jitter_buffer import JitterBufferStatistics

    Integers = npt.NDArray[np.int64]

__all__ = ["add_batch", "add_event", "add_packet", "begin", "restart", "statistics"]


def begin(lanes: LaneTable, row: int, settings: JitterBufferSettings, clock_rate: int) -> None:
    """Buffer a stream from now on; one that is buffered already begins anew.

    Args:
        lanes: Has the buffers.
        row: The stream.
        settings: How the buffer behaves.
        clock_rate: Timestamp units a second.
    """
    lanes.release_buffer(row)
    buffer = lanes.buffers.allocate(settings, clock_rate)
    # There is room for a buffer of each stream.
    lanes.buffer_row[row] = -1 if buffer is None else buffer


def add_batch(
    lanes: LaneTable,
    rows: Integers,
    sequences: Integers,
    timestamps: Integers,
    arrivals: npt.NDArray[np.float64],
    *,
    distinct: bool = False,
) -> None:
    """Take a batch of media packets in order of arrival; streams without a buffer are left out.

    Args:
        lanes: Has the buffers.
        rows: The stream of each.
        sequences: The sequence number of each.
        timestamps: The timestamp of each.
        arrivals: Loop time of each.
        distinct: No stream occurs twice.
    """
    if not len(lanes.buffers):
        return
    buffers = lanes.buffer_row[rows]
    buffered = buffers >= 0
    if not buffered.all():
        buffers, sequences = buffers[buffered], sequences[buffered]
        timestamps, arrivals = timestamps[buffered], arrivals[buffered]
        if not len(buffers):
            return
    lanes.buffers.update(buffers, sequences, timestamps, arrivals, distinct=distinct)


def add_packet(lanes: LaneTable, row: int, sequence: int, timestamp: int, arrival: float) -> None:
    """Take one media packet."""
    buffer = int(lanes.buffer_row[row])
    if buffer >= 0:
        lanes.buffers.update_one(buffer, sequence, timestamp, arrival)


def add_event(lanes: LaneTable, row: int, sequence: int, arrival: float) -> None:
    """A packet has come that no buffer keeps: a digit, whose timestamp stands still."""
    buffer = int(lanes.buffer_row[row])
    if buffer >= 0:
        lanes.buffers.pass_by(buffer, sequence, arrival)


def restart(lanes: LaneTable, row: int, clock_rate: int | None = None) -> None:
    """Another source follows, or the same one with another clock."""
    buffer = int(lanes.buffer_row[row])
    if buffer >= 0:
        if clock_rate is not None:
            lanes.buffers.clock_rate[buffer] = clock_rate
        lanes.buffers.restart(buffer)


def statistics(lanes: LaneTable, row: int, now: float) -> JitterBufferStatistics | None:
    """What the buffer of a stream did, None when it has none."""
    buffer = int(lanes.buffer_row[row])
    return None if buffer < 0 else lanes.buffers.statistics(buffer, now)
