"""Two user agents in virtual time, and what must hold after every scenario."""

from __future__ import annotations

from collections import Counter

import pytest

from callmeter.sip.capabilities import Capabilities
from callmeter.sip.message import Headers
from callmeter.sip.parser import parse_message
from callmeter.sip.session_events import Cancelled, Ended, Failed, IncomingInvite
from callmeter.sip.uri import SipUri
from callmeter.testing.network import Datagram
from callmeter.testing.pair import Pair, Party

OFFER = b"v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nt=0 0\r\n"
ANSWER = b"v=0\r\no=- 2 1 IN IP4 192.0.2.2\r\ns=-\r\nt=0 0\r\n"

LINGER = 200.0
"""Longer than all timers of a call together."""


class Proxy:
    """A stateless proxy in virtual time that stays on the path of the calls it forwards.

    Attributes:
        users: Who is reached where: a host by a user name, or several to fork to.
        received: Requests that came by.
    """

    def __init__(self, name, host, network, users):
        self.name = name
        self.address = (host, 5060)
        self.users = users
        self.received = []
        self._network = network

    def __len__(self):
        return 0

    def next_deadline(self):
        return None

    def on_deadline(self):
        pass

    def receive(self, datagram):
        message = parse_message(datagram.data)
        if message.is_request:
            self._forward(message)
        else:
            self._return(message)

    def _forward(self, request):
        host = self.address[0]
        self.received.append(request)
        routes = [route for route in request.routes if route.uri.host != host]
        lines = [(name, value) for name, value in request.headers if name != "Route"]
        request.headers = Headers([*lines, *(("Route", route) for route in routes)])
        if request.method == "INVITE":
            request.headers.insert("Record-Route", f"<sip:{host};lr>")
        if request.uri.host != host:
            self._relay(request, routes[0].uri.host if routes else request.uri.host, "")
            return
        places = self.users[request.uri.user]
        for number, place in enumerate([places] if isinstance(places, str) else places):
            copy = request.copy()
            copy.uri = SipUri("sip", place, user=request.uri.user)
            self._relay(copy, routes[0].uri.host if routes else place, str(number))

    def _relay(self, request, destination, fork):
        branch = f"{request.via.branch}{self.name}{fork}"
        request.headers.insert("Via", f"SIP/2.0/UDP {self.address[0]};branch={branch}")
        self._send(request, destination)

    def _return(self, response):
        response.headers.remove_first("Via")
        self._send(response, response.via.host)

    def _send(self, message, host):
        self._network.send(Datagram(self.address, (host, 5060), message.to_bytes()))


class Bench(Pair):
    """A pair whose Bob answers as told, with the checks every scenario ends with."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.network.log = []
        self.calls = []

    def enable(self, **settings):
        """Let both ends serve more than RFC 3261."""
        for party in (self.alice, self.bob):
            party.core.capabilities = Capabilities(**settings)

    def bob_answers(self, after: float = 0.0, ringing: int | None = 180, status: int = 200):
        """Let Bob ring, and after a while answer or refuse."""

        def final(session):
            if session.over:
                return []  # cancelled meanwhile
            if status == 200:
                return session.accept(ANSWER, self.clock.now)
            return session.reject(status, self.clock.now)

        def on_event(event):
            if not isinstance(event, IncomingInvite):
                return []
            session = event.session
            self.schedule(after, self.bob, lambda: final(session))
            return session.progress(ringing, self.clock.now) if ringing else []

        self.bob.on_event = on_event

    def call(self, body: bytes = OFFER, target=None):
        """Let Alice call Bob."""
        session, effects = self.alice.core.invite(
            target or self.bob.contact, self.clock.now, body=body
        )
        self.calls.append(session)
        self.alice.apply(effects)
        return session

    def established(self, seconds: float = 1.0):
        """Alice's and Bob's end of a call in progress."""
        self.bob_answers()
        caller = self.call()
        self.run(seconds)
        (incoming,) = self.bob.events_of(IncomingInvite)[-1:]
        return caller, incoming.session

    def incoming(self):
        """The last call that reached Bob, as he sees it."""
        return self.bob.events_of(IncomingInvite)[-1].session

    def third(self, name="carol", host="192.0.2.3"):
        """Another party."""
        party = Party(name, (host, 5060), self.network, self.clock, seed=3)
        party.core.capabilities = self.bob.core.capabilities
        return self.add(party)

    def proxy(self, name="proxy", host="192.0.2.10", **users):
        """A proxy that knows where some users are."""
        return self.add(Proxy(name, host, self.network, users))

    def dial(self, party, target, body=OFFER, **how):
        """Let anybody call anybody."""
        session, effects = party.core.invite(target, self.clock.now, body=body, **how)
        self.calls.append(session)
        party.apply(effects)
        return session

    def hang_up(self, caller) -> None:
        """Let Alice end a call."""
        self.alice.apply(caller.bye(self.clock.now))
        self.run(1)

    def ladder(self, since: float = 0.0) -> list[str]:
        """What was sent from a time on, each message by sender and method or status."""
        names = {address[0]: party.name for address, party in self._parties.items()}
        rows = []
        for when, datagram in self.network.log:
            if when < since:
                continue
            words = datagram.data.split(b"\r\n", 1)[0].decode().split()
            name = names[datagram.source[0]]
            rows.append(f"{name} {words[1] if words[0] == 'SIP/2.0' else words[0]}")
        return rows

    def check_nothing_is_left(self) -> None:
        """Every session ended once, and no state is kept on either side."""
        self.run(LINGER)
        for party in self._parties.values():
            if not isinstance(party, Party):
                continue
            begun = [event.session for event in party.events_of(IncomingInvite)]
            begun += [session for session in self.calls if session._agent is party.core._agent]
            ends = Counter(
                event.session
                for _, event in party.events
                if isinstance(event, Failed | Cancelled | Ended)
            )
            assert ends == dict.fromkeys(begun, 1)
            agent = party.core._agent
            assert (len(party.core), len(party.layer), len(party)) == (0, 0, 0)
            assert not agent.served
            assert party.core.next_deadline() is None
            assert party.layer.next_deadline() is None
            assert party.malformed == 0
        assert len(self) == 0


def is_request(method: str):
    """A trap for datagrams with this method."""
    return lambda datagram: datagram.data.startswith(method.encode() + b" ")


def is_response(status: int, method: str):
    """A trap for datagrams with this status and CSeq method."""
    start = f"SIP/2.0 {status} ".encode()
    return lambda datagram: (
        datagram.data.startswith(start) and f" {method}\r\n".encode() in datagram.data
    )


@pytest.fixture
def make_bench():
    """Makes benches and checks each of them in the end."""
    benches = []

    def make(seed: int = 0, conditions=None, **options):
        bench = Bench(seed, conditions, **options)
        benches.append(bench)
        return bench

    yield make
    for bench in benches:
        bench.check_nothing_is_left()


@pytest.fixture
def bench(make_bench):
    return make_bench()


@pytest.fixture(scope="session")
def new_bench():
    """A bench that the test checks itself."""
    return Bench


@pytest.fixture
def lost():
    """Traps for `network.lose`: by method, or by status and method."""

    def choose(what, method=None):
        return is_request(what) if method is None else is_response(what, method)

    return choose
