"""Which subscription a SUBSCRIBE, NOTIFY or REFER is for."""

from __future__ import annotations

import pytest

from callmeter.sip.capabilities import Capabilities
from callmeter.sip.session_events import ReferReceived, SubscribeReceived


@pytest.fixture
def able(rig):
    rig.core.capabilities = Capabilities(
        events=("dialog",), subscriptions=True, refer=True, refer_outside=True
    )
    return rig


EVENT = [("Event", "dialog")]
REFER_TO = [("Refer-To", "<sip:carol@example.org>")]


@pytest.mark.parametrize(
    ("method", "lines", "status"),
    [
        ("NOTIFY", EVENT, 481),
        ("NOTIFY", [], 481),
        ("SUBSCRIBE", [], 489),
        ("SUBSCRIBE", [("Event", "<")], 489),
        ("SUBSCRIBE", [("Event", "presence")], 489),
        ("REFER", [], 400),
        ("REFER", [("Refer-To", "<sip:a@b>, <sip:c@d>")], 400),
        ("REFER", [("Refer-To", "<:>")], 400),
    ],
)
def test_what_is_for_nobody_is_told_why(able, method, lines, status):
    assert able.status(able.request(method, headers=lines)) == status


@pytest.mark.parametrize(("method", "lines"), [("SUBSCRIBE", EVENT), ("REFER", REFER_TO)])
def test_a_dialog_that_is_not_there_gets_481(able, method, lines):
    assert able.status(able.request(method, headers=lines, to_tag="unknown")) == 481
    session = able.accepted()
    request = able.within(session, method, headers=lines, from_tag="mallory")
    assert able.status(request) == 481
    session.bye(able.now)
    assert able.status(able.within(session, method, headers=lines)) == 481


@pytest.mark.parametrize(
    ("method", "lines", "kind"),
    [("SUBSCRIBE", EVENT, SubscribeReceived), ("REFER", REFER_TO, ReferReceived)],
)
def test_the_dialog_of_a_call_may_be_shared(able, method, lines, kind):
    session = able.accepted()
    (event,) = able.deliver(able.within(session, method, headers=lines, cseq=5))
    assert type(event) is kind
    assert event.usage.dialog is session.dialog
    assert event.usage.local_tag == session.local_tag
    other = [("Event", "dialog;id=2")] if method == "SUBSCRIBE" else lines
    (event,) = able.deliver(able.within(session, method, headers=other, cseq=6))
    assert type(event) is kind
    assert able.status(able.within(session, method, headers=other, cseq=4)) == 500


def test_a_request_out_of_order_gets_500(able):
    session = able.accepted()
    able.deliver(able.within(session, "OPTIONS", cseq=9))
    assert able.status(able.within(session, "REFER", headers=REFER_TO, cseq=8)) == 500


def test_a_refresh_by_somebody_else_or_out_of_order_is_refused(able):
    (event,) = able.deliver(able.request("SUBSCRIBE", headers=EVENT, cseq=5))
    usage = event.usage
    usage.accept(0.0)
    again = {"headers": EVENT, "to_tag": usage.local_tag}
    assert able.status(able.request("SUBSCRIBE", from_tag="mallory", cseq=6, **again)) == 481
    assert able.status(able.request("SUBSCRIBE", cseq=4, **again)) == 500


def test_an_early_dialog_of_a_call_of_ours_takes_no_subscription(able):
    session, order = able.call()
    able.answer(order, 180)
    assert able.status(able.back(session, "REFER", headers=REFER_TO)) == 500


def test_no_more_subscriptions_are_taken_than_may_be(able, identity, entropy):
    core = type(able.core)(
        identity, able.agent.timers, entropy, dialog_limit=1, capabilities=able.core.capabilities
    )
    able.core, able.agent = core, core._agent
    able.deliver(able.request("SUBSCRIBE", headers=EVENT))
    (order,) = able.deliver(able.request("SUBSCRIBE", headers=EVENT, call_id="other"))
    assert order.response.status == 503
    assert int(order.response.headers.get("Retry-After")) >= 5
