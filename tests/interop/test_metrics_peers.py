"""The figures of a stream against those of tshark, and against the impairments that made them.

A sender in this file plays a network: it loses, repeats, overtakes and delays packets by a script,
over a clock that is fast. What callmeter measures is compared with what the script says, and with
what is computed from the packets as tshark has them in its capture of the same moment.
"""

from __future__ import annotations

import asyncio
import os
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

import numpy as np
import pytest

from callmeter.jitter_buffer_config import JitterBufferSettings
from callmeter.media import MediaEngine, StreamParameters
from callmeter.media.stream_metrics import receive_metrics
from peers.impairment import FAST_PPM, Script, longest_run, send
from peers.program import free_ports
from peers.tshark import Decoded

pytestmark = pytest.mark.interop("tshark")

LOOPBACK = "127.0.0.1"
TRIES = 5
BEHIND_S = 0.03
"""A sender that was later than this has played something else than its script."""
PACKETS = (60_000 if os.environ.get("CALLMETER_LONG") else 16_000) // 20


@dataclass(frozen=True)
class Independent:
    """RFC 3550 and plain counting, on the packets as tshark lists them."""

    received: int
    lost: int
    duplicates: int
    reordered: int
    longest_gap: int
    jitter_ms: float
    mean_spacing_ms: float
    skew_ppm: float

    @classmethod
    def of(cls, decoded: Decoded) -> Independent:
        rows = decoded.fields("rtp", "frame.time_epoch", "rtp.seq", "rtp.timestamp")
        arrival = np.array([float(row[0]) for row in rows])
        arrival -= arrival[0]
        numbers = np.unwrap([int(row[1]) for row in rows], period=1 << 16).astype(int)
        stamps = np.unwrap([float(row[2]) for row in rows], period=float(1 << 32))
        seen, highest, duplicates, reordered = set(), numbers[0] - 1, 0, 0
        for number in numbers.tolist():
            duplicates += number in seen
            reordered += number not in seen and number < highest
            seen.add(number)
            highest = max(highest, number)
        missing = sorted(set(range(min(seen), max(seen) + 1)) - seen)
        jitter, transit = 0.0, arrival - stamps / 8000
        for step in np.abs(np.diff(transit)):
            jitter += (step - jitter) / 16
        slope, _ = np.polyfit(arrival, transit, 1)
        return cls(
            received=len(rows),
            lost=len(missing),
            duplicates=duplicates,
            reordered=reordered,
            longest_gap=longest_run(missing),
            jitter_ms=jitter * 1e3,
            mean_spacing_ms=float(arrival[-1] / (len(rows) - 1) * 1e3),
            skew_ppm=float(-slope * 1e6),
        )


async def measure(capture, script):
    """What callmeter measured, and what tshark captured, of a sender that kept to the script."""
    for _ in range(TRIES):
        behind, *found = await measured(capture, script)
        if behind < BEHIND_S:
            return found
    pytest.fail(f"the machine held the sender up {TRIES} times, the last time for {behind:.3f} s")


async def measured(capture, script):
    port = free_ports(4)
    wall = time.time  # noqa: TID251  the clock of the kernel's stamps
    async with MediaEngine(entropy=os.urandom, wall_clock=wall) as engine:
        stream = engine.open_stream(LOOPBACK, rtcp_mux=True, ports=(port + 2, port + 3))
        recorded = capture(f"udp dst port {stream.port}")
        stream.start(
            StreamParameters(
                codec="PCMU",
                payload_type=0,
                remote=(LOOPBACK, port),
                rtcp_mux=True,
                send=False,
            )
        )
        stream.buffer(JitterBufferSettings(adaptive=False, delay=0.1))
        with ProcessPoolExecutor(1, get_context("spawn")) as process:
            loop = asyncio.get_running_loop()
            behind = await loop.run_in_executor(process, send, script, port, stream.port)
        await asyncio.sleep(0.4)  # the last gap is judged
        found = receive_metrics(stream.statistics())
        stream.stop()
    recorded.stop()
    return behind, found, Decoded(recorded.file, (), rtp_ports=(stream.port,))


@pytest.mark.slow
async def test_the_figures_are_those_of_tshark_and_of_the_script(capture):
    script = Script.of(PACKETS, seed=5)
    found, decoded = await measure(capture, script)
    apart = Independent.of(decoded)
    # What happened is what was planned: neither capture nor kernel dropped any.
    assert apart.received == PACKETS - len(script.lost) + len(script.doubled)
    assert (apart.lost, apart.duplicates) == (len(script.lost), len(script.doubled))
    assert (apart.reordered, apart.longest_gap) == (len(script.swapped), script.longest_gap)
    (streams,) = decoded.rtp_analysis()
    assert (streams.packets, streams.lost) == (apart.received, apart.lost - apart.duplicates)
    # And callmeter says the same.
    assert found["packets_received"] == apart.received
    assert found["packets_lost"] == apart.lost
    assert found["fraction_lost"] == pytest.approx(apart.lost / PACKETS * 100, rel=0.05)
    assert found["duplicate_packets"] == apart.duplicates
    assert found["out_of_order_packets"] == apart.reordered
    # A packet that is overtaken is missing for a moment: the longest run is one of real loss.
    assert found["sequence_number_gaps"] == apart.longest_gap
    assert found["jitter_ms"] == pytest.approx(apart.jitter_ms, rel=0.05)
    assert streams.least_jitter_ms <= found["jitter_ms"] <= streams.greatest_jitter_ms
    assert found["avg_packet_spacing"] == pytest.approx(apart.mean_spacing_ms, rel=0.05)
    assert found["clock_drift_estimate"] == pytest.approx(FAST_PPM, rel=0.05)
    assert found["jitter_buffer_lost"] >= apart.lost


async def test_a_clock_that_is_fast_is_measured_by_reports_and_by_arrivals(capture):
    found, decoded = await measure(capture, Script.calm(PACKETS))
    assert found["clock_drift_estimate"] == pytest.approx(FAST_PPM, rel=0.05)
    skew = Independent.of(decoded).skew_ppm
    assert skew == pytest.approx(FAST_PPM, rel=0.05)
    assert found["clock_skew_estimate"] == pytest.approx(skew, rel=0.05)
