"""Re-INVITEs of a call, from either end; the peer is a script on a socket."""

from __future__ import annotations

import asyncio
import base64
import re

import pytest

from callmeter.config import DEFAULT_SUITES, MediaConfig, SrtpConfig, SrtpPolicy, SrtpSuite
from callmeter.errors import (
    CallFailed,
    CallRejected,
    LocalProtocolError,
    NegotiationError,
    NoCommonSuite,
    SdesKeyError,
)

PATIENCE = 20
CM_80, CM_32 = SrtpSuite.AES_CM_128_HMAC_SHA1_80, SrtpSuite.AES_CM_128_HMAC_SHA1_32
SECURE = MediaConfig(srtp=SrtpConfig(policy=SrtpPolicy.REQUIRED))
KEYS = [base64.b64encode(bytes([number]) * 30).decode() for number in range(5)]


def crypto(tag, key, suite=CM_80, rest=""):
    return f"a=crypto:{tag} {suite} inline:{KEYS[key]}{rest}"


def keys_of(message):
    return re.findall(rb"inline:([^\r\n|]+)", message.body)


def suites_of(message):
    return re.findall(rb"a=crypto:[0-9]+ ([^ ]+)", message.body)


def contexts(call):
    return call.media.keys.send, call.media.keys.receive


@pytest.fixture
def secured(alice, phone, begin):
    """A call whose media is encrypted."""

    async def call(*lines):
        body = phone.sdp(*(lines or (crypto(1, 0),)), profile="RTP/SAVP")
        return await begin(alice, body, media=SECURE)

    return call


@pytest.fixture
def ask(phone):
    """What the peer asks for by a re-INVITE, and what we say."""

    async def reinvite(*lines, **how):
        body = phone.sdp(*lines, version=phone._cseq, profile="RTP/SAVP", **how)
        number = phone.request("INVITE", body)
        response = await phone.response("INVITE")
        phone.request("ACK", cseq=number)
        return response

    return reinvite


async def kinds(call):
    return [type(event).__name__ async for event in call.events()]


# re-INVITEs of the peer


async def test_a_hold_of_the_peer_is_noted_and_its_end_too(alice, phone, begin):
    call = await begin(alice)
    for line, direction in (("a=sendonly", "recvonly"), ("a=sendrecv", "sendrecv")):
        number = phone.request("INVITE", phone.sdp(line, version=phone._cseq))
        response = await phone.response("INVITE")
        assert response.status == 200
        phone.request("ACK", cseq=number)
        assert call.media.direction == direction
    await phone.hang_up(call)
    assert [e for e in await kinds(call) if e in {"Held", "Resumed"}] == ["Held", "Resumed"]
    assert call.report().to_dict()["counters"]["hold_count"] == 1


async def test_what_is_played_for_some_seconds_ends_when_the_peer_holds_the_call(
    alice, phone, begin, monkeypatch
):
    monkeypatch.setattr("callmeter.media_track.LATE_S", 0.05)
    call = await begin(alice)
    number = phone.request("INVITE", phone.sdp("a=inactive", version=2))
    assert (await phone.response("INVITE")).status == 200
    phone.request("ACK", cseq=number)
    async with asyncio.timeout(PATIENCE):
        assert 0.2 <= await call.media.play(seconds=0.2) < PATIENCE
    await phone.hang_up(call)


async def test_a_hold_waits_for_the_ack_of_the_peers_re_invite(alice, phone, begin):
    call = await begin(alice)
    number = phone.request("INVITE", phone.sdp(version=2))
    assert (await phone.response("INVITE")).status == 200
    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as tasks:
        tasks.create_task(call.hold())
        await asyncio.sleep(0)
        phone.request("ACK", cseq=number)
        invite = await phone.expect("INVITE")
        phone.answer(invite, 200, phone.sdp("a=recvonly", version=3))
    assert call.media.direction == "sendonly"
    await phone.hang_up(call)


async def test_of_two_changes_that_wait_for_an_ack_one_is_made(alice, phone, begin):
    call = await begin(alice)
    number = phone.request("INVITE", phone.sdp(version=2))
    assert (await phone.response("INVITE")).status == 200
    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as tasks:
        changes = asyncio.gather(call.hold(), call.resume(), return_exceptions=True)
        await asyncio.sleep(0)
        phone.request("ACK", cseq=number)
        tasks.create_task(answer_reinvite(phone))
        first, second = await changes
    assert first is None
    assert isinstance(second, LocalProtocolError)
    await phone.hang_up(call)


