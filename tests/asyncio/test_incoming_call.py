"""An incoming call: what its caller, a script on a socket, sees of it."""

from __future__ import annotations

import asyncio

import pytest

from callmeter import events
from callmeter.config import MediaConfig, SrtpConfig, SrtpPolicy
from callmeter.errors import (
    CallCancelled,
    ConfigurationError,
    LocalProtocolError,
    NegotiationError,
)
from callmeter.sdp import parse_description

PATIENCE = 20
SECURE = MediaConfig(srtp=SrtpConfig(policy=SrtpPolicy.REQUIRED))
SDP = "Content-Type: application/sdp\r\n"


def description(port, *lines, profile="RTP/AVP", codec="0"):
    tail = "".join(f"{line}\r\n" for line in lines)
    return (
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
        f"m=audio {port} {profile} {codec}\r\n{tail}"
    )


class Caller:
    """Makes one call and follows its dialog."""

    def __init__(self, peer, stack, endpoint):
        self._peer, self._stack, self._endpoint = peer, stack, endpoint
        self.invite = ""

    async def call(self, body=""):
        extra = SDP if body else ""
        uri = str(self._endpoint.contact)
        self.invite = self._peer.request("INVITE", uri, extra=extra, body=body)
        self._peer.send(self._stack, self.invite)
        return await self._endpoint.next_call(PATIENCE)

    async def response(self, status):
        """The next response but 100 Trying and repetitions."""
        while True:
            message = await self._peer.receive()
            if message.status == status:
                return message

    async def request(self, method):
        while True:
            message = await self._peer.receive()
            if getattr(message, "method", None) == method:
                return message

    def ack(self, response, body=""):
        ack = self._peer.request(
            "ACK",
            str(self._endpoint.contact),
            to=str(response.to),
            call_id=response.call_id,
            extra=SDP if body else "",
            body=body,
        )
        self._peer.send(self._stack, ack)

    def cancel(self):
        lines = [line for line in self.invite.split("\r\n") if not line.startswith("Contact")]
        cancel = "\r\n".join(lines).replace("INVITE sip", "CANCEL sip")
        self._peer.send(self._stack, cancel.replace("1 INVITE", "1 CANCEL"))

    def answer(self, request):
        self._peer.answer(request, 200)


@pytest.fixture
def calls(peer, stack, make_endpoint):
    """An endpoint of ours, and who calls it."""

    async def make(media=None):
        bob = await make_endpoint("bob", media=media)
        return bob, Caller(peer, stack, bob)

    return make


async def hang_up(incoming, caller):
    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as tasks:
        tasks.create_task(incoming.bye())
        caller.answer(await caller.request("BYE"))
    assert incoming.over


async def test_ringing_then_answering_is_what_the_caller_sees(calls, silent_port):
    _, caller = await calls()
    incoming = await caller.call(description(silent_port))
    assert incoming.caller == "sip:peer@127.0.0.1"
    assert incoming.request.method == "INVITE"
    incoming.ring()
    ringing = await caller.response(180)
    answering = asyncio.get_running_loop().create_task(incoming.answer())
    answered = await caller.response(200)
    assert ringing.to.tag == answered.to.tag
    caller.ack(answered)
    assert await answering is incoming
    await hang_up(incoming, caller)
    told = [event async for event in incoming.events()]
    assert [event.status for event in told if isinstance(event, events.Ringing)] == [180]
    report = incoming.report().to_dict()
    assert (report["outcome"], report["final_status_code"]) == ("SUCCESS", 200)


async def answered(calls, port):
    """A call that is up, and who called."""
    _, caller = await calls()
    incoming = await caller.call(description(port))
    answering = asyncio.get_running_loop().create_task(incoming.answer())
    caller.ack(await caller.response(200))
    await answering
    return incoming, caller


async def test_a_second_answer_is_refused_and_changes_nothing_in_the_report(calls, silent_port):
    incoming, caller = await answered(calls, silent_port)
    answered_at = incoming._record.times.answer_at
    with pytest.raises(LocalProtocolError, match="answered already"):
        await incoming.answer()
    assert incoming._record.times.answer_at == answered_at
    await hang_up(incoming, caller)


async def test_an_invite_without_offer_gets_one_and_its_ack_brings_the_answer(calls, silent_port):
    _, caller = await calls()
    incoming = await caller.call()
    answering = asyncio.get_running_loop().create_task(incoming.answer())
    answered = await caller.response(200)
    assert parse_description(answered.body).media[0].port
    caller.ack(answered, description(silent_port, codec="8"))
    await answering
    assert incoming.media.codec == "PCMA"
    assert incoming.media.remote == f"127.0.0.1:{silent_port}"
    await hang_up(incoming, caller)


