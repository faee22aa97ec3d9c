"""SIP over one UDP socket."""

from __future__ import annotations

import asyncio
import errno
import socket

import pytest

from callmeter.errors import ConnectionFailed, MessageTooLarge
from callmeter.sip.transaction.effects import Hop
from callmeter.transport import udp
from callmeter.transport.udp import DRAIN, UdpTransport, local_address_towards

LOOPBACK = "127.0.0.1"
PATIENCE = 20
MAX_PAYLOAD = 65_507
"""What fits into a datagram by IPv4."""


class User:
    """Keeps what arrives."""

    def __init__(self):
        self.datagrams = []
        self.unreachable = []
        self.something = asyncio.Event()

    def on_datagram(self, data, source):
        self.datagrams.append((data, source))
        self.something.set()

    def on_unreachable(self, destination, error):
        self.unreachable.append((destination, error))
        self.something.set()

    async def has(self, count):
        async with asyncio.timeout(PATIENCE):
            while len(self.datagrams) + len(self.unreachable) < count:
                self.something.clear()
                await self.something.wait()


@pytest.fixture
def user():
    return User()


@pytest.fixture
def make_transport():
    opened = []

    def make(user, bind=LOOPBACK, port=0, **more):
        opened.append(UdpTransport(asyncio.get_running_loop(), user, bind, port, **more))
        return opened[-1]

    yield make
    for transport in opened:
        transport.close()


@pytest.fixture
async def transport(make_transport, user):
    return make_transport(user)


@pytest.fixture
def client():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound:
        bound.bind((LOOPBACK, 0))
        bound.settimeout(PATIENCE)
        yield bound


def hop(address):
    return Hop("UDP", address[0], address[1])


class Stubborn:
    """A socket that fails to send as often as told, and is the real one otherwise."""

    def __init__(self, real, errors):
        self._real = real
        self._errors = list(errors)

    def __getattr__(self, name):
        return getattr(self._real, name)

    def sendto(self, data, address):
        if self._errors:
            raise self._errors.pop(0)
        return self._real.sendto(data, address)

    def sendmsg(self, *arguments):
        if self._errors and (error := self._errors.pop(0)):
            raise error
        return self._real.sendmsg(*arguments)


@pytest.mark.parametrize("bind", [LOOPBACK, "::1"])
async def test_datagrams_travel_both_ways(make_transport, bind):
    here, there = User(), User()
    near, far = make_transport(here, bind), make_transport(there, bind)
    near.send(b"ping", hop(far.local))
    await there.has(1)
    assert there.datagrams == [(b"ping", hop(near.local))]
    far.send(b"pong", there.datagrams[0][1])
    await here.has(1)
    assert here.datagrams == [(b"pong", hop(far.local))]


async def test_whatever_a_datagram_holds_is_passed_on(transport, user, client):
    octets = [b"", b"\0", b"\r\n\r\n", b"\xff" * 1400, bytes(range(256)), b"x" * MAX_PAYLOAD]
    for data in octets:
        client.sendto(data, transport.local)
    await user.has(len(octets))
    assert [data for data, _ in user.datagrams] == octets
    assert {source for _, source in user.datagrams} == {hop(client.getsockname())}


async def test_a_flood_does_not_starve_the_loop(transport, user, client):
    for number in range(3 * DRAIN):
        client.sendto(b"%d" % number, transport.local)
    turns = []
    async with asyncio.timeout(PATIENCE):
        while len(user.datagrams) < 3 * DRAIN:
            await asyncio.sleep(0)
            turns.append(len(user.datagrams))
    steps = [after - before for before, after in zip([0, *turns], turns, strict=False)]
    assert max(steps) == DRAIN


async def test_a_closed_port_is_told_by_its_address(transport, user, closed_port):
    transport.send(b"x", Hop("UDP", LOOPBACK, closed_port))
    await user.has(1)
    assert user.unreachable == [
        (Hop("UDP", LOOPBACK, closed_port), f"UDP {LOOPBACK}:{closed_port}: Connection refused")
    ]


