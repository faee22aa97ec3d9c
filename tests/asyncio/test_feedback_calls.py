"""Calls under AVPF: what is offered as a=rtcp-fb, what is said, what both reports count."""

from __future__ import annotations

import asyncio
import secrets

import pytest

from callmeter.config import MediaConfig, SrtpConfig, SrtpMethod, SrtpPolicy
from callmeter.errors import ConfigurationError, LocalProtocolError
from callmeter.media_session import MediaSession

PATIENCE = 20
LOOPBACK = "127.0.0.1"
VIDEO_WORDS = ("nack", "nack pli", "nack sli", "ccm fir")
KEYS = {
    "plain": SrtpConfig(),
    "sdes": SrtpConfig(policy=SrtpPolicy.REQUIRED),
    "dtls": SrtpConfig(policy=SrtpPolicy.REQUIRED, method=SrtpMethod.DTLS),
}


@pytest.fixture
def session(stack):
    opened = []

    def make(**settings):
        config = MediaConfig(**{"feedback": True} | settings)
        opened.append(MediaSession(stack.media, config, LOOPBACK, entropy=secrets.token_bytes))
        return opened[-1]

    yield make
    for one in opened:
        one.close()


def lines(body):
    return [
        line
        for line in body.decode().split("\r\n")
        if line.startswith(("a=rtcp-fb", "a=rtcp-rsize"))
    ]


def offer(profile, *attributes):
    return (
        f"v=0\r\no=- 1 1 IN IP4 {LOOPBACK}\r\ns=-\r\nc=IN IP4 {LOOPBACK}\r\nt=0 0\r\n"
        f"m=audio 9 {profile} 0 8\r\n" + "".join(f"{line}\r\n" for line in attributes)
    ).encode()


async def test_feedback_is_offered_under_avpf_alone(session):
    assert lines(session().create_offer()) == ["a=rtcp-rsize", "a=rtcp-fb:* nack"]
    words = session(feedback_messages=("nack", "ccm fir")).create_offer()
    assert lines(words)[1:] == ["a=rtcp-fb:* nack", "a=rtcp-fb:* ccm fir"]
    assert lines(session(feedback=False).create_offer()) == []


@pytest.mark.parametrize(
    ("profile", "offered", "answered", "agreed"),
    [
        (
            "RTP/AVPF",
            ("a=rtcp-fb:* nack", "a=rtcp-rsize"),
            ["a=rtcp-rsize", "a=rtcp-fb:* nack"],
            {"nack"},
        ),
        (
            "RTP/AVPF",
            ("a=rtcp-fb:0 nack", "a=rtcp-fb:0 transport-cc"),
            ["a=rtcp-fb:0 nack"],
            {"nack"},
        ),
        ("RTP/AVPF", ("a=rtcp-fb:8 nack",), ["a=rtcp-fb:8 nack"], set()),
        ("RTP/AVPF", ("a=rtcp-fb:* nack pli",), [], set()),
        ("RTP/AVP", ("a=rtcp-fb:* nack", "a=rtcp-rsize"), [], set()),
    ],
)
async def test_an_offer_of_feedback_is_answered_with_what_both_take(
    session, profile, offered, answered, agreed
):
    answering = session(feedback=False)
    assert lines(answering.accept_offer(offer(profile, *offered))) == answered
    parameters = answering.stream._parameters
    assert parameters.feedback == agreed
    assert parameters.reduced_size == ("a=rtcp-rsize" in answered)


@pytest.mark.parametrize(
    ("answered", "agreed"),
    [
        (("a=rtcp-fb:* nack", "a=rtcp-rsize"), {"nack"}),
        (("a=rtcp-fb:0 nack",), {"nack"}),
        (("a=rtcp-fb:* nack pli",), set()),
        ((), set()),
    ],
)
async def test_only_what_the_answer_takes_is_used(session, answered, agreed):
    offering = session()
    offering.create_offer()
    offering.accept_answer(offer("RTP/AVPF", *answered))
    assert offering.stream._parameters.feedback == agreed
    assert offering.stream._parameters.reduced_size == ("a=rtcp-rsize" in answered)


@pytest.mark.parametrize("words", ["", "nack  pli", "nack\r\na=x", "Nack", "*"])
def test_words_that_are_no_feedback_are_refused(words):
    with pytest.raises(ConfigurationError, match="feedback message"):
        MediaConfig(feedback_messages=(words,))


@pytest.fixture
def connected(make_endpoint):
    """Both ends of a call."""

    async def connect(media):
        alice = await make_endpoint("alice", media=media)
        bob = await make_endpoint("bob", media=media)
        calling = await alice.invite(str(bob.contact))
        called = await bob.next_call(PATIENCE)
        await called.answer()
        await calling.answered()
        return calling, called

    return connect


async def hears(call, until, packets):
    await until(lambda: call.media.statistics().receive.packets_received >= packets)


def leave_out(stack, call, count):
    """The next packets of this side never leave."""
    stream = call.media.stream
    stack.media.send_table.sequence[stream._row] += count


@pytest.mark.parametrize("keys", KEYS)
@pytest.mark.parametrize("rtcp_mux", [False, True], ids=["two-ports", "mux"])
async def test_lost_audio_is_asked_for_and_both_reports_say_so(
    connected, stack, until, keys, rtcp_mux
):
    media = MediaConfig(srtp=KEYS[keys], rtcp_mux=rtcp_mux, feedback=True)
    alice, bob = await connected(media)
    await hears(bob, until, 5)
    leave_out(stack, alice, 2)
    await until(lambda: alice.media.statistics().feedback_received.nack)
    await alice.bye()
    await bob.ended()
    sent, received = (call.report().to_dict()["media"][0] for call in (alice, bob))
    assert received["feedback"] is True
    assert received["receive"]["packets_lost"] == 2
    assert received["receive"]["nack_count"] == sent["send"]["nack_count"] == 1
    assert received["send"]["nack_count"] == sent["receive"]["nack_count"] == 0


async def test_under_avp_nothing_is_asked_for(connected, stack, until):
    alice, bob = await connected(MediaConfig())
    await hears(bob, until, 5)
    leave_out(stack, alice, 2)
    await hears(bob, until, 20)
    assert bob.media.statistics().receive.packets_lost == 2
    assert bob.media.statistics().feedback_sent.nack == 0
    with pytest.raises(LocalProtocolError, match="did not agree"):
        bob.media.send_feedback("nack", lost=(1,))
    await alice.bye()
    await bob.ended()


async def test_each_kind_of_feedback_reaches_the_other_side(connected, until):
    alice, bob = await connected(MediaConfig(feedback=True, feedback_messages=VIDEO_WORDS))
    await hears(bob, until, 5)
    async with asyncio.timeout(PATIENCE):
        for words, name in (("nack pli", "pli"), ("ccm fir", "fir"), ("nack sli", "sli")):
            bob.media.send_feedback(words)
            await until(lambda name=name: getattr(alice.media.statistics().feedback_received, name))
    bob.media.send_feedback("nack", lost=(1, 2))
    await until(lambda: alice.media.statistics().feedback_received.nack)
    await alice.bye()
    await bob.ended()
    counted = alice.report().to_dict()["media"][0]["send"]
    assert [counted[f"{name}_count"] for name in ("nack", "pli", "fir", "sli")] == [1, 1, 1, 1]
