"""The transport layer: which socket a message leaves from, and where a URI leads."""

from __future__ import annotations

import asyncio
import socket

import pytest

from callmeter.config import StackConfig, TlsConfig, TlsVerify, Transport
from callmeter.errors import ConfigurationError, ConnectionFailed, ResolutionFailed, TlsError
from callmeter.sip.transaction.effects import Hop
from callmeter.sip.uri import parse_uri
from callmeter.testing.certificates import Authority
from callmeter.transport.layer import Route, TransportLayer

LOOPBACK = "127.0.0.1"
PATIENCE = 20
EVERY = (Transport.UDP, Transport.TCP, Transport.TLS, Transport.WSS)


class User:
    """Keeps what arrives on any transport."""

    def __init__(self):
        self.arrived = []
        self.something = asyncio.Event()

    def on_datagram(self, data, source):
        self.arrived.append((data, source))
        self.something.set()

    def on_message(self, message, data, source):
        self.on_datagram(data, source)

    def on_syntax_error(self, error, source):
        pytest.fail(f"{source}: {error}")

    def on_unreachable(self, destination, error):
        pytest.fail(f"{destination}: {error}")

    def on_flow_lost(self, flow, error):
        pass

    async def one(self):
        async with asyncio.timeout(PATIENCE):
            while not self.arrived:
                self.something.clear()
                await self.something.wait()
        return self.arrived.pop(0)


@pytest.fixture(scope="module")
def authority():
    return Authority()


@pytest.fixture
def own_tls(authority):
    issued = authority.issue("localhost", LOOPBACK)
    return TlsConfig(certificate=issued.certificate, private_key=issued.private_key)


@pytest.fixture
def trusting(authority):
    return TlsConfig(verify=TlsVerify.CUSTOM, ca=authority.pem)


@pytest.fixture
async def make_layer():
    made = []
    async with asyncio.TaskGroup() as tasks:

        def make(*, start=True, bind=LOOPBACK, **settings):
            user = User()
            config = StackConfig(bind=bind, **settings)
            layer = TransportLayer(asyncio.get_running_loop(), user, config, tasks)
            made.append(layer)
            if start:
                layer.start()
            return layer, user

        yield make
        for layer in made:
            layer.close()


def hop_of(server, transport, **more):
    return Hop(transport, LOOPBACK, server.listening(transport)[1], **more)


# listening


async def test_udp_and_tcp_take_the_same_port(make_layer):
    layer, _ = make_layer()
    assert layer.listening("UDP") == layer.listening("TCP")
    assert layer.listening_anywhere() == layer.listening("UDP")


async def test_another_port_is_picked_while_tcp_does_not_get_that_of_udp(make_layer):
    with socket.socket() as taken:
        taken.bind((LOOPBACK, 0))
        taken.listen()
        port = taken.getsockname()[1]
        layer, _ = make_layer(start=False)
        picked = []
        listen = layer._listen

        def first_the_taken_one(wanted):
            picked.append(wanted)
            listen(port if len(picked) == 1 else wanted)

        layer._listen = first_the_taken_one
        layer.start()
    assert len(picked) == 2
    assert layer.listening("UDP")[1] == layer.listening("TCP")[1] != port


async def test_a_port_that_was_asked_for_is_not_replaced(make_layer, same_port):
    datagrams, taken = same_port
    taken.listen()
    port = taken.getsockname()[1]
    layer, _ = make_layer(start=False, port=port)
    datagrams.close()
    with pytest.raises(ConnectionFailed, match=f"TCP {LOOPBACK}:{port}"):
        layer.start()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free_again:
        free_again.bind((LOOPBACK, port))


@pytest.mark.parametrize("transport", [Transport.TLS, Transport.WSS])
async def test_a_server_without_a_certificate_does_not_start(make_layer, transport):
    layer, _ = make_layer(start=False, transports=(transport,))
    with pytest.raises(ConfigurationError, match="certificate"):
        layer.start()


async def test_what_is_not_wanted_is_not_open(make_layer):
    layer, _ = make_layer(transports=(Transport.TCP,))
    assert layer.listening_anywhere() == layer.listening("TCP")
    assert layer.first_listening() == "TCP"
    assert layer.listening("TLS") == (LOOPBACK, 0)
    with pytest.raises(ConnectionFailed, match="no UDP transport is open"):
        layer.send(b"x", Hop("UDP", LOOPBACK, 5060))
    with pytest.raises(ConnectionFailed, match="no UDP transport is open"):
        layer.datagram_sender()(b"x", Hop("UDP", LOOPBACK, 5060))
    layer.close()
    assert layer.listening_anywhere() == (LOOPBACK, 0)
    assert layer.first_listening() == "UDP"


