"""The user agent core: what goes where."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from callmeter.errors import LocalProtocolError
from callmeter.session_config import Extension, SessionTimerConfig
from callmeter.sip.capabilities import Capabilities
from callmeter.sip.session_events import (
    IncomingInvite,
    InfoReceived,
    MessageReceived,
    PrackReceived,
    ReferReceived,
    ReinviteReceived,
    RequestAnswered,
    RequestReceived,
    Respond,
    SendRequest,
    SubscribeReceived,
    UpdateReceived,
)
from callmeter.sip.uri import SipUri

TARGET = SipUri("sip", "example.net", user="bob")


@pytest.mark.parametrize("method", ["BYE", "INFO"])
def test_a_request_that_needs_a_dialog_gets_481_without_one(rig, method):
    assert rig.status(rig.request(method)) == 481
    assert rig.status(rig.request(method, to_tag="unknown")) == 481


def test_an_invite_into_an_unknown_dialog_gets_481(rig):
    assert rig.status(rig.request(to_tag="unknown")) == 481
    assert len(rig.core) == 0


def test_options_are_answered_with_what_can_be_done(rig):
    (order,) = rig.deliver(rig.request("OPTIONS"))
    response = order.response
    assert response.status == 200
    assert response.to.tag
    assert {"INVITE", "BYE"} <= response.allow
    assert response.headers.get("Accept") == "application/sdp"
    assert response.headers.get("Supported") == ""
    assert response.headers.get("Server") == "callmeter"


def test_a_request_that_asks_too_much_is_refused_before_anything_is_kept(rig):
    assert rig.status(rig.request(headers=[("Require", "magic")])) == 420
    assert len(rig.core) == 0


def test_a_merged_request_is_a_loop(rig):
    assert rig.status(rig.request(), merged=True) == 482


def test_max_forwards_of_zero_does_not_concern_the_last_hop(rig):
    request = rig.request("OPTIONS")
    request.headers.set("Max-Forwards", "0")
    assert rig.status(request) == 200


def test_a_cancel_of_nothing_gets_481_and_of_something_answered_200(rig):
    assert rig.status(rig.request("CANCEL")) == 481
    session = rig.incoming()
    invite_key = rig.key
    session.reject(486, 0.0)
    assert rig.status(rig.request("CANCEL"), invite_key=invite_key) == 200


def test_it_knows_which_requests_are_its_own(rig):
    session = rig.incoming()
    invite_key = rig.key
    assert rig.core.owns(rig.within(session, "BYE"))
    assert not rig.core.owns(rig.request("BYE", to_tag="unknown"))
    assert not rig.core.owns(rig.request())
    assert rig.core.owns(rig.request("CANCEL"), invite_key)
    assert not rig.core.owns(rig.request("CANCEL"), ("s", "other"))
    assert rig.core.sessions == [session]


def test_an_ack_of_no_session_is_ignored(rig):
    assert rig.deliver(rig.request("ACK", to_tag="unknown")) == []


@pytest.mark.parametrize(("octet", "wait"), [(0, "5"), (255, "30")])
def test_over_the_limit_a_call_is_refused_and_none_is_made(rig, octet, wait):
    rig.core.dialog_limit = 1
    rig.incoming()
    rig.agent.entropy = lambda octets: bytes([octet]) * octets
    (order,) = rig.deliver(rig.request(call_id="second"))
    assert order.response.status == 503
    assert order.response.headers.get("Retry-After") == wait
    with pytest.raises(LocalProtocolError, match="1 sessions"):
        rig.core.invite(TARGET, 0.0)


def test_a_plain_request_is_answered_under_its_token(rig):
    token, (order,) = rig.core.request(
        "MESSAGE", TARGET, 0.0, body=b"hi", content_type="text/plain", headers=[("X-Y", "z")]
    )
    assert isinstance(order, SendRequest)
    assert order.request.body == b"hi"
    assert "Contact" not in order.request.headers
    (event,) = rig.answer(order, 202)
    assert isinstance(event, RequestAnswered)
    assert event.token == token


def test_options_of_ours_ask_for_session_descriptions(rig):
    _, (order,) = rig.core.options(TARGET, 0.0, headers=[("X-Y", "z")])
    assert order.request.headers.get("Accept") == "application/sdp"
    assert order.request.headers.get("X-Y") == "z"
    assert "Contact" in order.request.headers


@pytest.mark.parametrize("method", ["INVITE", "ACK", "CANCEL", "BYE", "REGISTER"])
def test_a_method_with_its_own_command_is_no_plain_request(rig, method):
    with pytest.raises(LocalProtocolError, match="no request by itself"):
        rig.core.request(method, TARGET, 0.0)


def test_reports_about_unknown_transactions_are_ignored(rig):
    assert rig.core.on_timeout(99, "F", 0.0) == []
    assert rig.core.on_transport_error(99, "x", 0.0) == []
    assert rig.core.on_server_timeout(("s", "x"), "H", 0.0) == []
    assert rig.core.on_server_transport_error(("s", "x"), "x", 0.0) == []


def test_two_calls_of_one_peer_are_two_sessions(rig):
    first, second = rig.incoming(), rig.incoming(call_id="other")
    assert first is not second
    assert len(rig.core) == 2
    (event,) = rig.deliver(rig.request(call_id="third", from_tag=None))
    assert isinstance(event, IncomingInvite)


def test_nothing_to_do_means_no_deadline(rig):
    assert rig.core.next_deadline() is None
    assert rig.core.on_deadline(100.0) == []


REQUESTS = st.lists(
    st.tuples(
        st.sampled_from(["INVITE", "ACK", "BYE", "INFO", "OPTIONS", "CANCEL", "MESSAGE", "FLY"]),
        st.sampled_from(["none", "session", "unknown"]),
        st.sampled_from(["bobs", "mallory", None]),
        st.integers(0, 4),
        st.booleans(),
    ),
    max_size=30,
)


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    max_examples=200,
)
@given(requests=REQUESTS)
def test_every_request_gets_one_answer_or_waits_for_the_application(rig, requests):
    # The rig is one for all examples: what an earlier one left behind may disturb a later one.
    session = rig.incoming(call_id=f"call-{rig.now}")
    invite_key = rig.key
    if requests and requests[0][4]:
        session.accept(b"answer", rig.now)
    for method, to_tag, from_tag, cseq, known in requests:
        request = rig.request(
            method,
            to_tag={"none": None, "session": session.local_tag, "unknown": "x"}[to_tag],
            from_tag=from_tag,
            call_id=session.call_id,
            cseq=cseq,
        )
        how = {"invite_key": invite_key if known else None} if method == "CANCEL" else {}
        effects = rig.deliver(request, **how)
        answers = [
            effect.response
            for effect in effects
            if isinstance(effect, Respond) and effect.key == rig.key
        ]
        waits = [
            effect
            for effect in effects
            if isinstance(effect, IncomingInvite | InfoReceived | ReinviteReceived)
        ]
        assert len(answers) + len(waits) == (method != "ACK")
        assert all(answer.status >= 200 for answer in answers)
        for effect in waits:
            if isinstance(effect, IncomingInvite):
                effect.session.reject(486, rig.now)
    rig.now += 1.0


WAITING = IncomingInvite | ReinviteReceived | MessageReceived | SubscribeReceived | ReferReceived
"""Events that ask the application for an answer, always."""

EXTENDED = st.lists(
    st.tuples(
        st.sampled_from(
            ["INVITE", "ACK", "BYE", "PRACK", "UPDATE", "REFER", "SUBSCRIBE", "NOTIFY", "MESSAGE"]
        ),
        st.sampled_from(["none", "session", "unknown"]),
        st.sampled_from(["bobs", "mallory"]),
        st.integers(0, 4),
        st.sampled_from([b"", b"v=0"]),
        st.sets(
            st.sampled_from(
                [
                    *(("RAck", "1 1 INVITE"), ("RAck", "x"), ("RAck", "2 1 INVITE")),
                    *(("Event", "dialog"), ("Event", "refer"), ("Event", "<")),
                    *(("Expires", "0"), ("Expires", "9")),
                    *(("Refer-To", "<sip:c@d>"), ("Refer-To", "<sip:c@d?Replaces=%00>")),
                    ("Refer-Sub", "false"),
                    *(("Replaces", "call-1;to-tag=x;from-tag=bobs"), ("Replaces", "x")),
                    *(("Supported", "100rel, timer"), ("Require", "100rel")),
                    *(("Session-Expires", "9"), ("Session-Expires", "900;refresher=uac")),
                    *(("Min-SE", "x"), ("Subscription-State", "active"), ("Content-Type", "a/b")),
                    ("Content-Type", "application/sdp"),
                ]
            ),
            max_size=5,
        ),
    ),
    max_size=30,
)


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    max_examples=300,
)
@given(requests=EXTENDED, answered=st.booleans())
def test_every_request_to_who_serves_everything_gets_one_answer_or_waits(rig, requests, answered):
    rig.core.capabilities = Capabilities(
        reliable=Extension.SUPPORTED,
        session_timer=SessionTimerConfig(mode=Extension.SUPPORTED),
        update=True,
        refer=True,
        refer_outside=True,
        message=True,
        events=("dialog",),
        subscriptions=True,
    )
    session = rig.incoming(call_id=f"call-{rig.now}", headers=[("Supported", "100rel")])
    session.progress(183, rig.now, body=b"answer" if answered else b"")
    if answered:
        session.accept(b"answer", rig.now)
    for method, to_tag, from_tag, cseq, body, lines in requests:
        request = rig.request(
            method,
            to_tag={"none": None, "session": session.local_tag, "unknown": "x"}[to_tag],
            from_tag=from_tag,
            call_id=session.call_id,
            cseq=cseq,
            headers=sorted({name: (name, value) for name, value in lines}.values()),
            body=b"",
        )
        request.body = body
        effects = rig.deliver(request)
        answers = [e for e in effects if isinstance(e, Respond) and e.key == rig.key]
        waits = [
            event
            for event in effects
            if isinstance(event, WAITING)
            or (isinstance(event, UpdateReceived | PrackReceived) and event.key is not None)
        ]
        assert len(answers) + len(waits) == (method != "ACK")
        for event in waits:
            if isinstance(event, SubscribeReceived | ReferReceived):
                event.usage.accept(rig.now)
            elif isinstance(event, IncomingInvite):
                event.session.reject(486, rig.now)
    rig.advance(1.0)


def test_what_is_served_can_be_changed(rig):
    assert rig.core.capabilities == Capabilities()
    assert rig.status(rig.request("MESSAGE")) == 405
    rig.core.capabilities = Capabilities(message=True)
    (order,) = rig.deliver(rig.request("OPTIONS"))
    assert "MESSAGE" in order.response.allow


def test_a_request_of_a_further_method_waits_for_the_application(rig):
    rig.core.capabilities = Capabilities(further=("FLY",))
    request = rig.request("FLY")
    (event,) = rig.deliver(request)
    assert event == RequestReceived(None, rig.key, request)
    (order,) = rig.core.reply(rig.key, request, 202, rig.now)
    assert (order.key, order.response.status) == (rig.key, 202)
