"""A peer that owns its media ports: a script for SIP, pyOpenSSL and pylibsrtp for the keys.

What it says of a packet is said without a line of the package: SDP is read by regular expression,
the kind of a datagram is told by its first octets, keys are derived and packets authenticated by
the libraries themselves.
"""

from __future__ import annotations

import asyncio
import base64
import os
import re
import socket
from collections import Counter
from datetime import UTC, datetime, timedelta

import numpy as np
import pylibsrtp
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from OpenSSL import SSL

from callmeter.rtp.g711 import Law, encode
from callmeter.sip.message import Request
from callmeter.sip.parser import parse_message

LOOPBACK = "127.0.0.1"
PATIENCE = 60
SUITE = "AES_CM_128_HMAC_SHA1_80"
KEY, SALT = 16, 14
SSRC = 0x5EC0DE
FIRST_SENT = 100
TONE_HZ = 440
TONE = encode(
    np.round(8000 * np.sin(2 * np.pi * TONE_HZ / 8000 * np.arange(8000))).astype(np.int16), Law.PCMU
).tobytes()
"""A second of PCMU."""
RTCP_TYPES = range(192, 224)


def kind_of(datagram):
    """RFC 7983 section 7, and RFC 5761 section 4 for what is RTP or RTCP."""
    first = datagram[0] if datagram else 0
    if 20 <= first < 64:
        return "dtls"
    if 128 <= first < 192 and len(datagram) > 1:
        return "rtcp" if datagram[1] in RTCP_TYPES else "rtp"
    return "other"


class Certificate:
    """A self-signed P-256 certificate and its digests."""

    def __init__(self):
        self.key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "peer")])
        now = datetime.now(UTC)
        self.certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(days=1))
            .sign(self.key, hashes.SHA256())
        )

    def digest(self, algorithm="sha-256"):
        kinds = {
            "md5": hashes.MD5,
            "sha-1": hashes.SHA1,
            "sha-224": hashes.SHA224,
            "sha-256": hashes.SHA256,
            "sha-384": hashes.SHA384,
            "sha-512": hashes.SHA512,
        }
        return self.certificate.fingerprint(kinds[algorithm]()).hex(":").upper()

    def fingerprint(self, algorithm="sha-256"):
        return f"{algorithm} {self.digest(algorithm)}"


@pytest.fixture(scope="session")
def certificates():
    """Two of the peer's: the one it shows, and another."""
    return Certificate(), Certificate()


class Keys:
    """SRTP both ways by pylibsrtp, for the suite of the peer."""

    def __init__(self, receive, send):
        self.receive, self.send = (
            pylibsrtp.Session(
                pylibsrtp.Policy(
                    key=key,
                    ssrc_type=kind,
                    srtp_profile=pylibsrtp.Policy.SRTP_PROFILE_AES128_CM_SHA1_80,
                )
            )
            for key, kind in (
                (receive, pylibsrtp.Policy.SSRC_ANY_INBOUND),
                (send, pylibsrtp.Policy.SSRC_ANY_OUTBOUND),
            )
        )

    def authenticates(self, datagram):
        unprotect = (
            self.receive.unprotect_rtcp if kind_of(datagram) == "rtcp" else self.receive.unprotect
        )
        try:
            return unprotect(datagram) is not None
        except (pylibsrtp.Error, ValueError):
            return False


