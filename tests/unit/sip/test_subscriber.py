"""A subscription of ours: RFC 6665 section 4.1. tests/scenario tells the usual course."""

from __future__ import annotations

import pytest

from callmeter.errors import LocalProtocolError
from callmeter.sip.capabilities import Capabilities
from callmeter.sip.extension_headers import EventType
from callmeter.sip.message import Request
from callmeter.sip.session_events import (
    Notified,
    Respond,
    SendRequest,
    SubscriptionAccepted,
    SubscriptionEnded,
)
from callmeter.sip.subscriber import (
    MAX_INTERVAL_CHANGES,
    SubscriptionPhase,
    event_of,
    is_for,
)
from callmeter.sip.uri import SipUri

TARGET = SipUri("sip", "example.net", user="bob")


@pytest.fixture
def watcher(rig):
    rig.core.capabilities = Capabilities(subscriptions=True)
    return rig


def subscribe(rig, expires=600):
    usage, (order,) = rig.core.subscribe(TARGET, "dialog", expires, rig.now)
    return usage, order


def active(rig):
    usage, order = subscribe(rig)
    rig.answer(order, 200, headers=[("Expires", "600")])
    rig.deliver(notify(rig, usage))
    return usage


def notify(rig, usage, state="active;expires=600", *, cseq=1, event="dialog", tag="bobs"):
    lines = [("Event", event)]
    if state is not None:
        lines.append(("Subscription-State", state))
    return rig.request(
        "NOTIFY",
        to_tag=usage.local_tag,
        from_tag=tag,
        call_id=usage.call_id,
        cseq=cseq,
        headers=lines,
    )


def kinds(effects):
    return [type(effect) for effect in effects]


@pytest.mark.parametrize(
    ("value", "event"), [("dialog;id=4", EventType("dialog", "4")), ("<", None), (None, None)]
)
def test_an_unreadable_event_is_none(value, event):
    lines = [] if value is None else [("Event", value)]
    assert event_of(Request("NOTIFY", "sip:a@b", lines)) == event


def test_events_are_the_same_by_package_and_id():
    assert is_for(EventType("Dialog"), EventType("dialog"))
    assert not is_for(EventType("dialog", "1"), EventType("dialog", "2"))
    assert not is_for(EventType("dialog"), EventType("presence"))


def test_a_subscription_says_what_and_for_how_long(watcher):
    usage, order = subscribe(watcher)
    assert repr(usage) == "<Subscriber dialog subscribing>"
    request = order.request
    assert (request.method, str(request.uri)) == ("SUBSCRIBE", "sip:bob@example.net")
    assert (request.headers.get("Event"), request.expires) == ("dialog", 600)
    assert "Contact" in request.headers
    assert len(watcher.core) == 2
    assert watcher.core.owns(notify(watcher, usage))
    assert watcher.answer(order, 100) == []


@pytest.mark.parametrize("state", [None, "<x>"])
def test_a_notify_without_a_state_is_a_bad_request(watcher, state):
    usage, _ = subscribe(watcher)
    assert watcher.status(notify(watcher, usage, state)) == 400


@pytest.mark.parametrize("event", ["presence", "dialog;id=1", "<"])
def test_a_notify_of_another_subscription_gets_481(watcher, event):
    usage, _ = subscribe(watcher)
    assert watcher.status(notify(watcher, usage, event=event)) == 481


def test_a_notify_of_another_fork_gets_481_and_one_out_of_order_500(watcher):
    usage = active(watcher)
    assert watcher.status(notify(watcher, usage, cseq=2, tag="mallory")) == 481
    watcher.deliver(notify(watcher, usage, cseq=9))
    assert watcher.status(notify(watcher, usage, cseq=8)) == 500


def test_a_notify_may_say_nothing_of_the_time_that_is_left(watcher):
    usage = active(watcher)
    reply, event = watcher.deliver(notify(watcher, usage, "pending", cseq=2))
    assert isinstance(reply, Respond)
    assert "Contact" in reply.response.headers
    assert type(event) is Notified
    assert usage.phase is SubscriptionPhase.PENDING
    assert usage.granted == 600


