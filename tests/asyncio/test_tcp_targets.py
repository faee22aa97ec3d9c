"""Requests on their way through TCP targets: which is next, and who may turn them away."""

from __future__ import annotations

import asyncio
import socket

import pytest

from callmeter.config import EndpointConfig, StackConfig, TimerConfig, Transport
from callmeter.endpoint import Endpoint
from callmeter.errors import CallCancelled, CallmeterError, CallRejected
from callmeter.sip.framing import StreamFramer
from callmeter.sip.server_location import Target
from callmeter.sip.transaction.effects import Hop
from callmeter.stack import Stack

LOOPBACK = "127.0.0.1"
PATIENCE = 20
HASTY = TimerConfig(t1=3 / 64, t2=0.05, t4=0.05, ring_timeout=5)
SDP = (
    f"v=0\r\no=- 1 1 IN IP4 {LOOPBACK}\r\ns=-\r\nc=IN IP4 {LOOPBACK}\r\nt=0 0\r\n"
    "m=audio 9 RTP/AVP 0\r\n"
)
JSON = ("Content-Type", "application/sdp")


class Server:
    """A TCP server that says what it is told to."""

    def __init__(self, listener):
        self._listener = listener
        self.port = listener.getsockname()[1]
        self.hop = Hop("TCP", LOOPBACK, self.port)
        self.uri = f"sip:bob@{LOOPBACK}:{self.port};transport=tcp"
        self.peer = None
        self._framer = None
        self._items = []

    async def accept(self):
        async with asyncio.timeout(PATIENCE):
            loop = asyncio.get_running_loop()
            self.peer, _ = await loop.sock_accept(self._listener)
        self._framer, self._items = StreamFramer(), []

    async def receive(self):
        if self.peer is None:
            await self.accept()
        async with asyncio.timeout(PATIENCE):
            while not self._items:
                data = await asyncio.get_running_loop().sock_recv(self.peer, 65_536)
                assert data, "the connection has ended"
                self._items += self._framer.feed(data)
        return self._items.pop(0)

    async def send(self, message):
        data = message if isinstance(message, bytes) else message.to_bytes()
        await asyncio.get_running_loop().sock_sendall(self.peer, data)

    async def answer(self, request, status, headers=(), body=b""):
        response = request.create_response(status, to_tag="b", headers=headers)
        response.body = body
        await self.send(response)

    async def accept_call(self, invite):
        contact = ("Contact", f"<{self.uri}>")
        await self.answer(invite, 200, [contact, JSON], SDP.encode())

    def in_dialog(self, method, invite, number, *, via=None, branch="x"):
        """A request of ours in the dialog that the INVITE began."""
        target = invite.contacts[0].uri
        via = via or f"SIP/2.0/TCP {LOOPBACK}:{self.port};branch=z9hG4bK{branch}{number}"
        lines = (
            f"{method} {target} SIP/2.0\r\nVia: {via}\r\nMax-Forwards: 70\r\n"
            f"From: {invite.headers.get('To')};tag=b\r\nTo: {invite.headers.get('From')}\r\n"
            f"Call-ID: {invite.call_id}\r\nCSeq: {number} {method}\r\nContent-Length: 0\r\n\r\n"
        )
        return lines.encode()

    def close(self):
        if self.peer is not None:
            self.peer.close()
            self.peer = None


@pytest.fixture
def make_server():
    made = []

    def make():
        listener = socket.create_server((LOOPBACK, 0))
        listener.settimeout(0)
        made.append((listener, Server(listener)))
        return made[-1][1]

    yield make
    for listener, server in made:
        server.close()
        listener.close()


@pytest.fixture
def make_alice(entered):
    async def make(*, listens=(Transport.UDP, Transport.TCP), transport=Transport.TCP):
        config = StackConfig(bind=LOOPBACK, transports=listens, timers=HASTY)
        stack = await entered.enter_async_context(Stack(config))
        settings = EndpointConfig(f"sip:alice@{LOOPBACK}", transport=transport)
        return await entered.enter_async_context(Endpoint(settings, stack))

    return make


@pytest.fixture
def closed_tcp():
    with socket.socket() as bound:  # which does not listen
        bound.bind((LOOPBACK, 0))
        yield Hop("TCP", LOOPBACK, bound.getsockname()[1])


def start(work):
    return asyncio.get_running_loop().create_task(work)


