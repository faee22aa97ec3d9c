"""DTLS handshakes on a path that loses datagrams, and on one where somebody injects them.

By default a few of each; with CALLMETER_LONG=1 as many as the figures of benchmarks/README.md
are of. Each test prints its figure (`-s`).
"""

from __future__ import annotations

import os
import statistics
from collections import Counter
from datetime import UTC, datetime
from random import Random

import pytest

from callmeter.srtp.dtls_certificate import DtlsCertificate
from callmeter.srtp.dtls_endpoint import DtlsTransport
from callmeter.testing.clock import VirtualClock
from callmeter.testing.hostile import HOSTILE_DTLS
from callmeter.testing.network import Datagram, LinkConditions, VirtualNetwork

LONG = bool(os.environ.get("CALLMETER_LONG"))
CALLS = 1_000 if LONG else 50
CLIENT = ("192.0.2.1", 40_000)
SERVER = ("192.0.2.2", 50_000)
STRANGER = ("203.0.113.9", 666)
WITHIN = 30.0
LINGER = 10.0
ALERT = 21


@pytest.fixture(scope="module")
def certificates():
    now = datetime.now(UTC)
    return DtlsCertificate.generate(now), DtlsCertificate.generate(now)


class Handshake:
    """One handshake between two media ports on a virtual network."""

    def __init__(self, certificates, seed=0, **conditions):
        client, server = certificates
        self.clock = VirtualClock()
        conditions = LinkConditions(delay=0.04, jitter=0.02, **conditions)
        self.network = VirtualNetwork(self.clock, seed, conditions)
        self.network.log = []
        self.client, self.server = DtlsTransport(client), DtlsTransport(server)
        self.ends = {CLIENT: self.client, SERVER: self.server}
        self.certificates = certificates
        self.failures = []
        self.delivered = 0

    def start(self):
        """Give each end the description of the other."""
        client, server = self.certificates
        self.take(SERVER, self.server.start("server", [client.fingerprint()], CLIENT, 0.0))
        self.take(CLIENT, self.client.start("client", [server.fingerprint()], SERVER, 0.0))
        return self

    @property
    def established(self):
        return self.client.established and self.server.established

    @property
    def same_keys(self):
        ours, theirs = self.client.keys, self.server.keys
        return (ours.send, ours.receive) == (theirs.receive, theirs.send)

    def take(self, address, result):
        if result.failure:
            self.failures.append(result.failure)
        for data, destination in result.outgoing:
            self.network.send(Datagram(address, destination, data))

    def inject(self, data, source, destination):
        self.take(destination, self.ends[destination].on_datagram(data, source, self.clock.now))

    def step(self):
        due = [self.network.next_deadline(), *(end.next_deadline() for end in self.ends.values())]
        due = [when for when in due if when is not None]
        if not due:
            return False
        self.clock.now = max(self.clock.now, min(due))
        for datagram in self.network.arrivals():
            self.delivered += 1
            if end := self.ends.get(datagram.destination):
                result = end.on_datagram(datagram.data, datagram.source, self.clock.now)
                self.take(datagram.destination, result)
        for address, end in self.ends.items():
            self.take(address, end.on_deadline(self.clock.now))
        return True

    def run(self, until=lambda handshake: handshake.established, seconds=WITHIN):
        end = self.clock.now + seconds
        while not until(self) and self.clock.now < end and self.step():
            pass
        return self

    def alerts(self):
        return [each for _, each in self.network.log if each.data[0] == ALERT]


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize(("loss", "least"), [(0.1, 1.0), (0.3, 0.995)])
def test_handshakes_outlive_loss(certificates, loss, least, seed):
    times = []
    for call in range(CALLS):
        handshake = Handshake(certificates, seed * 1_000_000 + call, loss=loss).start().run()
        if handshake.established and handshake.clock.now <= WITHIN:
            assert handshake.same_keys
            times.append(handshake.clock.now)
    median = statistics.median(times)
    print(
        f"DTLS under {loss:.0%} loss, seed {seed}: {len(times)}/{CALLS} handshakes within"
        f" {WITHIN:.0f} s, median {median:.2f} s, longest {max(times):.2f} s"
    )
    assert len(times) >= least * CALLS
    assert median < 1.5


