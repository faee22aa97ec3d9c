"""Ways to move datagrams, behind one interface; a feature test picks one."""

from __future__ import annotations

from callmeter.errors import ConfigurationError
from callmeter.media.datagrams import mmsg
from callmeter.media.datagrams.backend import Backend, Received
from callmeter.media.datagrams.mmsg import MmsgBackend
from callmeter.media.datagrams.portable import PortableBackend

__all__ = ["Backend", "MmsgBackend", "PortableBackend", "Received", "new_backend"]

_NAMES = ("mmsg", "portable")


def new_backend(name: str | None = None, *, segmentation: bool = True) -> Backend:
    """The back-end of this name; None takes the one that is cheapest for a port per stream.

    That is `portable`: a call into the C library through ctypes costs more than the socket
    module's own, and only pays when it moves many datagrams of one socket.

    Args:
        name: `"mmsg"` or `"portable"`.
        segmentation: Let the kernel cut what goes to one address, where it can.

    Raises:
        ConfigurationError: The name is unknown, or the system lacks what it needs.
    """
    name = name or "portable"
    if name not in _NAMES or (name == "mmsg" and not mmsg.available()):
        raise ConfigurationError(f"no datagram back-end {name!r} on this system")
    return MmsgBackend(segmentation=segmentation) if name == "mmsg" else PortableBackend()
