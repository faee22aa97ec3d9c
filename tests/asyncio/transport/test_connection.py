"""One TCP connection: framing, keep-alives, deadlines, and how it ends."""

from __future__ import annotations

import asyncio
import errno
import itertools
import socket

import pytest

from callmeter.errors import ConnectionFailed, FlowLost
from callmeter.sip.transaction.effects import Hop
from callmeter.transport.base import Received
from callmeter.transport.connection import ConnectionState

LOOPBACK = "127.0.0.1"
PING, PONG = b"\r\n\r\n", b"\r\n"


def hop_of(listener):
    return Hop("TCP", *listener.getsockname())


def now():
    return asyncio.get_running_loop().time()


class ByHand:
    """The loop of a connection, with a clock that only the test moves.

    It begins with the real one and runs ahead of it: the real sweeps of the pool see nothing due.
    """

    def __init__(self, connection):
        self._connection, self._loop, self._now = connection, connection._loop, now()
        connection._loop = self

    def __getattr__(self, name):
        return getattr(self._loop, name)

    def time(self):
        return self._now

    def moved(self, seconds):
        """Let so much time pass and the connection look at its deadlines; whether that ended it."""
        self._now += seconds
        return self._connection.on_sweep(self._now)


@pytest.fixture
def by_hand():
    """Move the clock of the one connection of a side: `clock = await by_hand(side)`."""

    async def take(side):
        async with asyncio.timeout(20):
            while not side.connections:  # noqa: ASYNC110  there is no event
                await asyncio.sleep(0.005)
        [connection] = side.connections
        return ByHand(connection)

    return take


def send_often(connection, message):
    for _ in range(1_000):
        connection.send(message)


# framing


async def test_messages_that_arrive_octet_by_octet_are_delivered_whole(
    make_side, make_bare, options
):
    side = make_side()
    bare = await make_bare(side)
    sent = options(1) + options(2, b"a body")
    for octet in sent:
        await bare.send(bytes([octet]))
        await asyncio.sleep(0)
    await side.user.until(lambda: len(side.user.messages) == 2)
    assert b"".join(side.user.messages) == sent
    assert {source.connection for source in side.user.sources} == {1}
    assert side.user.sources[0].host == LOOPBACK


async def test_messages_that_arrive_in_one_piece_are_delivered_one_by_one(
    make_side, make_bare, options
):
    side = make_side()
    bare = await make_bare(side)
    many = [options(number, b"x" * 3_000) for number in range(200)]
    await bare.send(b"".join(many))
    await side.user.until(lambda: len(side.user.messages) == 200)
    assert side.user.messages == many


async def test_a_bad_message_is_reported_and_the_next_is_read(make_side, make_bare, options):
    side = make_side()
    bare = await make_bare(side)
    bad = options(1).replace(b"CSeq: 1 OPTIONS", b"CSeq: none")
    await bare.send(options(1) + bad + options(2))
    await side.user.until(lambda: len(side.user.messages) == 2)
    assert len(side.user.syntax_errors) == 1
    assert side.user.lost == []


async def test_a_message_whose_end_is_unknown_ends_the_connection_after_its_answer(
    make_side, make_bare, options
):
    side = make_side()
    bare = await make_bare(side)
    sent = options(1).replace(b"Content-Length: 0", b"Content-Length: 0x10") + b"z" * 100_000

    def refuse(error, source):
        side.user.lost.append("refused")
        side.transport.send(b"SIP/2.0 400 Bad\r\n\r\n", source)

    side.user.on_syntax_error = refuse
    await bare.send(sent)
    # The answer arrives although much of what was sent has never been read.
    assert (await bare.ends()).startswith(b"SIP/2.0 400")
    assert side.user.lost[0] == "refused"
    assert "framing lost" in side.user.lost[1][1]


async def test_what_follows_a_connections_end_is_not_delivered(make_side, make_bare, options):
    side = make_side()
    bare = await make_bare(side)

    def end(data, source):
        side.pool.get(source.connection).fail(FlowLost("enough"))

    side.user.answer = end
    await bare.send(options(1) + PING + options(2))
    await bare.ends()
    assert len(side.user.messages) == 1


