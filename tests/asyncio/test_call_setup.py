"""The first offer and answer of a call: early, late, forked, and the other way round."""

from __future__ import annotations

import asyncio
import socket
import struct

import pytest

from callmeter import events
from callmeter.config import EndpointConfig, Extension, MediaConfig, SessionTimerConfig, SrtpConfig
from callmeter.endpoint import Endpoint
from callmeter.errors import (
    CallCancelled,
    CallRejected,
    CallTimedOut,
    LocalProtocolError,
    NegotiationError,
    SrtpRequired,
)
from callmeter.media.sources import Tone
from callmeter.metrics.phases import Outcome, Phase
from callmeter.sip.message import Request
from callmeter.srtp_config import SrtpMethod, SrtpPolicy

PATIENCE = 20
SECURE = MediaConfig(srtp=SrtpConfig(policy=SrtpPolicy.REQUIRED))
RELIABLE = [("Require", "100rel"), ("RSeq", "1")]


@pytest.fixture
def say(phone):
    """A response of the phone, in the dialog of `tag`."""

    def respond(request, status, body=b"", *, tag="phone", headers=()):
        lines = [("Contact", f"<{phone.uri}>"), *headers]
        if body:
            lines.append(("Content-Type", "application/sdp"))
        response = request.create_response(status, to_tag=tag, headers=lines, body=body)
        phone._socket.sendto(response.to_bytes(), phone._peer)

    return respond


@pytest.fixture
async def make(entered, stack):
    """An endpoint with settings of its own."""

    async def build(user, **settings):
        config = EndpointConfig(f"sip:{user}@127.0.0.1", **settings)
        return await entered.enter_async_context(Endpoint(config, stack))

    return build


async def told(call, kind):
    async with asyncio.timeout(PATIENCE):
        async for event in call.events():
            if isinstance(event, kind):
                return event
    return None


async def both(call, incoming):
    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as tasks:
        tasks.create_task(incoming.answer())
        tasks.create_task(call.answered())


async def conversation(make, *, offer=True, **settings):
    alice, bob = await make("alice", **settings), await make("bob", **settings)
    call = await alice.invite(str(bob.contact), offer=offer)
    return alice, call, await bob.next_call(PATIENCE)


def requests(endpoint):
    return [
        m.message.method
        for m in endpoint.messages
        if m.direction == "sent" and not m.raw.startswith(b"SIP/")
    ]


# early media


@pytest.mark.parametrize("offer", [True, False])
async def test_media_runs_before_the_answer_and_goes_on_after_it(make, standstill, offer):
    alice, call, incoming = await conversation(make, offer=offer)
    incoming.ring()
    await incoming.progress()
    await told(call, events.EarlyMedia)
    await told(incoming, events.EarlyMedia)
    assert (call.phase, incoming.phase) == (Phase.RINGING, Phase.RINGING)
    await asyncio.gather(
        call.media.play(Tone(440), seconds=0.2), incoming.media.play(Tone(880), seconds=0.2)
    )
    await told(call, events.MediaStarted)
    await both(call, incoming)
    await call.bye()
    assert requests(alice) == ["INVITE", "PRACK", "PRACK", "ACK", "BYE"]
    report = call.report()
    assert report.outcome is Outcome.SUCCESS
    assert report.timing.time_to_first_media_ms == 0.0
    assert report.media[0].receive["packets_received"] >= 5 - standstill.packets


async def test_early_media_without_prack_is_said_again_in_the_answer(make):
    _, call, incoming = await conversation(make, reliable_provisionals=Extension.DISABLED)
    await incoming.progress()
    await told(call, events.EarlyMedia)
    await incoming.progress()
    await both(call, incoming)
    bodies = {m.message.body for m in call.messages if m.raw.startswith(b"SIP/") and m.message.body}
    assert len(bodies) == 1
    await call.bye()


