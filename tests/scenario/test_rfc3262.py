"""RFC 3262: reliable provisional responses, between two user agents."""

from __future__ import annotations

import pytest

from callmeter.errors import LocalProtocolError
from callmeter.session_config import Extension
from callmeter.sip.invite_session import SessionState
from callmeter.sip.session_events import (
    Answered,
    Ended,
    Established,
    Failed,
    IncomingInvite,
    PrackAnswered,
    PrackReceived,
    Provisional,
)
from callmeter.testing.network import LinkConditions

OFFER = b"v=0 offer"
ANSWER = b"v=0 answer"


@pytest.fixture
def reliable(bench):
    bench.enable(reliable=Extension.SUPPORTED, update=True)
    return bench


def rings(bench, body=ANSWER, status=183, **how):
    """Let Bob send a provisional response when called."""

    def on_event(event):
        if type(event) is IncomingInvite:
            return event.session.progress(status, bench.clock.now, body=body, **how)
        return []

    bench.bob.on_event = on_event


def test_section_3_a_provisional_response_is_acknowledged_and_carries_the_answer(reliable):
    rings(reliable)
    caller = reliable.call()
    reliable.run(1)
    callee = reliable.incoming()
    reliable.bob.apply(callee.accept(ANSWER, reliable.clock.now))
    reliable.run(1)
    assert reliable.ladder() == [
        *("alice INVITE", "bob 183", "alice PRACK", "bob 200", "bob 200", "alice ACK"),
    ]
    (event,) = reliable.alice.events_of(Provisional)
    assert (event.reliable, event.dialog is caller.dialog) == (True, True)
    assert event.response.body == ANSWER
    # RFC 6337 section 2: the answer was given once, reliably.
    assert reliable.alice.events_of(Answered)[0].response.body == b""
    assert len(reliable.bob.events_of(PrackReceived)) == 1
    assert caller.state is callee.state is SessionState.ESTABLISHED
    reliable.hang_up(caller)


def test_section_3_a_lost_response_is_sent_again_until_its_prack_comes(reliable, lost):
    reliable.network.lose(lost(183, "INVITE"), times=2)
    rings(reliable)
    caller = reliable.call()
    reliable.run(5)
    assert reliable.ladder().count("bob 183") == 3
    assert reliable.ladder().count("alice PRACK") == 1
    reliable.alice.apply(caller.cancel(reliable.clock.now))


def test_section_3_a_lost_prack_is_sent_again_and_told_once(reliable, lost):
    reliable.network.lose(lost("PRACK"), times=1)
    rings(reliable)
    caller = reliable.call()
    reliable.run(5)
    assert reliable.ladder().count("alice PRACK") == 2
    assert len(reliable.alice.events_of(Provisional)) == 1
    assert len(reliable.bob.events_of(PrackReceived)) == 1
    reliable.alice.apply(caller.cancel(reliable.clock.now))


def test_section_3_without_any_prack_the_invite_fails_by_504_after_64_t1(reliable, lost):
    reliable.network.lose(lost("PRACK"), times=100)
    rings(reliable)
    reliable.call()
    reliable.run(40)
    rows = reliable.ladder()
    # T1, doubling without a ceiling: 0, 0.5, 1.5, 3.5, 7.5, 15.5, 31.5 s.
    assert rows.count("bob 183") == 7
    assert "bob 504" in rows
    assert reliable.bob.events_of(Ended)[0].cause == "prack-timeout"
    assert reliable.alice.events_of(Failed)[0].status == 504


