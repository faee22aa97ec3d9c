from __future__ import annotations

import pytest

from callmeter.sip.transaction.effects import (
    Deliver,
    Send,
    Terminated,
    TimedOut,
    TransportFailed,
)
from callmeter.sip.transaction.invite_client import (
    TRANSITIONS,
    InviteClientTransaction,
    State,
    failure_ack,
)

KEY = ("c", "z9hG4bKone", "INVITE")


@pytest.fixture
def transaction(invite, hop, datagrams):
    machine = InviteClientTransaction(KEY, invite, hop, datagrams)
    machine.start(0.0)
    return machine


@pytest.fixture
def respond(invite):
    return lambda status, tag="bob": invite.create_response(status, to_tag=tag)


def at(state, transaction, respond):
    statuses = {
        State.CALLING: [],
        State.PROCEEDING: [180],
        State.ACCEPTED: [200],
        State.COMPLETED: [486],
    }
    for status in statuses[state]:
        transaction.on_response(respond(status), 1.0)
    assert transaction.state is state
    return transaction


INPUTS = {
    (State.CALLING, State.PROCEEDING): lambda t, r: t.on_response(r(183), 1),
    (State.CALLING, State.ACCEPTED): lambda t, r: t.on_response(r(200), 1),
    (State.CALLING, State.COMPLETED): lambda t, r: t.on_response(r(302), 1),
    (State.CALLING, State.TERMINATED): lambda t, r: t.on_deadline(32.0),
    (State.PROCEEDING, State.ACCEPTED): lambda t, r: t.on_response(r(299), 1),
    (State.PROCEEDING, State.COMPLETED): lambda t, r: t.on_response(r(699), 1),
    (State.PROCEEDING, State.TERMINATED): lambda t, r: t.on_transport_error("reset", 1),
    (State.COMPLETED, State.TERMINATED): lambda t, r: t.on_deadline(33.0),
    (State.ACCEPTED, State.TERMINATED): lambda t, r: t.on_deadline(33.0),
}


def test_the_inputs_below_cover_the_figure():
    assert INPUTS.keys() == TRANSITIONS


@pytest.mark.parametrize(("before", "after"), INPUTS, ids=lambda state: state.value)
def test_each_arrow_of_the_figure_can_be_walked(before, after, transaction, respond):
    at(before, transaction, respond)
    INPUTS[before, after](transaction, respond)
    assert transaction.state is after


def test_the_invite_is_sent_at_the_start(invite, hop, datagrams):
    machine = InviteClientTransaction(KEY, invite, hop, datagrams)
    assert machine.start(5.0) == [Send(KEY, invite, hop)]
    assert machine.next_deadline() == 5.5


def test_over_a_stream_only_timer_b_runs(invite, hop, streams):
    machine = InviteClientTransaction(KEY, invite, hop, streams)
    machine.start(0.0)
    assert machine.next_deadline() == 32.0


def test_silence_ends_in_timer_b(transaction):
    assert transaction.on_deadline(32.0) == [TimedOut(KEY, "B"), Terminated(KEY)]


def test_provisional_responses_are_delivered_and_stop_both_timers(transaction, respond):
    for status in (100, 180, 183):
        response = respond(status)
        assert transaction.on_response(response, 1.0) == [Deliver(KEY, response)]
    assert transaction.next_deadline() == float("inf")


def test_every_2xx_goes_up_until_timer_m(transaction, respond):
    for tag in ("bob", "bob", "fork"):
        response = respond(200, tag)
        assert transaction.on_response(response, 2.0) == [Deliver(KEY, response)]
    assert transaction.next_deadline() == 34.0
    assert transaction.on_deadline(34.0) == [Terminated(KEY)]


@pytest.mark.parametrize("status", [180, 486])
def test_after_a_2xx_other_responses_are_dropped(status, transaction, respond):
    at(State.ACCEPTED, transaction, respond)
    assert transaction.on_response(respond(status), 2.0) == []