# keep-alives


async def test_a_ping_gets_one_crlf_and_a_pong_gets_nothing(make_side, make_bare, options):
    side = make_side()
    side.echo()
    bare = await make_bare(side)
    await bare.send(PING)
    assert await bare.exactly(2) == PONG
    await bare.send(PONG)
    await asyncio.sleep(0.01)
    await bare.send(options(1) + PING + PING)
    assert await bare.exactly(len(options(1)) + 4) == options(1) + PONG * 2


async def test_a_ping_that_comes_octet_by_octet_is_answered_once(make_side, make_bare, options):
    side = make_side()
    side.echo()
    bare = await make_bare(side)
    for octet in PING:
        await bare.send(bytes([octet]))
        await asyncio.sleep(0.002)
    await bare.send(options(1))
    received = await bare.exactly(len(options(1)))
    received += await bare.exactly(2) if received.startswith(PONG) else b""
    assert received in {PONG + options(1), options(1)}


async def test_our_pings_are_sent_in_their_interval_while_pongs_come(make_side, listener, accept):
    side = make_side(listens=False, keep_alive=0.1, pong=5)
    connection = await side.opened(hop_of(listener))
    bare = await accept()
    connection.keep_alive(now())
    for _ in range(3):
        assert await bare.exactly(4) == PING
        await bare.send(PONG)
    assert connection.state is ConnectionState.OPEN
    assert side.user.lost == []


async def test_a_flow_whose_pong_stays_out_is_dead(make_side, listener, accept):
    side = make_side(listens=False, keep_alive=60, pong=0.1)
    connection = await side.opened(hop_of(listener))
    bare = await accept()
    connection.keep_alive(now())
    assert await bare.exactly(4) == PING
    await side.user.until(lambda: side.user.lost)
    assert side.user.lost[0][0] == connection.hop
    assert "no pong" in side.user.lost[0][1]
    assert await bare.ends() == b""


async def test_a_peer_that_never_promised_pongs_may_keep_silent_until_it_sent_one(
    make_side, listener, accept
):
    side = make_side(listens=False, keep_alive=0.05, pong=0.05)
    connection = await side.opened(hop_of(listener))
    bare = await accept()
    connection.keep_alive(now(), interval=0.04, pong_expected=False)
    assert await bare.exactly(8) == PING * 2
    assert connection.state is ConnectionState.OPEN
    await bare.send(PONG)
    await side.user.until(lambda: side.user.lost)
    assert "no pong" in side.user.lost[0][1]


async def test_no_ping_goes_out_before_the_connection_is_open(make_side, listener):
    side = make_side(listens=False, client=lambda hop: (Mute(),), connect=60)
    connection = side.transport.connection(hop_of(listener))
    connection.keep_alive(now())
    connection.on_sweep(now() + 1)
    assert connection.pong_due is None


# deadlines


async def test_a_message_that_is_not_whole_in_time_ends_the_connection(
    make_side, make_bare, options
):
    side = make_side(message=0.2)
    bare = await make_bare(side)
    await bare.send(options(1)[:50])
    begun = now()
    await bare.ends()
    assert now() - begun < 5
    assert "a message was not whole in 0.2 s" in side.user.lost[0][1]


async def test_dripping_octets_do_not_stretch_the_time_of_a_message(make_side, make_bare, options):
    side = make_side(message=0.2)
    bare = await make_bare(side)
    begun = now()
    for octet in options(1):
        if side.user.lost:
            break
        await bare.send(bytes([octet]))
        await asyncio.sleep(0.02)
    assert now() - begun < 4
    assert "not whole" in side.user.lost[0][1]


