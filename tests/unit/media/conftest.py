"""A media engine in virtual time: real loopback sockets, no real waiting.

A datagram on loopback has arrived when `send` returns, so a test decides alone when time goes on.
Kernel stamps are off (they would show real time): arrivals are the virtual time of the tick.
"""

from __future__ import annotations

import asyncio
import hashlib
import heapq
import itertools
import socket
import struct

import pytest

from callmeter.config import SrtpSuite
from callmeter.media import MediaEngine, StreamParameters, ports
from callmeter.media.pace import ClockOffset
from callmeter.media.video import EncodedFrame
from callmeter.media.video_parameters import VideoParameters
from callmeter.rtp import PacketKind, classify
from callmeter.rtp.header import pack_header
from callmeter.srtp import SrtpContext, for_suite, generate

LOOPBACK = "127.0.0.1"
EPOCH = 1_700_000_000.0
HARMLESS_OPTION = socket.SO_BROADCAST


class VirtualTimer:
    def __init__(self, when, callback):
        self.when = when
        self.callback = callback
        self.cancelled = False

    def cancel(self):
        self.cancelled = True


class VirtualLoop:
    """What the engine uses of an event loop."""

    def __init__(self, real):
        self._real = real
        self._now = 1000.0
        self._timers = []
        self._numbers = itertools.count()
        self._soon = []

    def time(self):
        return self._now

    def call_at(self, when, callback):
        timer = VirtualTimer(when, callback)
        heapq.heappush(self._timers, (when, next(self._numbers), timer))
        return timer

    def call_soon(self, callback):
        self._soon.append(callback)

    def create_future(self):
        return self._real.create_future()

    @property
    def timers(self):
        return [timer for _, _, timer in self._timers if not timer.cancelled]

    def hold_up(self, seconds):
        """Time passes, and nobody runs a callback."""
        self._now += seconds

    def run(self, seconds):
        until = self._now + seconds + 1e-9
        while self._timers and self._timers[0][0] <= until:
            when, _, timer = heapq.heappop(self._timers)
            self._now = max(self._now, when)
            if not timer.cancelled:
                timer.callback()
            callbacks, self._soon = self._soon, []
            for callback in callbacks:
                callback()
        self._now = max(self._now, until - 1e-9)


class Entropy:
    """Reproducible octets."""

    def __init__(self):
        self._count = 0

    def __call__(self, octets):
        self._count += 1
        return hashlib.shake_128(b"%d" % self._count).digest(octets)


class Pictures:
    """A source of VP8 frames that say no more than what is counted of them."""

    codec = "VP8"
    size = (320, 240)

    def __init__(self, count=None, *, frame_rate=20.0, octets=2000, broken_at=None):
        self.frame_rate = frame_rate
        self.given = 0
        self.asked = 0
        self._count = count
        self._octets = octets
        self._broken_at = broken_at
        self._key = True

    def prepare(self):
        """Nothing to do."""

    def request_key_frame(self):
        self.asked += 1
        self._key = True

    def next_frame(self):
        if self.given == self._broken_at:
            raise OSError("the camera is gone")
        if self.given == self._count:
            return None
        key, self._key = self._key, False
        head = b"\x10\x02\x00\x9d\x01\x2a\x40\x01\xf0\x00" if key else b"\x11\x02\x00"
        timestamp = round(self.given * 90_000 / self.frame_rate)
        self.given += 1
        return EncodedFrame(head + bytes(self._octets), timestamp, key)


