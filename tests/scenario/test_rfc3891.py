"""RFC 3891: one call takes the place of another."""

from __future__ import annotations

import pytest

from callmeter.sip.extension_headers import Replaces
from callmeter.sip.refer import refer_to_replacing
from callmeter.sip.session_events import (
    Answered,
    Cancelled,
    Ended,
    Failed,
    IncomingInvite,
    ReferReceived,
)


@pytest.fixture
def replacing(bench):
    bench.enable(refer=True)
    return bench


def replaced_by(bench, party, target, replaces, *more):
    line = ", ".join(str(value) for value in (replaces, *more))
    return bench.dial(party, target, headers=[("Replaces", line)])


def of(session, **changes):
    """What an INVITE to the peer of a session says to take its place."""
    dialog = session.dialog
    fields = {
        "call_id": dialog.call_id,
        "to_tag": dialog.remote_tag,
        "from_tag": dialog.local_tag,
    }
    return Replaces(**(fields | changes))


def test_section_1_an_attended_transfer(replacing):
    bench = replacing
    carol = bench.third()
    bench.bob_answers()
    carol.on_event = lambda event: (
        event.session.accept(b"v=0", bench.clock.now) if type(event) is IncomingInvite else []
    )
    first = bench.call()
    second = bench.dial(bench.alice, carol.contact)
    bench.run(1)

    def on_event(event):
        now = bench.clock.now
        match event:
            case ReferReceived(referral):
                call, effects = bench.bob.core.invite(
                    referral.target, now, body=b"v=0", headers=referral.invite_headers
                )
                bench.calls.append(call)
                bench.bob.referral = referral
                return [*referral.accept(now), *effects]
            case Answered():
                return bench.bob.referral.report(200, now)
        return []

    bench.bob.on_event = on_event
    usage, effects = bench.alice.core.refer(
        refer_to_replacing(second.dialog), bench.clock.now, session=first
    )
    bench.alice.apply(effects)
    bench.run(2)
    assert usage.progress == (200, "OK")
    # Carol's end of the replaced call was ended by her BYE.
    assert [e.cause for e in bench.alice.events_of(Ended)] == ["bye-received"]
    assert carol.events_of(IncomingInvite)[1].session.replaces is not None
    bench.hang_up(first)
    (transferred,) = [call for call in bench.calls if call._agent is bench.bob.core._agent]
    assert transferred.answered
    bench.bob.apply(transferred.bye(bench.clock.now))


@pytest.mark.parametrize("field", ["call_id", "to_tag", "from_tag"])
def test_section_3_all_three_fields_have_to_match(replacing, field):
    bench = replacing
    carol = bench.third()
    caller, _ = bench.established()
    replaced_by(bench, carol, bench.bob.contact, of(caller, **{field: "other"}))
    bench.run(1)
    assert carol.events_of(Failed)[0].status == 481
    assert caller.answered
    bench.hang_up(caller)


def test_section_3_a_confirmed_dialog_is_not_early(replacing):
    bench = replacing
    carol = bench.third()
    caller, _ = bench.established()
    replaced_by(bench, carol, bench.bob.contact, of(caller, early_only=True))
    bench.run(1)
    assert carol.events_of(Failed)[0].status == 486
    bench.hang_up(caller)


def test_section_3_a_call_that_rings_at_us_is_not_picked_up_by_replaces(replacing):
    bench = replacing
    carol = bench.third()
    bench.bob_answers(after=100)
    caller = bench.call()
    bench.run(1)
    (tag,) = caller.early_dialogs
    value = Replaces(caller.call_id, tag, caller.local_tag)
    replaced_by(bench, carol, bench.bob.contact, value)
    bench.run(1)
    assert carol.events_of(Failed)[0].status == 481
    bench.alice.apply(caller.cancel(bench.clock.now))


def test_section_3_a_call_of_ours_that_rings_is_cancelled(replacing):
    bench = replacing
    carol = bench.third()
    bench.bob_answers(after=100)
    caller = bench.call()
    bench.run(1)
    bench.alice.on_event = lambda event: (
        event.session.accept(b"v=0", bench.clock.now) if type(event) is IncomingInvite else []
    )
    (tag,) = caller.early_dialogs
    value = Replaces(caller.call_id, caller.local_tag, tag, early_only=True)
    picked = replaced_by(bench, carol, bench.alice.contact, value)
    bench.run(1)
    assert picked.answered
    assert bench.alice.events_of(Failed)[0].cause == "cancelled"
    assert len(bench.bob.events_of(Cancelled)) == 1
    carol.apply(picked.bye(bench.clock.now))


def test_section_3_a_call_that_is_ending_is_declined(replacing):
    bench = replacing
    carol = bench.third()
    caller, callee = bench.established()
    value = of(caller)
    bench.network.partition("192.0.2.1", "192.0.2.2")
    bench.bob.apply(callee.bye(bench.clock.now))
    replaced_by(bench, carol, bench.bob.contact, value)
    bench.run(1)
    assert carol.events_of(Failed)[0].status == 603
    bench.network.heal()


def test_section_3_two_replaces_are_a_bad_request(replacing):
    bench = replacing
    carol = bench.third()
    caller, _ = bench.established()
    replaced_by(bench, carol, bench.bob.contact, of(caller), of(caller))
    bench.run(1)
    assert carol.events_of(Failed)[0].status == 400
    bench.hang_up(caller)


def test_a_replaces_that_nobody_serves_replaces_nothing(bench):
    carol = bench.third()
    caller, _ = bench.established()
    replaced_by(bench, carol, bench.bob.contact, of(caller))
    bench.run(1)
    assert carol.events_of(Failed)[0].status == 481
    bench.hang_up(caller)
