"""What encryption costs: the same calls plain, by SDES with each suite, by DTLS, by both.

One plan for every row: so many calls placed at a steady rate, a tone both ways, metered. Then the
same for signalling: calls without encryption of media by UDP, TCP, TLS and WSS, hung up at once.
Each run is a process of its own that holds both ends; the runs are interleaved, medians count, and
each row is compared with the first of its table.

    python benchmarks/macro/encryption_impact.py --calls 50 --seconds 5 --repeats 3

Exit status 1 when a packet was lost or did not decrypt.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from contextlib import AsyncExitStack

from callmeter import (
    Endpoint,
    EndpointConfig,
    MediaConfig,
    SrtpConfig,
    SrtpMethod,
    SrtpPolicy,
    SrtpSuite,
    TlsConfig,
    TlsVerify,
    Tone,
    Transport,
)
from callmeter.config import ConnectionLimits, LimitConfig, StackConfig
from callmeter.metrics.quality import Speech, mos_of, r_factor_of
from callmeter.stack import Stack
from callmeter.testing.certificates import Authority

LOOPBACK = "127.0.0.1"
WARM_UP = 5
# A loaded machine makes every row dearer; it is no reason to refuse calls.
UNCAPPED = LimitConfig(server_transactions=1_000_000, dialogs=1_000_000, loop_delay=60)
MEDIA = {
    "none": SrtpConfig(),
    **{
        f"SDES {suite.value}": SrtpConfig(policy=SrtpPolicy.REQUIRED, suites=(suite,))
        for suite in SrtpSuite
    },
    "DTLS": SrtpConfig(method=SrtpMethod.DTLS, policy=SrtpPolicy.REQUIRED),
    "dual": SrtpConfig(method=SrtpMethod.DUAL, policy=SrtpPolicy.REQUIRED),
}
SIGNALLING = (Transport.UDP, Transport.TCP, Transport.TLS, Transport.WSS)


async def serve(bob: Endpoint, calls: int, reports: list, *, audible: bool) -> None:
    """Take so many calls; each plays until its caller hangs up."""

    async def take(incoming) -> None:
        await incoming.answer()
        if audible:
            await incoming.media.play(Tone(440))
        await incoming.ended()
        reports.append(incoming.report().to_dict())

    async with asyncio.TaskGroup() as tasks:
        for _ in range(calls):
            tasks.create_task(take(await bob.next_call()))


def spread(values: list[float]) -> tuple[float, float]:
    """P50 and P95."""
    ordered = sorted(values)
    return statistics.median(ordered), ordered[min(len(ordered) - 1, int(len(ordered) * 0.95))]


async def steadily(tasks: asyncio.TaskGroup, make, calls: int, rate: float) -> None:
    loop = asyncio.get_running_loop()
    due = loop.time()
    for _ in range(calls):
        tasks.create_task(make())
        due += 1 / rate
        await asyncio.sleep(max(0.0, due - loop.time()))


async def measure_media(srtp: SrtpConfig, calls: int, seconds: float, rate: float) -> dict:
    """Figures of one run of the plan."""
    media = MediaConfig(srtp=srtp)
    sent, received, set_up = [], [], []
    hang_up = asyncio.Event()
    async with AsyncExitStack() as entered:
        stack = await entered.enter_async_context(
            Stack(StackConfig(bind=LOOPBACK, limits=UNCAPPED))
        )
        alice, bob = [
            await entered.enter_async_context(
                Endpoint(EndpointConfig(f"sip:{user}@{LOOPBACK}", media=media), stack)
            )
            for user in ("alice", "bob")
        ]

        async def place() -> None:
            begun = time.monotonic()
            async with alice.call(str(bob.contact)) as call, asyncio.TaskGroup() as tasks:
                set_up.append((time.monotonic() - begun) * 1000)
                playing = tasks.create_task(call.media.play(Tone(620)))
                await hang_up.wait()
                playing.cancel()
            sent.append(call.report().to_dict())

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(serve(bob, calls, received, audible=True))
            await steadily(tasks, place, calls, rate)
            while len(set_up) < calls:  # noqa: ASYNC110  there is no event
                await asyncio.sleep(0.05)
            gc.collect()
            await asyncio.sleep(0.5)
            engine = stack.media
            packets = engine.datagrams_sent + engine.datagrams_received
            cpu = time.process_time()
            await asyncio.sleep(seconds)
            cpu = time.process_time() - cpu
            packets = engine.datagrams_sent + engine.datagrams_received - packets
            hang_up.set()
    streams = [report["media"][0] for report in (*sent, *received)]
    heard = [stream["receive"] for stream in streams]
    speech = Speech.of("PCMU", 20)
    p50, p95 = spread(set_up)
    return {
        "cpu_us_per_pair": cpu * 2e6 / packets,
        "set_up_p50_ms": p50,
        "set_up_p95_ms": p95,
        "jitter_ms": statistics.median(each["jitter_ms"] for each in heard),
        "mos": statistics.median(
            mos_of(
                r_factor_of(
                    speech,
                    loss_percent=100 * each["packets_lost"] / max(1, each["packets_received"]),
                    jitter_ms=each["jitter_ms"],
                    rtt_ms=each["rtt_ms"],
                )
            )
            for each in heard
        ),
        "bad": sum(each["packets_lost"] + each["srtp_decrypt_failures"] for each in heard),
        "keying": sorted({f"{each['keying']} {each['suite'] or ''}".strip() for each in streams}),
    }


async def measure_signalling(transport: Transport, calls: int, rate: float) -> dict:
    """CPU of both ends by call, and how long an answer took."""
    authority = Authority()
    issued = authority.issue(LOOPBACK)
    server = TlsConfig(certificate=issued.certificate, private_key=issued.private_key)
    client = TlsConfig(verify=TlsVerify.CUSTOM, ca=authority.pem)
    set_up, reports = [], []
    async with AsyncExitStack() as entered:
        there = StackConfig(
            bind=LOOPBACK,
            transports=(transport,),
            tls=server,
            limits=UNCAPPED,
            connections=ConnectionLimits(inbound_per_host=1_000),
        )
        callee = await entered.enter_async_context(Stack(there))
        caller = await entered.enter_async_context(Stack(StackConfig(bind=LOOPBACK)))
        bob = await entered.enter_async_context(
            Endpoint(EndpointConfig(f"sip:bob@{LOOPBACK}", transport=transport), callee)
        )
        config = EndpointConfig(f"sip:alice@{LOOPBACK}", transport=transport, tls=client)
        alice = await entered.enter_async_context(Endpoint(config, caller))
        port = callee.transport.listening(transport.value.upper())[1]
        target = f"sip:bob@{LOOPBACK}:{port};transport={transport.value}"

        async def place() -> None:
            begun = time.monotonic()
            async with alice.call(target):
                set_up.append((time.monotonic() - begun) * 1000)

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(serve(bob, calls + WARM_UP, reports, audible=False))
            for _ in range(WARM_UP):
                await place()
            first = set_up[0]
            set_up.clear()
            cpu = time.process_time()
            async with asyncio.TaskGroup() as placing:
                await steadily(placing, place, calls, rate)
            cpu = time.process_time() - cpu
    p50, p95 = spread(set_up)
    return {
        "cpu_ms_per_call": cpu * 1e3 / calls,
        "set_up_p50_ms": p50,
        "set_up_p95_ms": p95,
        "first_ms": first,
    }


# one process by run, and the tables


def run_apart(kind: str, row: str, given: argparse.Namespace) -> dict:
    command = [sys.executable, __file__, "--one", kind, row, "--calls", str(given.calls)]
    command += ["--seconds", str(given.seconds), "--rate", str(given.rate)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def one(kind: str, row: str, given: argparse.Namespace) -> dict:
    if kind == "media":
        return asyncio.run(measure_media(MEDIA[row], given.calls, given.seconds, given.rate))
    return asyncio.run(measure_signalling(Transport(row), given.calls * 4, given.rate))


def medians(runs: list[dict]) -> dict:
    return {
        name: statistics.median(run[name] for run in runs)
        for name, value in runs[0].items()
        if isinstance(value, int | float)
    }


def table(title: str, cost: str, found: dict[str, dict], columns: tuple[str, ...]) -> str:
    base = next(iter(found.values()))[cost]
    lines = [title, f"{'':<31}" + "".join(f"{name:>17}" for name in (cost, "ratio", *columns))]
    for row, figures in found.items():
        cells = [figures[cost], figures[cost] / base, *(figures[name] for name in columns)]
        lines.append(f"{row:<31}" + "".join(f"{cell:>17.2f}" for cell in cells))
    return "\n".join(lines) + "\n\n"


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--calls", type=int, default=20)
    options.add_argument("--seconds", type=float, default=2)
    options.add_argument("--rate", type=float, default=20, help="calls placed a second")
    options.add_argument("--repeats", type=int, default=1)
    options.add_argument("--one", nargs=2, metavar=("KIND", "ROW"), help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.one:
        sys.stdout.write(json.dumps(one(*given.one, given)))
        return
    runs: dict[tuple[str, str], list[dict]] = defaultdict(list)
    plan = [("media", row) for row in MEDIA] + [("sip", each.value) for each in SIGNALLING]
    for _ in range(given.repeats):
        for kind, row in plan:
            runs[kind, row].append(run_apart(kind, row, given))
    media = {row: medians(runs["media", row]) for row in MEDIA}
    sip = {each.value: medians(runs["sip", each.value]) for each in SIGNALLING}
    spreads = ("set_up_p50_ms", "set_up_p95_ms")
    sys.stdout.write(
        table("Media", "cpu_us_per_pair", media, (*spreads, "jitter_ms", "mos"))
        + table("Signalling", "cpu_ms_per_call", sip, (*spreads, "first_ms"))
    )
    for row in MEDIA:
        used = sorted({keying for run in runs["media", row] for keying in run["keying"]})
        sys.stdout.write(f"{row}: {', '.join(used)}\n")
    sys.exit(1 if any(run["bad"] for row in MEDIA for run in runs["media", row]) else 0)


if __name__ == "__main__":
    main()
