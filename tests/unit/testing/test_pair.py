"""The virtual-time bench itself."""

from __future__ import annotations

from dataclasses import replace

import pytest

from callmeter.config import TimerConfig
from callmeter.sip.message import Request
from callmeter.sip.session_events import (
    CancelRequest,
    Ended,
    IncomingInvite,
    RequestAnswered,
    RequestFailed,
    Respond,
)
from callmeter.sip.transaction.effects import Deliver, TimedOut, TransportFailed
from callmeter.sip.uri import SipUri, TelUri
from callmeter.testing.network import Datagram, LinkConditions
from callmeter.testing.pair import Pair, Party

STRANGER = ("192.0.2.77", 5060)


@pytest.fixture
def pair():
    return Pair()


def options(pair, target=None):
    _, effects = pair.alice.core.options(target or pair.bob.contact, pair.clock.now)
    pair.alice.apply(effects)


def test_a_request_reaches_the_other_party_and_its_answer_comes_back(pair):
    options(pair)
    pair.run_until(lambda: bool(pair.alice.events))
    assert pair.clock.now == pytest.approx(0.02)
    ((when, event),) = pair.alice.events
    assert when == pair.clock.now
    assert event.response.status == 200
    assert [message.is_request for message in pair.bob.received] == [True]


def test_an_hour_takes_as_many_steps_as_things_happen(pair):
    options(pair)
    steps = 0
    while pair.step(3600.0):
        steps += 1
    assert steps < 10
    assert len(pair) == 0
    pair.run(3600.0)
    assert pair.clock.now > 3600


def test_what_never_happens_is_an_error(pair):
    with pytest.raises(TimeoutError, match="within 5"):
        pair.run_until(lambda: False, within=5)


def test_what_is_under_way_counts_as_left(pair):
    options(pair)
    assert len(pair) > 0
    assert len(pair.alice) == 3


def test_things_are_done_at_their_time_and_in_order(pair):
    done = []

    def note(name):
        done.append((name, pair.clock.now))
        return []

    pair.schedule(2.0, pair.alice, lambda: note("b"))
    pair.schedule(1.0, pair.bob, lambda: note("a"))
    pair.schedule(2.0, pair.alice, lambda: note("c"))
    pair.run(3)
    assert done == [("a", 1.0), ("b", 2.0), ("c", 2.0)]


def test_names_stand_for_addresses(pair):
    pair.alice.names["example.com"] = pair.bob.address
    options(pair, SipUri("sip", "example.com", user="bob"))
    pair.run(1)
    assert len(pair.alice.events_of(RequestAnswered)) == 1


def test_a_route_decides_where_a_request_goes(pair):
    proxy = SipUri("sip", "192.0.2.2", 5060, params=(("lr", None),))
    pair.alice.core.identity = replace(pair.alice.core.identity, routes=(proxy,))
    options(pair, SipUri("sip", "nowhere.invalid", user="bob"))
    pair.run(1)
    assert len(pair.alice.events_of(RequestAnswered)) == 1


def test_an_unknown_host_is_a_transport_error(pair):
    options(pair, SipUri("sip", "nowhere.invalid", user="bob"))
    (event,) = pair.alice.events_of(RequestFailed)
    assert (event.status, event.cause) == (503, "transport")


def test_nobody_at_an_address_is_silence(pair):
    options(pair, SipUri("sip", "192.0.2.200", user="bob"))
    pair.run(40)
    (event,) = pair.alice.events_of(RequestFailed)
    assert event.cause == "timeout"
    assert len(pair) == 0


def test_octets_that_are_no_message_are_counted_and_answered_if_possible(pair):
    pair.network.log = []
    pair.network.send(Datagram(STRANGER, pair.bob.address, b"nonsense"))
    bad = b"INVITE sip:bob@192.0.2.2 SIP/7.0\r\nVia: SIP/2.0/UDP 192.0.2.77\r\n\r\n"
    pair.network.send(Datagram(STRANGER, pair.bob.address, bad))
    pair.run(1)
    assert pair.bob.malformed == 2
    (_, answer) = pair.network.log[-1]
    assert answer.data.startswith(b"SIP/2.0 505 ")
    assert answer.destination == STRANGER


def test_a_script_may_answer_before_the_core_does(pair):
    seen = []

    def on_request(key, request):
        seen.append(request.method)
        return [Respond(key, request.create_response(488))] if len(seen) == 1 else None

    pair.bob.on_request = on_request
    options(pair)
    pair.run(1)
    options(pair)
    pair.run(1)
    statuses = [event.response.status for event in pair.alice.events_of(RequestAnswered)]
    assert statuses == [488, 200]


def test_a_party_of_its_own_joins_the_network(pair):
    carol = pair.add(Party("carol", ("192.0.2.3", 5060), pair.network, pair.clock))
    options(pair, carol.contact)
    pair.run(1)
    assert len(carol.received) == 1


def test_network_conditions_and_timers_are_those_given():
    pair = Pair(1, LinkConditions(delay=1.0), timers=TimerConfig(t1=0.1), transport="TCP")
    options(pair)
    pair.run_until(lambda: bool(pair.alice.events), within=6.5)
    assert pair.clock.now == 2.0
    assert pair.bob.received[0].via.transport == "TCP"


def test_a_target_that_no_address_stands_for_sends_no_ack(pair):
    pair.bob.on_event = lambda event: (
        event.session.accept(b"v=0", 0.0) if type(event) is IncomingInvite else None
    )
    session, effects = pair.alice.core.invite(pair.bob.contact, 0.0)
    pair.alice.apply(effects)
    pair.run(1)
    session.dialog.remote_target = TelUri("tel", "+15550100")
    pair.alice.apply(session.ack(b"v=0", pair.clock.now))
    pair.run(40)
    assert pair.bob.events_of(Ended)[0].cause == "ack-timeout"
    assert all(message.method != "ACK" for message in pair.bob.received if message.is_request)


def test_failed_sendings_are_reported_to_whom_they_concern(pair):
    options(pair)
    (key,) = pair.alice._tokens
    pair.alice.apply([TransportFailed(key, "refused")])
    assert pair.alice.events_of(RequestFailed)[0].cause == "transport"
    session, effects = pair.alice.core.invite(pair.bob.contact, 0.0, body=b"v=0")
    pair.alice.apply(effects)
    pair.run(1)
    (incoming,) = pair.bob.events_of(IncomingInvite)
    pair.bob.apply(incoming.session.accept(b"v=0", pair.clock.now))
    (server_key,) = pair.bob.core._agent.served
    pair.bob.apply([TransportFailed(server_key, "refused")])
    assert pair.bob.events_of(Ended) == []
    for _ in range(2):
        pair.bob.apply([TimedOut(server_key, "H")])
    assert [event.cause for event in pair.bob.events_of(Ended)] == ["ack-timeout"]
    pair.alice.apply(session.cancel(pair.clock.now))
    pair.run(200)
    assert len(pair) == 0


def test_to_cancel_what_has_ended_is_nothing(pair):
    pair.alice.apply([CancelRequest(99)])
    assert len(pair) == 0


def test_responses_of_unknown_transactions_stay_without_effect(pair):
    response = Request("OPTIONS", "sip:a@b").create_response(200)
    pair.alice.apply([Deliver(("c", "x", "OPTIONS"), response), Deliver(None, response)])
    assert pair.alice.events == []
