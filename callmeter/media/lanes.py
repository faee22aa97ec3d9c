"""What the packet lane knows of every stream, by row: columns for numpy, lists for `map`.

The rows of this table, of the reception, send and report tables are taken and given back in step,
so that one row number means the same stream in all of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np

from callmeter.media.datagrams.backend import head_number
from callmeter.media.frame_tables import NO_TABLE, FrameTables
from callmeter.rtp.columns import ColumnTable
from callmeter.rtp.jitter_buffer import JitterBufferTable
from callmeter.srtp.libsrtp import copy_handle, place_of

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator, Mapping, Sequence

    import numpy.typing as npt

    from callmeter.media.rtp_stream import RtpStream
    from callmeter.media.shared_port import SharedPort

    Flags = npt.NDArray[np.bool_]
    Integers = npt.NDArray[np.int64]

__all__ = ["FOREVER", "LaneTable", "signatures"]

FOREVER: Final = 1 << 62
"""Frames that a looping source still has to give."""
UNSETTLED: Final = -1
FIRST_BUFFERS: Final = 8
COMPACTED: Final = 100
"""Handles that are laid side by side at a time."""


_TYPE_BITS: Final = 7
_TYPE_MASK: Final = 0x7F


def signatures(ssrcs: Integers, second: npt.NDArray[np.uint8]) -> Integers:
    """SSRC and payload type of packets in one number.

    Args:
        ssrcs: Synchronisation sources.
        second: Second octets.
    """
    return (ssrcs << _TYPE_BITS) | (second & _TYPE_MASK)


class LaneTable(ColumnTable):
    """One row per media stream.

    Attributes:
        steady: Nothing unusual is expected of what arrives, so batches may judge it: source
            locked, SSRC known, one key.
        secure_in: Packets are unprotected by `receive_handles`.
        signature: SSRC and payload type of a steady stream, as `signatures` makes it of packets.
        listening: Some sink wants the payload.
        failing: Packets in a row that failed authentication.
        srtp_failures, srtp_replays: Packets that SRTP refused, as in `StreamStatistics`.
        receiving: Media is expected.
        silent: A gap has been reported and not ended.
        paused_at: Loop time of the last packet of comfort noise.
        awaited_since: Loop time from which media was to be expected.
        sending: Packets are due.
        due: Phase in which the next one is.
        period: Phases between two.
        samples: Timestamp units a packet lasts.
        octets: Payload octets of a packet.
        send_type: Payload type.
        marker: The next packet starts a talk spurt.
        secure_out: Packets are protected by `send_handles`.
        special: The stream builds its packets one by one (a digit, an MKI).
        live: The payload is made while it plays.
        rest: Packet times until the next packet of silence that is sent; 0 while every one is.
        cursor, count: Place in the payloads, and how many there are.
        remaining: Packets until the source is exhausted.
        report_in, report_out: Reports may be taken, and sent, in batches.
        report_secure: Reports are protected like media, by the same handles.
        report_head: First octets of the address they go to, and are expected from.
        report_descriptor: Socket they leave from.
        reports_kept, reports_alone: Reports that wait to be read, and those of them that wait to
            be read one by one.
        level_law: How the steady octets turn into a level, by `levels`.
        level_power, level_packets: Sum of the power that was measured, and of how many packets.
        level_floor: Least power that was measured, slowly forgotten; NaN before the first.
        speech_power, speech_packets: What of these sums was speech.
        buffer_row: Row in `buffers`, -1 without one.
        buffers: The jitter buffers of those streams that have one.
        receive_handles, send_handles: libsrtp sessions.
        expected: Source address packets are expected from, in the back-end's form.
        expected_head: Its first octets, as `Received.heads` has them.
        ports: The shared port of those rows that have no port of their own.
        destinations: Address packets go to.
        destination_head: Its first octets.
        descriptor: Socket they leave from.
        receive_rank: Place of the session among those of what is received, by memory.
        send_order: All rows, in the order of the sessions of what is sent.
        arranged: Whether these two have been set.
        outlets: What the back-end sends with.
        payloads: Encoded frames that are playing; `play` sets them.
        frame_table: Their table among `frames`.
        frames: Tables of what plays.
        streams: The stream of each row.
    """

    steady: Flags
    secure_in: Flags
    signature: Integers
    listening: Flags
    failing: Integers
    srtp_failures: Integers
    srtp_replays: Integers
    receiving: Flags
    silent: Flags
    paused_at: npt.NDArray[np.float64]
    awaited_since: npt.NDArray[np.float64]
    sending: Flags
    due: Integers
    period: Integers
    samples: Integers
    octets: Integers
    send_type: npt.NDArray[np.uint8]
    marker: Flags
    secure_out: Flags
    special: Flags
    live: Flags
    rest: Integers
    cursor: Integers
    count: Integers
    remaining: Integers
    report_in: Flags
    report_out: Flags
    report_secure: Flags
    report_head: npt.NDArray[np.uint64]
    report_descriptor: Integers
    reports_kept: Integers
    reports_alone: Integers
    level_law: Integers
    level_power: npt.NDArray[np.float64]
    level_packets: Integers
    level_floor: npt.NDArray[np.float64]
    speech_power: npt.NDArray[np.float64]
    speech_packets: Integers
    buffer_row: Integers
    expected_head: npt.NDArray[np.uint64]
    destination_head: npt.NDArray[np.uint64]
    descriptor: Integers
    frame_table: Integers
    receive_rank: npt.NDArray[np.uint16]

    COLUMNS: ClassVar[Mapping[str, tuple[str, int | float]]] = {
        "steady": ("?", 0),
        "secure_in": ("?", 0),
        "signature": ("i8", UNSETTLED),
        "listening": ("?", 0),
        "failing": ("i8", 0),
        "srtp_failures": ("i8", 0),
        "srtp_replays": ("i8", 0),
        "receiving": ("?", 0),
        "silent": ("?", 0),
        "paused_at": ("f8", float("nan")),
        "awaited_since": ("f8", float("nan")),
        "sending": ("?", 0),
        "due": ("i8", 0),
        "period": ("i8", 4),
        "samples": ("i8", 160),
        "octets": ("i8", 160),
        "send_type": ("u1", 0),
        "marker": ("?", 0),
        "secure_out": ("?", 0),
        "special": ("?", 0),
        "live": ("?", 0),
        "rest": ("i8", 0),
        "cursor": ("i8", 0),
        "count": ("i8", 1),
        "remaining": ("i8", FOREVER),
        "report_in": ("?", 0),
        "report_out": ("?", 0),
        "report_secure": ("?", 0),
        "report_head": ("u8", 0),
        "report_descriptor": ("i8", -1),
        "reports_kept": ("i8", 0),
        "reports_alone": ("i8", 0),
        "level_law": ("i8", -1),
        "level_power": ("f8", 0.0),
        "level_packets": ("i8", 0),
        "level_floor": ("f8", float("nan")),
        "speech_power": ("f8", 0.0),
        "speech_packets": ("i8", 0),
        "buffer_row": ("i8", -1),
        "expected_head": ("u8", 0),
        "destination_head": ("u8", 0),
        "descriptor": ("i8", -1),
        "frame_table": ("i8", NO_TABLE),
        "receive_rank": ("u2", 0),
    }

    def __init__(self, rows: int, limit: int) -> None:
        self.receive_handles: list[Any] = []
        self.send_handles: list[Any] = []
        self.expected: list[Hashable] = []
        self.destinations: list[Any] = []
        self.outlets: list[Any] = []
        self.payloads: list[Sequence[bytes]] = []
        self.frames = FrameTables()
        self.streams: list[RtpStream | None] = []
        self.ports: dict[int, SharedPort] = {}
        self.arranged = False
        self.buffers = JitterBufferTable(FIRST_BUFFERS, limit)
        super().__init__(rows, limit)

    def allocate(self) -> int | None:
        """Take a row, or None when the table is full."""
        return self._take_row()

    def release(self, row: int) -> None:
        """Give a row back and let go of all it referred to."""
        self.release_buffer(row)
        self.play(row, ())
        super().release(row)
        self.receive_handles[row] = self.send_handles[row] = None
        self.expected[row] = self.destinations[row] = self.outlets[row] = None
        self.streams[row] = None

    def expect(self, row: int, source: Hashable) -> None:
        """Packets are expected from this source from now on."""
        self.expected[row] = source
        self.expected_head[row] = head_number(source)
        port = self.ports.get(row)
        if port is not None:
            port.expect(row, source)

    def settle(self, row: int, ssrc: int, payload_type: int) -> None:
        """Batches may judge what comes with this SSRC and payload type."""
        self.steady[row] = True
        self.signature[row] = ssrc << _TYPE_BITS | payload_type

    def unsettle(self, row: int) -> None:
        """The next packet is judged alone."""
        self.steady[row] = False
        self.signature[row] = UNSETTLED

    def aim(self, row: int, destination: Hashable) -> None:
        """Packets go to this address from now on."""
        self.destinations[row] = destination
        self.destination_head[row] = head_number(destination)

    def play(self, row: int, payloads: Sequence[bytes]) -> None:
        """Packets have these payloads from now on.

        Args:
            row: The stream.
            payloads: All of one length.
        """
        self.payloads[row] = payloads
        before = int(self.frame_table[row])
        self.frame_table[row] = self.frames.join(payloads)
        self.frames.leave(before)

    def arrange(self) -> None:
        """Take streams in the order in which their SRTP sessions lie in memory.

        A batch goes through as many sessions as it has packets, each some KiB that are in no
        cache any more: the processor fetches ahead what lies at even distances, and nothing else.
        """
        send = np.array([place_of(handle) for handle in self.send_handles], np.uint64)
        receive = np.array([place_of(handle) for handle in self.receive_handles], np.uint64)
        self.send_order = np.argsort(send, kind="stable")
        self.receive_rank[np.argsort(receive, kind="stable")] = np.arange(self.capacity)
        self.arranged = True

    def compact(self) -> Iterator[bool]:
        """Lay the handles of sessions side by side: calls were set up one by one, far apart.

        Yields:
            True after every few of them: a thousand take longer than a tick.
        """
        self.arrange()
        for handles, order in (
            (self.send_handles, self.send_order),
            (self.receive_handles, np.argsort(self.receive_rank)),
        ):
            for start in range(0, len(order), COMPACTED):
                for row in order[start : start + COMPACTED].tolist():
                    handles[row] = copy_handle(handles[row])
                yield True

    def release_buffer(self, row: int) -> None:
        """Give the jitter buffer of a row back, if it has one."""
        buffer = int(self.buffer_row[row])
        if buffer >= 0:
            self.buffers.release(buffer)
            self.buffer_row[row] = -1

    def _bind(self) -> None:
        self.send_order = np.arange(self.capacity)
        added = self.capacity - len(self.streams)
        for column in (
            self.receive_handles,
            self.send_handles,
            self.expected,
            self.destinations,
            self.outlets,
            self.streams,
        ):
            column.extend([None] * added)
        self.payloads.extend([()] * added)
