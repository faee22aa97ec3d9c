"""UPDATE, PRACK and refreshes at the edges; tests/scenario tells the usual course."""

from __future__ import annotations

import pytest

from callmeter.errors import LocalProtocolError
from callmeter.session_config import Extension, SessionTimerConfig
from callmeter.sip.capabilities import Capabilities
from callmeter.sip.offer_exchange import Pending
from callmeter.sip.session_events import (
    Answered,
    Ended,
    PrackAnswered,
    Provisional,
    RefreshDue,
    ReinviteAnswered,
    ReinviteFailed,
    ReinviteReceived,
    Respond,
    SendAck,
    SendRequest,
    SessionExpired,
    SessionRefreshed,
    UpdateAnswered,
    UpdateFailed,
    UpdateReceived,
)
from callmeter.sip.session_modification import MAX_GLARES

SDP = b"v=0\r\n"
DESCRIBED = [("Content-Type", "application/sdp")]
ALLOW = ("Allow", "INVITE, ACK, BYE, UPDATE")
TIMER = ("Supported", "timer")
LOST = [("on_timeout", "timeout"), ("on_transport_error", "transport")]


@pytest.fixture
def able(rig):
    """A core that serves all that is tested here."""
    rig.core.capabilities = Capabilities(
        reliable=Extension.SUPPORTED,
        update=True,
        session_timer=SessionTimerConfig(mode=Extension.SUPPORTED, expires=300, min_se=120),
    )
    return rig


@pytest.fixture
def session(able):
    """A call that we made, answered without a session timer."""
    session, order = able.call()
    described(able, order, 200, headers=[ALLOW])
    return session


@pytest.fixture
def timed(able):
    """A call that we made, refreshed by us."""
    session, order = able.call()
    described(able, order, 200, headers=[ALLOW, ("Session-Expires", "300;refresher=uac")])
    return session


def described(rig, order, status, *, headers=(), **how):
    """The peer answers with a description."""
    response = rig.response(order.request, status, headers=[*headers, *DESCRIBED], **how)
    response.body = SDP
    return rig.core.on_response(order.token, response, rig.now)


def update(rig, session, *, body=SDP, content_type="application/sdp", cseq=2, headers=()):
    request = rig.back(session, "UPDATE", cseq=cseq, headers=headers)
    if body:
        request.headers.add("Content-Type", content_type)
        request.body = body
    return request


def kinds(effects):
    return [type(effect) for effect in effects]


def reliable(rig, order, rseq, *, status=183, body=b"", tag="bobs"):
    lines = [("Require", "100rel"), ("RSeq", str(rseq))]
    response = rig.response(order.request, status, tag=tag, headers=[*lines, *DESCRIBED])
    response.body = body
    return rig.core.on_response(order.token, response, rig.now)


# UPDATE


@pytest.mark.parametrize("command", ["accept_update", "reject_update"])
def test_without_an_update_there_is_nothing_to_answer(rig, session, command):
    argument = SDP if command == "accept_update" else 488
    with pytest.raises(LocalProtocolError, match="no UPDATE"):
        getattr(session, command)(argument, 0.0)


def test_an_update_may_be_accepted_without_an_answer(able, session):
    (event,) = able.deliver(update(able, session))
    assert event == UpdateReceived(session, able.key, event.request)
    assert session.dialog.exchange.pending is Pending.REMOTE
    (order,) = session.accept_update(b"", able.now)
    assert (order.response.status, order.response.body) == (200, b"")
    assert session.dialog.exchange.idle


def test_an_update_with_a_body_of_another_kind_is_told_what_is_taken(able, session):
    (order,) = able.deliver(update(able, session, content_type="text/plain"))
    assert order.response.status == 415
    assert order.response.headers.get("Accept") == "application/sdp"


def test_an_update_with_a_too_short_interval_is_told_the_least(able, session):
    lines = [TIMER, ("Session-Expires", "119")]
    (order,) = able.deliver(update(able, session, body=b"", headers=lines))
    assert (order.response.status, order.response.headers.get("Min-SE")) == (422, "120")