def test_a_423_is_obeyed_a_few_times(watcher):
    usage, order = subscribe(watcher)
    for number in range(MAX_INTERVAL_CHANGES):
        (order,) = watcher.answer(order, 423, headers=[("Min-Expires", str(1000 + number))])
        assert order.request.expires == 1000 + number
        assert order.request.cseq.number == number + 2
    (event,) = watcher.answer(order, 423, headers=[("Min-Expires", "9000")])
    assert event == SubscriptionEnded(usage, "rejected", 423, "Interval Too Brief", None)
    assert len(watcher.core) == 0


@pytest.mark.parametrize("lines", [[], [("Min-Expires", "600")]])
def test_a_423_that_asks_for_nothing_more_is_final(watcher, lines):
    _, order = subscribe(watcher)
    (event,) = watcher.answer(order, 423, headers=lines)
    assert event.status == 423


def test_a_refusal_says_when_to_come_again(watcher):
    usage, order = subscribe(watcher)
    (event,) = watcher.answer(order, 503, headers=[("Retry-After", "30")])
    assert event == SubscriptionEnded(usage, "rejected", 503, "Service Unavailable", 30)


@pytest.mark.parametrize(
    ("report", "cause"), [("on_timeout", "timeout"), ("on_transport_error", "transport")]
)
def test_a_subscription_that_nobody_answers_is_over(watcher, report, cause):
    usage, order = subscribe(watcher)
    (event,) = getattr(watcher.core, report)(order.token, "F", 0.0)
    assert (event.usage, event.cause) == (usage, cause)
    assert watcher.core.next_deadline() is None


def test_a_refresh_that_is_refused_lets_the_subscription_run_out(watcher):
    usage = active(watcher)
    (order,) = usage.refresh(watcher.now)
    assert usage.refresh(watcher.now) == []
    assert watcher.answer(order, 500) == []
    assert usage.phase is SubscriptionPhase.ACTIVE
    (event,) = watcher.advance(700)
    assert event.cause == "expired"


def test_a_refresh_that_finds_nothing_ends_the_subscription(watcher):
    usage = active(watcher)
    (order,) = watcher.advance(540)
    assert order.request.to.tag == "bobs"
    (event,) = watcher.answer(order, 481)
    assert (event.cause, event.status) == ("rejected", 481)
    with pytest.raises(LocalProtocolError, match="subscribe anew"):
        usage.refresh(watcher.now)
    assert usage.unsubscribe(watcher.now) == []


def test_a_2xx_without_expires_grants_what_was_asked_for(watcher):
    usage, order = subscribe(watcher)
    (event,) = watcher.answer(order, 200)
    assert type(event) is SubscriptionAccepted
    assert (event.expires, usage.granted) == (600, 600)


def test_who_unsubscribes_before_the_answer_does_so_after_it(watcher):
    usage, order = subscribe(watcher)
    assert usage.unsubscribe(watcher.now) == []
    (order,) = watcher.answer(order, 200)
    assert order.request.expires == 0
    assert watcher.answer(order, 200) == []
    assert kinds(watcher.deliver(notify(watcher, usage))) == [Respond, Notified]
    *_, event = watcher.deliver(notify(watcher, usage, "terminated;reason=timeout", cseq=2))
    assert (event.cause, event.reason) == ("unsubscribed", "timeout")


def test_who_unsubscribes_waits_for_the_last_notify_for_64_t1(watcher):
    usage = active(watcher)
    (order,) = usage.unsubscribe(watcher.now)
    watcher.answer(order, 200)
    assert usage.unsubscribe(watcher.now) == []
    (event,) = watcher.advance(32)
    assert event.cause == "unsubscribed"


@pytest.mark.parametrize("status", [423, 500])
def test_a_refused_unsubscription_is_the_end_all_the_same(watcher, status):
    usage = active(watcher)
    (order,) = usage.unsubscribe(watcher.now)
    (event,) = watcher.answer(order, status, headers=[("Min-Expires", "9000")])
    assert event.cause == "rejected"


def test_what_comes_after_the_end_is_nothing(watcher):
    usage = active(watcher)
    (order,) = usage.refresh(watcher.now)
    *_, event = watcher.deliver(notify(watcher, usage, "terminated", cseq=2))
    assert event.cause == "terminated"
    assert watcher.answer(order, 200) == []
    (late,) = subscribe(watcher)[1:]
    assert isinstance(late, SendRequest)
    usage, order = subscribe(watcher)
    watcher.deliver(notify(watcher, usage, "terminated"))
    assert watcher.core.on_timeout(order.token, "F", watcher.now) == []
