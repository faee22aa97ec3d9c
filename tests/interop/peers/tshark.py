"""tshark: captures on loopback and decodes with dissectors nobody here wrote."""

from __future__ import annotations

import functools
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from peers.program import PeerError, Program

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

LOOKS = 4
HEURISTICS = ("rtp_udp", "rtcp_udp")


class Capture(Program):
    """dumpcap on the loopback interface, into `capture.pcapng` of its folder."""

    name = "dumpcap"

    def __init__(self, folder: Path, capture_filter: str = "udp or tcp") -> None:
        super().__init__(folder)
        self.capture_filter = capture_filter
        self.file = folder / "capture.pcapng"

    def start(self) -> None:
        for former in (self.file, self.log):
            former.unlink(missing_ok=True)
        self.spawn(
            ["dumpcap", "-q", "-i", "lo", "-f", self.capture_filter, "-w", self.file, "-s", "0"]
        )
        self.wait_until(lambda: self.file.exists() and b"Capturing on" in self.log.read_bytes())
        time.sleep(0.3)  # it says so a moment before the kernel hands packets over

    def stop(self, sign: signal.Signals = signal.SIGINT) -> None:
        """End the capture; SIGINT makes it write what it still holds."""
        if self.status is None:
            # It reads four times a second and writes twice: looks, for one may be late.
            unchanged, size = 0, -1
            while unchanged < LOOKS:
                time.sleep(0.2)
                now = self.file.stat().st_size
                unchanged, size = (unchanged + 1 if now == size else 0), now
        super().stop(sign)


@dataclass(frozen=True)
class RtpAnalysis:
    """tshark's own figures of one RTP stream."""

    packets: int
    lost: int
    least_jitter_ms: float
    mean_jitter_ms: float
    greatest_jitter_ms: float


@dataclass(frozen=True)
class Decoded:
    """What tshark made of a capture; `sip_ports` are decoded as SIP, RTP is found by its looks."""

    file: Path
    sip_ports: tuple[int, ...]
    rtp_ports: tuple[int, ...] = ()
    rtcp_ports: tuple[int, ...] = ()

    def _run(self, *arguments: str) -> str:
        command = ["tshark", "-n", "-r", str(self.file)]
        for heuristic in HEURISTICS:
            command += ["--enable-heuristic", heuristic]
        for kind, ports in (("sip", self.sip_ports), ("rtp", self.rtp_ports)):
            for port in ports:
                command += ["-d", f"udp.port=={port},{kind}"]
        for port in self.rtcp_ports:
            command += ["-d", f"udp.port=={port},rtcp"]
        for port in self.sip_ports:
            command += ["-d", f"tcp.port=={port},sip"]
        done = subprocess.run(
            [*command, *arguments], capture_output=True, text=True, timeout=60, check=False
        )
        if done.returncode:
            raise PeerError(f"tshark ended with {done.returncode}: {done.stderr}")
        return done.stdout

    def fields(self, display_filter: str, *names: str) -> list[tuple[str, ...]]:
        """One tuple per packet that the display filter lets through."""
        wanted = [part for name in names for part in ("-e", name)]
        text = self._run("-Y", display_filter, "-T", "fields", "-E", "separator=/t", *wanted)
        return [tuple(line.split("\t")) for line in text.splitlines()]

    def count(self, display_filter: str) -> int:
        """How many packets the display filter lets through."""
        return len(self.fields(display_filter, "frame.number"))

    def malformed(self) -> list[str]:
        """Every packet a dissector could not read, one line each; empty is what one hopes for."""
        return self._run("-Y", "_ws.malformed || _ws.expert.severity == error").splitlines()

    def methods(self) -> list[str]:
        """Methods and status codes of the SIP messages in order."""
        rows = self.fields("sip", "sip.Method", "sip.Status-Code")
        return [method or status for method, status in rows]

    def rtp_streams(self) -> list[dict[str, int]]:
        """Packets and lost packets of each RTP stream (tshark's own statistics)."""
        rows = self.fields("rtp", "rtp.ssrc", "rtp.seq", "udp.srcport")
        streams: dict[tuple[str, str], list[int]] = {}
        for ssrc, sequence, port in rows:
            streams.setdefault((ssrc, port), []).append(int(sequence))
        return [
            {
                "port": int(port),
                "packets": len(numbers),
                "lost": (numbers[-1] - numbers[0]) % 65_536 + 1 - len(set(numbers)),
            }
            for (_, port), numbers in streams.items()
        ]

    def rtp_analysis(self) -> list[RtpAnalysis]:
        """What `tshark -q -z rtp,streams` says of each stream."""
        lines = self._run("-q", "-z", "rtp,streams").splitlines()
        found = []
        for line in lines:
            columns = line.split()
            # Begin, end, source, port, destination, port, SSRC, codec, packets, lost, its share,
            # three of the time between packets, three of the jitter, "X" for problems.
            if len(columns) > 16 and columns[6].startswith("0x"):
                packets, lost = int(columns[8]), int(columns[9])
                least, mean, greatest = (float(value) for value in columns[14:17])
                found.append(RtpAnalysis(packets, lost, least, mean, greatest))
        return found


def decode(file: Path, sip_ports: Iterable[int]) -> Decoded:
    """A capture to be asked; SDP tells tshark itself which ports are RTP."""
    return Decoded(file, tuple(sip_ports))


@functools.cache
def cannot_capture() -> str:
    """Why nothing can be captured on loopback here, or the empty string."""
    if shutil.which("dumpcap") is None:
        return "dumpcap is not installed"
    listed = subprocess.run(["dumpcap", "-D"], capture_output=True, text=True, check=False)
    if listed.returncode or "lo" not in listed.stdout:
        return "dumpcap may not capture here (root or CAP_NET_RAW is needed)"
    return ""
