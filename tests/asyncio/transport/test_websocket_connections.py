"""WebSocket connections on loopback: against ourselves, and against the library's own ends."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from dataclasses import replace

import pytest
import trustme
from websockets.asyncio.client import connect
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed, InvalidStatus

from callmeter.config import ClientCertificates, TlsConfig, TlsVerify
from callmeter.errors import ConnectionFailed, TlsError
from callmeter.transport.tls_settings import TlsSettings
from callmeter.transport.websocket import (
    ClientWebSocket,
    ServerWebSocket,
    client_layers,
    server_layers,
)

LOOPBACK = "127.0.0.1"
PATIENCE = 20
SIP = ["sip"]
DOMAIN = "example.test"


def options(number=1, body=b""):
    return (
        b"OPTIONS sip:bob@example.com SIP/2.0\r\n"
        b"Via: SIP/2.0/WS a1b2.invalid;branch=z9hG4bK%d\r\n"
        b"From: <sip:alice@example.com>;tag=1\r\nTo: <sip:bob@example.com>\r\n"
        b"Call-ID: %d\r\nCSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\n"
        b"Content-Length: %d\r\n\r\n%b" % (number, number, len(body), body)
    )


@pytest.fixture
def make_side(make_side):
    """Sides of WebSocket; without layers of a server they do not listen."""

    def make(*, server=None, client=client_layers, name="WS", **limits):
        return make_side(
            listens=server is not None, server=server, client=client, name=name, **limits
        )

    return make


async def happens(condition):
    """Wait for what no event tells: a connection's own state."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110  see above
            await asyncio.sleep(0.02)


def plain():
    return server_layers(None)


@pytest.fixture
async def bob(make_side):
    """A server that sends every message back."""
    side = make_side(server=plain)
    side.user.answer = side.transport.send
    return side


@pytest.fixture
async def alice(make_side):
    return make_side()


@contextlib.asynccontextmanager
async def library_server(handle, **settings):
    """The library's own server; gives its port."""
    settings = {"subprotocols": SIP, **settings}
    async with serve(handle, LOOPBACK, 0, **settings) as server:
        yield next(iter(server.sockets)).getsockname()[1]


async def echo(websocket):
    async for message in websocket:
        await websocket.send(message)