class Dtls:
    """A DTLS-SRTP association by pyOpenSSL alone."""

    def __init__(self, certificate, role, send, on_keys):
        context = SSL.Context(SSL.DTLS_METHOD)
        context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, lambda *_: True)
        if certificate is not None:
            context.use_certificate(certificate.certificate)
            context.use_privatekey(certificate.key)
        context.set_tlsext_use_srtp(b"SRTP_AES128_CM_SHA1_80")
        self.role = role
        self.keys = None
        self.error = None
        self.closed_by_peer = False
        self._send, self._on_keys = send, on_keys
        self._timer = None
        self._connection = SSL.Connection(context, None)
        if role == "client":
            self._connection.set_connect_state()
        else:
            self._connection.set_accept_state()

    def start(self):
        self._advance()

    def take(self, datagram):
        self._connection.bio_write(datagram)
        self._advance()

    def stop(self):
        if self._timer is not None:
            self._timer.cancel()

    def _advance(self):
        had_keys = self.keys is not None
        try:
            if self.keys is None:
                self._connection.do_handshake()
                self.keys = self._export()
            else:
                self._connection.recv(4096)
        except SSL.WantReadError:
            pass
        except SSL.ZeroReturnError:
            self.closed_by_peer = True
        except SSL.Error as error:
            self.error = error
        self._flush()
        if self.keys is not None and not had_keys:
            self._on_keys()

    def _flush(self):
        try:
            while True:
                self._send(self._connection.bio_read(65_535))
        except SSL.WantReadError:
            pass
        self.stop()
        left = self._connection.DTLSv1_get_timeout()
        if left is not None and self.keys is None:
            self._timer = asyncio.get_running_loop().call_later(left, self._repeat)

    def _repeat(self):
        self._connection.DTLSv1_handle_timeout()
        self._flush()

    def _export(self):
        """RFC 5764 section 4.2."""
        secret = self._connection.export_keying_material(b"EXTRACTOR-dtls_srtp", 2 * (KEY + SALT))
        client = secret[:KEY] + secret[2 * KEY : 2 * KEY + SALT]
        server = secret[KEY : 2 * KEY] + secret[2 * KEY + SALT :]
        ours, theirs = (client, server) if self.role == "client" else (server, client)
        return Keys(theirs, ours)


class MediaPort:
    """One UDP socket and every datagram of the endpoint that reached it.

    The system gives a number again at once: what another program still sends to the one that had
    it before is nothing the endpoint said.

    Attributes:
        sources: The ports of the endpoint, by its descriptions.
        before_keys: The kinds of those that came before its handshake was done.
        keeps: Whether it keeps what it receives; else it judges media at once and counts.
        judged: How many were authentic, and how many not.
        on_keys: Called when it is.
        before_dtls: Called once, before the first DTLS datagram is looked at.
    """

    def __init__(self):
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((LOOPBACK, 0))
        self._socket.setblocking(False)  # noqa: FBT003  the socket's own signature
        self.port = self._socket.getsockname()[1]
        self.remote = None
        self.sources = set()
        self.before_keys = []
        self.keeps = True
        self.judged = Counter()
        self.dtls = None
        self.on_keys = lambda: None
        self.before_dtls = lambda: None
        self.keys = None
        self._datagrams = []
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._socket, self.drain)

    def drain(self):
        """Take what the kernel holds."""
        while True:
            try:
                datagram, source = self._socket.recvfrom(65_535)
            except BlockingIOError:
                return
            if self.keeps:
                self._datagrams.append((source[1], datagram))
            elif source[1] in self.sources and kind_of(datagram) != "dtls":
                self.judged[self.secrets.authenticates(datagram)] += 1
            if self.sources and source[1] not in self.sources:
                continue
            if self.dtls is not None and self.dtls.keys is None:
                self.before_keys.append(kind_of(datagram))
            if kind_of(datagram) == "dtls" and self.dtls is not None:
                before, self.before_dtls = self.before_dtls, lambda: None
                before()
                self.remote = self.remote or source
                self.dtls.take(datagram)

    @property
    def received(self):
        """What was kept, now that the ports it may come from are known."""
        return [datagram for source, datagram in self._datagrams if source in self.sources]

    def forget(self):
        """Keep only what comes from now on."""
        self._datagrams.clear()

    def of_kind(self, *kinds):
        return [datagram for datagram in self.received if kind_of(datagram) in kinds]

    @property
    def secrets(self):
        """The keys of this port: those of a handshake, else those of a=crypto."""
        return (self.dtls.keys if self.dtls else None) or self.keys

    @property
    def waits(self):
        """Whether there is nothing to send under yet."""
        return self.dtls is not None and self.secrets is None

    def send(self, datagram):
        if self.remote is not None:
            self._socket.sendto(datagram, self.remote)

    def begin_dtls(self, certificate, role):
        self.dtls = Dtls(certificate, role, self.send, self.on_keys)
        if role == "client":
            self.dtls.start()

    def close(self):
        if self.dtls is not None:
            self.dtls.stop()
        if self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket)
            self._socket.close()


