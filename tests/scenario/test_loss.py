"""Calls over a network that loses, doubles and reorders."""

from __future__ import annotations

import math
import os

import pytest

from callmeter.sip.invite_session import SessionState
from callmeter.sip.session_events import Answered, Ended, Established, Failed, IncomingInvite
from callmeter.testing.network import LinkConditions


def calls(bench, number, *, talk=20.0):
    """Let Alice place so many calls, and hang up so many seconds after each is answered."""
    bench.bob_answers(0.2)

    def on_event(event):
        if type(event) is Answered:
            session = event.session
            bench.schedule(talk, bench.alice, lambda: session.bye(bench.clock.now))
        return []

    bench.alice.on_event = on_event
    for _ in range(number):
        bench.call()
        bench.run(0.25)
    bench.run(150)


def test_a_lost_ack_is_sent_again_for_the_next_200(bench, lost):
    bench.network.lose(lost("ACK"))
    caller, callee = bench.established()
    assert bench.ladder() == [
        "alice INVITE",
        "bob 180",
        "bob 200",
        "alice ACK",
        "bob 200",
        "alice ACK",
    ]
    assert len(bench.alice.events_of(Answered)) == len(bench.bob.events_of(Established)) == 1
    assert caller.state is callee.state is SessionState.ESTABLISHED
    bench.alice.apply(caller.bye(bench.clock.now))


def test_a_lost_200_is_sent_again(bench, lost):
    bench.network.lose(lost(200, "INVITE"))
    caller, _ = bench.established()
    assert bench.ladder().count("bob 200") == 2
    bench.alice.apply(caller.bye(bench.clock.now))


def test_a_lost_bye_is_sent_again(bench, lost):
    caller, _ = bench.established()
    bench.network.lose(lost("BYE"))
    bench.alice.apply(caller.bye(bench.clock.now))
    bench.run(1)
    assert bench.ladder()[-3:] == ["alice BYE", "alice BYE", "bob 200"]


def test_a_lost_answer_to_a_bye_is_sent_again_and_ends_nothing_twice(bench, lost):
    caller, _ = bench.established()
    bench.network.lose(lost(200, "BYE"))
    bench.alice.apply(caller.bye(bench.clock.now))
    bench.run(1)
    assert bench.ladder()[-4:] == ["alice BYE", "bob 200", "alice BYE", "bob 200"]
    assert len(bench.bob.events_of(Ended)) == 1


def test_when_no_ack_arrives_the_callee_ends_the_call(bench, lost):
    bench.network.lose(lost("ACK"), times=20)
    bench.established(40)
    assert bench.bob.events_of(Ended)[0].cause == "ack-timeout"
    assert bench.alice.events_of(Ended)[0].cause == "bye-received"


def test_when_no_200_arrives_the_bye_ends_the_ringing(bench, lost):
    bench.network.lose(lost(200, "INVITE"), times=20)
    caller, _ = bench.established(40)
    assert bench.bob.events_of(Ended)[0].cause == "ack-timeout"
    assert caller.state is SessionState.CANCELLING
    bench.run(64)
    assert bench.alice.events_of(Failed)[0].cause == "cancelled"


def test_when_the_callee_vanishes_the_bye_times_out(bench):
    caller, callee = bench.established()
    bench.network.partition("192.0.2.1", "192.0.2.2")
    bench.alice.apply(caller.bye(bench.clock.now))
    bench.run(33)
    assert bench.ladder().count("alice BYE") == 11
    assert bench.alice.events_of(Ended)[0].cause == "bye-timeout"
    bench.network.heal()
    bench.bob.apply(callee.bye(bench.clock.now))
    bench.run(1)
    assert bench.bob.events_of(Ended)[0].cause == "bye-sent"


CALLS = 1000 if os.environ.get("CALLMETER_LONG") else 100
TALK = 40.0
"""Seconds of a call: longer than the callee waits for its ACK."""

FLOORS = {0.1: 1000, 0.2: 999, 0.3: 995}
"""Calls of a thousand that an ideal stack sets up, talks through and ends, all but surely."""


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("loss", FLOORS)
def test_calls_survive_loss_and_those_that_fail_leave_nothing(new_bench, loss, seed):
    bench = new_bench(seed, LinkConditions(delay=0.03, jitter=0.02, loss=loss))
    bench.bob_answers(1.0)
    bench.alice.on_event = lambda event: (
        bench.schedule(TALK, bench.alice, lambda: event.session.bye(bench.clock.now))
        if type(event) is Answered
        else None
    )
    for _ in range(CALLS):
        bench.call()
        bench.run(0.25)
    # The last call may be answered after 32 s, and talks; then 96 s are enough.
    bench.run(32 + TALK + 96)
    assert len(bench) == 0
    heard = {event.session.call_id for event in bench.bob.events_of(Established)}
    whole = [
        event
        for event in bench.alice.events_of(Ended)
        if event.cause == "bye-sent" and event.session.call_id in heard
    ]
    allowed = math.ceil((1000 - FLOORS[loss]) * CALLS / 1000)
    assert CALLS - len(whole) <= allowed
    bench.check_nothing_is_left()


def test_duplicates_and_reordering_change_no_outcome(make_bench):
    bench = make_bench(
        4, LinkConditions(delay=0.03, jitter=0.1, duplicate=0.3, reorder=0.3, reorder_delay=0.4)
    )
    calls(bench, 60)
    assert len(bench.bob.events_of(IncomingInvite)) == 60
    assert len(bench.alice.events_of(Answered)) == 60
    assert len(bench.bob.events_of(Ended)) == 60


def test_the_same_seed_is_the_same_run(make_bench):
    logs = []
    for _ in range(2):
        bench = make_bench(9, LinkConditions(delay=0.03, jitter=0.1, loss=0.2, duplicate=0.1))
        calls(bench, 5)
        logs.append(bench.network.log)
    assert logs[0] == logs[1]
