"""Concurrent SDES calls through the full API, both ends in one process.

Every call has an endpoint, an INVITE session, RTCP and a report; both ends send a tone at 50
packets a second. Printed: loss, how late packets left against the schedule, the lateness of a
ticker that does nothing else (what the machine itself is late by), and CPU time per packet.

    python benchmarks/macro/secure_calls.py --calls 200 --seconds 10

Exit status 1 when a packet was lost or the p99 lateness is 5 ms or more.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import sys
import time
from contextlib import AsyncExitStack

from callmeter import Endpoint, EndpointConfig, MediaConfig, SrtpConfig, SrtpPolicy, Tone
from callmeter.config import StackConfig
from callmeter.media.pace import LatenessHistogram
from callmeter.stack import Stack

LOOPBACK = "127.0.0.1"
LATE_MS = 5.0
PACKETS_PER_SECOND = 50


async def answer(bob: Endpoint, calls: int, reports: list) -> None:
    """Take every call and play until the caller hangs up."""
    async with asyncio.TaskGroup() as tasks:
        for _ in range(calls):
            incoming = await bob.next_call()
            tasks.create_task(serve(incoming, reports))


async def serve(incoming, reports: list) -> None:
    await incoming.answer()
    await incoming.media.play(Tone(440))
    await incoming.ended()
    reports.append(incoming.report().to_dict())


async def place(alice: Endpoint, target: str, until: asyncio.Event, reports: list) -> None:
    async with alice.call(target) as call, asyncio.TaskGroup() as tasks:
        playing = tasks.create_task(call.media.play(Tone(620)))
        await until.wait()
        playing.cancel()
    reports.append(call.report().to_dict())


async def control_ticker(lateness: list[float], period: float = 0.005) -> None:
    """A timer on the same loop schedule that does no work."""
    loop = asyncio.get_running_loop()
    due = loop.time() + period
    while True:
        await asyncio.sleep(max(0.0, due - loop.time()))
        lateness.append((loop.time() - due) * 1000)
        due += period


async def measure(calls: int, seconds: float, per_second: float) -> dict:
    media = MediaConfig(srtp=SrtpConfig(policy=SrtpPolicy.REQUIRED))
    sent: list[dict] = []
    received: list[dict] = []
    async with AsyncExitStack() as entered:
        stack = await entered.enter_async_context(Stack(StackConfig(bind=LOOPBACK)))
        alice, bob = [
            await entered.enter_async_context(
                Endpoint(EndpointConfig(f"sip:{user}@{LOOPBACK}", media=media), stack)
            )
            for user in ("alice", "bob")
        ]
        until = asyncio.Event()
        control: list[float] = []
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(answer(bob, calls, received))
            for _ in range(calls):
                tasks.create_task(place(alice, str(bob.contact), until, sent))
                await asyncio.sleep(1 / per_second)
            await asyncio.sleep(1)
            gc.collect()
            gc.freeze()
            await asyncio.sleep(0.5)  # what the collection held up is not the engine's lateness
            media_engine = stack.media
            media_engine.send_lateness = LatenessHistogram()
            before = media_engine.datagrams_sent + media_engine.datagrams_received
            ticking = tasks.create_task(control_ticker(control))
            cpu, wall = time.process_time(), time.monotonic()
            await asyncio.sleep(seconds)
            cpu, wall = time.process_time() - cpu, time.monotonic() - wall
            packets = media_engine.datagrams_sent + media_engine.datagrams_received - before
            # Hanging up that many calls at once is not part of what is measured.
            lateness, media_engine.send_lateness = media_engine.send_lateness, LatenessHistogram()
            ticking.cancel()
            until.set()
        gc.unfreeze()
    streams = [report["media"][0] for report in (*sent, *received)]
    control.sort()
    return {
        "calls": calls,
        "seconds": round(wall, 2),
        "packets": packets,
        "expected_packets": round(2 * 2 * calls * PACKETS_PER_SECOND * wall),
        "lost": sum(stream["receive"]["packets_lost"] for stream in streams),
        "srtp_decrypt_failures": sum(
            stream["receive"]["srtp_decrypt_failures"] for stream in streams
        ),
        "send_lateness_ms": {
            "p50": lateness.quantile(0.5) * 1000,
            "p99": lateness.quantile(0.99) * 1000,
            "max": lateness.maximum * 1000,
        },
        "control_ticker_ms": {
            "p50": control[len(control) // 2],
            "p99": control[int(len(control) * 0.99)],
            "max": control[-1],
        },
        "cpu_percent": round(100 * cpu / wall, 1),
        "cpu_us_per_packet": round(cpu * 1e6 / packets, 2),
    }


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--calls", type=int, default=200)
    options.add_argument("--seconds", type=float, default=10)
    options.add_argument("--per-second", type=float, default=50)
    given = options.parse_args()
    figures = asyncio.run(measure(given.calls, given.seconds, given.per_second))
    sys.stdout.write(json.dumps(figures, indent=2) + "\n")
    bad = figures["lost"] or figures["send_lateness_ms"]["p99"] >= LATE_MS
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
