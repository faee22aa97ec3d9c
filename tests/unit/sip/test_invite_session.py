"""INVITE within a dialog, both ways: RFC 3261 section 14."""

from __future__ import annotations

import pytest

from callmeter.errors import LocalProtocolError
from callmeter.sip.invite_session import MAX_GLARES, SessionState
from callmeter.sip.offer_exchange import Pending
from callmeter.sip.session_events import (
    CancelRequest,
    Ended,
    Established,
    ReinviteAnswered,
    ReinviteCancelled,
    ReinviteEstablished,
    ReinviteFailed,
    ReinviteReceived,
    Respond,
    SendAck,
    SendRequest,
)

HOLD = b"v=0 hold"
MOVED = "<sip:bob@192.0.2.99>"


def kinds(effects):
    return [type(effect) for effect in effects]


@pytest.fixture
def session(rig):
    """Begun by the peer."""
    return rig.accepted()


@pytest.fixture
def ours(rig):
    """Begun by us; the waiting time for further 2xx is over."""
    session = rig.answered()
    rig.advance(40)
    return session


# -- The peer's re-INVITE


def test_a_reinvite_waits_for_the_application_and_moves_the_target_when_accepted(rig, session):
    request = rig.within(session, "INVITE", contact=MOVED)
    assert rig.deliver(request) == [ReinviteReceived(session, request)]
    assert str(session.remote_target) == "sip:bob@192.0.2.2:5060"
    (order,) = session.accept_reinvite(HOLD, rig.now)
    assert (order.key, order.response.status, order.response.body) == (rig.key, 200, HOLD)
    assert "Contact" in order.response.headers
    assert str(session.remote_target) == "sip:bob@192.0.2.99"
    assert rig.advance(0.5) == [order]
    assert session.awaits_ack
    ack = rig.within(session, "ACK", cseq=2)
    assert rig.deliver(ack) == [ReinviteEstablished(session, ack)]
    assert not session.awaits_ack
    assert rig.core.next_deadline() is None


def test_a_reinvite_that_is_rejected_changes_nothing(rig, session):
    rig.deliver(rig.within(session, "INVITE", contact=MOVED))
    (order,) = session.reject_reinvite(488, rig.now, reason="No", headers=[("Warning", "1 a b")])
    assert (order.response.status, order.response.reason) == (488, "No")
    assert order.response.headers.get("Warning") == "1 a b"
    assert str(session.remote_target) == "sip:bob@192.0.2.2:5060"
    assert session.state is SessionState.ESTABLISHED
    with pytest.raises(LocalProtocolError, match="no re-INVITE waits"):
        session.reject_reinvite(488, rig.now)


def test_a_reinvite_without_an_ack_ends_the_session(rig, session):
    rig.deliver(rig.within(session, "INVITE"))
    session.accept_reinvite(HOLD, rig.now)
    assert rig.advance(32)[-1] == Ended(session, "ack-timeout")


def test_only_a_reinvite_that_waits_can_be_answered(rig, session):
    rig.deliver(rig.within(session, "INVITE"))
    session.accept_reinvite(HOLD, rig.now)
    with pytest.raises(LocalProtocolError, match="no re-INVITE waits"):
        session.accept_reinvite(HOLD, rig.now)


def test_a_second_reinvite_waits_for_the_first(rig, session):
    rig.deliver(rig.within(session, "INVITE"))
    (order,) = rig.deliver(rig.within(session, "INVITE", cseq=3))
    assert order.response.status == 500
    assert "Retry-After" in order.response.headers


def test_a_cancelled_reinvite_gets_487_and_the_session_goes_on(rig, session):
    rig.deliver(rig.within(session, "INVITE"))
    invite_key = rig.key
    ok, terminated, event = rig.deliver(rig.within(session, "CANCEL"), invite_key=invite_key)
    assert (ok.response.status, terminated.response.status) == (200, 487)
    assert terminated.key == invite_key
    assert event == ReinviteCancelled(session)
    assert session.state is SessionState.ESTABLISHED


def test_a_cancel_of_another_transaction_is_nothing_to_the_session(rig, session):
    rig.deliver(rig.within(session, "INVITE"))
    assert session.on_cancel(("s", "other"), rig.now) == []
    assert session.on_server_failure(("s", "other"), "transport", rig.now) == []


def test_a_reinvite_that_waits_when_the_session_ends_gets_487(rig, session):
    rig.deliver(rig.within(session, "INVITE"))
    key = rig.key
    effects = rig.deliver(rig.within(session, "BYE", cseq=3))
    assert [(order.key == key, order.response.status) for order in effects[:-1]] == [
        (True, 487),
        (False, 200),
    ]
    assert not rig.agent.served


def test_a_reinvite_after_an_answer_whose_ack_is_late_acknowledges_it(rig):
    session = rig.incoming()
    session.accept(b"answer", 0.0)
    request = rig.within(session, "INVITE")
    assert rig.deliver(request) == [Established(session, None), ReinviteReceived(session, request)]
    assert rig.core.next_deadline() is None


