from __future__ import annotations

import hashlib
import itertools

import pytest
from aioice import stun

from callmeter.stun.ice_lite import (
    CONSENT_SECONDS,
    ERRORS_PER_SECOND,
    MAX_SOURCES,
    IceCredentials,
    IceLite,
)

PEER = IceCredentials("peer", "p" * 22)
AGAIN = IceCredentials("again", "q" * 22)
HERE, THERE = ("192.0.2.7", 7000), ("192.0.2.8", 8000)


def entropy():
    numbers = itertools.count()
    return lambda size: hashlib.sha256(str(next(numbers)).encode()).digest()[:size]


@pytest.fixture
def agent():
    return IceLite(entropy())


@pytest.fixture
def answerer(agent):
    assert not agent.accept_offer(PEER)
    return agent


def check(agent, *, theirs="peer", nominate=False, controlled=False, key=None, ours=None, **more):
    attributes = {"USERNAME": f"{ours or agent.local.ufrag}:{theirs}", "PRIORITY": 7, **more}
    attributes["ICE-CONTROLLED" if controlled else "ICE-CONTROLLING"] = 1
    if nominate:
        attributes["USE-CANDIDATE"] = None
    message = stun.Message(stun.Method.BINDING, stun.Class.REQUEST, bytes(12), attributes)
    message.add_message_integrity(agent.local.key if key is None else key)
    return bytes(message)


def told(result):
    """Status of the answer, 200 for success, None when there is none."""
    if result.answer is None:
        return None
    message = stun.parse_message(result.answer)
    return message.attributes.get("ERROR-CODE", (200, ""))[0]


def test_credentials_have_the_length_that_ice_wants_and_the_password_is_not_shown(agent):
    assert len(agent.local.ufrag) == 8
    assert len(agent.local.password) == 24
    assert agent.local.password not in repr(agent.local)


def test_a_check_is_answered_with_its_source_under_the_own_password(answerer):
    result = answerer.on_datagram(check(answerer), THERE, 1, 0.0)
    message = stun.parse_message(result.answer)
    assert message.attributes["XOR-MAPPED-ADDRESS"] == THERE
    assert message.check_message_integrity(answerer.local.key)
    assert not result.selected
    assert answerer.selected(1) is None
    assert answerer.is_proven(1, THERE)
    assert not answerer.is_proven(1, HERE)
    assert not answerer.is_proven(2, THERE)
    assert answerer.statistics.checks == 1


def test_the_pair_that_the_peer_nominates_is_selected_once(answerer):
    assert answerer.on_datagram(check(answerer, nominate=True), THERE, 1, 0.0).selected
    assert answerer.selected(1) == THERE
    assert not answerer.on_datagram(check(answerer, nominate=True), THERE, 1, 1.0).selected


def test_the_peer_may_change_its_mind(answerer):
    answerer.on_datagram(check(answerer, nominate=True), THERE, 1, 0.0)
    answerer.on_datagram(check(answerer), HERE, 1, 1.0)
    assert answerer.selected(1) == THERE
    assert answerer.on_datagram(check(answerer, nominate=True), HERE, 1, 2.0).selected
    assert answerer.selected(1) == HERE


def test_components_have_pairs_of_their_own(answerer):
    answerer.on_datagram(check(answerer, nominate=True), THERE, 1, 0.0)
    answerer.on_datagram(check(answerer, nominate=True), HERE, 2, 0.0)
    assert (answerer.selected(1), answerer.selected(2)) == (THERE, HERE)


def test_who_takes_our_role_is_told_and_selects_nothing(answerer):
    result = answerer.on_datagram(check(answerer, controlled=True, nominate=True), THERE, 1, 0.0)
    assert told(result) == 487
    assert stun.parse_message(result.answer).check_message_integrity(answerer.local.key)
    assert not answerer.is_proven(1, THERE)
    assert answerer.statistics.conflicts == 1


def test_what_has_to_be_understood_and_is_not_is_named(answerer):
    message = stun.Message(
        stun.Method.BINDING,
        stun.Class.REQUEST,
        bytes(12),
        {"USERNAME": f"{answerer.local.ufrag}:peer"},
    )
    raw = bytes(message) + b"\x70\x01\x00\x00"
    raw = stun.set_body_length(raw, len(raw) - 20)
    raw += b"\x00\x08\x00\x14" + stun.message_integrity(raw, answerer.local.key)
    result = answerer.on_datagram(stun.set_body_length(raw, len(raw) - 20), THERE, 1, 0.0)
    assert told(result) == 420
    assert not answerer.is_proven(1, THERE)


@pytest.mark.parametrize(
    "wrong",
    [
        {"key": b"another password"},
        {"ours": "somebody"},
        {"theirs": "stranger"},
    ],
)
def test_a_check_that_proves_nothing_is_refused(answerer, wrong):
    result = answerer.on_datagram(check(answerer, nominate=True, **wrong), THERE, 1, 0.0)
    assert told(result) == 401
    assert not answerer.is_proven(1, THERE)
    assert answerer.selected(1) is None
    assert answerer.statistics.unauthenticated == 1


def test_a_request_without_signature_is_a_bad_one(answerer):
    message = stun.Message(
        stun.Method.BINDING,
        stun.Class.REQUEST,
        bytes(12),
        {"USERNAME": "a:b", "SOFTWARE": "x" * 20},
    )
    assert told(answerer.on_datagram(bytes(message), THERE, 1, 0.0)) == 400


