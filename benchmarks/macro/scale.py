"""Thousands of secure calls on one core: loss, lateness, CPU, memory by call.

The far end is a process in C on the other core. Calls are placed by an `Endpoint`, with RTCP,
metrics and reports. Lateness stands beside that of a control ticker, a process that does nothing
else: what it suffers is the machine's.

    python benchmarks/macro/scale.py
    python benchmarks/macro/scale.py --full

The default is small. `--full` has 2,000 calls with AEAD_AES_128_GCM, 1,500 with
AES_CM_128_HMAC_SHA1_80, both on one shared port, and 1,000 with a port each, for 60 s each.

Exit status 1 when a packet was lost, or 1 % more ticks than of the control ticker were 5 ms late.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

OURS = Path(__file__).resolve().parents[1] / "far_end" / "ours.py"
GCM, SHA1 = "AEAD_AES_128_GCM", "AES_CM_128_HMAC_SHA1_80"
SMALL = ((200, GCM, "shared"), (200, SHA1, "shared"), (100, SHA1, "own"))
FULL = ((2000, GCM, "shared"), (1500, SHA1, "shared"), (1000, SHA1, "own"))
LATE_PERCENT = 1.0


def run(calls: int, suite: str, ports: str, given: argparse.Namespace) -> dict:
    command = [sys.executable, str(OURS), "--leave", "--calls", str(calls), "--suite", suite]
    command += ["--ports", ports, "--seconds", str(given.seconds)]
    if not given.no_pin and (os.cpu_count() or 1) > 1:
        command += ["--core", "0", "--far-core", "1"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def line(figures: dict) -> str:
    ticks, control = figures["ticks"], figures["control"]
    return (
        f"{figures['calls']} calls, {figures['suite']}, {figures['ports']} port, "
        f"{figures['backend']}\n"
        f"  packets  received {figures['received']} of {figures['sent_by_peer']:.0f}, "
        f"lost here {figures['lost_here']:.0f}, at the far end {figures['lost_there']:.0f}; "
        f"socket overflows {figures['socket_overflows']}, dropped {figures['dropped'] or 'none'}\n"
        f"  ticks    p50 {ticks['p50_ms']:.2f}  p99 {ticks['p99_ms']:.2f}  max "
        f"{ticks['max_ms']:.2f} ms, {ticks['late_percent']:.2f} % over 5 ms\n"
        f"  control  p50 {control['p50_ms']:.2f}  p99 {control['p99_ms']:.2f}  max "
        f"{control['max_ms']:.2f} ms, {control['late_percent']:.2f} % over 5 ms; the far end's own "
        f"{figures['far_late_percent']:.2f} %\n"
        f"  CPU      {figures['us_by_pair']:.2f} us a pair, {figures['core_percent']:.1f} % of a "
        f"core; {figures['memory_kib_by_call']:.1f} KiB a call; set up in "
        f"{figures['setup_s']:.1f} s\n"
        f"  jitter   {figures['jitter_ms']:.3f} ms mean, by kernel stamps"
    )


def is_good(figures: dict) -> bool:
    late = figures["ticks"]["late_percent"] - figures["control"]["late_percent"]
    return not figures["lost_here"] and not figures["lost_there"] and late < LATE_PERCENT


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--full", action="store_true", help="the sizes of the docstring, 60 s")
    options.add_argument("--seconds", type=float, help="of each run")
    options.add_argument("--no-pin", action="store_true", help="let the system choose the cores")
    options.add_argument("--json", action="store_true")
    given = options.parse_args()
    given.seconds = given.seconds or (60 if given.full else 3)
    good = True
    for calls, suite, ports in FULL if given.full else SMALL:
        figures = run(calls, suite, ports, given)
        good &= is_good(figures)
        sys.stdout.write((json.dumps(figures) if given.json else line(figures)) + "\n")
        sys.stdout.flush()
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
