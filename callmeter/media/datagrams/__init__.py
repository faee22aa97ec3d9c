"""Ways to move datagrams, behind one interface; a feature test picks one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from callmeter.errors import ConfigurationError
from callmeter.media.datagrams import mmsg
from callmeter.media.datagrams.backend import Backend, Received
from callmeter.media.datagrams.mmsg import MmsgBackend
from callmeter.media.datagrams.portable import PortableBackend

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Backend", "MmsgBackend", "PortableBackend", "Received", "new_backend"]

_BACKENDS: dict[str, Callable[[], Backend]] = {
    "mmsg": MmsgBackend,
    "portable": PortableBackend,
}


def new_backend(name: str | None = None) -> Backend:
    """The back-end of this name; None takes the one that is cheapest for a port per stream.

    That is `portable`: a call into the C library through ctypes costs more than the socket
    module's own, and only pays when it moves many datagrams of one socket.

    Raises:
        ConfigurationError: The name is unknown, or the system lacks what it needs.
    """
    name = name or "portable"
    if name not in _BACKENDS or (name == "mmsg" and not mmsg.available()):
        raise ConfigurationError(f"no datagram back-end {name!r} on this system")
    return _BACKENDS[name]()
