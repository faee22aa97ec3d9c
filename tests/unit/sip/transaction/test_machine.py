from __future__ import annotations

from itertools import product

import pytest

from callmeter.errors import LocalProtocolError
from callmeter.sip.transaction import client, invite_client, invite_server, server
from callmeter.sip.transaction.effects import Terminated

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
