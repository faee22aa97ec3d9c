"""RFC 4028: session timers, between two user agents."""

from __future__ import annotations

import pytest

from callmeter.session_config import Extension, SessionTimerConfig
from callmeter.sip.capabilities import Capabilities
from callmeter.sip.invite_session import SessionState
from callmeter.sip.session_events import (
    Ended,
    Failed,
    RefreshDue,
    ReinviteReceived,
    SessionExpired,
    SessionRefreshed,
)

OFFER = b"v=0 offer"


def timed(bench, party=None, *, update=True, **settings):
    """Switch session timers on, at both ends or one."""
    settings.setdefault("mode", Extension.SUPPORTED)
    capabilities = Capabilities(update=update, session_timer=SessionTimerConfig(**settings))
    for each in (bench.alice, bench.bob) if party is None else (party,):
        each.core.capabilities = capabilities


@pytest.mark.parametrize(("refresher", "name"), [("uac", "alice"), ("uas", "bob")])
def test_section_10_the_refresher_sends_an_update_at_half_of_the_interval(bench, refresher, name):
    timed(bench, expires=300, refresher=refresher)
    caller, callee = bench.established()
    start = bench.clock.now
    bench.run(600)
    rows = bench.ladder(start)
    assert rows.count(f"{name} UPDATE") == len(rows) // 2 == 4
    for session in (caller, callee):
        assert session.timer.refreshes == 4
    own, other = (caller, callee) if name == "alice" else (callee, caller)
    assert (own.timer.sent, own.timer.received) == (4, 0)
    assert (other.timer.sent, other.timer.received) == (0, 4)
    assert [e.by_peer for e in bench.bob.events_of(SessionRefreshed)] == [name == "alice"] * 4
    bench.hang_up(caller)


def test_section_7_4_where_the_peer_serves_no_update_a_reinvite_refreshes(bench):
    timed(bench, expires=300, update=False)
    caller, callee = bench.established()
    bench.alice.on_event = lambda event: (
        event.session.reinvite(OFFER, bench.clock.now) if type(event) is RefreshDue else []
    )
    bench.bob.on_event = lambda event: (
        event.session.accept_reinvite(b"v=0 answer", bench.clock.now)
        if type(event) is ReinviteReceived
        else []
    )
    bench.run(700)
    assert caller.timer.sent == callee.timer.received == 4
    invites = [m for m in bench.bob.received if getattr(m, "method", "") == "INVITE"]
    assert invites[-1].headers.get("Session-Expires") == "300;refresher=uac"
    bench.hang_up(caller)


def test_section_10_a_session_that_nobody_refreshes_is_ended_before_it_expires(bench):
    timed(bench, expires=90, update=False)
    # Nobody reacts to RefreshDue.
    caller, callee = bench.established()
    start = bench.clock.now
    bench.run(200)
    assert bench.alice.events_of(RefreshDue)
    assert {type(e) for _, e in bench.bob.events} >= {SessionExpired, Ended}
    (when,) = [when for when, e in bench.bob.events if type(e) is SessionExpired]
    assert when == pytest.approx(start - 1 + 60, abs=0.5)
    assert caller.state is callee.state is SessionState.ENDED
    causes = {bench.alice.events_of(Ended)[0].cause, bench.bob.events_of(Ended)[0].cause}
    assert "session-expired" in causes


def test_section_10_a_peer_that_vanished_is_noticed(bench):
    timed(bench, expires=300)
    caller, callee = bench.established()
    bench.network.partition("192.0.2.1", "192.0.2.2")
    bench.run(300)
    assert bench.bob.events_of(Ended)[0].cause == "session-expired"
    assert bench.alice.events_of(Ended)[0].cause == "timeout"
    assert caller.timer.failed == 1
    assert callee.timer.expired == 1


def test_soft_expiry_tells_so_and_goes_on(bench):
    timed(bench, expires=90, update=False, soft_expiry=True)
    caller, callee = bench.established()
    bench.run(500)
    assert len(bench.alice.events_of(SessionExpired)) == 1
    assert len(bench.bob.events_of(SessionExpired)) == 1
    assert caller.state is callee.state is SessionState.ESTABLISHED
    bench.hang_up(caller)


def test_section_7_3_a_422_is_obeyed_with_the_same_call_id(bench):
    timed(bench, bench.alice, expires=120)
    timed(bench, bench.bob, expires=1800, min_se=600)
    caller, callee = bench.established()
    assert bench.ladder()[:4] == ["alice INVITE", "bob 422", "alice ACK", "alice INVITE"]
    first, _, second = [
        m for m in bench.bob.received if getattr(m, "method", "") in {"INVITE", "ACK"}
    ][:3]
    assert first.call_id == second.call_id
    assert second.cseq.number == first.cseq.number + 1
    assert second.to.tag is None
    assert second.headers.get("Min-SE") == "600"
    assert second.headers.get("Session-Expires") == "600;refresher=uac"
    assert caller.timer.interval == callee.timer.interval == 600
    bench.hang_up(caller)


def test_section_9_a_peer_without_timers_refuses_by_420_what_requires_them(bench):
    timed(bench, bench.alice, mode=Extension.REQUIRED)
    bench.call()
    bench.run(1)
    (failed,) = bench.alice.events_of(Failed)
    assert (failed.status, failed.response.headers.get("Unsupported")) == (420, "timer")


def test_section_9_a_caller_without_timers_gets_421_where_they_are_required(bench):
    timed(bench, bench.bob, mode=Extension.REQUIRED)
    bench.call()
    bench.run(1)
    (failed,) = bench.alice.events_of(Failed)
    assert (failed.status, failed.response.headers.get("Require")) == (421, "timer")


def test_section_7_2_with_a_peer_without_timers_the_call_goes_on_without(bench):
    timed(bench, bench.alice, expires=90)
    caller, callee = bench.established()
    bench.run(400)
    assert caller.timer.interval == callee.timer.interval == 0
    assert caller.state is SessionState.ESTABLISHED
    bench.hang_up(caller)


def test_a_refresh_that_is_due_during_another_change_waits_for_it(bench):
    timed(bench, expires=90)
    caller, callee = bench.established()
    bench.run(43)
    bench.alice.apply(caller.reinvite(OFFER, bench.clock.now))
    bench.run(3)
    bench.bob.apply(callee.accept_reinvite(b"v=0 answer", bench.clock.now))
    start = bench.clock.now
    bench.run(40)
    # The 2xx to the re-INVITE has refreshed the session.
    assert "alice UPDATE" not in bench.ladder(start)
    assert caller.timer.sent == 1
    bench.hang_up(caller)
