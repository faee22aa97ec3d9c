"""`callmeter load` and `callmeter answer --together`, run as a user would."""

from __future__ import annotations

import asyncio
import csv
import json
import signal
import subprocess
import sys
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from callmeter import CallRejected
from callmeter.cli.app import app
from callmeter.config import EndpointConfig, MediaConfig, SrtpConfig, SrtpPolicy
from callmeter.load import answer_calls
from callmeter.media.sources import Tone
from callmeter.testing.misbehaviour import MisbehavingEndpoint, Misbehaviour

SECURE = MediaConfig(srtp=SrtpConfig(policy=SrtpPolicy.REQUIRED))
PATIENCE = 60
PROGRAM = [sys.executable, "-P", "-m", "callmeter"]


async def load(*arguments):
    """Run the command in a thread, so that this loop can be its peer."""
    words = ["load", *map(str, arguments)]
    async with asyncio.timeout(PATIENCE):
        return await asyncio.to_thread(CliRunner().invoke, app, words)


@pytest.fixture
async def bob(make_endpoint):
    return await make_endpoint("bob", media=SECURE)


@pytest.fixture
async def echo(bob):
    """Where every call is answered."""
    async with asyncio.TaskGroup() as tasks:
        answering = tasks.create_task(answer_calls(bob))
        yield str(bob.contact)
        answering.cancel()


async def test_all_calls_are_summed_up_and_written(echo, tmp_path):
    rows, lines = tmp_path / "run.csv", tmp_path / "run.jsonl"
    amount = ("--calls", 4, "--rate", 20, "--duration", 0.2, "--srtp", "sdes")
    result = await load(echo, *amount, "--csv", rows, "--json-lines", lines)
    assert result.exit_code == 0, result.stderr
    assert result.stdout.startswith("4 calls, ASR 100.0%")
    with rows.open(newline="") as file:
        assert [row["keying"] for row in csv.DictReader(file)] == ["sdes"] * 4
    reports = [json.loads(line) for line in lines.read_text().splitlines()]
    assert [report["outcome"] for report in reports] == ["SUCCESS"] * 4


async def test_json_is_one_object_and_calls_that_fail_exit_1(echo):
    result = await load(echo, "--calls", 2, "--rate", 20, "--json")
    assert result.exit_code == 1
    found = json.loads(result.stdout)
    assert (found["calls"], found["asr"], found["final_statuses"]) == (2, 0.0, {"488": 2})
    error, share = result.stderr.splitlines()
    assert error.startswith("callmeter: CallRejected in 2 of 2 calls: 488 Not Acceptable Here")
    assert share == "callmeter: 0 of 2 calls ended well, 100.0% are asked for"


async def test_the_share_that_has_to_end_well_is_the_users(echo):
    result = await load(echo, "--calls", 2, "--rate", 20, "--success", 0)
    assert result.exit_code == 0
    assert "refused with            488 2" in result.stdout


async def test_a_strict_load_counts_calls_with_a_failed_check_as_failed(entered, stack):
    config = EndpointConfig("sip:mallory@127.0.0.1", media=SECURE)
    endpoint = MisbehavingEndpoint(config, Misbehaviour.OTHER_TAG_LENGTH, stack)
    mallory = await entered.enter_async_context(endpoint)
    amount = ("--calls", 2, "--rate", 20, "--duration", 0.8, "--srtp", "sdes")
    async with asyncio.TaskGroup() as tasks:
        answering = tasks.create_task(answer_calls(mallory))
        lenient = await load(mallory.contact, *amount)
        strict = await load(mallory.contact, *amount, "--strict")
        part = await load(mallory.contact, *amount, "--strict", "--success", 0)
        answering.cancel()
    assert (lenient.exit_code, lenient.stderr) == (0, "")
    assert strict.exit_code == 1
    check, share = strict.stderr.splitlines()
    assert check.startswith("callmeter: check tag_length failed in 2 of 2 calls: AES_CM_128_")
    assert share == "callmeter: 0 of 2 calls ended well, 100.0% are asked for"
    assert part.exit_code == 0
    assert part.stderr.startswith("callmeter: check tag_length failed")


async def test_calls_that_cannot_be_placed_count_as_failed():
    result = await load("sip:bob@nowhere.invalid", "--calls", 2, "--rate", 20)
    assert result.exit_code == 1
    assert "not placed              2" in result.stdout
    assert "0 of 2 calls ended well" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--play", "echo"], "--play echo: a load plays a tone"),
        (["--register"], "--register needs --aor"),
        (["--csv", "/nowhere/run.csv"], "--csv '/nowhere/run.csv': no file can be written there"),
        (["--calls", "0"], "Invalid value"),
        (["--bind", "127.0.0.1:99999"], "--bind '127.0.0.1:99999': port is 0 to 65535"),
    ],
)
async def test_a_mistake_exits_2(arguments, words):
    result = await load("sip:bob@127.0.0.1", *arguments)
    assert result.exit_code == 2
    assert words in result.stderr


async def test_it_registers_where_it_is_told_to(registrar):
    account = ("--aor", registrar.aor("alice"), "--password", "wrong", "--register")
    result = await load(registrar.aor("bob"), *account)
    assert result.exit_code == 1
    assert "AuthenticationFailed" in result.stderr


