"""Calls with RTCP extended reports (RFC 3611): what is asked for, what both ends are told."""

from __future__ import annotations

import asyncio
import secrets

import pytest

from callmeter.config import MediaConfig
from callmeter.jitter_buffer_config import JitterBufferSettings
from callmeter.media_session import MediaSession

PATIENCE = 20
LOOPBACK = "127.0.0.1"


@pytest.fixture
def session(stack):
    opened = []

    def make(**settings):
        config = MediaConfig(**settings)
        opened.append(MediaSession(stack.media, config, LOOPBACK, entropy=secrets.token_bytes))
        return opened[-1]

    yield make
    for one in opened:
        one.close()


def asked(body):
    return [line for line in body.decode().split("\r\n") if line.startswith("a=rtcp-xr")]


def offer(*attributes, session=()):
    return (
        f"v=0\r\no=- 1 1 IN IP4 {LOOPBACK}\r\ns=-\r\nc=IN IP4 {LOOPBACK}\r\nt=0 0\r\n"
        + "".join(f"{line}\r\n" for line in session)
        + "m=audio 9 RTP/AVP 0 8\r\n"
        + "".join(f"{line}\r\n" for line in attributes)
    ).encode()


async def test_an_offer_asks_for_reports_unless_told_not_to(session):
    assert asked(session().create_offer()) == ["a=rtcp-xr:voip-metrics rcvr-rtt=all"]
    assert asked(session(extended_reports=False).create_offer()) == []


@pytest.mark.parametrize(
    ("lines", "level", "wanted"),
    [
        (["a=rtcp-xr:voip-metrics stat-summary=loss,dup"], [], {"voip-metrics", "stat-summary"}),
        ([], ["a=rtcp-xr:rcvr-rtt=sender:9"], {"rcvr-rtt"}),
        (["a=rtcp-xr:"], ["a=rtcp-xr:voip-metrics"], set()),
        ([], [], set()),
    ],
    ids=["of the media", "of the session", "none for this media", "never heard of it"],
)
async def test_an_answer_asks_only_who_asked(session, lines, level, wanted):
    answerer = session()
    answer = answerer.accept_offer(offer(*lines, session=level))
    assert answerer._stream._parameters.extended_reports == wanted
    assert bool(asked(answer)) == bool(wanted)


async def test_who_wants_none_sends_none(session):
    answerer = session(extended_reports=False)
    assert asked(answerer.accept_offer(offer("a=rtcp-xr:voip-metrics"))) == []
    assert answerer._stream._parameters.extended_reports == frozenset()


async def test_both_ends_of_a_call_have_the_figures_of_the_other(make_endpoint, until, standstill):
    buffer = JitterBufferSettings(adaptive=False, delay=0.08)
    alice = await make_endpoint("alice", media=MediaConfig(jitter_buffer=buffer))
    bob = await make_endpoint("bob")
    async with asyncio.timeout(PATIENCE):
        call = await alice.invite(str(bob.contact))
        called = await bob.next_call(PATIENCE)
        await called.answer()
        await call.answered()
        called.media.echo()
        await call.media.play(seconds=2)
        await until(lambda: call.media.statistics().xr.remote and call.media.statistics().xr.sent)
        await call.bye()
        await called.ended()
    (own,), (others,) = call.report().media, called.report().media
    assert own.send["xr_reports"] >= 1
    assert own.receive["jitter_buffer_target_delay_ms"] == 80
    assert own.receive["jitter_buffer_pushed"] > 50 - standstill.packets
    assert others.receive["xr_reports"] >= own.send["xr_reports"]
    assert own.send["xr_loss_rate"] == 0


async def test_a_running_call_has_its_figures_at_hand(make_endpoint, until):
    alice, bob = await make_endpoint("alice"), await make_endpoint("bob")
    async with asyncio.timeout(PATIENCE):
        call = await alice.invite(str(bob.contact))
        assert call.statistics().receive["packets_received"] == 0
        called = await bob.next_call(PATIENCE)
        await called.answer()
        await call.answered()
        await until(lambda: call.statistics().receive.get("packets_received"))
        assert call.statistics().timing.call_setup_time_ms > 0
        await call.bye()
        await called.ended()
    report = call.report()
    assert call.statistics().receive == report.media[0].receive
    assert report.to_dict()["health"]["health"] in {"HEALTHY", "DEGRADED", "UNHEALTHY"}
