"""All ways of moving datagrams do the same."""

from __future__ import annotations

import os
import socket
import struct

import numpy as np
import pytest

from callmeter.errors import ConfigurationError
from callmeter.media.arena import MAX_DATAGRAM, Arena
from callmeter.media.datagrams import Received, mmsg, new_backend, uring
from callmeter.media.datagrams.backend import Overflows, SendErrors, head_number
from callmeter.media.ports import bind_socket

LOOPBACK = {4: "127.0.0.1", 6: "::1"}
SLOTS = 256


class Bench:
    """A back-end with an arena and some sockets."""

    def __init__(self, name):
        self.backend = new_backend(name)
        self.arena = Arena(SLOTS)
        self.received = Received(SLOTS)
        self.sockets = []

    def socket(self, version=4, *, listening=True):
        bound = bind_socket(LOOPBACK[version], 0, 0)
        self.sockets.append(bound)
        if listening:
            self.backend.add(bound)
        return bound

    def receive(self):
        self.backend.receive(self.arena, self.received)
        return [self.arena.packet(slot) for slot in range(self.received.count)]

    def close(self):
        for bound in self.sockets:
            self.backend.remove(bound)
            bound.close()
        self.backend.close()


@pytest.fixture
def bench(backend_name):
    made = Bench(backend_name)
    yield made
    made.close()


@pytest.mark.parametrize("version", [4, 6])
def test_datagrams_arrive_whole_with_their_socket_and_source(bench, version):
    first, second = bench.socket(version), bench.socket(version)
    sender = bench.socket(version, listening=False)
    sent = [os.urandom(length) for length in (1, 12, 172, 1200, MAX_DATAGRAM)]
    for number, datagram in enumerate(sent):
        sender.sendto(datagram, (first, second)[number % 2].getsockname())
    datagrams = bench.receive()
    assert sorted(datagrams) == sorted(sent)
    for datagram, descriptor in zip(datagrams, bench.received.descriptors, strict=True):
        assert descriptor == (first, second)[sent.index(datagram) % 2].fileno()
    native = bench.backend.to_native(first, *sender.getsockname()[:2])
    # One alone is asked for before all are, and after.
    assert bench.received.source(len(sent) - 1) == native
    assert set(bench.received.sources) == {native}
    assert bench.received.source(0) == native
    assert bench.backend.to_host_port(native) == sender.getsockname()[:2]
    assert bench.receive() == []


def test_nothing_to_receive_is_nothing(bench):
    assert bench.receive() == []
    bench.socket()
    assert bench.receive() == []


def test_more_datagrams_than_slots_come_with_the_next_call_in_order(bench):
    receiver, sender = bench.socket(), bench.socket(listening=False)
    for number in range(SLOTS + 40):
        sender.sendto(struct.pack("!I", number), receiver.getsockname())
    first, second = bench.receive(), bench.receive()
    assert len(first) == SLOTS
    assert [struct.unpack("!I", one)[0] for one in first + second] == list(range(SLOTS + 40))


def test_many_sockets_with_several_datagrams_each(bench):
    receivers = [bench.socket() for _ in range(30)]
    sender = bench.socket(listening=False)
    for round_number in range(3):
        for number, receiver in enumerate(receivers):
            sender.sendto(bytes([number, round_number]), receiver.getsockname())
    datagrams = bench.receive()
    assert len(datagrams) == 90
    for number in range(30):
        assert [one[1] for one in datagrams if one[0] == number] == [0, 1, 2]


def test_a_datagram_too_long_is_told_by_its_length(bench):
    receiver, sender = bench.socket(), bench.socket(listening=False)
    sender.sendto(bytes(4000), receiver.getsockname())
    sender.sendto(b"next", receiver.getsockname())
    bench.backend.receive(bench.arena, bench.received)
    assert bench.arena.lengths[0] > MAX_DATAGRAM
    assert bench.arena.packet(1) == b"next"


def test_arrivals_are_the_kernel_s(bench):
    receiver, sender = bench.socket(), bench.socket(listening=False)
    # The kernel switches stamping on a moment after the first socket asks.
    for _ in range(200):
        sender.sendto(b"x", receiver.getsockname())
        bench.receive()
    sender.sendto(b"x", receiver.getsockname())
    bench.receive()
    first = bench.received.stamps[0]
    sender.sendto(b"x", receiver.getsockname())
    bench.receive()
    assert 0 <= bench.received.stamps[0] - first < 5
    assert first > 1_600_000_000


def test_a_socket_without_stamps_gives_zero(bench):
    receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    bench.sockets.append(receiver)
    receiver.bind(("127.0.0.1", 0))
    bench.backend.add(receiver)
    bench.socket(listening=False).sendto(b"x", receiver.getsockname())
    assert bench.receive() == [b"x"]
    assert bench.received.stamps[0] == 0


