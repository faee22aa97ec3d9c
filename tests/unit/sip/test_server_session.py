"""The callee up to the answer: RFC 3261 section 13.3."""

from __future__ import annotations

import pytest

from callmeter.errors import LocalProtocolError
from callmeter.session_config import Extension
from callmeter.sip.capabilities import Capabilities
from callmeter.sip.invite_session import Role, SessionState
from callmeter.sip.offer_exchange import Pending
from callmeter.sip.reliable import MAX_QUEUE
from callmeter.sip.session_events import (
    Cancelled,
    Ended,
    Established,
    PrackReceived,
    Respond,
    SendRequest,
)

ANSWER = b"v=0 answer"


def kinds(effects):
    return [type(effect) for effect in effects]


def responses(effects):
    return [effect.response for effect in effects if isinstance(effect, Respond)]


def test_an_incoming_call_shows_who_calls(rig):
    session = rig.incoming()
    assert (session.role, session.state) == (Role.UAS, SessionState.INCOMING)
    assert str(session.remote.uri) == "sip:bob@example.net"
    assert session.local.tag == session.local_tag
    assert str(session.remote_target) == "sip:bob@192.0.2.2:5060"
    assert not session.answered


def test_a_provisional_response_has_the_tag_the_contact_and_the_record_route(rig):
    session = rig.incoming(headers=[("Record-Route", "<sip:p2;lr>, <sip:p1;lr>")])
    (order,) = session.progress(183, 0.0, body=ANSWER, headers=[("X-Y", "z")])
    response = order.response
    assert (response.status, response.body) == (183, ANSWER)
    assert response.to.tag == session.local_tag
    assert response.headers.get("Contact") == "<sip:alice-7f@192.0.2.1:5060>"
    assert response.headers.get("Record-Route") == "<sip:p2;lr>, <sip:p1;lr>"
    assert response.headers.get("X-Y") == "z"
    assert session.state is SessionState.EARLY
    assert session.last_response is response


def test_a_provisional_response_is_repeated_each_minute_until_the_answer(rig):
    session = rig.incoming()
    first = session.progress(180, 0.0)
    assert rig.advance(59) == []
    assert rig.advance(1) == first
    assert rig.advance(60) == first
    session.accept(ANSWER, rig.now)
    rig.deliver(rig.within(session, "ACK", cseq=1))
    assert rig.advance(200) == []


@pytest.mark.parametrize("status", [101, 199])
def test_each_provisional_status_may_be_sent(rig, status):
    (order,) = rig.incoming().progress(status, 0.0)
    assert order.response.status == status


@pytest.mark.parametrize("status", [300, 699])
def test_each_refusal_may_be_sent(rig, status):
    order, _ = rig.incoming().reject(status, 0.0)
    assert order.response.status == status


@pytest.mark.parametrize("status", [100, 99, 200])
def test_progress_takes_provisional_statuses_only(rig, status):
    with pytest.raises(ValueError, match="101 to 199"):
        rig.incoming().progress(status, 0.0)


@pytest.mark.parametrize("status", [200, 299, 700])
def test_reject_takes_refusals_only(rig, status):
    with pytest.raises(ValueError, match="300 to 699"):
        rig.incoming().reject(status, 0.0)


def test_a_rejection_ends_the_session(rig):
    session = rig.incoming()
    order, event = session.reject(486, 0.0, reason="Away", headers=[("Retry-After", "5")])
    assert (order.key, order.response.status, order.response.reason) == (rig.key, 486, "Away")
    assert order.response.to.tag == session.local_tag
    assert event == Ended(session, "rejected")
    assert session.last_response is order.response
    assert len(rig.core) == 0


def test_a_2xx_is_repeated_from_t1_to_t2_until_the_ack_comes(rig):
    session = rig.incoming()
    (order,) = session.accept(ANSWER, 0.0)
    assert (order.response.status, order.response.body) == (200, ANSWER)
    assert order.response.headers.get("Contact") == "<sip:alice-7f@192.0.2.1:5060>"
    assert session.state is SessionState.ANSWERED
    assert session.last_response is order.response
    times = []
    while rig.now < 20:
        assert rig.advance(rig.core.next_deadline() - rig.now) == [order]
        times.append(rig.now)
    assert times == [0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5]
    ack = rig.within(session, "ACK", cseq=1)
    assert rig.deliver(ack) == [Established(session, ack)]
    assert session.state is SessionState.ESTABLISHED
    assert rig.advance(100) == []
    assert rig.core.next_deadline() is None


def test_without_an_ack_the_call_is_ended_by_bye_after_64_t1(rig):
    session = rig.incoming()
    session.accept(ANSWER, 0.0)
    effects = rig.advance(32)
    assert rig.now == 32
    *_, bye, event = effects
    assert isinstance(bye, SendRequest)
    assert bye.request.method == "BYE"
    assert event == Ended(session, "ack-timeout")
    assert session.state is SessionState.ENDED
    assert rig.answer(bye, 481) == []
    assert len(rig.core) == 0


