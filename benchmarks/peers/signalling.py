"""CPU per default call: callmeter's signalling load against sipp's, in both roles.

The default call is that of `sipp -sn uac` and `-sn uas`: INVITE, 180, 200, ACK, BYE, 200 by UDP, no
media, and no pause. Every end is a process of its own; the runs are interleaved and the median of
the CPU time (user and system) by call is printed, with the ratio to sipp in the same role.

    python benchmarks/peers/signalling.py --rates 2000 4000 --seconds 4 --repeats 5

The rows:

- `sipp uas`, `callmeter uas`: the callee, called by the same `sipp -sn uac`. `SignalingAnswerer`
  parses and checks each message, keeps all transactions of RFC 3261 with all their timers, and
  repeats its 200 until the ACK; it has no media, and no log, events or report of each call.
- `endpoint uas`: an `Endpoint` with media, called by the same sipp at `--endpoint-rate`: offer and
  answer, RTP and RTCP sockets, a stream, RTCP BYE, message log without secrets, report.
- `sipp uac`, `callmeter uac`: the caller, against the same `sipp -sn uas`.

A CPU figure holds from before the first call that counts to after the last. What start-up costs
is in no row: sipp is asked for calls twice, and the difference counts.

A run in which a call failed, as happens where the machine cannot keep up, counts for nothing and is
named; the exit status is 1 then.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from callmeter import Endpoint, EndpointConfig
from callmeter.config import LimitConfig, StackConfig, Transport
from callmeter.load import SignalingAnswerer, SignalingCaller
from callmeter.stack import Stack

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

LOOPBACK = "127.0.0.1"
WARM_UP = 50
GRACE = 60.0
MANY = 2_000_000
TICKS = os.sysconf("SC_CLK_TCK")


def config() -> StackConfig:
    limits = LimitConfig(server_transactions=MANY, dialogs=MANY)
    return StackConfig(bind=LOOPBACK, transports=(Transport.UDP,), limits=limits)


def say(**figures: object) -> None:
    sys.stdout.write(json.dumps(figures) + "\n")
    sys.stdout.flush()


def settle_memory() -> None:
    """What was imported is no garbage, and tens of thousands of live transactions are none."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 50, 50)


async def bounded(work: Coroutine[Any, Any, None]) -> None:
    async with asyncio.timeout(600):
        await work


# our ends, each in a process of its own


async def uas(calls: int) -> None:
    async with SignalingAnswerer(config()) as answerer:
        say(port=answerer.transport.listening("UDP")[1])
        await answerer.ended(WARM_UP)
        settle_memory()
        before = time.process_time()
        counters = await answerer.ended(WARM_UP + calls)
        say(cpu=time.process_time() - before, failed=counters.unacknowledged)


async def uac(calls: int, rate: float, port: int) -> None:
    async with SignalingCaller(f"sip:service@{LOOPBACK}:{port}", config()) as caller:
        await caller.run(WARM_UP, 50)
        settle_memory()
        before, start = time.process_time(), time.monotonic()
        counters = await caller.run(calls, rate)
        seconds = time.monotonic() - start
        cpu = time.process_time() - before
        say(cpu=cpu, failed=counters.failed + counters.refused, rate=calls / seconds)


async def endpoint(calls: int) -> None:
    async def take(incoming) -> None:
        incoming.ring()
        await incoming.answer()
        await incoming.ended()

    who = EndpointConfig(f"sip:service@{LOOPBACK}")
    async with Stack(config()) as stack, Endpoint(who, stack) as callee:
        say(port=stack.transport.listening("UDP")[1])
        before = 0.0
        async with asyncio.TaskGroup() as tasks:
            for number in range(WARM_UP + calls):
                if number == WARM_UP:
                    before = time.process_time()
                tasks.create_task(take(await callee.next_call(GRACE)))
        say(cpu=time.process_time() - before, failed=0)


# who starts them


