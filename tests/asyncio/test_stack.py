"""The stack: which endpoint a message is for, where a request goes, what is left behind."""

from __future__ import annotations

import asyncio
import socket

import pytest

from callmeter.config import (
    EndpointConfig,
    LimitConfig,
    StackConfig,
    TlsConfig,
    Transport,
)
from callmeter.endpoint import Endpoint
from callmeter.errors import (
    CallCancelled,
    CallTimedOut,
    ConfigurationError,
    ConnectionFailed,
    LocalProtocolError,
    TransportError,
)
from callmeter.sip.parser import parse_message
from callmeter.sip.transaction.effects import Hop
from callmeter.sip.uri import parse_uri
from callmeter.stack import Stack
from callmeter.transport.layer import Located, Route

LOOPBACK = "127.0.0.1"
PATIENCE = 20


class Peer:
    """A plain UDP socket that says what it is told to."""

    def __init__(self, bound):
        self._socket = bound
        self.port = bound.getsockname()[1]
        self.source = None
        self._branches = iter(range(1, 1000))

    def send(self, stack, text):
        self._socket.sendto(text.encode(), stack.transport.listening())

    def reply(self, text):
        self._socket.sendto(text.encode(), self.source)

    async def receive(self):
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(PATIENCE):
            data, self.source = await loop.sock_recvfrom(self._socket, 65_535)
        return parse_message(data)

    async def ask(self, stack, text):
        self.send(stack, text)
        return await self.receive()

    def request(self, method, uri, *, to=None, call_id=None, extra="", body=""):
        branch = f"{self.port}-{next(self._branches)}"
        return (
            f"{method} {uri} SIP/2.0\r\n"
            f"Via: SIP/2.0/UDP {LOOPBACK}:{self.port}"
            f";branch=z9hG4bK{branch};rport\r\n"
            f"From: <sip:peer@{LOOPBACK}>;tag=p\r\n"
            f"To: {to or f'<{uri}>'}\r\n"
            f"Call-ID: {call_id or branch}\r\n"
            f"CSeq: 1 {method}\r\n"
            "Max-Forwards: 70\r\n"
            f"Contact: <sip:peer@{LOOPBACK}:{self.port}>\r\n"
            f"{extra}Content-Length: {len(body)}\r\n\r\n{body}"
        )

    def answer(self, request, status, reason="OK"):
        self.reply(request.create_response(status, reason, to_tag="p").to_bytes().decode())


@pytest.fixture
def peer():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound:
        bound.bind((LOOPBACK, 0))
        bound.settimeout(0)
        yield Peer(bound)


@pytest.fixture
def resolves(stack, monkeypatch):
    """Let names lead where the test says; a future keeps a request waiting."""

    def arrange(hops, on=stack):
        known = on.transport.known
        address = Route(parse_uri(f"sip:{LOOPBACK}"), Transport.UDP, TlsConfig())
        location = known(address).location

        async def locate(route):
            found = await hops if isinstance(hops, asyncio.Future) else hops
            return Located(location, tuple(found))

        monkeypatch.setattr(on.transport, "locate", locate)
        numeric = lambda route: known(route) if route.uri.host == LOOPBACK else None
        monkeypatch.setattr(on.transport, "known", numeric)

    return arrange


# which endpoint


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


# where a request goes


async def test_a_name_is_looked_up(make_endpoint, stack):
    alice, bob = await make_endpoint("alice"), await make_endpoint("bob")
    port = stack.transport.listening()[1]
    response = await alice.options(f"sip:bob@localhost:{port}")
    assert response.status == 200
    assert len(bob.messages.requests("OPTIONS").received()) == 1


@pytest.mark.parametrize("host", ["nowhere.invalid", "a" * 64 + ".example"])
@pytest.mark.parametrize("transport", ["", ";transport=tcp", ";transport=wss"])
async def test_a_call_to_nowhere_fails_and_the_stack_goes_on(make_endpoint, stack, host, transport):
    alice, bob = await make_endpoint("alice"), await make_endpoint("bob")
    with pytest.raises(TransportError, match=host) as caught:
        async with asyncio.timeout(PATIENCE), alice.call(f"sip:bob@{host}{transport}"):
            pytest.fail("the call was answered")
    assert caught.value.attempts
    with pytest.raises(TransportError, match=host):
        await alice.options(f"sip:bob@{host}{transport}")
    assert (await alice.options(str(bob.contact))).status == 200
    assert alice.calls == []