@contextlib.asynccontextmanager
async def raw_server(handle, **settings):
    """A server of streams, for what no library does; ended with what it still runs."""
    tasks = set()

    async def run(reader, writer):
        tasks.add(asyncio.current_task())
        try:
            await handle(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(run, LOOPBACK, 0, **settings)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def accept(reader, writer):
    """The handshake of a server; the layer, to make frames with."""
    layer = ServerWebSocket()
    while not layer.established:
        writer.write(layer.receive(await reader.read(4096)).outgoing)
    return layer


# against ourselves


async def test_messages_go_both_ways_on_one_connection(alice, bob):
    for number in range(5):
        alice.transport.send(options(number), bob.hop)
    await alice.user.until(lambda: len(alice.user.messages) == 5)
    assert alice.user.messages == bob.user.messages == [options(number) for number in range(5)]
    assert len(alice.pool) == len(bob.pool) == 1


async def test_a_message_of_many_segments_arrives_whole(alice, bob):
    large = options(1, b"x" * 60_000)
    alice.transport.send(large, bob.hop)
    await alice.user.until(lambda: alice.user.messages)
    assert alice.user.messages == [large]


async def test_a_message_above_64_kib_ends_the_connection_at_both_ends(alice, bob):
    connection = await alice.opened(bob.hop)
    connection.send(b"OPTIONS " + b"x" * 70_000)
    await alice.user.until(lambda: alice.user.lost)
    await bob.user.until(lambda: bob.user.lost)
    assert "65536" in bob.user.lost[0][1]
    assert bob.user.messages == []


async def test_what_is_no_sip_message_is_an_error_and_the_next_one_counts(alice, bob):
    alice.transport.send(b"hello\r\n\r\n", bob.hop)
    alice.transport.send(options(), bob.hop)
    await bob.user.until(lambda: bob.user.messages)
    assert len(bob.user.syntax_errors) == 1


async def test_a_closed_pool_says_goodbye_in_websocket(alice, bob):
    await alice.opened(bob.hop)
    alice.pool.close()
    await bob.user.until(lambda: bob.user.lost)
    assert "closed by the peer: 1000" in bob.user.lost[0][1]


async def test_a_double_line_break_is_answered_as_on_any_stream(alice, bob):
    connection = await alice.opened(bob.hop)
    connection.pong_due = asyncio.get_running_loop().time() + PATIENCE
    connection.send(b"\r\n\r\n")
    connection.send(options())
    await alice.user.until(lambda: alice.user.messages)
    assert connection.pong_due is None


async def test_pings_keep_a_connection_that_says_nothing_else(make_side, bob):
    alice = make_side(keep_alive=0.01, pong=PATIENCE)
    connection = await alice.opened(bob.hop)
    pings = []
    send_ping = connection._layers[0].ping

    def ping():
        pings.append(connection.ping_at)
        return send_ping()

    connection._layers[0].ping = ping
    connection.keep_alive(asyncio.get_running_loop().time())
    await happens(lambda: len(pings) == 2)
    await happens(lambda: connection.pong_due is None)
    assert not alice.user.lost
    assert bob.user.messages == []


async def test_a_peer_that_answers_no_ping_is_lost(make_side):
    async def deaf(reader, writer):
        await accept(reader, writer)
        while await reader.read(4096):
            pass

    alice = make_side(pong=0.1)
    async with raw_server(deaf) as port:
        connection = await alice.opened(alice.hop_to(port))
        connection.keep_alive(asyncio.get_running_loop().time())
        await alice.user.until(lambda: alice.user.lost)
    assert "no pong came" in alice.user.lost[0][1]


async def test_a_message_that_is_never_finished_ends_the_connection(make_side, alice):
    bob = make_side(server=plain, message=0.2)
    reader, writer = await asyncio.open_connection(LOOPBACK, bob.port)
    client = ClientWebSocket(bob.hop)
    writer.write(client.start())
    client.receive(await reader.read(4096))
    writer.write(client.send(options())[:-1])
    await bob.user.until(lambda: bob.user.lost)
    assert "a message was not whole in 0.2 s" in bob.user.lost[0][1]
    writer.close()


async def test_a_peer_that_pings_and_never_reads_is_cut_off(make_side):
    bob = make_side(server=plain, write_queue=10_000)
    reader, writer = await asyncio.open_connection(LOOPBACK, bob.port, limit=4096)
    client = ClientWebSocket(bob.hop)
    writer.write(client.start())
    client.receive(await reader.readuntil(b"\r\n\r\n"))
    ping = b"\x89\xfd" + bytes(4 + 125)
    with contextlib.suppress(ConnectionError):
        async with asyncio.timeout(PATIENCE):
            while not bob.user.lost:
                writer.write(ping * 2_000)
                await writer.drain()
    await bob.user.until(lambda: bob.user.lost)
    assert "the peer does not read" in bob.user.lost[0][1]
    writer.close()


async def test_a_request_for_another_path_is_told_at_both_ends(make_side, bob):
    alice = make_side(client=lambda hop: client_layers(hop, resource="/other"))
    with pytest.raises(ConnectionFailed, match="does not support WebSocket at /other: 404"):
        await alice.opened(bob.hop)
    assert len(bob.pool) == len(alice.pool) == 0


async def test_an_unfinished_handshake_is_closed_in_time(make_side):
    bob = make_side(server=plain, accept_handshake=0.2)
    reader, writer = await asyncio.open_connection(LOOPBACK, bob.port)
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n")
    async with asyncio.timeout(PATIENCE):
        assert await reader.read() == b""
    assert len(bob.pool) == 0
    writer.close()


async def test_a_server_that_never_answers_the_handshake_is_named(make_side):
    async def silent(reader, writer):
        await reader.read()

    alice = make_side(connect=0.2)
    async with raw_server(silent) as port:
        alice.transport.send(options(), alice.hop_to(port))
        await alice.user.until(lambda: alice.user.unreachable)
    [(hop, error)] = alice.user.unreachable
    assert hop.port == port
    assert "no answer to the WebSocket handshake: timed out after 0.2 s" in error


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"", "server does not support WebSocket: it closed the connection"),
        (b"SIP/2.0 400 Bad Request\r\n\r\n", "it does not speak HTTP"),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 9\r\n\r\nNot here.", "404 Not Found"),
    ],
)
async def test_a_server_without_websocket_is_told_in_words(alice, answer, words):
    async def other(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)

    async with raw_server(other) as port:
        with pytest.raises(ConnectionFailed, match=words):
            await alice.opened(alice.hop_to(port))


# against the library's own ends


