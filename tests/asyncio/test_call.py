"""A call and what its peer does in the middle of it; the peer is a script on a socket."""

from __future__ import annotations

import asyncio
import socket

import pytest

from callmeter import events
from callmeter.config import MediaConfig, SrtpConfig, SrtpPolicy
from callmeter.errors import (
    CallFailed,
    CallRejected,
    CallTimedOut,
    ConfigurationError,
    LocalProtocolError,
    NegotiationError,
)
from callmeter.sip.message import Request
from callmeter.sip.parser import parse_message

LOOPBACK = "127.0.0.1"
PATIENCE = 20
SECURE = MediaConfig(srtp=SrtpConfig(policy=SrtpPolicy.REQUIRED))


class Phone:
    """A phone that says what the test tells it to."""

    def __init__(self, bound, media_port):
        self._socket = bound
        self._host_port = f"{LOOPBACK}:{bound.getsockname()[1]}"
        self.uri = f"sip:phone@{self._host_port}"
        self._media_port = media_port
        self._peer = None
        self.invite = None
        self._cseq = 10

    async def receive(self):
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(PATIENCE):
            data, self._peer = await loop.sock_recvfrom(self._socket, 65_535)
        return parse_message(data)

    async def expect(self, method):
        while True:
            message = await self.receive()
            if isinstance(message, Request) and message.method == method:
                return message

    async def response(self, method):
        while True:
            message = await self.receive()
            if not isinstance(message, Request) and message.cseq.method == method:
                return message

    def sdp(self, *lines, version=1, host=LOOPBACK, profile="RTP/AVP"):
        tail = "".join(f"{line}\r\n" for line in lines)
        return (
            f"v=0\r\no=- 1 {version} IN IP4 {LOOPBACK}\r\ns=-\r\nc=IN IP4 {host}\r\nt=0 0\r\n"
            f"m=audio {self._media_port} {profile} 0 101\r\n"
            f"a=rtpmap:101 telephone-event/8000\r\n{tail}"
        ).encode()

    def answer(self, request, status=200, body=None, *, kind="application/sdp", reason=None):
        headers = [("Contact", f"<{self.uri}>")]
        if body:
            headers.append(("Content-Type", kind))
        response = request.create_response(
            status, reason, to_tag="phone", headers=headers, body=body or b""
        )
        self._socket.sendto(response.to_bytes(), self._peer)

    async def take(self, body=None, **how):
        """Answer the call that comes."""
        self.invite = await self.expect("INVITE")
        self.answer(self.invite, 200, body or self.sdp(), **how)
        return self.invite

    def request(self, method, body=b"", *, kind="application/sdp", cseq=None):
        invite = self.invite
        self._cseq += 1
        number = self._cseq if cseq is None else cseq
        tagged = f"{invite.to};tag=phone"
        headers = [
            ("Via", f"SIP/2.0/UDP {self._host_port};branch=z9hG4bK{method}{self._cseq};rport"),
            ("From", tagged),
            ("To", str(invite.from_)),
            ("Call-ID", invite.call_id),
            ("CSeq", f"{number} {method}"),
            ("Max-Forwards", "70"),
            ("Contact", f"<{self.uri}>"),
        ]
        if body:
            headers.append(("Content-Type", kind))
        request = Request(method, invite.contacts[0].uri, headers, body)
        self._socket.sendto(request.to_bytes(), self._peer)
        return number


@pytest.fixture
def phone(silent_port):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound:
        bound.bind((LOOPBACK, 0))
        bound.settimeout(0)
        yield Phone(bound, silent_port)


@pytest.fixture
async def alice(make_endpoint):
    return await make_endpoint("alice")


@pytest.fixture
def begin(phone):
    """Call the phone, which answers."""

    async def answered(endpoint, body=None):
        call = await endpoint.invite(phone.uri)
        await phone.take(body)
        await call.answered(PATIENCE)
        await phone.expect("ACK")
        return call

    return answered


