"""Calls between two user agents, after the flows of RFC 3665."""

from __future__ import annotations

import pytest

from callmeter.sip.invite_session import SessionState
from callmeter.sip.session_events import (
    Answered,
    Cancelled,
    Ended,
    Established,
    Failed,
    IncomingInvite,
    InfoReceived,
    Provisional,
    ReinviteAnswered,
    ReinviteEstablished,
    ReinviteReceived,
    RequestAnswered,
)
from callmeter.sip.uri import SipUri


def kinds(party):
    return [type(event) for _, event in party.events]


def test_a_call_is_set_up_and_ended_by_the_caller(bench):
    caller, callee = bench.established()
    assert caller.state is callee.state is SessionState.ESTABLISHED
    bench.alice.apply(caller.bye(bench.clock.now))
    bench.run(1)
    assert bench.ladder() == [
        "alice INVITE",
        "bob 180",
        "bob 200",
        "alice ACK",
        "alice BYE",
        "bob 200",
    ]
    assert kinds(bench.alice) == [Provisional, Answered, Ended]
    assert kinds(bench.bob) == [IncomingInvite, Established, Ended]
    assert bench.alice.events_of(Ended)[0].cause == "bye-sent"
    assert bench.bob.events_of(Ended)[0].cause == "bye-received"


def test_a_call_is_ended_by_the_callee(bench):
    _, callee = bench.established()
    bench.bob.apply(callee.bye(bench.clock.now))
    bench.run(1)
    assert bench.ladder()[-2:] == ["bob BYE", "alice 200"]
    assert bench.alice.events_of(Ended)[0].cause == "bye-received"


def test_both_hang_up_at_once(bench):
    caller, callee = bench.established()
    bench.alice.apply(caller.bye(bench.clock.now))
    bench.bob.apply(callee.bye(bench.clock.now))
    bench.run(1)
    assert bench.ladder()[-4:] == ["alice BYE", "bob BYE", "bob 200", "alice 200"]
    assert {event.cause for event in bench.alice.events_of(Ended)} == {"bye-sent"}


@pytest.mark.parametrize(("status", "reason"), [(486, "Busy Here"), (603, "Decline")])
def test_a_callee_refuses(bench, status, reason):
    bench.bob_answers(2.0, status=status)
    bench.call()
    bench.run(5)
    (failed,) = bench.alice.events_of(Failed)
    assert (failed.status, failed.reason, failed.cause) == (status, reason, "rejected")
    assert bench.ladder() == ["alice INVITE", "bob 180", f"bob {status}", "alice ACK"]


def test_a_slow_callee_says_trying_first(bench):
    bench.bob_answers(1.0, ringing=None)
    caller = bench.call()
    bench.run(2)
    assert bench.ladder() == ["alice INVITE", "bob 100", "bob 200", "alice ACK"]
    bench.alice.apply(caller.bye(bench.clock.now))


def test_a_call_is_cancelled_while_it_rings(bench):
    bench.bob_answers(60)
    caller = bench.call()
    bench.run(2)
    bench.alice.apply(caller.cancel(bench.clock.now))
    bench.run(1)
    assert bench.ladder() == [
        "alice INVITE",
        "bob 180",
        "alice CANCEL",
        "bob 200",
        "bob 487",
        "alice ACK",
    ]
    assert bench.alice.events_of(Failed)[0].cause == "cancelled"
    assert kinds(bench.bob) == [IncomingInvite, Cancelled]


def test_a_cancel_waits_for_the_first_provisional_response(bench):
    bench.bob_answers(60, ringing=None)
    caller = bench.call()
    bench.alice.apply(caller.cancel(bench.clock.now))
    bench.run(2)
    assert bench.ladder() == [
        "alice INVITE",
        "bob 100",
        "alice CANCEL",
        "bob 200",
        "bob 487",
        "alice ACK",
    ]
    assert bench.alice.events_of(Failed)[0].cause == "cancelled"


def test_a_cancelled_call_to_nobody_ends_when_the_invite_does(bench):
    bench.network.partition("192.0.2.1", "192.0.2.2")
    caller = bench.call()
    bench.alice.apply(caller.cancel(bench.clock.now))
    bench.run(33)
    (failed,) = bench.alice.events_of(Failed)
    assert (failed.status, failed.cause) == (408, "cancelled")
    assert "alice CANCEL" not in bench.ladder()


def test_a_call_to_nobody_times_out_after_seven_invites(bench):
    bench.network.partition("192.0.2.1", "192.0.2.2")
    bench.call()
    bench.run(33)
    assert bench.ladder() == ["alice INVITE"] * 7
    (failed,) = bench.alice.events_of(Failed)
    assert (failed.status, failed.cause) == (408, "timeout")


def test_a_call_to_a_name_that_means_nothing_fails_at_once(bench):
    bench.call(target=SipUri("sip", "nowhere.invalid", user="bob"))
    (failed,) = bench.alice.events_of(Failed)
    assert (failed.status, failed.cause) == (503, "transport")
    assert bench.ladder() == []


