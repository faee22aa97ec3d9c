"""How long commands wait, talk and ring, and what a second Ctrl-C does."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import wave
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from callmeter.cli.app import app
from callmeter.cli.output import INTERRUPTED_TWICE, WAITING
from callmeter.media.sources import Tone
from callmeter.metrics.phases import Phase

PATIENCE = 60
PROGRAM = [sys.executable, "-P", "-m", "callmeter"]


async def command(*arguments):
    """Run it in a thread, so that this loop can be its peer."""
    async with asyncio.timeout(PATIENCE):
        return await asyncio.to_thread(CliRunner().invoke, app, [str(item) for item in arguments])


async def start(*arguments, **how):
    return await asyncio.create_subprocess_exec(
        *PROGRAM, *map(str, arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, **how
    )


@pytest.fixture
def short_file(tmp_path):
    """A fifth of a second: ten packets."""
    path = tmp_path / "short.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(b"\x00\x10" * 1600)
    return path


# ringing


async def test_a_call_that_only_rings_is_given_up_when_its_user_says(make_endpoint):
    bob = await make_endpoint("bob")

    async def ring():
        incoming = await bob.next_call(PATIENCE)
        incoming.ring()
        await incoming.ended()

    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as tasks:
        tasks.create_task(ring())
        result = await command("call", bob.contact, "--ring-timeout", 0.5, "--json")
    assert result.exit_code == 1
    error = json.loads(result.stdout)["error"]
    assert error == {"type": "CallTimedOut", "message": "no answer within 0.5 s"}
    assert result.stderr.endswith(
        "What to do: the callee rang and nobody took the call: "
        "call again, or with a longer --ring-timeout\n"
    )


async def test_calls_of_a_load_that_only_ring_are_given_up_when_their_user_says(make_endpoint):
    bob = await make_endpoint("bob")

    async def ring():
        for _ in range(2):
            (await bob.next_call(PATIENCE)).ring()

    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as tasks:
        tasks.create_task(ring())
        amount = ("--calls", 2, "--rate", 20)
        result = await command("load", bob.contact, *amount, "--ring-timeout", 0.5)
    assert result.exit_code == 1
    told = result.stderr.splitlines()[0]
    assert told.startswith("callmeter: CallTimedOut in 2 of 2 calls: no answer within 0.5 s. ")
    assert told.endswith("with a longer --ring-timeout")


@pytest.mark.parametrize("name", ["call", "load"])
async def test_nobody_waits_for_no_time_at_all(name):
    result = await command(name, "sip:bob@127.0.0.1", "--ring-timeout", 0)
    assert result.exit_code == 2
    assert "--ring-timeout" in result.stderr


# talking


@pytest.fixture
def take():
    async def answer(endpoint):
        async with asyncio.timeout(PATIENCE):
            incoming = await endpoint.next_call()
            await incoming.answer()
            await incoming.ended()

    return answer


@pytest.mark.parametrize("given", [True, False], ids=["--duration", "no --duration"])
async def test_silence_follows_a_file_until_the_time_is_over_that_was_asked_for(
    make_endpoint, take, short_file, standstill, given
):
    bob = await make_endpoint("bob")
    duration = ("--duration", 1) if given else ()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(take(bob))
        result = await command("call", bob.contact, "--play", short_file, "--json", *duration)
    assert result.exit_code == 0, result.stderr
    report = json.loads(result.stdout)
    sent = report["media"][0]["send"]["packets_sent"]
    if given:
        assert report["timing"]["call_duration_ms"] >= 1000
        assert sent > 40 - standstill.packets
    else:
        # Those of the file, and what left while the call was hung up.
        assert 0 < sent < 25 + standstill.packets


@pytest.mark.parametrize("given", [True, False], ids=["--duration", "no --duration"])
async def test_an_answerer_stays_as_long_as_its_user_says(
    make_endpoint, short_file, standstill, given
):
    alice = await make_endpoint("alice")
    duration = ("--duration", 1) if given else ()
    process = await start(
        *("answer", "--bind", "127.0.0.1:0", "--play", short_file, "--json", *duration)
    )
    async with asyncio.timeout(PATIENCE):
        port = (await process.stderr.readline()).decode().split()[5]
        async with alice.call(f"sip:bob@127.0.0.1:{port}") as call:
            call.media.stream.play(Tone(440))
            await call.ended()
        out, complaint = await process.communicate()
    assert process.returncode == 0, complaint
    sent = json.loads(out)["media"][0]["send"]["packets_sent"]
    assert sent > 40 - standstill.packets if given else sent < 25 + standstill.packets


async def test_a_file_that_is_cut_is_not_followed_by_silence(short_file):
    from callmeter.cli.call import talk  # noqa: PLC0415
    from callmeter.cli.settings import CallOptions  # noqa: PLC0415

    played = []

    async def play(source, *, seconds):
        played.append((type(source).__name__, seconds))
        return seconds

    call = SimpleNamespace(media=SimpleNamespace(play=play))
    await talk(call, CallOptions(play=str(short_file), duration=0.1), 0.1)
    assert played == [("WavFile", 0.1)]


# Ctrl-C


async def test_ctrl_c_says_what_it_waits_for_and_a_second_one_does_not_wait(phone, standstill):
    process = await start("call", phone.uri, "--json")
    async with asyncio.timeout(PATIENCE):
        phone.answer(await phone.expect("INVITE"), 180)
        # The CANCEL that follows is never answered.
        process.send_signal(signal.SIGINT)
        told = (await process.stderr.readline()).decode()
        assert process.returncode is None
        assert told == f"{WAITING}\n"
        process.send_signal(signal.SIGINT)
        begun = asyncio.get_running_loop().time()
        _, complaint = await process.communicate()
    # The INVITE that was given up would take 32 s.
    assert asyncio.get_running_loop().time() - begun < 10 + standstill.seconds
    assert process.returncode == INTERRUPTED_TWICE == 130
    assert complaint.decode() == "callmeter: interrupted\n"


@pytest.mark.parametrize(
    ("before", "status", "told"),
    [(signal.default_int_handler, 1, "callmeter: interrupted\n"), (signal.SIG_IGN, 0, "")],
    ids=["as usual", "in the background of a shell, which ignores it"],
)
async def test_ctrl_c_says_nothing_of_waiting_where_it_does_not_wait(
    make_endpoint, take, until, before, status, told
):
    bob = await make_endpoint("bob")
    process = await start(
        *("call", bob.contact, "--json", "--duration", 1 if status == 0 else 60),
        preexec_fn=lambda: signal.signal(signal.SIGINT, before),
    )
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(take(bob))
        await until(lambda: any(call.phase is Phase.INCALL for call in bob.calls))
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(PATIENCE):
            _, complaint = await process.communicate()
    assert process.returncode == status
    assert complaint.decode() == told