async def test_the_librarys_server_takes_and_sends_messages(alice):
    async with library_server(echo) as port:
        alice.transport.send(options(1), alice.hop_to(port))
        alice.transport.send(options(2, b"caf\xe9"), alice.hop_to(port))
        await alice.user.until(lambda: len(alice.user.messages) == 2)
    assert alice.user.messages == [options(1), options(2, b"caf\xe9")]


async def test_text_goes_as_text_and_the_rest_as_binary(alice):
    kinds = []

    async def keep(websocket):
        async for message in websocket:
            kinds.append(type(message))
            await websocket.send(message)

    async with library_server(keep) as port:
        alice.transport.send(options(1, "café".encode()), alice.hop_to(port))
        alice.transport.send(options(2, b"caf\xe9"), alice.hop_to(port))
        await alice.user.until(lambda: len(alice.user.messages) == 2)
    assert kinds == [str, bytes]


async def test_a_fragmented_message_of_the_librarys_server_arrives_whole(alice):
    async def send(websocket):
        await websocket.send([options()[:10].decode(), options()[10:].decode()])
        await websocket.wait_closed()

    async with library_server(send) as port:
        await alice.opened(alice.hop_to(port))
        await alice.user.until(lambda: alice.user.messages)
    assert alice.user.messages == [options()]


async def test_a_server_without_the_subprotocol_is_refused(alice):
    async with library_server(echo, subprotocols=None) as port:
        with pytest.raises(ConnectionFailed, match="peer does not speak SIP over WebSocket"):
            await alice.opened(alice.hop_to(port))


async def test_a_server_of_another_subprotocol_says_400(alice):
    async with library_server(echo, subprotocols=["msrp"]) as port:
        with pytest.raises(ConnectionFailed, match="400 Bad Request"):
            await alice.opened(alice.hop_to(port))


async def test_the_librarys_server_answers_our_ping_and_we_its(make_side):
    ponged = asyncio.Event()

    async def ping(websocket):
        await (await websocket.ping())
        ponged.set()
        await websocket.wait_closed()

    alice = make_side(keep_alive=60.0)
    async with library_server(ping) as port, asyncio.timeout(PATIENCE):
        connection = await alice.opened(alice.hop_to(port))
        await ponged.wait()
        connection.keep_alive(0.0)
        await happens(lambda: connection.ping_at > 0.0)
        next_ping = connection.ping_at - asyncio.get_running_loop().time()
        assert 20 < next_ping <= 30
        await happens(lambda: connection.pong_due is None)


async def test_the_goodbye_of_the_librarys_server_is_told_with_its_code(alice):
    async def leave(websocket):
        await websocket.close(1001, "shutting down")

    async with library_server(leave) as port:
        alice.transport.connection(alice.hop_to(port))
        await alice.user.until(lambda: alice.user.lost)
    assert "closed by the peer: 1001 (going away) shutting down" in alice.user.lost[0][1]


async def test_the_librarys_client_speaks_with_our_server(bob):
    async with connect(f"ws://{LOOPBACK}:{bob.port}/", subprotocols=SIP) as websocket:
        assert websocket.subprotocol == "sip"
        assert websocket.protocol.extensions == []
        await websocket.send(options().decode())
        assert await websocket.recv() == options().decode()
        await websocket.send([options(2)[:7], options(2)[7:]])
        assert await websocket.recv(decode=False) == options(2)
        async with asyncio.timeout(PATIENCE):
            await (await websocket.ping())
    await bob.user.until(lambda: bob.user.lost)
    assert "closed by the peer: 1000" in bob.user.lost[0][1]


@pytest.mark.parametrize(
    ("path", "subprotocols", "status"), [("/", None, 400), ("/", ["msrp"], 400), ("/x", SIP, 404)]
)
async def test_the_librarys_client_reads_why_it_is_refused(bob, path, subprotocols, status):
    with pytest.raises(InvalidStatus) as caught:
        await connect(f"ws://{LOOPBACK}:{bob.port}{path}", subprotocols=subprotocols)
    assert caught.value.response.status_code == status


async def test_the_librarys_client_is_told_what_was_too_big(bob):
    async with connect(f"ws://{LOOPBACK}:{bob.port}/", subprotocols=SIP) as websocket:
        await websocket.send(["x" * 65_536, "x"])
        with pytest.raises(ConnectionClosed) as caught:
            await websocket.recv()
    assert caught.value.rcvd.code == 1009


