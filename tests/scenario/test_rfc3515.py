"""RFC 3515: REFER, in the dialog of a call and outside of one; RFC 4488."""

from __future__ import annotations

import pytest

from callmeter.errors import LocalProtocolError
from callmeter.sip.extension_headers import parse_sipfrag_status
from callmeter.sip.headers import NameAddr
from callmeter.sip.session_events import (
    Answered,
    Failed,
    IncomingInvite,
    Notified,
    Provisional,
    ReferReceived,
    SubscriptionAccepted,
    SubscriptionEnded,
)


@pytest.fixture
def referring(bench):
    bench.enable(refer=True, refer_outside=True)
    return bench


def transfer(bench, party, *, hang_up=None):
    """Let a party do what it is asked by REFER, and report."""

    def on_event(event):
        now = bench.clock.now
        match event:
            case ReferReceived(referral):
                call, effects = party.core.invite(
                    referral.target, now, body=b"v=0", headers=referral.invite_headers
                )
                bench.calls.append(call)
                party.referral = referral
                return [*referral.accept(now), *effects]
            case Provisional(_, response) if response.status > 100:
                return party.referral.report(response.status, now)
            case Answered(_, response) if getattr(party, "referral", None):
                return party.referral.report(response.status, now)
            case Failed(_, status):
                return party.referral.report(status, now)
        return []

    party.on_event = on_event


def answers(bench, party, status=200):
    def on_event(event):
        if type(event) is not IncomingInvite:
            return []
        now = bench.clock.now
        if status != 200:
            return event.session.reject(status, now)
        return [*event.session.progress(180, now), *event.session.accept(b"v=0", now)]

    party.on_event = on_event


def statuses(party):
    return [parse_sipfrag_status(event.request.body)[0] for event in party.events_of(Notified)]


def test_section_2_4_4_a_blind_transfer_is_reported_until_the_call_is_answered(referring):
    bench = referring
    carol = bench.third()
    caller, _ = bench.established()
    answers(bench, carol)
    transfer(bench, bench.bob)
    usage, effects = bench.alice.core.refer(
        NameAddr(carol.contact), bench.clock.now, session=caller
    )
    bench.alice.apply(effects)
    bench.run(2)
    assert statuses(bench.alice) == [100, 180, 200]
    assert usage.progress == (200, "OK")
    (accepted,) = bench.alice.events_of(SubscriptionAccepted)
    assert accepted.response.status == 202
    (ended,) = bench.alice.events_of(SubscriptionEnded)
    assert (ended.cause, ended.reason) == ("terminated", "noresource")
    invite = next(m for m in carol.received if getattr(m, "method", "") == "INVITE")
    assert invite.headers.get("Referred-By") == "<sip:alice@192.0.2.1>"
    bench.hang_up(caller)
    (transferred,) = [call for call in bench.calls if call._agent is bench.bob.core._agent]
    bench.bob.apply(transferred.bye(bench.clock.now))


def test_section_2_4_5_a_transfer_that_fails_is_reported_and_the_call_goes_on(referring):
    bench = referring
    carol = bench.third()
    caller, _ = bench.established()
    answers(bench, carol, 486)
    transfer(bench, bench.bob)
    usage, effects = bench.alice.core.refer(
        NameAddr(carol.contact), bench.clock.now, session=caller
    )
    bench.alice.apply(effects)
    bench.run(2)
    assert usage.progress == (486, "Busy Here")
    assert caller.answered
    bench.hang_up(caller)


def test_the_outcome_is_told_after_the_call_it_came_in_has_ended(referring):
    bench = referring
    carol = bench.third()
    caller, _ = bench.established()
    bench.bob.on_event = lambda event: (
        event.usage.accept(bench.clock.now) if type(event) is ReferReceived else []
    )
    usage, effects = bench.alice.core.refer(
        NameAddr(carol.contact), bench.clock.now, session=caller
    )
    bench.alice.apply(effects)
    bench.run(1)
    bench.hang_up(caller)
    referral = bench.bob.events_of(ReferReceived)[0].usage
    assert bench.bob.core.sessions == []
    bench.bob.apply(referral.report(180, bench.clock.now))
    bench.run(1)
    bench.bob.apply(referral.report(200, bench.clock.now, reason="Here"))
    bench.run(1)
    assert statuses(bench.alice) == [100, 180, 200]
    assert usage.progress == (200, "Here")
    assert referral.report(200, bench.clock.now) == []


