"""Every certificate a server may show, on TLS 1.2 and 1.3, over TLS and WSS: outcome and words.

The servers are `ssl` sockets in threads, so that the other end of the wire is not ours.
"""

from __future__ import annotations

import asyncio
import gc
import secrets
import socket
import ssl
import threading
import warnings
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID
from websockets.frames import Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol

from callmeter import certificates
from callmeter.config import ClientCertificates, ConnectionLimits, TlsConfig, TlsVerify
from callmeter.errors import TlsError, TransportError
from callmeter.sip.parser import ParserLimits
from callmeter.sip.transaction.effects import Hop
from callmeter.testing.certificates import Authority, Issued
from callmeter.transport.connection_pool import ConnectionPool
from callmeter.transport.stream import StreamTransport
from callmeter.transport.tls import TlsLayer
from callmeter.transport.tls_settings import TlsSettings
from callmeter.transport.websocket import client_layers

LOOPBACK = "127.0.0.1"
PATIENCE = 10
DOMAIN = "sip.example"
DAY = timedelta(days=1)
VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
TRANSPORTS = ["TLS", "WSS"]

ROOT = Authority("root")
MIDDLE = Authority("middle", issuer=ROOT)
STRANGER = Authority("stranger")
SHORT = Authority("one level only", path_length=0)
NO_AUTHORITY = Authority(DOMAIN, issuer=ROOT, may_sign=False)
EXPIRED_MIDDLE = Authority("expired middle", issuer=ROOT, ends=-DAY)

OPTIONS = (
    b"OPTIONS sip:sip.example SIP/2.0\r\nVia: SIP/2.0/TLS a.invalid;branch=z9hG4bK1\r\n"
    b"From: <sip:alice@sip.example>;tag=1\r\nTo: <sip:sip.example>\r\nCall-ID: 1\r\n"
    b"CSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
)
ANSWER = (
    b"SIP/2.0 200 OK\r\nVia: SIP/2.0/TLS a.invalid;branch=z9hG4bK1\r\n"
    b"From: <sip:alice@sip.example>;tag=1\r\nTo: <sip:sip.example>;tag=2\r\nCall-ID: 1\r\n"
    b"CSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
)


def self_signed():
    own = Authority(DOMAIN, may_sign=False)
    key = own.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return Issued(own.pem, key.decode())


def signed_with_sha1():
    """A certificate no library signs any more: RSA with SHA-1, under a root of its own."""
    issuer = Authority("of the old days")
    issuer.key = rsa.generate_private_key(65_537, 2_048)
    name, now = issuer.certificate.subject, issuer.certificate.not_valid_before_utc
    root = x509.CertificateBuilder(name, name, issuer.key.public_key(), 1, now, now + 9_999 * DAY)
    root = root.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    issuer.certificate = root.sign(issuer.key, hashes.SHA256())
    issued = issuer.issue(DOMAIN)
    der = x509.load_pem_x509_certificate(issued.certificate.encode())
    sha256, sha1 = (bytes.fromhex("2a864886f70d0101") + end for end in (b"\x0b", b"\x05"))
    body = der.tbs_certificate_bytes.replace(sha256, sha1)
    signature = issuer.key.sign(body, padding.PKCS1v15(), hashes.SHA1())
    forged = der.public_bytes(Encoding.DER).replace(sha256, sha1).replace(der.signature, signature)
    return issuer.pem, Issued(ssl.DER_cert_to_PEM_cert(forged), issued.private_key)


SHA1_ROOT, SHA1_LEAF = signed_with_sha1()


@dataclass(frozen=True)
class Row:
    """One server, one client, and what comes of it; `kind` None is success."""

    title: str
    server: Issued | str
    kind: str | None = None
    text: str = ""
    name: str = DOMAIN
    verify: TlsVerify = TlsVerify.CUSTOM
    ca: str = ROOT.pem
    asks: ssl.VerifyMode = ssl.CERT_NONE
    own: Issued | None = None
    warning: str | None = None
    match: str | None = DOMAIN
    years_back: int = field(default=0)


def mismatch(title, server, valid_for, **more):
    name = more.get("name", DOMAIN)
    return Row(
        title,
        server,
        "name_mismatch",
        f"certificate is valid for {valid_for}, not {name}",
        **more,
    )


