"""DTLS on the port of a stream: datagrams, deadlines, waiters."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from callmeter.errors import DtlsTimeout, TransportError
from callmeter.media.dtls_session import DtlsSession
from callmeter.rtp.demux import PacketKind
from callmeter.srtp.dtls_certificate import DtlsCertificate
from callmeter.srtp.dtls_endpoint import DtlsTransport

HERE, THERE = ("127.0.0.1", 4000), ("127.0.0.1", 5000)


@pytest.fixture(scope="module")
def certificate():
    return DtlsCertificate.generate(datetime.now(tz=UTC))


class Port:
    """Takes the place of a stream; datagrams go to `peer`, or nowhere."""

    def __init__(self, address):
        self.address = address
        self.control = None
        self.peer = None
        self.sent = []
        self.broken = False

    def set_control(self, control, *, rtcp):
        self.control, self.rtcp = control, rtcp

    def send_datagram(self, data, destination, *, rtcp):
        if self.broken:
            raise TransportError("the network is down")
        self.sent.append((data, destination, rtcp))
        if self.peer is not None:
            loop = asyncio.get_running_loop()
            loop.call_soon(self.peer.control, PacketKind.DTLS, data, self.address)


@pytest.fixture
async def ends(certificate):
    made = []

    def make(timeout=10.0, *, rtcp=False):
        for address in (HERE, THERE):
            port, keys, refused = Port(address), [], []
            transport = DtlsTransport(certificate, timeout=timeout)
            session = DtlsSession(port, transport, keys.append, refused.append, rtcp=rtcp)
            made.append(SimpleNamespace(port=port, session=session, keys=keys, refused=refused))
        made[0].port.peer, made[1].port.peer = made[1].port, made[0].port
        return made

    yield make
    for end in made:
        end.session.close()


@pytest.mark.parametrize("rtcp", [False, True])
async def test_two_ends_get_the_same_keys_and_their_port_is_named(ends, certificate, rtcp):
    client, server = ends(rtcp=rtcp)
    prints = (certificate.fingerprint(),)
    server.session.start("server", prints, HERE)
    waiting = asyncio.ensure_future(server.session.wait())  # noqa: TID251
    client.session.start("client", prints, THERE)
    async with asyncio.timeout(10):
        await waiting
        await client.session.wait()
    assert client.keys[0].send == server.keys[0].receive
    assert client.port.rtcp is rtcp
    assert {flag for _, _, flag in client.port.sent} == {rtcp}


async def test_a_handshake_that_nobody_answers_wakes_those_who_wait(ends, certificate):
    client, _ = ends(timeout=0.05)
    client.port.peer = None
    client.session.start("client", (certificate.fingerprint(),), THERE)
    with pytest.raises(DtlsTimeout):
        await client.session.wait()
    assert client.keys == []


async def test_a_handshake_in_the_call_that_fails_is_told_and_leaves_the_keys(ends, certificate):
    client, server = ends(timeout=0.3)
    prints = (certificate.fingerprint(),)
    server.session.start("server", prints, HERE)
    client.session.start("client", prints, THERE)
    async with asyncio.timeout(10):
        await client.session.wait()
        client.port.peer = None
        client.session.start("client", prints, THERE)
        while not client.refused:  # noqa: ASYNC110  there is no event
            await asyncio.sleep(0.005)
        await client.session.wait()
    assert isinstance(client.refused[0], DtlsTimeout)
    assert len(client.keys) == 1
    assert client.session.established


async def test_a_network_that_refuses_loses_the_datagram_and_nothing_else(ends, certificate):
    client, server = ends()
    client.port.broken = True
    prints = (certificate.fingerprint(),)
    server.session.start("server", prints, HERE)
    client.session.start("client", prints, THERE)
    client.port.broken = False
    async with asyncio.timeout(10):
        await client.session.wait()


async def test_closing_wakes_the_waiters_and_ends_the_clock(ends, certificate):
    client, _ = ends()
    client.port.peer = None
    client.session.start("client", (certificate.fingerprint(),), THERE)
    waiting = asyncio.ensure_future(client.session.wait())  # noqa: TID251
    given_up = asyncio.ensure_future(client.session.wait())  # noqa: TID251
    await asyncio.sleep(0)
    given_up.cancel()
    await asyncio.sleep(0)
    client.session.close()
    client.session.close()
    await waiting
    sent = len(client.port.sent)
    client.port.control(PacketKind.DTLS, b"\x16" * 40, THERE)
    client.port.control(PacketKind.STUN, b"\0" * 20, THERE)
    assert len(client.port.sent) == sent
    assert client.session._timer is None