class Description:
    """What the other side's session description says, read by regular expression."""

    def __init__(self, body):
        self.text = body.decode()
        port, self.protocol = re.search(r"^m=audio (\d+) (\S+)", self.text, re.MULTILINE).groups()
        self.port = int(port)
        rtcp = re.search(r"^a=rtcp:(\d+)", self.text, re.MULTILINE)
        self.rtcp_port = int(rtcp[1]) if rtcp else self.port + 1
        self.mux = re.search(r"^a=rtcp-mux\r?$", self.text, re.MULTILINE) is not None
        self.inline = {
            suite: base64.b64decode(key + "==")
            for suite, key in re.findall(
                r"^a=crypto:\d+ (\S+) inline:([A-Za-z0-9+/]+)", self.text, re.MULTILINE
            )
        }
        crypto = re.findall(r"^a=crypto:(\d+) (\S+)", self.text, re.MULTILINE)
        self.tags = {suite: tag for tag, suite in crypto}
        self.fingerprints = re.findall(r"^a=fingerprint:(.+?)\r?$", self.text, re.MULTILINE)
        setup = re.search(r"^a=setup:(\w+)", self.text, re.MULTILINE)
        self.setup = setup and setup[1]


class SniffingPeer:
    """A user agent of one call whose media ports are watched.

    Attributes:
        shows_certificate: Whether it has one for the handshake.
        rtp: Its media port; RTCP too under mux.
        rtcp: Its RTCP port.
        key: Its own SDES key.
        theirs: The description of the endpoint, None before it came.
        status: Final response to its INVITE, None before.
        requests: Methods the endpoint sent.
        sent: How many media packets it sent.
        first_sent: The first hundred of them, as they went over the wire.
    """

    def __init__(self, stack, certificate):
        self.stack = stack
        self.certificate = certificate
        self.shows_certificate = True
        self.rtp, self.rtcp = MediaPort(), MediaPort()
        self.key = os.urandom(KEY + SALT)
        self.theirs = None
        self.status = None
        self.response = None
        self.requests = []
        self._sip = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._sip.bind((LOOPBACK, 0))
        self._sip.setblocking(False)  # noqa: FBT003  the socket's own signature
        self.sip_port = self._sip.getsockname()[1]
        self.uri = f"sip:peer@{LOOPBACK}:{self.sip_port}"
        self._call_id = os.urandom(8).hex()
        self._cseq = 0
        self._invite = None
        self._sequence = 0
        self.sent = 0
        self.first_sent = []

    def close(self):
        for port in (self.rtp, self.rtcp):
            port.close()
        self._sip.close()

    # SIP

    def describe(self, profile, *lines):
        """A session description of one PCMU stream on the media ports."""
        texts = (
            "v=0",
            f"o=- 1 {self._cseq + 1} IN IP4 {LOOPBACK}",
            "s=-",
            f"c=IN IP4 {LOOPBACK}",
            "t=0 0",
            f"m=audio {self.rtp.port} {profile} 0",
            f"a=rtcp:{self.rtcp.port}",
            *lines,
        )
        return "".join(f"{text}\r\n" for text in texts)

    def crypto(self, tag=1):
        return f"a=crypto:{tag} {SUITE} inline:{base64.b64encode(self.key).decode()}"

    def request(self, method, endpoint, body=""):
        """Send a request of the one dialog."""
        self._cseq += method != "ACK"
        to = f"<{endpoint.contact}>" if self.response is None else str(self.response.to)
        text = (
            f"{method} {endpoint.contact} SIP/2.0\r\n"
            f"Via: SIP/2.0/UDP {LOOPBACK}:{self.sip_port};branch=z9hG4bK{os.urandom(6).hex()}\r\n"
            f"From: <{self.uri}>;tag=peer\r\nTo: {to}\r\n"
            f"Call-ID: {self._call_id}\r\nCSeq: {self._cseq} {method}\r\n"
            f"Max-Forwards: 70\r\nContact: <{self.uri}>\r\n"
            + ("Content-Type: application/sdp\r\n" if body else "")
            + f"Content-Length: {len(body)}\r\n\r\n{body}"
        )
        self._sip.sendto(text.encode(), self.stack.transport.listening())

    def respond(self, request, status=200, body="", *, tag="peer"):
        headers = [("Contact", f"<{self.uri}>")]
        if body:
            headers.append(("Content-Type", "application/sdp"))
        response = request.create_response(status, to_tag=tag, headers=headers, body=body.encode())
        self._sip.sendto(response.to_bytes(), self.stack.transport.listening())

    async def receive(self):
        data = await asyncio.get_running_loop().sock_recv(self._sip, 65_535)
        return parse_message(data)

    async def invited(self):
        """Wait for the INVITE; its description is `theirs`."""
        async with asyncio.timeout(PATIENCE):
            self._invite = await self.receive()
        self.learn(self._invite.body)
        return self._invite

    async def final(self):
        """Wait for the final response to an INVITE of its own."""
        async with asyncio.timeout(PATIENCE):
            while True:
                message = await self.receive()
                if isinstance(message, Request):
                    self.answer(message)
                elif message.cseq.method == "INVITE" and message.status >= 200:
                    self.response, self.status = message, message.status
                    if message.status < 300:
                        self.learn(message.body)
                    return message

    def answer(self, request):
        self.requests.append(request.method)
        if request.method != "ACK":
            self.respond(request)

    async def serve(self):
        """Answer whatever comes, for ever."""
        while True:
            message = await self.receive()
            if isinstance(message, Request):
                self.answer(message)

    async def requested(self, method):
        """Answer requests until one has this method."""
        async with asyncio.timeout(PATIENCE):
            while method not in self.requests:
                message = await self.receive()
                if isinstance(message, Request):
                    self.answer(message)

    # media

    def learn(self, body):
        """Use the description of the endpoint."""
        self.theirs = Description(body)
        self.rtp.remote = (LOOPBACK, self.theirs.port)
        self.rtcp.remote = (LOOPBACK, self.theirs.rtcp_port)
        for port in (self.rtp, self.rtcp):
            port.sources |= {self.theirs.port, self.theirs.rtcp_port}

    def use_sdes(self):
        """The endpoint's key and its own."""
        keys = Keys(self.theirs.inline[SUITE], self.key)
        self.rtp.keys = self.rtcp.keys = keys

    def packet(self):
        self._sequence += 1
        header = bytes([0x80, 0]) + self._sequence.to_bytes(2, "big")
        return (
            header
            + (160 * self._sequence).to_bytes(4, "big")
            + SSRC.to_bytes(4, "big")
            + TONE[160 * self._sequence % 8000 :][:160]
        )

    def send_media(self, packets=1):
        """SRTP where there are keys or will be, else plain RTP."""
        for _ in range(0 if self.rtp.waits else packets):
            keys, packet = self.rtp.secrets, self.packet()
            packet = keys.send.protect(packet) if keys else packet
            self.rtp.send(packet)
            self.sent += 1
            if len(self.first_sent) < FIRST_SENT:
                self.first_sent.append(packet)

    async def speak(self):
        """Send a packet every 20 ms, for ever."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            self.send_media()
            due += 0.02
            await asyncio.sleep(due - loop.time())

    def media(self):
        """Every RTP and RTCP datagram that reached it, with the keys of its port."""
        return [
            (datagram, port.secrets)
            for port in (self.rtp, self.rtcp)
            for datagram in port.of_kind("rtp", "rtcp", "other")
        ]

    def drain(self):
        for port in (self.rtp, self.rtcp):
            port.drain()


@pytest.fixture
async def make_peer(stack, certificates):
    """Makes peers; each is closed in the end."""
    peers = []

    def make(certificate=None):
        peers.append(SniffingPeer(stack, certificate or certificates[0]))
        return peers[-1]

    yield make
    for peer in peers:
        peer.close()