UNKNOWN = ("unknown_ca", "certificate signed by unknown authority")
COMMON_NAME = f"the certificate names {DOMAIN} in its Common Name only"
GOOD = ROOT.issue(DOMAIN)
ROWS = [
    Row("good DNS name", GOOD),
    Row("good sip URI only", ROOT.issue(f"sip:{DOMAIN}")),
    mismatch("sip URI of another domain", ROOT.issue("sip:x.example"), "sip:x.example"),
    Row("DNS name and sip URI", ROOT.issue(DOMAIN, f"sip:{DOMAIN}")),
    Row("good address", ROOT.issue(LOOPBACK), name=LOOPBACK, match=LOOPBACK),
    mismatch("other address", ROOT.issue("127.0.0.2"), "127.0.0.2", name=LOOPBACK),
    mismatch(
        "address as Common Name",
        ROOT.issue(common_name=LOOPBACK),
        f"{LOOPBACK} (Common Name only)",
        name=LOOPBACK,
    ),
    mismatch(
        "Common Name only, system",
        ROOT.issue(common_name=DOMAIN),
        f"{DOMAIN} (Common Name only)",
        verify=TlsVerify.SYSTEM,
    ),
    Row("Common Name only, custom", ROOT.issue(common_name=DOMAIN), warning=COMMON_NAME),
    mismatch(
        "Common Name right, alternatives wrong",
        ROOT.issue("x.example", common_name=DOMAIN),
        "x.example",
    ),
    Row("wildcard", ROOT.issue("*.example.com"), name="a.example.com", match="*.example.com"),
    mismatch(
        "wildcard over two levels",
        ROOT.issue("*.example.com"),
        "*.example.com",
        name="a.b.example.com",
    ),
    mismatch(
        "partial wildcard", ROOT.issue("a*.example.com"), "a*.example.com", name="ab.example.com"
    ),
    mismatch("NUL in the name", ROOT.issue(f"{DOMAIN}\0.x.example"), f"{DOMAIN}\\x00.x.example"),
    Row("upper case", ROOT.issue("SIP.Example"), match="SIP.Example"),
    Row("trailing dot", ROOT.issue(f"{DOMAIN}."), name=f"{DOMAIN}.", match=f"{DOMAIN}."),
    Row(
        "international name",
        ROOT.issue("xn--mnchen-3ya.example"),
        name="münchen.example",
        match="xn--mnchen-3ya.example",
    ),
    Row("expired", ROOT.issue(DOMAIN, ends=-DAY), "expired", "certificate has expired"),
    Row(
        "not yet valid",
        ROOT.issue(DOMAIN, starts=DAY),
        "not_yet_valid",
        "certificate is not yet valid",
    ),
    Row("self-signed", self_signed(), *UNKNOWN),
    Row("unknown authority", STRANGER.issue(DOMAIN), *UNKNOWN),
    Row("unknown authority, system", STRANGER.issue(DOMAIN), *UNKNOWN, verify=TlsVerify.SYSTEM),
    Row("missing intermediate", MIDDLE.issue(DOMAIN, with_chain=False), *UNKNOWN),
    Row("good intermediate", MIDDLE.issue(DOMAIN)),
    Row("expired intermediate", EXPIRED_MIDDLE.issue(DOMAIN), "expired", "certificate has expired"),
    Row(
        "path length broken",
        Authority("third", issuer=Authority("second", issuer=SHORT)).issue(DOMAIN),
        "wrong_purpose",
        "too many intermediates for path length constraint",
        ca=SHORT.pem,
    ),
    Row(
        "leaf as authority",
        NO_AUTHORITY.issue(DOMAIN),
        "wrong_purpose",
        "certificate is not authorized to sign other certificates",
    ),
    Row(
        "for clients only",
        ROOT.issue(DOMAIN, usages=[ExtendedKeyUsageOID.CLIENT_AUTH]),
        "wrong_purpose",
        "certificate is not usable for a server",
    ),
    Row("for nothing in particular", ROOT.issue(DOMAIN, usages=[])),
    Row(
        "RSA of 1024 bits",
        ROOT.issue(DOMAIN, key=rsa.generate_private_key(65_537, 1_024)),
        "weak",
        "certificate key is too short",
    ),
    Row("SHA-1 signature", SHA1_LEAF, "weak", "certificate signature is too weak", ca=SHA1_ROOT),
    mismatch("name of the SRV target", ROOT.issue("sip1.x.example"), "sip1.x.example"),
    Row("TLS 1.1 only", "old", "version", "server offers no TLS 1.2 or newer"),
    Row("plain TCP that answers", "plain", "not_tls", "peer does not speak TLS"),
    Row("plain TCP that hangs up", "rude", "not_tls", "peer does not speak TLS"),
    Row("stalled handshake", "silent", "timeout", "timed out after 0.2 s"),
    Row(
        "mutual TLS, none given",
        GOOD,
        "client_cert_rejected",
        "bad certificate: server wants a client certificate",
        asks=ssl.CERT_REQUIRED,
    ),
    Row(
        "mutual TLS, unknown authority",
        GOOD,
        "client_cert_rejected",
        "bad certificate: client certificate not trusted by the server",
        asks=ssl.CERT_REQUIRED,
        own=STRANGER.issue("alice.example"),
        ca=ROOT.pem + STRANGER.pem,
    ),
    Row(
        "mutual TLS, expired",
        GOOD,
        "client_cert_rejected",
        "bad certificate: client certificate has expired",
        asks=ssl.CERT_REQUIRED,
        own=ROOT.issue("alice.example", starts=-500 * DAY, ends=-100 * DAY),
        years_back=1,
    ),
    Row("mutual TLS, good", GOOD, asks=ssl.CERT_REQUIRED, own=ROOT.issue("alice.example")),
    Row(
        "verification skipped",
        STRANGER.issue("x.example", ends=-DAY),
        verify=TlsVerify.SKIP,
        match=None,
        warning="the server certificate was not verified (TlsVerify.SKIP)",
    ),
]


