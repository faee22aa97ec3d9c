"""Many calls on one media port: every call hears its own peer, and who cannot share does not."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from callmeter.config import (
    CaptureConfig,
    MediaConfig,
    SrtpConfig,
    SrtpMethod,
    SrtpPolicy,
    StackConfig,
)
from callmeter.media.analysis import recorded_frequency
from callmeter.media.datagrams import uring
from callmeter.media.datagrams.ring import Ring
from callmeter.media.sources import Tone
from callmeter.stack import Stack

PATIENCE = 20
LOOPBACK = "127.0.0.1"
TONES = (400, 620, 900, 1300)
SDES = MediaConfig(shared_port=True, srtp=SrtpConfig(policy=SrtpPolicy.REQUIRED))
DTLS = MediaConfig(
    shared_port=True, srtp=SrtpConfig(method=SrtpMethod.DTLS, policy=SrtpPolicy.REQUIRED)
)
CLEAR = MediaConfig(shared_port=True, srtp=SrtpConfig(policy=SrtpPolicy.DISABLED))


@pytest.fixture
async def far_stack():
    async with Stack(StackConfig(bind=LOOPBACK)) as running:
        yield running


async def answer(endpoint, folder, heard):
    incoming = await endpoint.next_call(PATIENCE)
    await incoming.answer()
    name = str(len(heard))
    heard.append((incoming, incoming.media.record(folder / f"{name}.wav"), incoming.media.local))
    await incoming.ended()


async def call(endpoint, target, tone, done, seen):
    async with endpoint.call(target) as placed, asyncio.TaskGroup() as tasks:
        playing = tasks.create_task(placed.media.play(Tone(tone)))
        seen.append((tone, placed.media.local, placed.media.remote))
        await done.wait()
        playing.cancel()
    return placed.report().to_dict()["media"][0]


async def wait_until(condition):
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110  media counters have no event
            await asyncio.sleep(0.05)


def packets(incoming):
    statistics = incoming.media.statistics()
    return 0 if statistics is None else statistics.receive.packets_received


async def several_calls(alice, bob, folder):
    """Returns what alice saw, what bob saw, and the frequencies bob heard."""
    heard, seen, done = [], [], asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        for _ in TONES:
            tasks.create_task(answer(bob, folder, heard))
        placed = [
            tasks.create_task(call(alice, str(bob.contact), tone, done, seen)) for tone in TONES
        ]
        await wait_until(lambda: len(heard) == len(seen) == len(TONES))
        await wait_until(lambda: all(packets(incoming) >= 60 for incoming, *_ in heard))
        done.set()
    frequencies = sorted(recorded_frequency(recorder.path) for _, recorder, _ in heard)
    assert frequencies == [pytest.approx(tone, abs=5) for tone in TONES]
    return [task.result() for task in placed], [local for *_, local in heard], seen


@pytest.mark.parametrize("io_uring", [pytest.param(True, marks=pytest.mark.io_uring), False])
async def test_calls_with_ports_of_their_own_hear_their_own_peer_with_io_uring_and_without(
    make_endpoint, entered, tmp_path, monkeypatch, io_uring
):
    rings = []
    monkeypatch.setattr(uring, "Ring", lambda entries: rings.append(Ring(entries)) or rings[-1])
    media = replace(SDES, shared_port=False)
    stack = await entered.enter_async_context(Stack(StackConfig(bind=LOOPBACK, io_uring=io_uring)))
    alice = await make_endpoint("alice", media=media, on=stack)
    bob = await make_endpoint("bob", media=media, on=stack)
    reports, theirs, _ = await several_calls(alice, bob, tmp_path)
    assert stack.media.backend.name == ("uring" if io_uring else "portable")
    # Eight streams in one tick are enough for a ring.
    assert bool(rings) == io_uring
    assert len(set(theirs)) == len(TONES)
    for report in reports:
        assert report["receive"]["packets_lost"] == 0
        assert report["receive"]["srtp_decrypt_failures"] == 0


@pytest.mark.parametrize("together", [False, True], ids=["two stacks", "one stack"])
async def test_sdes_calls_between_two_shared_ports_are_told_apart(
    make_endpoint, stack, far_stack, tmp_path, together
):
    alice = await make_endpoint("alice", media=SDES)
    bob = await make_endpoint("bob", media=SDES, on=stack if together else far_stack)
    reports, theirs, seen = await several_calls(alice, bob, tmp_path)
    assert len({local for _, local, _ in seen}) == 1
    assert len(set(theirs)) == 1
    for report in reports:
        assert report["rtcp_mux"]
        assert report["receive"]["packets_lost"] == 0
        assert report["receive"]["srtp_decrypt_failures"] == 0
    assert stack.media.backend.name == "mmsg"


async def test_a_shared_port_is_said_to_take_rtcp_on_it_alone_and_names_its_source(
    make_endpoint, far_stack
):
    alice = await make_endpoint("alice", media=SDES)
    bob = await make_endpoint("bob", media=replace(SDES, shared_port=False), on=far_stack)
    placed = await alice.invite(str(bob.contact))
    async with placed:
        await (await bob.next_call(PATIENCE)).answer()
        await placed.answered()
    offered = placed.messages[0].raw
    assert b"\r\na=rtcp-mux-only\r\n" in offered
    assert b"\r\na=ssrc:" in offered
    answered = next(each.raw for each in placed.messages if each.raw.startswith(b"SIP/2.0 200"))
    assert b"a=rtcp-mux-only" not in answered


@pytest.mark.parametrize(("media", "alone"), [(DTLS, True), (CLEAR, False)], ids=["DTLS", "clear"])
async def test_an_answer_shares_its_port_only_with_those_it_is_told_apart_from(
    make_endpoint, far_stack, tmp_path, media, alone
):
    alice = await make_endpoint("alice", media=media)
    bob = await make_endpoint("bob", media=media, on=far_stack)
    _, theirs, seen = await several_calls(alice, bob, tmp_path)
    assert len({local for _, local, _ in seen}) == 1
    assert len(set(theirs)) == (len(TONES) if alone else 1)


@pytest.mark.parametrize(
    "changes", [{"ice": True}, {"capture": CaptureConfig()}], ids=["ICE", "capture"]
)
async def test_what_needs_a_port_of_its_own_has_one(make_endpoint, changes):
    media = MediaConfig(shared_port=True, **changes)
    alice = await make_endpoint("alice", media=media)
    bob = await make_endpoint("bob", media=MediaConfig(shared_port=True))
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(answer_and_wait(bob))
        async with alice.call(str(bob.contact)) as placed:
            assert not placed.media.stream.shared


async def answer_and_wait(endpoint):
    incoming = await endpoint.next_call(PATIENCE)
    await incoming.answer()
    await incoming.ended()


async def test_a_caller_without_rtcp_mux_is_answered_from_ports_of_its_own(make_endpoint):
    alice = await make_endpoint("alice", media=MediaConfig(rtcp_mux=False))
    bob = await make_endpoint("bob", media=MediaConfig(shared_port=True))
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(answer_and_wait(bob))
        async with alice.call(str(bob.contact)) as placed:
            assert not placed.media.rtcp_mux
