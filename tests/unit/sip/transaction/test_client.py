from __future__ import annotations

import pytest

from callmeter.sip.transaction.client import TRANSITIONS, ClientTransaction, State
from callmeter.sip.transaction.effects import (
    Deliver,
    Send,
    Terminated,
    TimedOut,
    TransportFailed,
)

KEY = ("c", "z9hG4bKone", "OPTIONS")


@pytest.fixture
def transaction(options, hop, datagrams):
    machine = ClientTransaction(KEY, options, hop, datagrams)
    machine.start(0.0)
    return machine


@pytest.fixture
def respond(options):
    return lambda status: options.create_response(status, to_tag="bob")


def at(state, transaction, respond):
    statuses = {State.TRYING: [], State.PROCEEDING: [100], State.COMPLETED: [200]}
    for status in statuses[state]:
        transaction.on_response(respond(status), 0.25)
    assert transaction.state is state
    return transaction


INPUTS = {
    (State.TRYING, State.PROCEEDING): lambda t, r: t.on_response(r(100), 1),
    (State.TRYING, State.COMPLETED): lambda t, r: t.on_response(r(200), 1),
    (State.TRYING, State.TERMINATED): lambda t, r: t.on_deadline(32.0),
    (State.PROCEEDING, State.COMPLETED): lambda t, r: t.on_response(r(604), 1),
    (State.PROCEEDING, State.TERMINATED): lambda t, r: t.on_deadline(32.0),
    (State.COMPLETED, State.TERMINATED): lambda t, r: t.on_deadline(5.25),
}


def test_the_inputs_below_cover_the_figure():
    assert INPUTS.keys() == TRANSITIONS


@pytest.mark.parametrize(("before", "after"), INPUTS, ids=lambda state: state.value)
def test_each_arrow_of_the_figure_can_be_walked(before, after, transaction, respond):
    at(before, transaction, respond)
    INPUTS[before, after](transaction, respond)
    assert transaction.state is after


def test_the_request_is_sent_at_the_start(options, hop, datagrams):
    machine = ClientTransaction(KEY, options, hop, datagrams)
    assert machine.start(5.0) == [Send(KEY, options, hop)]
    assert machine.next_deadline() == 5.5


@pytest.mark.parametrize("state", [State.TRYING, State.PROCEEDING])
def test_silence_ends_in_timer_f(state, transaction, respond):
    at(state, transaction, respond)
    assert transaction.on_deadline(32.0) == [TimedOut(KEY, "F"), Terminated(KEY)]


def test_a_provisional_response_slows_retransmission_to_t2(transaction, respond):
    at(State.PROCEEDING, transaction, respond)
    assert transaction.next_deadline() == 0.5
    assert len(transaction.on_deadline(0.5)) == 1
    assert transaction.next_deadline() == 4.5


def test_further_provisional_responses_are_delivered(transaction, respond):
    at(State.PROCEEDING, transaction, respond)
    response = respond(182)
    assert transaction.on_response(response, 1.0) == [Deliver(KEY, response)]


def test_nothing_is_sent_after_a_final_response(transaction, respond):
    response = respond(200)
    assert transaction.on_response(response, 1.0) == [Deliver(KEY, response)]
    assert transaction.next_deadline() == 6.0
    assert transaction.on_deadline(6.0) == [Terminated(KEY)]


@pytest.mark.parametrize("status", [100, 200, 500])
def test_what_follows_the_final_response_is_absorbed(status, transaction, respond):
    at(State.COMPLETED, transaction, respond)
    assert transaction.on_response(respond(status), 1.0) == []


def test_over_a_stream_the_final_response_is_the_end(options, hop, streams, respond):
    machine = ClientTransaction(KEY, options, hop, streams)
    machine.start(0.0)
    assert machine.next_deadline() == 32.0
    response = respond(200)
    assert machine.on_response(response, 1.0) == [Deliver(KEY, response), Terminated(KEY)]


@pytest.mark.parametrize("state", [State.TRYING, State.PROCEEDING])
def test_a_transport_error_is_told_and_ends_it(state, transaction, respond):
    at(state, transaction, respond)
    effects = transaction.on_transport_error("refused", 1.0)
    assert effects == [TransportFailed(KEY, "refused"), Terminated(KEY)]


def test_a_transport_error_after_the_answer_does_not_matter(transaction, respond):
    at(State.COMPLETED, transaction, respond)
    assert transaction.on_transport_error("refused", 1.0) == []
    assert transaction.state is State.COMPLETED