@pytest.mark.parametrize("listens", [(Transport.UDP,), (Transport.UDP, Transport.TCP)])
async def test_a_target_that_refuses_is_left_for_the_next(
    make_alice, make_server, resolves, closed_tcp, listens
):
    alice, server = await make_alice(listens=listens), make_server()
    resolves([closed_tcp, server.hop], on=alice.stack)
    asking = start(alice.options("sip:bob@two.example"))
    await server.answer(await server.receive(), 200)
    assert (await asking).status == 200


@pytest.mark.parametrize("trying", [False, True])
async def test_a_503_goes_to_the_next_target_with_a_new_branch(
    make_alice, make_server, resolves, trying
):
    alice, first, second = await make_alice(), make_server(), make_server()
    resolves([first.hop, second.hop], on=alice.stack)
    asking = start(alice.options("sip:bob@two.example"))
    request = await first.receive()
    if trying:
        # The word of a proxy, whose own next hop has no room.
        await first.answer(request, 100)
    await first.answer(request, 503, [("Retry-After", "7")])
    again = await second.receive()
    assert again.via.branch != request.via.branch
    assert again.cseq == request.cseq
    await second.answer(again, 200)
    assert (await asking).status == 200


async def test_a_503_after_ringing_is_the_callees_own_word(make_alice, make_server, resolves):
    alice, first, second = await make_alice(), make_server(), make_server()
    resolves([first.hop, second.hop], on=alice.stack)
    call = await alice.invite("sip:bob@two.example")
    async with call:
        invite = await first.receive()
        await first.answer(invite, 180)
        await first.answer(invite, 503)
        with pytest.raises(CallRejected, match="503"):
            await call.answered(PATIENCE)
    assert second.peer is None


async def test_the_last_targets_503_is_shown(make_alice, make_server):
    alice, server = await make_alice(), make_server()
    asking = start(alice.options(server.uri))
    await server.answer(await server.receive(), 503)
    assert (await asking).status == 503


async def test_a_call_given_up_while_it_connects_is_never_sent(make_alice, resolves, make_server):
    """After a 503 of the first target, with the second still connecting."""
    alice = await make_alice(listens=(Transport.UDP,))
    first = make_server()
    with socket.socket() as full, socket.socket() as filler:
        full.bind((LOOPBACK, 0))
        full.listen(0)
        filler.settimeout(0)
        filler.connect_ex(full.getsockname())
        slow = Hop("TCP", *full.getsockname())
        resolves([first.hop, slow], on=alice.stack)
        call = await alice.invite("sip:bob@two.example")
        await first.answer(await first.receive(), 503)
        await asyncio.sleep(0.05)
        async with call:
            await call.bye()
            with pytest.raises(CallCancelled):
                await call.answered(PATIENCE)
        assert call.report().to_dict()["call_result"] != "answered"
        assert len(alice.messages.requests("INVITE").sent()) == 1
        assert not alice.messages.requests("CANCEL").sent()


async def test_a_telephone_number_without_a_server_cannot_be_sent_to(make_alice):
    alice = await make_alice()
    with pytest.raises(CallmeterError, match="tel:"):
        await alice.options("tel:+4930123456")


async def test_requests_in_a_dialog_go_back_by_the_connection_the_peer_opened(
    make_alice, make_server
):
    alice, server = await make_alice(listens=(Transport.UDP,)), make_server()
    call = await alice.invite(server.uri)
    async with call:
        invite = await server.receive()
        await server.accept_call(invite)
        await call.answered(PATIENCE)
        assert (await server.receive()).method == "ACK"
        # The 2xx again, by a connection that alice's ACK finds closed: she opens a new one.
        server.close()
        await asyncio.sleep(0.05)
        leaving = start(call.bye())
        bye = await server.receive()
        assert bye.method == "BYE"
        await server.answer(bye, 200)
        await leaving
    assert server.peer is not None


async def test_knowing_the_call_id_is_not_enough_to_draw_a_dialog_away(make_alice, make_server):
    alice, server = await make_alice(), make_server()
    call = await alice.invite(server.uri)
    async with call:
        invite = await server.receive()
        await server.accept_call(invite)
        await call.answered(PATIENCE)
        await server.receive()
        thief = socket.create_connection(alice.stack.transport.listening("TCP"))
        with thief:
            thief.settimeout(0)
            loop = asyncio.get_running_loop()
            stolen = server.in_dialog("OPTIONS", invite, 9).replace(b";tag=", b";tag=not")
            await loop.sock_sendall(thief, stolen)
            async with asyncio.timeout(PATIENCE):
                assert (await loop.sock_recv(thief, 4_096)).startswith(b"SIP/2.0 481")
            leaving = start(call.bye())
            bye = await server.receive()
            assert bye.method == "BYE"
            await server.answer(bye, 200)
            await leaving


