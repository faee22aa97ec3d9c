"""How the keys of a call follow from policy, method and profile, on sockets of this host."""

from __future__ import annotations

import re
import secrets
from datetime import UTC, datetime

import pytest

from callmeter.config import MediaConfig, SrtpConfig, SrtpMethod, SrtpPolicy
from callmeter.errors import CallmeterError, NegotiationError
from callmeter.media_session import MediaSession
from callmeter.srtp.dtls_certificate import DtlsCertificate

LOOPBACK = "127.0.0.1"
DISABLED, OFFERED, REQUIRED = SrtpPolicy.DISABLED, SrtpPolicy.OFFERED, SrtpPolicy.REQUIRED
SDES, DTLS, DUAL = SrtpMethod.SDES, SrtpMethod.DTLS, SrtpMethod.DUAL


@pytest.fixture
def make(stack):
    opened = []
    certificate = DtlsCertificate.generate(datetime.now(UTC))

    def negotiation(policy=DISABLED, method=SDES, **settings):
        config = MediaConfig(srtp=SrtpConfig(policy=policy, method=method), **settings)
        opened.append(
            MediaSession(
                stack.media,
                config,
                LOOPBACK,
                entropy=secrets.token_bytes,
                certificate=certificate if method.offers_dtls else None,
            )
        )
        return opened[-1]

    yield negotiation
    for one in opened:
        one.close()
    assert stack.media.streams == []


def agree(ours, theirs):
    ours.accept_answer(theirs.accept_offer(ours.create_offer()))


@pytest.mark.parametrize(
    ("ours", "theirs", "keying"),
    [
        (DISABLED, DISABLED, "none"),
        (DISABLED, OFFERED, "none"),
        (OFFERED, OFFERED, "sdes"),
        (OFFERED, REQUIRED, "sdes"),
        (REQUIRED, OFFERED, "sdes"),
        (REQUIRED, REQUIRED, "sdes"),
    ],
)
async def test_policies_that_agree_lead_to_the_same_keys_at_both_ends(make, ours, theirs, keying):
    caller, callee = make(ours), make(theirs)
    agree(caller, callee)
    assert (caller.keying, callee.keying) == (keying, keying)
    assert caller.secure is callee.secure is (keying != "none")
    assert caller.suite == callee.suite
    assert (caller.remote, callee.remote) == (callee.local, caller.local)


@pytest.mark.parametrize(
    ("ours", "theirs"), [(DISABLED, REQUIRED), (REQUIRED, DISABLED), (OFFERED, DISABLED)]
)
async def test_an_offer_the_policy_forbids_is_refused_and_nothing_begins(make, ours, theirs):
    caller, callee = make(ours), make(theirs)
    offer = caller.create_offer()
    with pytest.raises(CallmeterError):
        callee.accept_offer(offer)
    assert callee.codec is None


async def test_an_optional_offer_is_made_again_in_clear_and_says_so(make):
    caller, callee = make(OFFERED), make(DISABLED)
    caller.create_offer()
    assert caller.fall_back(488) is True
    agree(caller, callee)
    assert (caller.keying, callee.keying) == ("none", "none")
    assert "488" in caller.warnings[0]
    assert caller.fall_back(488) is False


@pytest.mark.parametrize("policy", [DISABLED, REQUIRED])
async def test_other_policies_do_not_fall_back(make, policy):
    caller = make(policy)
    caller.create_offer()
    assert caller.fall_back(488) is False


@pytest.mark.parametrize("ours", [DTLS, DUAL])
@pytest.mark.parametrize("theirs", [DTLS, DUAL])
async def test_dtls_keys_both_ends_before_media_may_flow(make, ours, theirs):
    caller, callee = make(REQUIRED, ours), make(REQUIRED, theirs)
    agree(caller, callee)
    assert caller.keys_pending or caller.secure
    await caller.keyed()
    await callee.keyed()
    assert (caller.keying, callee.keying) == ("dtls", "dtls")
    assert caller.suite == callee.suite is not None
    assert not caller.keys_pending


async def test_a_dual_offer_to_an_end_without_dtls_is_keyed_by_sdes(make):
    caller, callee = make(REQUIRED, DUAL), make(REQUIRED, SDES)
    agree(caller, callee)
    await caller.keyed()
    assert (caller.keying, callee.keying) == ("sdes", "sdes")


def with_setup(body, role):
    changed = re.sub(rb"a=setup:\w+", b"a=setup:" + role, body)
    assert changed != body
    # A description that differs has another version.
    return re.sub(rb"(o=- \d+ )(\d+)", lambda o: o[1] + b"%d" % (int(o[2]) + 1), changed)


@pytest.fixture
async def keyed(make):
    """Two ends with keys by DTLS; the callee has been the client of the handshake."""
    caller, callee = make(REQUIRED, DTLS), make(REQUIRED, DTLS)
    agree(caller, callee)
    await caller.keyed()
    await callee.keyed()
    return caller, callee


async def test_a_later_offer_says_actpass_and_its_answer_keeps_the_role(keyed):
    caller, callee = keyed
    for offerer, answerer, role in ((caller, callee, b"active"), (callee, caller, b"passive")):
        offer = offerer.create_offer()
        assert b"a=setup:actpass" in offer
        answer = answerer.accept_offer(offer)
        assert b"a=setup:" + role in answer
        offerer.accept_answer(answer)
    assert (caller.rehandshakes, callee.rehandshakes) == (0, 0)


async def test_a_later_offer_of_the_role_that_is_played_keeps_the_association(keyed):
    caller, callee = keyed
    answer = callee.accept_offer(with_setup(caller.create_offer(), b"passive"))
    caller.accept_answer(answer)
    assert b"a=setup:active" in answer
    await caller.keys.renewed()
    assert (caller.rehandshakes, callee.rehandshakes) == (0, 0)


async def test_a_later_offer_of_the_other_role_asks_for_a_new_association(keyed):
    caller, callee = keyed
    before = caller.keys.send, callee.keys.send
    answer = callee.accept_offer(with_setup(caller.create_offer(), b"active"))
    assert b"a=setup:passive" in answer
    caller.accept_answer(answer)
    await caller.keys.renewed()
    await callee.keys.renewed()
    assert (caller.rehandshakes, callee.rehandshakes) == (1, 1)
    assert callee.rekeys_received == 1
    assert not {caller.keys.send, callee.keys.send} & set(before)


async def test_a_later_offer_of_holdconn_is_refused_and_the_keys_stay(keyed):
    caller, callee = keyed
    before = callee.keys.send, callee.keys.receive
    with pytest.raises(NegotiationError, match="holdconn"):
        callee.accept_offer(with_setup(caller.create_offer(), b"holdconn"))
    caller.rollback()
    assert (callee.keys.send, callee.keys.receive) == before
    agree(caller, callee)
    assert (caller.rehandshakes, callee.rehandshakes) == (0, 0)


async def test_a_first_offer_of_holdconn_is_refused_and_nothing_begins(make):
    caller, callee = make(REQUIRED, DTLS), make(REQUIRED, DTLS)
    with pytest.raises(NegotiationError, match="holdconn"):
        callee.accept_offer(with_setup(caller.create_offer(), b"holdconn"))
    assert callee.codec is None


async def test_an_answer_of_holdconn_is_refused_and_nothing_begins(make):
    caller, callee = make(REQUIRED, DTLS), make(REQUIRED, DTLS)
    answer = callee.accept_offer(caller.create_offer())
    with pytest.raises(NegotiationError, match="holdconn"):
        caller.accept_answer(with_setup(answer, b"holdconn"))
    assert not caller.secure
