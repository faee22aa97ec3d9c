from __future__ import annotations

import random
from datetime import UTC, datetime

import pytest

from callmeter.srtp.dtls_certificate import DtlsCertificate

CLIENT = ("192.0.2.1", 40_000)
SERVER = ("192.0.2.2", 50_000)
STRANGER = ("203.0.113.9", 666)


@pytest.fixture(scope="session")
def dtls_certificates():
    """Of the client and of the server."""
    now = datetime.now(UTC)
    return DtlsCertificate.generate(now), DtlsCertificate.generate(now)


class DtlsPath:
    """A virtual path between two media ports: loss, delay, a clock, and forged datagrams.

    Attributes:
        now: The clock of both ends.
        sent: What each end sent, as (from, to, datagram).
        failures: By end.
        keys: Verified keys by end, in their order.
    """

    def __init__(self, client, server, *, loss=0.0, seed=0):
        self.ends = {CLIENT: client, SERVER: server}
        self.now = 0.0
        self.sent = []
        self.delivered = 0
        self.failures = {}
        self.keys = {CLIENT: [], SERVER: []}
        self._loss = loss
        self._random = random.Random(seed)
        self._under_way = []

    @property
    def established(self):
        return all(end.established for end in self.ends.values())

    def take(self, result, sender):
        """Put what an end hands out on the path."""
        if result.failure:
            self.failures[sender] = result.failure
        if result.keys:
            self.keys[sender].append(result.keys)
        for datagram, destination in result.outgoing:
            self.sent.append((sender, destination, datagram))
            if self._random.random() >= self._loss:
                arrival = self.now + 0.04 + 0.02 * self._random.random()
                self._under_way.append((arrival, len(self.sent), datagram, sender, destination))

    def forge(self, datagram, source, destination):
        """Deliver a datagram that neither end sent."""
        self.take(self.ends[destination].on_datagram(datagram, source, self.now), destination)

    def step(self):
        """Go on to whatever is next; False when nothing is."""
        due = [each[0] for each in self._under_way]
        due += filter(None, (end.next_deadline() for end in self.ends.values()))
        if not due:
            return False
        self.now = max(self.now, min(due))
        for arrived in sorted(each for each in self._under_way if each[0] <= self.now):
            self._under_way.remove(arrived)
            _, _, datagram, source, destination = arrived
            self.delivered += 1
            if end := self.ends.get(destination):
                self.take(end.on_datagram(datagram, source, self.now), destination)
        for address, end in self.ends.items():
            self.take(end.on_deadline(self.now), address)
        return True

    def run(self, until=lambda path: path.established, seconds=40.0):
        """Step until it is so, nothing is left to do, or the time is over."""
        end = self.now + seconds
        while not until(self) and self.now < end and self.step():
            pass
        return self


@pytest.fixture
def dtls_path():
    return DtlsPath


def record(content, body, *, epoch=0, sequence=0):
    header = bytes([content]) + b"\xfe\xfd" + epoch.to_bytes(2, "big") + sequence.to_bytes(6, "big")
    return header + len(body).to_bytes(2, "big") + body


def message(kind, body, *, sequence=0, offset=0, length=None):
    total = len(body) if length is None else length
    return b"".join(
        (
            bytes([kind]),
            total.to_bytes(3, "big"),
            sequence.to_bytes(2, "big"),
            offset.to_bytes(3, "big"),
            len(body).to_bytes(3, "big"),
            body,
        )
    )


@pytest.fixture(scope="session")
def dtls_record():
    return record


@pytest.fixture(scope="session")
def dtls_message():
    return message


@pytest.fixture(scope="session")
def hostile_datagrams():
    """What has broken handshakes of others, by what it is."""
    null_hello = b"\xfe\xfd" + bytes(range(32)) + b"\x00\x00" + b"\x00\x02\x00\x00" + b"\x01\x00"
    empty_hello = b"\xfe\xfd" + bytes(32) + b"\x00" + b"\xc0\x2b" + b"\x00"
    hello = record(22, message(1, null_hello))
    return {
        "ClientHello with the NULL suite": hello,
        "fragment of a huge message": record(22, message(1, bytes(40), length=0xFFFFFF)),
        "far fragment": record(22, message(11, bytes(9), offset=30_000, length=30_009, sequence=1)),
        "fragment past its message": record(22, message(11, bytes(9), offset=90, length=95)),
        "plain fatal alert": record(21, b"\x02\x28"),
        "plain close_notify": record(21, b"\x01\x00"),
        "bad second record": hello + b"\x16\xfe\xfd\x00\x00\x00\x00",
        "ChangeCipherSpec": record(20, b"\x01"),
        "Finished out of nowhere": record(22, bytes(48), epoch=1),
        "application data": record(23, bytes(64), epoch=1),
        "garbage": bytes(range(20, 64)) * 5,
        "ServerHello with the NULL suite": record(22, message(2, empty_hello)),
        "HelloRequest": record(22, message(0, b"")),
    }
