from __future__ import annotations

import pytest

from callmeter.sip.transaction.effects import (
    Deliver,
    Hop,
    Send,
    Terminated,
    TransportFailed,
)
from callmeter.sip.transaction.server import TRANSITIONS, ServerTransaction, State

KEY = ("s", "z9hG4bKone", "192.0.2.1", 5060, "OPTIONS")


@pytest.fixture
def transaction(options, hop, datagrams):
    machine = ServerTransaction(KEY, options, hop, datagrams)
    machine.start(0.0)
    return machine


@pytest.fixture
def respond(options):
    return lambda status: options.create_response(status, to_tag="bob")


def at(state, transaction, respond):
    statuses = {State.TRYING: [], State.PROCEEDING: [100], State.COMPLETED: [200]}
    for status in statuses[state]:
        transaction.respond(respond(status), 1.0)
    assert transaction.state is state
    return transaction


INPUTS = {
    (State.TRYING, State.PROCEEDING): lambda t, r: t.respond(r(100), 1),
    (State.TRYING, State.COMPLETED): lambda t, r: t.respond(r(200), 1),
    (State.TRYING, State.TERMINATED): lambda t, r: t.on_transport_error("reset", 1),
    (State.PROCEEDING, State.COMPLETED): lambda t, r: t.respond(r(404), 1),
    (State.PROCEEDING, State.TERMINATED): lambda t, r: t.on_transport_error("reset", 1),
    (State.COMPLETED, State.TERMINATED): lambda t, r: t.on_deadline(33.0),
}


def test_the_inputs_below_cover_the_figure():
    assert INPUTS.keys() == TRANSITIONS


@pytest.mark.parametrize(("before", "after"), INPUTS, ids=lambda state: state.value)
def test_each_arrow_of_the_figure_can_be_walked(before, after, transaction, respond):
    at(before, transaction, respond)
    INPUTS[before, after](transaction, respond)
    assert transaction.state is after


def test_the_request_is_delivered_once(options, hop, datagrams):
    machine = ServerTransaction(KEY, options, hop, datagrams)
    assert machine.start(0.0) == [Deliver(KEY, options)]
    assert machine.on_request(0.5) == []


@pytest.mark.parametrize("state", [State.PROCEEDING, State.COMPLETED])
def test_a_retransmitted_request_gets_the_last_response_again(state, transaction, respond, hop):
    at(state, transaction, respond)
    assert transaction.on_request(2.0) == [Send(KEY, transaction.response, hop)]


def test_further_provisional_responses_are_sent(transaction, respond, hop):
    at(State.PROCEEDING, transaction, respond)
    response = respond(100)
    assert transaction.respond(response, 2.0) == [Send(KEY, response, hop)]


def test_only_the_first_final_response_counts(transaction, respond):
    at(State.COMPLETED, transaction, respond)
    assert transaction.respond(respond(500), 2.0) == []
    assert transaction.next_deadline() == 33.0
    assert transaction.on_deadline(33.0) == [Terminated(KEY)]


def test_over_a_stream_the_final_response_is_the_end(options, hop, streams, respond):
    machine = ServerTransaction(KEY, options, hop, streams)
    machine.start(0.0)
    response = respond(200)
    assert machine.respond(response, 1.0) == [Send(KEY, response, hop), Terminated(KEY)]


@pytest.mark.parametrize("state", [State.TRYING, State.PROCEEDING])
def test_a_408_is_never_sent(state, transaction, respond):
    at(state, transaction, respond)
    assert transaction.respond(respond(408), 2.0) == [Terminated(KEY)]


@pytest.mark.parametrize("state", [State.TRYING, State.PROCEEDING])
def test_a_request_nobody_answers_is_forgotten_when_the_client_has_given_up(
    state, transaction, respond
):
    at(state, transaction, respond)
    assert transaction.next_deadline() == 32.0
    assert transaction.on_deadline(32.0) == [Terminated(KEY)]


@pytest.mark.parametrize("state", list(State)[:3])
def test_a_transport_error_is_told_and_ends_it(state, transaction, respond):
    at(state, transaction, respond)
    effects = transaction.on_transport_error("refused", 2.0)
    assert effects == [TransportFailed(KEY, "refused"), Terminated(KEY)]


def test_a_lost_connection_is_replaced_once(options, streams, respond):
    gone, other = Hop("TLS", "192.0.2.1", 40000, 7), Hop("TLS", "192.0.2.1", 5061)
    machine = ServerTransaction(KEY, options, gone, streams, other)
    machine.start(0.0)
    trying = respond(100)
    machine.respond(trying, 1.0)
    assert machine.on_transport_error("closed", 1.0) == [Send(KEY, trying, other)]
    assert machine.on_transport_error("refused", 1.1)[0] == TransportFailed(KEY, "refused")
