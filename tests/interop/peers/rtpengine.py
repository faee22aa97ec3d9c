"""rtpengine: a media proxy that changes keys, told what to do by its `ng` protocol.

In user space, on loopback: it needs no kernel module.
"""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

from peers.program import HOST, PeerError, Program, free_ports

if TYPE_CHECKING:
    from pathlib import Path

MEDIA_PORTS = 40


class Rtpengine(Program):
    """A running rtpengine; `address` is where kamailio controls it."""

    name = "rtpengine"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.port = free_ports()
        # It picks of these at random: they are for it alone.
        self.media_port = free_ports(MEDIA_PORTS)

    @property
    def address(self) -> str:
        """Where it takes commands, by UDP."""
        return f"{HOST}:{self.port}"

    def start(self) -> None:
        self.spawn(
            [
                "rtpengine",
                "--foreground",
                "--config-file=none",
                "--table=-1",
                f"--interface={HOST}",
                f"--listen-ng={self.address}",
                f"--port-min={self.media_port}",
                f"--port-max={self.media_port + MEDIA_PORTS - 1}",
                "--num-threads=2",
                "--log-level=6",
                "--log-stderr",
                f"--pidfile={self.folder}/rtpengine.pid",
            ]
        )
        self.wait_until(self._answers)

    def _answers(self) -> bool:
        try:
            return self.request({"command": "ping"}, seconds=0.5) == {"result": "pong"}
        except OSError:
            return False

    def request(self, message: dict[str, object], *, seconds: float = 5) -> dict[str, object]:
        """One request of the `ng` protocol: a cookie, a blank, a bencoded dictionary."""
        cookie = os.urandom(6).hex().encode("ascii")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
            control.settimeout(seconds)
            control.connect((HOST, self.port))
            control.send(cookie + b" " + bencode(message))
            answer = control.recv(65_535)
        head, _, body = answer.partition(b" ")
        if head != cookie:
            raise PeerError(f"rtpengine answered another request: {answer[:40]!r}")
        found, _ = bdecode(body)
        if not isinstance(found, dict):
            raise PeerError(f"rtpengine answered {body!r}")
        return found


def bencode(value: object) -> bytes:
    """The bencoding of dictionaries, lists, strings and numbers."""
    match value:
        case int():
            return b"i%de" % value
        case str():
            return bencode(value.encode())
        case bytes():
            return b"%d:%s" % (len(value), value)
        case list():
            return b"l" + b"".join(map(bencode, value)) + b"e"
        case dict():
            items = (bencode(key) + bencode(value[key]) for key in sorted(value))
            return b"d" + b"".join(items) + b"e"
    raise TypeError(f"{type(value).__name__} has no bencoding")


def bdecode(text: bytes, at: int = 0) -> tuple[object, int]:
    """One bencoded value and where it ends."""
    kind = text[at : at + 1]
    if kind == b"i":
        end = text.index(b"e", at)
        return int(text[at + 1 : end]), end + 1
    if kind in {b"l", b"d"}:
        found, at = [], at + 1
        while text[at : at + 1] != b"e":
            value, at = bdecode(text, at)
            found.append(value)
        if kind == b"d":
            return dict(zip(found[::2], found[1::2], strict=True)), at + 1
        return found, at + 1
    colon = text.index(b":", at)
    end = colon + 1 + int(text[at:colon])
    return text[colon + 1 : end].decode("utf-8", "replace"), end