async def test_a_busy_peer_with_a_message_always_begun_is_not_cut_off(
    make_side, make_bare, by_hand, options
):
    side = make_side(message=60)
    bare = await make_bare(side)
    clock = await by_hand(side)
    stream = b"".join(options(number) for number in range(40))
    ends = list(itertools.accumulate(len(options(number)) for number in range(40)))
    step = len(options(1)) + 7
    for start in range(0, len(stream), step):
        await bare.send(stream[start : start + step])
        whole = sum(end <= start + step for end in ends)
        await side.user.until(lambda whole=whole: len(side.user.messages) == whole)
        # Each message is whole in time, and two together are not.
        assert not clock.moved(40)
    assert len(side.user.messages) == 40
    assert side.user.lost == []


async def test_who_opens_a_connection_and_says_nothing_loses_it(make_side, make_bare, options):
    side = make_side(message=0.2)
    silent, talking = await make_bare(side), await make_bare(side)
    await talking.send(PONG)
    assert await silent.ends() == b""
    assert "no message came in 0.2 s" in side.user.lost[0][1]
    await talking.send(options(1))
    await side.user.until(lambda: side.user.messages)


async def test_an_accepted_connection_that_idles_is_closed(make_side, make_bare, options):
    side = make_side(idle=0.3)
    bare = await make_bare(side)
    await bare.send(options(1))
    assert await bare.ends() == b""
    assert side.user.lost[0][1].endswith("idle")


async def test_one_of_ours_is_closed_when_nothing_went_by_it_unless_it_is_kept_alive(
    make_side, listener, options
):
    side = make_side(listens=False, idle=0.3)
    plain = await side.opened(hop_of(listener))
    plain.send(options(1))
    kept = await side.opened(Hop("TCP", *listener.getsockname(), name="other"))
    kept.keep_alive(now() + 60)
    await side.user.until(lambda: side.user.lost)
    assert [flow for flow, _ in side.user.lost] == [plain.hop]
    assert kept.state is ConnectionState.OPEN


async def test_a_connection_that_never_opens_is_given_up(make_side, options):
    side = make_side(listens=False, connect=0.2)
    # A listener whose queue is full answers no further SYN.
    with socket.socket() as full, socket.socket() as one, socket.socket() as two:
        full.bind((LOOPBACK, 0))
        full.listen(0)
        for filler in (one, two):
            filler.settimeout(0)
            filler.connect_ex(full.getsockname())
        await asyncio.sleep(0.05)
        hop = Hop("TCP", *full.getsockname())
        side.transport.send(options(1), hop)
        await side.user.until(lambda: side.user.unreachable)
        assert side.user.unreachable == [(hop, f"{hop}: timed out after 0.2 s")]
        assert len(side.pool) == 0


# writing


async def test_what_is_sent_before_the_connection_is_open_waits_in_order(
    make_side, listener, accept, options
):
    side = make_side(listens=False)
    for number in range(3):
        side.transport.send(options(number), hop_of(listener))
    bare = await accept()
    wanted = b"".join(options(number) for number in range(3))
    assert await bare.exactly(len(wanted)) == wanted
    assert len(side.pool) == 1


async def test_a_peer_that_reads_slowly_gets_everything(make_side, listener, accept, options):
    side = make_side(listens=False, write_queue=8_000_000)
    connection = await side.opened(hop_of(listener))
    bare = await accept()
    message = options(1, b"x" * 60_000)
    for _ in range(100):
        connection.send(message)
    received = await bare.exactly(100 * len(message))
    assert received == message * 100
    assert connection.state is ConnectionState.OPEN


async def test_a_peer_that_does_not_read_is_given_up_when_the_queue_is_full(
    make_side, listener, accept, options
):
    side = make_side(listens=False, write_queue=100_000)
    connection = await side.opened(hop_of(listener))
    await accept()
    message = options(1, b"x" * 60_000)
    with pytest.raises(ConnectionFailed, match="the peer does not read"):
        send_often(connection, message)
    assert connection.state is ConnectionState.CLOSED
    assert "does not read" in side.user.lost[0][1]
    with pytest.raises(FlowLost, match="has ended"):
        connection.send(message)


