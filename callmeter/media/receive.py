"""The receiving half of the packet lane: batches in, columns updated.

What is steady is judged, decrypted and accounted for by numpy and `map`. Everything else - first
packets, new sources and SSRCs, digits, RTCP, rubbish - leaves one by one for the stream's own
scalar path, which also takes batches too small for numpy. Both give the same result.
"""

from __future__ import annotations

from operator import eq
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from callmeter.media import buffering, levels
from callmeter.media.arena import MAX_DATAGRAM, Arena
from callmeter.media.datagrams import Received
from callmeter.media.lanes import signatures
from callmeter.rtp.demux import PacketKind, classify, classify_batch
from callmeter.rtp.header import FIXED_HEADER
from callmeter.srtp import libsrtp
from callmeter.srtp.stream_policy import Status

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import numpy.typing as npt

    from callmeter.media.datagrams import Backend
    from callmeter.media.lanes import LaneTable
    from callmeter.media.report_lane import ReportLane
    from callmeter.media.shared_port import SharedPort
    from callmeter.rtp.stream_table import StreamTable

__all__ = ["ReceiveLane"]

_SHARED: Final = -(1 << 40)
"""In place of a row: the port knows."""

SLOTS: Final = 1024
BATCH_PAYS: Final = 24
"""Below this many packets the scalar path is cheaper."""
FEW: Final = 16
"""So many packets are looked at one by one."""
MAX_DATAGRAMS: Final = 8 * SLOTS
"""Taken in one tick; the rest waits in the sockets, so that a flood cannot hold the loop."""
_ALL_SLOTS: Final = np.arange(SLOTS)
_FIRST_SLOTS: Final = list(range(SLOTS))
PLAIN_FIRST_OCTET: Final = 0x80
# libsrtp trusts that there is room for the tag; the scalar path checks what is shorter.
SHORTEST_IN_BATCH: Final = FIXED_HEADER + 16