def test_a_call_without_an_offer_gets_one_and_answers_it_in_the_ack(bench):
    bench.bob_answers()

    def on_event(event):
        return event.session.ack(b"answer", bench.clock.now) if type(event) is Answered else []

    bench.alice.on_event = on_event
    caller = bench.call(body=b"")
    bench.run(1)
    assert bench.bob.events_of(Established)[0].ack.body == b"answer"
    bench.alice.apply(caller.bye(bench.clock.now))


def test_a_session_is_changed_and_goes_on(bench):
    caller, callee = bench.established()

    def on_event(event):
        if type(event) is ReinviteReceived:
            return callee.accept_reinvite(event.request.body, bench.clock.now)
        return []

    bench.bob.on_event = on_event
    bench.alice.apply(caller.reinvite(b"hold", bench.clock.now))
    bench.run(1)
    assert bench.ladder()[-3:] == ["alice INVITE", "bob 200", "alice ACK"]
    assert bench.alice.events_of(ReinviteAnswered)[0].response.body == b"hold"
    assert len(bench.bob.events_of(ReinviteEstablished)) == 1
    bench.alice.apply(caller.bye(bench.clock.now))


def test_an_info_travels_within_the_call(bench):
    caller, callee = bench.established()

    def on_event(event):
        return callee.answer(event.key, 200, 0.0) if type(event) is InfoReceived else []

    bench.bob.on_event = on_event
    token, effects = caller.info("application/dtmf-relay", b"Signal=5", bench.clock.now)
    bench.alice.apply(effects)
    bench.run(1)
    (event,) = bench.alice.events_of(RequestAnswered)
    assert (event.token, event.response.status) == (token, 200)
    bench.alice.apply(caller.bye(bench.clock.now))


def test_a_peer_is_asked_what_it_can_do(bench):
    token, effects = bench.alice.core.options(bench.bob.contact, bench.clock.now)
    bench.alice.apply(effects)
    bench.run(1)
    (event,) = bench.alice.events_of(RequestAnswered)
    assert event.token == token
    assert "INVITE" in event.response.allow


def test_over_a_stream_only_the_2xx_is_ever_sent_twice(make_bench):
    bench = make_bench(transport="TCP")
    bench.network.lose(lambda datagram: datagram.data.startswith(b"ACK"))
    caller, callee = bench.established(2.0)
    assert bench.ladder() == [
        "alice INVITE",
        "bob 180",
        "bob 200",
        "alice ACK",
        "bob 200",
        "alice ACK",
    ]
    assert callee.state is SessionState.ESTABLISHED
    bench.alice.apply(caller.bye(bench.clock.now))


def test_a_proxy_in_the_record_route_sees_every_request_of_the_call(bench):
    # The proxy has Bob's address: what matters is the Route that requests carry.
    bench.bob_answers()
    invites = []

    def on_request(key, request):
        if request.method == "INVITE":
            request.headers.add("Record-Route", "<sip:192.0.2.2:5060;lr>")
        invites.append((request.method, request.headers.get_all("Route")))

    bench.bob.on_request = on_request
    caller = bench.call()
    bench.run(1)
    bench.alice.apply(caller.bye(bench.clock.now))
    bench.run(1)
    assert invites == [("INVITE", []), ("BYE", ["<sip:192.0.2.2:5060;lr>"])]


def test_a_cancel_may_say_why(bench):
    bench.bob_answers(after=100)
    caller = bench.call()
    bench.run(1)
    bench.alice.apply(caller.cancel(bench.clock.now, [("Reason", "SIP;cause=200")]))
    bench.run(1)
    cancel = next(m for m in bench.bob.received if m.is_request and m.method == "CANCEL")
    assert cancel.headers.get("Reason") == "SIP;cause=200"


@pytest.mark.parametrize("asking", ["alice", "bob"])
def test_a_reinvite_without_an_offer_gets_one_and_answers_it_in_the_ack(bench, asking):
    caller, callee = bench.established()
    one, other, session = bench.alice, bench.bob, caller
    if asking == "bob":
        one, other, session = bench.bob, bench.alice, callee
    other.on_event = lambda event: (
        event.session.accept_reinvite(b"v=0 offer", bench.clock.now)
        if type(event) is ReinviteReceived
        else []
    )
    one.on_event = lambda event: (
        event.session.ack(b"v=0 answer", bench.clock.now) if type(event) is ReinviteAnswered else []
    )
    one.apply(session.reinvite(b"", bench.clock.now))
    bench.run(1)
    assert other.events_of(ReinviteReceived)[0].request.body == b""
    assert one.events_of(ReinviteAnswered)[0].response.body == b"v=0 offer"
    assert other.events_of(ReinviteEstablished)[0].ack.body == b"v=0 answer"
    assert caller.dialog.exchange.idle
    assert callee.dialog.exchange.idle
    bench.hang_up(caller)