@pytest.mark.parametrize("body", ["", "v=0\r\nnonsense\r\n"])
async def test_an_ack_without_the_answer_it_owes_ends_the_call(calls, body):
    _, caller = await calls()
    incoming = await caller.call()
    answering = asyncio.get_running_loop().create_task(incoming.answer())
    caller.ack(await caller.response(200), body)
    caller.answer(await caller.request("BYE"))
    with pytest.raises(NegotiationError):
        await answering
    assert incoming.report().to_dict()["outcome"] == "NEGOTIATION_FAILED"


async def test_a_call_is_refused_with_the_status_and_words_given(calls, silent_port):
    bob, caller = await calls()
    incoming = await caller.call(description(silent_port))
    incoming.reject(603, "Not today")
    refused = await caller.response(603)
    caller.ack(refused)
    assert refused.reason == "Not today"
    async with asyncio.timeout(PATIENCE):
        await incoming.ended()
    assert incoming.report().to_dict()["final_status_code"] == 603
    assert bob.calls == []


async def test_hanging_up_before_answering_refuses_the_call(calls, silent_port):
    _, caller = await calls()
    incoming = await caller.call(description(silent_port))
    incoming.ring()
    leaving = asyncio.get_running_loop().create_task(incoming.bye())
    caller.ack(await caller.response(480))
    async with asyncio.timeout(PATIENCE):
        await leaving
    assert incoming.report().to_dict()["final_status_code"] == 480


async def test_a_call_its_caller_cancelled_cannot_be_answered(calls, silent_port):
    _, caller = await calls()
    incoming = await caller.call(description(silent_port))
    caller.cancel()
    caller.ack(await caller.response(487))
    async with asyncio.timeout(PATIENCE):
        await incoming.ended()
    with pytest.raises(CallCancelled) as caught:
        await incoming.answer()
    assert caught.value.report.to_dict()["outcome"] == "CALL_FAILED"


@pytest.mark.parametrize(
    ("media", "offer", "warning", "words"),
    [
        (None, {"codec": "18"}, "305", "G729"),
        (None, {"profile": "RTP/SAVP"}, "302", "Disabled"),
        (SECURE, {}, "302", "Required"),
        (
            SECURE,
            {
                "lines": ("a=crypto:1 F8_128_HMAC_SHA1_80 inline:" + "A" * 40,),
                "profile": "RTP/SAVP",
            },
            "399",
            "AEAD_AES_128_GCM",
        ),
        (None, {"port": 0}, "305", "no audio track"),
    ],
)
async def test_an_offer_with_nothing_in_common_gets_488_and_its_reason_in_words(
    calls, silent_port, media, offer, warning, words
):
    bob, caller = await calls(media)
    offer = {"port": silent_port, "lines": (), **offer}
    incoming = await caller.call(description(offer.pop("port"), *offer.pop("lines"), **offer))
    with pytest.raises(NegotiationError) as caught:
        await incoming.answer()
    refused = await caller.response(488)
    caller.ack(refused)
    code, _, text = refused.headers.get("Warning").split(" ", 2)
    assert code == warning
    assert words in text
    assert caught.value.report.to_dict()["outcome"] == "NEGOTIATION_FAILED"
    with pytest.raises(NegotiationError):
        await incoming.answer()
    assert bob.calls == []


async def test_an_answered_call_can_be_neither_refused_nor_rung(calls, silent_port):
    incoming, caller = await answered(calls, silent_port)
    for act in (incoming.ring, incoming.reject):
        with pytest.raises(LocalProtocolError):
            act()
    await hang_up(incoming, caller)
    assert incoming.report().to_dict()["outcome"] == "SUCCESS"


async def test_a_call_that_was_rejected_can_be_neither_answered_nor_rejected_again(make_endpoint):
    alice, bob = await make_endpoint("alice"), await make_endpoint("bob")
    call = await alice.invite(bob.contact)
    incoming = await bob.next_call(PATIENCE)
    incoming.reject(480)
    with pytest.raises(LocalProtocolError, match="its final response was 480"):
        await incoming.answer()
    with pytest.raises(LocalProtocolError):
        incoming.reject(486)
    async with asyncio.timeout(PATIENCE):
        await call.ended()
    assert incoming.report().final_status_code == 480


async def test_a_status_that_says_something_else_refuses_nothing(make_endpoint):
    alice, bob = await make_endpoint("alice"), await make_endpoint("bob")
    call = await alice.invite(bob.contact)
    incoming = await bob.next_call(PATIENCE)
    for wrong in (
        lambda: incoming.reject(200),
        lambda: incoming.ring(200),
        lambda: incoming.redirect(bob.contact, status=486),
        incoming.redirect,
    ):
        with pytest.raises(ConfigurationError):
            wrong()
    await incoming.answer()
    assert incoming.report().final_status_code == 200
    await call.bye()
