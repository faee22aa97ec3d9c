"""rtpengine in user space, forwarding clear RTP between two sides in C; CPU by forwarded packet.

    python benchmarks/far_end/rtpengine.py --calls 1000 --seconds 5

A forwarded packet is one received and one sent: a pair, as a call of ours has one each 20 ms.
`--calls` is the number of streams that are forwarded; two of them are a call for rtpengine.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import time

from baresip import cpu_of, free_port, pinned
from native import LOOPBACK, Streams, build, open_sockets

PATIENCE_S = 20.0


def bencode(value: dict | str | bytes) -> bytes:
    if isinstance(value, dict):
        return b"d" + b"".join(bencode(key) + bencode(value[key]) for key in sorted(value)) + b"e"
    octets = value.encode() if isinstance(value, str) else value
    return b"%d:%b" % (len(octets), octets)


def description(port: int) -> str:
    return (
        f"v=0\r\no=- 1 1 IN IP4 {LOOPBACK}\r\ns=-\r\nc=IN IP4 {LOOPBACK}\r\nt=0 0\r\n"
        f"m=audio {port} RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n"
    )


class Control:
    """rtpengine's ng protocol."""

    def __init__(self, port: int) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.settimeout(1)
        self.socket.connect((LOOPBACK, port))
        self.cookie = 0

    def ask(self, **request: str) -> bytes:
        self.cookie += 1
        message = b"%d " % self.cookie + bencode(
            {k.replace("_", "-"): v for k, v in request.items()}
        )
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            with contextlib.suppress(OSError):
                self.socket.send(message)
                return self.socket.recv(65_535)
            time.sleep(0.1)
        raise RuntimeError("rtpengine does not answer")

    def port(self, command: str, call: int, port: int, **tags: str) -> int:
        answer = self.ask(command=command, call_id=str(call), sdp=description(port), **tags)
        return int(re.search(rb"m=audio (\d+)", answer)[1])


def measure(given: argparse.Namespace, started: list[subprocess.Popen]) -> dict:
    ng = free_port()
    command = pinned(
        given.core, "rtpengine", f"--interface={LOOPBACK}", f"--listen-ng={LOOPBACK}:{ng}",
        "--port-min=30000", "--port-max=39999", "--table=-1", "--foreground", "--log-stderr",
        "--log-level=2", "--config-file=none", f"--num-threads={given.threads}",
    )  # fmt: skip
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command, **quiet)
    started.append(process)
    control = Control(ng)
    control.ask(command="ping")
    sockets = open_sockets(given.sockets)
    ports = [bound.getsockname()[1] for bound in sockets]
    here = [ports[number * given.sockets // given.calls] for number in range(given.calls)]
    peers = []
    for call in range(given.calls // 2):
        first, second = here[2 * call], here[2 * call + 1]
        to_second = control.port("offer", call, first, from_tag="a")
        to_first = control.port("answer", call, second, from_tag="a", to_tag="b")
        peers += [(LOOPBACK, to_first), (LOOPBACK, to_second)]
    if given.far_core is not None:
        os.sched_setaffinity(0, {given.far_core})
    sources = [0x30000000 + number for number in range(len(peers))]
    library = build()

    def run(seconds: float) -> dict[str, float]:
        streams = Streams(
            library,
            sockets=sockets,
            peers=peers,
            keys=[(None, None)] * len(peers),
            ssrc=[(own, sources[number ^ 1]) for number, own in enumerate(sources)],
            seconds=seconds,
            parts=20,
            far=False,
        )
        return streams.run(time.monotonic())

    run(1.0)
    before, wall = cpu_of(process), time.monotonic()
    figures = run(given.seconds)
    cpu, wall = cpu_of(process) - before, time.monotonic() - wall
    return {
        "calls": given.calls,
        "us_by_pair": 1e6 * cpu / figures["received"],
        "core_percent": 100 * cpu / wall,
        "expected_percent": 100 * figures["received"] / figures["sent"],
    }


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--calls", type=int, default=1_000, help="streams that are forwarded")
    options.add_argument("--seconds", type=float, default=5)
    options.add_argument("--sockets", type=int, default=100)
    options.add_argument("--threads", type=int, default=1)
    options.add_argument("--core", type=int, help="pin rtpengine")
    options.add_argument("--far-core", type=int, help="pin this process")
    given = options.parse_args()
    started: list[subprocess.Popen] = []
    try:
        figures = measure(given, started)
    finally:
        for process in started:
            process.kill()
            process.wait()
    sys.stdout.write(json.dumps(figures) + "\n")


if __name__ == "__main__":
    main()
