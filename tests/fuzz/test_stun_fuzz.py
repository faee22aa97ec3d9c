"""Hostile STUN on a media port: nothing is raised, nothing grows, nothing is amplified."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from aioice import stun

from callmeter.stun.ice_lite import MAX_SOURCES, IceCredentials, IceLite
from callmeter.stun.message import BindingRequest, read_request

ROUNDS = 20_000
VECTORS = Path(__file__).parents[1] / "vectors" / "stun_rfc5769.json"
PEER = IceCredentials("peer", "p" * 22)


def seeds():
    yield from (
        bytes.fromhex(sample["hex"])
        for sample in json.loads(VECTORS.read_text(encoding="utf-8"))["vectors"]
    )
    attributes = {"USERNAME": "a" * 9 + ":peer", "PRIORITY": 7, "USE-CANDIDATE": None}
    message = stun.Message(stun.Method.BINDING, stun.Class.REQUEST, bytes(12), attributes)
    message.add_message_integrity(b"key")
    yield bytes(message)


def mutated(seed, chance):
    data = bytearray(seed)
    for _ in range(chance.randint(1, 4)):
        place = chance.randrange(len(data) + 1)
        match chance.randrange(5):
            case 0:
                data[place : place + 1] = chance.randbytes(1)
            case 1:
                del data[place : place + 4 * chance.randint(1, 4)]
            case 2:
                data[place:place] = chance.randbytes(4 * chance.randint(1, 4))
            case 3:
                data[place : place + 1] = bytes([chance.choice((0, 1, 0x7F, 0x80, 0xFF))])
            case _:
                data[2:4] = max(0, len(data) - 20).to_bytes(2, "big")
    return bytes(data)


@pytest.mark.parametrize("seed", list(seeds()))
def test_no_datagram_raises_and_no_answer_is_longer_than_an_unauthentic_one(seed):
    chance = random.Random(seed)
    agent = IceLite(chance.randbytes)
    agent.accept_offer(PEER)
    read = 0
    for number in range(ROUNDS):
        data = mutated(seed, chance)
        request = read_request(data)
        assert request is None or isinstance(request, BindingRequest)
        read += request is not None
        source = ("192.0.2.1", chance.randrange(1, 65_536))
        result = agent.on_datagram(data, source, chance.randint(1, 2), number / 1000)
        assert len(result.answer or b"") <= len(data)
        assert not result.selected
    assert agent.statistics.checks == 0
    assert agent.statistics.ignored + agent.statistics.unauthenticated == ROUNDS
    assert read or seed[:2] != b"\0\1"


def test_mutated_checks_of_a_peer_that_knows_the_password_never_raise():
    chance = random.Random(8445)
    agent = IceLite(chance.randbytes)
    agent.accept_offer(PEER)
    for number in range(ROUNDS):
        attributes = {"USERNAME": f"{agent.local.ufrag}:peer", "PRIORITY": 7, "SOFTWARE": "x" * 8}
        message = stun.Message(stun.Method.BINDING, stun.Class.REQUEST, bytes(12), attributes)
        data = mutated(bytes(message), chance)
        if len(data) >= 20 and chance.random() < 0.9:
            data = stun.set_body_length(data, len(data) - 20)
            seal = stun.message_integrity(data, agent.local.key)
            data = stun.set_body_length(data, len(data) + 4) + b"\0\x08\0\x14" + seal
        agent.on_datagram(data, ("192.0.2.1", chance.randrange(1, 65_536)), 1, number / 1000)
    assert agent.statistics.checks > ROUNDS // 100
    assert len(agent._components[1].sources) == MAX_SOURCES
