"""CPU by packet pair: callmeter in full against a C engine, a naive design, and other programs.

Every row runs in turn, in one go, `--repeats` times; medians and their ratios are printed. The
figure is CPU, user and system, by SRTP packet received plus packet sent: what a call has every
20 ms. PCMU, 20 ms, AES_CM_128_HMAC_SHA1_80; rtpengine forwards clear RTP.

    python benchmarks/peers/media.py
    python benchmarks/peers/media.py --repeats 1 --seconds 3 --rows c-engine,baresip

Ours is the whole product: calls placed by an `Endpoint`, RTCP both ways, metrics, events, reports;
the far end is a process in C (`benchmarks/far_end`). It has 50 addresses, so that 20 of 1,000 calls
have the same one, and their packets leave in one piece (UDP GSO). The C engine sends every packet
alone, and is compared with ours doing the same. Two cores: ours on one, the far end on the other,
unless `--no-pin` says otherwise. The limit of the naive design is looked for before: the most calls
with no more than one packet in a hundred late. Everybody runs as it comes, without settings of the
C library or the kernel. Needs gcc, and for their rows baresip and rtpengine.

Exit status 1 when a row misses what is wanted of it.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path

FAR_END = Path(__file__).resolve().parents[1] / "far_end"
PATIENCE_S = 240
LEAD_S = 0.3
NAIVE_CALLS = range(180, 601, 60)
IN_TIME_PERCENT = 1.0
"""A design is at its limit where so many packets are late, and not beyond."""


@dataclass(frozen=True)
class Row:
    """One comparison.

    Attributes:
        name: For `--rows`.
        peer: Who, and how many calls it has.
        calls: Of theirs.
        ours: Of ours.
        wanted: Their CPU by ours at least; below 1 and `most`: ours by theirs at most.
        most: Which of the two.
        alone: Ours sends every packet alone, without UDP GSO.
        needs: A program that has to be there.
    """

    name: str
    peer: str
    calls: int
    ours: int
    wanted: float
    most: bool = False
    alone: bool = False
    needs: str = "gcc"

    @property
    def us(self) -> str:
        return "ours, each packet alone" if self.alone else "ours"


ROWS = (
    Row("c-engine", "C engine on the same libsrtp", 1000, 1000, 1.7, most=True, alone=True),
    Row(
        "rtpengine", "rtpengine, clear RTP forwarded", 1000, 1000, 0.8, most=True, needs="rtpengine"
    ),
    Row("naive", "naive asyncio, at its limit", NAIVE_CALLS[0], 1000, 6.0),
    Row("aiortc", "aiortc, pairs", 20, 1000, 60.0),
    Row("baresip", "baresip", 60, 1000, 5.0, needs="baresip"),
    Row("baresip-equal", "baresip", 60, 60, 1.5, needs="baresip"),
)


class Bench:
    """Starts the programs, one after the other."""

    def __init__(self, given: argparse.Namespace) -> None:
        self.given = given
        pinning = not given.no_pin and (os.cpu_count() or 1) > 1
        self.cores = ["--core", "0", "--far-core", "1"] if pinning else []
        self.pins = [["taskset", "-c", core] if pinning else [] for core in "01"]

    def program(self, name: str, calls: int, *more: str) -> dict:
        command = [sys.executable, str(FAR_END / f"{name}.py"), "--calls", str(calls)]
        command += ["--seconds", str(self.given.seconds), *more]
        done = subprocess.run(
            command, stdout=subprocess.PIPE, text=True, check=True, timeout=PATIENCE_S
        )
        return json.loads(done.stdout)

    def ours(self, calls: int, *, alone: bool) -> dict:
        return self.program(
            "ours", calls, "--leave", "--suite", self.given.suite, "--ports", self.given.ports,
            *(["--no-segmentation"] if alone else []), *self.cores,
        )  # fmt: skip

    def c_engine(self, calls: int) -> dict:
        """Both ends are C here; the one that is measured has one socket, as ours."""
        ends = []
        for pin, role, sockets in zip(self.pins, ("engine", "far"), (1, 50), strict=True):
            command = [*pin, sys.executable, str(FAR_END / "native.py"), role]
            command += ["--calls", str(calls), "--seconds", str(self.given.seconds)]
            command += ["--sockets", str(sockets), "--suite", self.given.suite]
            ends.append(
                subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            )
        told = [json.loads(end.stdout.readline()) for end in ends]
        for end, ports in zip(ends, reversed(told), strict=True):
            end.stdin.write(json.dumps(ports) + "\n")
            end.stdin.flush()
            end.stdout.readline()
        begin = time.monotonic() + LEAD_S
        for end in ends:
            end.stdin.write(json.dumps({"begin": begin}) + "\n")
            end.stdin.flush()
        figures, _ = (json.loads(end.communicate()[0]) for end in ends)
        return {
            "us_by_pair": 2e6 * figures["cpu"] / (figures["sent"] + figures["received"]),
            "late_percent": 100 * figures["late"] / figures["ticks"],
        }

    def naive_limit(self) -> int:
        """How many calls the naive design holds in time, looked for upwards."""
        for before, calls in itertools.pairwise(NAIVE_CALLS):
            if self.program("naive", calls, *self.cores)["late_percent"] > IN_TIME_PERCENT:
                return before
        return NAIVE_CALLS[-1]

    def peer(self, row: Row) -> dict:
        match row.name:
            case "c-engine":
                return self.c_engine(row.calls)
            case "aiortc":
                # It decodes in threads: on one core alone it would not keep up, and skip work.
                return self.program("aiortc_pairs", row.calls)
            case "naive":
                return self.program("naive", row.calls, *self.cores)
            case "rtpengine":
                return self.program("rtpengine", row.calls, *self.cores)
            case _:
                return self.program("baresip", row.calls, *self.cores)


def measure(bench: Bench, rows: list[Row]) -> dict[tuple[str, int], list[dict]]:
    """All figures, by who and how many calls; interleaved."""
    given = bench.given
    found = defaultdict(list)
    for _ in range(given.repeats):
        turn = {}
        for row in rows:
            # What is compared runs one after the other: the host is another one a minute later.
            if (row.us, row.ours) not in turn:
                turn[row.us, row.ours] = bench.ours(row.ours, alone=row.alone)
            if (row.peer, row.calls) not in turn:
                turn[row.peer, row.calls] = bench.peer(row)
        for who, run in turn.items():
            found[who].append(run)
    return found


def median(runs: list[dict]) -> float:
    return statistics.median(run["us_by_pair"] for run in runs)


def table(found: dict[tuple[str, int], list[dict]], rows: list[Row]) -> tuple[str, bool]:
    """The figures in words, and whether every row has what is wanted."""
    lines = [f"{'who':<34} {'calls':>5}  {'us/pair':>7}  runs"]
    for (who, calls), runs in found.items():
        each = " ".join(f"{run['us_by_pair']:.2f}" for run in runs)
        lines.append(f"{who:<34} {calls:>5}  {median(runs):>7.2f}  {each}")
    lines.append("")
    good = True
    engine = next((row for row in rows if row.name == "c-engine"), None)
    for row in rows:
        ours, theirs = median(found[row.us, row.ours]), median(found[row.peer, row.calls])
        if row.most:
            ratio, text = ours / theirs, "ours is {:.2f} x, at most {:g} x wanted"
            reached = ratio <= row.wanted
        else:
            ratio, text = theirs / ours, "ours is {:.1f} x less, at least {:g} x wanted"
            reached = ratio >= row.wanted
        good &= reached
        lines.append(
            f"{row.peer} at {row.calls}, {row.us} at {row.ours}: "
            f"{text.format(ratio, row.wanted)}{'' if reached else '  MISSED'}"
        )
        if engine and row is not engine and row.ours == engine.calls:
            own = median(found[engine.peer, engine.calls])
            text = f"{own / theirs:.2f} x" if row.most else f"{theirs / own:.1f} x less"
            lines.append(f"    the {engine.peer} at {engine.calls}: {text}")
    lines.append("")
    for (who, calls), runs in found.items():
        if "expected_percent" in runs[0]:
            share = statistics.median(run["expected_percent"] for run in runs)
            lines.append(f"{who} at {calls}: {share:.1f} % of the packets it should have moved")
        if who.startswith("ours"):
            late = statistics.median(run["ticks"]["late_percent"] for run in runs)
            control = statistics.median(run["control"]["late_percent"] for run in runs)
            lost = sum(run["lost_here"] + run["lost_there"] for run in runs)
            lines.append(
                f"{who} at {calls}: {late:.2f} % of ticks over 5 ms late, control ticker "
                f"{control:.2f} %; {lost:.0f} packets lost"
            )
    return "\n".join(lines), good


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--repeats", type=int, default=5)
    options.add_argument("--seconds", type=float, default=5, help="of each run")
    options.add_argument("--rows", help=f"of {','.join(row.name for row in ROWS)}; all by default")
    options.add_argument(
        "--suite", default="AES_CM_128_HMAC_SHA1_80", help="of ours and the C engine"
    )
    options.add_argument("--ports", choices=["shared", "own"], default="shared", help="of ours")
    options.add_argument("--no-pin", action="store_true", help="let the system choose the cores")
    options.add_argument("--json", action="store_true", help="every figure")
    given = options.parse_args()
    wanted = given.rows.split(",") if given.rows else [row.name for row in ROWS]
    rows = [row for row in ROWS if row.name in wanted]
    for row in [row for row in rows if shutil.which(row.needs) is None]:
        sys.stdout.write(f"left out, {row.needs} is not installed: {row.name}\n")
        rows.remove(row)
    if not rows:
        sys.exit("nothing to compare")
    bench = Bench(given)
    rows = [replace(row, calls=bench.naive_limit()) if row.name == "naive" else row for row in rows]
    found = measure(bench, rows)
    text, good = table(found, rows)
    if given.json:
        text = json.dumps({f"{who} {calls}": runs for (who, calls), runs in found.items()})
    sys.stdout.write(text + "\n")
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