def test_what_the_kernel_threw_away_is_counted(bench):
    receiver, sender = bench.socket(), bench.socket(listening=False)
    receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2304)
    for _ in range(50):
        sender.sendto(bytes(500), receiver.getsockname())
    kept = len(bench.receive())
    sender.sendto(b"last", receiver.getsockname())
    assert bench.receive() == [b"last"]
    lost = bench.backend.overflows.of(receiver.fileno())
    assert kept + lost == 50
    assert lost > 0
    assert bench.received.stamps[0] > 1_600_000_000
    bench.backend.remove(receiver)
    bench.backend.remove(receiver)
    assert bench.backend.overflows.total == lost
    assert bench.backend.overflows.of(receiver.fileno()) == 0


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("lengths", [[172] * 20, [172, 182, 12, 1200] * 5])
def test_slots_are_sent_from_their_sockets_to_their_places(bench, version, lengths):
    receivers = [bench.socket(version) for _ in range(4)]
    senders = [bench.socket(version, listening=False) for _ in range(2)]
    arena = Arena(32)
    outlets, destinations, expected = [], [], []
    for slot, length in enumerate(lengths):
        arena.views[slot][:length] = os.urandom(length)
        arena.lengths[slot] = length
        # Runs of one socket, and changes between them.
        outlets.append(bench.backend.outlet(senders[slot // 3 % 2]))
        receiver = receivers[slot % 4]
        destinations.append(bench.backend.to_native(receiver, *receiver.getsockname()[:2]))
        expected.append((receiver.fileno(), arena.packet(slot)))
    assert bench.backend.send(arena, len(lengths), outlets, destinations) == []
    datagrams = bench.receive()
    assert sorted(zip(bench.received.descriptors, datagrams, strict=True)) == sorted(expected)


def test_a_refused_slot_does_not_hold_up_the_others(bench):
    receiver = bench.socket()
    outlet = bench.backend.outlet(bench.socket(listening=False))
    good = bench.backend.to_native(receiver, *receiver.getsockname())
    bad = bench.backend.to_native(receiver, "255.255.255.255", 9)
    arena = Arena(4)
    arena.lengths[:] = 20
    refused = bench.backend.send(arena, 4, [outlet] * 4, [good, bad, bad, good])
    assert refused == [1, 2]
    assert len(bench.receive()) == 2
    assert bench.backend.send_errors.by_name == {"EACCES": 2}
    assert not bench.backend.send_one(outlet, b"x", bad)
    assert bench.backend.send_one(outlet, b"one", good)
    assert bench.receive() == [b"one"]
    assert bench.backend.send_errors.total == 3


def test_an_address_of_the_other_family_or_none_is_an_error(bench):
    for version, host in ((4, "::1"), (4, "example.com"), (6, "127.0.0.1"), (6, "nonsense")):
        with pytest.raises(OSError):
            bench.backend.to_native(bench.socket(version), host, 5)


def test_a_removed_socket_is_not_read_any_more(bench):
    receiver, sender = bench.socket(), bench.socket(listening=False)
    bench.backend.remove(receiver)
    sender.sendto(b"x", receiver.getsockname())
    assert bench.receive() == []


def test_back_ends_are_found_by_name_and_features(monkeypatch):
    default = new_backend()
    assert default.name == ("uring" if uring.available() else "portable")
    default.close()
    with pytest.raises(ConfigurationError):
        new_backend("semaphore")
    monkeypatch.setattr(mmsg, "_LIBRARY", None)
    for name in ("mmsg", "uring"):
        with pytest.raises(ConfigurationError):
            new_backend(name)
    default = new_backend()
    assert default.name == "portable"
    default.close()


class Eager:
    """A readiness set that says of every socket that it is ready, some times."""

    def __init__(self, inner, sockets, times=1):
        self.inner = inner
        self.found = [[(bound.fileno(), 1) for bound in sockets]] * times

    def poll(self, timeout):
        return self.found.pop() if self.found else self.inner.poll(timeout)

    def __getattr__(self, name):
        return getattr(self.inner, name)


def test_sockets_that_have_nothing_after_all_leave_no_gap(bench):
    receivers = [bench.socket() for _ in range(40)]
    sender = bench.socket(listening=False)
    sent = [number for number in range(40) if number % 3]
    for number in sent:
        sender.sendto(bytes([number]) * (10 + number), receivers[number].getsockname())
    bench.backend._poller = Eager(bench.backend._poller, receivers)
    assert bench.receive() == [bytes([number]) * (10 + number) for number in sent]
    assert bench.received.descriptors == [receivers[number].fileno() for number in sent]
    native = bench.backend.to_native(receivers[0], *sender.getsockname()[:2])
    assert bench.received.sources == [native] * len(sent)
    assert (bench.received.stamps[: len(sent)] > 1_600_000_000).all()


def test_slots_that_are_used_twice_take_every_kind_of_source(bench):
    # An odd number: what comes second to a slot is of the other kind.
    receivers = [bench.socket(version) for version in [4, *(6, 4) * 15]]
    four, six = bench.socket(4, listening=False), bench.socket(6, listening=False)
    expected = {}
    for number in range(12, 31):
        sender = (four, six)[number % 2]
        native = bench.backend.to_native(receivers[number], *sender.getsockname()[:2])
        for repeat in range(2 + (number > 27)):
            datagram = bytes([number, repeat])
            sender.sendto(datagram, receivers[number].getsockname())
            expected[datagram] = native
    bench.backend._poller = Eager(bench.backend._poller, receivers)
    for _ in range(2):
        found = dict(zip(bench.receive(), bench.received.sources, strict=True))
        assert found == expected
        for datagram in expected:
            (four, six)[datagram[0] % 2].sendto(datagram, receivers[datagram[0]].getsockname())


def test_who_is_always_ready_and_has_nothing_holds_nothing_up(bench):
    receivers = [bench.socket() for _ in range(20)]
    bench.backend._poller = Eager(bench.backend._poller, receivers, times=1000)
    assert bench.receive() == []
    assert bench.backend._poller.found


def test_what_went_before_does_not_show_in_what_comes_after(bench):
    receivers = [bench.socket() for _ in range(40)]
    wide = bench.socket(6)
    six, four = bench.socket(6, listening=False), bench.socket(listening=False)
    six.sendto(b"six", wide.getsockname())
    for receiver in receivers[:20]:
        four.sendto(b"long", receiver.getsockname())
    assert len(bench.receive()) == 21
    for receiver in receivers[20:]:
        four.sendto(b"x", receiver.getsockname())
    assert bench.receive() == [b"x"] * 20
    native = bench.backend.to_native(receivers[0], *four.getsockname()[:2])
    assert bench.received.sources == [native] * 20


def test_arenas_may_come_and_go(bench):
    receiver, sender = bench.socket(), bench.socket(listening=False)
    outlet = bench.backend.outlet(sender)
    place = bench.backend.to_native(receiver, *receiver.getsockname()[:2])
    for number in range(40):
        # One takes the memory of the one before.
        arena, received = Arena(2), Received(2)
        arena.views[0][:2] = bytes([number] * 2)
        arena.lengths[0] = 2
        assert bench.backend.send(arena, 1, [outlet], [place]) == []
        del arena
        arena = Arena(2)
        bench.backend.receive(arena, received)
        assert [arena.packet(slot) for slot in range(received.count)] == [bytes([number] * 2)]


def test_slots_leave_from_sockets_of_their_own(bench):
    senders = [bench.socket(listening=False) for _ in range(20)]
    receiver = bench.socket()
    arena = Arena(32)
    arena.octets[:20, :2] = np.arange(20)[:, np.newaxis]
    arena.lengths[:20] = 2
    place = bench.backend.to_native(receiver, *receiver.getsockname()[:2])
    if bench.backend.by_heads:
        heads = np.full(20, head_number(place), np.uint64)
        heads[7] = 0
        descriptors = np.array([sender.fileno() for sender in senders])
        refused = bench.backend.send_to_heads(arena, 20, descriptors, heads)
    else:
        bad = bench.backend.to_native(receiver, "255.255.255.255", 9)
        places = [bad if slot == 7 else place for slot in range(20)]
        outlets = [bench.backend.outlet(sender) for sender in senders]
        refused = bench.backend.send(arena, 20, outlets, places)
    assert refused == [7]
    assert bench.backend.send_errors.total == 1
    found = bench.receive()
    assert found == [bytes([slot]) * 2 for slot in range(20) if slot != 7]
    expected = [bench.backend.to_native(receiver, *one.getsockname()[:2]) for one in senders]
    del expected[7]
    assert bench.received.sources == expected


def test_overflows_and_errors_are_kept_by_socket_and_name():
    overflows = Overflows()
    overflows.note(5, 3)
    overflows.note(5, 4)
    overflows.note(6, 1)
    overflows.forget(5)
    overflows.forget(7)
    assert (overflows.of(5), overflows.of(6), overflows.total) == (0, 1, 5)
    errors = SendErrors()
    errors.note(None)
    errors.note(101)
    errors.note(101)
    assert errors.by_name == {"EUNKNOWN": 1, "ENETUNREACH": 2}


def test_slots_go_to_ipv4_addresses_by_their_heads_where_the_back_end_has_them(bench):
    sender, receiver = bench.socket(), bench.socket()
    arena = Arena(8)
    for slot in range(4):
        arena.octets[slot, :3] = slot
        arena.lengths[slot] = 3
    place = bench.backend.to_native(sender, *receiver.getsockname()[:2])
    heads = np.array([head_number(place)] * 4, np.uint64)
    heads[2] = 0
    refused = bench.backend.send_to_heads(arena, 4, np.full(4, sender.fileno()), heads)
    if bench.backend.by_heads:
        assert refused == [2]
        assert [receiver.recv(9)[0] for _ in range(3)] == [0, 1, 3]
        assert bench.backend.send_errors.total == 1
    else:
        assert refused == [0, 1, 2, 3]