def test_an_offer_that_meets_an_invite_that_asks_for_one_gets_491(able, session):
    session.reinvite(b"", able.now)
    assert able.status(update(able, session)) == 491
    (order, event) = able.deliver(update(able, session, body=b"", cseq=3))
    assert (order.response.status, event.key) == (200, None)


def test_an_offer_before_the_first_exchange_is_done_gets_500(able):
    session = able.incoming()
    session.progress(180, able.now)
    request = able.within(session, "UPDATE", headers=DESCRIBED)
    request.body = SDP
    assert able.status(request) == 500


def test_a_reinvite_that_meets_an_update_is_refused(able, session):
    able.deliver(update(able, session))
    (order,) = able.deliver(able.back(session, "INVITE", cseq=3))
    assert order.response.status == 500
    assert "Retry-After" in order.response.headers
    session.accept_update(SDP, able.now)
    session.update(SDP, able.now)
    assert able.status(able.back(session, "INVITE", cseq=4)) == 491


def test_no_offer_of_ours_meets_another_of_ours(able, session):
    (order,) = session.update(SDP, able.now, headers=[("X-Y", "z")])
    assert order.request.headers.get("X-Y") == "z"
    with pytest.raises(LocalProtocolError, match="UPDATE has no answer"):
        session.reinvite(SDP, able.now)
    assert kinds(described(able, order, 200)) == [UpdateAnswered]
    assert session.dialog.exchange.idle
    session.reinvite(SDP, able.now)
    with pytest.raises(LocalProtocolError, match="no answer yet"):
        session.update(SDP, able.now)


def test_a_2xx_without_an_answer_ends_the_exchange(able, session):
    (order,) = session.update(SDP, able.now)
    assert able.answer(order, 100) == []
    assert kinds(able.answer(order, 200)) == [UpdateAnswered]
    assert session.dialog.exchange.idle


def test_an_update_is_sent_again_after_each_491_but_not_for_ever(able, session):
    (order,) = session.update(SDP, able.now)
    for _ in range(MAX_GLARES):
        assert able.answer(order, 491) == []
        assert session.dialog.exchange.idle
        (order,) = able.advance(4.1)
        assert order.request.method == "UPDATE"
    assert able.answer(order, 491) == [UpdateFailed(session, 491, "Request Pending")]


def test_an_update_that_waits_lets_the_peers_go_first(able, session):
    (order,) = session.update(SDP, able.now)
    able.answer(order, 491)
    able.deliver(update(able, session))
    assert able.advance(8) == []
    session.accept_update(SDP, able.now)
    (order,) = able.advance(4.1)
    assert order.request.method == "UPDATE"


def test_an_update_without_an_offer_that_meets_491_waits_for_nobody(able, session):
    (order,) = session.update(b"", able.now)
    able.answer(order, 491)
    able.deliver(update(able, session))
    (order,) = able.advance(4.1)
    assert order.request.method == "UPDATE"


@pytest.mark.parametrize(("report", "cause"), LOST)
def test_an_update_that_is_lost_is_told(able, session, report, cause):
    (order,) = session.update(SDP, able.now)
    failed, *rest = getattr(able.core, report)(order.token, "F", able.now)
    assert (failed.session, failed.reason) == (session, cause)
    assert kinds(rest) == ([SendRequest, Ended] if cause == "timeout" else [])
    assert session.dialog.exchange.idle


def test_an_update_to_a_peer_that_lost_the_dialog_ends_the_session(able, session):
    (order,) = session.update(b"", able.now)
    failed, bye, ended = able.answer(order, 481)
    assert (failed.status, bye.request.method, ended.cause) == (481, "BYE", "dialog-lost")


@pytest.mark.parametrize("report", ["answer", "on_timeout"])
def test_after_our_bye_the_outcome_of_an_update_is_nothing(able, session, report):
    (order,) = session.update(SDP, able.now)
    (bye,) = session.bye(able.now)
    if report == "answer":
        assert able.answer(order, 200) == []
    else:
        able.answer(bye, 200)
        assert able.core.on_timeout(order.token, "F", able.now) == []
    with pytest.raises(LocalProtocolError, match="no such dialog"):
        session.update(b"", able.now)


# PRACK


