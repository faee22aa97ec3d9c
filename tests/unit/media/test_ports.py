"""Port pairs, single ports, ranges."""

from __future__ import annotations

import errno
import os
import socket

import pytest

from callmeter.errors import TransportError
from callmeter.media import ports as ports_module
from callmeter.media.ports import PortAllocator, bind_socket

LOOPBACK = "127.0.0.1"


@pytest.fixture
def allocator():
    return PortAllocator(os.urandom)


@pytest.fixture
def close():
    opened = []
    yield opened.append
    for bound in opened:
        bound.close()


def port_of(bound):
    return bound.getsockname()[1]


@pytest.fixture
def free_range():
    """Ten neighbouring ports nobody has at this moment, the first one even."""
    for low in range(20_000, 30_000, 10):
        probes = []
        try:
            for port in range(low, low + 10):
                probe = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                probes.append(probe)
                probe.bind((LOOPBACK, port))
        except OSError:
            continue
        else:
            return low, low + 9
        finally:
            for probe in probes:
                probe.close()
    raise AssertionError("no ten free ports")


@pytest.mark.parametrize("address", [LOOPBACK, "::1"])
def test_a_pair_is_an_even_port_and_the_next_one(allocator, close, address):
    for _ in range(20):
        rtp, rtcp = allocator.open_pair(address, (0, 0), 46)
        close(rtp)
        close(rtcp)
        assert port_of(rtp) % 2 == 0
        assert port_of(rtcp) == port_of(rtp) + 1


def test_a_range_is_used_up_to_its_last_pair_and_then_refused_by_name(allocator, close, free_range):
    taken = []
    for _ in range(5):
        rtp, rtcp = allocator.open_pair(LOOPBACK, free_range, 0)
        close(rtp)
        close(rtcp)
        taken.append(port_of(rtp))
    low, high = free_range
    assert sorted(taken) == list(range(low, high, 2))
    with pytest.raises(TransportError, match=rf"no free UDP pair of ports .* {low} to {high}"):
        allocator.open_pair(LOOPBACK, free_range, 0)
    with pytest.raises(TransportError, match="no free UDP port "):
        allocator.open_one(LOOPBACK, free_range, 0)


def test_a_released_port_is_not_handed_out_next(allocator, free_range):
    first = allocator.open_one(LOOPBACK, free_range, 0)
    port = port_of(first)
    first.close()
    second = allocator.open_one(LOOPBACK, free_range, 0)
    assert port_of(second) != port
    second.close()


def test_a_pair_whose_second_port_is_taken_is_passed_over(allocator, close, free_range):
    low, _ = free_range
    blocker = bind_socket(LOOPBACK, low + 1, 0)
    close(blocker)
    for _ in range(2):
        rtp, rtcp = allocator.open_pair(LOOPBACK, (low, low + 3), 0)
        assert port_of(rtp) == low + 2
        rtp.close()
        rtcp.close()


def test_a_range_without_an_even_port_and_its_neighbour_has_no_pair(allocator, free_range):
    low, _ = free_range
    with pytest.raises(TransportError):
        allocator.open_pair(LOOPBACK, (low + 1, low + 2), 0)
    with pytest.raises(TransportError):
        allocator.open_pair(LOOPBACK, (low + 1, low), 0)


def test_an_address_that_is_not_ours_says_so(allocator):
    for open_ports in (allocator.open_one, allocator.open_pair):
        with pytest.raises(TransportError, match=r"no media socket on 192\.0\.2\.1"):
            open_ports("192.0.2.1", (0, 0), 0)
        with pytest.raises(TransportError, match=r"no media socket on 192\.0\.2\.1"):
            open_ports("192.0.2.1", (40_000, 40_010), 0)


@pytest.mark.parametrize("ranged", [True, False])
def test_a_pair_that_stays_half_gives_its_first_port_back(
    allocator, monkeypatch, free_range, ranged
):
    real, bound = bind_socket, []

    def run_out_of_descriptors(address, port, dscp):
        if bound:
            raise OSError(errno.EMFILE, "Too many open files")
        bound.append(real(address, port, dscp))
        return bound[0]

    monkeypatch.setattr(ports_module, "bind_socket", run_out_of_descriptors)
    with pytest.raises(TransportError, match="Too many open files"):
        allocator.open_pair(LOOPBACK, free_range if ranged else (0, 0), 0)
    assert bound[0].fileno() == -1


def test_a_taken_fixed_port_is_refused(allocator, close):
    blocker = allocator.open_one(LOOPBACK, (0, 0), 0)
    close(blocker)
    with pytest.raises(TransportError, match="no free UDP port"):
        allocator.open_one(LOOPBACK, (port_of(blocker), 0), 0)


def test_a_machine_whose_neighbours_are_all_taken_gives_up(allocator, monkeypatch):
    real = bind_socket

    def only_chosen_by_the_system(address, port, dscp):
        if port:
            raise OSError(98, "Address already in use")
        return real(address, 0, dscp)

    monkeypatch.setattr(ports_module, "bind_socket", only_chosen_by_the_system)
    with pytest.raises(TransportError, match=r"pair of ports .* the system's range"):
        allocator.open_pair(LOOPBACK, (0, 0), 0)


@pytest.mark.parametrize(
    ("address", "level", "option"),
    [
        (LOOPBACK, socket.IPPROTO_IP, socket.IP_TOS),
        ("::1", socket.IPPROTO_IPV6, socket.IPV6_TCLASS),
    ],
)
def test_packets_can_be_left_unmarked(address, level, option):
    bound = bind_socket(address, 0, None)
    assert bound.getsockopt(level, option) == 0
    bound.close()


@pytest.mark.parametrize(
    ("address", "level", "option"),
    [
        (LOOPBACK, socket.IPPROTO_IP, socket.IP_TOS),
        ("::1", socket.IPPROTO_IPV6, socket.IPV6_TCLASS),
    ],
)
def test_packets_carry_the_code_point(address, level, option):
    bound = bind_socket(address, 0, 46)
    assert bound.getsockopt(level, option) == 46 << 2
    assert not bound.getblocking()
    bound.close()