async def test_a_closed_port_on_ipv6_is_told_by_its_address(make_transport, user):
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as bound:
        bound.bind(("::1", 0))
        port = bound.getsockname()[1]
        bound.connect(("::1", port))  # what others send has no socket here
        make_transport(user, "::1").send(b"x", Hop("UDP", "::1", port))
        await user.has(1)
    assert user.unreachable == [(Hop("UDP", "::1", port), f"UDP [::1]:{port}: Connection refused")]


async def test_an_error_of_one_destination_does_not_fail_the_next(
    transport, user, client, closed_port
):
    for _ in range(5):
        transport.send(b"x", Hop("UDP", LOOPBACK, closed_port))
        transport.send(b"y", hop(client.getsockname()))
        assert client.recv(10) == b"y"
    await user.has(5)
    assert {where.port for where, _ in user.unreachable} == {closed_port}


async def test_what_arrives_beside_an_error_is_not_lost(transport, user, client, closed_port):
    transport.send(b"x", Hop("UDP", LOOPBACK, closed_port))
    client.sendto(b"y", transport.local)
    await user.has(2)
    assert [data for data, _ in user.datagrams] == [b"y"]
    assert len(user.unreachable) == 1


async def test_a_message_no_datagram_holds_is_refused(transport, user, client):
    with pytest.raises(MessageTooLarge, match="65508 octets") as caught:
        transport.send(b"x" * (MAX_PAYLOAD + 1), hop(client.getsockname()))
    assert caught.value.destination == f"UDP {LOOPBACK}:{client.getsockname()[1]}"


async def test_a_message_the_path_does_not_hold_is_refused(transport, client, monkeypatch):
    error = OSError(errno.EMSGSIZE, "Message too long")
    monkeypatch.setattr(transport, "_socket", Stubborn(transport._socket, [error]))
    with pytest.raises(MessageTooLarge, match="4 octets"):
        transport.send(b"long", hop(client.getsockname()))


async def test_a_network_that_refuses_is_told_in_its_words(transport, client, monkeypatch):
    error = OSError(errno.ENETUNREACH, "Network is unreachable")
    monkeypatch.setattr(transport, "_socket", Stubborn(transport._socket, [error]))
    with pytest.raises(ConnectionFailed, match="Network is unreachable") as caught:
        transport.send(b"x", hop(client.getsockname()))
    assert caught.value.destination.startswith("UDP 127.0.0.1:")


async def test_what_the_own_address_has_no_way_to_is_said_to_be_out_of_its_reach(
    transport, client, monkeypatch
):
    error = OSError(errno.EINVAL, "Invalid argument")
    monkeypatch.setattr(transport, "_socket", Stubborn(transport._socket, [error]))
    words = r"UDP 127\.0\.0\.1:\d+: it cannot be reached from 127\.0\.0\.1"
    with pytest.raises(ConnectionFailed, match=words):
        transport.send(b"x", hop(client.getsockname()))


@pytest.mark.parametrize("bind", [LOOPBACK, "::1"])
async def test_what_is_alike_leaves_in_pieces_and_arrives_one_by_one(make_transport, bind):
    here, there = User(), User()
    near, far = make_transport(here, bind, cuts=True), make_transport(there, bind)
    datagrams = [b"%04d" % number for number in range(150)]
    assert near.send_alike(datagrams, hop(far.local)) == 150
    await there.has(150)
    assert there.datagrams == [(data, hop(near.local)) for data in datagrams]


async def test_a_piece_holds_what_a_kernel_takes(make_transport, client):
    transport = make_transport(User(), cuts=True)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    datagrams = [bytes([number]) * 1400 for number in range(100)]
    assert transport.send_alike(datagrams, hop(client.getsockname())) == 100
    assert [client.recv(2000) for _ in datagrams] == datagrams