def test_nothing_is_acknowledged_that_was_not_sent_reliably(able):
    session, order = able.call()
    (event,) = able.answer(order, 180)
    assert event == Provisional(session, event.response, session.early_dialogs["bobs"])
    with pytest.raises(LocalProtocolError, match="no provisional"):
        session.prack(b"", able.now)
    assert not session.awaits_prack("nobody")


def test_without_100rel_a_reliable_response_is_like_any_other(rig):
    _, order = rig.call()
    (event,) = reliable(rig, order, 1)
    assert not event.reliable


def test_each_fork_has_its_own_offer(able):
    session, order = able.call(body=b"")
    for tag in ("one", "two"):
        (event,) = reliable(able, order, 5, body=SDP, tag=tag)
        assert event.dialog is session.early_dialogs[tag]
    with pytest.raises(LocalProtocolError, match="no such dialog"):
        session.prack(SDP, able.now)
    with pytest.raises(LocalProtocolError, match="has to answer it"):
        session.prack(b"", able.now, tag="one")
    (prack,) = session.prack(SDP, able.now, tag="two")
    assert prack.request.to.tag == "two"
    assert prack.request.headers.get("RAck") == "5 1 INVITE"
    assert session.awaits_prack("one")
    # A copy of the offer, now that it was answered, is no other offer.
    prack, event = reliable(able, order, 6, body=SDP, tag="two")
    assert prack.request.body == b""


def test_a_prack_of_ours_may_offer_only_when_nothing_is_pending(able):
    session, effects = able.core.invite(order_target(able), 0.0, body=SDP, manual_prack=True)
    reliable(able, effects[0], 1)
    with pytest.raises(LocalProtocolError, match="no answer yet"):
        session.prack(SDP, able.now)
    session.prack(b"", able.now)
    reliable(able, effects[0], 2, body=SDP)
    (prack,) = session.prack(SDP, able.now, headers=[("X-Y", "z")])
    dialog = session.early_dialogs["bobs"]
    assert dialog.exchange.pending is Pending.LOCAL
    assert able.answer(prack, 100) == []
    (event,) = able.answer(prack, 488)
    assert (type(event), event.response.status) == (PrackAnswered, 488)
    assert dialog.exchange.idle


def order_target(rig):
    return rig.call()[0].request.uri


def test_a_prack_with_an_offer_that_is_lost_leaves_no_offer(able):
    session, effects = able.core.invite(order_target(able), 0.0, body=SDP, manual_prack=True)
    reliable(able, effects[0], 1, body=SDP)
    (prack,) = session.prack(SDP, able.now)
    assert able.core.on_timeout(prack.token, "F", able.now) == []
    assert session.early_dialogs["bobs"].exchange.idle


def test_a_request_in_an_early_dialog_may_fail_without_ending_the_call(able):
    session, order = able.call()
    reliable(able, order, 1, body=SDP)
    for status in (481, 408):
        (sent,) = session.update(b"", able.now)
        assert kinds(able.answer(sent, status)) == [UpdateFailed]
    (sent,) = session.update(b"", able.now)
    assert kinds(able.core.on_timeout(sent.token, "F", able.now)) == [UpdateFailed]
    assert kinds(able.answer(order, 200))[-1] is Answered


def test_reliable_responses_to_a_reinvite_are_acknowledged(able, session):
    (order,) = session.reinvite(SDP, able.now)
    assert able.answer(order, 100) == []
    prack, event = reliable(able, order, 1, body=SDP)
    assert prack.request.headers.get("RAck") == f"1 {order.request.cseq.number} INVITE"
    assert event.reliable
    assert kinds(able.answer(order, 200)) == [SendAck, ReinviteAnswered]
    assert session.dialog.exchange.idle
    assert reliable(able, order, 2) == []


def test_a_reliable_response_may_hold_the_offer_a_reinvite_asked_for(able, session):
    (order,) = session.reinvite(b"", able.now)
    assert kinds(reliable(able, order, 1)) == [SendRequest, Provisional]
    assert kinds(reliable(able, order, 2, body=SDP)) == [Provisional]
    session.prack(SDP, able.now)
    assert kinds(reliable(able, order, 3, body=SDP)) == [SendRequest, Provisional]
    ack, _ = described(able, order, 200)
    assert ack.request.body == b""


