from __future__ import annotations

from itertools import product

import pytest

from callmeter.errors import LocalProtocolError
from callmeter.sip.transaction import client, invite_client, invite_server, server
from callmeter.sip.transaction.effects import Deliver, Terminated

FIGURES = {
    "INVITE client": (invite_client, invite_client.InviteClientTransaction),
    "client": (client, client.ClientTransaction),
    "INVITE server": (invite_server, invite_server.InviteServerTransaction),
    "server": (server, server.ServerTransaction),
}
PAIRS = [
    pytest.param(figure, before, after, id=f"{name}: {before.value} to {after.value}")
    for name, figure in FIGURES.items()
    for before, after in product(figure[0].State, repeat=2)
]

CALLING, ASKING = invite_client.State, client.State
CLIENTS = {
    "INVITE client": (
        {
            CALLING.CALLING: [],
            CALLING.PROCEEDING: [180],
            CALLING.ACCEPTED: [200],
            CALLING.COMPLETED: [486],
        },
        {(CALLING.CALLING, 180), (CALLING.CALLING, 200), (CALLING.PROCEEDING, 200)},
    ),
    "client": (
        {ASKING.TRYING: [], ASKING.PROCEEDING: [100], ASKING.COMPLETED: [200]},
        set(product((ASKING.TRYING, ASKING.PROCEEDING), (200, 486))),
    ),
}
"""What brings a client to each of its states, and what it hears there in one step."""
HEARD = [
    pytest.param(
        FIGURES[name][1],
        responses,
        status,
        (state, status) in in_one_step,
        id=f"{name}: {status} when {state.value}",
    )
    for name, (states, in_one_step) in CLIENTS.items()
    for (state, responses), status in product(states.items(), (180, 200, 486))
]


@pytest.mark.parametrize(("figure", "before", "after"), PAIRS)
def test_a_state_changes_only_along_the_arrows_of_its_figure(
    figure, before, after, invite, hop, datagrams
):
    module, kind = figure
    machine = kind(("k",), invite, hop, datagrams)
    machine.state = before
    if (before, after) in module.TRANSITIONS:
        machine._enter(after)
        assert machine.state is after
    else:
        with pytest.raises(LocalProtocolError, match=f"from {before.name} to {after.name}"):
            machine._enter(after)
        assert machine.state is before


@pytest.mark.parametrize("figure", FIGURES.values(), ids=FIGURES)
def test_every_state_can_be_reached_and_the_last_one_not_left(figure, invite, hop, datagrams):
    module, kind = figure
    reached = {kind(("k",), invite, hop, datagrams).state}
    for _ in module.State:
        reached |= {after for before, after in module.TRANSITIONS if before in reached}
    assert reached == set(module.State)
    assert not any(before is module.State.TERMINATED for before, _ in module.TRANSITIONS)


@pytest.mark.parametrize("figure", FIGURES.values(), ids=FIGURES)
def test_the_end_stops_the_timers_and_says_so(figure, invite, hop, datagrams):
    module, kind = figure
    machine = kind(("k",), invite, hop, datagrams)
    machine.start(0.0)
    last_but_one = next(
        before for before, after in module.TRANSITIONS if after is module.State.TERMINATED
    )
    machine.state = last_but_one
    assert machine._terminate() == [Terminated(("k",))]
    assert machine.terminated
    assert machine.next_deadline() == float("inf")


@pytest.mark.parametrize("figure", FIGURES.values(), ids=FIGURES)
def test_a_deadline_that_comes_early_changes_nothing(figure, invite, hop, datagrams):
    machine = figure[1](("k",), invite, hop, datagrams)
    machine.start(10.0)
    state = machine.state
    assert machine.on_deadline(10.1) == []
    assert machine.state is state


def test_a_transaction_is_described_without_its_headers(make_request, hop, datagrams):
    request = make_request(extra=(("Authorization", "Digest response=secret"),))
    machine = invite_client.InviteClientTransaction(("k",), request, hop, datagrams)
    assert repr(machine) == "<InviteClientTransaction CALLING INVITE UDP 192.0.2.2:5060>"


@pytest.mark.parametrize(("kind", "responses", "status", "in_one_step"), HEARD)
def test_what_is_heard_in_one_step_changes_what_the_response_changes(
    kind, responses, status, in_one_step, invite, hop, datagrams
):
    key = ("c", "z9hG4bKone", "INVITE")
    transaction, twin = (kind(key, invite, hop, datagrams) for _ in range(2))
    transaction.start(0.0)
    assert twin.begin(0.0) == transaction.next_deadline() == 0.5
    for each, before in product((transaction, twin), responses):
        each.on_response(invite.create_response(before, to_tag="bob"), 1.0)
    state, deadline = twin.state, twin.next_deadline()
    when = twin.hear(status, 2.0)
    if in_one_step:
        response = invite.create_response(status, to_tag="bob")
        assert transaction.on_response(response, 2.0) == [Deliver(key, response)]
        assert twin.state is transaction.state
        assert when == twin.next_deadline() == transaction.next_deadline()
    else:
        assert when is None
        assert (twin.state, twin.next_deadline()) == (state, deadline)
