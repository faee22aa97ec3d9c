"""RFC 6665: SUBSCRIBE and NOTIFY; RFC 3428: MESSAGE; RFC 6086: INFO."""

from __future__ import annotations

import pytest

from callmeter.sip.capabilities import Capabilities
from callmeter.sip.session_events import (
    InfoReceived,
    MessageReceived,
    Notified,
    RequestAnswered,
    SubscribeReceived,
    SubscriptionAccepted,
    SubscriptionEnded,
)
from callmeter.sip.subscriber import SubscriptionPhase
from callmeter.testing.network import LinkConditions

SUMMARY = b"Messages-Waiting: yes\r\n"
KIND = "application/simple-message-summary"


def subscribing(bench, **settings):
    bench.alice.core.capabilities = Capabilities(subscriptions=True)
    bench.bob.core.capabilities = Capabilities(
        events=("message-summary", "dialog", "presence"), **settings
    )


def accepts(bench, **how):
    bench.bob.on_event = lambda event: (
        event.usage.accept(bench.clock.now, body=SUMMARY, content_type=KIND, **how)
        if type(event) is SubscribeReceived
        else []
    )


def subscribe(bench, package="message-summary", expires=600, **how):
    usage, effects = bench.alice.core.subscribe(
        bench.bob.contact, package, expires, bench.clock.now, **how
    )
    bench.alice.apply(effects)
    return usage


@pytest.mark.parametrize("package", ["message-summary", "dialog", "presence"])
def test_section_4_a_subscription_is_told_the_state_and_each_change(bench, package):
    subscribing(bench)
    accepts(bench)
    usage = subscribe(bench, package, headers=[("Accept", KIND)])
    bench.run(1)
    assert usage.phase is SubscriptionPhase.ACTIVE
    notifier = bench.bob.events_of(SubscribeReceived)[0].usage
    assert notifier.request.headers.get("Accept") == KIND
    bench.bob.apply(notifier.notify(b"Messages-Waiting: no\r\n", KIND, bench.clock.now))
    bench.run(1)
    bodies = [event.request.body for event in bench.alice.events_of(Notified)]
    assert bodies == [SUMMARY, b"Messages-Waiting: no\r\n"]
    bench.alice.apply(usage.unsubscribe(bench.clock.now))
    bench.run(1)
    for party in (bench.alice, bench.bob):
        assert party.events_of(SubscriptionEnded)[0].cause == "unsubscribed"


def test_section_4_1_2_2_a_subscription_is_refreshed_before_it_expires(bench):
    subscribing(bench)
    accepts(bench, expires=300)
    usage = subscribe(bench)
    bench.run(1000)
    assert usage.granted <= 600
    assert bench.ladder().count("alice SUBSCRIBE") >= 3
    assert bench.alice.events_of(SubscriptionEnded) == []
    assert len(bench.alice.events_of(SubscriptionAccepted)) >= 3
    bench.alice.apply(usage.unsubscribe(bench.clock.now))


def test_section_4_1_3_a_notify_that_overtakes_the_2xx_begins_the_dialog(bench, lost):
    subscribing(bench)
    bench.network.lose(lost(200, "SUBSCRIBE"))
    accepts(bench)
    usage = subscribe(bench)
    bench.run(0.3)
    assert usage.phase is SubscriptionPhase.ACTIVE
    assert bench.alice.events_of(SubscriptionAccepted) == []
    bench.run(2)
    assert len(bench.alice.events_of(SubscriptionAccepted)) == 1
    bench.alice.apply(usage.unsubscribe(bench.clock.now))


def test_section_4_2_2_the_notifier_ends_a_subscription_and_says_why(bench):
    subscribing(bench)
    accepts(bench, pending=True)
    usage = subscribe(bench)
    bench.run(1)
    assert usage.phase is SubscriptionPhase.PENDING
    notifier = bench.bob.events_of(SubscribeReceived)[0].usage
    bench.bob.apply(notifier.terminate(bench.clock.now, reason="probation", retry_after=60))
    bench.run(1)
    (ended,) = bench.alice.events_of(SubscriptionEnded)
    assert (ended.cause, ended.reason, ended.retry_after) == ("terminated", "probation", 60)


