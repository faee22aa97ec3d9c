"""The stack: which endpoint a message is for, what is left behind."""

from __future__ import annotations

import asyncio
import socket

import pytest

from callmeter.config import (
    EndpointConfig,
    LimitConfig,
    StackConfig,
)
from callmeter.endpoint import Endpoint
from callmeter.errors import (
    ConfigurationError,
    ConnectionFailed,
    LocalProtocolError,
)
from callmeter.stack import Stack

LOOPBACK = "127.0.0.1"
PATIENCE = 20


# which endpoint


async def test_a_stack_without_time_refuses_what_is_new_and_serves_it_again_after(
    entered, make_endpoint, peer
):
    """The loop is held up on purpose: whatever is a hair late is too late here."""
    config = StackConfig(bind=LOOPBACK, limits=LimitConfig(loop_delay=1e-9))
    stack = await entered.enter_async_context(Stack(config))
    bob = await make_endpoint("bob", on=stack)
    statuses = []
    async with asyncio.timeout(PATIENCE):
        while 503 not in statuses:
            response = await peer.ask(stack, peer.request("OPTIONS", str(bob.contact)))
            statuses.append(response.status)
            await asyncio.sleep(0.01)
    assert 5 <= int(response.headers.get("Retry-After")) <= 30
    assert statuses[0] == 200
    assert stack.transactions.counters.rejected_over_limit == statuses.count(503)
    stack._on_loop_delay(False)  # noqa: FBT003  as the loop tells it
    assert (await peer.ask(stack, peer.request("OPTIONS", str(bob.contact)))).status == 200


async def test_a_stack_whose_media_is_late_refuses_what_is_new_until_it_is_not(
    entered, make_endpoint, peer
):
    config = StackConfig(bind=LOOPBACK, limits=LimitConfig(tick_delay=1e-9))
    stack = await entered.enter_async_context(Stack(config))
    bob = await make_endpoint("bob", on=stack)
    stream = stack.media.open_stream(LOOPBACK, rtcp_mux=True)
    async with asyncio.timeout(PATIENCE):
        while not stack.media.overload.exceeded:  # noqa: ASYNC110  it is the clock that is waited for
            await asyncio.sleep(0.05)
    assert (await peer.ask(stack, peer.request("OPTIONS", str(bob.contact)))).status == 503
    stream.stop()
    assert (await peer.ask(stack, peer.request("OPTIONS", str(bob.contact)))).status == 200


async def test_two_endpoints_of_one_user_have_contacts_of_their_own(make_endpoint, peer, stack):
    first, second = await make_endpoint("alice"), await make_endpoint("alice")
    assert first.contact.user == "alice"
    assert second.contact.user.startswith("alice-")
    for endpoint in (first, second):
        response = await peer.ask(stack, peer.request("OPTIONS", str(endpoint.contact)))
        assert response.status == 200
        assert len(endpoint.messages.requests("OPTIONS")) == 1


async def test_a_request_is_routed_by_contact_then_by_address_of_record(
    entered, make_endpoint, peer, stack
):
    alice, bob = await make_endpoint("alice"), await make_endpoint("bob")
    bob.aor_user = "robert"
    for user, owner, other in (("alice", alice, bob), ("robert", bob, alice)):
        response = await peer.ask(stack, peer.request("OPTIONS", f"sip:{user}@{LOOPBACK}"))
        assert response.status == 200
        assert len(owner.messages.requests("OPTIONS")) == 1
        assert len(other.messages.requests("OPTIONS")) == (0 if owner is alice else 1)


async def test_a_request_in_a_dialog_is_routed_by_it_whatever_its_uri(make_endpoint, peer, stack):
    await make_endpoint("alice")
    bob = await make_endpoint("bob")
    peer.send(stack, peer.request("INVITE", str(bob.contact)))
    incoming = await bob.next_call(PATIENCE)
    incoming.ring()
    ringing = await peer.receive()
    bye = peer.request(
        "BYE", f"sip:other@{LOOPBACK}", to=str(ringing.to), call_id=ringing.call_id
    ).replace("CSeq: 1", "CSeq: 2")
    answers = {}
    response = await peer.ask(stack, bye)
    answers[response.cseq.method] = response.status
    response = await peer.receive()
    answers[response.cseq.method] = response.status
    assert answers == {"BYE": 200, "INVITE": 487}


async def test_a_cancel_finds_its_call_whatever_its_uri(make_endpoint, peer, stack):
    await make_endpoint("alice")
    bob = await make_endpoint("bob")
    bob_aor, bob.aor_user = f"sip:robert@{LOOPBACK}", "robert"
    invite = peer.request("INVITE", bob_aor)
    peer.send(stack, invite)
    incoming = await bob.next_call(PATIENCE)
    lines = [line for line in invite.split("\r\n") if not line.startswith("Contact")]
    cancel = "\r\n".join(lines).replace("INVITE sip", "CANCEL sip").replace("1 INVITE", "1 CANCEL")
    cancel = cancel.replace(f"sip:robert@{LOOPBACK} SIP", f"sip:xyz@{LOOPBACK} SIP")
    statuses = {(await peer.ask(stack, cancel)).status, (await peer.receive()).status}
    assert statuses == {200, 487}
    async with asyncio.timeout(PATIENCE):
        await incoming.ended()


