"""The embedded registrar on a socket."""

from __future__ import annotations

import asyncio
import socket

import pytest

from callmeter.errors import LocalProtocolError
from callmeter.testing.registrar import Registrar

LOOPBACK = "127.0.0.1"
PATIENCE = 20

OPTIONS = (
    "OPTIONS sip:{target} SIP/2.0\r\n"
    "Via: SIP/2.0/UDP 127.0.0.1:5060;branch=z9hG4bK1;rport\r\n"
    "From: <sip:x@127.0.0.1>;tag=1\r\n"
    "To: <sip:{target}>\r\n"
    "Call-ID: 1\r\n"
    "CSeq: 1 OPTIONS\r\n"
    "Max-Forwards: 70\r\n"
    "Content-Length: 0\r\n\r\n"
)


@pytest.fixture
def client():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound:
        bound.bind((LOOPBACK, 0))
        bound.settimeout(0)
        yield bound


async def answer(client) -> str:
    async with asyncio.timeout(PATIENCE):
        data = await asyncio.get_running_loop().sock_recv(client, 65_535)
    return data.decode()


async def test_it_answers_where_the_question_came_from(registrar, client):
    host, port = registrar.address
    client.sendto(OPTIONS.format(target=f"{host}:{port}").encode(), registrar.address)
    response = await answer(client)
    assert response.startswith("SIP/2.0 200 OK\r\n")
    assert f"rport={client.getsockname()[1]}" in response


async def test_what_cannot_be_read_is_refused_and_never_an_ack(registrar, client):
    bad = OPTIONS.format(target="x").replace("CSeq: 1 OPTIONS", "CSeq: one OPTIONS")
    client.sendto(bad.replace("OPTIONS", "ACK").encode(), registrar.address)
    client.sendto(b"\xff" * 30, registrar.address)
    client.sendto(b"\r\n\r\n", registrar.address)
    client.sendto(bad.encode(), registrar.address)
    assert (await answer(client)).startswith("SIP/2.0 400 ")
    assert registrar.dropped == 3


async def test_an_answer_that_cannot_be_sent_is_counted(registrar, client, monkeypatch):
    sent = asyncio.Event()

    class Refusing:
        local = registrar.address

        def send(self, data, hop):
            sent.set()
            raise LocalProtocolError("no")

        def close(self):
            transport.close()

    transport = registrar._transport
    monkeypatch.setattr(registrar, "_transport", Refusing())
    client.sendto(OPTIONS.format(target="127.0.0.1").encode(), registrar.address)
    async with asyncio.timeout(PATIENCE):
        await sent.wait()
    assert registrar.dropped == 1


async def test_a_phone_that_is_gone_is_counted(registrar, client, closed_port, until):
    bye = OPTIONS.replace("OPTIONS", "BYE").replace("<sip:{target}>", "<sip:{target}>;tag=2")
    client.sendto(bye.format(target=f"{LOOPBACK}:{closed_port}").encode(), registrar.address)
    await until(lambda: registrar.dropped)


async def test_it_has_to_be_entered_and_only_once():
    registrar = Registrar({"alice": "wonderland"})
    with pytest.raises(LocalProtocolError, match="enter the registrar first"):
        registrar.address  # noqa: B018  asked for its effect
    with pytest.raises(LocalProtocolError, match="enter the registrar first"):
        registrar.contacts("alice")
    async with registrar:
        with pytest.raises(LocalProtocolError, match="already running"):
            await registrar.__aenter__()
        assert registrar.contacts("alice") == []
        assert registrar.aor("alice") == f"sip:alice@127.0.0.1:{registrar.address[1]}"
    with pytest.raises(LocalProtocolError):
        registrar.aor("alice")
    await registrar.__aexit__(None, None, None)


async def test_what_is_still_to_be_sent_when_it_is_left_is_dropped(registrar):
    await registrar.__aexit__(None, None, None)
    registrar._send(None, None)


async def test_it_listens_on_ipv6():
    async with Registrar({"alice": "wonderland"}, host="::1") as registrar:
        assert registrar.aor("alice") == f"sip:alice@[::1]:{registrar.address[1]}"
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as client:
            client.bind(("::1", 0))
            client.settimeout(0)
            target = f"[::1]:{registrar.address[1]}"
            client.sendto(OPTIONS.format(target=target).encode(), registrar.address)
            assert (await answer(client)).startswith("SIP/2.0 200 OK\r\n")
