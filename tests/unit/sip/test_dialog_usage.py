"""Requests inside a dialog, and its end: RFC 3261 sections 12.2 and 15."""

from __future__ import annotations

import pytest

from callmeter.errors import LocalProtocolError
from callmeter.sip.capabilities import Capabilities
from callmeter.sip.dialog import DialogState
from callmeter.sip.invite_session import SessionState
from callmeter.sip.session_events import (
    Ended,
    InfoReceived,
    RequestAnswered,
    RequestFailed,
    RequestReceived,
    Respond,
    SendRequest,
)


def kinds(effects):
    return [type(effect) for effect in effects]


@pytest.fixture
def session(rig):
    return rig.accepted()


def test_a_bye_from_the_peer_ends_the_session(rig, session):
    response, event = rig.deliver(rig.within(session, "BYE"))
    assert response.response.status == 200
    assert event == Ended(session, "bye-received")
    assert session.dialog.state is DialogState.TERMINATED
    assert not session.answered
    assert len(rig.core) == 0
    assert rig.status(rig.within(session, "BYE", cseq=3)) == 481


def test_our_bye_ends_the_session_when_it_is_answered(rig, session):
    (order,) = session.bye(rig.now, [("Reason", "Q.850;cause=16")])
    assert order.request.headers.get("Reason") == "Q.850;cause=16"
    assert (session.state, session.over) == (SessionState.ENDING, True)
    assert session.bye(rig.now) == []
    assert rig.answer(order, 100) == []
    assert rig.answer(order, 481) == [Ended(session, "bye-sent")]
    assert session.state is SessionState.ENDED
    assert session.bye(rig.now) == []


@pytest.mark.parametrize(
    ("report", "cause"), [("on_timeout", "bye-timeout"), ("on_transport_error", "transport")]
)
def test_a_bye_without_an_answer_ends_the_session_too(rig, session, report, cause):
    (order,) = session.bye(rig.now)
    assert getattr(rig.core, report)(order.token, "F", 32.0) == [Ended(session, cause)]
    assert len(rig.core) == 0


def test_two_byes_may_cross(rig, session):
    (order,) = session.bye(rig.now)
    assert rig.status(rig.within(session, "BYE")) == 200
    assert rig.answer(order, 200) == [Ended(session, "bye-sent")]


@pytest.mark.parametrize("method", ["INVITE", "INFO", "OPTIONS"])
def test_after_our_bye_everything_but_a_bye_gets_481(rig, session, method):
    session.bye(rig.now)
    assert rig.status(rig.within(session, method)) == 481


def test_a_request_of_another_peer_is_not_in_the_dialog(rig, session):
    assert rig.status(rig.within(session, "BYE", from_tag="mallory")) == 481
    assert session.state is SessionState.ESTABLISHED


def test_a_request_that_was_overtaken_is_out_of_order(rig, session):
    rig.deliver(rig.within(session, "OPTIONS", cseq=9))
    assert rig.status(rig.within(session, "OPTIONS", cseq=8)) == 500


def test_options_in_the_dialog_say_what_can_be_done(rig, session):
    (order,) = rig.deliver(rig.within(session, "OPTIONS"))
    assert "INVITE" in order.response.allow


def test_an_info_waits_for_the_application(rig, session):
    request = rig.within(session, "INFO")
    (event,) = rig.deliver(request)
    assert event == InfoReceived(session, rig.key, request)
    (order,) = session.answer(rig.key, 415, rig.now, reason="No", headers=[("Accept", "a/b")])
    assert (order.key, order.response.status, order.response.reason) == (rig.key, 415, "No")
    assert order.response.headers.get("Accept") == "a/b"
    assert session.answer(rig.key, 200, rig.now) == []


def test_a_request_of_a_further_method_waits_for_the_application(rig, session):
    rig.core.capabilities = Capabilities(further=("FLY",))
    request = rig.within(session, "FLY")
    (event,) = rig.deliver(request)
    assert event == RequestReceived(session, rig.key, request)
    (order,) = session.answer(rig.key, 200, rig.now)
    assert order.response.status == 200