# the servers


def server_context(row, version, folder):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers("ALL:@SECLEVEL=0")
    own = row.server if isinstance(row.server, Issued) else GOOD
    path = folder / "own.pem"
    path.write_text(own.certificate + own.private_key)
    context.load_cert_chain(path)
    context.verify_mode = row.asks
    if row.asks is not ssl.CERT_NONE:
        context.load_verify_locations(cadata=ROOT.pem)
    if row.server == "old":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            context.minimum_version = ssl.TLSVersion.TLSv1
            context.maximum_version = ssl.TLSVersion.TLSv1_1
    else:
        context.minimum_version = context.maximum_version = version
    return context


class Server:
    """Takes connections one after the other, in a thread, and answers the SIP on them.

    It hears a client out after an alert: a server that does not resets the connection.
    """

    def __init__(self, row, context, transport):
        self.row, self.context, self.transport = row, context, transport
        self.heard = []
        self.listener = socket.create_server((LOOPBACK, 0))
        self.thread = threading.Thread(target=self.run)

    def run(self):
        while True:
            try:
                accepted, _ = self.listener.accept()
            except OSError:
                return
            accepted.settimeout(PATIENCE)
            with accepted, suppress(OSError):
                self.converse(accepted)

    def converse(self, accepted):
        if isinstance(self.row.server, Issued) or self.row.server == "old":
            with self.context.wrap_socket(
                accepted, server_side=True, do_handshake_on_connect=False
            ) as secure:
                self.converse_securely(secure)
        elif self.row.server == "plain":
            accepted.recv(65_536)
            accepted.sendall(ANSWER)
            accepted.recv(65_536)
        elif self.row.server == "rude":
            accepted.recv(65_536)
        else:
            hear_out(accepted)

    def converse_securely(self, secure):
        try:
            secure.do_handshake()
        except ssl.SSLError:
            # Rude, as many servers are: what the client still sends meets a reset.
            secure.close()
            return
        if self.transport == "TLS":
            self.answer(secure)
        else:
            self.answer_on_websocket(secure)

    def answer(self, secure):
        data = b""
        while more := secure.recv(65_536):
            data += more
            self.heard.append(more)
            if data.endswith(b"\r\n\r\n"):
                secure.sendall(ANSWER)

    def answer_on_websocket(self, secure):
        protocol = ServerProtocol(subprotocols=["sip"])
        while more := secure.recv(65_536):
            protocol.receive_data(more)
            for event in protocol.events_received():
                if isinstance(event, Request):
                    protocol.send_response(protocol.accept(event))
                elif event.opcode in {Opcode.TEXT, Opcode.BINARY}:
                    self.heard.append(event.data)
                    protocol.send_text(ANSWER)
            for data in protocol.data_to_send():
                secure.sendall(data)

    def __enter__(self):
        self.thread.start()
        return self.listener.getsockname()[1]

    def __exit__(self, *_):
        with suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join(PATIENCE)


