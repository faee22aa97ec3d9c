"""Ways to move datagrams, behind one interface; a feature test picks one."""

from __future__ import annotations

from callmeter.errors import ConfigurationError
from callmeter.media.datagrams import mmsg, uring
from callmeter.media.datagrams.backend import Backend, Received
from callmeter.media.datagrams.mmsg import MmsgBackend
from callmeter.media.datagrams.portable import PortableBackend
from callmeter.media.datagrams.uring import UringBackend

__all__ = [
    "Backend",
    "MmsgBackend",
    "PortableBackend",
    "Received",
    "UringBackend",
    "new_backend",
]

_AVAILABLE = {"mmsg": mmsg.available, "portable": lambda: True, "uring": uring.available}


def new_backend(
    name: str | None = None, *, segmentation: bool = True, io_uring: bool = True
) -> Backend:
    """The back-end of this name; None takes the one that is cheapest for a port per stream.

    That is `uring`, where there is one, and else `portable`: a call into the C library through
    ctypes costs more than the socket module's own, and only pays when it moves many datagrams.

    Args:
        name: `"mmsg"`, `"portable"` or `"uring"`.
        segmentation: Let the kernel cut what goes to one address, where it can.
        io_uring: Whether what is cheapest may be `uring`.

    Raises:
        ConfigurationError: The name is unknown, or the system lacks what it needs.
    """
    if name is None:
        name = "uring" if io_uring and uring.available() else "portable"
    if name not in _AVAILABLE or not _AVAILABLE[name]():
        raise ConfigurationError(f"no datagram back-end {name!r} on this system")
    if name == "uring":
        return UringBackend(segmentation=segmentation)
    return MmsgBackend(segmentation=segmentation) if name == "mmsg" else PortableBackend()