@pytest.mark.parametrize("behind_a_proxy", [False, True])
async def test_a_dialog_follows_its_peer_to_a_new_connection(
    make_alice, make_server, behind_a_proxy
):
    alice, server = await make_alice(), make_server()
    call = await alice.invite(server.uri)
    async with call:
        invite = await server.receive()
        await server.accept_call(invite)
        await call.answered(PATIENCE)
        await server.receive()
        moved = socket.create_connection(alice.stack.transport.listening("TCP"))
        with moved:
            moved.settimeout(0)
            loop = asyncio.get_running_loop()
            via = None
            if behind_a_proxy:
                # Not the next hop of the dialog: it only passed this one request on.
                via = f"SIP/2.0/TCP 192.0.2.7:5060;branch=z9hG4bKp, SIP/2.0/TCP {LOOPBACK}"
                via += ";branch=z9hG4bKq"
            await loop.sock_sendall(moved, server.in_dialog("INFO", invite, 9, via=via))
            async with asyncio.timeout(PATIENCE):
                await loop.sock_recv(moved, 4_096)
            leaving = start(call.bye())
            if behind_a_proxy:
                bye = await server.receive()
                await server.answer(bye, 200)
            else:
                async with asyncio.timeout(PATIENCE):
                    (bye,) = StreamFramer().feed(await loop.sock_recv(moved, 4_096))
                response = bye.create_response(200, to_tag="b")
                await loop.sock_sendall(moved, response.to_bytes())
            assert bye.method == "BYE"
            await leaving


async def test_a_re_invite_on_a_dead_connection_is_cancelled_by_another(
    make_alice, make_server, until
):
    alice, server = await make_alice(), make_server()
    call = await alice.invite(server.uri)
    async with asyncio.timeout(PATIENCE), call:
        invite = await server.receive()
        await server.accept_call(invite)
        await call.answered(PATIENCE)
        await server.receive()
        moved = Server(server._listener)
        moved.peer = socket.create_connection(alice.stack.transport.listening("TCP"))
        moved.peer.settimeout(0)
        moved._framer = StreamFramer()
        await moved.send(server.in_dialog("INFO", invite, 9))
        assert (await moved.receive()).status == 200
        holding = start(call.hold())
        reinvite = await moved.receive()
        await moved.answer(reinvite, 180)
        await until(lambda: alice.messages.received()[-1].text.startswith("SIP/2.0 180"))
        # It has died, and nobody has noticed yet.
        pool = alice.stack.transport.pool
        for connection in list(pool._live.values()):
            connection.close()
            pool._drop(connection, finished=True)
        leaving = start(call.bye())
        moved.close()
        server.close()
        bye = await server.receive()
        await server.answer(bye, 200)
        cancel = await server.receive()
        await server.answer(cancel, 200)
        assert (bye.method, cancel.method) == ("BYE", "CANCEL")
        assert cancel.via.branch == reinvite.via.branch
        await server.answer(reinvite, 487)
        await leaving
        with pytest.raises(CallmeterError):
            await holding


async def test_an_unreadable_via_below_the_first_does_no_harm(make_alice, make_server):
    alice, server = await make_alice(), make_server()
    call = await alice.invite(server.uri)
    async with call:
        invite = await server.receive()
        await server.accept_call(invite)
        await call.answered(PATIENCE)
        await server.receive()
        bad = f"SIP/2.0/TCP {LOOPBACK}:{server.port};branch=z9hG4bKbad;alias, nonsense"
        await server.send(server.in_dialog("INFO", invite, 9, via=bad))
        leaving = start(call.bye())
        while (request := await server.receive()).is_request is False:
            pass
        assert request.method == "BYE"
        await server.answer(request, 200)
        await leaving


