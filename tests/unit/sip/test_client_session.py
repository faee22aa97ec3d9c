"""The caller up to the answer: RFC 3261 sections 9.1 and 13.2."""

from __future__ import annotations

import pytest

from callmeter.errors import LocalProtocolError
from callmeter.sip.capabilities import Capabilities
from callmeter.sip.client_session import MAX_FORKS
from callmeter.sip.invite_session import Role, SessionState
from callmeter.sip.session_events import (
    Answered,
    CancelRequest,
    Ended,
    Failed,
    Provisional,
    Redirected,
    Respond,
    SendAck,
    SendRequest,
)


def kinds(effects):
    return [type(effect) for effect in effects]


def test_the_invite_carries_what_a_callee_needs(rig):
    session, order = rig.call()
    request = order.request
    assert request is session.request
    assert str(request.uri) == "sip:bob@example.net"
    assert request.from_.tag == session.local_tag
    assert request.to.tag is None
    assert request.headers.get("Contact") == "<sip:alice-7f@192.0.2.1:5060>"
    assert request.headers.get("Content-Type") == "application/sdp"
    assert "CANCEL" in request.allow
    assert (session.role, session.state) == (Role.UAC, SessionState.CALLING)
    assert session.remote == request.to
    assert session.local == request.from_
    assert session.remote_target == request.uri
    assert not session.answered
    assert repr(session) == f"<ClientInviteSession {session.call_id} calling>"


def test_trying_creates_no_dialog(rig):
    session, order = rig.call()
    (event,) = rig.answer(order, 100, tag="x")
    assert isinstance(event, Provisional)
    assert session.state is SessionState.CALLING
    assert session.early_dialogs == {}


def test_each_fork_that_rings_has_an_early_dialog(rig):
    session, order = rig.call()
    for tag in ("one", "two", "one", None):
        rig.answer(order, 180, tag=tag)
    assert list(session.early_dialogs) == ["one", "two"]
    assert session.state is SessionState.EARLY
    assert session.dialog is None


def test_a_peer_that_invents_tags_makes_few_dialogs(rig):
    session, order = rig.call()
    for number in range(MAX_FORKS + 5):
        rig.answer(order, 180, tag=f"t{number}")
    assert len(session.early_dialogs) == MAX_FORKS


@pytest.mark.parametrize("ringing", [True, False])
def test_a_2xx_is_acknowledged_at_once_and_establishes_the_session(rig, ringing):
    session, order = rig.call()
    if ringing:
        rig.answer(order, 180, contact="<sip:early@192.0.2.2>")
    ack, event = rig.answer(order, 200)
    assert isinstance(ack, SendAck)
    assert (ack.request.method, ack.request.cseq.number) == ("ACK", 1)
    assert str(ack.request.uri) == "sip:bob@192.0.2.2:5060"
    assert ack.request.body == b""
    assert isinstance(event, Answered)
    assert session.state is SessionState.ESTABLISHED
    assert session.answered
    assert session.early_dialogs == {}
    assert session.last_response is event.response


def test_each_further_2xx_gets_the_same_ack_until_64_t1_are_over(rig):
    _, order = rig.call()
    ack = rig.answer(order, 200)[0]
    rig.advance(31.9)
    assert rig.answer(order, 200) == [ack]
    rig.advance(0.2)
    assert rig.answer(order, 200) == []


def test_the_ack_shows_the_credentials_of_the_invite(rig):
    rig.trust("example.net")
    _, order = rig.call()
    (again,) = rig.answer(order, 401, headers=[("WWW-Authenticate", 'Digest realm="r", nonce="n"')])
    ack = rig.answer(again, 200)[0].request
    assert ack.headers.get("Authorization") == again.request.headers.get("Authorization")
    assert ack.cseq.number == 2


def test_an_invite_without_an_offer_waits_for_the_answer_to_acknowledge(rig):
    session, order = rig.call(body=b"")
    (event,) = rig.answer(order, 200)
    assert isinstance(event, Answered)
    assert session.state is SessionState.ANSWERED
    assert rig.answer(order, 200) == []
    (ack,) = session.ack(b"v=0 answer", rig.now)
    assert ack.request.body == b"v=0 answer"
    assert ack.request.headers.get("Content-Type") == "application/sdp"
    assert session.state is SessionState.ESTABLISHED
    assert rig.answer(order, 200) == [ack]
    with pytest.raises(LocalProtocolError, match="no 2xx waits"):
        session.ack(b"", rig.now)


def test_hanging_up_before_the_answer_to_an_offer_acknowledges_first(rig):
    session, order = rig.call(body=b"")
    rig.answer(order, 200)
    ack, bye = session.bye(rig.now)
    assert isinstance(ack, SendAck)
    assert bye.request.method == "BYE"


