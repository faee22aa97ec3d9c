from __future__ import annotations

import pytest

from callmeter.sip.transaction.effects import (
    Deliver,
    Hop,
    Send,
    Terminated,
    TimedOut,
    TransportFailed,
)
from callmeter.sip.transaction.invite_server import (
    TRANSITIONS,
    InviteServerTransaction,
    State,
)

KEY = ("s", "z9hG4bKone", "192.0.2.1", 5060, "INVITE")


@pytest.fixture
def transaction(invite, hop, datagrams):
    machine = InviteServerTransaction(KEY, invite, hop, datagrams)
    machine.start(0.0)
    return machine


@pytest.fixture
def respond(invite):
    return lambda status: invite.create_response(status, to_tag="bob")


@pytest.fixture
def ack(make_request):
    return make_request("ACK", to_tag="bob")


def at(state, transaction, respond, ack):
    if state is State.ACCEPTED:
        transaction.respond(respond(200), 1.0)
    if state in {State.COMPLETED, State.CONFIRMED}:
        transaction.respond(respond(486), 1.0)
    if state is State.CONFIRMED:
        transaction.on_ack(ack, 2.0)
    assert transaction.state is state
    return transaction


INPUTS = {
    (State.PROCEEDING, State.ACCEPTED): lambda t, r, a: t.respond(r(200), 1),
    (State.PROCEEDING, State.COMPLETED): lambda t, r, a: t.respond(r(300), 1),
    (State.COMPLETED, State.CONFIRMED): lambda t, r, a: t.on_ack(a, 2),
    (State.COMPLETED, State.TERMINATED): lambda t, r, a: t.on_deadline(33.0),
    (State.CONFIRMED, State.TERMINATED): lambda t, r, a: t.on_deadline(7.0),
    (State.ACCEPTED, State.TERMINATED): lambda t, r, a: t.on_deadline(33.0),
}


def test_the_inputs_below_cover_the_figure():
    assert INPUTS.keys() == TRANSITIONS


@pytest.mark.parametrize(("before", "after"), INPUTS, ids=lambda state: state.value)
def test_each_arrow_of_the_figure_can_be_walked(before, after, transaction, respond, ack):
    at(before, transaction, respond, ack)
    INPUTS[before, after](transaction, respond, ack)
    assert transaction.state is after


def test_the_invite_is_delivered_once(invite, hop, datagrams):
    machine = InviteServerTransaction(KEY, invite, hop, datagrams)
    assert machine.start(0.0) == [Deliver(KEY, invite)]
    assert machine.on_request(0.1) == []


def test_a_100_is_sent_when_the_tu_says_nothing_for_200_ms(transaction, hop):
    assert transaction.next_deadline() == 0.2
    (sent,) = transaction.on_deadline(0.2)
    assert (sent.message.status, sent.hop) == (100, hop)
    assert sent.message.to.tag is None
    assert transaction.next_deadline() == float("inf")


@pytest.mark.parametrize("status", [100, 180])
def test_no_100_is_sent_once_the_tu_has_spoken(status, transaction, respond):
    transaction.respond(respond(status), 0.1)
    assert transaction.next_deadline() == float("inf")


def test_a_retransmitted_invite_gets_the_last_provisional_response(transaction, respond, hop):
    transaction.respond(respond(180), 0.1)
    last = respond(183)
    transaction.respond(last, 0.2)
    assert transaction.on_request(0.5) == [Send(KEY, last, hop)]


def test_a_retransmitted_invite_gets_the_failure_again(transaction, respond, hop):
    failure = respond(486)
    transaction.respond(failure, 0.1)
    assert transaction.on_request(0.3) == [Send(KEY, failure, hop)]


@pytest.mark.parametrize("state", [State.ACCEPTED, State.CONFIRMED])
def test_a_late_invite_is_absorbed(state, transaction, respond, ack):
    at(state, transaction, respond, ack)
    assert transaction.on_request(3.0) == []


def test_the_tu_may_repeat_a_2xx_until_timer_l(transaction, respond, hop):
    success = respond(200)
    assert transaction.respond(success, 1.0) == [Send(KEY, success, hop)]
    assert transaction.respond(success, 1.5) == [Send(KEY, success, hop)]
    assert transaction.next_deadline() == 33.0
    assert transaction.on_deadline(33.0) == [Terminated(KEY)]


@pytest.mark.parametrize("status", [180, 486])
def test_after_a_2xx_nothing_else_is_sent(status, transaction, respond, ack):
    at(State.ACCEPTED, transaction, respond, ack)
    assert transaction.respond(respond(status), 2.0) == []


@pytest.mark.parametrize("state", [State.COMPLETED, State.CONFIRMED])
@pytest.mark.parametrize("status", [180, 200, 486])
def test_after_a_failure_nothing_else_is_sent(state, status, transaction, respond, ack):
    at(state, transaction, respond, ack)
    assert transaction.respond(respond(status), 3.0) == []


def test_without_an_ack_timer_h_gives_up(transaction, respond):
    transaction.respond(respond(486), 1.0)
    assert transaction.on_deadline(33.0) == [TimedOut(KEY, "H"), Terminated(KEY)]


def test_the_ack_of_a_failure_stays_here(transaction, respond, ack):
    transaction.respond(respond(486), 1.0)
    assert transaction.on_ack(ack, 2.0) == []
    assert transaction.next_deadline() == 7.0
    assert transaction.on_ack(ack, 3.0) == []
    assert transaction.on_deadline(7.0) == [Terminated(KEY)]


def test_over_a_stream_the_ack_is_the_end(invite, hop, streams, respond, ack):
    machine = InviteServerTransaction(KEY, invite, hop, streams)
    machine.start(0.0)
    machine.respond(respond(486), 0.1)
    assert machine.next_deadline() == 32.1
    assert machine.on_ack(ack, 0.2) == [Terminated(KEY)]


def test_an_ack_of_a_2xx_with_the_branch_of_the_invite_goes_up(transaction, respond, ack):
    at(State.ACCEPTED, transaction, respond, ack)
    assert transaction.on_ack(ack, 2.0) == [Deliver(None, ack)]


def test_an_ack_before_any_final_response_is_dropped(transaction, ack):
    assert transaction.on_ack(ack, 0.1) == []


def test_a_transport_error_is_told_but_ends_nothing(transaction, respond):
    transaction.respond(respond(486), 1.0)
    assert transaction.on_transport_error("refused", 1.0) == [TransportFailed(KEY, "refused")]
    assert transaction.state is State.COMPLETED


def test_a_lost_connection_is_replaced_once(invite, streams, respond):
    gone, other = Hop("TCP", "192.0.2.1", 40000, 7), Hop("TCP", "192.0.2.1", 5060)
    machine = InviteServerTransaction(KEY, invite, gone, streams, other)
    machine.start(0.0)
    busy = respond(486)
    machine.respond(busy, 1.0)
    assert machine.on_transport_error("closed", 1.0) == [Send(KEY, busy, other)]
    assert machine.on_transport_error("refused", 1.1) == [TransportFailed(KEY, "refused")]


def test_a_connection_lost_before_the_first_response_is_told(invite, streams):
    gone, other = Hop("TCP", "192.0.2.1", 40000, 7), Hop("TCP", "192.0.2.1", 5060)
    machine = InviteServerTransaction(KEY, invite, gone, streams, other)
    assert machine.on_transport_error("closed", 0.1) == [TransportFailed(KEY, "closed")]
