"""One INVITE that a proxy forks: RFC 3261 sections 13.2.2.4 and 16.7, RFC 3960 section 3.1."""

from __future__ import annotations

import pytest

from callmeter.session_config import Extension
from callmeter.sip.invite_session import SessionState
from callmeter.sip.session_events import (
    Cancelled,
    Ended,
    Established,
    Failed,
    IncomingInvite,
    Provisional,
    UpdateAnswered,
    UpdateReceived,
)
from callmeter.sip.uri import SipUri
from callmeter.testing.network import LinkConditions

EARLY = b"v=0 early media"


@pytest.fixture
def forked(bench):
    bench.enable(reliable=Extension.SUPPORTED, update=True)
    bench.carol = bench.third()
    bench.proxy(bob=("192.0.2.2", "192.0.2.3"))
    return bench


def rings(bench, party, *, body=b"", then=None):
    """Let a party ring, and do something later."""

    def on_event(event):
        now = bench.clock.now
        match event:
            case IncomingInvite(session):
                if then is not None:
                    bench.schedule(then, party, lambda: answer(bench, session))
                return session.progress(183 if body else 180, now, body=body)
            case UpdateReceived(session, key) if key is not None:
                return session.accept_update(b"v=0", now)
        return []

    party.on_event = on_event


def answer(bench, session):
    return [] if session.over else session.accept(b"v=0", bench.clock.now)


def call(bench):
    return bench.call(target=SipUri("sip", "192.0.2.10", user="bob"))


def test_each_phone_that_rings_has_its_own_early_dialog_and_media(forked):
    rings(forked, forked.bob, body=EARLY + b" of Bob")
    rings(forked, forked.carol, body=EARLY + b" of Carol")
    caller = call(forked)
    forked.run(1)
    events = forked.alice.events_of(Provisional)
    assert {event.response.body for event in events} == {EARLY + b" of Bob", EARLY + b" of Carol"}
    assert {id(event.dialog) for event in events} == set(map(id, caller.early_dialogs.values()))
    assert len(forked.carol.received) == 2
    for tag, dialog in caller.early_dialogs.items():
        forked.alice.apply(caller.update(b"v=0", forked.clock.now, tag=tag))
        forked.run(1)
        assert dialog.exchange.idle
    assert len(forked.alice.events_of(UpdateAnswered)) == 2
    forked.alice.apply(caller.cancel(forked.clock.now))
    forked.run(1)
    for party in (forked.bob, forked.carol):
        assert len(party.events_of(Cancelled)) == 1


def test_of_two_phones_that_answer_one_is_kept(forked):
    rings(forked, forked.bob, then=1.0)
    rings(forked, forked.carol, then=1.0)
    caller = call(forked)
    forked.run(3)
    kept, other = forked.bob, forked.carol
    if caller.remote_target.host != "192.0.2.2":
        kept, other = other, kept
    assert kept.core.sessions[0].state is SessionState.ESTABLISHED
    assert [event.cause for event in other.events_of(Ended)] == ["bye-received"]
    assert len(other.events_of(Established)) == 1
    forked.hang_up(caller)


def test_a_cancel_that_crosses_two_answers_leaves_no_call(forked):
    rings(forked, forked.bob, then=1.0)
    rings(forked, forked.carol, then=1.0)
    caller = call(forked)
    forked.run(1.035)
    forked.alice.apply(caller.cancel(forked.clock.now))
    forked.run(3)
    assert forked.alice.events_of(Failed)[0].cause == "cancelled"
    for party in (forked.bob, forked.carol):
        assert party.core.sessions == []


@pytest.mark.parametrize("seed", range(20))
def test_forks_that_answer_at_about_the_same_time_leave_one_call(make_bench, seed):
    bench = make_bench(seed, LinkConditions(delay=0.02, jitter=0.05, loss=0.2))
    carol = bench.third()
    bench.proxy(bob=("192.0.2.2", "192.0.2.3"))
    rings(bench, bench.bob, then=0.5)
    rings(bench, carol, then=0.52)
    caller = call(bench)
    bench.run(70)
    alive = [party for party in (bench.bob, carol) if party.core.sessions]
    if caller.over:
        assert alive == []
    else:
        assert [party.address[0] for party in alive] == [caller.remote_target.host]
        bench.hang_up(caller)
