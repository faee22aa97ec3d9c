"""baresip as packaged: calls by SDES with the C far end, PCMU, a WAV file as source; CPU by pair.

    python benchmarks/far_end/baresip.py --calls 60 --seconds 5

CPU is read from /proc. Packets are counted by the far end, on both ways.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import socket
import struct
import subprocess
import sys
import tempfile
import time
import wave
from pathlib import Path

HERE = Path(__file__).parent
LOOPBACK = "127.0.0.1"
WARM_S = 1.0
PATIENCE_S = 60.0
MODULES = Path("/usr/lib/baresip/modules")
CONFIGURATION = """\
poll_method epoll
sip_listen {address}:{sip}
call_local_timeout 120
call_max_calls 500
audio_player aubridge,sink
audio_source aufile,{folder}/tone.wav
audio_alert nil
audio_level no
ausrc_srate 8000
auplay_srate 8000
ausrc_channels 1
auplay_channels 1
audio_txmode poll
rtp_ports {low}-{high}
net_interface {address}
jitter_buffer_type fixed
jitter_buffer_delay 5-10
rtp_stats no
module_path {modules}
module g711.so
module aubridge.so
module aufile.so
module srtp.so
module uuid.so
module_tmp account.so
module_app menu.so
module_app ctrl_tcp.so
ctrl_tcp_listen {address}:{control}
"""
ACCOUNT = "<sip:bench@{address}>;audio_codecs=pcmu;mediaenc=srtp-mand;regint=0\n"


def free_port() -> int:
    with socket.socket(type=socket.SOCK_DGRAM) as datagram:
        datagram.bind((LOOPBACK, 0))
        return datagram.getsockname()[1]


def cpu_of(process: subprocess.Popen) -> float:
    text = Path(f"/proc/{process.pid}/stat").read_text(encoding="ascii")
    fields = text.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def prepare(folder: Path, control: int) -> None:
    with wave.open(str(folder / "tone.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        saw = [(number * 400) % 8000 - 4000 for number in range(8000 * 60)]
        file.writeframes(struct.pack(f"<{len(saw)}h", *saw))
    text = CONFIGURATION.format(
        address=LOOPBACK, sip=free_port(), folder=folder, low=20000, high=29999, modules=MODULES,
        control=control,
    )  # fmt: skip
    (folder / "config").write_text(text, encoding="ascii")
    (folder / "accounts").write_text(ACCOUNT.format(address=LOOPBACK), encoding="ascii")
    (folder / "contacts").touch()


def connect(port: int) -> socket.socket:
    end = time.monotonic() + PATIENCE_S
    while True:
        with contextlib.suppress(OSError):
            return socket.create_connection((LOOPBACK, port))
        if time.monotonic() > end:
            raise RuntimeError("baresip does not listen")
        time.sleep(0.1)


def pinned(core: int | None, *command: str) -> list[str]:
    return [*([] if core is None else ["taskset", "-c", str(core)]), *command]


def tell(far: subprocess.Popen, **order: float) -> None:
    far.stdin.write(json.dumps(order) + "\n")
    far.stdin.flush()


def measure(given: argparse.Namespace, folder: Path, started: list[subprocess.Popen]) -> dict:
    control = free_port()
    prepare(folder, control)
    answer = [sys.executable, str(HERE / "answer.py"), "--calls", str(given.calls)]
    answer += ["--sockets", "0", "--suite", given.suite]
    pipe = subprocess.PIPE
    far = subprocess.Popen(pinned(given.far_core, *answer), stdin=pipe, stdout=pipe, text=True)
    started.append(far)
    target = f"sip:far@{LOOPBACK}:{json.loads(far.stdout.readline())['port']}"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "stdin": pipe}
    command = pinned(given.core, "baresip", "-f", str(folder))
    process = subprocess.Popen(command, env={**os.environ, "HOME": str(folder)}, **quiet)
    started.append(process)
    with connect(control) as menu:
        for number in range(given.calls):
            order = json.dumps({"command": "dial", "params": target, "token": str(number)})
            menu.sendall(f"{len(order)}:{order},".encode())
            time.sleep(0.05)
        far.stdout.readline()
        time.sleep(WARM_S)
        tell(far, seconds=given.seconds)
        far.stdout.readline()
        before = cpu_of(process)
        begin = time.monotonic()
        tell(far, begin=begin)
        figures = json.loads(far.stdout.readline())
        wall = time.monotonic() - begin
        cpu = cpu_of(process) - before
    return {
        "calls": given.calls,
        "us_by_pair": 2e6 * cpu / (figures["sent"] + figures["received"]),
        "core_percent": 100 * cpu / wall,
        "expected_percent": 100 * figures["received"] / (given.calls * 50 * wall),
    }


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--calls", type=int, default=60)
    options.add_argument("--seconds", type=float, default=5)
    options.add_argument("--suite", default="AES_CM_128_HMAC_SHA1_80")
    options.add_argument("--core", type=int, help="pin baresip")
    options.add_argument("--far-core", type=int, help="pin the far end")
    given = options.parse_args()
    started: list[subprocess.Popen] = []
    with tempfile.TemporaryDirectory() as folder:
        try:
            figures = measure(given, Path(folder), started)
        finally:
            for process in started:
                process.kill()
                process.wait()
    sys.stdout.write(json.dumps(figures) + "\n")


if __name__ == "__main__":
    main()
