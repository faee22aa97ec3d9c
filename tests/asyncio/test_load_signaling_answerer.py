"""Signalling load, answered: over loopback sockets and with a phone that is a script."""

from __future__ import annotations

import asyncio
import socket

import pytest

from callmeter.config import LimitConfig, StackConfig, TimerConfig, TlsConfig, TlsVerify, Transport
from callmeter.load import SignalingAnswerer, SignalingCaller
from callmeter.testing.certificates import Authority

LOOPBACK = "127.0.0.1"
PATIENCE = 20
HASTY = TimerConfig(t1=1 / 64, t2=0.1, t4=0.1, ring_timeout=5)
PATIENT = TimerConfig(t1=4.0, t2=4.0)
"""Nothing is sent again that a busy machine takes a moment to answer."""


def config(**settings):
    return StackConfig(bind=LOOPBACK, **settings)


def tls(authority):
    issued = authority.issue(LOOPBACK)
    return (
        TlsConfig(certificate=issued.certificate, private_key=issued.private_key),
        TlsConfig(verify=TlsVerify.CUSTOM, ca=authority.pem),
    )


@pytest.mark.parametrize("name", ["udp", "tcp", "tls", "wss"])
async def test_calls_are_placed_answered_and_ended_by_every_transport(name):
    serving, trusting = tls(Authority())
    transport = Transport[name.upper()]
    listening = config(transports=(transport,), tls=serving, timers=PATIENT)
    async with asyncio.timeout(PATIENCE), SignalingAnswerer(listening) as answerer:
        port = answerer.transport.listening(name.upper())[1]
        word = "ws" if name == "wss" else name
        target = f"sip:service@{LOOPBACK}:{port};transport={word}"
        async with SignalingCaller(target, config(tls=trusting, timers=PATIENT)) as caller:
            placed = await caller.run(calls=20, rate=400)
            taken = await answerer.ended(20)
            assert (caller.live, answerer.live) == (0, 0)
    assert (placed.answered, placed.ended, placed.failed, placed.refused) == (20, 20, 0, 0)
    assert (taken.answered, taken.confirmed, taken.ended, taken.repeated) == (20, 20, 20, 0)
    assert (answerer.malformed, answerer.unreachable, caller.malformed) == (0, 0, 0)


class Script:
    """A UDP socket that says what the test tells it to."""

    def __init__(self, port):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setblocking(False)  # noqa: FBT003  the socket module's own signature
        self.socket.bind((LOOPBACK, 0))
        self.socket.connect((LOOPBACK, port))
        self.port = self.socket.getsockname()[1]

    def say(self, method, *lines, to="<sip:service@127.0.0.1>", cseq=1, branch="z9hG4bK1"):
        head = [
            f"{method} sip:service@127.0.0.1 SIP/2.0",
            f"Via: SIP/2.0/UDP {LOOPBACK}:{self.port};branch={branch}",
            "From: <sip:a@127.0.0.1>;tag=f",
            f"To: {to}",
            "Call-ID: c",
            f"CSeq: {cseq} {method}",
            f"Contact: <sip:a@{LOOPBACK}:{self.port}>",
            *lines,
            "Content-Length: 0",
        ]
        self.socket.send(("\r\n".join(head) + "\r\n\r\n").encode())

    async def hear(self, start):
        """The next message that begins like this."""
        loop = asyncio.get_running_loop()
        while True:
            data = await loop.sock_recv(self.socket, 4096)
            if data.startswith(start):
                return data.decode()


@pytest.fixture
async def answerer():
    async with SignalingAnswerer(config(timers=HASTY)) as running:
        yield running


@pytest.fixture
def script(answerer):
    script = Script(answerer.transport.listening("UDP")[1])
    yield script
    script.socket.close()


async def test_a_200_without_ack_is_sent_again_until_a_bye_ends_the_call(answerer, script):
    async with asyncio.timeout(PATIENCE):
        script.say("INVITE")
        await script.hear(b"SIP/2.0 180")
        first = await script.hear(b"SIP/2.0 200")
        assert await script.hear(b"SIP/2.0 200") == first
        bye = await script.hear(b"BYE")
        counters = await answerer.ended(1)
    assert f"BYE sip:a@{LOOPBACK}:{script.port} SIP/2.0" in bye
    assert counters.unacknowledged == 1
    assert counters.repeated > 1


async def test_a_repeated_invite_is_one_call(answerer, script):
    async with asyncio.timeout(PATIENCE):
        script.say("INVITE")
        script.say("INVITE")
        await script.hear(b"SIP/2.0 200")
        await answerer.ended(1)
    assert answerer.counters.invites == 1
    assert answerer.transactions > 0


async def test_a_cancel_comes_before_an_answer_that_waits():
    async with asyncio.timeout(PATIENCE), SignalingAnswerer(config(), answer_after=60) as answerer:
        script = Script(answerer.transport.listening("UDP")[1])
        with script.socket:
            script.say("INVITE")
            await script.hear(b"SIP/2.0 180")
            script.say("CANCEL")
            await script.hear(b"SIP/2.0 200")
            await script.hear(b"SIP/2.0 487")
            counters = await answerer.ended(1)
    assert (counters.cancelled, counters.answered) == (1, 0)


async def test_octets_that_are_no_message_are_answered_where_they_can_be(answerer, script):
    async with asyncio.timeout(PATIENCE):
        script.socket.send(b"\r\n\r\n")
        script.socket.send(b"hello")
        script.say("OPTIONS", "To: twice")
        await script.hear(b"SIP/2.0 400")
    assert answerer.malformed == 2


async def test_a_call_over_the_limit_is_refused():
    limited = config(limits=LimitConfig(dialogs=1))
    async with asyncio.timeout(PATIENCE), SignalingAnswerer(limited, answer_after=60) as answerer:
        port = answerer.transport.listening("UDP")[1]
        first, second = Script(port), Script(port)
        with first.socket, second.socket:
            first.say("INVITE")
            await first.hear(b"SIP/2.0 180")
            second.say("INVITE", branch="z9hG4bK2", cseq=2)
            assert "Retry-After" in await second.hear(b"SIP/2.0 503")


async def test_the_description_says_that_no_media_comes(script):
    async with asyncio.timeout(PATIENCE):
        script.say("INVITE")
        answer = await script.hear(b"SIP/2.0 200")
    assert "m=audio 9 RTP/AVP 0\r\n" in answer
    assert "a=inactive\r\n" in answer