async def test_what_cannot_leave_in_one_piece_is_left_to_be_sent_alone(
    make_transport, client, monkeypatch
):
    transport, where = make_transport(User(), cuts=True), hop(client.getsockname())
    too_long = OSError(errno.EINVAL, "Invalid argument")
    monkeypatch.setattr(transport, "_socket", Stubborn(transport._socket, [None, too_long]))
    datagrams = [b"%04d" % number for number in range(udp.MAX_SEGMENTS + 1)]
    assert transport.send_alike(datagrams, where) == udp.MAX_SEGMENTS
    assert [client.recv(10) for _ in datagrams[:-1]] == datagrams[:-1]
    assert transport.send_alike([b"", b""], where) == 0
    assert transport.send_alike([b"x" * udp.MAX_OCTETS] * 2, where) == 0
    assert transport.send_alike([b"x" * MAX_PAYLOAD] * 2, where) == 0
    transport.close()
    assert transport.send_alike(datagrams, where) == 0


async def test_nothing_is_cut_unless_it_is_wanted(transport, client):
    assert transport.send_alike([b"a", b"b"], hop(client.getsockname())) == 0
    client.setblocking(False)  # noqa: FBT003  the socket module's own signature
    with pytest.raises(BlockingIOError):
        client.recv(10)


async def test_a_full_queue_is_counted_as_loss(transport, client, monkeypatch):
    monkeypatch.setattr(transport, "_socket", Stubborn(transport._socket, [BlockingIOError()]))
    transport.send(b"x", hop(client.getsockname()))
    assert transport.dropped_sends == 1
    transport.send(b"y", hop(client.getsockname()))
    assert client.recv(10) == b"y"


async def test_an_address_of_the_other_family_is_refused(transport):
    with pytest.raises(ConnectionFailed):
        transport.send(b"x", Hop("UDP", "::1", 5060))


async def test_after_closing_nothing_is_sent_or_received(transport, user, client):
    local = transport.local
    transport.close()
    transport.close()
    with pytest.raises(ConnectionFailed, match="closed"):
        transport.send(b"x", hop(client.getsockname()))
    client.sendto(b"x", local)
    await asyncio.sleep(0)
    assert user.datagrams == []


async def test_a_user_may_close_it_while_datagrams_wait(make_transport, client):
    class Leaving(User):
        def on_datagram(self, data, source):
            super().on_datagram(data, source)
            transport.close()

    user = Leaving()
    transport = make_transport(user)
    for _ in range(3):
        client.sendto(b"x", transport.local)
    await user.has(1)
    assert len(user.datagrams) == 1


async def test_an_error_without_an_entry_in_the_queue_ends_the_turn(transport, user, monkeypatch):
    class Failing:
        def __init__(self, real):
            self._real = real

        def __getattr__(self, name):
            return getattr(self._real, name)

        def recvfrom(self, size):
            raise OSError(errno.ENOMEM, "no memory")

    monkeypatch.setattr(transport, "_socket", Failing(transport._socket))
    transport._on_readable()
    assert user.datagrams == []


async def test_a_port_that_is_taken_is_named(make_transport, user, transport):
    port = transport.local[1]
    with pytest.raises(ConnectionFailed, match=f"cannot listen on UDP 127.0.0.1:{port}") as caught:
        make_transport(user, port=port)
    assert caught.value.destination == f"UDP 127.0.0.1:{port}"


async def test_a_system_without_error_queues_still_works(make_transport, client, monkeypatch):
    monkeypatch.setattr(udp, "IP_RECVERR", 9999)
    user = User()
    transport = make_transport(user)
    client.sendto(b"x", transport.local)
    await user.has(1)


@pytest.mark.parametrize(("towards", "own"), [("127.0.0.1", "127.0.0.1"), ("::1", "::1")])
def test_the_own_address_is_that_of_the_route(towards, own):
    assert local_address_towards(towards) == own


def test_without_a_route_there_is_no_own_address(monkeypatch):
    def connect(self, address):
        raise OSError(errno.ENETUNREACH, "Network is unreachable")

    monkeypatch.setattr(socket.socket, "connect", connect)
    with pytest.raises(ConnectionFailed, match=r"no route to 192\.0\.2\.1: Network is unreachable"):
        local_address_towards("192.0.2.1", 0)