async def finish(call, phone):
    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as tasks:
        tasks.create_task(call.bye())
        phone.answer(await phone.expect("BYE"))
    assert call.over


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
    await finish(call, phone)


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
    timing = call.report().to_dict()["timing"]
    assert timing["time_to_trying_ms"] <= timing["post_dial_delay_ms"]


async def test_the_time_to_call_again_is_kept(alice, phone):
    call = await alice.invite(phone.uri)
    invite = await phone.expect("INVITE")
    response = invite.create_response(480, to_tag="p", headers=[("Retry-After", "30 (lunch)")])
    phone._socket.sendto(response.to_bytes(), phone._peer)
    with pytest.raises(CallRejected) as caught:
        await call.answered(PATIENCE)
    assert caught.value.retry_after == 30


# re-INVITEs of the peer


async def test_a_hold_of_the_peer_is_noted_and_its_end_too(alice, phone, begin):
    call = await begin(alice)
    for line, direction in (("a=sendonly", "recvonly"), ("a=sendrecv", "sendrecv")):
        number = phone.request("INVITE", phone.sdp(line, version=phone._cseq))
        response = await phone.response("INVITE")
        assert response.status == 200
        phone.request("ACK", cseq=number)
        assert call.media.direction == direction
    await finish(call, phone)
    assert [e for e in await kinds(call) if e in {"Held", "Resumed"}] == ["Held", "Resumed"]
    assert call.report().to_dict()["counters"]["hold_count"] == 1


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
    await finish(call, phone)
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
    await finish(call, phone)


@pytest.mark.parametrize("host", [None, "phone.example"], ids=["no sdp", "a name"])
async def test_a_re_invite_that_cannot_be_taken_is_refused_and_the_call_goes_on(
    alice, phone, begin, host
):
    call = await begin(alice)
    number = phone.request("INVITE", phone.sdp(host=host, version=2) if host else b"v=1\r\n")
    assert (await phone.response("INVITE")).status == 488
    phone.request("ACK", cseq=number)
    number = phone.request("INVITE", phone.sdp(version=3))
    assert (await phone.response("INVITE")).status == 200
    phone.request("ACK", cseq=number)
    await finish(call, phone)
    assert call.report().to_dict()["outcome"] == "SUCCESS"


# re-INVITEs of ours


async def test_a_hold_that_is_refused_changes_nothing(alice, phone, begin):
    call = await begin(alice)
    holding = asyncio.get_running_loop().create_task(call.hold())
    phone.answer(await phone.expect("INVITE"), 403)
    with pytest.raises(CallRejected, match="403"):
        await holding
    assert call.media.direction == "sendrecv"
    assert call.report().to_dict()["counters"]["hold_count"] == 0
    number = phone.request("INVITE", phone.sdp(version=2))
    response = await phone.response("INVITE")
    assert b"a=sendonly" not in response.body
    phone.request("ACK", cseq=number)
    await finish(call, phone)


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
    await finish(call, phone)


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
    await finish(call, phone)


async def test_the_end_of_the_call_ends_a_re_invite_under_way(alice, phone, begin):
    call = await begin(alice)
    holding = asyncio.get_running_loop().create_task(call.hold())
    await phone.expect("INVITE")
    phone.request("BYE")
    with pytest.raises(CallFailed):
        async with asyncio.timeout(PATIENCE):
            await holding
    async with asyncio.timeout(PATIENCE):
        await call.ended()


# INFO and DTMF


async def test_an_info_is_answered_and_told(alice, phone, begin):
    call = await begin(alice)
    for body, kind in ((b"Signal=5\r\n", "application/dtmf-relay"), (b"hi", "text/plain")):
        phone.request("INFO", body, kind=kind)
        assert (await phone.response("INFO")).status == 200
    await finish(call, phone)
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
    await finish(call, phone)


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