class Process:
    """One end of a run; none outlives it."""

    def __init__(self, command: list[str], *, told: bool = False) -> None:
        out = subprocess.PIPE if told else subprocess.DEVNULL
        self.popen = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.DEVNULL, text=True
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.popen.poll() is None:
            self.popen.kill()
        self.popen.wait()
        if self.popen.stdout is not None:
            self.popen.stdout.close()

    def hear(self) -> dict:
        line = self.popen.stdout.readline()
        if not line:
            raise RuntimeError(f"{' '.join(self.popen.args)} failed")
        return json.loads(line)

    def cpu(self) -> float:
        """CPU seconds so far; ticks of 10 ms."""
        stat = Path(f"/proc/{self.popen.pid}/stat").read_text(encoding="ascii")
        fields = stat.rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS


def ours(role: str, *more: object) -> Process:
    command = [sys.executable, str(Path(__file__).resolve()), "--role", role, *map(str, more)]
    if "--uvloop" in sys.argv:
        command.append("--uvloop")
    return Process(command, told=True)


def sipp(scenario: str, *more: object) -> list[str]:
    # Receive buffers as large as ours: what a busy machine makes wait is not to be lost.
    return [
        "sipp", "-sn", scenario, "-i", LOOPBACK, "-nostdin", "-timeout_error",
        "-buff_size", str(4 << 20), *map(str, more),
    ]  # fmt: skip


def sipp_uas(port: int) -> Process:
    process = Process(sipp("uas", "-p", port, "-timeout", 600))
    end = time.monotonic() + GRACE
    wanted = f":{port:04X} "
    while wanted not in Path("/proc/net/udp").read_text(encoding="ascii"):
        if time.monotonic() > end or process.popen.poll() is not None:
            raise RuntimeError("sipp does not listen")
        time.sleep(0.05)
    return process


def free_port() -> int:
    with socket.socket(type=socket.SOCK_DGRAM) as probe:
        probe.bind((LOOPBACK, 0))
        return probe.getsockname()[1]


def sipp_calls(port: int, calls: int, rate: float) -> tuple[float, float]:
    """Let sipp call; its own CPU seconds and the calls a second that came of it."""
    seconds = int(calls / rate * 4 + GRACE)
    command = sipp(
        "uac", f"{LOOPBACK}:{port}", "-p", free_port(), "-m", calls, "-r", rate,
        "-l", MANY, "-timeout", seconds,
    )  # fmt: skip
    start = time.monotonic()
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        _, status, used = os.wait4(process.pid, 0)
    finally:
        process.returncode = 0
    if status != 0:
        raise RuntimeError(f"calls of sipp at {rate:g} a second failed: status {status >> 8}")
    return used.ru_utime + used.ru_stime, calls / (time.monotonic() - start)


Figure = tuple[float, float]
"""CPU seconds by call, and calls a second."""


def run_sipp_uas(calls: int, rate: float) -> Figure:
    port = free_port()
    with sipp_uas(port) as callee:
        sipp_calls(port, WARM_UP, 50)
        before = callee.cpu()
        _, reached = sipp_calls(port, calls, rate)
        return (callee.cpu() - before) / calls, reached


def run_our_callee(role: str) -> Callable[[int, float], Figure]:
    def run(calls: int, rate: float) -> Figure:
        with ours(role, "--calls", calls) as callee:
            port = callee.hear()["port"]
            sipp_calls(port, WARM_UP, 50)
            _, reached = sipp_calls(port, calls, rate)
            told = callee.hear()
            if told["failed"]:
                raise RuntimeError(f"{told['failed']} calls of {role} failed")
            return told["cpu"] / calls, reached

    return run


def run_sipp_uac(calls: int, rate: float) -> Figure:
    port = free_port()
    with sipp_uas(port):
        start_up, _ = sipp_calls(port, WARM_UP, 50)
        cpu, reached = sipp_calls(port, calls + WARM_UP, rate)
        return (cpu - start_up) / calls, reached


