"""A subscription of somebody else: RFC 6665 section 4.2."""

from __future__ import annotations

import pytest

from callmeter.errors import ConfigurationError, LocalProtocolError
from callmeter.sip.capabilities import Capabilities
from callmeter.sip.notifier import DEFAULT_EXPIRES
from callmeter.sip.session_events import (
    Respond,
    SendRequest,
    SubscribeReceived,
    SubscriptionEnded,
)
from callmeter.sip.subscriber import SubscriptionPhase


@pytest.fixture
def served(rig):
    rig.core.capabilities = Capabilities(events=("dialog",))
    return rig


def subscribe(rig, *, expires="600", **how):
    lines = [("Event", "dialog"), ("Record-Route", "<sip:p1;lr>")]
    if expires is not None:
        lines.append(("Expires", expires))
    return rig.request("SUBSCRIBE", headers=lines, **how)


def subscribed(rig, **how):
    (event,) = rig.deliver(subscribe(rig, **how))
    assert type(event) is SubscribeReceived
    return event.usage


def kinds(effects):
    return [type(effect) for effect in effects]


def test_accepting_tells_the_time_and_the_state(served):
    usage = subscribed(served)
    assert repr(usage) == "<Notifier dialog subscribing>"
    reply, order = usage.accept(0.0, expires=300, body=b"<x/>", content_type="text/xml")
    assert (reply.response.status, reply.response.expires) == (200, 300)
    assert reply.response.headers.get("Record-Route") == "<sip:p1;lr>"
    assert "Contact" in reply.response.headers
    notify = order.request
    assert (notify.method, notify.body) == ("NOTIFY", b"<x/>")
    assert notify.headers.get("Subscription-State") == "active;expires=300"
    assert notify.to.tag == "bobs"
    assert notify.from_.tag == usage.local_tag == reply.response.to.tag


@pytest.mark.parametrize(("asked", "granted"), [(None, DEFAULT_EXPIRES), ("60", 60)])
def test_nobody_gets_more_time_than_was_asked_for(served, asked, granted):
    usage = subscribed(served, expires=asked)
    reply, _ = usage.accept(0.0, expires=9999)
    assert reply.response.expires == granted


def test_a_refusal_is_the_end(served):
    usage = subscribed(served)
    reply, event = usage.reject(403, 0.0, reason="No", headers=[("X-Y", "z")])
    assert (reply.response.status, reply.response.reason) == (403, "No")
    assert event == SubscriptionEnded(usage, "rejected", 403, None, None)
    for command in (lambda: usage.accept(0.0), lambda: usage.reject(403, 0.0)):
        with pytest.raises(LocalProtocolError, match="was answered"):
            command()
    for command in (lambda: usage.notify(b"", "", 0.0), lambda: usage.terminate(0.0)):
        with pytest.raises(LocalProtocolError, match="does not run"):
            command()


def test_a_state_of_no_type_is_refused_and_changes_nothing(served):
    usage = subscribed(served)
    with pytest.raises(ConfigurationError):
        usage.accept(0.0, body=b"<x/>")
    assert usage.phase is SubscriptionPhase.SUBSCRIBING
    usage.accept(0.0)
    for refused in (
        lambda: usage.notify(b"<x/>", "", 0.0),
        lambda: usage.terminate(0.0, body=b"<x/>"),
    ):
        with pytest.raises(ConfigurationError):
            refused()
    assert usage.phase is SubscriptionPhase.ACTIVE
    usage.notify(b"<x/>", "", 0.0, headers=[("Content-Type", "text/xml")])


def test_while_a_notify_is_under_way_the_newest_state_waits(served):
    usage = subscribed(served)
    _, order = usage.accept(0.0, pending=True)
    assert usage.phase is SubscriptionPhase.PENDING
    assert usage.notify(b"one", "text/plain", 0.0) == []
    assert usage.notify(b"two", "text/plain", 0.0, headers=[("X-Y", "z")]) == []
    assert served.answer(order, 100) == []
    (order,) = served.answer(order, 200)
    assert (order.request.body, order.request.headers.get("X-Y")) == (b"two", "z")
    assert served.answer(order, 200) == []


@pytest.mark.parametrize("status", [481, 489])
def test_a_notify_that_nobody_takes_ends_the_subscription(served, status):
    usage = subscribed(served)
    _, order = usage.accept(0.0)
    assert served.answer(order, status) == [
        SubscriptionEnded(usage, "rejected", status, None, None)
    ]
    assert len(served.core) == 0


def test_a_notify_that_is_refused_for_another_reason_does_not(served):
    usage = subscribed(served)
    _, order = usage.accept(0.0)
    assert served.answer(order, 500) == []
    assert usage.phase is SubscriptionPhase.ACTIVE


def test_a_notify_that_nobody_answers_ends_the_subscription(served):
    usage = subscribed(served)
    _, order = usage.accept(0.0)
    (event,) = served.core.on_transport_error(order.token, "gone", 0.0)
    assert (event.cause, event.status) == ("transport", 503)


def test_a_refresh_is_granted_and_tells_the_state(served):
    usage = subscribed(served)
    _, order = usage.accept(0.0, body=b"state", content_type="text/plain")
    served.answer(order, 200)
    reply, order = served.deliver(subscribe(served, expires="900", to_tag=usage.local_tag, cseq=2))
    assert reply.response.expires == 900
    assert order.request.body == b"state"
    assert usage.expires_at == 900
    (order, event) = served.advance(900)
    assert order.request.headers.get("Subscription-State") == "terminated;reason=timeout"
    assert event.cause == "expired"
    # The answers to its NOTIFYs come too late to matter.
    assert served.answer(order, 200) == []
    assert served.core.on_timeout(2, "F", served.now) == []


def test_a_refresh_before_the_answer_is_too_early(served):
    usage = subscribed(served)
    assert served.status(subscribe(served, to_tag=usage.local_tag, cseq=2)) == 500


def test_an_unsubscription_gets_a_last_notify(served):
    usage = subscribed(served)
    _, under_way = usage.accept(0.0)
    effects = served.deliver(subscribe(served, expires="0", to_tag=usage.local_tag, cseq=2))
    assert kinds(effects) == [Respond, SendRequest, SubscriptionEnded]
    assert effects[-1].cause == "unsubscribed"
    assert served.answer(under_way, 481) == []
    assert served.core.on_timeout(effects[1].token, "F", 0.0) == []