@pytest.mark.parametrize(
    ("method", "to", "status"),
    [
        ("INVITE", None, 404),
        ("OPTIONS", None, 404),
        ("BYE", "<sip:x@127.0.0.1>;tag=gone", 481),
        ("CANCEL", None, 481),
    ],
)
async def test_a_request_for_nobody_is_refused(make_endpoint, peer, stack, method, to, status):
    await make_endpoint("alice")
    await make_endpoint("bob")
    response = await peer.ask(stack, peer.request(method, f"sip:nobody@{LOOPBACK}", to=to))
    assert response.status == status
    assert response.to.tag
    assert stack.counters.unroutable == 1


async def test_an_ack_for_nobody_is_dropped_without_a_word(make_endpoint, peer, stack):
    await make_endpoint("alice")
    await make_endpoint("bob")
    peer.send(stack, peer.request("ACK", f"sip:nobody@{LOOPBACK}"))
    response = await peer.ask(stack, peer.request("OPTIONS", f"sip:nobody@{LOOPBACK}"))
    assert response.cseq.method == "OPTIONS"
    assert stack.counters.unroutable == 2


# what cannot be read


async def test_a_malformed_request_is_refused_once_and_an_ack_never(make_endpoint, peer, stack):
    alice = await make_endpoint("alice")
    bad = peer.request("OPTIONS", str(alice.contact)).replace("Forwards: 70", "Forwards: x")
    peer.send(stack, bad.replace("OPTIONS", "ACK"))
    peer.send(stack, "\xff garbage")
    peer.send(stack, "SIP/2.0 200 OK\r\n\r\n")
    response = await peer.ask(stack, bad)
    assert response.status == 400
    assert response.to.tag
    assert stack.counters.malformed == 4
    assert len(stack.transactions) == 0


async def test_keep_alives_and_empty_datagrams_are_counted_only(make_endpoint, peer, stack):
    alice = await make_endpoint("alice")
    for octets in ("", "\r\n\r\n", "\0"):
        peer.send(stack, octets)
    await peer.ask(stack, peer.request("OPTIONS", str(alice.contact)))
    assert stack.counters.keepalives == 3
    assert stack.counters.received == 1


async def test_a_response_nobody_waits_for_is_dropped(make_endpoint, peer, stack):
    alice = await make_endpoint("alice")
    for via in (f"SIP/2.0/UDP {LOOPBACK};branch=z9hG4bKx", f"SIP/2.0/UDP {LOOPBACK}"):
        stray = peer.request("OPTIONS", "sip:x@y").split("\r\n")
        stray[0], stray[1] = "SIP/2.0 200 OK", f"Via: {via}"
        peer.send(stack, "\r\n".join(stray))
    response = await peer.ask(stack, peer.request("OPTIONS", str(alice.contact)))
    assert response.status == 200
    assert stack.transactions.counters.stray_responses == 2


# life


async def test_a_stack_and_an_endpoint_are_entered_once_at_a_time(stack, make_endpoint):
    alice = await make_endpoint("alice")
    with pytest.raises(LocalProtocolError, match="already running"):
        await stack.__aenter__()
    with pytest.raises(LocalProtocolError, match="already running"):
        await alice.__aenter__()
    with pytest.raises(ConfigurationError, match="'alice' is taken"):
        stack.attach(alice)


async def test_a_port_that_is_taken_leaves_nothing_open(silent_port):
    stack = Stack(StackConfig(bind=LOOPBACK, port=silent_port))
    with pytest.raises(ConnectionFailed, match=str(silent_port)):
        await stack.__aenter__()
    await stack.__aexit__(None, None, None)


async def test_the_limit_of_dialogs_holds(peer):
    config = StackConfig(bind=LOOPBACK, limits=LimitConfig(dialogs=1))
    async with (
        Stack(config) as stack,
        Endpoint(EndpointConfig(f"sip:alice@{LOOPBACK}"), stack) as alice,
    ):
        peer.send(stack, peer.request("INVITE", str(alice.contact)))
        await alice.next_call(PATIENCE)
        second = peer.request("INVITE", str(alice.contact))
        response = await peer.ask(stack, second)
        while response.status == 100:
            response = await peer.receive()
        assert response.status == 503
        with pytest.raises(LocalProtocolError, match="as many as may be"):
            await alice.invite(f"sip:bob@{LOOPBACK}:{peer.port}")
        assert stack.media.streams == []


async def test_one_invite_forked_to_two_endpoints_of_a_stack_reaches_both(make_endpoint, stack):
    bob, carol = [await make_endpoint(user) for user in ("bob", "carol")]
    host, port = stack.transport.listening()
    invite = (
        "INVITE sip:{user}@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP {host}:{own};branch=z9hG4bK{user}"
        "\r\nMax-Forwards: 70\r\nFrom: <sip:x@y>;tag=1\r\nTo: <sip:bob@127.0.0.1>\r\nCall-ID: f\r\n"
        "CSeq: 1 INVITE\r\nContact: <sip:x@{host}:{own}>\r\nContent-Length: 0\r\n\r\n"
    )
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as proxy:
        proxy.bind((host, 0))
        own = proxy.getsockname()[1]
        for user in ("bob", "carol"):
            proxy.sendto(invite.format(user=user, host=host, own=own).encode(), (host, port))
        for endpoint in (bob, carol):
            incoming = await endpoint.next_call(20)
            incoming.reject(486)
