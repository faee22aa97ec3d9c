"""callmeter in full: calls through an Endpoint, metrics, RTCP, reports; the far end is C.

    python benchmarks/far_end/ours.py --calls 1000 --seconds 5

Says one JSON object: CPU by packet pair (one received and one sent), loss on both ends, lateness
of our ticks and of a control ticker in a process of its own, memory by call.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from callmeter import Endpoint, EndpointConfig, MediaConfig, SrtpConfig, SrtpPolicy, Tone
from callmeter.config import LimitConfig, SrtpSuite, StackConfig
from callmeter.load import frozen_heap
from callmeter.media.pace import LatenessHistogram
from callmeter.stack import Stack

if TYPE_CHECKING:
    from callmeter.media import MediaEngine

HERE = Path(__file__).parent
LOOPBACK = "127.0.0.1"
LEAD_S = 1.0
DRAIN_S = 1.0
WARM_S = 2.0
"""From the first packets of the peer to the window that is measured."""


def resident() -> int:
    """KiB of this process in memory."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 1024


def pin(core: int | None) -> list[str]:
    return [] if core is None else ["taskset", "-c", str(core)]


class Peer:
    """The far end's process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def says(self) -> dict:
        line = await self.process.stdout.readline()
        if not line:
            raise RuntimeError("the far end has failed")
        return json.loads(line)

    def told(self, **order) -> None:
        self.process.stdin.write(json.dumps(order).encode() + b"\n")


async def start_peer(given: argparse.Namespace) -> Peer:
    command = [*pin(given.far_core), sys.executable, str(HERE / "answer.py")]
    command += ["--calls", str(given.calls), "--suite", given.suite]
    command += ["--sockets", str(given.sockets)]
    pipe = asyncio.subprocess.PIPE
    return Peer(await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe))


def media_config(given: argparse.Namespace) -> MediaConfig:
    if given.suite == "none":
        srtp = SrtpConfig(policy=SrtpPolicy.DISABLED)
    else:
        srtp = SrtpConfig(policy=SrtpPolicy.REQUIRED, suites=(SrtpSuite(given.suite),))
    shared = {"shared_port": True} if given.ports == "shared" else {}
    return MediaConfig(srtp=srtp, **shared)


async def hold_calls(calls: AsyncExitStack, endpoint: Endpoint, target: str, number: int) -> None:
    """Set the calls up, a few at a time."""
    tone = Tone(440)
    several = asyncio.Semaphore(16)

    async def place() -> None:
        async with several:
            call = await calls.enter_async_context(endpoint.call(target))
        call.media.stream.play(tone)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(number):
            tasks.create_task(place())


class ControlTicker:
    """A process that does nothing but wait for its next tick says what the machine is late by."""

    def __init__(self) -> None:
        self.lateness = LatenessHistogram()

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            due += 0.005
            await asyncio.sleep(max(0.0, due - loop.time()))
            self.lateness.add(max(0.0, loop.time() - due))


def lateness_of(histogram: LatenessHistogram) -> dict[str, float]:
    return {
        "p50_ms": 1e3 * histogram.quantile(0.5),
        "p99_ms": 1e3 * histogram.quantile(0.99),
        "max_ms": 1e3 * histogram.maximum,
        "late_percent": 100 * histogram.late / max(1, histogram.count),
    }


async def measure(given: argparse.Namespace) -> dict:
    peer = await start_peer(given)
    before = resident()
    limits = LimitConfig(server_transactions=100_000, dialogs=100_000)
    settings = StackConfig(bind=LOOPBACK, limits=limits, segmentation=not given.no_segmentation)
    async with Stack(settings) as stack:
        config = EndpointConfig(f"sip:ours@{LOOPBACK}", media=media_config(given))
        async with Endpoint(config, stack) as endpoint, AsyncExitStack() as calls:
            target = f"sip:far@{LOOPBACK}:{(await peer.says())['port']}"
            began = time.monotonic()
            await hold_calls(calls, endpoint, target, given.calls)
            await peer.says()
            setup = time.monotonic() - began
            memory = (resident() - before) / given.calls
            with frozen_heap():
                figures = await observe(given, stack.media, peer)
            figures |= {"setup_s": setup, "memory_kib_by_call": memory}
            if given.leave:
                # The calls' own good-bye is no part of what is measured.
                print(json.dumps(figures), flush=True)
                os._exit(0)
        return figures


async def observe(given: argparse.Namespace, engine: MediaEngine, peer: Peer) -> dict:
    ticker = await asyncio.create_subprocess_exec(
        *pin(given.core), sys.executable, __file__, "--ticker", stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    await ticker.stdout.readline()
    peer.told(seconds=WARM_S + given.seconds)
    await peer.says()
    begin = time.monotonic() + LEAD_S
    peer.told(begin=begin)
    await asyncio.sleep(begin + WARM_S - time.monotonic())
    engine.tick_lateness, engine.send_lateness = LatenessHistogram(), LatenessHistogram()
    packets = engine.datagrams_sent + engine.datagrams_received
    wall, cpu = time.monotonic(), time.process_time()
    ticker.stdin.write(b"begin\n")
    await asyncio.sleep(given.seconds - 0.1)
    cpu, wall = time.process_time() - cpu, time.monotonic() - wall
    packets = engine.datagrams_sent + engine.datagrams_received - packets
    # Before the ticker ends: that takes the core for a tenth of a second.
    ticks, sending = lateness_of(engine.tick_lateness), lateness_of(engine.send_lateness)
    control = json.loads((await ticker.communicate(b"end\n"))[0])
    far = await peer.says()
    # What is still in the sockets has not been lost.
    await asyncio.sleep(DRAIN_S)
    statistics = [stream.statistics() for stream in engine.streams]
    received = sum(each.receive.packets_received for each in statistics)
    return {
        "calls": given.calls,
        "suite": given.suite,
        "ports": given.ports,
        "backend": engine.backend.name,
        "us_by_pair": 1e6 * cpu / (packets / 2),
        "core_percent": 100 * cpu / wall,
        "pairs": packets / 2,
        "expected_pairs": given.calls * wall / 0.02,
        "sent_by_peer": far["sent"],
        "received": received,
        "lost_here": far["sent"] - received,
        "lost_there": far["lost"],
        "refused_there": far["refused"] + far["strange"],
        "rtcp_received": sum(each.rtcp_packets_received for each in statistics),
        "rtcp_received_there": far["rtcp_received"],
        "jitter_ms": sum(each.receive.jitter_ms or 0 for each in statistics) / len(statistics),
        "dropped": engine.dropped,
        "socket_overflows": engine.socket_overflows,
        "ticks": ticks,
        "sends": sending,
        "control": control,
        "far_late_percent": 100 * far["late"] / far["ticks"],
    }


async def tick_along() -> None:
    """Ticks at once, and counts from one line on standard input to the next."""
    loop = asyncio.get_running_loop()
    ticker = ControlTicker()
    async with asyncio.TaskGroup() as tasks:
        ticking = tasks.create_task(ticker.run())
        print("ready", flush=True)
        await loop.run_in_executor(None, sys.stdin.readline)
        ticker.lateness = LatenessHistogram()
        await loop.run_in_executor(None, sys.stdin.readline)
        print(json.dumps(lateness_of(ticker.lateness)), flush=True)
        ticking.cancel()


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--calls", type=int, default=200)
    options.add_argument("--seconds", type=float, default=5)
    options.add_argument("--suite", default="AES_CM_128_HMAC_SHA1_80", help='or "none"')
    options.add_argument("--ports", choices=["shared", "own"], default="shared")
    options.add_argument("--sockets", type=int, default=50, help="of the far end; 0: one a call")
    options.add_argument(
        "--no-segmentation", action="store_true", help="send every packet alone (no UDP GSO)"
    )
    options.add_argument("--core", type=int, help="pin ours to this core")
    options.add_argument("--far-core", type=int, help="pin the far end to this core")
    options.add_argument("--leave", action="store_true", help="end without hanging up")
    options.add_argument("--ticker", action="store_true", help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.ticker:
        asyncio.run(tick_along())
        return
    if given.core is not None:
        os.sched_setaffinity(0, {given.core})
    sys.stdout.write(json.dumps(asyncio.run(measure(given)), indent=1) + "\n")


if __name__ == "__main__":
    main()
