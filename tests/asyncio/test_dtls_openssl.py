"""DTLS-SRTP with the `openssl` program at the other end, over loopback."""

from __future__ import annotations

import asyncio
import re
import shutil
import socket
from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from callmeter.config import SrtpSuite
from callmeter.errors import DtlsHandshakeFailed, FingerprintMismatch
from callmeter.sdp.attributes import Fingerprint
from callmeter.srtp.dtls_certificate import DtlsCertificate
from callmeter.srtp.dtls_endpoint import DtlsTransport
from callmeter.srtp.protection_profiles import SUPPORTED

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")

BY_DTLS = [each for each in SUPPORTED if each.dtls_id]
EXPORTED = re.compile(rb"Keying material: ([0-9A-F]+)")
DEADLINE = 15.0


class MediaPort(asyncio.DatagramProtocol):
    """Drives DTLS on a socket by the clock of the loop."""

    def __init__(self, dtls):
        self.dtls = dtls
        self.result = asyncio.get_running_loop().create_future()
        self.lose = set()
        self.keys = []
        self.failures = []
        self._received = 0
        self._timer = None

    def connection_made(self, transport):
        self.transport = transport

    def now(self):
        return asyncio.get_running_loop().time()

    def datagram_received(self, data, addr):
        self._received += 1
        if self._received not in self.lose:
            self.take(self.dtls.on_datagram(data, addr, self.now()))

    def take(self, result):
        for datagram, destination in result.outgoing:
            self.transport.sendto(datagram, destination)
        if result.keys:
            self.keys.append(result.keys)
        if result.failure:
            self.failures.append(result.failure)
        if not self.result.done():
            if result.failure:
                self.result.set_exception(result.failure)
            elif result.keys:
                self.result.set_result(result.keys)
        if self._timer:
            self._timer.cancel()
        if (due := self.dtls.next_deadline()) is not None:
            self._timer = asyncio.get_running_loop().call_at(due, self.due)

    def due(self):
        self.take(self.dtls.on_deadline(self.now()))

    def close(self):
        self.take(self.dtls.close())
        self.transport.close()


@pytest.fixture(scope="module")
def certificate():
    return DtlsCertificate.generate(datetime.now(UTC))


@pytest.fixture(scope="module")
def peer(tmp_path_factory):
    """Files of the program's certificate and key, and the fingerprint."""
    made = DtlsCertificate.generate(datetime.now(UTC), common_name="peer")
    folder = tmp_path_factory.mktemp("peer")
    pem = made._certificate.public_bytes(serialization.Encoding.PEM)
    (folder / "certificate.pem").write_bytes(pem)
    private = made._private_key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    (folder / "key.pem").write_bytes(private)
    digest = x509.load_pem_x509_certificate(pem).fingerprint(hashes.SHA256()).hex(":").upper()
    return folder, Fingerprint("sha-256", digest)


@pytest.fixture
async def media_port(certificate):
    ports = []

    async def make(**settings):
        dtls = DtlsTransport(certificate, **settings)
        _, port = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: MediaPort(dtls), local_addr=("127.0.0.1", 0)
        )
        ports.append(port)
        return port

    yield make
    for port in ports:
        port.close()
    await asyncio.sleep(0)


