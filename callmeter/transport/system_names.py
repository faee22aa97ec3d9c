"""What the machine knows about names by itself: its hosts file and its name servers."""

from __future__ import annotations

import asyncio
import ipaddress
from pathlib import Path
from typing import TYPE_CHECKING

from callmeter.config import MAX_PORT
from callmeter.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["NameServer", "SystemNames", "parse_name_server"]

NameServer = tuple[str, int]
"""IP address or host name, and port."""

DNS_PORT = 53
HOSTS = Path("/etc/hosts")
RESOLV_CONF = Path("/etc/resolv.conf")
CHECK_S = 5.0
"""Changed files are noticed after at most so long."""
MAX_FILE = 8 * 1024 * 1024
_LOOPBACK = {"A": ("127.0.0.1",), "AAAA": ("::1",)}


class SystemNames:
    """The hosts file and the name servers of resolv.conf; both are read again when they change.

    Args:
        hosts: The hosts file.
        resolv_conf: The file that names the name servers.
    """

    def __init__(self, hosts: Path = HOSTS, resolv_conf: Path = RESOLV_CONF) -> None:
        self._paths = (hosts, resolv_conf)
        self._stamps: list[tuple[int, int] | None] | None = None
        self._checked: float | None = None
        self._hosts: dict[str, list[str]] = {}
        self.servers: tuple[NameServer, ...] = ()

    async def refresh(self, now: float) -> None:
        """Read the files if they may have changed; in a thread, for a block list is long."""
        if self._checked is not None and now - self._checked < CHECK_S:
            return
        self._checked = now
        stamps = [_stamp(path) for path in self._paths]
        if stamps != self._stamps:
            self._hosts, self.servers = await asyncio.to_thread(_read, *self._paths)
            self._stamps = stamps

    def knows(self, name: str) -> bool:
        """Whether this name is no business of the DNS (localhost: RFC 6761 section 6.3)."""
        return _is_localhost(name) or name in self._hosts

    def addresses(self, name: str, family: str) -> tuple[str, ...]:
        """Addresses of a name it `knows`; `family` is `"A"` or `"AAAA"`."""
        found = self._hosts.get(name)
        if found is None:
            return _LOOPBACK[family] if _is_localhost(name) else ()
        return tuple(address for address in found if (":" in address) == (family == "AAAA"))


def parse_name_server(text: str) -> NameServer:
    """`"host"`, `"host:port"`, `"[IPv6]:port"` or a bare IPv6 address.

    Raises:
        ConfigurationError: It is none of these.
    """
    host, port = text, ""
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        colon, port = rest[:1], rest[1:]
        well = bool(bracket) and (not rest or colon == ":")
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
        well = bool(port)
    else:
        well = ":" not in text or _is_address(text)
    if not well or not host or not host.isascii() or any(c in host for c in " \r\n\0/"):
        raise ConfigurationError(f"{text!r} is no name server: 'host' or 'host:port'")
    if not port:
        return host, DNS_PORT
    digits = port.isascii() and port.isdigit() and len(port) <= len(str(MAX_PORT))
    number = int(port) if digits else 0
    if not 0 < number <= MAX_PORT:
        raise ConfigurationError(f"the port of name server {text[:80]!r} is 1 to {MAX_PORT}")
    return host, number


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size


def _read(hosts: Path, resolv_conf: Path) -> tuple[dict[str, list[str]], tuple[NameServer, ...]]:
    table: dict[str, list[str]] = {}
    for address, *names in _lines(hosts):
        if _is_address(address):
            for name in names:
                table.setdefault(name.lower().removesuffix("."), []).append(address)
    servers = [
        (words[1], DNS_PORT)
        for words in _lines(resolv_conf)
        if words[0] == "nameserver" and len(words) > 1 and _is_address(words[1])
    ]
    return table, tuple(dict.fromkeys(servers))


def _lines(path: Path) -> Iterable[list[str]]:
    try:
        with path.open("rb") as file:
            text = file.read(MAX_FILE).decode("ascii", "replace")
    except OSError:
        return
    for line in text.splitlines():
        if words := line.partition("#")[0].split():
            yield words


def _is_localhost(name: str) -> bool:
    return name == "localhost" or name.endswith(".localhost")


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
