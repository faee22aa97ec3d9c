"""A call and what its peer does in the middle of it; the peer is a script on a socket."""

from __future__ import annotations

import asyncio

import pytest

from callmeter import events
from callmeter.config import MediaConfig, SrtpConfig, SrtpPolicy
from callmeter.errors import (
    AuthenticationFailed,
    CallFailed,
    CallRejected,
    CallTimedOut,
    ConfigurationError,
    LocalProtocolError,
    NegotiationError,
)
from callmeter.metrics.phases import Outcome
from callmeter.sip.message import Request
from callmeter.sip.parser import parse_message

LOOPBACK = "127.0.0.1"
PATIENCE = 20
SECURE = MediaConfig(srtp=SrtpConfig(policy=SrtpPolicy.REQUIRED))


async def kinds(call):
    return [type(event).__name__ async for event in call.events()]


# answers


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"v=0\r\nnonsense", "application/sdp"),
        (b"no part here", "multipart/mixed"),
        (b"--x\r\n\xff\r\n--x--", "multipart/mixed;boundary=x"),
    ],
)
async def test_an_answer_that_cannot_be_read_ends_the_call_with_a_bye(alice, phone, body, kind):
    call = await alice.invite(phone.uri)
    await phone.take(body, kind=kind)
    waiting = asyncio.get_running_loop().create_task(call.answered(PATIENCE))
    phone.answer(await phone.expect("BYE"))
    with pytest.raises(NegotiationError) as caught:
        await waiting
    assert caught.value.report.to_dict()["outcome"] == "NEGOTIATION_FAILED"
    assert call.over


async def test_an_answer_in_a_multipart_body_is_found(alice, phone):
    call = await alice.invite(phone.uri)
    body = b"--x\r\nContent-Type: text/plain\r\n\r\nhi\r\n--x\r\nContent-Type: application/sdp\r\n"
    await phone.take(body + b"\r\n" + phone.sdp() + b"\r\n--x--", kind="multipart/mixed;boundary=x")
    await call.answered(PATIENCE)
    assert call.media.codec == "PCMU"
    await phone.expect("ACK")
    await phone.hang_up(call)


async def test_early_media_and_ringing_are_told_apart(alice, phone):
    call = await alice.invite(phone.uri)
    invite = await phone.expect("INVITE")
    phone.answer(invite, 100)
    phone.answer(invite, 180)
    phone.answer(invite, 183, phone.sdp())
    phone.answer(invite, 503, reason="Try Later")
    with pytest.raises(CallRejected, match="503 Try Later"):
        await call.answered(PATIENCE)
    await phone.expect("ACK")
    assert await kinds(call) == ["Ringing", "Ringing", "EarlyMedia", "Ended"]
    signaling = call.report().to_dict()["signaling"]
    assert (signaling["party"], signaling["call_id"]) == (phone.uri, invite.call_id)
    assert str(call.messages[0]).startswith(f"--- {signaling['begun_at'][:-1]}")
    timing = call.report().to_dict()["timing"]
    assert timing["time_to_trying_ms"] <= timing["post_dial_delay_ms"]


async def test_a_call_of_which_nothing_was_heard_ends_when_its_time_is_up(alice, phone, standstill):
    begun = alice.stack.now
    with pytest.raises(CallTimedOut, match="no answer within 2 s") as caught:
        async with alice.call(phone.uri, ring_timeout=2):
            pytest.fail("nobody answered")
    assert alice.stack.now - begun < 12 + standstill.seconds  # and not 32 s, which is Timer B
    assert caught.value.report.outcome is Outcome.TIMEOUT
    assert caught.value.timer == "ring"


async def test_a_call_given_up_before_the_peer_speaks_is_cancelled_when_it_does(
    alice, phone, monkeypatch
):
    monkeypatch.setattr("callmeter.call.UNHEARD_S", 0.0)
    call = await alice.invite(phone.uri)
    invite = await phone.expect("INVITE")
    async with asyncio.timeout(PATIENCE):
        await call.bye()
    assert call.report().outcome is Outcome.CALL_FAILED
    phone.answer(invite, 180)
    cancel = await phone.expect("CANCEL")
    phone.answer(cancel)
    phone.answer(invite, 487)
    await phone.expect("ACK")
    assert [event.cause async for event in call.events()] == ["cancelled"]
    assert call.report().final_status_code is None


async def test_an_answer_to_a_call_that_was_given_up_unheard_is_ended(alice, phone, monkeypatch):
    monkeypatch.setattr("callmeter.call.UNHEARD_S", 0.0)
    call = await alice.invite(phone.uri)
    invite = await phone.expect("INVITE")
    async with asyncio.timeout(PATIENCE):
        await call.bye()
    phone.answer(invite, 200, phone.sdp())
    await phone.expect("ACK")
    bye = await phone.expect("BYE")
    phone.answer(bye)
    assert call.report().outcome is Outcome.CALL_FAILED