def test_a_reinvite_while_our_offer_has_no_answer_meets_a_pending_one(rig):
    session = rig.incoming(body=b"")
    session.accept(b"offer", 0.0)
    assert rig.status(rig.within(session, "INVITE")) == 491


def test_a_reinvite_that_comes_when_we_want_to_hang_up_is_too_late(rig):
    session = rig.incoming()
    session.accept(b"answer", 0.0)
    session.bye(0.1)
    effects = rig.deliver(rig.within(session, "INVITE"))
    assert kinds(effects) == [Established, SendRequest, Respond]
    assert effects[-1].response.status == 481


def test_an_ack_after_our_bye_says_nothing_new(rig, session):
    rig.deliver(rig.within(session, "INVITE"))
    session.accept_reinvite(HOLD, rig.now)
    (bye,) = session.bye(rig.now)
    assert rig.deliver(rig.within(session, "ACK", cseq=2)) == []
    assert rig.answer(bye, 200) == [Ended(session, "bye-sent")]


# -- Ours


def test_our_reinvite_is_acknowledged_and_moves_the_target(rig, ours):
    (order,) = ours.reinvite(HOLD, rig.now, headers=[("X-Y", "z")])
    request = order.request
    assert (request.cseq.number, request.body, request.to.tag) == (2, HOLD, "bobs")
    assert request.headers.get("X-Y") == "z"
    assert "Contact" in request.headers
    assert rig.answer(order, 180) == []
    ack, event = rig.answer(order, 200, contact=MOVED)
    assert ack.request.cseq.number == 2
    assert str(ack.request.uri) == "sip:bob@192.0.2.99"
    assert isinstance(event, ReinviteAnswered)
    assert rig.answer(order, 200) == [ack]
    rig.advance(32)
    assert rig.answer(order, 200) == []
    assert len(rig.core) == 1


def test_a_reinvite_without_an_offer_is_acknowledged_with_the_answer(rig, ours):
    (order,) = ours.reinvite(b"", rig.now)
    (event,) = rig.answer(order, 200)
    assert isinstance(event, ReinviteAnswered)
    assert rig.answer(order, 200) == []
    with pytest.raises(LocalProtocolError, match="under way"):
        ours.reinvite(HOLD, rig.now)
    assert rig.status(rig.back(ours, "INVITE")) == 491
    (ack,) = ours.ack(b"answer", rig.now)
    assert ack.request.body == b"answer"
    assert ours.state is SessionState.ESTABLISHED


def test_one_invite_at_a_time(rig, session):
    rig.deliver(rig.within(session, "INVITE"))
    with pytest.raises(LocalProtocolError, match="under way"):
        session.reinvite(HOLD, rig.now)
    session.accept_reinvite(HOLD, rig.now)
    with pytest.raises(LocalProtocolError, match="under way"):
        session.reinvite(HOLD, rig.now)


def test_a_reinvite_that_is_refused_changes_nothing(rig, ours):
    (order,) = ours.reinvite(HOLD, rig.now)
    assert rig.answer(order, 488) == [ReinviteFailed(ours, 488, "Not Acceptable Here")]
    assert ours.state is SessionState.ESTABLISHED
    assert kinds(ours.reinvite(HOLD, rig.now)) == [SendRequest]


@pytest.mark.parametrize(("status", "cause"), [(408, "timeout"), (481, "dialog-lost")])
def test_a_reinvite_into_a_lost_dialog_ends_the_session(rig, ours, status, cause):
    (order,) = ours.reinvite(HOLD, rig.now)
    failed, bye, ended = rig.answer(order, status)
    assert isinstance(failed, ReinviteFailed)
    assert bye.request.method == "BYE"
    assert ended == Ended(ours, cause)


def test_a_reinvite_that_nobody_answers_ends_the_session(rig, ours):
    (order,) = ours.reinvite(HOLD, rig.now)
    failed, _, ended = rig.core.on_timeout(order.token, "B", rig.now)
    assert (failed.status, failed.reason) == (408, "timeout")
    assert ended == Ended(ours, "timeout")


def test_a_reinvite_over_a_lost_connection_only_fails(rig, ours):
    (order,) = ours.reinvite(HOLD, rig.now)
    (failed,) = rig.core.on_transport_error(order.token, "reset", rig.now)
    assert failed == ReinviteFailed(ours, 503, "transport")
    assert kinds(ours.reinvite(HOLD, rig.now)) == [SendRequest]


def test_a_reinvite_that_was_answered_does_not_fail_afterwards(rig, ours):
    (order,) = ours.reinvite(HOLD, rig.now)
    rig.answer(order, 200)
    assert rig.core.on_timeout(order.token, "B", rig.now) == []


def test_a_2xx_to_a_reinvite_after_the_end_is_acknowledged_all_the_same(rig, ours):
    (order,) = ours.reinvite(HOLD, rig.now)
    ours.bye(rig.now)
    assert kinds(rig.answer(order, 200)) == [SendAck]