def test_section_3_the_next_response_waits_for_the_prack_of_the_first(reliable):
    def on_event(event):
        if type(event) is not IncomingInvite:
            return []
        now = reliable.clock.now
        return [
            *event.session.progress(180, now),
            *event.session.progress(181, now),
            *event.session.progress(183, now, body=ANSWER),
        ]

    reliable.bob.on_event = on_event
    caller = reliable.call()
    reliable.run(1)
    reliable.bob.apply(reliable.incoming().accept(b"", reliable.clock.now))
    reliable.run(1)
    assert [row for row in reliable.ladder() if row != "bob 200"] == [
        *("alice INVITE", "bob 180", "alice PRACK", "bob 181", "alice PRACK", "bob 183"),
        *("alice PRACK", "alice ACK"),
    ]
    numbers = [int(e.response.headers.get("RSeq")) for e in reliable.alice.events_of(Provisional)]
    assert numbers == [numbers[0], numbers[0] + 1, numbers[0] + 2]
    reliable.hang_up(caller)


def test_section_3_no_2xx_goes_before_a_response_with_the_answer_is_acknowledged(reliable, lost):
    reliable.network.lose(lost("PRACK"), times=3)
    rings(reliable)
    caller = reliable.call()
    reliable.run(0.2)
    callee = reliable.incoming()
    reliable.bob.apply(callee.accept(ANSWER, reliable.clock.now))
    with pytest.raises(LocalProtocolError, match="accepted already"):
        callee.accept(ANSWER, reliable.clock.now)
    with pytest.raises(LocalProtocolError, match="accepted already"):
        callee.progress(180, reliable.clock.now)
    reliable.run(1)
    assert "bob 200" not in reliable.ladder()
    reliable.run(5)
    assert callee.state is SessionState.ESTABLISHED
    reliable.hang_up(caller)


def test_section_3_a_2xx_may_overtake_a_response_without_a_description(reliable, lost):
    reliable.network.lose(lost("PRACK"), times=1)
    rings(reliable, b"", 180)
    caller = reliable.call()
    reliable.run(0.2)
    reliable.bob.apply(reliable.incoming().accept(ANSWER, reliable.clock.now))
    reliable.run(2)
    assert reliable.ladder().count("bob 180") == 1
    assert reliable.ladder()[-2:] == ["alice PRACK", "bob 200"]
    assert reliable.alice.events_of(Answered)[0].response.body == ANSWER
    reliable.hang_up(caller)


def test_section_4_a_peer_that_requires_what_is_not_served_gets_420(bench):
    bench.alice.core.capabilities = type(bench.alice.core.capabilities)(reliable=Extension.REQUIRED)
    bench.call()
    bench.run(1)
    (failed,) = bench.alice.events_of(Failed)
    assert (failed.status, failed.response.headers.get("Unsupported")) == (420, "100rel")


def test_section_3_a_caller_that_lacks_what_is_required_gets_421(bench):
    bench.bob.core.capabilities = type(bench.bob.core.capabilities)(reliable=Extension.REQUIRED)
    bench.call()
    bench.run(1)
    (failed,) = bench.alice.events_of(Failed)
    assert (failed.status, failed.response.headers.get("Require")) == (421, "100rel")


def test_section_5_a_callee_may_offer_in_the_response_and_gets_the_answer_in_the_prack(reliable):
    rings(reliable, OFFER)

    def on_event(event):
        if type(event) is Provisional:
            assert event.session.awaits_prack()
            return event.session.prack(ANSWER, reliable.clock.now)
        return []

    reliable.alice.on_event = on_event
    caller = reliable.call(body=b"")
    reliable.run(1)
    (event,) = reliable.bob.events_of(PrackReceived)
    assert (event.key, event.request.body) == (None, ANSWER)
    reliable.bob.apply(reliable.incoming().accept(b"", reliable.clock.now))
    reliable.run(1)
    # The exchange is complete, so the ACK is sent at once.
    assert reliable.ladder()[-1] == "alice ACK"
    assert len(reliable.bob.events_of(Established)) == 1
    reliable.hang_up(caller)


