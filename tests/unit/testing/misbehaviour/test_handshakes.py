"""Datagrams of a handshake that are lost on purpose."""

from __future__ import annotations

import pytest

from callmeter.testing.misbehaviour.handshakes import HandshakeFault
from callmeter.testing.misbehaviour.kinds import Misbehaviour

STUN = b"\x00\x01" + bytes(18)
CHANGE = bytes([20, 254, 253, 0, 0, 0, 0, 0, 0, 0, 9, 0, 1, 1])


def handshake(*kinds, epoch=0):
    body = b"".join(bytes([kind, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 7]) for kind in kinds)
    header = bytes([22, 254, 253]) + epoch.to_bytes(2, "big") + bytes(6)
    return header + len(body).to_bytes(2, "big") + body


HELLO, CLIENT_KEYS = handshake(1), handshake(11, 16, 15)
SERVER_HELLO, SERVER_CERTIFICATE = handshake(2), handshake(11)
FINISHED = CHANGE + handshake(20, epoch=1)
CLIENT = (HELLO, CLIENT_KEYS, FINISHED)
SERVER = (SERVER_HELLO, SERVER_CERTIFICATE, FINISHED)


def lost(kind, datagrams, amount=None):
    fault = HandshakeFault(kind, kind.amount if amount is None else amount)
    return [fault.loses(datagram, 0.0) for datagram in datagrams]


@pytest.mark.parametrize(
    ("number", "datagrams", "expected"),
    [
        (1, CLIENT, [True, False, False]),
        (2, CLIENT, [False, True, True]),
        (1, SERVER, [True, True, False]),
        (2, SERVER, [False, False, True]),
    ],
)
def test_one_flight_of_either_end_is_lost(number, datagrams, expected):
    assert lost(Misbehaviour.DROPPED_FLIGHT, datagrams, number) == expected


def test_an_end_that_should_begin_does_not():
    assert lost(Misbehaviour.BOTH_PASSIVE, CLIENT) == [True, True, True]
    assert lost(Misbehaviour.BOTH_PASSIVE, SERVER) == [False, False, False]


def test_all_is_lost_until_it_is_late():
    fault = HandshakeFault(Misbehaviour.LATE_HANDSHAKE, 2.5)
    assert [fault.loses(HELLO, now) for now in (10.0, 12.4, 12.5, 13.0)] == [
        True,
        True,
        False,
        False,
    ]


def test_nothing_is_lost_by_an_end_that_does_something_else_wrong():
    assert lost(Misbehaviour.ONE_WAY, CLIENT) == [False, False, False]


@pytest.mark.parametrize("kind", Misbehaviour)
def test_what_is_no_dtls_is_never_lost(kind):
    assert lost(kind, [STUN]) == [False]