# sending


@pytest.mark.parametrize("name", ["UDP", "TCP", "TLS", "WSS"])
async def test_a_message_and_its_answer_travel_by_every_transport(
    make_layer, own_tls, trusting, options, name
):
    server, served = make_layer(transports=EVERY, tls=own_tls)
    client, user = make_layer(transports=(Transport.UDP,))
    secure = name in {"TLS", "WSS"}
    more = {"name": "localhost", "tls": client.tls_number(trusting)} if secure else {}
    hop = hop_of(server, name, **more)
    assert client.ready(hop) is (name in {"UDP", "WSS"})
    await client.connect(hop)
    assert client.ready(hop)
    client.send(options(1), hop)
    data, source = await served.one()
    assert data == options(1)
    assert source.transport == name
    server.send(options(2), source)
    assert (await user.one())[0] == options(2)
    assert server.alive(source) is (name != "UDP")
    assert client.address_towards(hop) == LOOPBACK
    told = client.tls_of(hop)
    assert (told is not None) is secure
    if told is not None:
        assert told.version == "TLSv1.3"
        assert told.cipher
        assert told.verified
        assert told.certificate
        assert client.tls_of(Hop(name, LOOPBACK, 1)) is None
        taken = server.tls_of(source)
        assert taken is not None
        assert not taken.certificate


async def test_without_settings_a_server_is_held_against_the_systems_authorities(
    make_layer, own_tls
):
    server, _ = make_layer(transports=EVERY, tls=own_tls)
    client, _ = make_layer()
    with pytest.raises(TlsError):
        await client.connect(hop_of(server, "TLS"))


async def test_a_client_certificate_counts_for_whoever_trusts_the_same_authority(
    make_layer, trusting, authority
):
    layer, _ = make_layer()
    ours = layer.tls_number(trusting)
    listener = layer.tls_number(TlsConfig(ca=authority.pem))
    stranger = layer.tls_number(TlsConfig(ca=Authority().pem))
    system = layer.tls_number(TlsConfig())
    assert layer._trust_alike(ours, listener)
    assert layer._trust_alike(system, system)
    assert not layer._trust_alike(ours, stranger)
    assert not layer._trust_alike(system, listener)
    assert not layer._trust_alike(None, listener)


async def test_equal_tls_settings_share_a_number_and_others_do_not(make_layer, trusting):
    layer, _ = make_layer()
    assert layer.tls_number(TlsConfig()) == layer.tls_number(TlsConfig())
    assert layer.tls_number(TlsConfig()) != layer.tls_number(trusting)


# own addresses


async def test_the_own_address_is_the_one_that_listens(make_layer):
    layer, _ = make_layer()
    for name in ("UDP", "TCP"):
        assert layer.local_towards(Hop(name, LOOPBACK, 5060)) == layer.listening(name)
    assert layer.address_towards(Hop("UDP", LOOPBACK, 5060)) == LOOPBACK


async def test_bound_to_every_address_the_routing_table_names_one_and_is_asked_once(
    make_layer, monkeypatch
):
    layer, _ = make_layer(bind="0.0.0.0")
    hop = Hop("UDP", "127.0.0.9", 5060)
    assert layer.local_towards(hop) == (LOOPBACK, layer.listening()[1])
    monkeypatch.setattr("callmeter.transport.layer.local_address_towards", None)
    assert layer.address_towards(hop) == LOOPBACK


async def test_before_anything_was_sent_an_address_is_named_that_can_be_called(
    make_layer, monkeypatch
):
    layer, _ = make_layer(bind="0.0.0.0")
    port = layer.listening()[1]
    assert layer.reachable_at("127.0.0.9") == (LOOPBACK, port)

    def only_outside(host, _port):
        if host != "192.0.2.1":
            raise ConnectionFailed("no route")
        return "203.0.113.5"

    monkeypatch.setattr("callmeter.transport.layer.local_address_towards", only_outside)
    assert layer.reachable_at("example.com") == ("203.0.113.5", port)
    assert layer.reachable_at("[::1]") == ("203.0.113.5", port)
    monkeypatch.setattr("callmeter.transport.layer.ROUTE_S", 0)

    def nowhere(host, _port):
        raise ConnectionFailed(f"no route to {host}")

    layer, _ = make_layer(bind="0.0.0.0")
    monkeypatch.setattr("callmeter.transport.layer.local_address_towards", nowhere)
    assert layer.reachable_at("example.com") == (LOOPBACK, layer.listening()[1])


