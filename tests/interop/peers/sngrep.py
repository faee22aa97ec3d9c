"""sngrep: takes HEP packets as a collector does, and writes what it understood as a capture."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from peers.program import HOST, Program, free_ports, udp_bound

if TYPE_CHECKING:
    from pathlib import Path


class Sngrep(Program):
    """sngrep without its screen; `file` is whole once it has ended."""

    name = "sngrep"

    def __init__(self, folder: Path, *, password: str | None = None) -> None:
        super().__init__(folder)
        self.port = free_ports()
        self.password = password
        self.file = folder / "heard.pcap"

    def start(self) -> None:
        settings = self.folder / "sngreprc"
        password = f"set eep.listen.pass {self.password}\n" if self.password else ""
        settings.write_text(f"set eep.listen.version 3\n{password}", encoding="ascii")
        listen = f"udp:{HOST}:{self.port}"
        self.spawn(
            ["sngrep", "-N", "-q", "-F", "-f", settings, "-L", listen, "-O", self.file],
            {"TERM": "dumb", "HOME": str(self.folder)},
        )
        self.wait_until(lambda: udp_bound(self.port))

    def stop(self, sign: signal.Signals = signal.SIGINT) -> None:
        """End it; SIGINT makes it write what it still holds."""
        super().stop(sign)