def hear_out(peer):
    """Read what comes, past any TLS, until the peer hangs up."""
    while socket.socket.recv(peer, 65_536):
        pass


# the client


class User:
    """Keeps what the pool tells."""

    def __init__(self):
        self.messages, self.unreachable, self.lost = [], [], []
        self.something = asyncio.Event()

    def on_message(self, message, data, source):
        self.messages.append((message, source))
        self.something.set()

    def on_syntax_error(self, error, source):
        raise error

    def on_unreachable(self, destination, error):
        self.unreachable.append((destination, error))
        self.something.set()

    def on_flow_lost(self, flow, error):
        self.lost.append((flow, error))
        self.something.set()


@contextmanager
def open_pool(user, **limits):
    loop = asyncio.get_running_loop()
    pool = ConnectionPool(
        loop, user, ConnectionLimits(**limits), ParserLimits(), secrets.token_bytes
    )
    try:
        yield pool
    finally:
        pool.close()


def client_settings(row, version, monkeypatch):
    if row.years_back:
        # A certificate that has expired does not get past the configuration.
        now = certificates._now()
        monkeypatch.setattr(certificates, "_now", lambda: now - row.years_back * 365 * DAY)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", certificates.CertificateWarning)
        config = TlsConfig(
            verify=row.verify,
            ca=row.ca if row.verify is TlsVerify.CUSTOM else None,
            certificate=row.own and row.own.certificate,
            private_key=row.own and row.own.private_key,
        )
    settings = TlsSettings.of(config)
    if not isinstance(row.server, Issued):
        settings.client.maximum_version = version
    return settings


def layers_of(hop, settings):
    if hop.transport == "WSS":
        return client_layers(hop, settings)
    return (TlsLayer.client(settings, hop.name, destination=str(hop)),)


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("row", ROWS, ids=[row.title for row in ROWS])
async def test_each_certificate_has_its_outcome_and_its_words(
    row, version, transport, monkeypatch, tmp_path
):
    (tmp_path / "system.pem").write_text(ROOT.pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "system.pem"))
    user = User()
    settings = client_settings(row, VERSIONS[version], monkeypatch)
    server = Server(row, server_context(row, VERSIONS[version], tmp_path), transport)
    with ExitStack() as running_now:
        port = running_now.enter_context(server)
        connect = 0.2 if row.server == "silent" else PATIENCE
        pool = running_now.enter_context(open_pool(user, connect=connect))
        hop = Hop(transport, LOOPBACK, port, name=row.name)
        connection = pool.open(hop, layers_of(hop, settings), None)
        connection.send(OPTIONS)
        async with asyncio.timeout(PATIENCE):
            await user.something.wait()
        if row.kind is None:
            assert connection.failure is None
            assert user.messages[0][0].status == 200
            layer = connection.layer(TlsLayer)
            assert layer.version == f"TLSv{version}"
            assert layer.confirmed
            assert layer.verified is (row.match is not None)
            assert (layer.match and layer.match.presented) == row.match
            assert layer.warnings == ((row.warning,) if row.warning else ())
            return
        failure = connection.failure
        assert isinstance(failure, TlsError)
        assert (failure.kind, str(failure)) == (row.kind, f"TLS handshake failure: {row.text}")
        assert failure.destination == f"{transport} {LOOPBACK}:{port}"
        assert [error for _, error in user.unreachable + user.lost] == [str(failure)]
        assert user.messages == []
    assert server.heard == []


# our own server


def our_server(loop, pool, **more):
    issued = ROOT.issue(DOMAIN)
    settings = TlsSettings.of(
        TlsConfig(
            verify=TlsVerify.CUSTOM,
            ca=ROOT.pem,
            certificate=issued.certificate,
            private_key=issued.private_key,
            **more,
        )
    )
    return StreamTransport(
        loop,
        pool,
        "TLS",
        client_layers=lambda hop: layers_of(hop, settings),
        server_layers=lambda: (TlsLayer.server(settings),),
        bind=LOOPBACK,
        port=0,
    )


STALLED_S = 3.0
"""When a handshake that stalls is ended: all of them begin long before."""


