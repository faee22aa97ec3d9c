"""A plain, slow account of one RTP stream, written from RFC 3550: the oracle of the columns."""

from __future__ import annotations

import math

import pytest


class PlainStream:
    """RFC 3550 A.1, A.3 and A.8 for one source, with sets where the table has windows."""

    def __init__(self, rate: int = 8000, probation: int = 2) -> None:
        self.rate = rate
        self.probation = probation
        self.running = False
        self.max_seq = -1
        self.cycles = 0
        self.base_seq = 0
        self.bad_seq = 65_537
        self.received_now = 0
        self.seen: set[int] = set()
        self.surplus = 0
        self.leapt = 0
        self.kept_received = 0
        self.kept_lost = 0
        self.octets = 0
        self.rejected = 0
        self.duplicates = 0
        self.out_of_order = 0
        self.resets = 0
        self.jumps = 0
        self.gap = 0
        self.timestamp_jumps = 0
        self.jitter = 0.0
        self.transit: float | None = None
        self.last_arrival: float | None = None
        self.spacings: list[float] = []

    def packet(self, sequence, timestamp, arrival, octets, *, timed=True):
        self.octets += octets
        if not self.valid(sequence):
            self.rejected += 1
            return
        spacing = None if self.last_arrival is None else arrival - self.last_arrival
        self.last_arrival = arrival
        if spacing is not None:
            self.spacings.append(spacing)
        if not timed:
            return
        transit = arrival * self.rate - timestamp
        before, self.transit = self.transit, transit
        if before is None:
            return
        distance = transit - before
        while distance > 2**31:
            distance -= 2**32
        while distance < -(2**31):
            distance += 2**32
        stamped = spacing * self.rate - distance
        if abs(distance) > self.rate and abs(stamped) > self.rate:
            self.timestamp_jumps += 1
            return
        self.jitter += (abs(distance) - self.jitter) / 16

    def init_seq(self, sequence):
        self.running = True
        self.base_seq = self.max_seq = sequence
        self.cycles = 0
        self.bad_seq = 65_537
        self.received_now = 0
        self.seen = set()
        self.surplus = self.leapt = 0

    def valid(self, sequence):
        if not self.running:
            if self.max_seq < 0 or sequence == (self.max_seq + 1) % 65_536:
                self.probation -= 1
            else:
                self.probation = 1
            self.max_seq = sequence
            if self.probation > 0:
                return False
            self.init_seq(sequence)
            return self.count(sequence)
        ahead = (sequence - self.max_seq) % 65_536
        if 0 < ahead < 3000:
            if ahead - 1 > 300:
                self.jumps += 1
                self.leapt += ahead - 1
            else:
                self.gap = max(self.gap, ahead - 1)
            if sequence < self.max_seq:
                self.cycles += 65_536
            self.max_seq = sequence
            return self.count(self.cycles + sequence)
        if ahead == 0 or ahead > 65_536 - 100:
            return self.count(self.cycles + self.max_seq - (65_536 - ahead) % 65_536)
        if sequence != self.bad_seq:
            self.bad_seq = (sequence + 1) % 65_536
            return False
        if sequence < self.max_seq:
            self.resets += 1
        else:
            self.jumps += 1
        self.kept_received += self.received_now
        self.kept_lost += self.lost
        self.init_seq(sequence)
        return self.count(sequence)

    def count(self, number):
        self.received_now += 1
        if number in self.seen:
            self.duplicates += 1
            self.surplus += 1
        else:
            if number < self.highest:
                self.out_of_order += 1
            if number < self.base_seq:
                self.surplus += 1
            self.seen.add(number)
        return True

    @property
    def highest(self):
        return self.cycles + self.max_seq

    @property
    def expected(self):
        return self.highest - self.base_seq + 1 if self.running else 0

    @property
    def lost(self):
        return self.expected - (self.received_now - self.surplus) - self.leapt

    def account(self):
        return {
            "highest": self.highest,
            "expected": self.expected,
            "received": self.received_now,
            "valid": self.kept_received + self.received_now,
            "lost": self.kept_lost + self.lost,
            "octets": self.octets,
            "rejected": self.rejected,
            "duplicates": self.duplicates,
            "out_of_order": self.out_of_order,
            "resets": self.resets,
            "jumps": self.jumps,
            "gap": self.gap,
            "timestamp_jumps": self.timestamp_jumps,
            "jitter": self.jitter,
            "closest": min(self.spacings, default=math.inf),
            "widest": max(self.spacings, default=-math.inf),
        }


@pytest.fixture(name="plain_stream")
def plain_stream_class():
    return PlainStream
