"""A program of somebody else, started for one test and ended by its process id."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

HOST = "127.0.0.1"
LOG_LINES = 120

FIRST_PORT, LAST_PORT = 10_000, 31_999  # below the range the system hands out by itself


def share(worker: str, workers: str) -> range:
    """The ports of one worker of pytest-xdist: no other one picks them meanwhile."""
    size = (LAST_PORT + 1 - FIRST_PORT) // int(workers)
    first = FIRST_PORT + size * int(worker.removeprefix("gw"))
    return range(first, first + size)


class PeerError(Exception):
    """A peer did not become ready, or ended too early; the message holds the end of its log."""


class Ports:
    """Gives out the ports of a range in turn, from the first one again after the last.

    Who asks need not take them at once, so what was given out a moment ago is not given again,
    free or not.

    Args:
        ports: The range.
        start: Place in the range to begin at.
        is_free: Whether nobody has a port.
    """

    def __init__(
        self, ports: range, start: int = 0, is_free: Callable[[int], bool] | None = None
    ) -> None:
        self._ports = ports
        self._next = start
        self._is_free = is_free or _is_free

    def take(self, count: int = 1) -> int:
        """The first of `count` ports in a row, even, all of them free.

        Raises:
            PeerError: There are none in the whole range.
        """
        for _ in self._ports:
            if self._next + count > len(self._ports):
                self._next = 0
            base = self._ports[self._next]
            row = range(base, base + count)
            if base % 2 or not all(map(self._is_free, row)):
                self._next += 1
                continue
            self._next += count
            return base
        raise PeerError(f"no {count} free ports in a row")


def _is_free(port: int) -> bool:
    for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
        with socket.socket(socket.AF_INET, kind) as probe:
            try:
                probe.bind((HOST, port))
            except OSError:
                return False
    return True


_ports = Ports(
    share(
        os.environ.get("PYTEST_XDIST_WORKER", "gw0"),
        os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"),
    ),
    os.getpid() * 64 % 4096,
)


def free_ports(count: int = 1) -> int:
    """The first of `count` ports in a row, even, free for UDP and TCP."""
    return _ports.take(count)


def udp_bound(port: int) -> bool:
    """Whether somebody has this UDP port, without touching it."""
    return bool(_udp_sockets(port))


def udp_unread(port: int) -> int:
    """Octets that wait at a UDP port, as the kernel counts them."""
    return sum(int(columns[4].rpartition(":")[2], 16) for columns in _udp_sockets(port))


def _udp_sockets(port: int) -> list[list[str]]:
    """The lines of the kernel's tables for this port."""
    lines = [
        line.split()
        for name in ("udp", "udp6")
        for line in Path(f"/proc/net/{name}").read_text(encoding="ascii").splitlines()[1:]
    ]
    return [columns for columns in lines if int(columns[1].rpartition(":")[2], 16) == port]


def tcp_listening(port: int, host: str = HOST) -> bool:
    """Whether somebody accepts connections on this TCP port."""
    with contextlib.suppress(OSError), socket.create_connection((host, port), timeout=1):
        return True
    return False


class Program:
    """One process in a group of its own; its folder holds configuration, output and log."""

    name = "program"

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.log = folder / f"{self.name}.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Write the configuration, start the process, return when it is ready."""
        raise TypeError(f"{type(self).__name__} says how it is started")

    def spawn(
        self,
        command: Sequence[str | os.PathLike[str]],
        environment: dict[str, str] | None = None,
        *,
        stdin: int = subprocess.DEVNULL,
    ) -> None:
        """Start the process; output goes to the log."""
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                command,
                cwd=self.folder,
                env=environment,
                stdin=stdin,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def write(self, line: str) -> None:
        """One line to its standard input, which was spawned as a pipe."""
        with contextlib.suppress(BrokenPipeError):  # it ended: `status` tells
            self._process.stdin.write(f"{line}\n".encode())
            self._process.stdin.flush()

    @property
    def status(self) -> int | None:
        """Exit status, None while it runs."""
        return None if self._process is None else self._process.poll()

    def wait_until(self, ready: Callable[[], bool], seconds: float = 30) -> None:
        """Block until `ready()`; for starting only, the event loop stands still meanwhile."""
        end = time.monotonic() + seconds
        while not ready():
            if self.status is not None:
                raise PeerError(f"{self.name} ended with {self.status}\n{self.tail()}")
            if time.monotonic() > end:
                raise PeerError(f"{self.name} was not ready in {seconds} s\n{self.tail()}")
            time.sleep(0.02)

    async def ended(self, seconds: float) -> int:
        """Wait for the end of the process; its exit status."""
        end = time.monotonic() + seconds
        while (status := self.status) is None:
            if time.monotonic() > end:
                raise PeerError(f"{self.name} still ran after {seconds} s\n{self.tail()}")
            await asyncio.sleep(0.02)
        return status

    def output(self) -> str:
        """The whole log."""
        return self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""

    def tail(self, lines: int = LOG_LINES) -> str:
        """The end of the log."""
        return "\n".join(self.output().splitlines()[-lines:])

    def stop(self, sign: signal.Signals = signal.SIGTERM) -> None:
        """End the process and what it forked: its group, nobody else."""
        process = self._process
        if process is None:
            return
        for attempt in (sign, signal.SIGKILL):
            if process.poll() is not None:
                break
            process.send_signal(attempt)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=5)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        if process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