@pytest.mark.parametrize("status", [487, 491])
def test_a_refusal_of_a_reinvite_after_the_end_is_nothing(rig, ours, status):
    (order,) = ours.reinvite(HOLD, rig.now)
    ours.bye(rig.now)
    assert rig.answer(order, status) == []
    assert ours.waiting_offer is None


def test_a_reinvite_that_is_pending_when_the_session_ends_is_cancelled(rig, ours):
    (order,) = ours.reinvite(HOLD, rig.now)
    (bye,) = ours.bye(rig.now)
    assert rig.answer(bye, 200) == [CancelRequest(order.token), Ended(ours, "bye-sent")]
    assert rig.answer(order, 487) == []


def test_a_reinvite_that_timed_out_before_the_end_is_not_cancelled(rig, ours):
    (order,) = ours.reinvite(HOLD, rig.now)
    (bye,) = ours.bye(rig.now)
    assert rig.core.on_timeout(order.token, "B", rig.now) == []
    assert rig.answer(bye, 200) == [Ended(ours, "bye-sent")]


# -- Glare


def test_while_ours_is_pending_the_peers_reinvite_gets_491(rig, ours):
    ours.reinvite(HOLD, rig.now)
    assert rig.status(rig.back(ours, "INVITE")) == 491


@pytest.mark.parametrize("owner", [True, False])
def test_after_a_491_the_owner_of_the_call_id_waits_longer(rig, ours, session, owner):
    chosen = ours if owner else session
    (order,) = chosen.reinvite(HOLD, rig.now)
    assert chosen.waiting_offer is None
    started = rig.now
    assert rig.answer(order, 491) == []
    assert chosen.waiting_offer == HOLD
    (again,) = rig.advance(4)
    wait = rig.now - 4 - started
    assert wait == 0
    assert again.request.body == HOLD
    assert again.request.cseq.number == order.request.cseq.number + 1


@pytest.mark.parametrize("octet", [0, 128, 255])
def test_the_waiting_time_after_a_491_is_within_its_bounds(rig, ours, session, octet):
    rig.agent.entropy = lambda n: bytes([octet]) * n
    for chosen, low, high in ((ours, 2.1, 4.0), (session, 0.0, 2.0)):
        (order,) = chosen.reinvite(HOLD, rig.now)
        rig.answer(order, 491)
        assert low <= chosen.next_deadline() - rig.now <= high
        chosen.replace_waiting_offer(None)


def test_an_offer_that_waits_may_be_replaced_or_withdrawn(rig, ours):
    (order,) = ours.reinvite(HOLD, rig.now)
    rig.answer(order, 491)
    ours.replace_waiting_offer(b"newer")
    (again,) = rig.advance(4)
    assert again.request.body == b"newer"
    rig.answer(again, 491)
    ours.replace_waiting_offer(None)
    assert ours.waiting_offer is None
    assert rig.advance(10) == []
    with pytest.raises(LocalProtocolError, match="no re-INVITE waits"):
        ours.replace_waiting_offer(None)


def test_an_offer_waits_on_while_the_peers_reinvite_is_served(rig, session):
    (order,) = session.reinvite(HOLD, rig.now)
    rig.answer(order, 491)
    rig.deliver(rig.within(session, "INVITE"))
    assert rig.advance(10) == []
    session.accept_reinvite(HOLD, rig.now)
    rig.deliver(rig.within(session, "ACK", cseq=2))
    assert kinds(rig.advance(2)) == [SendRequest]


def test_glare_without_end_is_a_failure(rig, ours):
    (order,) = ours.reinvite(HOLD, rig.now)
    for _ in range(MAX_GLARES):
        rig.answer(order, 491)
        (order,) = rig.advance(4)
    assert rig.answer(order, 491) == [ReinviteFailed(ours, 491, "Request Pending")]


def test_no_reinvite_waits_for_a_session_that_is_over(rig, ours):
    (order,) = ours.reinvite(HOLD, rig.now)
    rig.answer(order, 491)
    ours.bye(rig.now)
    assert rig.advance(10) == []


def test_a_reinvite_needs_an_established_session(rig):
    session, _ = rig.call()
    with pytest.raises(LocalProtocolError, match="calling"):
        session.reinvite(HOLD, rig.now)


def test_a_reinvite_without_a_description_is_answered_by_an_offer(rig):
    session = rig.accepted()
    rig.deliver(rig.within(session, "INVITE", body=b""))
    session.accept_reinvite(HOLD, rig.now)
    assert session.dialog.exchange.pending is Pending.LOCAL
    rig.deliver(rig.within(session, "ACK", body=HOLD))
    assert session.dialog.exchange.idle
    rig.deliver(rig.within(session, "INVITE", cseq=3, body=b""))
    session.reject_reinvite(488, rig.now)
    rig.deliver(rig.within(session, "INVITE", cseq=4))
    session.accept_reinvite(b"", rig.now)
    assert session.dialog.exchange.idle
