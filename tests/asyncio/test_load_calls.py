"""Loads of calls with media between two endpoints."""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial
from math import nan

import pytest

from callmeter import ConfigurationError, MediaConfig, SrtpConfig, SrtpPolicy, Stack, StackConfig
from callmeter.load import (
    AtTime,
    CallLoad,
    Hold,
    LoadResult,
    Resume,
    ScenarioPlan,
    Step,
    answer_calls,
    run_calls,
)
from callmeter.media import Discard

SECURE = MediaConfig(srtp=SrtpConfig(policy=SrtpPolicy.REQUIRED))
LOOPBACK = "127.0.0.1"


@pytest.fixture
async def far_stack():
    async with Stack(StackConfig(bind=LOOPBACK)) as running:
        yield running


@pytest.fixture
def answered(make_endpoint, far_stack):
    """`async with answered(media) as uri`: somebody answers there."""

    @contextlib.asynccontextmanager
    async def serve(media=None):
        bob = await make_endpoint("bob", media=media, on=far_stack)
        async with asyncio.TaskGroup() as tasks:
            answering = tasks.create_task(answer_calls(bob))
            yield str(bob.contact)
            answering.cancel()

    return serve


async def test_all_calls_are_placed_talked_in_and_summed_up(make_endpoint, answered, standstill):
    alice = await make_endpoint("alice", media=SECURE)
    async with answered(SECURE) as uri:
        load = CallLoad(target=uri, calls=12, rate=40, seconds=0.4)
        result = await run_calls(alice, load)
    assert (len(result.reports), result.errors) == (12, {})
    assert result.summary.asr == 1
    assert result.to_dict()["outcomes"]["SUCCESS"] == 12
    assert str(result).startswith("12 calls, ASR 100.0%")
    assert "reports" not in repr(result)
    for report in result.reports:
        (stream,) = report.media
        assert stream.secure
        assert stream.receive["packets_received"] >= 10 - standstill.packets
        assert stream.receive["srtp_decrypt_failures"] == 0


async def test_calls_share_a_media_port_unless_they_say_otherwise(make_endpoint, answered):
    alice = await make_endpoint("alice")
    async with answered() as uri:
        shared = await run_calls(alice, CallLoad(target=uri, calls=3, rate=50, seconds=0.2))
        own = CallLoad(target=uri, calls=3, rate=50, seconds=0.2, media=MediaConfig())
        apart = await run_calls(alice, own)
    assert len({report.media[0].local for report in shared.reports}) == 1
    assert len({report.media[0].local for report in apart.reports}) == 3


async def test_rtcp_on_a_port_of_its_own_leaves_each_call_its_ports(make_endpoint, answered):
    alice = await make_endpoint("alice", media=MediaConfig(rtcp_mux=False))
    async with answered() as uri:
        result = await run_calls(alice, CallLoad(target=uri, calls=2, rate=50, seconds=0.1))
    assert len({report.media[0].local for report in result.reports}) == 2


async def test_no_more_calls_live_at_once_than_asked_for(make_endpoint, answered):
    alice = await make_endpoint("alice")
    most = 0
    async with answered() as uri, asyncio.TaskGroup() as tasks:
        load = CallLoad(target=uri, calls=4, rate=100, seconds=0.2, concurrent=2)
        running = tasks.create_task(run_calls(alice, load))
        while not running.done():
            most = max(most, len(alice.calls))
            await asyncio.sleep(0.005)
    assert most == 2
    assert running.result().latest > 0.1


async def test_calls_that_fail_are_counted_and_the_others_go_on(make_endpoint, answered):
    alice = await make_endpoint("alice", media=SECURE)
    async with answered() as uri:
        result = await run_calls(alice, CallLoad(target=uri, calls=3, rate=50, seconds=0.1))
    assert result.errors == {"NoCommonSuite": 3}
    assert result.summary.asr == 0
    result = await run_calls(alice, CallLoad(target="sip:bob@nowhere.invalid", calls=2, rate=50))
    assert result.errors == {"ResolutionFailed": 2}
    assert str(result).splitlines()[-1].split() == ["errors", "ResolutionFailed", "2"]
    assert "not placed              2" in str(result)
    assert (result.reports, result.to_dict()["unplaced"]) == ([], 2)


async def test_a_source_that_raises_in_one_call_is_counted_and_the_others_go_on(
    make_endpoint, answered
):
    class Fragile(Discard):
        """It breaks in the first call it plays in."""

        def __init__(self):
            super().__init__()
            self.lines = []

        def line(self):
            line = Discard()
            line.next_frame = partial(self.next_frame, line)
            self.lines.append(line)
            return line

        def next_frame(self, line, codec, samples):
            if line is self.lines[0]:
                raise RuntimeError("microphone unplugged")
            return bytes(samples)

    alice = await make_endpoint("alice")
    async with answered() as uri:
        load = CallLoad(target=uri, calls=3, rate=50, seconds=0.2, source=Fragile())
        result = await run_calls(alice, load)
    assert result.errors == {"RuntimeError": 1}
    assert len(result.reports) == 3


async def test_a_scenario_runs_in_each_call(make_endpoint, answered):
    alice = await make_endpoint("alice")
    plan = ScenarioPlan((Step(AtTime(0.05), Hold()), Step(AtTime(0.15), Resume())))
    async with answered() as uri:
        load = CallLoad(target=uri, calls=2, rate=50, seconds=0.6, scenario=plan)
        result = await run_calls(alice, load)
    for report in result.reports:
        assert report.counters["scenario_actions_executed"] == 2
        assert report.counters["hold_count"] == 1


async def test_a_load_that_is_cancelled_hangs_up(make_endpoint, answered, until):
    alice = await make_endpoint("alice")
    async with answered() as uri, asyncio.TaskGroup() as tasks:
        load = CallLoad(target=uri, calls=3, rate=100, seconds=60)
        result = LoadResult()
        running = tasks.create_task(run_calls(alice, load, result))
        await until(lambda: len(alice.calls) == 3)
        running.cancel()
    assert alice.calls == []
    assert len(result.reports) == 3


@pytest.mark.parametrize(
    "figure",
    [
        {"calls": 0},
        {"concurrent": 0},
        {"rate": 0},
        {"rate": nan},
        {"seconds": -1},
        {"seconds": nan},
        {"source": "tone"},
    ],
)
def test_a_figure_that_makes_no_load_is_refused(figure):
    with pytest.raises(ConfigurationError):
        CallLoad(target="sip:bob@127.0.0.1", **figure)