async def answer_reinvite(phone):
    phone.answer(await phone.expect("INVITE"), 200, phone.sdp("a=recvonly", version=3))


async def test_a_call_that_ends_before_the_ack_comes_is_not_held(alice, phone, begin):
    call = await begin(alice)
    phone.request("INVITE", phone.sdp(version=2))
    assert (await phone.response("INVITE")).status == 200
    holding = asyncio.ensure_future(call.hold())  # noqa: TID251
    await asyncio.sleep(0)
    await phone.hang_up(call)
    with pytest.raises(CallFailed, match="ended") as caught:
        await holding
    assert caught.value.report == call.report()


async def test_a_re_invite_without_offer_gets_one_and_its_ack_has_the_answer(
    alice, phone, begin, until
):
    call = await begin(alice)
    number = phone.request("INVITE")
    response = await phone.response("INVITE")
    assert response.status == 200
    assert b"m=audio" in response.body
    phone.request("ACK", phone.sdp("a=sendonly", version=2), cseq=number)
    await until(lambda: call.media.direction == "recvonly")
    await phone.hang_up(call)
    assert "Held" in await kinds(call)


@pytest.mark.parametrize("body", [b"", b"v=1\r\n"], ids=["nothing", "nonsense"])
async def test_a_re_invite_without_offer_and_without_answer_ends_the_call(
    alice, phone, begin, body
):
    call = await begin(alice)
    number = phone.request("INVITE")
    assert (await phone.response("INVITE")).status == 200
    phone.request("ACK", body, cseq=number)
    phone.answer(await phone.expect("BYE"))
    async with asyncio.timeout(PATIENCE):
        await call.ended()
    assert call.report().to_dict()["outcome"] == "NEGOTIATION_FAILED"


async def test_an_ack_that_brings_what_nobody_asked_for_changes_nothing(alice, phone, begin):
    call = await begin(alice)
    number = phone.request("INVITE", phone.sdp(version=2))
    assert (await phone.response("INVITE")).status == 200
    phone.request("ACK", phone.sdp("a=inactive", version=3), cseq=number)
    phone.request("INFO", b"x", kind="text/plain")
    assert (await phone.response("INFO")).status == 200
    assert call.media.direction == "sendrecv"
    await phone.hang_up(call)


@pytest.mark.parametrize("host", [None, "phone.example"], ids=["no sdp", "a name"])
async def test_a_re_invite_that_cannot_be_taken_is_refused_and_the_call_goes_on(
    alice, phone, begin, host
):
    call = await begin(alice)
    number = phone.request("INVITE", phone.sdp(host=host, version=2) if host else b"v=1\r\n")
    refused = await phone.response("INVITE")
    assert refused.status == 488
    assert refused.headers.get("Warning").startswith('399 callmeter "')
    phone.request("ACK", cseq=number)
    number = phone.request("INVITE", phone.sdp(version=3))
    assert (await phone.response("INVITE")).status == 200
    phone.request("ACK", cseq=number)
    await phone.hang_up(call)
    assert call.report().to_dict()["outcome"] == "SUCCESS"


# re-INVITEs of ours


async def test_a_hold_that_is_refused_changes_nothing(alice, phone, begin):
    call = await begin(alice)
    holding = asyncio.get_running_loop().create_task(call.hold())
    refused = (await phone.expect("INVITE")).create_response(
        488, to_tag="phone", headers=[("Warning", '399 pbx.example "no music"')]
    )
    phone._socket.sendto(refused.to_bytes(), phone._peer)
    with pytest.raises(CallRejected, match=r"488 .*: warning 399 .*no music"):
        await holding
    assert call.media.direction == "sendrecv"
    assert call.report().to_dict()["counters"]["hold_count"] == 0
    number = phone.request("INVITE", phone.sdp(version=2))
    response = await phone.response("INVITE")
    assert b"a=sendonly" not in response.body
    phone.request("ACK", cseq=number)
    await phone.hang_up(call)