async def test_an_offer_needs_a_caller_that_acknowledges_it(make):
    _, call, incoming = await conversation(
        make, offer=False, reliable_provisionals=Extension.DISABLED
    )
    with pytest.raises(LocalProtocolError, match="reliable provisional"):
        await incoming.progress()
    await both(call, incoming)
    assert call.media.codec == incoming.media.codec == "PCMU"
    await call.bye()


async def test_early_media_with_nothing_in_common_is_refused(make, phone):
    bob = await make("bob", media=SECURE)
    alice = await make("alice")
    call = await alice.invite(str(bob.contact))
    incoming = await bob.next_call(PATIENCE)
    with pytest.raises(SrtpRequired):
        await incoming.progress()
    with pytest.raises(CallRejected, match="488"):
        await call.answered(PATIENCE)
    assert incoming.report().outcome is Outcome.NEGOTIATION_FAILED


async def test_an_early_answer_that_cannot_be_used_ends_the_call_only_if_it_is_final(
    alice, phone, say
):
    call = await alice.invite(phone.uri, media=SECURE)
    invite = await phone.expect("INVITE")
    say(invite, 183, phone.sdp())
    await told(call, events.Ringing)
    assert not call.over
    say(invite, 183, phone.sdp(), headers=RELIABLE)
    await phone.expect("PRACK")
    cancel = await phone.expect("CANCEL")
    say(cancel, 200)
    say(invite, 487)
    with pytest.raises(SrtpRequired):
        await call.answered(PATIENCE)
    assert call.report().outcome is Outcome.NEGOTIATION_FAILED


async def test_what_a_183_holds_besides_a_description_is_no_media(alice, phone):
    call = await alice.invite(phone.uri)
    invite = await phone.expect("INVITE")
    phone.answer(invite, 183, b"v=1", kind="application/isup")
    await told(call, events.Ringing)
    phone.answer(invite, 200, phone.sdp())
    await call.answered(PATIENCE)
    assert [e async for e in _so_far(call) if isinstance(e, events.EarlyMedia)] == []
    await phone.expect("ACK")
    await phone.hang_up(call)


async def _so_far(call):
    async for event in call.events():
        yield event
        if isinstance(event, events.Answered):
            return


async def test_early_media_with_dtls_runs_when_its_keys_are_there(make):
    srtp = SrtpConfig(method=SrtpMethod.DTLS, policy=SrtpPolicy.REQUIRED)
    _, call, incoming = await conversation(make, media=MediaConfig(srtp=srtp))
    await incoming.progress()
    assert incoming.media.secure
    await told(call, events.EarlyMedia)
    await told(incoming, events.EarlyMedia)
    await asyncio.gather(
        call.media.play(Tone(440), seconds=0.2), incoming.media.play(Tone(880), seconds=0.2)
    )
    await both(call, incoming)
    await call.bye()
    report = call.report()
    assert (report.outcome, report.timing.time_to_first_media_ms) == (Outcome.SUCCESS, 0.0)
    assert report.media[0].keying == "dtls"


async def test_a_caller_that_gives_up_ends_the_wait_for_early_media(make, phone):
    bob = await make("bob")
    phone._peer = bob.stack.transport.listening()
    invite = _invite(phone, bob, b"", ("Require", "100rel"))
    incoming = await bob.next_call(PATIENCE)

    async def give_up():
        await _status(phone, 183)
        cancel = (
            invite.to_bytes()
            .replace(b"INVITE sip", b"CANCEL sip")
            .replace(b"1 INVITE", b"1 CANCEL")
        )
        phone._socket.sendto(cancel, phone._peer)

    with pytest.raises(CallCancelled):
        await asyncio.gather(incoming.progress(), give_up())


# forking


