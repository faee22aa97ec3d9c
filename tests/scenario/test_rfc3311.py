"""RFC 3311: UPDATE, between two user agents."""

from __future__ import annotations

from dataclasses import replace

import pytest

from callmeter.errors import LocalProtocolError
from callmeter.session_config import Extension
from callmeter.sip.session_events import (
    IncomingInvite,
    Provisional,
    ReinviteAnswered,
    ReinviteReceived,
    UpdateAnswered,
    UpdateFailed,
    UpdateReceived,
)
from callmeter.testing.network import LinkConditions

ANSWER = b"v=0 answer"
OTHER_OFFER = b"v=0 other offer"
OTHER_ANSWER = b"v=0 other answer"


@pytest.fixture
def updating(bench):
    bench.enable(reliable=Extension.SUPPORTED, update=True)
    return bench


def agree(bench, party):
    """Let a party accept each change."""

    def on_event(event):
        match event:
            case UpdateReceived(session, key) if key is not None:
                return session.accept_update(OTHER_ANSWER, bench.clock.now)
            case ReinviteReceived(session):
                return session.accept_reinvite(OTHER_ANSWER, bench.clock.now)
        return []

    party.on_event = on_event


def early(bench):
    """A call that rings, with its first exchange done."""
    bench.bob.on_event = lambda event: (
        event.session.progress(183, bench.clock.now, body=ANSWER)
        if type(event) is IncomingInvite
        else []
    )
    caller = bench.call()
    bench.run(1)
    return caller, bench.incoming()


def test_section_4_an_update_changes_an_early_session_from_either_end(updating):
    caller, callee = early(updating)
    for party, other, session in (
        (updating.alice, updating.bob, caller),
        (updating.bob, updating.alice, callee),
    ):
        agree(updating, other)
        party.apply(session.update(OTHER_OFFER, updating.clock.now))
        updating.run(1)
        (received,) = other.events_of(UpdateReceived)
        assert received.request.body == OTHER_OFFER
        (answered,) = party.events_of(UpdateAnswered)
        assert answered.response.body == OTHER_ANSWER
    updating.bob.apply(callee.accept(b"", updating.clock.now))
    updating.run(1)
    updating.hang_up(caller)


def test_section_5_1_an_update_without_an_offer_moves_the_contact(updating):
    caller, callee = updating.established()
    core = updating.alice.core
    core.identity = replace(core.identity, contact=replace(core.identity.contact, user="moved"))
    updating.alice.apply(caller.update(b"", updating.clock.now))
    updating.run(1)
    assert callee.remote_target.user == "moved"
    (received,) = updating.bob.events_of(UpdateReceived)
    assert received.key is None
    (answered,) = updating.alice.events_of(UpdateAnswered)
    assert answered.response.headers.get("Contact") == "<sip:bob@192.0.2.2:5060>"
    updating.hang_up(caller)


def test_section_5_1_a_refused_update_changes_nothing(updating):
    caller, callee = updating.established()
    updating.alice.apply(caller.update(OTHER_OFFER, updating.clock.now))
    updating.run(1)
    with pytest.raises(LocalProtocolError, match="another UPDATE"):
        caller.update(b"", updating.clock.now)
    updating.bob.apply(callee.reject_update(488, updating.clock.now, headers=[("X-Y", "z")]))
    updating.run(1)
    (failed,) = updating.alice.events_of(UpdateFailed)
    assert (failed.status, failed.reason) == (488, "Not Acceptable Here")
    assert caller.dialog.exchange.idle
    assert callee.dialog.exchange.idle
    updating.hang_up(caller)


def test_section_5_2_a_second_update_before_the_answer_gets_500_and_a_time(updating):
    caller, callee = updating.established()
    updating.alice.apply(caller.update(OTHER_OFFER, updating.clock.now))
    updating.run(1)
    # Nobody sends this by our machines: a request by itself.
    _, effects = caller.send(
        "UPDATE", updating.clock.now, body=OTHER_OFFER, content_type="application/sdp"
    )
    updating.alice.apply(effects)
    updating.run(1)
    refusal = next(m for m in updating.alice.received if getattr(m, "status", 0) == 500)
    assert 0 <= int(refusal.headers.get("Retry-After")) <= 10
    updating.bob.apply(callee.accept_update(OTHER_ANSWER, updating.clock.now))
    updating.run(1)
    updating.hang_up(caller)


def test_section_5_2_offers_that_cross_get_491_and_both_go_through_later(make_bench):
    for seed in range(30):
        bench = make_bench(seed, LinkConditions(delay=0.05, jitter=0.05))
        bench.enable(update=True)
        caller, callee = bench.established()
        agree(bench, bench.alice)
        agree(bench, bench.bob)
        bench.alice.apply(caller.update(OTHER_OFFER, bench.clock.now))
        command = callee.update if seed % 2 else callee.reinvite
        bench.bob.apply(command(OTHER_OFFER, bench.clock.now))
        bench.run(15)
        assert bench.ladder().count("alice 491") + bench.ladder().count("bob 491") >= 2
        assert len(bench.alice.events_of(UpdateAnswered)) == 1
        kind = UpdateAnswered if seed % 2 else ReinviteAnswered
        assert len(bench.bob.events_of(kind)) == 1
        assert caller.dialog.exchange.idle
        assert callee.dialog.exchange.idle
        bench.hang_up(caller)


def test_an_update_that_nobody_answers_ends_with_the_call(updating):
    caller, _ = updating.established()
    updating.alice.apply(caller.update(OTHER_OFFER, updating.clock.now))
    updating.run(1)
    updating.alice.apply(caller.bye(updating.clock.now))
    updating.run(1)
    assert updating.ladder()[-3:] == ["alice BYE", "bob 487", "bob 200"]


def test_no_update_is_sent_to_a_peer_that_does_not_serve_it(bench):
    caller, _ = bench.established()
    with pytest.raises(LocalProtocolError, match="does not serve UPDATE"):
        caller.update(OTHER_OFFER, bench.clock.now)
    bench.hang_up(caller)


def test_no_update_goes_before_there_is_a_dialog_with_an_answer(updating):
    caller = updating.call()
    updating.run(0.2)
    callee = updating.incoming()
    for session in (caller, callee):
        with pytest.raises(LocalProtocolError, match="no such dialog"):
            session.update(b"", updating.clock.now)
    updating.bob.apply(callee.progress(180, updating.clock.now, reliable=False))
    updating.run(0.2)
    for session in (caller, callee):
        with pytest.raises(LocalProtocolError, match="no answer yet"):
            session.update(OTHER_OFFER, updating.clock.now)
    updating.alice.apply(caller.update(b"", updating.clock.now))
    updating.run(0.2)
    assert len(updating.alice.events_of(UpdateAnswered)) == 1
    assert not updating.alice.events_of(Provisional)[-1].reliable
    updating.alice.apply(caller.cancel(updating.clock.now))