async def test_a_callee_may_be_somewhere_else_than_who_passed_the_call_on(make_alice, make_server):
    alice = await make_alice(listens=(Transport.UDP,))
    proxy, callee = make_server(), make_server()
    call = await alice.invite(proxy.uri)
    async with call:
        invite = await proxy.receive()
        await proxy.answer(invite, 200, [("Contact", f"<{callee.uri}>"), JSON], SDP.encode())
        await call.answered(PATIENCE)
        assert (await callee.receive()).method == "ACK"
        leaving = start(call.bye())
        bye = await callee.receive()
        assert bye.method == "BYE"
        # Whoever gets it sees where it came from, by the connection it came on.
        assert bye.via.port == callee.peer.getpeername()[1]
        await callee.answer(bye, 200)
        await leaving


@pytest.mark.parametrize("where", ["closed", "sip:bob@nowhere.invalid"])
async def test_a_callee_that_cannot_be_reached_is_lost_without_harm(
    make_alice, make_server, closed_tcp, until, where
):
    alice, server = await make_alice(listens=(Transport.UDP,)), make_server()
    target = f"sip:bob@{LOOPBACK}:{closed_tcp.port};transport=tcp" if where == "closed" else where
    call = await alice.invite(server.uri)
    async with asyncio.timeout(PATIENCE), call:
        invite = await server.receive()
        await server.answer(invite, 200, [("Contact", f"<{target}>"), JSON], SDP.encode())
        await call.answered(PATIENCE)
        await until(lambda: alice.stack._dispatch.unreachable)
    assert alice.calls == []
    assert not alice.messages.requests("ACK").sent()
    await until(lambda: alice.stack.idle)


@pytest.mark.parametrize("listens", [(Transport.UDP,), (Transport.UDP, Transport.TCP)])
async def test_the_ack_of_a_2xx_goes_to_the_next_target_when_the_first_is_gone(
    make_alice, make_server, resolves, closed_tcp, listens, until
):
    alice, server, second = await make_alice(listens=listens), make_server(), make_server()
    calling = start(alice.invite(server.uri))
    invite = await server.receive()
    call = await calling
    resolves([closed_tcp, second.hop], on=alice.stack)
    server.uri = "sip:bob@two.example;transport=tcp"
    await server.accept_call(invite)
    ack = await second.receive()
    assert (ack.method, ack.call_id) == ("ACK", invite.call_id)
    ending = start(call.bye())
    await second.answer(await second.receive(), 200)
    await ending
    await until(lambda: not len(alice.core))


async def test_an_ack_that_no_target_takes_is_counted(
    make_alice, make_server, resolves, closed_tcp, until
):
    alice, server = await make_alice(), make_server()
    calling = start(alice.invite(server.uri))
    invite = await server.receive()
    call = await calling
    resolves([closed_tcp, closed_tcp], on=alice.stack)
    server.uri = "sip:bob@two.example;transport=tcp"
    await server.accept_call(invite)
    await until(lambda: alice.stack._dispatch.unreachable == 1)
    await call.bye()
    assert call.report().to_dict()["outcome"] != "SUCCESS"
    await until(lambda: not len(alice.core))


async def test_a_datagram_target_that_did_not_take_an_ack_comes_last_from_then_on(
    make_alice, closed_port, silent_port
):
    alice = await make_alice()
    targets = [
        Target(Transport.UDP, "two.example", LOOPBACK, port, "two.example")
        for port in (closed_port, silent_port)
    ]
    alice.stack.on_unreachable(Hop("UDP", LOOPBACK, closed_port), "Connection refused")
    health = alice.stack.transport.resolver._health
    assert list(health.usable(targets, alice.stack.now)) == targets[::-1]


async def test_the_response_of_a_cancel_is_nobodys_concern(make_alice, make_server):
    alice, server = await make_alice(), make_server()
    call = await alice.invite(server.uri)
    async with call:
        invite = await server.receive()
        await server.answer(invite, 180)
        leaving = start(call.bye())
        cancel = await server.receive()
        assert cancel.method == "CANCEL"
        assert cancel.via.branch == invite.via.branch
        await server.answer(cancel, 503)
        await server.answer(invite, 487)
        assert (await server.receive()).method == "ACK"
        await leaving


async def test_a_cancel_whose_connection_is_lost_leaves_its_invite_to_its_timers(
    make_alice, make_server, until
):
    alice, server = await make_alice(), make_server()
    call = await alice.invite(server.uri)
    async with asyncio.timeout(PATIENCE), call:
        invite = await server.receive()
        await server.answer(invite, 180)
        leaving = start(call.bye())
        assert (await server.receive()).method == "CANCEL"
        server.close()
        await leaving
    await until(lambda: alice.stack.idle)