@pytest.mark.parametrize("headers", [(), RELIABLE])
async def test_media_goes_with_the_phone_that_answers(alice, phone, say, closed_port, headers):
    call = await alice.invite(phone.uri)
    phone.invite = invite = await phone.expect("INVITE")
    early = phone.sdp().replace(b"m=audio %d" % phone._media_port, b"m=audio %d" % closed_port)
    say(invite, 183, early, tag="other", headers=headers)
    await told(call, events.EarlyMedia)
    assert call.media.remote == f"127.0.0.1:{closed_port}"
    say(invite, 183, phone.sdp(), headers=headers)
    if headers:
        for _ in range(2):
            await phone.expect("PRACK")
    say(invite, 200, b"" if headers else phone.sdp())
    await call.answered(PATIENCE)
    assert call.media.remote == f"127.0.0.1:{phone._media_port}"
    await phone.expect("ACK")
    await phone.hang_up(call)


async def test_early_media_of_the_newest_phone_is_heard(alice, phone, say, until):
    """There is one media port: it goes with the last that was the first time heard of."""
    call = await alice.invite(phone.uri)
    phone.invite = invite = await phone.expect("INVITE")
    first, second = (media_of(phone) for _ in range(2))
    with first, second:
        for number, (bound, tag) in enumerate(((first, "other"), (second, "phone")), 1):
            say(invite, 183, at(phone, bound), tag=tag)
            await until(lambda bound=bound: call.media.remote == address_of(bound))
            await early_media(call, number)
            for sequence in range(5):
                bound.sendto(rtp(sequence, ssrc=number), media_address(call))
            await until(lambda number=number: heard(call) == 5 * number)
            playing = asyncio.get_running_loop().create_task(call.media.play(seconds=5))
            async with asyncio.timeout(PATIENCE):
                assert (await asyncio.get_running_loop().sock_recv(bound, 2_000))[0] == 0x80
            playing.cancel()
        # What comes again, as a 183 does each minute, moves nothing; neither does nonsense.
        say(invite, 183, at(phone, first), tag="other")
        say(invite, 183, b"v=nonsense", tag="third")
        say(invite, 180)
        await until(lambda: any(m.text.startswith("SIP/2.0 180") for m in call.messages))
        assert call.media.remote == address_of(second)
        say(invite, 200, at(phone, first), tag="other")
        await call.answered(PATIENCE)
        assert call.media.remote == address_of(first)
    ack = await phone.expect("ACK")
    assert ack.to.tag == "other"
    leaving = asyncio.get_running_loop().create_task(call.bye())
    say(await phone.expect("BYE"), 200, tag="other")
    await leaving
    assert [type(event) async for event in call.events()].count(events.EarlyMedia) == 2


def media_of(phone):
    bound = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    bound.bind((phone._host_port.partition(":")[0], 0))
    bound.setblocking(False)  # noqa: FBT003  the socket's own signature
    return bound


def address_of(bound):
    host, port = bound.getsockname()
    return f"{host}:{port}"


def at(phone, bound):
    port = bound.getsockname()[1]
    return phone.sdp().replace(b"m=audio %d" % phone._media_port, b"m=audio %d" % port)


def media_address(call):
    host, _, port = call.media.local.rpartition(":")
    return host, int(port)


def rtp(sequence, *, ssrc):
    header = struct.pack("!BBHII", 0x80, 0, sequence, 160 * sequence, ssrc)
    return header + b"\xff" * 160


async def early_media(call, count):
    """Wait until it was told so often."""
    async with asyncio.timeout(PATIENCE):
        async for event in call.events():
            count -= isinstance(event, events.EarlyMedia)
            if not count:
                return


def heard(call):
    return call.media.statistics().receive.packets_received


async def test_a_second_phone_that_answers_is_hung_up(alice, phone, say):
    call = await alice.invite(phone.uri)
    phone.invite = invite = await phone.expect("INVITE")
    say(invite, 200, phone.sdp())
    await call.answered(PATIENCE)
    assert (await phone.expect("ACK")).to.tag == "phone"
    say(invite, 200, phone.sdp(), tag="late")
    assert (await phone.expect("ACK")).to.tag == "late"
    bye = await phone.expect("BYE")
    assert bye.to.tag == "late"
    say(bye, 200, tag="late")
    assert not call.over
    await phone.hang_up(call)


# delayed offers