def test_an_ack_with_another_number_acknowledges_nothing(rig):
    session = rig.incoming()
    session.accept(ANSWER, 0.0)
    assert rig.deliver(rig.within(session, "ACK", cseq=7)) == []
    assert session.state is SessionState.ANSWERED


def test_an_ack_before_the_answer_or_twice_is_nothing(rig):
    session = rig.incoming()
    assert rig.deliver(rig.within(session, "ACK", cseq=1)) == []
    session.accept(ANSWER, 0.0)
    rig.deliver(rig.within(session, "ACK", cseq=1))
    assert rig.deliver(rig.within(session, "ACK", cseq=1)) == []


@pytest.mark.parametrize("answer", ["accept", "reject"])
def test_a_call_has_one_final_response(rig, answer):
    session = rig.incoming()
    if answer == "accept":
        session.accept(ANSWER, 0.0)
    else:
        session.reject(486, 0.0)
    for command in (
        lambda: session.progress(180, 0.0),
        lambda: session.accept(ANSWER, 0.0),
        lambda: session.reject(603, 0.0),
    ):
        with pytest.raises(LocalProtocolError, match="final response"):
            command()


def test_a_callee_hangs_up_only_after_the_ack(rig):
    session = rig.incoming()
    session.accept(ANSWER, 0.0)
    assert session.bye(0.1, [("Reason", "SIP;cause=200")]) == []
    established, bye = rig.deliver(rig.within(session, "ACK", cseq=1))
    assert isinstance(established, Established)
    assert bye.request.headers.get("Reason") == "SIP;cause=200"
    assert rig.answer(bye, 200) == [Ended(session, "bye-sent")]


def test_an_unanswered_call_is_rejected_and_not_ended(rig):
    with pytest.raises(LocalProtocolError, match="incoming"):
        rig.incoming().bye(0.0)


def test_a_cancel_ends_the_call_by_487(rig):
    session = rig.incoming()
    invite_key = rig.key
    session.progress(180, 0.0)
    effects = rig.deliver(rig.request("CANCEL"), invite_key=invite_key)
    assert [response.status for response in responses(effects)] == [200, 487]
    assert {response.to.tag for response in responses(effects)} == {session.local_tag}
    assert effects[-1] == Cancelled(session)
    assert rig.core.next_deadline() is None
    assert len(rig.core) == 0


def test_a_call_that_expires_unanswered_ends_by_487(rig):
    session = rig.incoming(headers=[("Expires", "20")])
    session.progress(180, 0.0)
    order, event = rig.advance(20)
    assert (rig.now, order.response.status) == (20, 487)
    assert event == Cancelled(session)
    assert rig.core.next_deadline() is None


def test_a_call_that_was_answered_in_time_does_not_expire(rig):
    session = rig.incoming(headers=[("Expires", "20")])
    session.accept(ANSWER, 0.0)
    rig.deliver(rig.within(session, "ACK", cseq=1))
    assert rig.advance(100) == []


def test_a_cancel_after_the_answer_has_no_effect(rig):
    session = rig.incoming()
    invite_key = rig.key
    session.accept(ANSWER, 0.0)
    assert rig.status(rig.request("CANCEL"), invite_key=invite_key) == 200
    assert session.state is SessionState.ANSWERED


def test_a_bye_before_the_answer_withdraws_the_call(rig):
    session = rig.incoming()
    effects = rig.deliver(rig.within(session, "BYE"))
    assert [response.status for response in responses(effects)] == [487, 200]
    assert effects[-1] == Cancelled(session)


@pytest.mark.parametrize(("octet", "wait"), [(0, "0"), (255, "10")])
def test_another_invite_before_the_answer_is_told_to_wait(rig, octet, wait):
    session = rig.incoming()
    rig.agent.entropy = lambda octets: bytes([octet]) * octets
    (order,) = rig.deliver(rig.within(session, "INVITE"))
    assert order.response.status == 500
    assert order.response.headers.get("Retry-After") == wait


def test_a_provisional_response_that_cannot_be_sent_leaves_the_call_as_it_is(rig):
    session = rig.incoming()
    session.progress(180, 0.0)
    assert rig.core.on_server_transport_error(rig.key, "reset", 0.0) == []
    assert not session.over
    (answer,) = session.accept(ANSWER, 1.0)
    assert answer.response.status == 200


def test_a_2xx_that_cannot_be_sent_is_sent_again_until_nobody_waits_for_it(rig):
    session = rig.incoming()
    sent = session.accept(ANSWER, 0.0)
    assert rig.core.on_server_transport_error(rig.key, "reset", 0.0) == []
    assert rig.core.on_deadline(0.5) == sent
    *_, bye, ended = rig.core.on_deadline(32.0)
    assert isinstance(bye, SendRequest)
    assert ended == Ended(session, "ack-timeout")


def test_a_server_transaction_that_gives_up_ends_the_call(rig):
    session = rig.incoming()
    session.accept(ANSWER, 0.0)
    effects = rig.core.on_server_timeout(rig.key, "L", 32.0)
    assert effects[-1] == Ended(session, "ack-timeout")
    assert rig.core.on_server_timeout(rig.key, "L", 32.0) == []


