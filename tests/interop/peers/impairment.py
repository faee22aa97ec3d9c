"""A sender that plays a network: it loses, repeats, overtakes and delays packets by a script."""

from __future__ import annotations

import contextlib
import os
import random
import socket
import struct
import time
from dataclasses import dataclass

import numpy as np

LOOPBACK = "127.0.0.1"
SSRC = 0x5EED
FIRST_NUMBER, FIRST_STAMP = 65_300, 0xFFFF_0000  # both wrap on the way
FAST_PPM = 2000.0
PTIME = 0.02
NTP_EPOCH = 2_208_988_800


@dataclass(frozen=True)
class Script:
    """What happens to the packets, by their place.

    Attributes:
        lost, doubled: Places.
        swapped: Places that are overtaken by the one behind them.
        delay: Seconds each takes.
    """

    lost: frozenset[int]
    doubled: frozenset[int]
    swapped: frozenset[int]
    delay: tuple[float, ...]

    @classmethod
    def of(cls, packets: int, seed: int) -> Script:
        chance = random.Random(seed)
        inner = range(20, packets - 20)
        single = {place for place in inner if place % 37 == 0}
        bursts = {place + more for place in inner if place % 211 == 0 for more in (0, 1, 3)}
        lost = single | bursts
        return cls(
            lost=frozenset(lost),
            doubled=frozenset(set(range(50, packets - 20, 50)) - lost),
            swapped=frozenset(
                place for place in range(41, packets - 20, 41) if not {place, place + 1} & lost
            ),
            delay=tuple(chance.uniform(0, 0.008) for _ in range(packets)),
        )

    @classmethod
    def calm(cls, packets: int) -> Script:
        """Nothing happens to them."""
        nothing: frozenset[int] = frozenset()
        return cls(nothing, nothing, nothing, (0.0,) * packets)

    @property
    def longest_gap(self) -> int:
        return longest_run(sorted(self.lost))


def longest_run(ascending):
    if not ascending:
        return 0
    return max(map(len, np.split(ascending, np.flatnonzero(np.diff(ascending) > 1) + 1)))


def packet(place):
    number, stamp = (FIRST_NUMBER + place) & 0xFFFF, (FIRST_STAMP + place * 160) & 0xFFFF_FFFF
    return struct.pack("!BBHII", 0x80, 0, number, stamp, SSRC) + bytes([0x55 + place % 2]) * 160


def sender_report(seconds):
    """By a wall clock that is right, and a media clock that is fast."""
    ntp = int((NTP_EPOCH + 1_700_000_000 + seconds) * (1 << 32))
    stamp = int(FIRST_STAMP + seconds * 8000 * (1 + FAST_PPM * 1e-6)) & 0xFFFF_FFFF
    report = struct.pack("!BBHIQIII", 0x80, 200, 6, SSRC, ntp, stamp, 9, 9)
    return report + struct.pack("!BBHIBB", 0x81, 202, 2, SSRC, 1, 0) + bytes(2)


def send(script, port, target):
    """Plays the script in real time; how many seconds behind it a packet left at most."""
    period = PTIME / (1 + FAST_PPM * 1e-6)
    due = []
    for place, delay in enumerate(script.delay):
        if place in script.lost:
            continue
        at = place * period + delay
        if place in script.swapped:
            at = (place + 1) * period + script.delay[place + 1] + 0.004
        due.append((at, packet(place)))
        if place in script.doubled:
            due.append((at + 0.003, packet(place)))
    seconds = len(script.delay) * PTIME
    due += [(at, sender_report(at)) for at in np.arange(0.5, seconds, 0.7).tolist()]
    with contextlib.suppress(PermissionError):
        # Its packets leave in time, however busy the machine is.
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(10))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        out.bind((LOOPBACK, port))
        begun, behind = time.monotonic(), 0.0
        for at, datagram in sorted(due):
            time.sleep(max(0.0, begun + at - time.monotonic()))
            out.sendto(datagram, (LOOPBACK, target))
            behind = max(behind, time.monotonic() - begun - at)
    return behind