@pytest.mark.slow
@pytest.mark.parametrize(
    "conditions",
    [
        {"duplicate": 0.3, "reorder": 0.3, "loss": 0.1},
        {"mtu": 1_200, "loss": 0.1},
    ],
    ids=["doubled and overtaken", "a small MTU"],
)
def test_handshakes_outlive_what_else_a_path_does(certificates, conditions):
    connected = 0
    for call in range(CALLS):
        handshake = Handshake(certificates, 7_000_000 + call, **conditions).start().run()
        connected += handshake.established and handshake.same_keys
    print(f"DTLS on a path with {conditions}: {connected}/{CALLS} handshakes within {WITHIN:.0f} s")
    assert connected == CALLS


def place_of(position, random):
    """When the hostile datagram comes: after so many genuine ones, None before any description."""
    if position == "before":
        return random.choice((None, 0))
    return random.randrange(1, 4) if position == "between" else 99


@pytest.mark.slow
@pytest.mark.parametrize("position", ["before", "between", "after"])
@pytest.mark.parametrize("source", ["a stranger", "the peer"])
def test_no_hostile_datagram_keeps_a_call_from_its_keys(certificates, position, source):
    connected, kinds = 0, Counter()
    for call in range(CALLS):
        random = Random(f"{position} {source} {call}")
        kind = list(HOSTILE_DTLS)[call % len(HOSTILE_DTLS)]
        victim, peer = random.choice(((CLIENT, SERVER), (SERVER, CLIENT)))
        origin = STRANGER if source == "a stranger" else peer
        place = place_of(position, random)
        handshake = Handshake(certificates, call)
        if place is None:
            handshake.inject(HOSTILE_DTLS[kind](random), origin, victim)
        handshake.start()
        if place is not None:
            handshake.run(lambda it, at=place: it.delivered >= at or it.established)
            handshake.inject(HOSTILE_DTLS[kind](random), origin, victim)
        handshake.run(seconds=WITHIN)
        handshake.run(lambda _: False, seconds=LINGER)
        case = f"call {call}: {kind} from {source} {position} the flight"
        assert handshake.established, case
        assert handshake.same_keys, case
        assert not handshake.failures, case
        assert not handshake.alerts(), case
        assert handshake.client.statistics.rehandshakes == 0, case
        assert handshake.server.statistics.rehandshakes == 0, case
        connected += 1
        kinds[kind] += 1
    print(
        f"one hostile DTLS datagram of {len(kinds)} kinds from {source} {position} the flight:"
        f" {connected}/{CALLS} connect"
    )
    assert connected == CALLS


@pytest.mark.slow
@pytest.mark.parametrize("source", ["a stranger", "the peer"])
def test_a_handshake_begun_in_the_name_of_the_peer_does_not_keep_it_away(certificates, source):
    connected = 0
    for call in range(CALLS):
        random = Random(f"hello {source} {call}")
        origin = STRANGER if source == "a stranger" else CLIENT
        impostor = DtlsTransport(certificates[1])
        hello = impostor.start("client", [certificates[1].fingerprint()], SERVER, 0.0)
        handshake = Handshake(certificates, call).start()
        place = random.randrange(6)
        handshake.run(lambda it, at=place: it.delivered >= at or it.established)
        handshake.inject(hello.outgoing[0][0], origin, SERVER)
        handshake.run(seconds=WITHIN)
        case = f"call {call}: a ClientHello from {source} after {place} datagrams"
        assert handshake.established, case
        assert handshake.same_keys, case
        assert not handshake.failures, case
        connected += 1
    print(f"a ClientHello of another handshake from {source}: {connected}/{CALLS} connect")
