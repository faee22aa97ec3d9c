"""Secure calls in one process, both ends of each: loss, pace and CPU of the media engine.

    python benchmarks/macro/media_loopback.py --calls 200 --seconds 10

Every call is two streams over loopback sockets, 50 packets a second each way, keys as from SDES.
Lateness is also taken by a ticker in a process of its own that does nothing else: what it suffers
is the machine's. On a busy machine compare the two.
Exit status 1 when a packet was lost.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import sys
import time

from callmeter.config import SrtpSuite
from callmeter.media import Discard, Echo, MediaEngine, StreamParameters, Tone
from callmeter.media.pace import LatenessHistogram
from callmeter.srtp import SrtpContext, for_suite, generate

TICK_S = 0.02


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--suite", default="AES_CM_128_HMAC_SHA1_80", help='or "none"')
    parser.add_argument("--ticker", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--backend", choices=["mmsg", "portable", "uring"], default=None)
    parser.add_argument("--sink", choices=["none", "discard", "echo"], default="none")
    return parser.parse_args()


def open_call(engine: MediaEngine, options: argparse.Namespace, tone: Tone) -> list:
    ends = [engine.open_stream("127.0.0.1", rtcp_mux=False) for _ in range(2)]
    lines = [None, None]
    if options.suite != "none":
        profile = for_suite(SrtpSuite(options.suite))
        lines = [generate(profile, 1, os.urandom) for _ in ends]
    for own, peer in ((0, 1), (1, 0)):
        ends[own].play(Echo() if options.sink == "echo" and own else tone)
        if options.sink == "discard":
            ends[own].attach(Discard())
        ends[own].start(
            StreamParameters(
                codec="PCMU",
                payload_type=0,
                remote=("127.0.0.1", ends[peer].port),
                srtp_send=lines[own] and SrtpContext(lines[own], "send"),
                srtp_receive=lines[peer] and SrtpContext(lines[peer], "receive"),
            )
        )
    return ends


async def control_ticker(seconds: float) -> str:
    """What a callback suffers that has nothing to wait for but the machine."""
    print("ready", flush=True)
    loop, lateness = asyncio.get_running_loop(), LatenessHistogram()
    due = loop.time()
    for _ in range(round(seconds / TICK_S)):
        due += TICK_S
        await asyncio.sleep(max(0.0, due - loop.time()))
        lateness.add(max(0.0, loop.time() - due))
    return milliseconds(lateness)


def milliseconds(lateness: LatenessHistogram) -> str:
    share = 100 * lateness.late / max(1, lateness.count)
    return (
        f"p50 {1e3 * lateness.quantile(0.5):.2f}  p99 {1e3 * lateness.quantile(0.99):.2f}  "
        f"max {1e3 * lateness.maximum:.2f} ms, over 5 ms {share:.2f} %"
    )


async def run(options: argparse.Namespace) -> int:
    async with MediaEngine(
        entropy=os.urandom,
        wall_clock=time.time,  # noqa: TID251  the wall clock of RTCP
        backend=options.backend,
    ) as engine:
        tone = Tone(440)
        streams = []
        for _ in range(options.calls):
            streams += open_call(engine, options, tone)
            await asyncio.sleep(0)
        gc.collect()
        gc.freeze()
        await asyncio.sleep(0.5)
        ticker = await asyncio.create_subprocess_exec(
            *(sys.executable, __file__, "--ticker", "--seconds", str(options.seconds)),
            stdout=asyncio.subprocess.PIPE,
        )
        assert ticker.stdout is not None
        await ticker.stdout.readline()
        engine.tick_lateness = LatenessHistogram()
        engine.send_lateness = LatenessHistogram()
        sent, received = engine.datagrams_sent, engine.datagrams_received
        began, cpu = time.monotonic(), time.process_time()
        control = (await ticker.communicate())[0].decode().strip()
        cpu, elapsed = time.process_time() - cpu, time.monotonic() - began
        sent, received = engine.datagrams_sent - sent, engine.datagrams_received - received
        for stream in streams:
            stream.play(None)
            engine.lanes.sending[:] = False
        await asyncio.sleep(0.2)
        return report(options, engine, streams, (sent + received) / 2, cpu, elapsed, control)


def report(options, engine, streams, pairs, cpu, elapsed, control) -> int:
    statistics = [stream.statistics() for stream in streams]
    sent = sum(each.send.packets_sent for each in statistics)
    received = sum(each.receive.packets_received for each in statistics)
    lost = sent - received
    print(
        f"{options.calls} calls, {len(streams)} streams, {options.suite}, "
        f"{engine.backend.name}, sink {options.sink}, {elapsed:.1f} s"
    )
    print(f"packets       sent {sent}  received {received}  lost {lost}")
    print(f"dropped       {engine.dropped or 'none'}, socket overflows {engine.socket_overflows}")
    print(f"send lateness {milliseconds(engine.send_lateness)}")
    print(f"tick lateness {milliseconds(engine.tick_lateness)}")
    print(f"control       {control}")
    print(f"CPU           {1e6 * cpu / pairs:.2f} us a pair, {100 * cpu / elapsed:.1f} % of a core")
    return 1 if lost else 0


if __name__ == "__main__":
    chosen = arguments()
    if chosen.ticker:
        print(asyncio.run(control_ticker(chosen.seconds)))
    else:
        sys.exit(asyncio.run(run(chosen)))
