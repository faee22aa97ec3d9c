"""The call flows of RFC 3665 that a user agent takes part in.

Not here: 2.2 and 2.3, which are for a registrar with several contacts; 3.4, which is about the
choice of a next hop (tests/asyncio); 3.5, whose gateway looks like any other proxy.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from callmeter.config import Credentials
from callmeter.sip.capabilities import Capabilities
from callmeter.sip.digest import DigestServer, Outcome
from callmeter.sip.invite_session import SessionState
from callmeter.sip.session_events import (
    Answered,
    Cancelled,
    Established,
    Failed,
    IncomingInvite,
    Provisional,
    Redirected,
    Registered,
    RegistrationFailed,
    ReinviteAnswered,
    ReinviteReceived,
    Respond,
    Unregistered,
)
from callmeter.sip.uri import SipUri

REGISTRAR = SipUri("sip", "192.0.2.2")


def challenging(bench, methods, *, proxy=False, password="s3cret"):
    """Let Bob's side ask for credentials before it serves some methods."""
    octets = iter(range(10**6))
    digest = DigestServer(
        "example.com",
        {"alice": "s3cret"}.get,
        lambda count: (next(octets) % 256**count).to_bytes(count, "big"),
        proxy=proxy,
    )

    def on_request(key, request):
        now = bench.clock.now
        if request.method not in methods:
            return None
        if digest.check(request, now).outcome is not Outcome.OK:
            lines = [(digest.challenge_header, value) for value in digest.challenge(now)]
            return [Respond(key, request.create_response(digest.status, to_tag="r", headers=lines))]
        if request.method != "REGISTER":
            return None
        lines = [("Contact", f"{request.headers.get('Contact')};expires={request.expires}")]
        return [Respond(key, request.create_response(200, to_tag="r", headers=lines))]

    bench.bob.on_request = on_request
    core = bench.alice.core
    core.identity = replace(
        core.identity,
        credentials=Credentials("alice", password),
        trusted_realm_hosts=frozenset({"192.0.2.2"}),
    )


def test_section_2_1_successful_new_registration(bench):
    challenging(bench, {"REGISTER"})
    usage, effects = bench.alice.core.register(REGISTRAR, 7200, 0.0)
    bench.alice.apply(effects)
    bench.run(1)
    assert bench.ladder() == ["alice REGISTER", "bob 401", "alice REGISTER", "bob 200"]
    first, second = bench.bob.received
    assert first.call_id == second.call_id
    assert second.cseq.number == first.cseq.number + 1
    assert bench.alice.events_of(Registered)[0].expires == 7200
    bench.alice.apply(usage.unregister(bench.clock.now))


def test_section_2_4_cancellation_of_registration(bench):
    challenging(bench, {"REGISTER"})
    usage, effects = bench.alice.core.register(REGISTRAR, 7200, 0.0)
    bench.alice.apply(effects)
    bench.run(1)
    start = bench.clock.now
    bench.alice.apply(usage.unregister(start))
    bench.run(1)
    assert bench.bob.received[-1].expires == 0
    assert bench.alice.events_of(Unregistered) == [Unregistered(usage)]


def test_section_2_5_unsuccessful_registration(bench):
    challenging(bench, {"REGISTER"}, password="wrong")
    _, effects = bench.alice.core.register(REGISTRAR, 7200, 0.0)
    bench.alice.apply(effects)
    bench.run(1)
    assert bench.ladder() == ["alice REGISTER", "bob 401", "alice REGISTER", "bob 401"]
    assert bench.alice.events_of(RegistrationFailed)[0].cause == "authentication"


def test_section_3_1_successful_session_establishment(bench):
    caller, _ = bench.established()
    bench.bob.apply(bench.incoming().bye(bench.clock.now))
    bench.run(1)
    assert bench.ladder() == [
        *("alice INVITE", "bob 180", "bob 200", "alice ACK", "bob BYE", "alice 200"),
    ]
    assert caller.state is SessionState.ENDED


def test_section_3_2_session_establishment_through_two_proxies(bench):
    far = bench.proxy("far", "192.0.2.11", bob="192.0.2.2")
    near = bench.proxy("near", "192.0.2.10", bob="192.0.2.11")
    core = bench.alice.core
    core.identity = replace(
        core.identity, routes=(SipUri("sip", "192.0.2.10", params=(("lr", None),)),)
    )
    bench.bob_answers()
    caller = bench.call(target=SipUri("sip", "192.0.2.11", user="bob"))
    bench.run(1)
    assert [str(route.uri) for route in caller.dialog.route_set] == [
        "sip:192.0.2.10;lr",
        "sip:192.0.2.11;lr",
    ]
    bench.hang_up(caller)
    for proxy in (near, far):
        assert [m.method for m in proxy.received] == ["INVITE", "ACK", "BYE"]
    assert bench.ladder()[-6:] == [
        *("alice BYE", "near BYE", "far BYE", "bob 200", "far 200", "near 200"),
    ]