# Session timers


def test_a_refresh_that_is_not_served_becomes_a_reinvite(able, timed):
    (order,) = able.advance(150)
    assert order.request.headers.get("Session-Expires") == "300;refresher=uac"
    assert able.answer(order, 405) == [RefreshDue(timed)]
    (order,) = timed.reinvite(SDP, able.now)
    lines = [("Session-Expires", "300;refresher=uac")]
    assert able.answer(order, 200, headers=lines)[-1] == SessionRefreshed(timed, by_peer=False)
    assert able.advance(150) == [RefreshDue(timed)]


def test_a_refresh_that_fails_is_tried_again_later(able, timed):
    (order,) = able.advance(150)
    assert able.answer(order, 500) == []
    (order,) = able.advance(59)
    assert able.core.on_transport_error(order.token, "gone", able.now) == []
    assert timed.timer.failed == 2
    assert kinds(able.advance(60)) == [SendRequest, SessionExpired, SendRequest, Ended]


def test_a_refresh_that_is_too_short_is_sent_again_at_once(able, timed):
    (order,) = able.advance(150)
    (order,) = able.answer(order, 422, headers=[("Min-SE", "600")])
    assert order.request.headers.get("Session-Expires") == "600;refresher=uac"
    (order,) = timed_reinvite(able, timed, order)
    (order,) = able.answer(order, 422, headers=[("Min-SE", "700")])
    assert order.request.method == "INVITE"
    assert order.request.headers.get("Min-SE") == "700"
    assert kinds(able.answer(order, 422)) == [ReinviteFailed]


def timed_reinvite(rig, session, order):
    rig.answer(order, 200, headers=[("Session-Expires", "600;refresher=uac")])
    return session.reinvite(SDP, rig.now)


def test_a_refresh_to_a_peer_that_lost_the_dialog_ends_the_session(able, timed):
    (order,) = able.advance(150)
    assert kinds(able.answer(order, 481)) == [SendRequest, Ended]


def test_a_refresh_that_nobody_answers_ends_the_session(able, timed):
    (order,) = able.advance(150)
    assert kinds(able.core.on_timeout(order.token, "F", able.now)) == [SendRequest, Ended]


def test_a_reinvite_of_the_peer_is_refused_for_a_short_interval_or_refreshes(able, timed):
    lines = [TIMER, ("Session-Expires", "100")]
    request = able.back(timed, "INVITE", headers=lines)
    (order,) = able.deliver(request)
    assert (order.response.status, order.response.headers.get("Min-SE")) == (422, "120")
    lines = [TIMER, ("Session-Expires", "200;refresher=uas")]
    assert kinds(able.deliver(able.back(timed, "INVITE", cseq=2, headers=lines))) == [
        ReinviteReceived
    ]
    order, event = timed.accept_reinvite(SDP, able.now)
    assert order.response.headers.get("Session-Expires") == "200;refresher=uas"
    assert event == SessionRefreshed(timed, by_peer=True)
    assert timed.timer.refreshing


def test_a_session_whose_2xx_names_no_interval_any_more_does_not_expire(able, timed):
    (order,) = able.advance(150)
    assert able.answer(order, 200) == []
    assert able.advance(1000) == []


def test_after_bye_nothing_is_refreshed_and_nothing_expires(able, timed):
    timed.bye(able.now)
    assert able.advance(400) == []
    assert timed.timer.expired == 0


def test_a_session_that_nobody_refreshes_ends_by_bye(able):
    session, order = able.call()
    able.answer(order, 200, headers=[("Session-Expires", "300;refresher=uas")])
    expired, bye, ended = able.advance(268)
    assert able.now == 268
    assert (expired, bye.request.method) == (SessionExpired(session), "BYE")
    assert ended == Ended(session, "session-expired")


def test_a_call_with_too_short_an_interval_is_refused(able):
    order = able.deliver(able.request(headers=[TIMER, ("Session-Expires", "90")]))[0]
    assert isinstance(order, Respond)
    assert (order.response.status, order.response.headers.get("Min-SE")) == (422, "120")
