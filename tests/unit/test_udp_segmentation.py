"""UDP GSO: what the kernel can."""

from __future__ import annotations

import errno
import socket

from callmeter.udp_segmentation import can_cut


def test_an_old_kernel_is_not_asked_to_cut(monkeypatch):
    class OldSocket(socket.socket):
        def setsockopt(self, *_):
            raise OSError(errno.ENOPROTOOPT, "Protocol not available")

    assert can_cut()
    monkeypatch.setattr(socket, "socket", OldSocket)
    assert not can_cut()