class Lab:
    """An engine in virtual time, and what tests want to do with it."""

    def __init__(self, backend, real_loop, **options):
        self.loop = VirtualLoop(real_loop)
        self.entropy = Entropy()
        self.engine = MediaEngine(
            entropy=self.entropy, wall_clock=self.wall, backend=backend, **options
        )
        self.engine._loop = self.loop
        self.engine._offset = ClockOffset(self.loop.time, self.wall)
        self._sockets = []

    def wall(self):
        return EPOCH + self.loop.time()

    def run(self, seconds):
        self.loop.run(seconds)

    def open(self, *, rtcp_mux=True, address=LOOPBACK, **settings):
        return self.engine.open_stream(address, rtcp_mux=rtcp_mux, **settings)

    def parameters(self, peer, **changes):
        """For a peer that is a stream, a socket or a port."""
        port = getattr(peer, "port", peer)
        if isinstance(peer, socket.socket):
            port = peer.getsockname()[1]
        values = {
            "codec": "PCMU",
            "payload_type": 0,
            "remote": (LOOPBACK, port),
            "rtcp_mux": getattr(peer, "rtcp_port", port) == port,
            "telephone_event": 101,
            "receive_telephone_event": 101,
        }
        return StreamParameters(**values | changes)

    def line(self, suite=SrtpSuite.AES_CM_128_HMAC_SHA1_80):
        return generate(for_suite(suite), 1, self.entropy)

    def pair(self, *, secure=False, rtcp_mux=True, **changes):
        """Two streams that talk to each other."""
        ends = self.open(rtcp_mux=rtcp_mux), self.open(rtcp_mux=rtcp_mux)
        return self._connected(ends, self.parameters, secure, changes)

    def _connected(self, ends, parameters, secure, changes):
        lines = [self.line(), self.line()] if secure else None
        for own, peer in ((0, 1), (1, 0)):
            keys = {}
            if lines is not None:
                keys = {
                    "srtp_send": SrtpContext(lines[own], "send"),
                    "srtp_receive": SrtpContext(lines[peer], "receive"),
                }
            ends[own].start(parameters(ends[peer], **keys | changes))
        return ends

    def video_parameters(self, peer, **changes):
        """For a peer that is a stream or a socket."""
        port = peer.getsockname()[1] if isinstance(peer, socket.socket) else peer.port
        values = {
            "codec": "VP8",
            "payload_type": 96,
            "remote": (LOOPBACK, port),
            "rtcp_mux": True,
            "feedback": frozenset({"nack", "nack pli", "ccm fir"}),
            "reduced_size": True,
            "bandwidth": 1000,
        }
        return VideoParameters(**values | changes)

    def video_pair(self, *, secure=False, **changes):
        """Two video streams that talk to each other."""
        ends = [self.engine.open_video_stream(LOOPBACK, rtcp_mux=True) for _ in range(2)]
        return self._connected(ends, self.video_parameters, secure, changes)

    def socket(self, address=LOOPBACK):
        """Somebody else on the network."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        bound = socket.socket(family, socket.SOCK_DGRAM)
        bound.bind((address, 0))
        bound.settimeout(0)
        self._sockets.append(bound)
        return bound

    def fetch(self, bound):
        """The RTP packets a socket has."""
        return [one for one in self.fetch_all(bound) if classify(one) is PacketKind.RTP]

    @staticmethod
    def fetch_all(bound):
        """All datagrams a socket has."""
        datagrams = []
        while True:
            try:
                datagrams.append(bound.recv(2048))
            except BlockingIOError:
                return datagrams

    @staticmethod
    def rtp(sequence, *, ssrc=0xCAFE, payload_type=0, timestamp=None, payload=bytes(160)):
        timestamp = 160 * sequence if timestamp is None else timestamp
        return pack_header(payload_type, sequence, timestamp, ssrc) + payload

    def events(self, stream, kind=object):
        return [event for event in stream._log._events if isinstance(event, kind)]

    def close(self):
        for stream in self.engine.streams:
            stream.stop()
        self.engine.backend.close()
        for bound in self._sockets:
            bound.close()


@pytest.fixture(params=["portable", "mmsg", pytest.param("uring", marks=pytest.mark.io_uring)])
def backend_name(request):
    return request.param


@pytest.fixture
def real_loop():
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


@pytest.fixture
def make_lab(backend_name, real_loop, monkeypatch):
    monkeypatch.setattr(ports, "SO_TIMESTAMPNS", HARMLESS_OPTION)
    labs = []

    def make(**options):
        lab = Lab(backend_name, real_loop, **options)
        labs.append(lab)
        return lab

    yield make
    for lab in labs:
        lab.close()


@pytest.fixture
def pictures():
    return Pictures


@pytest.fixture
def lab(make_lab):
    return make_lab()


@pytest.fixture
def rtp_fields():
    """Second octet, sequence number, timestamp and SSRC of a packet."""
    return lambda packet: struct.unpack_from("!BHII", packet, 1)
