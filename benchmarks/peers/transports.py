"""CPU per call by transport: callmeter against sipp, and TLS and WSS against our own TCP.

Every run has a caller and a callee in processes of their own and the same scenario: INVITE, 180,
200, ACK, BYE, 200. The figure is the CPU time (user and system) of one process from before its
first call to after its last, by call. The runs are interleaved, and the median is printed.

    python benchmarks/peers/transports.py --calls 1000 --rate 100 --repeats 3

Two groups of runs:

- The callee: the same `sipp -sn uac` calls `sipp -sn uas` and a callmeter endpoint, by UDP and
  by TCP. An endpoint has no calls without media: its answer opens an RTP and an RTCP socket,
  puts a stream into the media engine and closes with a report. sipp's answer does none of that.
- The transport: a callmeter endpoint calls another over TCP, TLS and WSS. All calls of a run use
  one connection, as RFC 5923 has it, so the figure is encryption and framing, not handshakes;
  the handshake is in the run, once. The figure is the sum of both processes.

Exit status 1 when a call failed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Self

from callmeter import Endpoint, EndpointConfig
from callmeter.config import (
    ConnectionLimits,
    LimitConfig,
    StackConfig,
    TlsConfig,
    TlsVerify,
    Transport,
)
from callmeter.stack import Stack
from callmeter.testing.certificates import Authority

LOOPBACK = "127.0.0.1"
STREAMS = {"udp": "u1", "tcp": "t1"}
GRACE = 30.0
TICKS = os.sysconf("SC_CLK_TCK")
WARM_UP = 20
"""Calls before the clock starts: what is imported and cached once is not a cost per call."""


# the callmeter ends, each in a process of its own


def stack_config(transport: str, tls: TlsConfig) -> StackConfig:
    return StackConfig(
        bind=LOOPBACK,
        transports=(Transport[transport.upper()],),
        tls=tls,
        limits=LimitConfig(server_transactions=1_000_000, dialogs=1_000_000),
        connections=ConnectionLimits(inbound_per_host=1_000),
    )


def say(**figures) -> None:
    sys.stdout.write(json.dumps(figures) + "\n")
    sys.stdout.flush()


async def take(incoming) -> None:
    incoming.ring()
    await incoming.answer()
    await incoming.ended()


async def callee(transport: str, calls: int, tls: TlsConfig) -> None:
    """Take so many calls, then say what they cost."""
    async with Stack(stack_config(transport, tls)) as stack:
        config = EndpointConfig(f"sip:service@{LOOPBACK}")
        async with Endpoint(config, stack) as endpoint:
            say(port=stack.transport.listening(transport.upper())[1])
            cpu = 0.0
            async with asyncio.TaskGroup() as tasks:
                for number in range(calls + WARM_UP):
                    if number == WARM_UP:
                        cpu = time.process_time()
                    tasks.create_task(take(await endpoint.next_call(GRACE)))
            say(cpu=time.process_time() - cpu)


async def caller(transport: str, calls: int, rate: float, target: str, tls: TlsConfig) -> None:
    """Place so many calls at a steady rate, then say what they cost."""

    async def place() -> None:
        async with endpoint.call(target):
            pass

    async with Stack(stack_config("tcp", TlsConfig())) as stack:
        config = EndpointConfig(
            f"sip:alice@{LOOPBACK}", transport=Transport[transport.upper()], tls=tls
        )
        async with Endpoint(config, stack) as endpoint:
            for _ in range(WARM_UP):
                await place()
            cpu = time.process_time()
            loop = asyncio.get_running_loop()
            due = loop.time()
            async with asyncio.TaskGroup() as tasks:
                for _ in range(calls):
                    tasks.create_task(place())
                    due += 1 / rate
                    await asyncio.sleep(max(0.0, due - loop.time()))
            say(cpu=time.process_time() - cpu)


async def bounded(work, seconds: float) -> None:
    async with asyncio.timeout(seconds):
        await work


# who starts them


class Run:
    """The processes of one measurement; none outlives it."""

    def __init__(self, calls: int, rate: float, folder: Path) -> None:
        self.calls = calls
        self.rate = rate
        self.folder = folder
        self.seconds = calls / rate * 3 + GRACE
        self.started: list[subprocess.Popen] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.started:
            if process.poll() is None:
                process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()

    def spawn(self, command: list[str], **settings) -> subprocess.Popen:
        process = subprocess.Popen(command, cwd=self.folder, **settings)
        self.started.append(process)
        return process

    def ours(self, role: str, transport: str, *more: str) -> subprocess.Popen:
        command = [sys.executable, str(Path(__file__).resolve()), "--role", role]
        command += ["--transport", transport, "--calls", str(self.calls)]
        command += ["--rate", str(self.rate), "--seconds", str(self.seconds)]
        command += ["--pem", str(self.folder), *more]
        return self.spawn(command, stdout=subprocess.PIPE, text=True)

    def sipp(self, scenario: str, transport: str, calls: int, *more: str) -> subprocess.Popen:
        command = [
            "sipp", "-sn", scenario, "-i", LOOPBACK, "-t", STREAMS[transport],
            "-m", str(calls), "-nostdin", "-timeout", f"{int(self.seconds)}s", "-timeout_error",
            *more,
        ]  # fmt: skip
        return self.spawn(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def told(self, process: subprocess.Popen) -> dict:
        """What one of our own ends says next; nothing when it has failed."""
        line = process.stdout.readline()
        if not line:
            raise RuntimeError(f"{' '.join(process.args[2:6])} failed")
        return json.loads(line)

    def call(self, transport: str, port: int) -> None:
        """Let sipp call: first a few to warm up, then those that count."""
        for calls in (WARM_UP, self.calls):
            process = self.sipp(
                "uac", transport, calls, "-p", str(free_port()), "-r", str(self.rate),
                f"{LOOPBACK}:{port}",
            )  # fmt: skip
            if process.wait(self.seconds) != 0:
                raise RuntimeError(f"sipp's calls by {transport} failed")


def free_port() -> int:
    """A port that is free for UDP and TCP."""
    while True:
        with socket.socket() as stream, socket.socket(type=socket.SOCK_DGRAM) as datagram:
            stream.bind((LOOPBACK, 0))
            port = stream.getsockname()[1]
            try:
                datagram.bind((LOOPBACK, port))
            except OSError:
                continue
            return port


def cpu_so_far(process: subprocess.Popen) -> float:
    """CPU seconds of a running process; user and system."""
    fields = (
        Path(f"/proc/{process.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    )
    return (int(fields[11]) + int(fields[12])) / TICKS


def bound(port: int, transport: str) -> bool:
    lines = Path(f"/proc/net/{transport}").read_text(encoding="ascii").splitlines()[1:]
    return any(int(line.split()[1].rpartition(":")[2], 16) == port for line in lines)


def sipp_callee(transport: str, run: Run) -> float:
    """CPU seconds by call of `sipp -sn uas`, called by sipp."""
    port = free_port()
    process = run.sipp("uas", transport, 10 * (run.calls + WARM_UP), "-p", str(port))
    end = time.monotonic() + GRACE
    while not bound(port, transport):
        if process.poll() is not None or time.monotonic() > end:
            raise RuntimeError("sipp does not listen")
        time.sleep(0.05)
    time.sleep(0.2)
    before = cpu_so_far(process)
    run.call(transport, port)
    cpu = cpu_so_far(process) - before
    process.send_signal(signal.SIGKILL)
    return cpu / (run.calls + WARM_UP)


def our_callee(transport: str, run: Run) -> float:
    """CPU seconds by call of a callmeter endpoint, called by sipp."""
    process = run.ours("callee", transport)
    run.call(transport, run.told(process)["port"])
    return run.told(process)["cpu"] / run.calls


def our_pair(transport: str, run: Run) -> float:
    """CPU seconds by call of two callmeter endpoints together."""
    answering = run.ours("callee", transport)
    port = run.told(answering)["port"]
    target = f"sip:service@{LOOPBACK}:{port};transport={'ws' if transport == 'wss' else transport}"
    calling = run.ours("caller", transport, "--target", target)
    return (run.told(calling)["cpu"] + run.told(answering)["cpu"]) / run.calls


PLAN = (
    ("sipp uas", "udp", sipp_callee, "sipp"),
    ("callmeter uas", "udp", our_callee, "ours"),
    ("sipp uas", "tcp", sipp_callee, "sipp"),
    ("callmeter uas", "tcp", our_callee, "ours"),
    ("callmeter pair", "tcp", our_pair, "ours"),
    ("callmeter pair", "tls", our_pair, "ours"),
    ("callmeter pair", "wss", our_pair, "ours"),
)
BASES = {
    ("callmeter uas", "udp"): ("sipp uas", "udp"),
    ("callmeter uas", "tcp"): ("sipp uas", "tcp"),
    ("callmeter pair", "tls"): ("callmeter pair", "tcp"),
    ("callmeter pair", "wss"): ("callmeter pair", "tcp"),
}


def measure(given: argparse.Namespace) -> dict[tuple[str, str], list[float]]:
    """Microseconds by call of every run."""
    found = defaultdict(list)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        authority = Authority()
        issued = authority.issue(LOOPBACK)
        for file, text in (
            ("ca", authority.pem), ("certificate", issued.certificate), ("key", issued.private_key)
        ):  # fmt: skip
            (folder / file).write_text(text, encoding="ascii")
        for _ in range(given.repeats):
            for who, transport, way, kind in PLAN:
                # sipp has little to do for a call: more of them make its figure precise.
                calls, rate = given.calls, given.rate
                if kind == "sipp":
                    calls, rate = given.calls * 4, given.rate * 4
                with Run(calls, rate, folder) as run:
                    found[who, transport].append(way(transport, run) * 1e6)
    return found


def table(found: dict[tuple[str, str], list[float]]) -> str:
    """One line by kind of run: median, every run, ratio."""
    medians = {what: statistics.median(runs) for what, runs in found.items()}
    lines = ["who             transport   us/call   ratio  runs"]
    for (who, transport), median in medians.items():
        base = BASES.get((who, transport))
        ratio = f"{median / medians[base]:6.2f}" if base else "     -"
        runs = " ".join(f"{run:.0f}" for run in found[who, transport])
        lines.append(f"{who:<15} {transport:<9} {median:9.0f}  {ratio}  {runs}")
    return "\n".join(lines)


def pem(folder: str) -> tuple[TlsConfig, TlsConfig]:
    """TLS settings of the callee and of the caller."""
    ca, certificate, key = (
        Path(folder, name).read_text(encoding="ascii") for name in ("ca", "certificate", "key")
    )
    return (
        TlsConfig(certificate=certificate, private_key=key),
        TlsConfig(verify=TlsVerify.CUSTOM, ca=ca),
    )


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument(
        "--calls", type=int, default=1_000, help="of each run; four times for sipp"
    )
    options.add_argument("--rate", type=float, default=100, help="calls a second; likewise")
    options.add_argument("--repeats", type=int, default=3)
    options.add_argument("--json", action="store_true", help="every figure, in microseconds")
    for name in ("role", "transport", "target", "pem"):
        options.add_argument(f"--{name}", help=argparse.SUPPRESS)
    options.add_argument("--seconds", type=float, default=60, help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.role is None:
        if shutil.which("sipp") is None:
            sys.exit("sipp is not installed (Debian: sip-tester)")
        try:
            found = measure(given)
        except RuntimeError as error:
            sys.exit(str(error))
        figures = {" ".join(what): runs for what, runs in found.items()}
        sys.stdout.write((json.dumps(figures, indent=2) if given.json else table(found)) + "\n")
        return
    serving, trusting = pem(given.pem)
    if given.role == "callee":
        work = callee(given.transport, given.calls, serving)
    else:
        work = caller(given.transport, given.calls, given.rate, given.target, trusting)
    asyncio.run(bounded(work, given.seconds))


if __name__ == "__main__":
    main()