async def test_a_load_that_is_interrupted_hangs_up_and_tells_what_was_measured(
    bob, echo, until, tmp_path
):
    rows = tmp_path / "run.csv"
    process = await asyncio.create_subprocess_exec(
        *PROGRAM,
        *("load", echo, "--calls", "3", "--rate", "50", "--duration", "600", "--srtp", "sdes"),
        *("--csv", rows),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    async with asyncio.timeout(PATIENCE):
        assert process.stderr is not None
        # Told after some seconds, when all calls are up.
        told = (await process.stderr.readline()).decode()
        await until(lambda: len(bob.calls) == 3)
        process.send_signal(signal.SIGINT)
        out, complaint = await process.communicate()
    assert "3 calls up, 0 ended" in told
    assert process.returncode == 1
    assert out.decode().startswith("3 calls, ASR 100.0%")
    assert complaint.decode().splitlines()[-1] == "callmeter: interrupted"
    assert len(rows.read_text().splitlines()) == 4


@pytest.fixture
async def answering():
    """`process, port = await answering(...)`: `callmeter answer --together` beside the test."""
    started = []

    async def start(*arguments):
        process = await asyncio.create_subprocess_exec(
            *PROGRAM,
            *("answer", "--together", "--bind", "127.0.0.1:0", "--srtp", "sdes", *arguments),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        started.append(process)
        port = ""
        async with asyncio.timeout(PATIENCE):
            while not port:
                line = (await process.stderr.readline()).decode()
                port = line.partition("UDP 127.0.0.1 port ")[2].partition(" ")[0]
        return process, port

    yield start
    for process in started:
        if process.returncode is None:
            process.kill()
            await process.communicate()


@pytest.mark.parametrize("json_option", [(), ("--json",)], ids=["text", "json"])
async def test_calls_are_answered_while_others_are_up(make_endpoint, answering, json_option):
    process, port = await answering("--calls", "3", "--play", "echo", *json_option)
    alice = await make_endpoint("alice", media=SECURE)
    async with AsyncExitStack() as up, asyncio.timeout(PATIENCE):
        for _ in range(3):
            call = await up.enter_async_context(alice.call(f"sip:bob@127.0.0.1:{port}"))
            assert call.media.suite
    async with asyncio.timeout(PATIENCE):
        out, complaint = await process.communicate()
    assert process.returncode == 0, complaint
    if json_option:
        assert json.loads(out)["outcomes"]["SUCCESS"] == 3
    else:
        assert out.decode().startswith("3 calls, ASR 100.0%")


@pytest.mark.parametrize(
    ("own", "offered", "ports"),
    [([], True, 1), (["--no-rtcp-mux"], True, 3), ([], False, 3)],
    ids=["as a load", "RTCP on its own port", "a peer without rtcp-mux"],
)
async def test_calls_that_are_answered_together_share_a_media_port(
    make_endpoint, answering, own, offered, ports
):
    process, port = await answering("--calls", "3", *own)
    alice = await make_endpoint("alice", media=replace(SECURE, rtcp_mux=offered))
    async with AsyncExitStack() as up, asyncio.timeout(PATIENCE):
        calls = [
            await up.enter_async_context(alice.call(f"sip:bob@127.0.0.1:{port}")) for _ in range(3)
        ]
        found = {call.report().media[0].remote for call in calls}
    async with asyncio.timeout(PATIENCE):
        _, complaint = await process.communicate()
    assert process.returncode == 0, complaint
    assert len(found) == ports


async def test_calls_that_find_no_common_ground_are_summed_up_and_exit_1(make_endpoint, answering):
    process, port = await answering("--calls", "2")
    alice = await make_endpoint("alice")
    for _ in range(2):
        with pytest.raises(CallRejected):
            async with asyncio.timeout(PATIENCE), alice.call(f"sip:bob@127.0.0.1:{port}"):
                pass
    async with asyncio.timeout(PATIENCE):
        out, complaint = await process.communicate()
    assert process.returncode == 1
    assert b"NEGOTIATION_FAILED 2" in out
    assert complaint.decode().splitlines()[-1] == "callmeter: 0 of 2 calls ended well"


async def test_a_strict_answerer_tells_in_how_many_calls_a_check_failed(
    make_endpoint, entered, stack, answering
):
    process, port = await answering("--calls", "2", "--strict")
    config = EndpointConfig("sip:mallory@127.0.0.1", media=SECURE)
    mallory = await entered.enter_async_context(
        MisbehavingEndpoint(config, Misbehaviour.OTHER_TAG_LENGTH, stack)
    )
    for caller in (await make_endpoint("alice", media=SECURE), mallory):
        async with asyncio.timeout(PATIENCE), caller.call(f"sip:bob@127.0.0.1:{port}") as call:
            await call.media.play(Tone(440), seconds=0.8)
    async with asyncio.timeout(PATIENCE):
        _, complaints = await process.communicate()
    assert process.returncode == 1
    check, share = complaints.decode().splitlines()[-2:]
    assert check.startswith("callmeter: check tag_length failed in 1 of 2 calls: AES_CM_128")
    assert share == "callmeter: 1 of 2 calls ended well"


async def test_calls_that_are_interrupted_are_hung_up_and_summed_up(make_endpoint, answering):
    process, port = await answering("--calls", "0")
    alice = await make_endpoint("alice", media=SECURE)
    async with alice.call(f"sip:bob@127.0.0.1:{port}") as call, asyncio.timeout(PATIENCE):
        process.send_signal(signal.SIGTERM)
        out, complaint = await process.communicate()
        await call.ended()
    assert process.returncode == 1
    assert out.decode().startswith("1 call, ASR 100.0%")
    assert complaint.decode().splitlines()[-1] == "callmeter: terminated"


def test_a_page_is_of_one_call():
    result = CliRunner().invoke(app, ["answer", "--together", "--report", "call.html"])
    assert result.exit_code == 2
    assert "--report is of one call" in result.stderr