def run_our_uac(calls: int, rate: float) -> Figure:
    port = free_port()
    with sipp_uas(port), ours("uac", "--calls", calls, "--rate", rate, "--port", port) as caller:
        told = caller.hear()
        if told["failed"]:
            raise RuntimeError(f"{told['failed']} calls of ours failed")
        return told["cpu"] / calls, told["rate"]


def measure(given: argparse.Namespace) -> tuple[dict[tuple[str, float], list[Figure]], list[str]]:
    """The figures of every run, and what became of those that failed."""
    found: dict[tuple[str, float], list[Figure]] = defaultdict(list)
    failures: list[str] = []

    def attempt(who: str, run: Callable[[int, float], Figure], rate: float) -> None:
        try:
            found[who, rate].append(run(int(rate * given.seconds), rate))
        except RuntimeError as error:
            failures.append(f"{who} at {rate:g} a second: {error}")

    for _ in range(given.repeats):
        for rate in given.rates:
            attempt("sipp uas", run_sipp_uas, rate)
            attempt("callmeter uas", run_our_callee("uas"), rate)
            attempt("sipp uac", run_sipp_uac, rate)
            attempt("callmeter uac", run_our_uac, rate)
        if given.endpoint_rate:
            attempt("endpoint uas", run_our_callee("endpoint"), given.endpoint_rate)
            attempt("sipp uas", run_sipp_uas, given.endpoint_rate)
    return {key: runs for key, runs in found.items() if runs}, failures


def table(found: dict[tuple[str, float], list[Figure]]) -> str:
    """One line by row: median of the cost, ratio to sipp in this role at this rate, every run."""
    medians = {key: statistics.median(cpu for cpu, _ in runs) for key, runs in found.items()}
    lines = ["who             offered/s  reached/s  us/call  ratio  runs"]
    for (who, rate), runs in sorted(found.items(), key=lambda item: (item[0][1], item[0][0][-3:])):
        base = medians.get(("sipp " + who[-3:], rate))
        ratio = f"{medians[who, rate] / base:5.2f}" if base else "    -"
        reached = statistics.median(reached for _, reached in runs)
        each = " ".join(f"{cpu * 1e6:.0f}" for cpu, _ in runs)
        lines.append(
            f"{who:<15} {rate:9.0f}  {reached:9.0f}  {medians[who, rate] * 1e6:7.1f}"
            f"  {ratio}  {each}"
        )
    return "\n".join(lines)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--rates", type=float, nargs="+", default=[2_000, 4_000])
    options.add_argument("--seconds", type=float, default=4.0, help="of each run")
    options.add_argument("--repeats", type=int, default=5)
    options.add_argument("--endpoint-rate", type=float, default=100, help="0 leaves the row out")
    options.add_argument("--uvloop", action="store_true", help="our ends run on it")
    options.add_argument("--json", action="store_true", help="every figure")
    for name, kind in (("role", str), ("calls", int), ("rate", float), ("port", int)):
        options.add_argument(f"--{name}", type=kind, help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.role is not None:
        roles = {
            "uas": lambda: uas(given.calls),
            "uac": lambda: uac(given.calls, given.rate, given.port),
            "endpoint": lambda: endpoint(given.calls),
        }
        factory = import_module("uvloop").new_event_loop if given.uvloop else None
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(bounded(roles[given.role]()))
        return
    if shutil.which("sipp") is None:
        sys.exit("sipp is not installed (Debian: sip-tester)")
    found, failures = measure(given)
    figures = [{"who": who, "rate": rate, "runs": runs} for (who, rate), runs in found.items()]
    sys.stdout.write((json.dumps(figures, indent=2) if given.json else table(found)) + "\n")
    if failures:
        sys.exit("\n".join(failures))


if __name__ == "__main__":
    main()