async def test_two_re_invites_at_once_are_refused_and_the_first_goes_on(alice, phone, begin):
    call = await begin(alice)
    holding = asyncio.get_running_loop().create_task(call.hold())
    reinvite = await phone.expect("INVITE")
    with pytest.raises(LocalProtocolError, match="under way"):
        await call.resume()
    phone.answer(reinvite, 200, phone.sdp("a=recvonly", version=2))
    async with asyncio.timeout(PATIENCE):
        await holding
    assert call.media.direction == "sendonly"
    await phone.hang_up(call)


async def cancelled(work):
    """A change whose user is gone before its answer comes."""
    task = asyncio.get_running_loop().create_task(work)

    async def gone():
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    await asyncio.sleep(0)
    return gone


async def test_a_hold_whose_user_is_cancelled_is_made_when_the_peer_agrees(alice, phone, begin):
    call = await begin(alice)
    gone = await cancelled(call.hold())
    reinvite = await phone.expect("INVITE")
    await gone()
    with pytest.raises(LocalProtocolError, match="under way"):
        await call.resume()
    phone.answer(reinvite, 200, phone.sdp("a=recvonly", version=2))
    await phone.expect("ACK")
    assert call.media.direction == "sendonly"
    resuming = asyncio.get_running_loop().create_task(call.resume())
    phone.answer(await phone.expect("INVITE"), 200, phone.sdp(version=3))
    async with asyncio.timeout(PATIENCE):
        await resuming
    await phone.hang_up(call)
    assert [e for e in await kinds(call) if e in {"Held", "Resumed"}] == ["Held", "Resumed"]
    assert call.report().to_dict()["counters"]["hold_count"] == 1


@pytest.mark.parametrize(("status", "body"), [(403, None), (200, b"v=1\r\n")])
async def test_a_hold_whose_user_is_cancelled_changes_nothing_when_it_comes_to_nothing(
    alice, phone, begin, status, body
):
    call = await begin(alice)
    gone = await cancelled(call.hold())
    reinvite = await phone.expect("INVITE")
    await gone()
    phone.answer(reinvite, status, body)
    await phone.expect("ACK")
    assert call.media.direction == "sendrecv"
    resuming = asyncio.get_running_loop().create_task(call.resume())
    reinvite = await phone.expect("INVITE")
    assert b"a=sendonly" not in reinvite.body
    phone.answer(reinvite, 200, phone.sdp(version=3))
    async with asyncio.timeout(PATIENCE):
        await resuming
    await phone.hang_up(call)


async def test_a_call_that_ends_under_a_hold_whose_user_is_cancelled_ends_as_ever(
    alice, phone, begin
):
    call = await begin(alice)
    gone = await cancelled(call.hold())
    await phone.expect("INVITE")
    await gone()
    phone.request("BYE")
    async with asyncio.timeout(PATIENCE):
        await call.ended()
    assert call.report().to_dict()["outcome"] == "SUCCESS"


async def test_a_hold_whose_answer_is_nonsense_is_an_error_and_can_be_tried_again(
    alice, phone, begin
):
    call = await begin(alice)
    for body, works in ((b"v=1\r\n", False), (phone.sdp("a=recvonly", version=2), True)):
        holding = asyncio.get_running_loop().create_task(call.hold())
        phone.answer(await phone.expect("INVITE"), 200, body)
        await phone.expect("ACK")
        async with asyncio.timeout(PATIENCE):
            await asyncio.wait([holding])
        assert (holding.exception() is None) is works
    assert call.media.direction == "sendonly"
    await phone.hang_up(call)


async def test_the_end_of_the_call_ends_a_re_invite_under_way(alice, phone, begin):
    call = await begin(alice)
    holding = asyncio.get_running_loop().create_task(call.hold())
    await phone.expect("INVITE")
    phone.request("BYE")
    with pytest.raises(CallFailed) as caught:
        async with asyncio.timeout(PATIENCE):
            await holding
    async with asyncio.timeout(PATIENCE):
        await call.ended()
    assert caught.value.report == call.report()


# new keys


async def test_a_rekey_offers_one_new_key_of_the_suite_in_use(phone, secured):
    call = await secured()
    before, first = contexts(call), keys_of(phone.invite)
    rekeying = asyncio.get_running_loop().create_task(call.rekey())
    reinvite = await phone.expect("INVITE")
    assert suites_of(reinvite) == [CM_80.encode()]
    assert not set(keys_of(reinvite)) & set(first)
    phone.answer(reinvite, 200, phone.sdp(crypto(1, 1), version=2, profile="RTP/SAVP"))
    async with asyncio.timeout(PATIENCE):
        await rekeying
    assert not set(contexts(call)) & set(before)
    await phone.hang_up(call)
    assert call.report().to_dict()["counters"]["rekeys_sent"] == 1