async def test_an_origin_that_is_not_welcome_is_forbidden(make_side):
    side = make_side(server=lambda: server_layers(None, origins=["https://example.com"]))
    where = f"ws://{LOOPBACK}:{side.port}/"
    async with connect(where, subprotocols=SIP, origin="https://example.com"):
        pass
    with pytest.raises(InvalidStatus) as caught:
        await connect(where, subprotocols=SIP, origin="https://evil.example")
    assert caught.value.response.status_code == 403


# over TLS


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture(scope="module")
def server_config(authority):
    own = authority.issue_cert(DOMAIN)
    return TlsConfig(
        ca=authority.cert_pem.bytes().decode(),
        certificate=b"".join(pem.bytes() for pem in own.cert_chain_pems).decode(),
        private_key=own.private_key_pem.bytes().decode(),
    )


@pytest.fixture(scope="module")
def trusting(authority):
    config = TlsConfig(verify=TlsVerify.CUSTOM, ca=authority.cert_pem.bytes().decode())
    return TlsSettings.of(config)


@pytest.fixture
async def secure_bob(make_side, server_config):
    settings = TlsSettings.of(server_config)
    side = make_side(name="WSS", server=lambda: server_layers(settings))
    side.user.answer = side.transport.send
    return side


@pytest.fixture
async def secure_alice(make_side, trusting):
    return make_side(name="WSS", client=lambda hop: client_layers(hop, trusting))


async def test_messages_go_both_ways_over_tls(secure_alice, secure_bob):
    large = options(2, b"x" * 60_000)
    for message in (options(1), large):
        secure_alice.transport.send(message, secure_bob.hop_to(secure_bob.port, DOMAIN))
    await secure_alice.user.until(lambda: len(secure_alice.user.messages) == 2)
    assert secure_alice.user.messages == [options(1), large]
    secure_alice.pool.close()
    await secure_bob.user.until(lambda: secure_bob.user.lost)
    assert "closed by the peer: 1000" in secure_bob.user.lost[0][1]


async def test_a_server_of_another_name_is_refused_before_the_websocket(secure_alice, secure_bob):
    with pytest.raises(TlsError) as caught:
        await secure_alice.opened(secure_bob.hop_to(secure_bob.port, "other.test"))
    assert caught.value.kind == "name_mismatch"


async def test_a_server_without_tls_is_told_from_one_without_websocket(secure_alice, bob):
    with pytest.raises(TlsError, match="peer does not speak TLS"):
        await secure_alice.opened(secure_alice.hop_to(bob.port, DOMAIN))


async def test_a_tls_server_without_websocket_is_told_from_one_without_tls(
    secure_alice, server_context
):
    async def other(reader, writer):
        await reader.readuntil(b"\r\n\r\n")

    # In TLS 1.3 this cannot be told from a late refusal of the client's certificate.
    server_context.maximum_version = ssl.TLSVersion.TLSv1_2
    async with raw_server(other, ssl=server_context) as port:
        with pytest.raises(ConnectionFailed, match="server does not support WebSocket: it closed"):
            await secure_alice.opened(secure_alice.hop_to(port, DOMAIN))


async def test_a_missing_client_certificate_is_told_as_such(make_side, secure_alice, server_config):
    strict = replace(server_config, client_certificates=ClientCertificates.REQUIRED)
    settings = TlsSettings.of(strict)
    bob = make_side(name="WSS", server=lambda: server_layers(settings))
    with pytest.raises(TlsError) as caught:
        await secure_alice.opened(bob.hop_to(bob.port, DOMAIN))
    assert caught.value.kind == "client_cert_rejected"


@pytest.fixture
def server_context(server_config, tmp_path):
    """The standard library's own TLS server."""
    pem = tmp_path / "server.pem"
    pem.write_text(server_config.certificate + server_config.private_key, encoding="ascii")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pem)
    return context


async def test_the_librarys_server_over_tls_takes_and_sends_messages(secure_alice, server_context):
    async with library_server(echo, ssl=server_context) as port:
        hop = secure_alice.hop_to(port, DOMAIN)
        secure_alice.transport.send(options(), hop)
        await secure_alice.user.until(lambda: secure_alice.user.messages)
    assert secure_alice.user.messages == [options()]


async def test_the_librarys_client_over_tls_speaks_with_our_server(secure_bob, authority):
    context = ssl.create_default_context()
    authority.configure_trust(context)
    where = f"wss://{LOOPBACK}:{secure_bob.port}/"
    async with connect(where, subprotocols=SIP, ssl=context, server_hostname=DOMAIN) as websocket:
        await websocket.send(options().decode())
        assert await websocket.recv() == options().decode()