async def test_a_peer_that_pings_and_does_not_read_is_given_up(make_side, make_bare, until):
    side = make_side(write_queue=1_000)
    bare = await make_bare(side)
    await until(lambda: side.connections)
    side.connections[0]._socket = Socket(side.connections[0]._socket, send=[BlockingIOError()])
    await bare.send(PING * 600)
    await side.user.until(lambda: side.user.lost)
    assert "does not read" in side.user.lost[0][1]


async def test_messages_that_wait_for_an_opening_are_capped_too(make_side, listener, options):
    side = make_side(listens=False, write_queue=1_000)
    connection = side.transport.connection(hop_of(listener))
    with pytest.raises(ConnectionFailed, match="octets wait"):
        send_often(connection, options(1))
    assert len(side.pool) == 0


# ends


async def test_a_half_close_lets_the_answers_of_what_came_before_out(make_side, make_bare, options):
    side = make_side()
    side.echo()
    bare = await make_bare(side)
    await bare.send(options(1))
    bare.socket.shutdown(socket.SHUT_WR)
    assert await bare.ends() == options(1)
    assert side.user.lost[0][1].endswith("closed by the peer")
    assert len(side.pool) == 0


async def test_a_reset_while_octets_wait_is_told(make_side, listener, accept, options):
    side = make_side(listens=False, write_queue=10_000_000)
    connection = await side.opened(hop_of(listener))
    bare = await accept()
    for _ in range(100):
        connection.send(options(1, b"x" * 60_000))
    bare.reset()
    await side.user.until(lambda: side.user.lost)
    assert side.user.lost[0][0] == connection.hop
    assert "reset" in side.user.lost[0][1] or "pipe" in side.user.lost[0][1]


async def test_a_message_that_meets_a_reset_is_told_to_its_sender(
    make_side, listener, accept, options
):
    side = make_side(listens=False)
    connection = await side.opened(hop_of(listener))
    (await accept()).reset()
    with pytest.raises(FlowLost, match=r"reset|pipe"):
        send_often(connection, options(1))
    assert len(side.user.lost) == 1


async def test_a_refused_connection_is_told_in_the_systems_words(make_side, closed_tcp, options):
    side = make_side(listens=False)
    hop = Hop("TCP", LOOPBACK, closed_tcp)
    with pytest.raises(ConnectionFailed, match="Connection refused"):
        await side.opened(hop)
    assert side.user.unreachable == [(hop, f"{hop}: Connection refused")]


@pytest.fixture
def closed_tcp():
    with socket.socket() as bound:  # which does not listen
        bound.bind((LOOPBACK, 0))
        yield bound.getsockname()[1]


async def test_a_closed_connection_says_nothing_and_stays_closed(make_side, listener, accept):
    side = make_side(listens=False)
    connection = await side.opened(hop_of(listener))
    bare = await accept()
    connection.close()
    connection.close()
    connection.fail(FlowLost("late"))
    assert not connection.on_sweep(now() + 1_000)
    assert await bare.ends() == b""
    assert side.user.lost == []
    assert connection.failure is None


async def test_a_connection_to_oneself_is_none(make_side, monkeypatch):
    """The system may pick the very port one connects to as the local one."""
    side = make_side(listens=False)
    with socket.socket() as own:
        own.settimeout(0)
        own.bind((LOOPBACK, 0))
        given = lambda family, bind: own
        monkeypatch.setattr("callmeter.transport.connection_pool._client_socket", given)
        with pytest.raises(ConnectionFailed, match="refused"):
            await side.opened(Hop("TCP", *own.getsockname()))


# what the system says, one call failing at a time


class Socket:
    """A socket whose calls do as they are told."""

    def __init__(self, sock, **calls):
        self._sock = sock
        for name, effects in calls.items():
            setattr(self, name, self._call(name, iter(effects)))

    def _call(self, name, effects):
        def call(*arguments):
            effect = next(effects, None)
            if isinstance(effect, Exception):
                raise effect
            return getattr(self._sock, name)(*arguments) if effect is None else effect

        return call

    def __getattr__(self, name):
        return getattr(self._sock, name)


