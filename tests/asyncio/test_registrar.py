"""The embedded registrar on a socket."""

from __future__ import annotations

import asyncio
import socket
from contextlib import AsyncExitStack

import pytest

from callmeter.config import (
    Credentials,
    EndpointConfig,
    StackConfig,
    TlsConfig,
    TlsVerify,
    Transport,
)
from callmeter.endpoint import Endpoint
from callmeter.errors import ConnectionFailed, LocalProtocolError
from callmeter.metrics.phases import Outcome
from callmeter.stack import Stack
from callmeter.testing.certificates import Authority
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


# transports

TRANSPORTS = (Transport.UDP, Transport.TCP, Transport.TLS, Transport.WSS)


@pytest.fixture(scope="module")
def authority():
    return Authority()


@pytest.fixture
async def everywhere(authority):
    issued = authority.issue(LOOPBACK)
    tls = TlsConfig(certificate=issued.certificate, private_key=issued.private_key)
    accounts = {"alice": "wonderland", "bob": "builder"}
    async with Registrar(
        accounts, transports=TRANSPORTS, tls=tls, authenticate_calls=True
    ) as running:
        yield running


@pytest.fixture
async def phones(everywhere, authority):
    """Registered phones, each on a stack of its own; clients that accept no connection."""
    async with AsyncExitStack() as entered:

        async def phone(user: str, password: str, transport: Transport) -> Endpoint:
            stack = await entered.enter_async_context(Stack(StackConfig(bind=LOOPBACK)))
            config = EndpointConfig(
                everywhere.aor(user),
                Credentials(user, password),
                transport,
                outbound_proxy=everywhere.uri(transport),
                tls=TlsConfig(verify=TlsVerify.CUSTOM, ca=authority.pem),
            )
            endpoint = await entered.enter_async_context(Endpoint(config, stack))
            await entered.enter_async_context(endpoint.registered())
            return endpoint

        yield phone


@pytest.mark.parametrize("callee", TRANSPORTS)
@pytest.mark.parametrize("caller", TRANSPORTS)
async def test_calls_go_from_any_transport_to_any_and_so_do_later_requests(phones, caller, callee):
    alice = await phones("alice", "wonderland", caller)
    bob = await phones("bob", "builder", callee)
    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as tasks:
        answered = tasks.create_task(bob.next_call())
        call = await alice.invite(bob.aor)
        incoming = await answered
        await incoming.answer()
        await call.answered()
        await call.hold()
        await incoming.bye()
        await call.ended()
    assert call.report().outcome is Outcome.SUCCESS
    assert bob.messages.requests("INVITE").received()


async def test_it_tells_where_it_listens_and_where_not(everywhere, registrar):
    assert everywhere.uri(Transport.WSS).endswith(";transport=ws")
    assert everywhere.uri(Transport.TLS).endswith(";transport=tls")
    with pytest.raises(LocalProtocolError, match="does not listen by TLS"):
        registrar.uri(Transport.TLS)
    with pytest.raises(LocalProtocolError, match="enter the registrar"):
        Registrar({}).uri()


async def test_an_account_that_is_added_can_register(phones, everywhere):
    everywhere.add_account("carol", "christmas")
    carol = await phones("carol", "christmas", Transport.TLS)
    assert everywhere.contacts("carol") == [str(carol.contact)]


async def test_a_connection_that_ends_takes_nothing_else_along(phones, everywhere):
    alice = await phones("alice", "wonderland", Transport.TCP)
    alice.stack.transport.close()
    bob = await phones("bob", "builder", Transport.TCP)
    assert everywhere.contacts("bob") == [str(bob.contact)]


async def test_a_port_that_is_taken_is_told_without_a_group(registrar):
    with pytest.raises(ConnectionFailed):
        async with Registrar({}, port=registrar.address[1]):
            pass