async def test_read_by_hand_waits_for_the_hand(user, make_transport):
    receiver, sender = make_transport(user), make_transport(User())
    read, drained = User(), []
    receiver.drained = lambda: drained.append(len(user.datagrams))
    with receiver.read_by_hand() as take:
        for _ in range(DRAIN + 3):
            sender.send(b"x", Hop("UDP", *receiver.local))
        # Loopback has delivered before `sendto` returns; a second socket shows that the loop turns.
        other = make_transport(read)
        sender.send(b"y", Hop("UDP", *other.local))
        await read.has(1)
        assert user.datagrams == []
        take()
        assert (len(user.datagrams), drained) == (DRAIN + 3, [DRAIN + 3])
    sender.send(b"z", Hop("UDP", *receiver.local))
    await user.has(DRAIN + 4)


async def test_a_transport_that_is_closed_is_read_by_nobody(user, make_transport):
    receiver, sender = make_transport(user), make_transport(User())
    with receiver.read_by_hand() as take:
        sender.send(b"x", Hop("UDP", *receiver.local))
        receiver.close()
        take()
    assert user.datagrams == []


class Turns:
    """A loop of which the test is the clock; it keeps what is to be done and when."""

    def __init__(self):
        self.now = 100.0
        self.reader = None
        self.later = []

    def time(self):
        return self.now

    def add_reader(self, _descriptor, callback):
        self.reader = callback

    def remove_reader(self, _descriptor):
        self.reader = None

    def call_later(self, delay, callback):
        self.later.append((delay, callback))
        return Cancellable(self, self.later[-1])

    def turn(self):
        """The timer that was set runs."""
        [(delay, callback)] = self.later
        self.later.clear()
        self.now += delay
        callback()


class Cancellable:
    def __init__(self, loop, entry):
        self._loop, self._entry = loop, entry

    def cancel(self):
        if self._entry in self._loop.later:
            self._loop.later.remove(self._entry)


@pytest.fixture
def turns():
    return Turns()


@pytest.fixture
def paced(turns, user):
    transport = UdpTransport(turns, user, LOOPBACK, 0)
    transport.pace_reading(0.01)
    yield transport
    transport.close()


def much(client, transport, count=15):
    for _ in range(count):
        client.sendto(b"x", transport.local)


def test_much_is_read_at_intervals_as_long_as_it_comes(turns, paced, user, client):
    much(client, paced)
    turns.reader()
    assert (turns.reader, turns.later) == (None, [(0.01, paced._on_pace)])
    much(client, paced, DRAIN + 15)
    turns.turn()
    assert len(user.datagrams) == 15 + DRAIN + 15
    assert turns.reader is None
    much(client, paced, 14)
    turns.turn()
    assert len(user.datagrams) == 15 + DRAIN + 15 + 14
    assert (turns.reader, turns.later) == (paced._on_readable, [])


def test_little_is_read_as_it_comes(turns, paced, user, client):
    for count in range(1, 100):
        client.sendto(b"x", paced.local)
        turns.reader()
        turns.now += 0.001
        assert len(user.datagrams) == count
    assert turns.later == []


def test_without_a_pace_all_is_read_as_it_comes(turns, paced, client):
    paced.pace_reading(0)
    much(client, paced, DRAIN)
    turns.reader()
    assert turns.later == []
    assert turns.reader is not None


def test_who_is_closed_between_two_readings_reads_no_more(turns, paced, user, client):
    much(client, paced)
    turns.reader()
    paced.close()
    assert (turns.reader, turns.later) == (None, [])
    assert len(user.datagrams) == 15


def test_who_is_closed_by_what_it_reads_sets_no_timer(turns, paced, user, client):
    much(client, paced)
    turns.reader()
    much(client, paced)
    user.on_datagram = lambda *_: paced.close()
    turns.turn()
    assert (turns.reader, turns.later) == (None, [])


def test_the_hand_takes_over_from_the_interval(turns, paced, user, client):
    much(client, paced)
    turns.reader()
    with paced.read_by_hand() as take:
        assert (turns.reader, turns.later) == (None, [])
        much(client, paced)
        assert take() == 15
    assert (turns.reader, turns.later) == (paced._on_readable, [])
    assert len(user.datagrams) == 30