@pytest.mark.parametrize("code", [errno.ENETUNREACH, errno.EADDRNOTAVAIL, errno.EACCES])
async def test_a_connect_the_system_refuses_at_once_raises(make_side, listener, monkeypatch, code):
    side = make_side(listens=False)
    sock = Socket(socket.socket(), connect_ex=[code])
    monkeypatch.setattr(
        "callmeter.transport.connection_pool._client_socket", lambda family, bind: sock
    )
    hop = hop_of(listener)
    with pytest.raises(ConnectionFailed):
        side.transport.connection(hop)
    assert [destination for destination, _ in side.user.unreachable] == [hop]
    assert len(side.pool) == 0


async def test_an_address_of_another_family_is_refused_in_words(make_side):
    side = make_side(listens=False)
    with pytest.raises(ConnectionFailed):
        side.transport.connection(Hop("TCP", "2001:db8::1", 5060))
    unbound = make_side(listens=False, bind="0.0.0.0")
    with pytest.raises(ConnectionFailed):
        unbound.transport.connection(Hop("TCP", "no address", 5060))


async def test_a_connect_that_succeeds_at_once_is_open(make_side, listener, monkeypatch):
    side = make_side(listens=False)
    done = socket.create_connection(listener.getsockname())
    done.settimeout(0)
    sock = Socket(done, connect_ex=[errno.EISCONN])
    monkeypatch.setattr(
        "callmeter.transport.connection_pool._client_socket", lambda family, bind: sock
    )
    assert side.transport.connection(hop_of(listener)).state is ConnectionState.OPEN


@pytest.mark.parametrize("error", [BlockingIOError(), InterruptedError()])
async def test_a_socket_that_is_not_ready_is_tried_again(
    make_side, listener, accept, options, error
):
    side = make_side(listens=False)
    connection = await side.opened(hop_of(listener))
    bare = await accept()
    connection._socket = Socket(connection._socket, send=[error, error], recv=[error])
    connection.send(options(1))
    assert await bare.exactly(len(options(1))) == options(1)
    await bare.send(options(2))
    await side.user.until(lambda: side.user.messages)
    assert side.user.lost == []


@pytest.mark.parametrize("call", ["send", "recv"])
async def test_an_error_of_the_socket_ends_the_connection(
    make_side, listener, accept, options, call
):
    side = make_side(listens=False)
    connection = await side.opened(hop_of(listener))
    bare = await accept()
    waits = [BlockingIOError()] if call == "send" else []
    failing = [*waits, OSError(errno.ETIMEDOUT, "Connection timed out")]
    connection._socket = Socket(connection._socket, **{call: failing})
    connection.send(options(1))
    await bare.send(options(1))
    await side.user.until(lambda: side.user.lost)
    assert side.user.lost[0][1].endswith("Connection timed out")


# byte layers


class Mute:
    """A byte layer that never comes to its end."""

    established = False
    keeps_messages = False

    def start(self):
        return b""

    def receive(self, data):
        return Received()

    def send(self, data):
        return data

    def ping(self):
        return None

    def close(self):
        return b""


class Failing(Mute):
    """Fails where it is told to."""

    def __init__(self, where):
        self.where = where
        self.established = where in {"send", "close", "error", "closed"}

    def start(self):
        return self._fail("start", b"")

    def receive(self, data):
        if data and self.where == "error":
            return Received(error=ConnectionFailed("error"))
        if data and self.where == "closed":
            return Received(closed=True)
        return self._fail("receive", Received())

    def send(self, data):
        return self._fail("send", data)

    def close(self):
        return self._fail("close", b"bye")

    def _fail(self, where, value):
        if where == self.where:
            raise ConnectionFailed(where)
        return value


@pytest.mark.parametrize("where", ["start", "receive", "send", "close", "error", "closed"])
async def test_a_layer_that_fails_ends_the_connection_and_nothing_else(
    make_side, listener, accept, options, where
):
    side = make_side(listens=False, client=lambda hop: (Failing(where),))
    side.transport.send(options(1), hop_of(listener))
    bare = await accept()
    await bare.send(b"x")
    if where == "close":
        side.connections[0].fail(FlowLost("close"))
    user = side.user
    await user.until(lambda: user.lost or user.unreachable)
    ((_, error),) = user.lost or user.unreachable
    assert ("closed by the peer" if where == "closed" else where) in error
    assert len(side.pool) == 0


