"""RFC 6026: what crosses, is repeated or comes late round a 2xx to an INVITE."""

from __future__ import annotations

import pytest

from callmeter.sip.invite_session import SessionState
from callmeter.sip.session_events import (
    Answered,
    Cancelled,
    Ended,
    Failed,
    IncomingInvite,
    Respond,
)
from callmeter.testing.network import Datagram


def copies(bench, start):
    """The datagrams so far that start so."""
    return [d for _, d in bench.network.log if d.data.startswith(start)]


def test_section_7_1_a_late_copy_of_the_invite_begins_no_second_call(bench):
    caller, _ = bench.established()
    (invite,) = copies(bench, b"INVITE")
    for _ in range(3):
        bench.run(5)
        bench.network.send(Datagram(invite.source, invite.destination, invite.data))
    bench.run(1)
    assert len(bench.bob.events_of(IncomingInvite)) == 1
    assert "bob 481" not in bench.ladder()
    bench.hang_up(caller)


def test_section_7_2_each_copy_of_the_2xx_is_acknowledged_for_64_t1(bench):
    caller, _ = bench.established()
    success = copies(bench, b"SIP/2.0 200")[-1]
    for seconds in (5, 20):
        before = bench.ladder().count("alice ACK")
        bench.run(seconds)
        bench.network.send(Datagram(success.source, success.destination, success.data))
        bench.run(0.5)
        assert bench.ladder().count("alice ACK") == before + 1
    assert len(bench.alice.events_of(Answered)) == 1
    bench.run(32)
    before = bench.ladder().count("alice ACK")
    bench.network.send(Datagram(success.source, success.destination, success.data))
    bench.run(0.5)
    assert bench.ladder().count("alice ACK") == before
    bench.hang_up(caller)


def test_section_8_4_a_2xx_of_another_fork_is_acknowledged_and_ended(bench):
    caller, _ = bench.established()
    success = copies(bench, b"SIP/2.0 200")[-1]
    tag = b"tag=" + caller.dialog.remote_tag.encode()
    other = success.data.replace(tag, b"tag=fork")
    bench.bob.on_request = lambda key, request: (
        [Respond(key, request.create_response(200))] if request.to.tag == "fork" else None
    )
    for _ in range(2):
        bench.network.send(Datagram(success.source, success.destination, other))
        bench.run(1)
    ended = [
        m.method for m in bench.bob.received if getattr(m, "method", "") and m.to.tag == "fork"
    ]
    assert ended == ["ACK", "BYE", "ACK"]
    assert caller.state is SessionState.ESTABLISHED
    bench.hang_up(caller)


def test_section_8_5_a_2xx_for_no_transaction_is_dropped(bench):
    caller, _ = bench.established()
    success = copies(bench, b"SIP/2.0 200")[-1]
    bench.hang_up(caller)
    bench.run(100)
    rows = len(bench.ladder())
    bench.network.send(Datagram(success.source, success.destination, success.data))
    bench.run(1)
    assert len(bench.ladder()) == rows + 1


@pytest.mark.parametrize("lead", [0.0, 0.004, 0.02])
def test_a_2xx_that_crosses_a_cancel_is_acknowledged_and_ended(bench, lead):
    bench.bob_answers(1.0)
    caller = bench.call()
    bench.run(1.0 + lead)
    if caller.answered:
        bench.hang_up(caller)
    else:
        bench.alice.apply(caller.cancel(bench.clock.now))
        bench.run(1)
        assert bench.alice.events_of(Failed)[0].cause == "cancelled"
    bench.run(1)
    assert caller.state is bench.incoming().state is SessionState.ENDED
    assert len(bench.bob.events_of(Ended | Cancelled)) == 1
