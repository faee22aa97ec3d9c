"""sipp: callers and callees that follow a scenario; the exit status is the verdict."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from peers.program import HOST, PeerError, Program, free_ports, tcp_listening, udp_bound

SCENARIOS = Path(__file__).resolve().parent.parent / "sipp"
TRANSPORTS = {"udp": "u1", "tcp": "t1"}
PORT_OF_SCENARIO = 3  # SIP port, then three for media that -rtp_echo takes


@dataclass(frozen=True)
class SippResult:
    """What sipp itself counted.

    Attributes:
        status: Its exit status; 0 when every call went by the scenario.
        successful: Calls that did.
        failed: Calls that did not.
        retransmissions: Requests and responses it had to send again.
        counts: Messages by step, as in its counts file: `"1_INVITE_Sent"`.
        messages: Every message, as text.
    """

    status: int
    successful: int
    failed: int
    retransmissions: int
    counts: dict[str, int]
    messages: str


class Sipp(Program):
    """A running sipp.

    Args:
        folder: Its own folder.
        scenario: Name of a file in tests/interop/sipp, without its suffix.
        target: `"host:port"` to call; None makes it a callee.
        user: Whom it calls, or who it is for `register`.
        transport: `"udp"` or `"tcp"`.
        calls: How many calls, after which it ends.
        hold: Milliseconds a caller stays in the call.
        seconds: When it gives up and fails.
        keys: Values for `[name]` in the scenario.
        password: For `[authentication]`.
        port: Its SIP port; None takes a free one.
        host: Its address.
    """

    name = "sipp"

    def __init__(
        self,
        folder: Path,
        scenario: str,
        *,
        target: str | None = None,
        user: str = "service",
        transport: str = "udp",
        calls: int = 1,
        rate: int = 10,
        hold: int = 500,
        seconds: int = 30,
        keys: dict[str, str] | None = None,
        password: str = "secret",
        port: int | None = None,
        host: str = HOST,
    ) -> None:
        super().__init__(folder)
        self.scenario = SCENARIOS / f"{scenario}.xml"
        self.target = target
        self.user = user
        self.transport = transport
        self.calls = calls
        self.rate = rate
        self.hold = hold
        self.seconds = seconds
        self.keys = keys or {}
        self.password = password
        self.host = host
        self.port = port or free_ports()
        self.media_port = free_ports(4)

    @property
    def address(self) -> str:
        """Where a callee listens."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def start(self) -> None:
        command = [
            "sipp", *([self.target] if self.target else []),
            "-sf", self.scenario,
            "-i", self.host, "-p", str(self.port), "-t", TRANSPORTS[self.transport],
            "-mi", self.host, "-mp", str(self.media_port), "-rtp_echo",
            "-m", str(self.calls), "-l", "10", "-r", str(self.rate), "-d", str(self.hold),
            "-s", self.user, "-au", self.user, "-ap", self.password,
            "-timeout", str(self.seconds), "-timeout_error", "-nostdin", "-fd", "1",
            "-trace_stat", "-stf", self.folder / "statistics.csv", "-trace_counts",
            "-trace_msg", "-message_file", self.folder / "messages.log",
            "-trace_err", "-error_file", self.folder / "errors.log",
        ]  # fmt: skip
        for key, value in self.keys.items():
            command += ["-key", key, value]
        self.spawn(command)
        if self.target is None:
            self.wait_until(self._bound)

    def _bound(self) -> bool:
        if self.transport == "udp":
            return udp_bound(self.port)
        return tcp_listening(self.port, self.host)

    async def result(self, seconds: float = 30) -> SippResult:
        """Wait until it has made its calls; what it counted."""
        status = await self.ended(seconds)
        statistics = _last_row(self.folder / "statistics.csv")
        counts_file = next(self.folder.glob("*_counts.csv"), None)
        counts = _last_row(counts_file) if counts_file else {}
        messages = self.folder / "messages.log"
        return SippResult(
            status=status,
            successful=int(statistics["SuccessfulCall(C)"]),
            failed=int(statistics["FailedCall(C)"]),
            retransmissions=int(statistics["Retransmissions(C)"]),
            counts={key: int(value) for key, value in counts.items() if value.isdecimal()},
            messages=messages.read_text(encoding="utf-8", errors="replace")
            if messages.exists()
            else "",
        )

    def tail(self, lines: int = 120) -> str:
        """Errors first, then the messages; what sipp draws on its screen says little."""
        parts = []
        for name in ("errors.log", "messages.log", self.log.name):
            path = self.folder / name
            if path.exists() and (text := path.read_text(encoding="utf-8", errors="replace")):
                parts.append(f"--- {name}\n" + "\n".join(text.splitlines()[-lines:]))
        return "\n".join(parts)


def _last_row(path: Path) -> dict[str, str]:
    """The last row of one of sipp's semicolon files by its column names."""
    with path.open(encoding="utf-8", newline="") as lines:
        rows = [row for row in csv.reader(lines, delimiter=";") if row]
    if len(rows) < 2:
        raise PeerError(f"{path.name} holds no row")
    return dict(zip(rows[0], rows[-1], strict=False))