def test_an_info_that_waits_when_the_session_ends_is_answered(rig, session):
    rig.deliver(rig.within(session, "INFO"))
    key = rig.key
    effects = rig.deliver(rig.within(session, "BYE", cseq=3))
    assert session.answer(key, 200, rig.now) == []
    assert [(order.key == key, order.response.status) for order in effects[:-1]] == [
        (True, 487),
        (False, 200),
    ]


def test_an_info_of_ours_is_answered_under_its_token(rig, session):
    token, (order,) = session.info("application/dtmf-relay", b"Signal=1", rig.now)
    assert order.request.headers.get("Content-Type") == "application/dtmf-relay"
    assert order.request.cseq.number == 1
    assert "Contact" not in order.request.headers
    (event,) = rig.answer(order, 200)
    assert isinstance(event, RequestAnswered)
    assert event.token == token


@pytest.mark.parametrize(("status", "cause"), [(408, "timeout"), (481, "dialog-lost")])
def test_a_peer_that_lost_the_dialog_ends_it(rig, session, status, cause):
    _, (order,) = session.info("text/plain", b"x", rig.now)
    answered, bye, ended = rig.answer(order, status)
    assert isinstance(answered, RequestAnswered)
    assert bye.request.method == "BYE"
    assert ended == Ended(session, cause)
    assert rig.answer(bye, 481) == []


def test_a_peer_that_does_not_answer_ends_the_session(rig, session):
    token, (order,) = session.info("text/plain", b"x", rig.now)
    effects = rig.core.on_timeout(order.token, "F", 32.0)
    assert kinds(effects) == [RequestFailed, SendRequest, Ended]
    assert effects[0].token == token
    assert effects[2].cause == "timeout"


def test_a_request_that_times_out_after_the_end_ends_nothing_again(rig, session):
    _, (order,) = session.info("text/plain", b"x", rig.now)
    session.bye(rig.now)
    (failed,) = rig.core.on_timeout(order.token, "F", 32.0)
    assert failed.cause == "timeout"


def test_a_lost_connection_does_not_end_the_session(rig, session):
    _, (order,) = session.info("text/plain", b"x", rig.now)
    assert kinds(rig.core.on_transport_error(order.token, "reset", 1.0)) == [RequestFailed]
    assert session.state is SessionState.ESTABLISHED


def test_what_is_answered_after_the_end_ends_nothing_again(rig, session):
    _, (order,) = session.info("text/plain", b"x", rig.now)
    rig.deliver(rig.within(session, "BYE"))
    assert kinds(rig.answer(order, 481)) == [RequestAnswered]


def test_nothing_is_sent_in_a_session_that_is_over_or_not_yet_begun(rig, session):
    for late in (session, rig.incoming(call_id="other")):
        if late is session:
            late.bye(rig.now)
        with pytest.raises(LocalProtocolError, match="no session is established"):
            late.info("text/plain", b"x", rig.now)


def test_the_route_of_the_dialog_is_used(rig):
    session = rig.incoming(headers=[("Record-Route", "<sip:proxy.example;lr>")])
    session.accept(b"", 0.0)
    rig.deliver(rig.within(session, "ACK", cseq=1))
    (order,) = session.bye(rig.now)
    assert order.request.headers.get_all("Route") == ["<sip:proxy.example;lr>"]
    assert isinstance(order, SendRequest)


def test_a_challenge_of_the_peer_itself_is_not_answered(rig, session):
    rig.trust("example.com", realm="example.com")
    (order,) = session.bye(rig.now)
    lines = [("WWW-Authenticate", 'Digest realm="example.com", nonce="n"')]
    assert rig.answer(order, 401, headers=lines) == [Ended(session, "bye-sent")]


def test_a_challenge_of_the_trunk_is_answered_in_the_dialog(rig, session):
    rig.trust("192.0.2.2")
    (order,) = session.bye(rig.now)
    lines = [("WWW-Authenticate", 'Digest realm="trunk", nonce="n"')]
    (again,) = rig.answer(order, 401, headers=lines)
    assert again.request.cseq.number == order.request.cseq.number + 1
    assert rig.answer(again, 200) == [Ended(session, "bye-sent")]
    assert kinds([again]) != [Respond]