def test_a_2xx_of_another_fork_is_acknowledged_and_ended(rig):
    session, order = rig.call()
    rig.answer(order, 200, tag="one")
    ack, bye = rig.answer(order, 200, tag="two", contact="<sip:bob@192.0.2.3>")
    assert ack.request.to.tag == bye.request.to.tag == "two"
    assert bye.request.method == "BYE"
    assert str(bye.request.uri) == "sip:bob@192.0.2.3"
    assert rig.answer(order, 200, tag="two") == [ack]
    assert rig.answer(bye, 200) == []
    assert session.state is SessionState.ESTABLISHED


def test_a_peer_that_invents_answers_gets_few_byes(rig):
    session, order = rig.call()
    for number in range(MAX_FORKS + 5):
        rig.answer(order, 200, tag=f"t{number}")
    assert len(rig.core) == MAX_FORKS + 1
    assert session.state is SessionState.ESTABLISHED


def test_a_provisional_response_of_another_fork_after_the_answer_is_nothing(rig):
    _, order = rig.call()
    rig.answer(order, 200, tag="one")
    assert rig.answer(order, 180, tag="two") == []


@pytest.mark.parametrize(
    ("status", "cause"),
    [
        (486, "rejected"),
        (300, "rejected"),
        (302, "rejected"),
        (401, "authentication"),
        (407, "authentication"),
        (603, "rejected"),
    ],
)
def test_a_refusal_ends_the_session(rig, status, cause):
    session, order = rig.call()
    (event,) = rig.answer(order, status)
    assert isinstance(event, Failed)
    assert (event.status, event.cause, event.response.status) == (status, cause, status)
    assert session.state is SessionState.ENDED
    assert session.last_response is event.response
    assert session.over
    assert len(rig.core) == 0
    assert session.cancel(rig.now) == session.bye(rig.now) == []


@pytest.mark.parametrize(
    ("report", "status", "cause"),
    [("on_timeout", 408, "timeout"), ("on_transport_error", 503, "transport")],
)
def test_silence_ends_the_session(rig, report, status, cause):
    session, order = rig.call()
    (event,) = getattr(rig.core, report)(order.token, "B", 32.0)
    assert (event.session, event.status, event.cause) == (session, status, cause)
    assert event.response is None
    assert len(rig.core) == 0


def test_a_failure_reported_after_the_answer_is_nothing(rig):
    session, order = rig.call()
    rig.answer(order, 200)
    assert rig.core.on_transport_error(order.token, "gone", 1.0) == []
    assert session.state is SessionState.ESTABLISHED


def test_a_refusal_after_the_answer_is_nothing(rig):
    session, order = rig.call()
    rig.answer(order, 200)
    assert rig.answer(order, 486) == []
    assert session.state is SessionState.ESTABLISHED


def test_cancel_is_asked_for_once_and_the_487_ends_the_session(rig):
    session, order = rig.call()
    rig.answer(order, 180)
    assert session.cancel(rig.now) == [CancelRequest(order.token)]
    assert session.cancel(rig.now) == []
    assert session.state is SessionState.CANCELLING
    (event,) = rig.answer(order, 487)
    assert (event.status, event.cause) == (487, "cancelled")


def test_a_cancelled_call_that_nobody_answers_was_cancelled(rig):
    session, order = rig.call()
    session.cancel(rig.now)
    (event,) = rig.core.on_timeout(order.token, "CANCEL", 32.0)
    assert (event.status, event.cause) == (408, "cancelled")


def test_a_challenge_to_a_cancelled_call_is_not_answered(rig):
    rig.trust("example.net")
    session, order = rig.call()
    session.cancel(rig.now)
    (event,) = rig.answer(order, 401, headers=[("WWW-Authenticate", 'Digest realm="r", nonce="n"')])
    assert (event.status, event.cause) == (401, "cancelled")


def test_cancel_names_the_transaction_after_a_challenge(rig):
    rig.trust("example.net")
    session, order = rig.call()
    (again,) = rig.answer(order, 401, headers=[("WWW-Authenticate", 'Digest realm="r", nonce="n"')])
    assert session.cancel(rig.now) == [CancelRequest(again.token)]


def test_a_2xx_that_crosses_the_cancel_is_acknowledged_and_ended(rig):
    session, order = rig.call()
    session.cancel(rig.now)
    effects = rig.answer(order, 200)
    assert kinds(effects) == [SendAck, SendRequest]
    assert session.state is SessionState.ENDING
    (event,) = rig.answer(effects[1], 200)
    assert isinstance(event, Failed)
    assert (event.status, event.cause) == (487, "cancelled")
    assert session.state is SessionState.ENDED
    assert rig.answer(order, 200) == [effects[0]]


def test_a_lost_bye_of_a_cancelled_call_changes_nothing_about_its_end(rig):
    session, order = rig.call()
    session.cancel(rig.now)
    bye = rig.answer(order, 200)[1]
    (event,) = rig.core.on_timeout(bye.token, "F", 40.0)
    assert isinstance(event, Failed)
    assert event.cause == "cancelled"