async def test_a_peer_that_answers_with_its_old_key_keeps_its_context(phone, secured):
    call = await secured()
    sending, receiving = contexts(call)
    rekeying = asyncio.get_running_loop().create_task(call.rekey())
    reinvite = await phone.expect("INVITE")
    phone.answer(reinvite, 200, phone.sdp(crypto(1, 0), version=2, profile="RTP/SAVP"))
    async with asyncio.timeout(PATIENCE):
        await rekeying
    assert call.media.keys.send is not sending
    assert call.media.keys.receive is receiving
    await phone.hang_up(call)


@pytest.mark.parametrize("status", [488, 403, 500])
async def test_a_rekey_that_is_refused_leaves_the_old_keys(phone, secured, ask, status):
    call = await secured()
    before, first = contexts(call), keys_of(phone.invite)
    rekeying = asyncio.get_running_loop().create_task(call.rekey())
    phone.answer(await phone.expect("INVITE"), status)
    with pytest.raises(CallRejected, match=str(status)):
        await rekeying
    assert contexts(call) == before
    assert call.media.stream._receiver.keys.settled
    response = await ask(crypto(1, 0))
    assert keys_of(response)[0] in first
    assert contexts(call) == before
    await phone.hang_up(call)
    assert call.report().to_dict()["counters"]["rekeys_sent"] == 0


@pytest.mark.parametrize(
    ("lines", "error"),
    [
        ([], NoCommonSuite),
        ([crypto(1, 1, CM_32)], NoCommonSuite),
        ([crypto(1, 1, rest="|2^20|1:4;inline:short")], NoCommonSuite),
        ([None], SdesKeyError),
    ],
    ids=["none", "another suite", "broken", "ours"],
)
async def test_an_answer_without_a_usable_key_leaves_the_old_ones(phone, secured, lines, error):
    call = await secured()
    before = contexts(call)
    rekeying = asyncio.get_running_loop().create_task(call.rekey())
    reinvite = await phone.expect("INVITE")
    ours = f"a=crypto:1 {CM_80} inline:{keys_of(reinvite)[0].decode()}"
    body = phone.sdp(*(line or ours for line in lines), version=2, profile="RTP/SAVP")
    phone.answer(reinvite, 200, body)
    with pytest.raises((error, NegotiationError)):
        async with asyncio.timeout(PATIENCE):
            await rekeying
    assert contexts(call) == before
    await phone.hang_up(call)


async def test_a_new_key_of_the_peer_is_answered_with_a_new_one(phone, secured, ask):
    call = await secured()
    before, used = contexts(call), set(keys_of(phone.invite))
    for key in (1, 2):
        response = await ask(crypto(1, key), "a=sendonly" if key == 1 else "a=sendrecv")
        assert not used & set(keys_of(response))
        used |= set(keys_of(response))
        assert not set(before) & set(contexts(call))
        before = contexts(call)
    await phone.hang_up(call)
    counters = call.report().to_dict()["counters"]
    assert (counters["rekeys_received"], counters["hold_count"]) == (2, 1)


async def test_a_refresh_with_the_same_key_keeps_both(phone, secured, ask):
    call = await secured()
    before = contexts(call)
    response = await ask(crypto(1, 0))
    assert keys_of(response)[0] in keys_of(phone.invite)
    assert contexts(call) == before
    await phone.hang_up(call)


async def test_media_that_goes_elsewhere_gets_a_key_of_its_own(phone, secured, ask, closed_port):
    call = await secured()
    sending, receiving = contexts(call)
    phone._media_port = closed_port
    response = await ask(crypto(1, 0))
    assert keys_of(response)[0] not in keys_of(phone.invite)
    assert call.media.keys.send is not sending
    assert call.media.keys.receive is receiving
    await phone.hang_up(call)


async def test_a_hold_by_the_address_0_0_0_0_moves_no_media(phone, secured, ask):
    call = await secured()
    before = contexts(call)
    await ask(crypto(1, 0), host="0.0.0.0")
    await ask(crypto(1, 0))
    assert contexts(call) == before
    await phone.hang_up(call)