async def test_the_offer_of_the_answer_is_answered_in_the_ack(alice, phone, begin):
    call = await alice.invite(phone.uri, offer=False)
    invite = await phone.take()
    assert not invite.body
    await call.answered(PATIENCE)
    assert b"m=audio" in (await phone.expect("ACK")).body
    assert call.media.codec == "PCMU"
    await phone.hang_up(call)


async def test_an_answer_without_the_offer_that_was_asked_for_ends_the_call(alice, phone, say):
    call = await alice.invite(phone.uri, offer=False)
    say(await phone.expect("INVITE"), 200)
    await phone.expect("ACK")
    phone.answer(await phone.expect("BYE"))
    with pytest.raises(NegotiationError):
        await call.answered(PATIENCE)


async def test_an_offer_in_a_prack_is_answered_there(make, phone):
    bob = await make("bob")
    phone._peer = bob.stack.transport.listening()
    phone.invite = _invite(phone, bob, phone.sdp(), ("Require", "100rel"))
    incoming = await bob.next_call(PATIENCE)
    incoming.ring(183, media=True)
    response = await _status(phone, 183)
    phone.invite = _Dialog(phone.invite, response)
    _prack(phone, response, phone.sdp("a=sendonly", version=2))
    answered = await phone.response("PRACK")
    assert b"a=recvonly" in answered.body
    incoming.ring()
    _prack(phone, await _status(phone, 180), b"v=nonsense")
    assert (await phone.response("PRACK")).status == 200
    assert (await _status(phone, 488)).status == 488
    assert incoming.report().outcome is Outcome.NEGOTIATION_FAILED


class _Dialog:
    """Our INVITE as the requests in its dialog need it."""

    def __init__(self, invite, response):
        self.to = str(invite.from_).partition(";tag")[0]
        self.from_ = response.to
        self.call_id = invite.call_id
        self.contacts = response.contacts


def _invite(phone, endpoint, body, *headers):
    lines = [
        ("Via", f"SIP/2.0/UDP {phone._host_port};branch=z9hG4bKearly;rport"),
        ("From", f"<{phone.uri}>;tag=phone"),
        ("To", f"<{endpoint.contact}>"),
        ("Call-ID", "early"),
        ("CSeq", "1 INVITE"),
        ("Max-Forwards", "70"),
        ("Contact", f"<{phone.uri}>"),
        *headers,
        *([("Content-Type", "application/sdp")] if body else []),
    ]
    request = Request("INVITE", endpoint.contact, lines, body)
    phone._socket.sendto(request.to_bytes(), phone._peer)
    return request


async def _status(phone, status):
    while True:
        response = await phone.response("INVITE")
        if response.status == status:
            return response


def _prack(phone, response, body):
    phone.request("PRACK", body, extra=[("RAck", f"{response.headers.get('RSeq')} 1 INVITE")])


# redirections


async def test_a_redirected_call_goes_to_its_new_target(make):
    alice, bob, carol = await make("alice"), await make("bob"), await make("carol")
    call = await alice.invite(str(bob.contact))
    (await bob.next_call(PATIENCE)).redirect(str(carol.contact))
    incoming = await carol.next_call(PATIENCE)
    await both(call, incoming)
    assert (await told(call, events.Redirected)).target == str(carol.contact)
    await call.bye()
    assert call.report().outcome is Outcome.SUCCESS


async def test_a_redirection_that_is_not_followed_is_a_rejection(make):
    alice, bob = await make("alice", redirects=0), await make("bob")
    call = await alice.invite(str(bob.contact))
    (await bob.next_call(PATIENCE)).redirect("sip:carol@example.com")
    with pytest.raises(CallRejected, match="302"):
        await call.answered(PATIENCE)
    assert call.report().final_status_code == 302


# CANCEL


