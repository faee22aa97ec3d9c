"""The sending half of the packet lane: due rows become packets, in place."""

from __future__ import annotations

from operator import getitem
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from callmeter.media.arena import Arena
from callmeter.media.frame_tables import NO_TABLE
from callmeter.rtp.header import FIXED_HEADER
from callmeter.srtp import libsrtp
from callmeter.srtp.stream_policy import Status

if TYPE_CHECKING:
    import numpy.typing as npt

    from callmeter.media.datagrams import Backend
    from callmeter.media.lanes import LaneTable
    from callmeter.rtp.send_table import SendTable

    Rows = npt.NDArray[np.int64]

__all__ = ["SendLane"]

SLOTS: Final = 1024
PLAIN_FIRST_OCTET: Final = 0x80
REST_EVERY: Final = 20
"""Packet times from one packet of silence, or of comfort noise, to the next where it is left out;
libopus itself takes as many."""


class SendLane:
    """Sends for all streams of an engine.

    Args:
        lanes: What is known of each stream.
        table: Sequence numbers, timestamps and counters, with the same rows.
        backend: Where datagrams go.

    Attributes:
        backend: Where datagrams go; may be replaced between two runs.
        datagrams: Datagrams handed to the kernel.
        protect_failures: Packets libsrtp would not protect; they were not sent.
    """

    def __init__(self, lanes: LaneTable, table: SendTable, backend: Backend) -> None:
        self._lanes = lanes
        self._table = table
        self.backend = backend
        self._arena = Arena(SLOTS)
        self.datagrams = 0
        self.protect_failures = 0

    def run(self, phase: int, now: float) -> int:
        """Send what is due in this phase; returns the number of packets that were due."""
        lanes = self._lanes
        order = lanes.send_order
        rows = order[(lanes.sending & (lanes.due <= phase))[order]]
        if not len(rows):
            return 0
        lanes.due[rows] += lanes.period[rows]
        exhausted = lanes.remaining[rows] <= 0
        if exhausted.any():
            self._each(rows[exhausted], "on_exhausted")
        # One look at all rows costs less than gathering those that are due.
        if lanes.live.any():
            self._each(rows[lanes.live[rows]], "on_live_frame")
            # Foreign code may have stopped a stream.
            rows = rows[lanes.sending[rows]]
        if lanes.rest.any():
            rows = self._rest(rows, lanes.rest[rows])
        due = len(rows)
        if lanes.special.any():
            special = lanes.special[rows]
            for row in rows[special].tolist():
                stream = lanes.streams[row]
                if stream is not None and stream.send_special(now):
                    self.datagrams += 1
            rows = rows[~special]
        # One block per payload length and protection: usually there is one.
        kinds = lanes.octets[rows] * 2 + lanes.secure_out[rows]
        alike = len(rows) and bool((kinds == kinds[0]).all())
        for kind in [int(kinds[0])] if alike else sorted(set(kinds.tolist())):
            block = rows if alike else rows[kinds == kind]
            for start in range(0, len(block), SLOTS):
                self._block(block[start : start + SLOTS], kind // 2, bool(kind % 2), now)
        return due

    def _rest(self, rows: Rows, resting: Rows) -> Rows:
        """Leave out what is silent, but for a packet once in a while."""
        lanes = self._lanes
        silent = resting > 1
        quiet = rows[silent]
        lanes.rest[quiet] -= 1
        lanes.remaining[quiet] -= 1
        self._table.skip(quiet, lanes.samples[quiet])
        lanes.rest[rows[resting == 1]] = REST_EVERY
        return rows[~silent]

    def _each(self, rows: Rows, method: str) -> None:
        for row in rows.tolist():
            stream = self._lanes.streams[row]
            if stream is not None:
                getattr(stream, method)()

    def _block(self, rows: Rows, octets: int, secure: bool, now: float) -> None:  # noqa: FBT001  one caller
        lanes, arena, count = self._lanes, self._arena, len(rows)
        sequences, timestamps = self._table.advance(rows, lanes.samples[rows], octets, now)
        headers = arena.headers
        headers.first[:count] = PLAIN_FIRST_OCTET
        headers.second[:count] = lanes.send_type[rows]
        if lanes.marker.any():
            headers.second[:count] |= lanes.marker[rows].view(np.uint8) << 7
            lanes.marker[rows] = False
        headers.sequence[:count] = sequences
        headers.timestamp[:count] = timestamps
        headers.ssrc[:count] = self._table.ssrc[rows]
        chosen = rows.tolist()
        cursors = lanes.cursor[rows]
        arena.octets[:count, FIXED_HEADER : FIXED_HEADER + octets] = self._payloads(
            rows, chosen, cursors, octets
        )
        arena.lengths[:count] = FIXED_HEADER + octets
        lanes.cursor[rows] = (cursors + 1) % lanes.count[rows]
        lanes.remaining[rows] -= 1
        if secure:
            handles = map(lanes.send_handles.__getitem__, chosen)
            status = bytes(map(libsrtp.protect, handles, arena.pointers, arena.length_pointers))
            if status.count(Status.OK) < len(status):
                self._send_good(rows, octets, status)
                return
        refused = self._send(rows, chosen)
        self.datagrams += count - len(refused)
        if refused:
            self._uncount(rows[refused], octets)

    def _payloads(
        self, rows: Rows, chosen: list[int], cursors: Rows, octets: int
    ) -> npt.NDArray[np.uint8]:
        """The frames that are due, one in each row."""
        lanes = self._lanes
        tables = lanes.frame_table[rows]
        number = int(tables[0])
        if len(rows) > 1 and number != NO_TABLE and bool((tables == number).all()):
            frames: npt.NDArray[np.uint8] = lanes.frames.array(number)[cursors]
            return frames
        payloads = map(lanes.payloads.__getitem__, chosen)
        joined = b"".join(map(getitem, payloads, cursors.tolist()))
        return np.frombuffer(joined, np.uint8).reshape(len(rows), octets)

    def _send(self, rows: Rows, chosen: list[int]) -> list[int]:
        """Returns the slots that were refused."""
        lanes = self._lanes
        if self.backend.by_heads:
            return self.backend.send_to_heads(
                self._arena, len(rows), lanes.descriptor[rows], lanes.destination_head[rows]
            )
        outlets: list[Any] = list(map(lanes.outlets.__getitem__, chosen))
        destinations: list[Any] = list(map(lanes.destinations.__getitem__, chosen))
        return self.backend.send(self._arena, len(rows), outlets, destinations)

    def _send_good(self, rows: Rows, octets: int, status: bytes) -> None:
        """Send only what libsrtp has protected: the other slots still hold plain packets."""
        lanes, arena = self._lanes, self._arena
        for slot, (row, failure) in enumerate(zip(rows.tolist(), status, strict=True)):
            if failure:
                self.protect_failures += 1
            elif self.backend.send_one(
                lanes.outlets[row], arena.packet(slot), lanes.destinations[row]
            ):
                self.datagrams += 1
                continue
            self._uncount(rows[slot : slot + 1], octets)

    def _uncount(self, rows: Rows, octets: int) -> None:
        """The packets did not leave."""
        self._table.packets[rows] -= 1
        self._table.octets[rows] -= octets