@pytest.fixture
async def openssl(peer):
    processes = []

    async def run(program, *arguments, profile):
        folder, _ = peer
        process = await asyncio.create_subprocess_exec(
            "openssl", program, "-dtls1_2", "-use_srtp", profile.openssl_name,
            "-cert", str(folder / "certificate.pem"), "-key", str(folder / "key.pem"),
            "-keymatexport", "EXTRACTOR-dtls_srtp",
            "-keymatexportlen", str(2 * profile.master_length), *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        processes.append(process)
        return process

    yield run
    for process in processes:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def until(process, pattern):
    """What the program prints, up to a match."""
    printed = b""
    async with asyncio.timeout(DEADLINE):
        while not (match := re.search(pattern, printed)):
            more = await process.stdout.read(4096)
            assert more, printed
            printed += more
    return match


def exported(keys, role):
    """The exporter's octets, put together again (RFC 5764 section 4.2)."""
    key = keys.profile.key_length
    ours, theirs = keys.send.key_and_salt, keys.receive.key_and_salt
    client, server = (ours, theirs) if role == "client" else (theirs, ours)
    return client[:key] + server[:key] + client[key:] + server[key:]


async def start_server(openssl, profile, *arguments):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = await openssl(
        "s_server", "-accept", f"127.0.0.1:{port}", "-4", "-Verify", "1", *arguments,
        profile=profile,
    )  # fmt: skip
    await until(process, rb"ACCEPT")
    return process, ("127.0.0.1", port)


@pytest.mark.parametrize("profile", BY_DTLS, ids=lambda each: each.name)
async def test_as_client_the_keys_are_those_of_openssl(openssl, media_port, peer, profile):
    process, address = await start_server(openssl, profile)
    port = await media_port(suites=[each.suite for each in BY_DTLS])
    port.take(port.dtls.start("client", [peer[1]], address, port.now()))
    keys = await asyncio.wait_for(port.result, DEADLINE)
    assert keys.profile is profile
    match = await until(process, EXPORTED)
    assert bytes.fromhex(match[1].decode()) == exported(keys, "client")


@pytest.mark.parametrize("profile", BY_DTLS, ids=lambda each: each.name)
async def test_as_server_the_keys_are_those_of_openssl(openssl, media_port, peer, profile):
    port = await media_port(suites=[each.suite for each in BY_DTLS])
    port.take(port.dtls.start("server", [peer[1]], ("127.0.0.1", 9), port.now()))
    own = port.transport.get_extra_info("sockname")[1]
    process = await openssl("s_client", "-connect", f"127.0.0.1:{own}", profile=profile)
    keys = await asyncio.wait_for(port.result, DEADLINE)
    assert keys.profile is profile
    match = await until(process, EXPORTED)
    assert bytes.fromhex(match[1].decode()) == exported(keys, "server")


async def test_a_server_that_asks_for_a_cookie_gets_it(openssl, media_port, peer):
    _, address = await start_server(openssl, BY_DTLS[0], "-listen")
    port = await media_port()
    port.take(port.dtls.start("client", [peer[1]], address, port.now()))
    assert await asyncio.wait_for(port.result, DEADLINE)


async def test_the_last_flight_of_a_foreign_server_may_be_lost(openssl, media_port, peer):
    # Only OpenSSL can make it come again, by its own clock: after about a second.
    _, address = await start_server(openssl, BY_DTLS[0], "-timeout")
    port = await media_port()
    port.take(port.dtls.start("client", [peer[1]], address, port.now()))
    flight = 1
    original = port.datagram_received

    def lossy(data, addr):
        nonlocal flight
        if data[0] == 20 and flight:
            flight -= 1
            return
        original(data, addr)

    port.datagram_received = lossy
    assert await asyncio.wait_for(port.result, DEADLINE)
    assert flight == 0


async def test_the_wrong_certificate_is_refused(openssl, media_port, certificate):
    _, address = await start_server(openssl, BY_DTLS[0])
    port = await media_port()
    port.take(port.dtls.start("client", [certificate.fingerprint()], address, port.now()))
    with pytest.raises(FingerprintMismatch, match="remote certificate does not match fingerprint"):
        await asyncio.wait_for(port.result, DEADLINE)


async def test_no_profile_in_common_is_said(openssl, media_port, peer):
    _, address = await start_server(openssl, BY_DTLS[0])
    port = await media_port(suites=[SrtpSuite.AEAD_AES_256_GCM])
    port.take(port.dtls.start("client", [peer[1]], address, port.now()))
    with pytest.raises(DtlsHandshakeFailed, match="no SRTP protection profile"):
        await asyncio.wait_for(port.result, DEADLINE)


async def say(process, command):
    process.stdin.write(command + b"\n")
    await process.stdin.drain()


async def running(openssl, media_port, peer, role, *arguments, **settings):
    """The program and a port of ours in the role, after their handshake."""
    port = await media_port(**settings)
    if role == "client":
        process, address = await start_server(openssl, BY_DTLS[0], *arguments)
        port.take(port.dtls.start("client", [peer[1]], address, port.now()))
    else:
        port.take(port.dtls.start("server", [peer[1]], ("127.0.0.1", 9), port.now()))
        own = port.transport.get_extra_info("sockname")[1]
        process = await openssl(
            "s_client", "-connect", f"127.0.0.1:{own}", *arguments, profile=BY_DTLS[0]
        )
    await asyncio.wait_for(port.result, DEADLINE)
    await until(process, EXPORTED)
    return process, port


async def rehandshakes(port, number):
    async with asyncio.timeout(DEADLINE):
        while port.dtls.statistics.rehandshakes < number:  # noqa: ASYNC110  there is no event
            await asyncio.sleep(0.005)


@pytest.mark.parametrize(("role", "command"), [("server", b"R"), ("client", b"r")])
async def test_a_peer_that_renegotiates_is_told_no_renegotiation(
    openssl, media_port, peer, role, command
):
    process, port = await running(openssl, media_port, peer, role, "-state")
    (keys,) = port.keys
    await say(process, command)
    # The program then ends the association by a fatal alert of its own.
    await until(process, rb"(?s)alert read:warning:no renegotiation.*alert write:fatal")
    assert port.dtls.keys is keys
    assert len(port.keys) == 1
    assert not port.failures
    assert port.dtls.statistics.rehandshakes == 0


@pytest.mark.parametrize(
    ("role", "command"), [("server", b"R"), ("client", b"r"), ("client", b"R")]
)
async def test_a_peer_that_may_renegotiate_has_the_same_new_secrets(
    openssl, media_port, peer, tmp_path, role, command
):
    log = tmp_path / "secrets"
    ours = []
    process, port = await running(
        openssl, media_port, peer, role, "-keylogfile", str(log),
        renegotiation=True, key_log=ours.append,
    )  # fmt: skip
    for number in (1, 2):
        await say(process, command)
        await rehandshakes(port, number)
        async with asyncio.timeout(DEADLINE):
            while log.read_bytes().count(b"CLIENT_RANDOM") <= number:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
    theirs = [each for each in log.read_bytes().splitlines() if each.startswith(b"CLIENT_RANDOM")]
    assert ours == theirs
    assert len(set(ours)) == len(set(port.keys)) == 3
    assert not port.failures


async def test_flights_that_are_lost_while_renegotiating_come_again(openssl, media_port, peer):
    # All of it is encrypted: only OpenSSL can, by its own clock, after about a second.
    process, port = await running(
        openssl, media_port, peer, "client", "-timeout", renegotiation=True
    )
    # The HelloRequest comes; the flight that answers our ClientHello does not, once.
    port.lose = {port._received + 2}
    await say(process, b"r")
    await rehandshakes(port, 1)
    assert len(set(port.keys)) == 2
    assert not port.failures