async def test_who_is_bound_to_one_address_is_reached_there(make_layer):
    layer, _ = make_layer()
    assert layer.reachable_at("203.0.113.1") == layer.listening()


async def test_the_routing_table_is_asked_again_when_its_word_is_old(make_layer, monkeypatch):
    layer, _ = make_layer(bind="0.0.0.0")
    hop = Hop("UDP", "192.0.2.1", 5060)
    words = iter(["192.0.2.10", "192.0.2.11"])
    ask = lambda host, port: next(words)
    monkeypatch.setattr("callmeter.transport.layer.local_address_towards", ask)
    monkeypatch.setattr("callmeter.transport.layer.ROUTE_S", 0)
    assert [layer.address_towards(hop) for _ in "12"] == ["192.0.2.10", "192.0.2.11"]


async def test_what_is_known_of_routes_is_bounded(make_layer, monkeypatch):
    layer, _ = make_layer(bind="0.0.0.0")
    monkeypatch.setattr("callmeter.transport.layer.ROUTES", 2)
    for last in range(1, 8):
        assert layer.address_towards(Hop("UDP", f"127.0.0.{last}", 5060)) == LOOPBACK
        assert len(layer._routes) <= 2


async def test_who_does_not_listen_is_reached_by_its_connection(make_layer):
    server, _ = make_layer()
    client, _ = make_layer(transports=(Transport.UDP,))
    hop = hop_of(server, "TCP")
    with pytest.raises(ConnectionFailed, match="not connected"):
        client.local_towards(hop)
    await client.connect(hop)
    connection = client.pool.find(hop)
    assert client.local_towards(hop) == connection.local
    assert client.address_towards(hop) == LOOPBACK


async def test_a_websocket_client_has_a_name_that_cannot_be_called(make_layer):
    """RFC 7118 section 5: a domain name under .invalid."""
    layer, _ = make_layer()
    host, port = layer.local_towards(Hop("WSS", LOOPBACK, 443))
    assert host.endswith(".invalid")
    assert port == 0
    assert layer.local_towards(Hop("WSS", "127.0.0.2", 443)) == (host, 0)


# where a URI leads


async def test_a_number_is_known_at_once_and_its_certificate_has_to_name_it(make_layer, trusting):
    layer, _ = make_layer()
    number = layer.tls_number(trusting)
    uri = parse_uri(f"sip:bob@{LOOPBACK}:5070")
    plain = layer.known(Route(uri, Transport.TCP, number))
    assert plain.hops == (Hop("TCP", LOOPBACK, 5070),)
    secure = layer.known(Route(uri, Transport.TLS, number))
    assert secure.hops == (Hop("TLS", LOOPBACK, 5070, name=LOOPBACK, tls=number),)
    named = layer.known(Route(uri, Transport.TLS, number, name="example.com"))
    assert named.hops[0].name == "example.com"


async def test_a_name_is_not_known_before_it_was_located(make_layer):
    layer, _ = make_layer()
    route = Route(parse_uri("sip:bob@localhost:5070"), Transport.UDP)
    located = await layer.locate(route)
    assert located.hops == (Hop("UDP", LOOPBACK, 5070),)
    assert located.location.to_dict()
    with pytest.raises(ResolutionFailed) as caught:
        await layer.locate(Route(parse_uri("sip:bob@nowhere.invalid"), Transport.UDP))
    assert caught.value.attempts


async def test_the_first_target_that_takes_a_connection_is_chosen(
    make_layer, closed_port, monkeypatch
):
    server, _ = make_layer()
    client, _ = make_layer()
    failed = []
    monkeypatch.setattr(client.resolver, "mark_failed", failed.append)
    dead = Hop("TCP", LOOPBACK, closed_port)
    alive = hop_of(server, "TCP")
    assert await client.first_open((dead, alive)) == alive
    assert failed == [("TCP", LOOPBACK, closed_port)]
    assert await client.first_open((alive, dead)) == alive
    with pytest.raises(ConnectionFailed, match=str(closed_port)):
        await client.first_open((dead, dead))
    assert await client.first_open((Hop("UDP", LOOPBACK, 9), alive)) == Hop("UDP", LOOPBACK, 9)
