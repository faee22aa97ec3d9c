"""REFER and Replaces at the edges; tests/scenario tells the usual course."""

from __future__ import annotations

import pytest

from callmeter.errors import LocalProtocolError, SipSyntaxError
from callmeter.sip.capabilities import Capabilities
from callmeter.sip.dialog import Dialog
from callmeter.sip.extension_headers import Replaces
from callmeter.sip.headers import NameAddr
from callmeter.sip.message import Request
from callmeter.sip.refer import refer_to_replacing, replaces_of
from callmeter.sip.session_events import (
    Notified,
    Respond,
    SendRequest,
    SubscriptionAccepted,
    SubscriptionEnded,
)
from callmeter.sip.subscriber import SubscriptionPhase
from callmeter.sip.uri import SipUri, parse_uri

CAROL = NameAddr(SipUri("sip", "example.org", user="carol"))


@pytest.fixture
def able(rig):
    rig.core.capabilities = Capabilities(refer=True, refer_outside=True)
    return rig


def kinds(effects):
    return [type(effect) for effect in effects]


@pytest.mark.parametrize(
    ("method", "value", "expected"),
    [
        ("INVITE", None, None),
        ("BYE", None, None),
        ("INVITE", "a;to-tag=b;from-tag=c", Replaces("a", "b", "c")),
    ],
)
def test_the_replaces_of_an_invite(method, value, expected):
    lines = [] if value is None else [("Replaces", value)]
    assert replaces_of(Request(method, "sip:a@b", lines)) == expected


@pytest.mark.parametrize(
    ("method", "value"),
    [
        ("BYE", "a;to-tag=b;from-tag=c"),
        ("INVITE", "a;to-tag=b;from-tag=c, d;to-tag=e;from-tag=f"),
        ("INVITE", "a"),
    ],
)
def test_a_replaces_out_of_place(method, value):
    with pytest.raises(SipSyntaxError, match="Replaces"):
        replaces_of(Request(method, "sip:a@b", [("Replaces", value)]))


def dialog(target):
    return Dialog(
        call_id="12@x;y",
        local=NameAddr.parse("<sip:a@b>;tag=ours"),
        remote=NameAddr.parse("<sip:c@d>;tag=theirs"),
        remote_target=target,
    )


def test_an_attended_transfer_carries_the_dialog_in_the_uri():
    refer_to = refer_to_replacing(dialog(SipUri("sip", "d", user="c")))
    assert str(refer_to) == ("<sip:c@d?Replaces=12%40x%3By%3Bto-tag%3Dtheirs%3Bfrom-tag%3Dours>")
    assert parse_uri(str(refer_to.uri)).header("Replaces") == ("12@x;y;to-tag=theirs;from-tag=ours")
    assert refer_to_replacing(dialog(parse_uri("tel:+15550100"))) is None


def refer(rig, **how):
    session = rig.answered()
    usage, (order,) = rig.core.refer(CAROL, rig.now, session=session, **how)
    return session, usage, order


def notify(rig, usage, body=b"SIP/2.0 100 Trying\r\n", *, event=None, cseq=1, state="active"):
    request = rig.request(
        "NOTIFY",
        to_tag=usage.local_tag,
        call_id=usage.call_id,
        cseq=cseq,
        headers=[("Event", event or str(usage.event)), ("Subscription-State", state)],
    )
    request.body = body
    return request


def test_a_refer_goes_in_the_dialog_and_says_who_asks(able):
    session, usage, order = refer(able)
    request = order.request
    assert str(request.uri) == str(session.remote_target)
    assert request.headers.get("Refer-To") == "<sip:carol@example.org>"
    assert request.headers.get("Referred-By") == "<sip:alice@example.com>"
    assert str(usage.event) == f"refer;id={request.cseq.number}"
    assert able.answer(order, 100) == []
    assert kinds(able.answer(order, 202)) == [SubscriptionAccepted]


@pytest.mark.parametrize("event", ["refer", None])
def test_the_id_may_be_left_out(able, event):
    _, usage, order = refer(able)
    able.answer(order, 202)
    assert kinds(able.deliver(notify(able, usage, event=event))) == [Respond, Notified]
    assert usage.progress == (100, "Trying")
    able.deliver(notify(able, usage, b"nonsense", cseq=2))
    assert usage.progress == (100, "Trying")