async def test_the_next_address_is_tried_with_a_new_branch(
    make_endpoint, resolves, closed_port, peer
):
    alice = await make_endpoint("alice")
    resolves([Hop("UDP", LOOPBACK, closed_port), Hop("UDP", LOOPBACK, peer.port)])
    asking = asyncio.get_running_loop().create_task(alice.options("sip:bob@two.example"))
    request = await peer.receive()
    peer.answer(request, 200)
    assert (await asking).status == 200
    first, second = alice.messages.requests("OPTIONS").sent()
    assert first.message.via.branch != second.message.via.branch
    assert first.message.cseq == second.message.cseq
    assert first.message.call_id == second.message.call_id


async def test_a_silent_first_address_is_left_after_timer_f(
    make_endpoint, hasty_stack, resolves, silent_port, peer
):
    alice = await make_endpoint("alice", on=hasty_stack)
    hops = [Hop("UDP", LOOPBACK, silent_port), Hop("UDP", LOOPBACK, peer.port)]
    resolves(hops, on=hasty_stack)
    asking = asyncio.get_running_loop().create_task(alice.options("sip:bob@two.example"))
    peer.answer(await peer.receive(), 200)
    assert (await asking).status == 200


async def test_a_request_nobody_answers_times_out(make_endpoint, hasty_stack, silent_port):
    alice = await make_endpoint("alice", on=hasty_stack)
    with pytest.raises(CallTimedOut) as caught:
        await alice.options(f"sip:bob@{LOOPBACK}:{silent_port}")
    assert caught.value.timer == "F"


async def test_a_call_given_up_rings_at_no_further_address(
    make_endpoint, hasty_stack, resolves, silent_port, peer
):
    alice = await make_endpoint("alice", on=hasty_stack)
    hops = [Hop("UDP", LOOPBACK, silent_port), Hop("UDP", LOOPBACK, peer.port)]
    resolves(hops, on=hasty_stack)
    call = await alice.invite("sip:bob@two.example")
    await asyncio.sleep(0)
    async with asyncio.timeout(PATIENCE):
        await call.bye()
    assert {entry.peer for entry in alice.messages.sent()} <= {f"{LOOPBACK}:{silent_port}"}
    assert call.report().to_dict()["outcome"] != "SUCCESS"
    with pytest.raises(CallCancelled):
        await call.answered()


async def test_a_call_given_up_while_its_target_is_looked_up_is_never_sent(
    make_endpoint, resolves, stack, peer
):
    alice = await make_endpoint("alice")
    alice._face_target = lambda uri: asyncio.sleep(0, Hop("UDP", LOOPBACK, 5060))
    late = asyncio.get_running_loop().create_future()
    resolves(late)
    call = await alice.invite("sip:bob@late.example")
    async with asyncio.timeout(PATIENCE):
        await call.bye()
    assert call.report().to_dict()["outcome"] == "CALL_FAILED"
    late.set_result([Hop("UDP", LOOPBACK, peer.port)])
    for _ in range(3):
        await asyncio.sleep(0)
    assert len(alice.messages.requests("INVITE")) == 0
    assert stack._dispatch._cancelled == set()


async def test_a_request_of_an_endpoint_that_left_meanwhile_is_never_sent(stack, resolves, peer):
    late = asyncio.get_running_loop().create_future()
    async with Endpoint(EndpointConfig(f"sip:alice@{LOOPBACK}"), stack) as alice:
        alice._face_target = lambda uri: asyncio.sleep(0, Hop("UDP", LOOPBACK, 5060))
        resolves(late)
        asking = asyncio.get_running_loop().create_task(alice.options("sip:bob@late.example"))
        await asyncio.sleep(0)
    late.set_result([Hop("UDP", LOOPBACK, peer.port)])
    for _ in range(3):
        await asyncio.sleep(0)
    assert len(alice.messages) == 0
    assert stack.idle
    asking.cancel()


# life


async def test_a_stack_and_an_endpoint_are_entered_once_at_a_time(stack, make_endpoint):
    alice = await make_endpoint("alice")
    with pytest.raises(LocalProtocolError, match="already running"):
        await stack.__aenter__()
    with pytest.raises(LocalProtocolError, match="already running"):
        await alice.__aenter__()
    with pytest.raises(ConfigurationError, match="'alice' is taken"):
        stack.attach(alice)


async def test_an_endpoint_needs_a_running_stack():
    stack = Stack(StackConfig(bind=LOOPBACK))
    alice = Endpoint(EndpointConfig(f"sip:alice@{LOOPBACK}"), stack)
    with pytest.raises(LocalProtocolError, match="enter the stack"):
        await alice.__aenter__()
    assert not alice.running
    with pytest.raises(LocalProtocolError, match="enter the endpoint"):
        await Endpoint(EndpointConfig(f"sip:alice@{LOOPBACK}")).options("bob")
    leftover = asyncio.sleep(0)
    with pytest.raises(LocalProtocolError, match="not running"):
        stack.start_task(leftover)
    leftover.close()