async def test_a_response_in_time_is_waited_for_by_who_gives_up(alice, phone, monkeypatch):
    monkeypatch.setattr("callmeter.call.UNHEARD_S", float(PATIENCE))
    call = await alice.invite(phone.uri)
    invite = await phone.expect("INVITE")
    leaving = asyncio.get_running_loop().create_task(call.bye())
    await asyncio.sleep(0)
    phone.answer(invite, 180)
    phone.answer(await phone.expect("CANCEL"))
    assert not leaving.done()
    phone.answer(invite, 487)
    async with asyncio.timeout(PATIENCE):
        await leaving
    assert call.report().final_status_code == 487


async def test_who_is_asked_for_credentials_and_has_none_is_told_so(alice, phone):
    call = await alice.invite(phone.uri)
    invite = await phone.expect("INVITE")
    challenge = [("Proxy-Authenticate", 'Digest realm="r", nonce="n"')]
    response = invite.create_response(407, to_tag="p", headers=challenge)
    phone._socket.sendto(response.to_bytes(), phone._peer)
    with pytest.raises(AuthenticationFailed, match="asks for credentials, and there are none: 407"):
        await call.answered(PATIENCE)


async def test_the_time_to_call_again_is_kept(alice, phone):
    call = await alice.invite(phone.uri)
    invite = await phone.expect("INVITE")
    response = invite.create_response(480, to_tag="p", headers=[("Retry-After", "30 (lunch)")])
    phone._socket.sendto(response.to_bytes(), phone._peer)
    with pytest.raises(CallRejected) as caught:
        await call.answered(PATIENCE)
    assert caught.value.retry_after == 30


# INFO and DTMF


async def test_an_info_is_answered_and_told(alice, phone, begin):
    call = await begin(alice)
    for body, kind in ((b"Signal=5\r\n", "application/dtmf-relay"), (b"hi", "text/plain")):
        phone.request("INFO", body, kind=kind)
        assert (await phone.response("INFO")).status == 200
    await phone.hang_up(call)
    happened = [event async for event in call.events()]
    assert [e.digit for e in happened if isinstance(e, events.DtmfReceived)] == ["5"]
    (info,) = [e for e in happened if isinstance(e, events.InfoReceived)]
    assert (info.content_type, info.body) == ("text/plain", b"hi")


@pytest.mark.parametrize("method", ["rtp", "info"])
async def test_what_is_no_digit_is_refused_before_anything_is_sent(alice, phone, begin, method):
    call = await begin(alice)
    with pytest.raises(ConfigurationError):
        await call.send_dtmf("1\r\nX: y", method=method)
    with pytest.raises(LocalProtocolError, match="'rtp' or 'info'"):
        await call.send_dtmf("1", method="smoke")
    assert len(alice.messages.requests("INFO")) == 0
    await phone.hang_up(call)


async def test_digits_that_the_end_of_the_call_cuts_short_fail(alice, phone, begin, until):
    call = await begin(alice)
    dialling = asyncio.get_running_loop().create_task(call.send_dtmf("1" * 50))
    await until(lambda: call.media.statistics().dtmf_digits_sent)
    phone.request("BYE")
    with pytest.raises(CallFailed, match="before its digits were sent") as caught:
        await asyncio.wait_for(dialling, PATIENCE)
    assert caught.value.report == call.report()


async def test_digits_fail_when_the_peer_takes_telephone_events_no_more(alice, phone, begin, until):
    call = await begin(alice)
    dialling = asyncio.get_running_loop().create_task(call.send_dtmf("1" * 50))
    await until(lambda: call.media.statistics().dtmf_digits_sent)
    phone.request("INVITE", phone.sdp(version=2).replace(b" 0 101", b" 0"))
    with pytest.raises(LocalProtocolError, match="no telephone events any more"):
        await asyncio.wait_for(dialling, PATIENCE)
    await phone.hang_up(call)


async def test_who_stops_to_wait_for_digits_is_cancelled(alice, phone, begin, until):
    call = await begin(alice)
    dialling = asyncio.get_running_loop().create_task(call.send_dtmf("1" * 50))
    await until(lambda: call.media.statistics().dtmf_digits_sent)
    dialling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await dialling
    await phone.hang_up(call)


# what a caller may say of the INVITE