@pytest.fixture
def reliable(rig):
    """A core that can do reliable provisional responses."""
    rig.core.capabilities = Capabilities(reliable=Extension.SUPPORTED)
    return rig


SUPPORTED = [("Supported", "100rel")]
DESCRIBED = [("Content-Type", "application/sdp")]


def prack(rig, session, response, *, body=b"", rack=None, cseq=2):
    value = f"{response.headers.get('RSeq')} 1 INVITE" if rack is None else rack
    lines = [("RAck", value)] if value else []
    request = rig.within(session, "PRACK", cseq=cseq, headers=[*lines, *DESCRIBED])
    request.body = body
    return request


def test_only_who_can_take_them_gets_reliable_responses(reliable):
    session = reliable.incoming()
    with pytest.raises(LocalProtocolError, match="takes no reliable"):
        session.progress(180, 0.0, reliable=True)
    (order,) = session.progress(180, 0.0, reliable=False)
    assert "RSeq" not in order.response.headers


@pytest.mark.parametrize("lines", [SUPPORTED, [("Require", "100rel")]])
def test_who_requires_reliable_responses_gets_no_others(reliable, lines):
    session = reliable.incoming(headers=lines)
    (order,) = session.progress(180, 0.0, reliable=False)
    assert ("RSeq" in order.response.headers) is (lines is not SUPPORTED)


def test_a_prack_for_nothing_that_was_sent_gets_481(reliable):
    session = reliable.incoming(headers=SUPPORTED)
    (order,) = session.progress(180, 0.0)
    assert reliable.status(prack(reliable, session, order.response, rack="9 1 INVITE")) == 481
    assert reliable.status(prack(reliable, session, order.response, rack="")) == 400
    assert reliable.status(prack(reliable, session, order.response, rack="x", cseq=3)) == 400
    assert kinds(reliable.deliver(prack(reliable, session, order.response, cseq=4))) == [
        Respond,
        PrackReceived,
    ]
    assert reliable.status(prack(reliable, session, order.response, cseq=5)) == 481


def test_an_endless_ringing_is_not_kept(reliable):
    session = reliable.incoming(headers=SUPPORTED)
    for _ in range(MAX_QUEUE + 1):
        session.progress(180, 0.0)
    with pytest.raises(LocalProtocolError, match="too many"):
        session.progress(180, 0.0)


def test_an_offer_in_a_prack_delays_the_200_until_it_is_answered(reliable):
    session = reliable.incoming(headers=SUPPORTED)
    with pytest.raises(LocalProtocolError, match="no PRACK"):
        session.answer_prack(ANSWER, 0.0)
    (order,) = session.progress(183, 0.0, body=ANSWER)
    request = prack(reliable, session, order.response, body=b"v=0 offer")
    assert reliable.deliver(request) == [PrackReceived(session, reliable.key, request)]
    assert session.accept(ANSWER, 0.0) == []
    answer, success = session.answer_prack(ANSWER, 0.0, headers=[("X-Y", "z")])
    assert (answer.response.status, answer.response.body) == (200, ANSWER)
    assert answer.response.headers.get("X-Y") == "z"
    assert (success.response.status, success.response.body) == (200, b"")


def test_an_offer_in_a_prack_before_ours_was_answered_is_refused(reliable):
    session = reliable.incoming(headers=SUPPORTED)
    (order,) = session.progress(180, 0.0)
    assert reliable.status(prack(reliable, session, order.response, body=b"v=0 offer")) == 488


def test_a_prack_without_the_answer_it_owes_leaves_no_offer(reliable):
    session = reliable.incoming(headers=SUPPORTED, body=b"")
    (order,) = session.progress(183, 0.0, body=b"v=0 offer")
    assert session.dialog.exchange.pending is Pending.LOCAL
    reliable.deliver(prack(reliable, session, order.response))
    assert session.dialog.exchange.idle


def test_a_cancelled_call_leaves_no_prack_unanswered(reliable):
    session = reliable.incoming(headers=SUPPORTED)
    invite = reliable.key
    (order,) = session.progress(183, 0.0, body=ANSWER)
    reliable.deliver(prack(reliable, session, order.response, body=b"v=0 offer"))
    effects = reliable.deliver(reliable.within(session, "CANCEL", cseq=1), invite_key=invite)
    assert [response.status for response in responses(effects)] == [200, 487, 487]


def test_a_call_answered_without_a_description_leaves_no_offer(rig):
    session = rig.incoming()
    session.accept(b"", 0.0)
    assert session.dialog.exchange.idle


@pytest.mark.parametrize("answered", [True, False])
def test_the_ack_answers_the_offer_of_a_200(rig, answered):
    session = rig.incoming(body=b"")
    session.accept(b"v=0 offer", 0.0)
    assert session.dialog.exchange.pending is Pending.LOCAL
    rig.deliver(rig.within(session, "ACK", cseq=1, body=ANSWER if answered else b""))
    assert session.dialog.exchange.idle
    assert session.dialog.exchange.complete is answered