def test_an_answer_is_never_longer_than_an_unauthentic_request(answerer):
    bare = bytes(stun.Message(stun.Method.BINDING, stun.Class.REQUEST, bytes(12)))
    assert answerer.on_datagram(bare, THERE, 1, 0.0).answer is None
    for size in range(0, 60, 4):
        message = stun.Message(
            stun.Method.BINDING, stun.Class.REQUEST, bytes(12), {"SOFTWARE": "x" * size}
        )
        result = answerer.on_datagram(bytes(message), THERE, 1, float(size))
        assert len(result.answer or b"") <= len(bytes(message))


def test_unauthentic_requests_get_few_answers_in_a_second(answerer):
    flood = check(answerer, key=b"another")
    answers = [answerer.on_datagram(flood, THERE, 1, 5.0).answer for _ in range(100)]
    assert sum(answer is not None for answer in answers) == ERRORS_PER_SECOND
    assert answerer.on_datagram(flood, THERE, 1, 5.2).answer is not None
    assert told(answerer.on_datagram(check(answerer), THERE, 1, 5.2)) == 200


@pytest.mark.parametrize("kind", [stun.Class.INDICATION, stun.Class.RESPONSE, stun.Class.ERROR])
def test_only_requests_are_answered(answerer, kind):
    data = bytes(stun.Message(stun.Method.BINDING, kind, bytes(12)))
    assert answerer.on_datagram(data, THERE, 1, 0.0).answer is None
    assert answerer.statistics.ignored == 1


def test_checks_that_overtake_the_answer_count_once_it_is_there(agent):
    agent.on_datagram(check(agent, theirs="fork", nominate=True), HERE, 1, 2.0)
    agent.on_datagram(check(agent, nominate=True), ("192.0.2.6", 6000), 1, 0.0)
    agent.on_datagram(check(agent, nominate=True), THERE, 1, 1.0)
    agent.on_datagram(check(agent), HERE, 2, 1.0)
    assert agent.selected(1) is None
    assert agent.accept_answer(PEER) == [1]
    assert agent.selected(1) == THERE
    assert agent.accept_answer(PEER) == []
    assert agent.statistics.restarts == 0


def test_a_restart_gives_new_credentials_and_is_counted(answerer):
    before = answerer.local
    assert not answerer.accept_offer(PEER)
    assert answerer.local == before
    assert answerer.accept_offer(AGAIN)
    assert answerer.local.ufrag != before.ufrag
    assert answerer.local.password != before.password
    assert answerer.statistics.restarts == 1


def test_the_pair_of_before_a_restart_serves_until_there_is_another(answerer):
    answerer.on_datagram(check(answerer, nominate=True), THERE, 1, 0.0)
    before = answerer.local
    answerer.accept_offer(AGAIN)
    assert answerer.selected(1) == THERE
    old = check(answerer, nominate=True, ours=before.ufrag, key=before.key)
    assert told(answerer.on_datagram(old, THERE, 1, 1.0)) == 200
    assert told(answerer.on_datagram(old, HERE, 1, 1.0)) == 200
    assert answerer.selected(1) == THERE
    new = check(answerer, theirs="again", nominate=True)
    assert answerer.on_datagram(new, HERE, 1, 2.0).selected
    assert answerer.selected(1) == HERE
    assert not answerer.is_proven(1, THERE)
    assert told(answerer.on_datagram(old, THERE, 1, 3.0)) == 401


def test_an_answer_of_another_end_counts_as_a_restart(answerer):
    answerer.accept_answer(AGAIN)
    assert answerer.statistics.restarts == 1
    assert answerer.remote == AGAIN


def test_no_more_sources_are_kept_than_the_limit_and_never_less_than_the_selected(answerer):
    answerer.on_datagram(check(answerer, nominate=True), THERE, 1, 0.0)
    for number in range(3 * MAX_SOURCES):
        answerer.on_datagram(check(answerer), ("192.0.2.20", 1000 + number), 1, 1.0 + number)
    proven = [n for n in range(3 * MAX_SOURCES) if answerer.is_proven(1, ("192.0.2.20", 1000 + n))]
    assert proven == list(range(2 * MAX_SOURCES + 1, 3 * MAX_SOURCES))
    assert answerer.is_proven(1, THERE)


def test_a_peer_that_stops_to_check_is_told_once(answerer):
    assert answerer.next_deadline() is None
    answerer.on_datagram(check(answerer, nominate=True), THERE, 1, 0.0)
    assert answerer.next_deadline() is None  # it may know nothing of RFC 7675
    answerer.on_datagram(check(answerer), THERE, 1, 5.0)
    assert answerer.next_deadline() == 5.0 + CONSENT_SECONDS
    answerer.on_datagram(check(answerer), HERE, 1, 9.0)
    assert answerer.on_deadline(34.0) == []
    assert answerer.on_deadline(35.0) == [1]
    assert answerer.on_deadline(36.0) == []
    assert answerer.next_deadline() is None
    answerer.on_datagram(check(answerer), THERE, 1, 40.0)
    assert answerer.next_deadline() == 40.0 + CONSENT_SECONDS