def test_an_answered_call_cannot_be_cancelled_nor_an_unanswered_one_ended(rig):
    session, order = rig.call()
    with pytest.raises(LocalProtocolError, match="it is calling"):
        session.bye(rig.now)
    rig.answer(order, 200)
    with pytest.raises(LocalProtocolError, match="was answered"):
        session.cancel(rig.now)


def test_a_bye_before_the_answer_ends_the_call(rig):
    # Each 2xx was lost, and the callee has given up waiting for the ACK.
    session, order = rig.call()
    rig.answer(order, 180)
    response, cancel = rig.deliver(rig.back(session, "BYE"))
    assert isinstance(response, Respond)
    assert response.response.status == 200
    assert cancel == CancelRequest(order.token)
    (event,) = rig.core.on_timeout(order.token, "CANCEL", 64.0)
    assert isinstance(event, Failed)


def test_another_request_in_an_early_dialog_is_served_there(rig):
    session, order = rig.call()
    assert rig.status(rig.back(session, "OPTIONS")) == 481
    rig.answer(order, 180)
    assert rig.status(rig.back(session, "OPTIONS")) == 200
    assert rig.status(rig.back(session, "INVITE", cseq=2)) == 491


def test_the_dialog_knows_only_the_fork_that_answered(rig):
    session, order = rig.call()
    rig.answer(order, 180, tag="one")
    rig.answer(order, 200, tag="two")
    assert rig.status(rig.back(session, "OPTIONS", from_tag="one")) == 481
    assert rig.status(rig.back(session, "OPTIONS", from_tag="two")) == 200


def test_a_callee_of_rfc_2543_without_a_tag_is_served_too(rig):
    session, order = rig.call()
    rig.answer(order, 200, tag=None)
    effects = rig.deliver(rig.back(session, "BYE", from_tag=None))
    assert kinds(effects) == [Respond, Ended]


@pytest.fixture
def following(rig):
    """A core that follows redirections."""
    rig.core.capabilities = Capabilities(redirects=5)
    return rig


def moved(rig, order, *contacts, status=302):
    response = rig.response(order.request, status, contact=None)
    for contact in contacts:
        response.headers.add("Contact", contact)
    return rig.core.on_response(order.token, response, rig.now)


def test_a_redirection_is_final_unless_it_is_to_be_followed(rig):
    _, order = rig.call()
    (event,) = moved(rig, order, "<sip:carol@example.org>")
    assert (event.status, event.cause) == (302, "rejected")


def test_a_redirected_call_goes_to_the_new_target_as_the_same_call(following):
    session, order = following.call()
    following.answer(order, 180)
    event, again = moved(following, order, "<sip:carol@example.org;method=BYE?Subject=x>")
    assert event == Redirected(session, event.target)
    request = again.request
    assert str(request.uri) == "sip:carol@example.org"
    assert request.to == order.request.to
    assert (request.call_id, request.from_) == (session.call_id, order.request.from_)
    assert request.cseq.number == 2
    assert request.body == order.request.body
    assert session.request is request
    assert (session.state, session.early_dialogs) == (SessionState.CALLING, {})
    ack, answered = following.answer(again, 200)
    assert ack.request.cseq.number == 2
    assert type(answered) is Answered


def test_a_target_that_refuses_or_cannot_be_reached_leaves_the_next(following):
    session, order = following.call()
    _, order = moved(following, order, "<sip:a@x>;q=0.9", "<sip:b@x>;q=0.5", "<sip:c@x>;q=0.1")
    _, order = following.answer(order, 486)
    assert str(order.request.uri) == "sip:b@x"
    _, order = following.core.on_transport_error(order.token, "gone", 0.0)
    assert str(order.request.uri) == "sip:c@x"
    (event,) = following.core.on_timeout(order.token, "B", 0.0)
    assert event == Failed(session, 408, "Request Timeout", None, "timeout")


@pytest.mark.parametrize("status", [401, 600, 603])
def test_who_speaks_for_all_targets_ends_the_call(following, status):
    _, order = following.call()
    _, order = moved(following, order, "<sip:a@x>", "<sip:b@x>")
    (event,) = following.answer(order, status)
    assert type(event) is Failed


def test_a_cancelled_call_is_not_redirected(following):
    session, order = following.call()
    following.answer(order, 180)
    session.cancel(0.0)
    (event,) = moved(following, order, "<sip:a@x>")
    assert event.cause == "cancelled"


def test_a_cancelled_call_says_why(rig):
    session, order = rig.call()
    reason = ("Reason", "SIP;cause=200")
    assert session.cancel(0.0, [reason]) == [CancelRequest(order.token, (reason,))]


def test_redirections_do_not_go_in_circles(following):
    _, order = following.call()
    for number in range(5):
        _, order = moved(following, order, f"<sip:u{number}@x>", "<sip:bob@example.net>")
    assert len(moved(following, order, "<sip:last@x>")) == 1