async def test_a_layer_puts_its_own_words_to_an_end_in_its_handshake(make_side, listener, accept):
    class Picky(Mute):
        def receive(self, data):
            if not data:
                raise ConnectionFailed("no end was agreed on")
            return Received()

    side = make_side(listens=False, client=lambda hop: (Picky(),))
    connection = side.transport.connection(hop_of(listener))
    (await accept()).close()
    with pytest.raises(ConnectionFailed, match="no end was agreed on"):
        await side.pool.opened(connection)


async def test_a_handshake_that_stalls_is_given_up_in_the_words_of_its_layer(make_side, listener):
    class Worded(Mute):
        def timed_out(self, text):
            return ConnectionFailed(f"the handshake {text}")

    for layer, words in ((Worded, "the handshake timed out"), (Mute, "timed out after 0.1 s")):
        side = make_side(listens=False, client=lambda hop, layer=layer: (layer(),), connect=0.1)
        with pytest.raises(ConnectionFailed, match=words):
            await side.opened(hop_of(listener))


async def test_a_layer_with_messages_of_its_own_keeps_their_deadline(
    make_side, make_bare, by_hand, options
):
    class Frames(Mute):
        established = keeps_messages = True

        def receive(self, data):
            *whole, rest = data.split(b"|")
            return Received(data=tuple(whole), pending=bool(rest), outgoing=b"+")

        def ping(self):
            return b"ping"

    side = make_side(server=lambda: (Frames(),), message=60)
    bare = await make_bare(side)
    clock = await by_hand(side)
    for number in range(12):
        await bare.send(options(number) + b"|part")
        await side.user.until(lambda whole=number + 1: len(side.user.messages) == whole)
        assert not clock.moved(40)
    assert side.user.lost == []
    await bare.send(b"bad|" + PING + b"|" + PONG + b"|rest")
    await side.user.until(lambda: side.user.syntax_errors)
    assert not clock.moved(59)
    assert clock.moved(2)
    assert len(side.user.syntax_errors) == 1
    assert "not whole" in side.user.lost[0][1]
    received = await bare.ends()
    assert received.count(b"+") == 13
    assert PONG in received


async def test_a_layers_own_ping_is_sent_and_its_pong_heard(make_side, listener, accept):
    class Pinging(Mute):
        established = True

        def receive(self, data):
            return Received(pong=data == b"pong")

        def ping(self):
            return b"ping"

    side = make_side(listens=False, client=lambda hop: (Pinging(),), keep_alive=0.05, pong=0.2)
    connection = await side.opened(hop_of(listener))
    bare = await accept()
    connection.keep_alive(now(), pong_expected=False)
    assert await bare.exactly(4) == b"ping"
    await bare.send(b"pong")
    assert await bare.exactly(4) == b"ping"
    await side.user.until(lambda: side.user.lost)
    assert "no pong" in side.user.lost[0][1]


async def test_two_layers_start_one_after_the_other(make_side, listener, accept, options):
    class Hello(Mute):
        def __init__(self, word):
            self.word = word

        def start(self):
            return self.word

        def receive(self, data):
            if self.established:
                return Received(data=(data,))
            self.established = True
            return Received(data=(data[1:],) if data[1:] else ())

    side = make_side(listens=False, client=lambda hop: (Hello(b"A"), Hello(b"B")))
    side.transport.send(options(1), hop_of(listener))
    bare = await accept()
    assert await bare.exactly(1) == b"A"
    await bare.send(b"a")
    assert await bare.exactly(1) == b"B"
    await bare.send(b"b")
    assert await bare.exactly(len(options(1))) == options(1)
    connection = side.connections[0]
    assert connection.layer(Hello).word == b"A"
    assert connection.layer(Failing) is None
    assert connection.opened_at is not None
