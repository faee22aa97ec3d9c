"""What one writes first: a transport and a task for every call, `Session` for every packet.

    python benchmarks/far_end/naive.py --calls 240 --seconds 5

asyncio's `create_datagram_endpoint` as it comes, `pylibsrtp.Session`, `struct`, statistics of RFC
3550 in Python, payload echoed. No signalling, no RTCP, no report: less than ours. Says JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import struct
import sys
import time
from pathlib import Path

import pylibsrtp
from native import LOOPBACK, PAYLOAD, SUITES, fixed_key, session

HERE = Path(__file__).parent
HEADER = struct.Struct("!BBHII")
LATE_S = 0.005
OURS, THEIRS = 0x10000, 0x20000


class Call(asyncio.DatagramProtocol):
    """One call."""

    def __init__(self, suite: str, number: int) -> None:
        self.number = number
        self.outbound = session(suite, fixed_key(suite, number, "e"), outbound=True)
        self.inbound = session(suite, fixed_key(suite, number, "f"), outbound=False)
        self.payload = bytes(PAYLOAD)
        self.sequence = self.timestamp = self.highest = 0
        self.received = self.refused = self.sent = 0
        self.jitter = self.transit = 0.0

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        del addr
        if 192 <= data[1] < 224:
            return
        try:
            packet = self.inbound.unprotect(data)
        except pylibsrtp.Error:
            self.refused += 1
            return
        _, _, sequence, timestamp, _ = HEADER.unpack_from(packet)
        self.payload = packet[HEADER.size :]
        ahead = (sequence - self.highest) & 0xFFFF
        if ahead < 0x8000:
            self.highest += ahead
        self.received += 1
        transit = time.monotonic() * 8000 - timestamp
        self.jitter += (abs(transit - self.transit) - self.jitter) / 16
        self.transit = transit

    def send(self, address: tuple[str, int]) -> None:
        self.sequence = (self.sequence + 1) & 0xFFFF
        self.timestamp = (self.timestamp + PAYLOAD) & 0xFFFF_FFFF
        header = HEADER.pack(0x80, 0, self.sequence, self.timestamp, OURS + self.number)
        self.transport.sendto(self.outbound.protect(header + self.payload), address)
        self.sent += 1


async def talk(call: Call, address: tuple[str, int], begin: float, ticks: int, late: list) -> None:
    due = begin
    for _ in range(ticks):
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        late.append(time.monotonic() - due > LATE_S)
        call.send(address)
        due += 0.02


async def measure(given: argparse.Namespace) -> dict:
    command = [] if given.far_core is None else ["taskset", "-c", str(given.far_core)]
    command += [sys.executable, str(HERE / "native.py"), "far", "--calls", str(given.calls)]
    command += ["--seconds", str(given.seconds), "--suite", given.suite, "--sockets", "20"]
    pipe = asyncio.subprocess.PIPE
    far = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)
    loop = asyncio.get_running_loop()
    calls, ports = [], []
    for number in range(given.calls):
        transport, call = await loop.create_datagram_endpoint(
            lambda number=number: Call(given.suite, number), local_addr=(LOOPBACK, 0)
        )
        calls.append(call)
        ports.append(transport.get_extra_info("sockname")[1])
    theirs = json.loads(await far.stdout.readline())["ports"]
    far.stdin.write(json.dumps({"ports": ports}).encode() + b"\n")
    await far.stdout.readline()
    begin = time.monotonic() + 0.3
    far.stdin.write(json.dumps({"begin": begin}).encode() + b"\n")
    gc.collect()
    gc.freeze()
    late: list[bool] = []
    cpu = time.process_time()
    async with asyncio.TaskGroup() as tasks:
        for call in calls:
            address = (LOOPBACK, theirs[call.number * len(theirs) // given.calls])
            offset = 0.02 * call.number / given.calls
            ticks = round(given.seconds * 50)
            tasks.create_task(talk(call, address, begin + offset, ticks, late))
    cpu = time.process_time() - cpu
    figures = json.loads(await far.stdout.readline())
    packets = sum(call.sent + call.received for call in calls)
    for call in calls:
        call.transport.close()
    return {
        "calls": given.calls,
        "us_by_pair": 2e6 * cpu / packets,
        "core_percent": 100 * cpu / given.seconds,
        "late_percent": 100 * sum(late) / len(late),
        "lost": figures["sent"] - sum(call.received for call in calls),
    }


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--calls", type=int, default=240)
    options.add_argument("--seconds", type=float, default=5)
    options.add_argument("--suite", choices=SUITES, default="AES_CM_128_HMAC_SHA1_80")
    options.add_argument("--core", type=int, help="pin this process")
    options.add_argument("--far-core", type=int, help="pin the far end")
    given = options.parse_args()
    if given.core is not None:
        os.sched_setaffinity(0, {given.core})
    sys.stdout.write(json.dumps(asyncio.run(measure(given))) + "\n")


if __name__ == "__main__":
    main()