def test_section_3_3_session_with_proxy_authentication(bench):
    challenging(bench, {"INVITE"}, proxy=True)
    bench.bob_answers()
    caller = bench.call()
    bench.run(1)
    assert bench.ladder() == [
        *("alice INVITE", "bob 407", "alice ACK", "alice INVITE", "bob 180", "bob 200"),
        "alice ACK",
    ]
    ack = bench.bob.received[-1]
    assert "Proxy-Authorization" in ack.headers
    bench.hang_up(caller)


def test_section_3_6_session_via_redirect_and_proxy_servers_with_sdp_in_the_ack(bench):
    bench.alice.core.capabilities = Capabilities(redirects=5)
    server = bench.third("redirect", "192.0.2.20")
    bench.proxy("proxy", "192.0.2.10", bob="192.0.2.2")
    lines = [("Contact", "<sip:bob@192.0.2.10>")]
    server.on_event = lambda event: (
        event.session.reject(302, bench.clock.now, headers=lines)
        if type(event) is IncomingInvite
        else []
    )
    bench.bob_answers()
    bench.alice.on_event = lambda event: (
        event.session.ack(b"v=0 answer", bench.clock.now) if type(event) is Answered else []
    )
    caller = bench.call(b"", SipUri("sip", "192.0.2.20", user="bob"))
    bench.run(1)
    assert bench.ladder()[:5] == [
        *("alice INVITE", "redirect 302", "alice ACK", "alice INVITE", "proxy INVITE"),
    ]
    assert str(bench.alice.events_of(Redirected)[0].target) == "sip:bob@192.0.2.10"
    assert bench.bob.events_of(Established)[0].ack.body == b"v=0 answer"
    bench.hang_up(caller)


def test_section_3_7_session_with_reinvite_for_a_changed_address(bench):
    caller, callee = bench.established()
    core = bench.bob.core
    core.identity = replace(core.identity, contact=replace(core.identity.contact, user="bob2"))
    bench.alice.on_event = lambda event: (
        event.session.accept_reinvite(b"v=0 answer", bench.clock.now)
        if type(event) is ReinviteReceived
        else []
    )
    bench.bob.apply(callee.reinvite(b"v=0 new address", bench.clock.now))
    bench.run(1)
    assert bench.ladder()[-3:] == ["bob INVITE", "alice 200", "bob ACK"]
    assert caller.remote_target.user == "bob2"
    assert len(bench.bob.events_of(ReinviteAnswered)) == 1
    bench.hang_up(caller)


def test_section_3_8_unsuccessful_no_answer(bench):
    bench.bob_answers(after=500)
    caller = bench.call()
    bench.run(10)
    bench.alice.apply(caller.cancel(bench.clock.now))
    bench.run(1)
    assert bench.ladder()[:2] == ["alice INVITE", "bob 180"]
    assert sorted(bench.ladder()[2:]) == ["alice ACK", "alice CANCEL", "bob 200", "bob 487"]
    assert len(bench.bob.events_of(Cancelled)) == 1


@pytest.mark.parametrize(
    ("status", "reason"), [(486, "Busy Here"), (480, "Temporarily Unavailable")]
)
def test_sections_3_9_busy_and_3_11_temporarily_unavailable(bench, status, reason):
    bench.bob_answers(ringing=None, status=status)
    bench.call()
    bench.run(1)
    assert bench.ladder() == ["alice INVITE", f"bob {status}", "alice ACK"]
    (failed,) = bench.alice.events_of(Failed)
    assert (failed.status, failed.reason) == (status, reason)


def test_section_3_10_unsuccessful_no_response_from_the_user_agent(bench):
    bench.network.partition("192.0.2.1", "192.0.2.2")
    bench.call()
    bench.run(33)
    assert bench.ladder() == ["alice INVITE"] * 7
    (failed,) = bench.alice.events_of(Failed)
    assert (failed.status, failed.cause) == (408, "timeout")
    assert bench.alice.events_of(Provisional) == []