def test_a_failure_is_acked_and_delivered(transaction, respond, hop):
    response = respond(486)
    ack, delivered = transaction.on_response(response, 1.0)
    assert delivered == Deliver(KEY, response)
    assert (ack.key, ack.hop, ack.message.method) == (KEY, hop, "ACK")
    assert transaction.next_deadline() == 33.0


def test_a_retransmitted_final_response_is_acked_again_and_not_delivered(transaction, respond):
    first, _ = transaction.on_response(respond(486), 1.0)
    (again,) = transaction.on_response(respond(486), 1.5)
    assert again.message.to_bytes() == first.message.to_bytes()
    assert transaction.next_deadline() == 33.0


@pytest.mark.parametrize("status", [180, 200])
def test_after_a_failure_other_responses_are_dropped(status, transaction, respond):
    at(State.COMPLETED, transaction, respond)
    assert transaction.on_response(respond(status), 2.0) == []


def test_over_a_stream_a_failure_ends_the_transaction_at_once(invite, hop, streams, respond):
    machine = InviteClientTransaction(KEY, invite, hop, streams)
    machine.start(0.0)
    ack, delivered, end = machine.on_response(respond(503), 1.0)
    assert ack.message.method == "ACK"
    assert delivered.message.status == 503
    assert end == Terminated(KEY)
    assert machine.terminated


@pytest.mark.parametrize("state", [State.CALLING, State.PROCEEDING, State.COMPLETED])
def test_a_transport_error_is_told_and_ends_it(state, transaction, respond):
    at(state, transaction, respond)
    effects = transaction.on_transport_error("refused", 3.0)
    assert effects == [TransportFailed(KEY, "refused"), Terminated(KEY)]


def test_a_transport_error_does_not_take_back_a_2xx(transaction, respond):
    at(State.ACCEPTED, transaction, respond)
    assert transaction.on_transport_error("reset", 3.0) == []
    assert transaction.state is State.ACCEPTED


def test_a_cancelled_invite_is_given_up_64_t1_after_the_cancel(transaction, respond):
    at(State.PROCEEDING, transaction, respond)
    transaction.on_cancel_sent(10.0)
    assert transaction.next_deadline() == 42.0
    assert transaction.on_deadline(42.0) == [TimedOut(KEY, "CANCEL"), Terminated(KEY)]


def test_the_answer_to_a_cancelled_invite_stops_the_wait(transaction, respond):
    at(State.PROCEEDING, transaction, respond)
    transaction.on_cancel_sent(10.0)
    transaction.on_response(respond(487), 11.0)
    assert transaction.on_deadline(43.0) == [Terminated(KEY)]


def test_the_ack_repeats_branch_and_route_and_takes_the_tag_of_the_answer(make_request):
    invite = make_request(
        via="SIP/2.0/TCP host.example.com;branch=z9hG4bKtop;rport",
        number=314159,
        extra=(
            ("Route", "<sip:one.example.com;lr>, <sip:two.example.com;lr>"),
            ("Route", "<sip:three.example.com;lr>"),
            ("Require", "100rel"),
            ("Contact", "<sip:alice@192.0.2.1>"),
        ),
        body=b"v=0\r\n",
    )
    ack = failure_ack(invite, invite.create_response(486, to_tag="bob"))
    assert ack.to_bytes().decode().split("\r\n") == [
        "ACK sip:bob@example.com SIP/2.0",
        "Via: SIP/2.0/TCP host.example.com;branch=z9hG4bKtop;rport",
        "Max-Forwards: 70",
        "From: Alice <sip:alice@example.com>;tag=alice",
        "To: <sip:bob@example.com>;tag=bob",
        "Call-ID: call-1",
        "CSeq: 314159 ACK",
        "Route: <sip:one.example.com;lr>, <sip:two.example.com;lr>",
        "Route: <sip:three.example.com;lr>",
        "Content-Length: 0",
        "",
        "",
    ]