async def test_a_call_has_the_call_id_it_was_given(alice, phone):
    call = await alice.invite(phone.uri, call_id="load-7@example.com", headers={"X-Run": "7"})
    invite = await phone.take()
    assert invite.call_id == call.call_id == "load-7@example.com"
    assert invite.headers.get_all("X-Run") == ["7"]
    await call.answered(PATIENCE)
    with pytest.raises(LocalProtocolError, match="another call has the Call-ID"):
        await alice.invite(phone.uri, call_id="load-7@example.com")
    await phone.expect("ACK")
    await phone.hang_up(call)
    assert [m for m in call.messages if m.text.startswith("INVITE ")]


async def test_of_two_calls_at_once_one_gets_the_call_id(alice, phone, monkeypatch):
    find = alice.face_target

    async def find_slowly(*target):
        await asyncio.sleep(0)
        return await find(*target)

    monkeypatch.setattr(alice, "face_target", find_slowly)
    both = [alice.invite(phone.uri, call_id="load-8@example.com") for _ in range(2)]
    call, refused = await asyncio.gather(*both, return_exceptions=True)
    assert isinstance(refused, LocalProtocolError)
    assert alice.calls == [call]
    phone.answer(await phone.expect("INVITE"), 486)
    async with asyncio.timeout(PATIENCE):
        await call.ended()


@pytest.mark.parametrize("call_id", ["", "a b", "a@b@c", "a\r\nX: y", "ä", "x" * 256])
async def test_what_is_no_call_id_is_refused(alice, phone, call_id):
    with pytest.raises(ConfigurationError, match="no Call-ID"):
        await alice.invite(phone.uri, call_id=call_id)


@pytest.mark.parametrize("name", ["Call-ID", "i", "From", "cseq", "Content-Length", "a\r\nb"])
async def test_a_header_field_that_would_break_the_invite_is_refused(alice, phone, name):
    with pytest.raises(ConfigurationError):
        await alice.invite(phone.uri, headers={name: "1"})
    assert alice.calls == []


# out of season


async def test_what_needs_an_answered_call_is_refused_before_and_after(alice, phone, begin):
    call = await alice.invite(phone.uri)
    for early in (call.hold(), call.resume(), call.send_dtmf("1"), call.media.play()):
        with pytest.raises(LocalProtocolError):
            await early
    invite = await phone.expect("INVITE")
    phone.answer(invite, 486)
    async with asyncio.timeout(PATIENCE):
        await call.ended()
    for late in (call.hold(), call.send_dtmf("1"), call.media.play()):
        with pytest.raises(LocalProtocolError):
            await late
    await call.bye()
    with pytest.raises(CallRejected):
        await call.answered()


async def test_two_may_hang_up_at_once(alice, phone, begin):
    call = await begin(alice)
    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as tasks:
        for _ in range(3):
            tasks.create_task(call.bye())
        phone.answer(await phone.expect("BYE"))
    assert len(alice.messages.requests("BYE")) == 1


async def test_a_bye_nobody_answers_is_a_teardown_error(make_endpoint, hasty_stack, phone, begin):
    alice = await make_endpoint("alice", on=hasty_stack)
    call = await begin(alice)
    async with asyncio.timeout(PATIENCE):
        await call.bye()
    assert call.report().to_dict()["outcome"] == "TEARDOWN_ERROR"


async def test_a_dialog_the_peer_has_lost_ends_the_call(alice, phone, begin):
    call = await begin(alice)
    holding = asyncio.get_running_loop().create_task(call.hold())
    phone.answer(await phone.expect("INVITE"), 481)
    with pytest.raises(CallFailed):
        await holding
    async with asyncio.timeout(PATIENCE):
        await call.ended()
    assert call.report().to_dict()["outcome"] == "CALL_FAILED"


async def test_an_answer_nobody_acknowledges_times_out(make_endpoint, hasty_stack, phone):
    alice = await make_endpoint("alice", on=hasty_stack)
    phone._peer = hasty_stack.transport.listening()
    phone.invite = parse_message(
        Request(
            "INVITE",
            str(alice.contact),
            [
                ("Via", f"SIP/2.0/UDP {phone._host_port};branch=z9hG4bKfirst;rport"),
                ("From", f"<{phone.uri}>;tag=phone"),
                ("To", f"<{alice.contact}>"),
                ("Call-ID", "lost-ack"),
                ("CSeq", "1 INVITE"),
                ("Contact", f"<{phone.uri}>"),
                ("Content-Type", "application/sdp"),
            ],
            phone.sdp(),
        ).to_bytes()
    )
    phone._socket.sendto(phone.invite.to_bytes(), phone._peer)
    incoming = await alice.next_call(PATIENCE)
    assert incoming.caller == phone.uri
    with pytest.raises(CallTimedOut, match="acknowledged") as caught:
        await incoming.answer()
    assert caught.value.timer == "H"
    assert caught.value.report.to_dict()["outcome"] == "TIMEOUT"
    with pytest.raises(CallTimedOut):
        await incoming.answer()
