"""Datagrams to a collector over a real socket."""

from __future__ import annotations

import socket

import pytest

from callmeter.errors import ConnectionFailed
from callmeter.transport.datagram_export import DatagramExport


@pytest.fixture(params=["127.0.0.1", "::1"])
def collector(request):
    family = socket.AF_INET6 if ":" in request.param else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as bound:
        bound.bind((request.param, 0))
        bound.settimeout(0)
        yield bound


def test_what_is_sent_arrives_and_what_is_too_long_is_counted(collector):
    export = DatagramExport(collector.getsockname()[:2])
    export.send(b"HEP3")
    export.send(None)
    export.send(bytes(70_000))
    assert collector.recv(100) == b"HEP3"
    assert (export.sent, export.dropped) == (1, 2)
    export.close()


def test_without_a_route_there_is_no_export():
    with pytest.raises(ConnectionFailed, match="no datagram can be sent"):
        DatagramExport(("255.255.255.255", 9060))