def test_section_4_2_2_a_subscription_that_is_not_refreshed_runs_out(bench):
    subscribing(bench)
    accepts(bench)
    subscribe(bench, expires=300)
    bench.run(1)
    bench.network.partition("192.0.2.1", "192.0.2.2")
    bench.run(400)
    assert bench.bob.events_of(SubscriptionEnded)[0].cause == "expired"
    assert bench.alice.events_of(SubscriptionEnded)[0].cause == "timeout"


def test_section_4_4_3_a_state_may_be_asked_for_once(bench):
    subscribing(bench)
    accepts(bench)
    subscribe(bench, expires=0)
    bench.run(1)
    (event,) = bench.alice.events_of(Notified)
    assert (event.request.body, event.state.state) == (SUMMARY, "terminated")


def test_section_4_1_2_4_who_accepts_and_never_notifies_ends_the_subscription(bench, lost):
    subscribing(bench)
    accepts(bench)
    bench.network.lose(lost("NOTIFY"), times=50)
    subscribe(bench)
    bench.run(40)
    assert bench.alice.events_of(SubscriptionEnded)[0].cause == "no-notify"
    assert bench.bob.events_of(SubscriptionEnded)[0].cause == "timeout"


def test_section_7_2_an_unknown_package_gets_489(bench):
    subscribing(bench)
    subscribe(bench, "reg")
    bench.run(1)
    assert bench.alice.events_of(SubscriptionEnded)[0].status == 489
    refusal = next(m for m in bench.alice.received if getattr(m, "status", 0) == 489)
    assert refusal.headers.get("Allow-Events") == "message-summary, dialog, presence"


def test_subscriptions_survive_loss_and_reordering(make_bench):
    bench = make_bench(
        3, LinkConditions(delay=0.03, jitter=0.1, loss=0.2, duplicate=0.2, reorder=0.2)
    )
    subscribing(bench)
    accepts(bench)
    usages = [subscribe(bench) for _ in range(20)]
    bench.run(60)
    alive = [usage for usage in usages if usage.phase is SubscriptionPhase.ACTIVE]
    assert len(alive) >= 18
    for usage in alive:
        bench.alice.apply(usage.unsubscribe(bench.clock.now))
    bench.run(60)
    assert len(bench.alice.events_of(SubscriptionEnded)) == 20


def test_rfc_3428_section_4_a_message_outside_of_a_dialog(bench):
    bench.enable(message=True)
    bench.bob.on_event = lambda event: (
        bench.bob.core.reply(event.key, event.request, 200, bench.clock.now)
        if type(event) is MessageReceived
        else []
    )
    _, effects = bench.alice.core.request(
        "MESSAGE", bench.bob.contact, 0.0, body=b"Watson, come here.", content_type="text/plain"
    )
    bench.alice.apply(effects)
    bench.run(1)
    (event,) = bench.bob.events_of(MessageReceived)
    assert (event.session, event.request.body) == (None, b"Watson, come here.")
    assert "Contact" not in event.request.headers
    assert bench.alice.events_of(RequestAnswered)[0].response.status == 200


@pytest.mark.parametrize(("method", "kind"), [("MESSAGE", MessageReceived), ("INFO", InfoReceived)])
def test_messages_and_infos_inside_a_dialog(bench, method, kind):
    bench.enable(message=True)
    caller, callee = bench.established()
    bench.bob.on_event = lambda event: (
        callee.answer(event.key, 202, bench.clock.now) if type(event) is kind else []
    )
    _, effects = caller.send(method, bench.clock.now, body=b"hello", content_type="text/plain")
    bench.alice.apply(effects)
    bench.run(1)
    assert bench.bob.events_of(kind)[0].session is callee
    assert bench.alice.events_of(RequestAnswered)[0].response.status == 202
    bench.hang_up(caller)
