"""Registration and authentication, after the flows of RFC 3665 section 2."""

from __future__ import annotations

from dataclasses import replace

import pytest

from callmeter.config import Credentials
from callmeter.sip.digest import DigestServer, Outcome
from callmeter.sip.register import RegistrationState
from callmeter.sip.session_events import (
    Answered,
    Failed,
    Registered,
    RegistrationFailed,
    Respond,
    Unregistered,
)
from callmeter.sip.uri import SipUri

REGISTRAR = SipUri("sip", "192.0.2.2")


class Server:
    """What Bob's side does when it plays the server."""

    def __init__(self, bench, *, realm="example.com", proxy=False, methods=("REGISTER",)):
        octets = iter(range(10**9))
        self.digest = DigestServer(
            realm,
            {"alice": "s3cret"}.get,
            lambda count: (next(octets) % 256**count).to_bytes(count, "big"),
            proxy=proxy,
        )
        self.bench = bench
        self.methods = methods
        self.granted = 600
        self.shortest = 0
        self.bindings: dict[str, int] = {}
        bench.bob.on_request = self

    def __call__(self, key, request):
        if request.method not in self.methods:
            return None
        now = self.bench.clock.now
        verdict = self.digest.check(request, now)
        if verdict.outcome is not Outcome.OK:
            lines = [
                (self.digest.challenge_header, value)
                for value in self.digest.challenge(now, stale=verdict.stale)
            ]
            return [self.reply(key, request, self.digest.status, lines)]
        if request.method != "REGISTER":
            return None
        if 0 < request.expires < self.shortest:
            return [self.reply(key, request, 423, [("Min-Expires", str(self.shortest))])]
        (contact,) = request.contacts
        expires = min(request.expires, self.granted)
        self.bindings[str(contact.uri)] = expires
        if not expires:
            self.bindings.clear()
        lines = [("Contact", f"<{uri}>;expires={left}") for uri, left in self.bindings.items()]
        return [self.reply(key, request, 200, lines)]

    @staticmethod
    def reply(key, request, status, lines):
        return Respond(key, request.create_response(status, to_tag="server", headers=lines))


@pytest.fixture
def trusting(bench):
    """Gives Alice her password, and the server to trust."""

    def trust(password="s3cret", hosts=("192.0.2.2",)):
        bench.alice.core.identity = replace(
            bench.alice.core.identity,
            credentials=Credentials("alice", password),
            trusted_realm_hosts=frozenset(hosts),
        )
        return bench

    return trust


def register(bench, expires=600):
    usage, effects = bench.alice.core.register(REGISTRAR, expires, bench.clock.now)
    bench.alice.apply(effects)
    bench.run(1)
    return usage


def unregister(bench, usage):
    bench.alice.apply(usage.unregister(bench.clock.now))
    bench.run(1)
    assert len(bench.alice.events_of(Unregistered)) == 1


def test_a_registration_answers_the_challenge_refreshes_and_ends(trusting):
    bench = trusting()
    server = Server(bench)
    usage = register(bench)
    assert bench.ladder() == ["alice REGISTER", "bob 401", "alice REGISTER", "bob 200"]
    assert server.bindings == {"sip:alice@192.0.2.1:5060": 600}
    bench.run(3600)
    refreshes = len(bench.alice.events_of(Registered)) - 1
    assert 6 <= refreshes <= 7
    assert usage.state is RegistrationState.REGISTERED
    unregister(bench, usage)
    assert server.bindings == {}


def test_a_registrar_that_grants_less_is_asked_more_often(trusting):
    bench = trusting()
    Server(bench).granted = 60
    usage = register(bench)
    bench.run(600)
    assert 11 <= len(bench.alice.events_of(Registered)) <= 14
    unregister(bench, usage)


def test_an_interval_that_is_too_brief_is_lengthened(trusting):
    bench = trusting()
    server = Server(bench)
    server.shortest = 300
    usage = register(bench, 60)
    assert usage.granted == 300
    assert [row for row in bench.ladder() if row.startswith("bob")] == [
        "bob 401",
        "bob 423",
        "bob 401",
        "bob 200",
    ]
    unregister(bench, usage)


def test_a_wrong_password_is_tried_once(trusting):
    bench = trusting("wrong")
    Server(bench)
    register(bench)
    assert bench.ladder() == ["alice REGISTER", "bob 401"] * 2
    (failed,) = bench.alice.events_of(RegistrationFailed)
    assert (failed.status, failed.cause) == (401, "authentication")


def test_a_registrar_that_is_away_is_found_again(trusting):
    bench = trusting()
    Server(bench)
    usage = register(bench)
    bench.network.partition("192.0.2.1", "192.0.2.2")
    bench.run(700)
    assert {event.cause for event in bench.alice.events_of(RegistrationFailed)} == {"timeout"}
    assert usage.state in {RegistrationState.FAILED, RegistrationState.REGISTERING}
    bench.network.heal()
    bench.run(600)
    assert usage.state is RegistrationState.REGISTERED
    unregister(bench, usage)


def test_no_registrar_means_a_failed_registration(trusting):
    bench = trusting()
    bench.network.partition("192.0.2.1", "192.0.2.2")
    register(bench)
    bench.run(33)
    (failed,) = bench.alice.events_of(RegistrationFailed)
    assert (failed.status, failed.cause) == (408, "timeout")
    assert bench.ladder().count("alice REGISTER") == 11


def test_a_proxy_challenges_a_call(trusting):
    bench = trusting()
    Server(bench, proxy=True, methods=("INVITE", "BYE"))
    caller, _ = bench.established()
    assert bench.ladder() == [
        "alice INVITE",
        "bob 407",
        "alice ACK",
        "alice INVITE",
        "bob 180",
        "bob 200",
        "alice ACK",
    ]
    assert caller.request.cseq.number == 1
    assert bench.bob.received[-1].cseq.number == 2
    assert len(bench.alice.events_of(Answered)) == 1
    bench.alice.apply(caller.bye(bench.clock.now))
    bench.run(1)
    assert bench.ladder()[-4:] == ["alice BYE", "bob 407", "alice BYE", "bob 200"]


def test_a_stranger_that_challenges_a_call_learns_nothing(trusting):
    bench = trusting(hosts=("192.0.2.99",))
    Server(bench, methods=("INVITE",))
    bench.call()
    bench.run(1)
    assert bench.ladder() == ["alice INVITE", "bob 401", "alice ACK"]
    assert bench.alice.events_of(Failed)[0].cause == "authentication"
    assert not any(
        b"uthorization" in datagram.data
        for _, datagram in bench.network.log
        if datagram.source[0] == "192.0.2.1"
    )
