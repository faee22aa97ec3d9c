"""Messages that cross each other on the way."""

from __future__ import annotations

from random import Random

import pytest

from callmeter.sip.invite_session import SessionState
from callmeter.sip.session_events import (
    Answered,
    Ended,
    Failed,
    IncomingInvite,
    ReinviteAnswered,
    ReinviteFailed,
    ReinviteReceived,
    Respond,
)
from callmeter.testing.network import LinkConditions

RACES = 1000
BENCHES = 10


def hanging_up(bench, caller):
    """What ends a call, whatever state it is in."""

    def hang_up():
        if caller.over:
            return []
        command = caller.bye if caller.answered else caller.cancel
        return command(bench.clock.now)

    return hang_up


def agreeing(bench, session):
    """Accepts every change of a session."""

    def on_event(event):
        if type(event) is ReinviteReceived:
            return session.accept_reinvite(b"answer", bench.clock.now)
        return []

    return on_event


@pytest.mark.parametrize("loss", [0.0, 0.2])
def test_no_race_of_cancel_and_200_leaves_a_call_behind(make_bench, loss):
    outcomes = set()
    for seed in range(BENCHES):
        bench = make_bench(seed, LinkConditions(delay=0.02, jitter=0.03, loss=loss))
        random = Random(seed)
        for _ in range(RACES // BENCHES):
            bench.bob_answers(random.uniform(0.3, 0.4))
            caller = bench.call()
            bench.schedule(random.uniform(0.25, 0.45), bench.alice, hanging_up(bench, caller))
            bench.run(0.5)
        bench.check_nothing_is_left()
        assert all(session.state is SessionState.ENDED for session in bench.calls)
        outcomes |= {type(event) for _, event in bench.alice.events}
    assert {Answered, Ended, Failed} <= outcomes


def test_a_200_that_crosses_the_cancel_is_acknowledged_and_ended(bench):
    bench.bob_answers(1.0)
    caller = bench.call()
    bench.run(1.005)
    bench.alice.apply(caller.cancel(bench.clock.now))
    bench.run(1)
    assert sorted(bench.ladder()) == sorted(
        [
            "alice INVITE",
            "bob 180",
            "alice CANCEL",
            "bob 200",  # to the INVITE
            "bob 200",  # to the CANCEL
            "alice ACK",
            "alice BYE",
            "bob 200",
        ]
    )
    assert bench.alice.events_of(Failed)[0].cause == "cancelled"
    assert bench.bob.events_of(Ended)[0].cause == "bye-received"


def test_a_hundred_glares_resolve(make_bench):
    for seed in range(100):
        bench = make_bench(seed, LinkConditions(delay=0.05, jitter=0.05))
        caller, callee = bench.established()
        ends = ((bench.alice, caller), (bench.bob, callee))
        for party, session in ends:
            party.on_event = agreeing(bench, session)
            party.apply(session.reinvite(b"offer", bench.clock.now))
        bench.run(15)
        assert bench.ladder().count("alice 491") + bench.ladder().count("bob 491") >= 2
        for party, session in ends:
            assert len(party.events_of(ReinviteAnswered)) == 1
            assert party.events_of(ReinviteFailed) == []
            assert session.state is SessionState.ESTABLISHED
        bench.alice.apply(caller.bye(bench.clock.now))


def test_a_reinvite_that_crosses_a_bye_gets_481(bench):
    caller, callee = bench.established()
    bench.alice.apply(caller.bye(bench.clock.now))
    bench.bob.apply(callee.reinvite(b"hold", bench.clock.now))
    bench.run(1)
    assert "alice 481" in bench.ladder()
    assert bench.bob.events_of(Ended)[0].cause == "bye-received"


def test_a_call_that_two_phones_answer_keeps_one(bench):
    tags = ("one", "two")

    def on_request(key, request):
        if request.method == "INVITE":
            return [
                Respond(
                    key,
                    request.create_response(
                        200, to_tag=tag, headers=[("Contact", "<sip:bob@192.0.2.2:5060>")]
                    ),
                )
                for tag in tags
            ]
        return [Respond(key, request.create_response(200))]

    bench.bob.on_request = on_request
    caller = bench.call()
    bench.run(1)
    assert caller.dialog.remote_tag == "one"
    byes = [message for message in bench.bob.received if message.method == "BYE"]
    assert [bye.to.tag for bye in byes] == ["two"]
    acks = [message.to.tag for message in bench.bob.received if message.method == "ACK"]
    assert acks == ["one", "two"]
    bench.alice.apply(caller.bye(bench.clock.now))


def test_a_call_of_both_to_each_other_at_once_is_two_calls(bench):
    bench.bob_answers()
    bench.alice.on_event = lambda event: (
        event.session.reject(486, bench.clock.now) if type(event) is IncomingInvite else []
    )
    caller = bench.call()
    back, effects = bench.bob.core.invite(bench.alice.contact, bench.clock.now, body=b"v=0")
    bench.bob.apply(effects)
    bench.run(1)
    assert caller.state is SessionState.ESTABLISHED
    assert back.state is SessionState.ENDED
    bench.calls.append(back)
    bench.alice.apply(caller.bye(bench.clock.now))
