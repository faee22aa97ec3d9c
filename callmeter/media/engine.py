"""The packet lane's clock: one tick for all streams of an event loop.

A tick sends what is due and takes what has arrived. Its schedule is absolute (`t0 + k * 5 ms`),
so lateness never adds up: a late tick is followed by the next one at its own time. Few streams
share one phase of 20 ms; very many are spread over two of 10 ms.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
from typing import TYPE_CHECKING, Final, Self

import numpy as np

from callmeter.errors import LocalProtocolError, TransportError
from callmeter.media.datagrams import mmsg, new_backend
from callmeter.media.datagrams.tap import TappedBackend
from callmeter.media.handshake_queue import HandshakeQueue
from callmeter.media.lanes import LaneTable
from callmeter.media.pace import ClockOffset, LatenessHistogram, Overload
from callmeter.media.parameters import PHASE_MS
from callmeter.media.receive import ReceiveLane
from callmeter.media.report_lane import ReportLane
from callmeter.media.samples import SampleTable
from callmeter.media.session_memory import SessionMemory
from callmeter.media.stream import MediaStream
from callmeter.media.stream_sockets import StreamSockets
from callmeter.media.transmit import SendLane
from callmeter.media.video_stream import VideoStream
from callmeter.rtp.report_table import ReportTable
from callmeter.rtp.send_table import SendTable
from callmeter.rtp.stream_table import StreamTable

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator, Mapping
    from types import TracebackType

    from callmeter.media.capture import MediaCapture
    from callmeter.media.datagrams import Backend
    from callmeter.media.rtp_stream import RtpStream

__all__ = ["MediaEngine"]

PHASE_S: Final = PHASE_MS / 1000
PHASES: Final = 4
SPREAD: Final = ((0, 4), (1_100, 2))
"""From so many streams on a tick has so many phases: small batches are dear, large ones late."""
MANY: Final = 300
"""From so many streams on what they have in memory is laid in order, and RTCP waits its turn."""
GATHER_AT: Final = 0.7
"""There have to be so much fewer before they are gathered again, or count as few."""
REPORT_PHASES: Final = 50
"""Many streams have their RTCP sent and read four times a second: what runs seldom runs slowly,
so some at once are cheaper than one by one. The times in it are those of arrival and sending."""
REPORTS: Final = 4
"""Compound packets that are sent, and read, one by one at a time."""
REPORT_ROUNDS: Final = 5
"""So many times at most in one tick; the next tick goes on."""
SPARE_S: Final = 1e-3
"""With less to go until the next tick, what is not media waits, but for one round of it."""
MAX_BEHIND_S: Final = 0.2
"""A loop that was held up longer does not send the missed packets in a burst."""
SILENCE_S: Final = 5.0
PAUSE_S: Final = 30.0
"""The same for a peer whose last packet was comfort noise: it may have nothing to add."""
FIRST_ROWS: Final = 64
EXPEDITED_FORWARDING: Final = 46
ASSURED_FORWARDING: Final = 34
"""AF41 (RFC 4594)."""


class MediaEngine:
    """All media streams of one event loop. Use it as `async with`; leaving stops all streams.

    Args:
        entropy: Gives random octets.
        wall_clock: Seconds since 1970, for RTCP and the kernel's arrival stamps.
        max_streams: Streams at most.
        tick_delay: Seconds by which ticks may be late for some seconds on end.
        on_overload: Called with whether they are later, when that changes.
        backend: `"mmsg"`, `"uring"` or `"portable"`; None takes what is best for the first stream.
        segmentation: Let the kernel cut what goes from a shared port to one address.
        io_uring: Whether what is best for ports of their own may be `"uring"`.

    Attributes:
        tick_lateness: How late ticks began.
        send_lateness: How long after their time packets were handed to the kernel.
        skipped_phases: Phases left out because the loop was held up.
        overload: Whether ticks are so late that there should be no more calls.
        handshakes: Steps of DTLS handshakes, so many in a turn of the loop.
        sessions: Opens the SRTP sessions of the streams.
        sockets: Those of the streams.
    """

    def __init__(
        self,
        *,
        entropy: Callable[[int], bytes],
        wall_clock: Callable[[], float],
        max_streams: int = 16_384,
        backend: str | None = None,
        segmentation: bool = True,
        io_uring: bool = True,
        tick_delay: float = 0.05,
        on_overload: Callable[[bool], None] = lambda _: None,
    ) -> None:
        self.entropy = entropy
        self.wall = wall_clock
        self.backend: Backend = new_backend(backend, segmentation=segmentation, io_uring=io_uring)
        self._segmentation = segmentation
        self.lanes = LaneTable(FIRST_ROWS, max_streams)
        self.reception = StreamTable(FIRST_ROWS, max_streams)
        self.send_table = SendTable(FIRST_ROWS, max_streams)
        self.reports = ReportTable(FIRST_ROWS, max_streams)
        self.samples = SampleTable(self.reception, self.send_table, self.lanes)
        self.tick_lateness = LatenessHistogram()
        self.send_lateness = LatenessHistogram()
        self.skipped_phases = 0
        self.overload = Overload(tick_delay, on_overload)
        self.handshakes = HandshakeQueue(self.call_soon)
        self.sessions = SessionMemory()
        self._choosing = backend is None
        self._report_lane = ReportLane(
            self.lanes,
            self.reports,
            self.send_table,
            self.reception,
            self.samples,
            self.backend,
            entropy,
        )
        self._receive = ReceiveLane(self.lanes, self.reception, self.backend, self._report_lane)
        self.sockets = StreamSockets(self.lanes, self.reception, self._receive, entropy)
        self._transmit = SendLane(self.lanes, self.send_table, self.backend)
        self._watched: set[RtpStream] = set()
        self._metered: set[RtpStream] = set()
        self._dropped: dict[str, int] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._offset: ClockOffset | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._origin = 0.0
        self._phase = 0
        self._step = PHASES
        self._many = self._changed = self._scattered = self._reports_left = False
        self._compaction: Iterator[bool] | None = None
        self._next_second = 0.0

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._offset = ClockOffset(self._loop.time, self.wall)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for stream in self.streams:
            stream.stop()
        self.handshakes.clear()
        self.sessions.close()
        self.backend.close()
        self._loop = None

    # --- what is to be seen -------------------------------------------------------------------

    @property
    def streams(self) -> list[RtpStream]:
        """The open streams."""
        return [stream for stream in self.lanes.streams if stream is not None]

    @property
    def refused_streams(self) -> int:
        """Streams refused because the engine was full."""
        return self.lanes.refused

    @property
    def late_ticks(self) -> int:
        """Ticks that began more than 5 ms late."""
        return self.tick_lateness.late

    @property
    def datagrams_received(self) -> int:
        """Datagrams taken from the sockets."""
        return self._receive.datagrams

    @property
    def datagrams_sent(self) -> int:
        """RTP packets handed to the kernel."""
        return self._transmit.datagrams

    @property
    def socket_overflows(self) -> int:
        """Datagrams the kernel dropped because nobody fetched them in time."""
        return self.backend.overflows.total

    @property
    def dropped(self) -> dict[str, int]:
        """Datagrams not accepted by any stream so far, by reason."""
        total = dict(self._dropped)
        _add(total, self.sockets.dropped)
        for stream in self.streams:
            _add(total, stream.statistics().dropped)
        return total

    # --- streams ------------------------------------------------------------------------------

    def open_stream(
        self,
        address: str,
        *,
        rtcp_mux: bool,
        ports: tuple[int, int] = (0, 0),
        dscp: int | None = EXPEDITED_FORWARDING,
        shared: bool = False,
        alone_with: tuple[str, int] | None = None,
        make: Callable[..., MediaStream] = MediaStream,
    ) -> MediaStream:
        """Bind the ports of a stream.

        Args:
            address: Local IP address.
            rtcp_mux: One port for RTP and RTCP. Otherwise RTP gets an even port and RTCP the
                next one, which is released when `start` says that mux was agreed on after all.
            ports: Lowest and highest port to take; (0, 0): the system's choice.
            dscp: Differentiated services code point, 46 is expedited forwarding; None sets none.
            shared: One port for RTP and RTCP of all streams that ask for that, told apart by
                source address and SSRC.
            alone_with: A peer that could not be told apart from another one at this address: if
                there is one already, the stream gets a port of its own.
            make: `MediaStream` or what stands in for it.

        Raises:
            TransportError: No port is free, or the engine is full.
            LocalProtocolError: The engine is not entered.
        """
        self._running()
        if shared and self._choosing and not len(self.lanes) and mmsg.available():
            self._use_mmsg()
        row = self._take_row()
        bound: socket.socket | None = None
        try:
            if shared:
                bound = self.sockets.share(row, address, ports, dscp, alone_with)
            if bound is None:
                sockets = self.sockets.open(address, ports, dscp, rtcp_mux=rtcp_mux)
            else:
                sockets = bound, None
        except TransportError:
            self._release_row(row)
            raise
        stream = make(self, row, sockets, address, self._new_cname())
        self._add(stream, row)
        return stream

    def open_video_stream(
        self,
        address: str,
        *,
        rtcp_mux: bool,
        ports: tuple[int, int] = (0, 0),
        dscp: int | None = ASSURED_FORWARDING,
    ) -> VideoStream:
        """Bind the ports of a video stream; they are its own.

        Args:
            address: Local IP address.
            rtcp_mux: As for `open_stream`.
            ports: As for `open_stream`.
            dscp: Differentiated services code point, 34 is AF41; None sets none.

        Raises:
            TransportError: No port is free, or the engine is full.
            LocalProtocolError: The engine is not entered.
        """
        self._running()
        row = self._take_row()
        try:
            sockets = self.sockets.open(address, ports, dscp, rtcp_mux=rtcp_mux)
        except TransportError:
            self._release_row(row)
            raise
        stream = VideoStream(self, row, sockets, address, self._new_cname())
        self._add(stream, row)
        return stream

    def _new_cname(self) -> str:
        return base64.b64encode(self.entropy(12)).decode()

    def _add(self, stream: RtpStream, row: int) -> None:
        self.lanes.streams[row] = stream
        if self._timer is None:
            self._begin()

    def _take_row(self) -> int:
        """Take the same row of all four tables: they are taken and given back in step."""
        random = self.entropy(10)
        ssrc = int.from_bytes(random[:4], "big")
        # Below 2^15, so that an SRTP peer cannot miss the first wrap (RFC 3711 section 3.3.1).
        sequence = int.from_bytes(random[4:6], "big") >> 1
        timestamp = int.from_bytes(random[6:], "big")
        row = self.lanes.allocate()
        if row is None:
            raise TransportError(f"the media engine has {len(self.lanes)} streams, its limit")
        self.reception.allocate(-1, probation=0)
        self.send_table.allocate(ssrc, sequence, timestamp)
        self.reports.allocate()
        return row

    def _release_row(self, row: int) -> None:
        self.lanes.release(row)
        self.reception.release(row)
        self.send_table.release(row)
        self.reports.release(row)

    def on_started(self, stream: RtpStream, *, metered: bool) -> None:
        """A stream was started, for the first time or again."""
        if metered:
            self._metered.add(stream)
        self._choose_phases()

    def on_stopped(self, stream: RtpStream, row: int) -> None:
        """A stream has stopped; its row is given back."""
        _add(self._dropped, stream.statistics().dropped)
        self._watched.discard(stream)
        self._metered.discard(stream)
        self._release_row(row)
        self._choose_phases()
        if not len(self.lanes) and self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self.overload.end()

    def tap(self, bound: socket.socket, capture: MediaCapture) -> None:
        """Copy what a socket sends and receives, until `untap`."""
        backend = self.backend
        if not isinstance(backend, TappedBackend):
            backend = TappedBackend(backend, self.wall)
            self._use(backend)
        backend.tap(bound, capture)

    def untap(self, bound: socket.socket) -> None:
        """Copy no more; without any capture the plain back-end does the work again."""
        backend = self.backend
        if isinstance(backend, TappedBackend):
            backend.untap(bound)
            if not backend.tapping:
                self._use(backend.inner)

    def _use(self, backend: Backend) -> None:
        self.backend = self._receive.backend = self._transmit.backend = backend
        self._report_lane.backend = backend

    def _use_mmsg(self) -> None:
        """What pays on a socket that many share, and does not on one for each."""
        before = self.backend
        # A process without a descriptor for it goes on as before, or has none for a socket either.
        if before.name != "mmsg":
            with contextlib.suppress(OSError):
                after = new_backend("mmsg", segmentation=self._segmentation)
                after.overflows, after.send_errors = before.overflows, before.send_errors
                self._use(after)
                before.close()

    def watch(self, stream: RtpStream) -> None:
        """Look at the stream's deadline in every tick until it has none."""
        self._watched.add(stream)

    # --- time ---------------------------------------------------------------------------------

    def _running(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            raise LocalProtocolError("the media engine is used inside its `async with`")
        return self._loop

    def now(self) -> float:
        """Loop time."""
        return self._running().time()

    def future(self) -> asyncio.Future[None]:
        """A future of this loop."""
        return self._running().create_future()

    def call_at(self, when: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        """Run something at a loop time, off the tick."""
        return self._running().call_at(when, callback)

    def call_soon(self, callback: Callable[[], None]) -> object:
        """Run something off the tick."""
        return self._running().call_soon(callback)

    @property
    def clock_offset(self) -> float:
        """What turns wall-clock stamps into loop time."""
        return 0.0 if self._offset is None else self._offset.seconds

    def first_phase(self, row: int) -> int:
        """The phase a stream's first packet is due in."""
        following = self._phase + PHASES - self._phase % PHASES
        return following + row * self._step % PHASES

    def _choose_phases(self) -> None:
        """A tick every 20, 10 or 5 ms."""
        self._changed = self._scattered = True
        streams = len(self.lanes)
        step = next(step for least, step in reversed(SPREAD) if streams >= least)
        if step > self._step:
            # Not at once: the number goes up and down.
            step = next(step for least, step in reversed(SPREAD) if streams >= least * GATHER_AT)
        if (self.lanes.period % PHASES).any():
            step = 1
        if step < self._step:
            rows = np.flatnonzero(self.lanes.sending)
            # Those that are together in one phase go to those that come between.
            self.lanes.due[rows] += rows // (PHASES // self._step) * step % self._step
        self._step = step
        self._many = streams >= (MANY * GATHER_AT if self._many else MANY)
        self._receive.deferring = self._many

    def _begin(self) -> None:
        loop = self._running()
        self._origin = loop.time()
        self._phase = 0
        self._next_second = self._origin + 1
        self._timer = loop.call_at(self._origin, self._tick)

    def _tick(self) -> None:
        loop, offset = self._running(), self._offset
        scheduled = self._origin + self._phase * PHASE_S
        now = loop.time()
        self.tick_lateness.add(now - scheduled)
        self.overload.add(now - scheduled)
        if now - scheduled > MAX_BEHIND_S:
            self._skip(now - scheduled)
        phase = self._phase
        step = self._step - phase % self._step
        self._phase = phase + step
        self._timer = loop.call_at(self._origin + self._phase * PHASE_S, self._tick)
        due = self._transmit.run(phase, now)
        if due:
            self.send_lateness.add(loop.time() - scheduled, due)
        if offset is not None:
            offset.sample()
        self._receive.run(now, self.clock_offset)
        if self.reception.gaps:
            self._tell_gaps(now)
        self._keep_deadlines(now)

    def _tell_gaps(self, now: float) -> None:
        gaps, self.reception.gaps = self.reception.gaps, []
        for row, first, count in gaps:
            stream = self.lanes.streams[row]
            if stream is not None:
                stream.on_gap(first, count, now)

    def _skip(self, behind: float) -> None:
        """Leave out what was missed: sequence numbers go on, timestamps show the pause."""
        phases = int(behind / PHASE_S) // PHASES * PHASES
        self.skipped_phases += phases
        self._phase += phases
        rows = np.flatnonzero(self.lanes.sending)
        self.lanes.due[rows] += phases
        units = (phases * PHASE_S * self.send_table.clock_rate[rows]).astype(np.int64)
        self.send_table.skip(rows, units)

    def _keep_deadlines(self, now: float) -> None:
        if self._reports_left or not self._many or self._phase % REPORT_PHASES < self._step:
            self._reports_left = self._keep_reports()
        if self._compaction is not None and self._has_spare_time():
            self._compaction = self._compaction if next(self._compaction, False) else None
        for stream in tuple(self._watched):
            deadline = stream.next_deadline()
            if deadline is None:
                self._watched.discard(stream)
            elif deadline <= now:
                stream.on_deadline(now)
        if now >= self._next_second:
            self._next_second = max(self._next_second + 1, now)
            self._on_second(now)

    def _has_spare_time(self) -> bool:
        """Whether the next tick is not due yet."""
        return self._running().time() < self._origin + self._phase * PHASE_S - SPARE_S

    def _keep_reports(self) -> bool:
        """Read and send what is due of RTCP while there is time; returns whether there is more."""
        lane, left = self._report_lane, True
        for _ in range(REPORT_ROUNDS):
            left = lane.read(REPORTS, self.clock_offset)
            # The clocks in a report are those of the moment in which it leaves.
            left |= lane.send(REPORTS, self.now(), self.wall())
            if not left or not self._has_spare_time():
                break
        return left

    def _on_second(self, now: float) -> None:
        lanes = self.lanes
        self.overload.on_second()
        if self._changed:
            self._changed = False
            if self._many:
                lanes.arrange()
        elif self._scattered and self._many:
            self._scattered = False
            self._compaction = lanes.compact()
        self.reception.roll()
        self.samples.on_second(now)
        for stream in self._metered:
            stream.on_second()
        heard = np.fmax(self.reception.last_arrival, lanes.awaited_since)
        paused = lanes.paused_at >= self.reception.last_arrival
        quiet = lanes.receiving & (now - heard > np.where(paused, PAUSE_S, SILENCE_S))
        for row in np.flatnonzero(quiet & ~lanes.silent).tolist():
            silent = lanes.streams[row]
            if silent is not None:
                silent.on_silence(now, now - float(heard[row]))
        lanes.silent[:] = quiet


def _add(total: dict[str, int], more: Mapping[str, int]) -> None:
    for reason, count in more.items():
        total[reason] = total.get(reason, 0) + count