def test_section_5_a_prack_may_hold_an_offer_and_its_2xx_the_answer(reliable):
    def on_event(event):
        match event:
            case IncomingInvite(session):
                return session.progress(183, reliable.clock.now, body=ANSWER)
            case PrackReceived(session, key, request) if key is not None:
                assert request.body == b"v=0 second offer"
                return session.answer_prack(b"v=0 second answer", reliable.clock.now)
        return []

    reliable.bob.on_event = on_event
    caller, effects = reliable.alice.core.invite(
        reliable.bob.contact, 0.0, body=OFFER, manual_prack=True
    )
    reliable.calls.append(caller)
    reliable.alice.apply(effects)
    reliable.run(1)
    assert caller.awaits_prack()
    reliable.alice.apply(caller.prack(b"v=0 second offer", reliable.clock.now))
    reliable.run(1)
    (event,) = reliable.alice.events_of(PrackAnswered)
    assert event.response.body == b"v=0 second answer"
    callee = reliable.incoming()
    assert caller._dialogs()[callee.local_tag].exchange.idle
    assert callee.dialog.exchange.idle
    reliable.bob.apply(callee.accept(b"", reliable.clock.now))
    reliable.run(1)
    reliable.hang_up(caller)


def test_a_200_that_waits_for_the_answer_to_a_prack_waits_for_minutes(reliable):
    rings(reliable)
    caller = reliable.dial(reliable.alice, reliable.bob.contact, manual_prack=True)
    reliable.run(1)
    callee = reliable.incoming()
    reliable.bob.apply(callee.accept(b"", reliable.clock.now))
    reliable.alice.apply(caller.prack(b"v=0 second offer", reliable.clock.now))
    reliable.run(130)
    assert "bob 200" not in reliable.ladder()
    reliable.bob.apply(callee.answer_prack(b"v=0 second answer", reliable.clock.now))
    reliable.run(1)
    assert reliable.ladder()[-2:] == ["bob 200", "alice ACK"]
    reliable.hang_up(caller)


def test_a_call_that_rings_for_long_is_kept_alive_by_new_reliable_responses(reliable):
    rings(reliable, b"", 180)
    caller = reliable.call()
    reliable.run(130)
    assert reliable.ladder().count("bob 180") == 3
    assert reliable.ladder().count("alice PRACK") == 3
    reliable.alice.apply(caller.cancel(reliable.clock.now))


def test_a_call_that_rings_is_kept_alive_though_a_prack_came_late(reliable, lost, monkeypatch):
    # So does a slow T1 with the usual minute.
    monkeypatch.setattr("callmeter.sip.server_session.REPEAT_PROVISIONAL", 10.0)
    reliable.network.lose(lost("PRACK"), times=7)
    rings(reliable, b"", 180)
    caller = reliable.call()
    reliable.run(11)
    assert len(reliable.bob.events_of(PrackReceived)) == 0
    reliable.run(30)
    assert len(reliable.bob.events_of(PrackReceived)) >= 2
    reliable.alice.apply(caller.cancel(reliable.clock.now))


@pytest.mark.parametrize("loss", [0.1, 0.3])
def test_reliable_responses_survive_loss(make_bench, loss):
    bench = make_bench(5, LinkConditions(delay=0.03, jitter=0.05, loss=loss))
    bench.enable(reliable=Extension.SUPPORTED)

    def on_event(event):
        if type(event) is not IncomingInvite:
            return []
        session = event.session

        def answer():
            return [] if session.over else session.accept(ANSWER, bench.clock.now)

        bench.schedule(0.2, bench.bob, answer)
        return session.progress(183, bench.clock.now, body=ANSWER)

    bench.bob.on_event = on_event
    for _ in range(40):
        caller = bench.call()
        bench.schedule(60, bench.alice, lambda caller=caller: end(caller, bench))
        bench.run(0.3)
    bench.run(150)
    assert len(bench.bob.events_of(Established)) >= 39


def end(caller, bench):
    if caller.over:
        return []
    return (caller.bye if caller.answered else caller.cancel)(bench.clock.now)
