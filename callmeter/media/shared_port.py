"""A media port that many streams share: which stream is a datagram for?

A datagram is attributed by its source address and, where several streams have the same peer
address, by its SSRC: the one that was heard before, the one the peer announced (RFC 5576), or
the one of the only stream whose key opens the packet. What cannot be attributed is counted and
dropped. Attribution proves nothing: the stream's own latch and key decide as on a port of its own.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

import numpy as np

from callmeter.media.datagrams.backend import port_number
from callmeter.rtp.demux import PacketKind, classify

if TYPE_CHECKING:
    import socket
    from collections.abc import Hashable, Iterable

    import numpy.typing as npt

    from callmeter.media.lanes import LaneTable
    from callmeter.rtp.stream_table import StreamTable

    Integers = npt.NDArray[np.int64]

__all__ = ["NO_ROW", "SharedPort"]

NO_ROW: Final = -1
SOURCES_BY_STREAM: Final = 4
"""Sources with their SSRC that are remembered of a stream; the newest count."""
TRIALS: Final = 64
"""Keys tried in one run of the receive lane: strangers do not cost more."""
_NO_KEY: Final = 1 << 62
_SSRC_PLACES: Final = {PacketKind.RTP: 8, PacketKind.RTCP: 4}


class SharedPort:
    """The streams behind one socket.

    Args:
        bound: The socket.
        lanes: Knows the streams by row.
        reception: Knows the SSRC of each.

    Attributes:
        bound: The socket.
        unknown: Datagrams of no stream's peer.
        ambiguous: Datagrams that may be for several streams.
    """

    __slots__ = (
        "_announced",
        "_by_source",
        "_heard",
        "_heard_by_row",
        "_known",
        "_lanes",
        "_quick",
        "_reception",
        "_rows",
        "_trials",
        "ambiguous",
        "bound",
        "unknown",
    )

    def __init__(self, bound: socket.socket, lanes: LaneTable, reception: StreamTable) -> None:
        self.bound = bound
        self.unknown = 0
        self.ambiguous = 0
        self._lanes = lanes
        self._reception = reception
        self._rows: dict[int, list[Hashable]] = {}
        self._by_source: dict[Hashable, list[int]] = {}
        self._announced: dict[int, int] = {}
        self._heard: dict[tuple[Hashable, int], int] = {}
        self._heard_by_row: dict[int, deque[tuple[Hashable, int]]] = {}
        self._quick: dict[int, int] = {}
        self._known: tuple[Integers, Integers] | None = None
        self._trials = TRIALS

    def __len__(self) -> int:
        return len(self._rows)

    # --- streams ------------------------------------------------------------------------------

    def join(self, row: int) -> None:
        """A stream uses the port."""
        self._rows[row] = []
        self._heard_by_row[row] = deque()

    def leave(self, row: int) -> None:
        """It uses it no more."""
        for source in self._rows.pop(row):
            self._forget_source(row, source)
        for heard in self._heard_by_row.pop(row):
            self._forget_heard(row, heard)
        for ssrc in [ssrc for ssrc, other in self._announced.items() if other == row]:
            del self._announced[ssrc]

    def expect(self, row: int, source: Hashable, ssrc: int | None = None) -> None:
        """A stream's peer has this address, by its description or by what was heard.

        Args:
            row: The stream.
            source: The address, in the back-end's form.
            ssrc: What the peer announced it sends with.
        """
        if ssrc is not None:
            self._announced.setdefault(ssrc, row)
        sources = self._rows[row]
        if source in sources:
            return
        sources.append(source)
        self._by_source.setdefault(source, []).append(row)
        if len(sources) > SOURCES_BY_STREAM:
            self._forget_source(row, sources.pop(0))

    def has_peer(self, source: Hashable) -> bool:
        """Whether a stream's peer has this address."""
        return source in self._by_source

    def _forget_source(self, row: int, source: Hashable) -> None:
        rows = self._by_source[source]
        rows.remove(row)
        if not rows:
            del self._by_source[source]

    def _forget_heard(self, row: int, heard: tuple[Hashable, int]) -> None:
        source, ssrc = heard
        if self._heard.get(heard) == row:
            del self._heard[heard]
        key = _quick_key(source, ssrc)
        if self._quick.get(key) == row:
            del self._quick[key]
            self._known = None

    # --- datagrams ----------------------------------------------------------------------------

    def begin(self) -> None:
        """A run of the receive lane begins."""
        self._trials = TRIALS

    def rows_of(self, ports: Integers, ssrcs: Integers) -> Integers:
        """The probable stream of each RTP packet, `NO_ROW` where there is none.

        Whoever asks compares source and SSRC with what the stream expects: a hint is no proof.
        """
        if self._known is None:
            known = np.fromiter(self._quick, np.int64, len(self._quick))
            rows = np.fromiter(self._quick.values(), np.int64, len(known))
            order = np.argsort(known)
            # The last one, which no packet has, is where all others are sought in vain.
            self._known = (
                np.append(known[order], _NO_KEY),
                np.append(rows[order], NO_ROW),
            )
        known, rows = self._known
        keys = (ssrcs << 16) | ports
        places = np.searchsorted(known, keys)
        return np.where(known[places] == keys, rows[places], NO_ROW)

    def route(self, datagram: bytes, source: Hashable) -> int | None:
        """The stream a datagram is for; None counts it."""
        kind = classify(datagram)
        place = _SSRC_PLACES.get(kind)
        rows = self._by_source.get(source, ())
        if place is not None:
            ssrc = int.from_bytes(datagram[place : place + 4], "big")
            row = self._heard.get((source, ssrc))
            if row is not None:
                return row
            if len(rows) != 1:
                return self._search(rows, datagram, ssrc, rtp=kind is PacketKind.RTP)
        if len(rows) == 1:
            return rows[0]
        if rows:
            self.ambiguous += 1
        else:
            self.unknown += 1
        return None

    def _search(
        self, rows: list[int] | tuple[int, ...], datagram: bytes, ssrc: int, *, rtp: bool
    ) -> int | None:
        """Among the streams of that source, or those nobody was heard of yet."""
        announced = self._announced.get(ssrc)
        if announced is not None and (announced in rows or self._is_open(announced)):
            return announced
        if not rows:
            row = self._try_keys(filter(self._is_open, self._rows), datagram) if rtp else None
            self.unknown += row is None
            return row
        same = [row for row in rows if int(self._reception.ssrc[row]) == ssrc]
        if len(same) == 1:
            return same[0]
        # Those that were heard with another SSRC come last: a peer may change it.
        fresh = sorted(rows, key=lambda row: int(self._reception.ssrc[row]) >= 0)
        row = self._try_keys(fresh, datagram) if rtp else None
        self.ambiguous += row is None
        return row

    def _is_open(self, row: int) -> bool:
        """Whether a stream may still learn where its peer is."""
        stream = self._lanes.streams[row]
        return stream is not None and stream.seeks_source

    def _try_keys(self, rows: Iterable[int], datagram: bytes) -> int | None:
        for row in rows:
            stream = self._lanes.streams[row]
            if stream is None or not stream.secure:
                continue
            if self._trials <= 0:
                return None
            self._trials -= 1
            if stream.opens(datagram):
                return row
        return None

    def note(self, row: int, datagram: bytes, source: Hashable) -> None:
        """A stream has taken a datagram: the next ones are found at once."""
        if row not in self._rows or classify(datagram) is not PacketKind.RTP:
            return
        ssrc = int.from_bytes(datagram[8:12], "big")
        if self._lanes.expected[row] != source or int(self._reception.ssrc[row]) != ssrc:
            return
        heard = (source, ssrc)
        key = _quick_key(source, ssrc)
        if self._quick.get(key) != row:
            self._quick[key] = row
            self._known = None
        if self._heard.get(heard) == row:
            return
        self._heard[heard] = row
        known = self._heard_by_row[row]
        known.append(heard)
        if len(known) > SOURCES_BY_STREAM:
            self._forget_heard(row, known.popleft())


def _quick_key(source: Hashable, ssrc: int) -> int:
    return ssrc << 16 | port_number(source)