def test_rfc_4488_section_4_a_peer_that_is_not_to_be_told_is_not(referring):
    bench = referring
    caller, _ = bench.established()
    bench.bob.on_event = lambda event: (
        event.usage.accept(bench.clock.now) if type(event) is ReferReceived else []
    )
    _, effects = bench.alice.core.refer(
        NameAddr(bench.alice.contact),
        bench.clock.now,
        session=caller,
        headers=[("Refer-Sub", "false"), ("Referred-By", "<sip:boss@192.0.2.1>")],
    )
    bench.alice.apply(effects)
    bench.run(2)
    assert "bob NOTIFY" not in bench.ladder()
    assert bench.alice.events_of(SubscriptionEnded)[0].cause == "no-subscription"
    referral = bench.bob.events_of(ReferReceived)[0].usage
    assert dict(referral.invite_headers) == {"Referred-By": "<sip:boss@192.0.2.1>"}
    assert referral.report(180, bench.clock.now) == []
    bench.hang_up(caller)


def test_a_refused_refer_ends_there(referring):
    bench = referring
    caller, _ = bench.established()
    bench.bob.on_event = lambda event: (
        event.usage.reject(603, bench.clock.now) if type(event) is ReferReceived else []
    )
    _, effects = bench.alice.core.refer(
        NameAddr(bench.alice.contact), bench.clock.now, session=caller
    )
    bench.alice.apply(effects)
    bench.run(2)
    (ended,) = bench.alice.events_of(SubscriptionEnded)
    assert (ended.cause, ended.status) == ("rejected", 603)
    bench.hang_up(caller)


def test_a_refer_outside_of_a_dialog_begins_one(referring):
    bench = referring
    carol = bench.third()
    answers(bench, carol)
    transfer(bench, bench.bob)
    usage, effects = bench.alice.core.refer(
        NameAddr(carol.contact), bench.clock.now, target=bench.bob.contact
    )
    bench.alice.apply(effects)
    bench.run(2)
    assert usage.progress == (200, "OK")
    (transferred,) = bench.calls
    bench.bob.apply(transferred.bye(bench.clock.now))


@pytest.mark.parametrize(("settings", "status"), [({"refer": True}, 603), ({}, 405)])
def test_a_refer_that_nobody_asked_for_is_refused(bench, settings, status):
    bench.enable(**settings)
    _, effects = bench.alice.core.refer(
        NameAddr(bench.alice.contact), 0.0, target=bench.bob.contact
    )
    bench.alice.apply(effects)
    bench.run(1)
    assert bench.alice.events_of(SubscriptionEnded)[0].status == status


def test_a_refer_needs_somebody_to_send_it_to(referring):
    caller = referring.call()
    with pytest.raises(LocalProtocolError, match="answered session"):
        referring.alice.core.refer(NameAddr(referring.bob.contact), 0.0)
    with pytest.raises(LocalProtocolError, match="answered session"):
        referring.alice.core.refer(NameAddr(referring.bob.contact), 0.0, session=caller)
    referring.run(1)
    referring.alice.apply(caller.cancel(referring.clock.now))
    ended, _ = referring.established()
    referring.hang_up(ended)
    with pytest.raises(LocalProtocolError, match="answered session"):
        referring.alice.core.refer(NameAddr(referring.bob.contact), 0.0, session=ended)


def test_two_refers_of_one_dialog_are_told_apart(referring):
    bench = referring
    caller, _ = bench.established()
    bench.bob.on_event = lambda event: (
        event.usage.accept(bench.clock.now) if type(event) is ReferReceived else []
    )
    usages = []
    for _ in range(2):
        usage, effects = bench.alice.core.refer(
            NameAddr(bench.alice.contact), bench.clock.now, session=caller
        )
        usages.append(usage)
        bench.alice.apply(effects)
        bench.run(1)
    second = bench.bob.events_of(ReferReceived)[1].usage
    bench.bob.apply(second.report(486, bench.clock.now))
    bench.run(1)
    assert [usage.progress[0] for usage in usages] == [100, 486]
    # The other runs out.
    bench.run(200)
    assert bench.alice.events_of(SubscriptionEnded)[-1].reason == "timeout"
    bench.hang_up(caller)