class Answering(User):
    """A server that answers every request on its own connection."""

    def on_message(self, message, data, source):
        super().on_message(message, data, source)
        if not hasattr(message, "status"):
            self.pool.get(source.connection).send(ANSWER)


async def ask(pool, transport, number):
    """One OPTIONS and its answer, on a connection of its own."""
    hop = Hop("TLS", *transport.local, name=DOMAIN, tls=number)
    connection = transport.connection(hop)
    connection.send(OPTIONS)
    await pool.opened(connection)
    user = pool.user
    async with asyncio.timeout(PATIENCE):
        while not any(source == connection.hop for _, source in user.messages):
            user.something.clear()
            await user.something.wait()


async def test_stalled_handshakes_end_at_their_deadline_and_bother_nobody(standstill):
    loop = asyncio.get_running_loop()
    user = Answering()
    limits = {"inbound_per_host": 300, "unfinished_handshakes": 200, "accept_handshake": STALLED_S}
    with open_pool(user, **limits) as pool, ExitStack() as stalled:
        user.pool = pool
        transport = our_server(loop, pool)
        stalled.callback(transport.close)
        began = loop.time()
        peers = []
        for number in range(100):
            peer = socket.create_connection(transport.local)
            stalled.callback(peer.close)
            peer.settimeout(0)
            peer.send(b"\x16\x03\x01\x02\x00\x01"[: number % 6 + 1])
            peers.append(peer)
        async with asyncio.timeout(PATIENCE):
            await ask(pool, transport, 1)
            assert len(pool) == 102  # it was answered before any of the others came to its end
            ends = [await loop.sock_recv(peer, 100) for peer in peers]
        assert ends == [b""] * 100
        assert loop.time() - began < STALLED_S + 0.5 + 1.0 + standstill.seconds
        assert user.lost == user.unreachable == []


async def test_an_accepted_client_that_proves_who_it_is_is_known_by_its_names():
    loop = asyncio.get_running_loop()
    user = Answering()
    with open_pool(user) as pool, ExitStack() as exits:
        user.pool = pool
        transport = our_server(loop, pool, client_certificates=ClientCertificates.REQUIRED)
        exits.callback(transport.close)
        hop = Hop("TLS", *transport.local, name=DOMAIN)
        connection = transport.connection(hop)
        connection.send(OPTIONS)
        async with asyncio.timeout(PATIENCE):
            while len(user.messages) < 2:
                user.something.clear()
                await user.something.wait()
        inbound = pool.get(user.messages[0][1].connection).layer(TlsLayer)
        assert inbound.verified
        assert inbound.peer_identities == (DOMAIN,)


def resident():
    """Octets of memory this process occupies."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4_096


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="measured by way of /proc")
async def test_an_idle_connection_costs_less_than_96_kib(record_property):
    loop = asyncio.get_running_loop()
    user = Answering()
    with open_pool(user, inbound_per_host=300) as pool, ExitStack() as exits:
        user.pool = pool
        transport = our_server(loop, pool)
        exits.callback(transport.close)
        for number in range(20):
            await ask(pool, transport, number)
        before = resident()
        connections = []
        for number in range(20, 220):
            hop = Hop("TLS", *transport.local, name=DOMAIN, tls=number)
            connection = transport.connection(hop)
            connection.send(OPTIONS.replace(b"Content-Length: 0\r\n\r\n", LARGE))
            await pool.opened(connection)
            connections.append(connection)
        user.messages.clear()
        async with asyncio.timeout(PATIENCE):
            while not all(each.layer(TlsLayer).confirmed for each in connections):
                user.something.clear()
                await user.something.wait()
        user.messages.clear()
        each = (resident() - before) / 400 / 1_024
        record_property("kib_per_idle_tls_connection", round(each, 1))
        print(f"{each:.1f} KiB per idle TLS connection")
        assert each < 96


LARGE = b"Content-Length: 8000\r\n\r\n" + b"x" * 8_000


async def test_a_failure_to_make_the_layers_is_no_connection():
    with open_pool(User()) as pool:
        hop = Hop("TLS", LOOPBACK, 1, name=DOMAIN)
        settings = TlsSettings.of(TlsConfig(verify=TlsVerify.CUSTOM, ca=ROOT.pem))
        with pytest.raises(TransportError):
            await pool.opened(pool.open(hop, layers_of(hop, settings), None))
        assert len(pool) == 0