async def test_an_answer_that_crosses_the_cancel_is_hung_up(alice, phone, say):
    call = await alice.invite(phone.uri)
    phone.invite = invite = await phone.expect("INVITE")
    say(invite, 180)
    await told(call, events.Ringing)
    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as tasks:
        tasks.create_task(call.bye())
        say(await phone.expect("CANCEL"), 200)
        say(invite, 200, phone.sdp())
        await phone.expect("ACK")
        phone.answer(await phone.expect("BYE"))
    report = call.report()
    assert (report.final_status_code, report.call_result) == (487, "cancelled")
    assert isinstance(call._error, CallCancelled)


# session timers


async def test_a_session_that_nobody_refreshes_ends_in_a_bye(make, phone, say):
    alice = await make("alice", session_timer=SessionTimerConfig(mode=Extension.SUPPORTED))
    call = await alice.invite(phone.uri)
    phone.invite = await phone.expect("INVITE")
    assert phone.invite.headers.get("Session-Expires") == "1800;refresher=uac"
    say(phone.invite, 200, phone.sdp(), headers=[("Session-Expires", "1;refresher=uas")])
    await call.answered(PATIENCE)
    phone.answer(await phone.expect("BYE"))
    await call.ended()
    report = call.report()
    assert report.outcome is Outcome.CALL_FAILED
    assert "nobody refreshed" in report.error.message
    assert await told(call, events.SessionExpired)


async def test_soft_expiry_warns_and_goes_on(make, phone, say):
    timer = SessionTimerConfig(mode=Extension.SUPPORTED, soft_expiry=True)
    alice = await make("alice", session_timer=timer)
    call = await alice.invite(phone.uri)
    phone.invite = await phone.expect("INVITE")
    say(phone.invite, 200, phone.sdp(), headers=[("Session-Expires", "1;refresher=uas")])
    await call.answered(PATIENCE)
    assert await told(call, events.SessionExpired)
    await phone.hang_up(call)
    assert call.report().outcome is Outcome.COMPLETED_WITH_WARNINGS


async def test_a_session_is_refreshed_by_re_invite_where_update_is_not_served(make, phone, say):
    alice = await make("alice", session_timer=SessionTimerConfig(mode=Extension.SUPPORTED))
    call = await alice.invite(phone.uri)
    phone.invite = await phone.expect("INVITE")
    agreed = [
        ("Session-Expires", "1;refresher=uac"),
        ("Require", "timer"),
        ("Allow", "INVITE, BYE"),
    ]
    say(phone.invite, 200, phone.sdp(), headers=agreed)
    await call.answered(PATIENCE)
    await phone.expect("ACK")
    again = await phone.expect("INVITE")
    assert again.body == phone.invite.body
    say(again, 200, phone.sdp(), headers=agreed)
    await told(call, events.SessionRefreshed)
    await phone.hang_up(call)
    assert call.report().counters["session_timer_refreshes"] == 1


async def test_a_callee_that_requires_timers_says_so(make):
    required = SessionTimerConfig(mode=Extension.REQUIRED)
    alice, bob = await make("alice"), await make("bob", session_timer=required)
    call = await alice.invite(str(bob.contact))
    with pytest.raises(CallRejected, match=r"421 .*the peer insists on timer"):
        await call.answered(PATIENCE)
    back = await bob.invite(str(alice.contact))
    with pytest.raises(CallRejected, match=r"420 .*the peer does not support timer"):
        await back.answered(PATIENCE)


async def test_a_provisional_response_that_nobody_acknowledges_ends_the_call(
    entered, hasty_stack, phone
):
    config = EndpointConfig("sip:bob@127.0.0.1")
    bob = await entered.enter_async_context(Endpoint(config, hasty_stack))
    phone._peer = hasty_stack.transport.listening()
    _invite(phone, bob, phone.sdp(), ("Require", "100rel"))
    incoming = await bob.next_call(PATIENCE)
    incoming.ring()
    async with asyncio.timeout(PATIENCE):
        await incoming.ended()
    report = incoming.report()
    assert (report.outcome, report.final_status_code) == (Outcome.TIMEOUT, 504)
    with pytest.raises(CallTimedOut, match="never acknowledged"):
        await incoming.answer()
