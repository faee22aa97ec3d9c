"""Slots as numpy and as C see them."""

from __future__ import annotations

import numpy as np

from callmeter.config import SrtpSuite
from callmeter.media.arena import MAX_DATAGRAM, Arena
from callmeter.rtp import pack_header
from callmeter.srtp import SrtpContext, for_suite, generate, libsrtp
from callmeter.srtp.stream_policy import MAX_TRAILER


def test_packets_are_protected_in_place_through_the_pointers():
    arena = Arena(4)
    line = generate(for_suite(SrtpSuite.AES_CM_128_HMAC_SHA1_80), 1, bytes)
    sender = SrtpContext(line, "send")
    packet = pack_header(0, 5, 160, 0xCAFE, marker=True) + bytes(range(160))
    for slot in range(4):
        arena.views[slot][: len(packet)] = packet
        arena.headers.sequence[slot] = slot
    arena.lengths[:] = len(packet)
    handles = [sender.handle] * 4
    status = bytes(map(libsrtp.protect, handles, arena.pointers, arena.length_pointers))
    assert status == bytes(4)
    assert arena.lengths.tolist() == [182] * 4
    receiver = SrtpContext(line, "receive")
    for slot in range(4):
        plain = receiver.unprotect(arena.packet(slot))
        assert plain[2:4] == bytes([0, slot])
        assert plain[12:] == packet[12:]
    sender.close()
    receiver.close()


def test_the_longest_packet_has_room_for_the_longest_trailer():
    arena = Arena(2)
    assert arena.octets.shape[1] >= MAX_DATAGRAM + MAX_TRAILER
    assert arena.octets.shape[1] % 4 == 0
    assert arena.octets.flags.c_contiguous


def test_views_and_columns_are_the_same_memory():
    arena = Arena(2)
    arena.views[1][0] = 0x80
    assert arena.headers.first.tolist() == [0, 0x80]
    arena.headers.ssrc[1] = 0x01020304
    arena.lengths[1] = 12
    assert arena.packet(1)[8:12] == bytes([1, 2, 3, 4])
    assert np.shares_memory(arena.octets, arena.headers.first)