async def test_a_rekey_that_meets_another_starts_from_what_the_other_agreed_on(phone, secured, ask):
    call = await secured()
    rekeying = asyncio.get_running_loop().create_task(call.rekey())
    refused = await phone.expect("INVITE")
    phone.answer(refused, 491)
    await phone.expect("ACK")
    await ask(crypto(1, 1))
    theirs = call.media.keys.receive
    again = await phone.expect("INVITE")
    assert not set(keys_of(again)) & set(keys_of(refused))
    phone.answer(again, 200, phone.sdp(crypto(1, 1), version=9, profile="RTP/SAVP"))
    async with asyncio.timeout(PATIENCE):
        await rekeying
    assert call.media.keys.receive is theirs
    await phone.hang_up(call)


async def test_a_rekey_that_meets_a_re_invite_without_offer_waits_for_its_answer(phone, secured):
    call = await secured()
    rekeying = asyncio.get_running_loop().create_task(call.rekey())
    phone.answer(await phone.expect("INVITE"), 491)
    await phone.expect("ACK")
    number = phone.request("INVITE")
    offer = await phone.response("INVITE")
    assert keys_of(offer)[0] in keys_of(phone.invite)
    phone.request("ACK", phone.sdp(crypto(1, 0), version=3, profile="RTP/SAVP"), cseq=number)
    again = await phone.expect("INVITE")
    phone.answer(again, 200, phone.sdp(crypto(1, 1), version=9, profile="RTP/SAVP"))
    async with asyncio.timeout(PATIENCE):
        await rekeying
    await phone.hang_up(call)


async def test_a_re_invite_of_the_peer_that_is_refused_leaves_our_own_waiting(phone, secured, ask):
    call = await secured()
    rekeying = asyncio.get_running_loop().create_task(call.rekey())
    phone.answer(await phone.expect("INVITE"), 491)
    await phone.expect("ACK")
    refused = await ask("a=sendonly")
    assert refused.status == 488
    assert f"(supported: {' '.join(DEFAULT_SUITES)})" in refused.headers.get("Warning")
    again = await phone.expect("INVITE")
    phone.answer(again, 200, phone.sdp(crypto(1, 1), version=9, profile="RTP/SAVP"))
    async with asyncio.timeout(PATIENCE):
        await rekeying
    await phone.hang_up(call)


# what an answer or an offer may say of its keys


@pytest.mark.parametrize(
    ("lines", "suite"),
    [
        ([crypto(7, 0)], CM_80),
        ([crypto(9, 0, CM_32)], CM_32),
        ([crypto(1, 0), crypto(2, 1, CM_32)], CM_80),
        ([crypto(1, 0, "SHA_9"), crypto(2, 1, CM_32)], CM_32),
        ([crypto(1, 0, rest="|2^31|1:4")], CM_80),
        ([crypto(1, 0, rest="|2^20")], CM_80),
        ([crypto(1, 0, rest=" WSH=128")], CM_80),
        ([crypto(1, 0, rest=" -OPTIONAL=1")], CM_80),
    ],
    ids=["tag", "tag and suite", "two", "second", "mki", "lifetime", "window", "optional"],
)
async def test_an_answer_may_choose_in_its_own_way(phone, secured, lines, suite):
    call = await secured(*lines)
    assert call.media.suite == suite
    assert call.media.secure
    await phone.hang_up(call)


@pytest.mark.parametrize(
    ("rest", "reason"),
    [
        (" UNENCRYPTED_SRTP", "UNENCRYPTED_SRTP is not allowed"),
        (" UNENCRYPTED_SRTCP", "UNENCRYPTED_SRTCP is not allowed"),
        (" UNAUTHENTICATED_SRTP", "UNAUTHENTICATED_SRTP is not allowed"),
        (" KDR=3", "KDR"),
        (" FEC_KEY=inline:x", "FEC_KEY"),
        (" WSH=1", "WSH"),
        (" NEW_THING", "unknown mandatory session parameter"),
        ("|0", "lifetime"),
        ("|1:200", "MKI"),
    ],
)
async def test_what_cannot_be_honoured_is_refused_with_its_reason(alice, phone, rest, reason):
    async def answer():
        await phone.take(phone.sdp(crypto(1, 0, rest=rest), profile="RTP/SAVP"))
        phone.answer(await phone.expect("BYE"))

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(answer())
        with pytest.raises(NoCommonSuite, match=reason):
            async with alice.call(phone.uri, media=SECURE):
                pass