class ReceiveLane:
    """Receives for all streams of an engine.

    Args:
        lanes: What is known of each stream.
        reception: The accounting, with the same rows.
        backend: Where datagrams come from.
        reports: Takes RTCP that need not be read at once.

    Attributes:
        backend: Where datagrams come from; may be replaced between two runs.
        datagrams: Datagrams received.
        batch_from: Packets a batch needs to be worth numpy.
        deferring: RTCP of patient streams waits in the report lane.
    """

    def __init__(
        self, lanes: LaneTable, reception: StreamTable, backend: Backend, reports: ReportLane
    ) -> None:
        self._lanes = lanes
        self._reception = reception
        self._reports = reports
        self.backend = backend
        self._arena = Arena(SLOTS)
        self._received = Received(SLOTS)
        self._row_of: dict[int, int] = {}
        self._ports: dict[int, SharedPort] = {}
        self.datagrams = 0
        self.batch_from = BATCH_PAYS
        self.deferring = False

    def add(self, descriptor: int, row: int, *, rtcp_only: bool) -> None:
        """Packets of this socket belong to that row."""
        # A complement marks the sockets that carry nothing but RTCP.
        self._row_of[descriptor] = ~row if rtcp_only else row

    def share(self, port: SharedPort) -> None:
        """Packets of this socket belong to whom the port says."""
        descriptor = port.bound.fileno()
        self._ports[descriptor] = port
        self._row_of[descriptor] = _SHARED

    def remove(self, descriptor: int) -> None:
        """The socket is gone."""
        self._row_of.pop(descriptor, None)
        self._ports.pop(descriptor, None)

    def run(self, now: float, offset: float) -> None:
        """Take what has arrived.

        Args:
            now: Loop time, for datagrams without a kernel stamp.
            offset: What turns the kernel's wall-clock stamps into loop time.
        """
        taken = 0
        for port in self._ports.values():
            port.begin()
        while taken < MAX_DATAGRAMS:
            self.backend.receive(self._arena, self._received)
            count = self._received.count
            if not count:
                break
            taken += count
            stamps = self._received.stamps[:count]
            arrivals = np.where(stamps > 0, stamps + offset, now)
            if count < self.batch_from:
                self._one_by_one(range(count), dict(enumerate(arrivals.tolist())))
            else:
                self._batch(count, arrivals)
            if count < SLOTS:
                break
        self.datagrams += taken

    def _one_by_one(self, slots: Iterable[int], arrivals: Mapping[int, float]) -> None:
        arena, received, streams = self._arena, self._received, self._lanes.streams
        for slot in slots:
            row = self._row_of.get(received.descriptors[slot])
            if row is None:
                # Its stream stopped while this batch was worked on.
                continue
            datagram, source = arena.packet(slot), received.source(slot)
            port = None
            if row == _SHARED:
                port = self._ports[received.descriptors[slot]]
                row = port.route(datagram, source)
                if row is None:
                    continue
            stream = streams[row if row >= 0 else ~row]
            if stream is None:
                continue
            if (
                self.deferring
                and stream.patient
                and classify(datagram) is PacketKind.RTCP
                and self._reports.keep(stream, row, datagram, source, arrivals[slot])
            ):
                continue
            stream.on_datagram(
                datagram,
                source,
                arrivals[slot],
                rtcp_only=row < 0,
                oversize=bool(arena.lengths[slot] > MAX_DATAGRAM),
            )
            if port is not None:
                port.note(row, datagram, source)

    def _batch(self, count: int, arrivals: npt.NDArray[np.float64]) -> None:
        arena, lanes = self._arena, self._lanes
        headers, lengths = arena.headers, arena.lengths[:count]
        first, second = headers.first[:count], headers.second[:count]
        ssrcs = headers.ssrc[:count].astype(np.int64)
        rows = self._rows(count, ssrcs)
        # No payload type of audio makes RTCP of its second octet, so this is RTP alone.
        steady = signatures(ssrcs, second) == lanes.signature[rows]
        steady &= first == PLAIN_FIRST_OCTET
        steady &= self._from_expected(rows)
        if lengths.min() < SHORTEST_IN_BATCH or lengths.max() > MAX_DATAGRAM:
            steady &= (lengths >= SHORTEST_IN_BATCH) & (lengths <= MAX_DATAGRAM)
        if rows.min() < 0:
            steady &= rows >= 0
        if steady.all():
            self._steady(_ALL_SLOTS[:count], rows, arrivals)
            return
        others = np.flatnonzero(~steady)
        strange = self._odd_packets(others, rows)
        if len(strange):
            # A stream with one odd packet is judged one by one, to keep its packets in order.
            odd = np.zeros(lanes.capacity, np.bool_)
            odd[rows[strange]] = True
            steady &= ~odd[rows]
            others = np.flatnonzero(~steady)
        slots = np.flatnonzero(steady)
        if len(slots):
            self._steady(slots, rows[slots], arrivals)
        alone = others.tolist()
        self._one_by_one(alone, dict(zip(alone, arrivals[others].tolist(), strict=True)))

    def _odd_packets(
        self, others: npt.NDArray[np.int64], rows: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.int64]:
        """Which of these slots hold RTP of a known stream."""
        arena = self._arena
        if len(others) <= FEW:
            # Mostly reports, for which a dozen steps of numpy are dear.
            found = [
                slot
                for slot, length in zip(
                    others.tolist(), arena.lengths[others].tolist(), strict=True
                )
                if rows[slot] >= 0 and classify(arena.views[slot][:length]) is PacketKind.RTP
            ]
            return np.array(found, np.int64)
        headers = arena.headers
        kinds = classify_batch(headers.first[others], headers.second[others], arena.lengths[others])
        odd: npt.NDArray[np.int64] = others[(kinds == PacketKind.RTP) & (rows[others] >= 0)]
        return odd

    def _rows(self, count: int, ssrcs: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The stream of each datagram, `NO_ROW` where only a closer look can tell."""
        descriptors = self._received.descriptors
        if not self._ports:
            return np.array(list(map(self._row_of.__getitem__, descriptors)), np.int64)
        ports = self._received.ports()
        only = self._ports.get(descriptors[0])
        if only is not None and descriptors.count(descriptors[0]) == count:
            return only.rows_of(ports, ssrcs)
        rows = np.array(list(map(self._row_of.__getitem__, descriptors)), np.int64)
        numbers = np.array(descriptors)
        for descriptor, port in self._ports.items():
            slots = np.flatnonzero(numbers == descriptor)
            rows[slots] = port.rows_of(ports[slots], ssrcs[slots])
        return rows

    def _from_expected(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Which datagrams come from the address their stream expects them from."""
        heads, lanes = self._received.heads, self._lanes
        if heads is not None:
            same: npt.NDArray[np.bool_] = heads == lanes.expected_head[rows]
            return same
        expected = map(lanes.expected.__getitem__, rows.tolist())
        return np.frombuffer(bytes(map(eq, self._received.sources, expected)), np.bool_)

    def _steady(
        self,
        slots: npt.NDArray[np.int64],
        rows: npt.NDArray[np.int64],
        arrivals: npt.NDArray[np.float64],
    ) -> None:
        lanes, arena = self._lanes, self._arena
        secure = lanes.secure_in[rows]
        if secure.any():
            if lanes.arranged:
                order = np.argsort(lanes.receive_rank[rows], kind="stable")
                slots, rows, secure = slots[order], rows[order], secure[order]
            good = self._unprotect(slots, rows, secure)
            if good is not None:
                slots, rows = slots[good], rows[good]
            if lanes.failing.any():
                lanes.failing[rows] = 0
        headers = arena.headers
        sequences = headers.sequence[slots].astype(np.int64)
        timestamps = headers.timestamp[slots].astype(np.int64)
        arrivals = arrivals[slots]
        octets = arena.lengths[slots].astype(np.int64) - FIXED_HEADER
        distinct = lanes.are_distinct(rows)
        self._reception.update(rows, sequences, timestamps, arrivals, octets, distinct=distinct)
        buffering.add_batch(lanes, rows, sequences, timestamps, arrivals, distinct=distinct)
        levels.add_batch(lanes, arena.octets, slots, rows, sequences, octets)
        heard = lanes.listening[rows]
        if heard.any():
            views = arena.views
            for slot, row, sequence, timestamp, arrival, length in zip(
                slots[heard].tolist(),
                rows[heard].tolist(),
                sequences[heard].tolist(),
                timestamps[heard].tolist(),
                arrivals[heard].tolist(),
                octets[heard].tolist(),
                strict=True,
            ):
                stream = lanes.streams[row]
                if stream is not None:
                    payload = bytes(views[slot][FIXED_HEADER : FIXED_HEADER + length])
                    stream.hear(sequence, timestamp, arrival, payload)

    def _unprotect(
        self,
        slots: npt.NDArray[np.int64],
        rows: npt.NDArray[np.int64],
        secure: npt.NDArray[np.bool_],
    ) -> npt.NDArray[np.bool_] | None:
        """Decrypt in place; which packets are good, or None when all are."""
        lanes, arena = self._lanes, self._arena
        every = bool(secure.all())
        chosen = (slots if every else slots[secure]).tolist()
        chosen_rows = (rows if every else rows[secure]).tolist()
        pointers: Iterable[Any] = arena.pointers
        lengths: Iterable[Any] = arena.length_pointers
        if chosen != _FIRST_SLOTS[: len(chosen)]:
            pointers = map(arena.pointers.__getitem__, chosen)
            lengths = map(arena.length_pointers.__getitem__, chosen)
        handles = map(lanes.receive_handles.__getitem__, chosen_rows)
        status = bytes(map(libsrtp.unprotect, handles, pointers, lengths))
        if status.count(Status.OK) == len(status):
            return None
        for failure, row in zip(status, chosen_rows, strict=True):
            stream = lanes.streams[row]
            if failure and stream is not None:
                stream.on_unprotect_failure(failure)
        good = np.ones(len(slots), np.bool_)
        good[secure] = np.frombuffer(status, np.uint8) == 0
        return good