def test_a_challenged_refer_is_told_by_its_last_number(able):
    able.trust("192.0.2.2", "example.net")
    _, usage, order = refer(able)
    challenge = [("WWW-Authenticate", 'Digest realm="r", nonce="n", qop="auth"')]
    (again,) = able.answer(order, 401, headers=challenge)
    able.answer(again, 202)
    assert str(usage.event) == f"refer;id={again.request.cseq.number}"


def test_a_refer_may_be_dropped_before_and_after_its_answer(able):
    _, usage, order = refer(able)
    assert usage.unsubscribe(able.now) == []
    accepted, end = able.answer(order, 202)
    assert type(accepted) is SubscriptionAccepted
    assert (end.request.method, end.request.expires) == ("SUBSCRIBE", 0)
    assert able.answer(end, 200) == []
    assert kinds(able.deliver(notify(able, usage, state="terminated"))) == [
        Respond,
        Notified,
        SubscriptionEnded,
    ]


def test_a_refer_of_which_nothing_is_told_is_given_up(able):
    _, usage, order = refer(able)
    able.answer(order, 202)
    (event,) = able.advance(32)
    assert event == SubscriptionEnded(usage, "no-notify", 0, None, None)


def test_a_peer_that_tells_nothing_more_lets_it_expire(able):
    _, usage, order = refer(able)
    able.answer(order, 202)
    able.deliver(notify(able, usage, state="active;expires=60"))
    (event,) = able.advance(100)
    assert event.cause == "expired"


def referral(rig, value="<sip:carol@example.org>", *, headers=(), session=None):
    session = rig.accepted() if session is None else session
    lines = [("Refer-To", value), *headers]
    (event,) = rig.deliver(rig.within(session, "REFER", headers=lines))
    return event.usage


@pytest.mark.parametrize(
    ("value", "target", "method"),
    [
        ("<sip:carol@x?Replaces=a%3Bto-tag%3Db%3Bfrom-tag%3Dc>", "sip:carol@x", "INVITE"),
        ("<sip:carol@x;method=BYE>", "sip:carol@x", "BYE"),
        ("<tel:+15550100>", None, "INVITE"),
    ],
)
def test_a_referral_says_whom_to_call_and_how(able, value, target, method):
    usage = referral(able, value, headers=[("Referred-By", "<sip:boss@x>")])
    assert (usage.target and str(usage.target)) == target
    assert usage.method == method
    lines = dict(usage.invite_headers)
    assert lines.get("Replaces") == ("a;to-tag=b;from-tag=c" if "Replaces" in value else None)
    assert lines["Referred-By"] == "<sip:boss@x>"
    assert repr(usage) == "<Referral refer;id=2 subscribing>"


def test_a_referral_is_accepted_by_202_and_told_at_once(able):
    usage = referral(able)
    reply, order = usage.accept(able.now, expires=20, headers=[("X-Y", "z")])
    assert (reply.response.status, reply.response.headers.get("X-Y")) == (202, "z")
    assert order.request.body == b"SIP/2.0 100 Trying\r\n"
    assert order.request.headers.get("Content-Type") == "message/sipfrag;version=2.0"
    assert order.request.headers.get("Subscription-State") == "active;expires=20"
    with pytest.raises(LocalProtocolError, match="was answered"):
        usage.accept(able.now)


def test_a_referral_may_be_pending_with_a_word_of_its_own(able):
    usage = referral(able)
    _, order = usage.accept(able.now, pending=True, body=b"SIP/2.0 182 Queued\r\n")
    assert usage.phase is SubscriptionPhase.PENDING
    assert order.request.body == b"SIP/2.0 182 Queued\r\n"
    able.answer(order, 200)
    (order,) = usage.report(180, able.now)
    assert isinstance(order, SendRequest)
    assert usage.phase is SubscriptionPhase.ACTIVE


def test_a_referral_that_was_not_accepted_reports_nothing(able):
    usage = referral(able)
    assert usage.report(180, able.now) == []
    usage.reject(603, able.now)
    assert usage.report(200, able.now) == []