async def test_an_endpoint_can_be_entered_again(stack, make_endpoint):
    bob = await make_endpoint("bob")
    alice = Endpoint(EndpointConfig(f"sip:alice@{LOOPBACK}"), stack)
    for _ in range(2):
        async with alice:
            assert alice.running
            call = await bob.invite(str(alice.contact))
            incoming = await alice.next_call(PATIENCE)
            incoming.reject(486)
            async with asyncio.timeout(PATIENCE):
                await call.ended()
        with pytest.raises(LocalProtocolError):
            await alice.next_call(1)


async def test_a_port_that_is_taken_leaves_nothing_open(silent_port):
    stack = Stack(StackConfig(bind=LOOPBACK, port=silent_port))
    with pytest.raises(ConnectionFailed, match=str(silent_port)):
        await stack.__aenter__()
    await stack.__aexit__(None, None, None)


async def test_leaving_with_calls_up_hangs_up(stack, make_endpoint):
    bob = await make_endpoint("bob")
    async with Endpoint(EndpointConfig(f"sip:alice@{LOOPBACK}"), stack) as alice:
        answered = await alice.invite(str(bob.contact))
        incoming = await bob.next_call(PATIENCE)
        await incoming.answer()
        ringing = await alice.invite(str(bob.contact))
        waiting = await bob.next_call(PATIENCE)
        called = await bob.invite(str(alice.contact))
        await alice.next_call(PATIENCE)
    async with asyncio.timeout(PATIENCE):
        for call in (answered, incoming, ringing, waiting, called):
            await call.ended()
    assert len(alice.messages.requests("BYE").sent()) == 1
    assert len(alice.messages.requests("CANCEL").sent()) == 1
    assert called.report().to_dict()["final_status_code"] == 480
    assert stack.media.streams == []


async def test_a_call_that_comes_while_leaving_is_refused(stack, make_endpoint):
    alice, bob = await make_endpoint("alice"), await make_endpoint("bob")
    bob._exit, leaving = None, bob._exit
    call = await alice.invite(str(bob.contact))
    async with asyncio.timeout(PATIENCE):
        await call.ended()
    bob._exit = leaving
    assert call.report().to_dict()["final_status_code"] == 480


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt, CallCancelled])
async def test_an_exception_in_the_body_comes_out_as_itself(error):
    with pytest.raises(error) as caught:
        async with Endpoint(EndpointConfig(f"sip:alice@{LOOPBACK}")):
            raise error("x")
    assert type(caught.value) is error


async def test_a_cancelled_body_is_cancelled():
    entered = asyncio.Event()

    async def linger():
        async with Endpoint(EndpointConfig(f"sip:alice@{LOOPBACK}")):
            entered.set()
            await asyncio.Event().wait()

    lingering = asyncio.get_running_loop().create_task(linger())
    await entered.wait()
    lingering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await lingering


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


# what is asked wrongly


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (lambda: EndpointConfig("sip:alice@exa mple"), "aor"),
        (lambda: EndpointConfig("sip:alice@b", registrar="exa mple"), "registrar"),
        (lambda: EndpointConfig("sip:alice@b", outbound_proxy="exa mple"), "outbound_proxy"),
    ],
)
def test_an_endpoint_that_cannot_work_is_refused(config, message):
    with pytest.raises(ConfigurationError, match=message):
        Endpoint(config())


@pytest.mark.parametrize("target", ["exa mple", "tel:+15551234", "bob@exa mple", ""])
async def test_a_target_that_is_no_sip_uri_is_refused(make_endpoint, target):
    alice = await make_endpoint("alice")
    with pytest.raises(ConfigurationError, match="SIP URI"):
        await alice.invite(target)
    with pytest.raises(ConfigurationError, match="SIP URI"):
        await alice.options(target)


@pytest.mark.parametrize(
    ("target", "uri"),
    [
        ("bob", "sip:bob@127.0.0.1"),
        ("bob@example.com", "sip:bob@example.com"),
        ("bob@example.com:5070", "sip:bob@example.com:5070"),
        ("sips:bob@example.com", "sips:bob@example.com"),
    ],
)
async def test_a_short_target_is_completed(make_endpoint, target, uri):
    alice = await make_endpoint("alice")
    assert str(alice._target(target)) == uri


async def test_header_fields_that_cannot_be_sent_leave_no_call_behind(make_endpoint, stack):
    alice = await make_endpoint("alice")
    with pytest.raises(LocalProtocolError):
        await alice.invite("bob", headers={"X-Wish": "a\r\nVia: b"})
    assert alice.calls == []
    assert len(alice.core) == 0
    assert stack.media.streams == []


async def test_nobody_calls_in_time(make_endpoint):
    alice = await make_endpoint("alice")
    with pytest.raises(CallTimedOut, match=r"0\.01 s"):
        await alice.next_call(0.01)


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
