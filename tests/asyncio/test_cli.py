"""The commands, run as a user would."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import replace
from importlib.metadata import version

import pytest
from typer.testing import CliRunner

from callmeter import events
from callmeter.cli.app import app
from callmeter.cli.call import source_of
from callmeter.cli.output import run
from callmeter.config import EndpointConfig, MediaConfig, SrtpConfig, SrtpPolicy
from callmeter.errors import ConfigurationError
from callmeter.media.analysis import recorded_frequency
from callmeter.media.sources import Tone
from callmeter.testing.misbehaviour import MisbehavingEndpoint, Misbehaviour

SECURE = MediaConfig(srtp=SrtpConfig(policy=SrtpPolicy.REQUIRED))
PATIENCE = 60
PASSWORD = "wonderland"
PROGRAM = [sys.executable, "-P", "-m", "callmeter"]

REPORT_KEYS = {
    "phase",
    "outcome",
    "call_result",
    "final_status_code",
    "error",
    "signaling",
    "timing",
    "media",
    "counters",
    "diagnosis",
    "health",
}
STREAM_KEYS = {
    "kind",
    "codec",
    "profile",
    "keying",
    "suite",
    "rtcp_mux",
    "feedback",
    "ice",
    "direction",
    "local",
    "remote",
    "source",
    "send",
    "receive",
    "series",
}


def command(*arguments, **environment):
    return CliRunner().invoke(app, [str(item) for item in arguments], env=environment)


async def command_beside(*arguments, **environment):
    """Run a command in a thread, so that this loop can be its peer."""
    async with asyncio.timeout(PATIENCE):
        return await asyncio.to_thread(command, *arguments, **environment)


def only_object(text):
    lines = text.splitlines()
    assert len(lines) == 1
    return json.loads(lines[0])


@pytest.fixture
async def bob(make_endpoint):
    return await make_endpoint("bob", media=SECURE)


@pytest.fixture
def serve():
    async def answer(endpoint):
        incoming = await endpoint.next_call(PATIENCE)
        await incoming.answer()
        incoming.media.echo()
        await incoming.ended()
        return incoming

    return answer


# demo


def test_the_demo_prints_report_and_ladder_with_three_parties():
    result = command("demo", "--seconds", "0.5")
    assert result.exit_code == 0, result.stderr
    assert "SUCCESS" in result.stdout
    assert "SECURE: SDES AES_CM_128_HMAC_SHA1_80" in result.stdout
    heading = next(line for line in result.stdout.splitlines() if "registrar" in line)
    assert heading.split() == ["alice", "registrar", "bob"]
    assert "- BYE" in result.stdout
    assert "alice registered as sip:alice@127.0.0.1:" in result.stderr


def test_the_demo_writes_the_page_of_its_call(tmp_path):
    page = tmp_path / "demo.html"
    result = command("demo", "--seconds", "0.5", "--report", page)
    assert result.exit_code == 0, result.stderr
    assert "BYE" in page.read_text()
    assert command("demo", "--report", tmp_path).exit_code == 2


def test_the_demo_as_a_program_prints_one_object_and_nothing_else(standstill):
    done = subprocess.run(
        [*PROGRAM, "demo", "--json", "--seconds", "0.5"],
        capture_output=True,
        timeout=PATIENCE,
        check=True,
    )
    report = only_object(done.stdout.decode())
    assert set(report) == REPORT_KEYS
    assert report["outcome"] == "SUCCESS"
    assert set(report["media"][0]) == STREAM_KEYS
    assert report["media"][0]["receive"]["packets_received"] > 15 - standstill.packets
    assert done.stderr == b""


# call


async def test_a_call_is_reported_recorded_and_traced(bob, serve, tmp_path):
    heard, trace, page = (tmp_path / name for name in ("heard.wav", "trace.txt", "page.html"))
    async with asyncio.TaskGroup() as tasks:
        answering = tasks.create_task(serve(bob))
        result = await command_beside(
            *("call", bob.contact, "--srtp", "sdes", "--play", "tone:700", "--duration", "1"),
            *("--record", heard, "--trace", trace, "--dtmf", "5", "--bind", "127.0.0.1"),
            *("--report", page),
        )
        incoming = await answering
    assert result.exit_code == 0, result.stderr
    assert "SUCCESS" in result.stdout
    for words in ("answered: 200", "media from 127.0.0.1:", "ended: bye-sent"):
        assert words in result.stderr
    assert recorded_frequency(heard) == pytest.approx(700, abs=5)
    digits = [e.digit async for e in incoming.events() if isinstance(e, events.DtmfReceived)]
    assert digits == ["5"]
    key = incoming.media.keys.sdes.remote.to_attribute().key_params.partition(":")[2]
    for text in (trace.read_text(), page.read_text()):
        assert "INVITE" in text
        assert "a=crypto" in text
        assert key not in text
        assert key[:20] not in text


@pytest.mark.parametrize("secrets", [False, True])
async def test_a_trace_of_packets_has_the_media_of_the_call(bob, serve, tmp_path, secrets):
    trace = tmp_path / "trace.pcapng"
    async with asyncio.TaskGroup() as tasks:
        answering = tasks.create_task(serve(bob))
        result = await command_beside(
            *("call", bob.contact, "--srtp", "sdes", "--duration", "0.3", "--trace", trace),
            *(["--trace-secrets"] if secrets else []),
        )
        incoming = await answering
    assert result.exit_code == 0, result.stderr
    octets = trace.read_bytes()
    assert octets[:4] == b"\n\r\r\n"
    # Of the media in clear the dissector is named, and of SRTP the key.
    assert (octets.count(b"rtp\0") > 20) is not secrets
    key = incoming.media.keys.sdes.remote.to_attribute().key_params.encode()
    assert (key in octets) is secrets


async def test_each_call_that_is_answered_has_a_page(make_endpoint, tmp_path):
    page = tmp_path / "page.html"
    alice = await make_endpoint("alice", media=SECURE)
    process = await asyncio.create_subprocess_exec(
        *PROGRAM,
        *("answer", "--bind", "127.0.0.1:0", "--srtp", "sdes", "--calls", "2", "--report", page),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    port = await read_port(process)
    async with asyncio.timeout(PATIENCE):
        for _ in range(2):
            async with alice.call(f"sip:bob@127.0.0.1:{port}") as call:
                await call.media.play(Tone(440), seconds=0.2)
        _, complaints = await process.communicate()
    assert process.returncode == 0, complaints
    assert all("INVITE" in (tmp_path / name).read_text() for name in ("page.html", "page-2.html"))


async def test_a_call_as_json_is_one_object_with_the_stable_keys(bob, serve):
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(serve(bob))
        result = await command_beside(
            "call", bob.contact, "--srtp", "sdes", "--json", "--duration", "0.5"
        )
    assert result.exit_code == 0, result.stderr
    report = only_object(result.stdout)
    assert set(report) == REPORT_KEYS
    assert set(report["media"][0]) == STREAM_KEYS
    assert report["signaling"]["transport"] == "UDP"
    assert result.stderr == ""


@pytest.mark.parametrize(("names", "codec"), [(["G722", "opus"], "G722"), (["OPUS"], "opus")])
async def test_a_call_speaks_the_codecs_it_is_told_in_their_order(
    make_endpoint, serve, tmp_path, names, codec
):
    media = MediaConfig(codecs=("opus", "G722"))
    bob = await make_endpoint("bob", media=media)
    heard = tmp_path / "heard.wav"
    options = [word for name in names for word in ("--codec", name)]
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(serve(bob))
        result = await command_beside(
            *("call", bob.contact, *options, "--json", "--duration", "1.5", "--record", heard)
        )
    assert result.exit_code == 0, result.stderr
    assert only_object(result.stdout)["media"][0]["codec"] == codec
    assert recorded_frequency(heard) == pytest.approx(440, abs=3)


@pytest.fixture
async def mallory(entered, stack):
    """One whose SRTP has another tag length than was agreed: answered, and unheard."""
    config = EndpointConfig("sip:mallory@127.0.0.1", media=SECURE)
    endpoint = MisbehavingEndpoint(config, Misbehaviour.OTHER_TAG_LENGTH, stack)
    return await entered.enter_async_context(endpoint)


async def test_a_call_prints_what_is_wrong_with_it_and_what_to_do(mallory, serve):
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(serve(mallory))
        result = await command_beside(
            "call", mallory.contact, "--srtp", "sdes", "--duration", "0.8"
        )
    assert "1 check failed" in result.stdout.splitlines()[0]
    assert "FAIL          tag_length: AES_CM_128_HMAC_SHA1_80 was agreed" in result.stdout
    assert "-> Enable both AES_CM_128_HMAC_SHA1_80" in result.stdout


@pytest.mark.parametrize("json_option", [[], ["--json"]])
async def test_a_failed_check_of_an_answered_call_exits_1_only_if_that_is_asked_for(
    mallory, serve, json_option
):
    call = ("call", mallory.contact, "--srtp", "sdes", "--duration", "0.8", *json_option)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(serve(mallory))
        lenient = await command_beside(*call)
    assert lenient.exit_code == 0, lenient.stderr
    assert "callmeter: check" not in lenient.stderr
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(serve(mallory))
        strict = await command_beside(*call, "--strict")
    assert strict.exit_code == 1
    complaints = [line for line in strict.stderr.splitlines() if line.startswith("callmeter: ")]
    assert len(complaints) == 1
    assert complaints[0].startswith(
        "callmeter: check tag_length failed: AES_CM_128_HMAC_SHA1_80 was agreed"
    )


async def test_a_strict_call_without_a_failed_check_exits_0(bob, serve):
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(serve(bob))
        result = await command_beside(
            *("call", bob.contact, "--srtp", "sdes", "--duration", "0.5", "--strict", "--json")
        )
    assert result.exit_code == 0, result.stderr
    assert result.stderr == ""


async def test_a_call_can_echo_until_the_other_end_hangs_up(bob):
    async def answer_and_leave():
        incoming = await bob.next_call(PATIENCE)
        await incoming.answer()
        await incoming.media.play(Tone(440), seconds=0.2)
        await incoming.bye()

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(answer_and_leave())
        result = await command_beside(
            "call", bob.contact, "--srtp", "sdes", "--play", "echo", "--duration", "50"
        )
    assert result.exit_code == 0, result.stderr
    assert "ended: bye-received" in result.stderr


async def test_an_echo_ends_with_its_duration(bob, serve):
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(serve(bob))
        result = await command_beside(
            "call", bob.contact, "--srtp", "sdes", "--play", "echo", "--duration", "0.2"
        )
    assert "ended: bye-sent" in result.stderr


SCENARIO = """{"name": "hold", "steps": [
  {"at": 0, "do": "hold"},
  {"at": 0.2, "do": "resume"},
  {"at": 0.2, "do": "send-dtmf", "digits": "5"},
  {"on": "dtmf-received", "digit": "9", "do": "hang-up"}]}"""


async def test_a_call_does_what_its_scenario_says(bob, tmp_path):
    plan = tmp_path / "hold.json"
    plan.write_text(SCENARIO)

    async def answer_digit():
        incoming = await bob.next_call(PATIENCE)
        await incoming.answer()
        async for event in incoming.events():
            if isinstance(event, events.DtmfReceived):
                await incoming.send_dtmf("9", method="info")
        return incoming

    async with asyncio.TaskGroup() as tasks:
        answering = tasks.create_task(answer_digit())
        result = await command_beside(
            *("call", bob.contact, "--srtp", "sdes", "--duration", "50", "--scenario", plan)
        )
        incoming = await answering
    assert result.exit_code == 0, result.stderr
    assert "Scenario hold: 4 done, 0 failed, 0 not triggered" in result.stdout
    assert "on dtmf-received 9, hang-up: executed" in result.stdout
    assert incoming.report().to_dict()["counters"]["hold_count"] == 1


@pytest.mark.parametrize("duration", ["0.05", "0.5"], ids=["the call is over", "without keys"])
async def test_a_scenario_of_which_something_failed_exits_1(
    make_endpoint, serve, tmp_path, duration
):
    # A call in clear has no keys to change, whether it is over by then or, on a slow machine, not.
    plan = tmp_path / "plan.json"
    plan.write_text('{"steps": [{"at": 0.1, "do": "rekey"}, {"at": 0.1, "do": "rekey"}]}')
    bob = await make_endpoint("bob")
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(serve(bob))
        result = await command_beside(
            *("call", bob.contact, "--json", "--scenario", plan, "--duration", duration)
        )
    assert result.exit_code == 1
    assert result.stderr.splitlines() == ["callmeter: 2 of 2 actions of the scenario failed"]
    report = only_object(result.stdout)
    assert report["counters"]["scenario_actions_failed"] == 2
    assert report["outcome"] == "COMPLETED_WITH_WARNINGS"
    assert set(report) == REPORT_KEYS | {"scenario"}
    assert [step["status"] for step in report["scenario"]["steps"]] == ["failed", "failed"]


@pytest.mark.parametrize("command_name", ["call", "answer"])
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "No such file or directory"),
        (b"\xff\xfe", "it is not UTF-8"),
        (b"{", "not JSON: "),
        (b'{"steps": [{"at": 1, "do": "dance"}]}', 'step 1: "do" is one of hold, resume'),
    ],
)
def test_a_scenario_file_that_cannot_be_used_exits_2(tmp_path, content, words, command_name):
    plan = tmp_path / "plan.json"
    if content is not None:
        plan.write_bytes(content)
    uri = ["sip:x@127.0.0.1"] if command_name == "call" else []
    result = command(command_name, *uri, "--scenario", plan)
    assert result.exit_code == 2
    assert result.stderr.startswith("callmeter: --scenario ")
    assert words in " ".join(result.stderr.split())
    assert result.stdout == ""


@pytest.mark.parametrize("json_option", [[], ["--json"]])
async def test_a_refused_call_exits_1_with_one_line(bob, json_option):
    async def refuse():
        (await bob.next_call(PATIENCE)).reject(486, "Busy [/red] Here")

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(refuse())
        result = await command_beside("call", bob.contact, "--srtp", "sdes", *json_option)
    assert result.exit_code == 1
    reason = "callmeter: CallRejected: 486 Busy [/red] Here. What to do: call again later"
    assert result.stderr.splitlines()[-1] == reason
    if json_option:
        report = only_object(result.stdout)
        assert report["error"] == {"type": "CallRejected", "message": "486 Busy [/red] Here"}
        assert report["call_result"] == "busy"
        assert len(result.stderr.splitlines()) == 1


async def test_a_call_that_ends_badly_without_an_error_exits_1_with_the_outcome(bob, monkeypatch):
    from callmeter.call import Call  # noqa: PLC0415
    from callmeter.metrics.phases import Outcome  # noqa: PLC0415

    async def answer_and_break():
        incoming = await bob.next_call(PATIENCE)
        await incoming.answer()
        await incoming.ended()

    report = Call.report
    bad = lambda call: replace(report(call), outcome=Outcome.TEARDOWN_ERROR)
    monkeypatch.setattr(Call, "report", bad)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(answer_and_break())
        result = await command_beside("call", bob.contact, "--srtp", "sdes", "--duration", "0")
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1] == "callmeter: the call ended as TEARDOWN_ERROR"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["call"], "Missing argument"),
        (["call", "sip:a b"], "not a SIP URI"),
        (
            ["call", "sip:x@127.0.0.1", "--srtp", "sdes", "--suites", "ROT13"],
            "known are AES_CM_128_HMAC_SHA1_80",
        ),
        (["doctor", "sip:x@127.0.0.1", "--suites", "ROT13"], "known are AES_CM_128_HMAC_SHA1_80"),
        (
            ["call", "sip:x@127.0.0.1", "--suites", "AEAD_AES_128_GCM"],
            "--suites needs --srtp sdes, --srtp dtls or --srtp dual",
        ),
        (
            ["call", "sip:x@127.0.0.1", "--srtp-policy", "offered"],
            "--srtp-policy needs --srtp sdes",
        ),
        (["answer", "--srtp-policy", "required"], "--srtp-policy needs --srtp sdes"),
        (
            ["load", "sip:x@127.0.0.1", "--srtp", "off", "--suites", "AEAD_AES_128_GCM"],
            "--suites needs --srtp sdes",
        ),
        (["call", "sip:x@127.0.0.1", "--codec", "G729"], "'G729' is not"),
        (["call", "sip:x@127.0.0.1", "--play", "nothing.wav"], "no such file"),
        (["call", "sip:x@127.0.0.1", "--play", "tone:high"], "frequency is a number"),
        (["call", "sip:x@127.0.0.1", "--play", "tone:9000"], "does not fit"),
        (["call", "sip:x@127.0.0.1", "--bind", "127.0.0.1:http"], "--bind"),
        (["call", "sip:x@127.0.0.1", "--bind", "localhost"], "not an IP address"),
        (["call", "sip:x@127.0.0.1", "--trace", "/nowhere/trace.txt"], "--trace"),
        (["call", "sip:x@127.0.0.1", "--trace-secrets"], "--trace-secrets"),
        (["call", "sip:x@127.0.0.1", "--trace", "/tmp/x.txt", "--trace-secrets"], "pcapng"),
        (["call", "sip:x@127.0.0.1", "--record", "/"], "--record"),
        (["call", "sip:x@127.0.0.1", "--report", "/nowhere/x.html"], "--report"),
        (["call", "sip:x@127.0.0.1", "--aor", "alice"], "address of record"),
        (["call", "sip:x@127.0.0.1", "--dtmf", "12x"], "--dtmf '12x': not a DTMF digit: ['X']"),
        (["options", "tel:1"], "not a SIP URI"),
        (["answer", "--register"], "--register needs --aor"),
        (["answer", "--transport", "tls"], "tls takes calls with --tls-cert and --tls-key"),
        (["call", "x@127.0.0.1", "--tls-ca", __file__], f"--tls-ca {__file__} holds no PEM"),
        (["call", "x@127.0.0.1", "--tls-verify", "custom"], "custom needs --tls-ca"),
        (["call", "x@127.0.0.1", "--tls-key", __file__], "--tls-cert and --tls-key go together"),
        (["call", "x@127.0.0.1", "--tls-cert", __file__, "--tls-key", __file__], "--tls-"),
        (["doctor", "sip:x@127.0.0.1", "--trace", "x.txt"], "No such option: --trace"),
        (["register"], "--aor"),
        (["answer", "--play", "nothing.wav"], "no such file"),
        (["nonsense"], "No such command"),
    ],
    ids=lambda value: " ".join(value[:1] + value[2:]) if isinstance(value, list) else None,
)
def test_a_mistake_in_the_command_line_exits_2(arguments, words):
    result = command(*arguments)
    assert result.exit_code == 2
    assert words in result.stderr
    assert result.stdout == ""


def test_a_closed_port_exits_1_and_names_it(closed_port):
    result = command("call", f"sip:bob@127.0.0.1:{closed_port}", "--bind", "127.0.0.1")
    assert result.exit_code == 1
    last = result.stderr.splitlines()[-1]
    reason = f"callmeter: ConnectionFailed: UDP 127.0.0.1:{closed_port}: Connection refused. "
    assert last.startswith(f"{reason}What to do: check address, port and --transport")


def test_a_port_that_is_taken_exits_1_with_an_object_for_json(silent_port):
    result = command("call", "127.0.0.1", "--bind", f"127.0.0.1:{silent_port}", "--json")
    assert result.exit_code == 1
    assert only_object(result.stdout)["error"]["type"] == "ConnectionFailed"
    assert f"cannot listen on UDP 127.0.0.1:{silent_port}" in result.stderr


# answer


async def test_answer_runs_a_scenario_in_its_call(make_endpoint, tmp_path):
    plan = tmp_path / "plan.json"
    plan.write_text('{"steps": [{"on": "hold-received", "do": "hang-up"}]}')
    alice = await make_endpoint("alice", media=SECURE)
    process = await asyncio.create_subprocess_exec(
        *PROGRAM,
        *("answer", "--bind", "127.0.0.1:0", "--srtp", "sdes", "--scenario", plan, "--json"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    port = await read_port(process)
    async with asyncio.timeout(PATIENCE), alice.call(f"sip:bob@127.0.0.1:{port}") as call:
        await call.hold()
        await call.ended()
    async with asyncio.timeout(PATIENCE):
        out, _ = await process.communicate()
    assert process.returncode == 0
    assert only_object(out.decode())["scenario"]["executed"] == 1


async def read_port(process) -> str:
    async with asyncio.timeout(PATIENCE):
        line = (await process.stderr.readline()).decode()
    assert line.startswith("listening on UDP 127.0.0.1 port ")
    return line.split()[5]


@pytest.mark.parametrize(("strict", "status"), [([], 0), (["--strict"], 1)])
async def test_a_failed_check_of_a_call_that_came_in_exits_1_only_if_that_is_asked_for(
    mallory, strict, status
):
    process = await asyncio.create_subprocess_exec(
        *PROGRAM,
        *("answer", "--bind", "127.0.0.1:0", "--srtp", "sdes", *strict),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    port = await read_port(process)
    async with asyncio.timeout(PATIENCE):
        async with mallory.call(f"sip:bob@127.0.0.1:{port}") as call:
            await call.media.play(Tone(440), seconds=0.8)
        _, complaints = await process.communicate()
    assert process.returncode == status, complaints
    assert complaints.decode().count("callmeter: check tag_length failed: AES_CM") == status


@pytest.mark.parametrize("json_option", [[], ["--json"]])
async def test_answer_takes_a_call_and_reports_it(make_endpoint, standstill, json_option):
    alice = await make_endpoint("alice", media=SECURE)
    process = await asyncio.create_subprocess_exec(
        *PROGRAM,
        *("answer", "--bind", "127.0.0.1:0", "--srtp", "sdes", "--play", "echo", *json_option),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    port = await read_port(process)
    async with alice.call(f"sip:bob@127.0.0.1:{port}") as call:
        await call.media.play(Tone(440), seconds=0.5)
        assert call.media.statistics().receive.packets_received > 10 - standstill.packets
    async with asyncio.timeout(PATIENCE):
        out, _ = await process.communicate()
    assert process.returncode == 0
    if json_option:
        assert only_object(out.decode())["outcome"] == "SUCCESS"
    else:
        assert "SUCCESS" in out.decode()


async def test_answer_registers_and_serves_as_many_calls_as_asked_for(make_registered, registrar):
    bob = await make_registered("bob", "builder")
    serving = asyncio.get_running_loop().create_task(
        command_beside(
            *("answer", "--register", "--calls", "2", "--play", "silence"),
            *("--aor", registrar.aor("alice"), "--password", PASSWORD, "--bind", "127.0.0.1"),
        )
    )
    async with asyncio.timeout(PATIENCE):
        while not registrar.contacts("alice"):
            assert not serving.done(), serving.result().stderr
            await asyncio.sleep(0.01)
        for _ in range(2):
            async with bob.call(registrar.aor("alice")) as call:
                await call.media.play(seconds=0.1)
        result = await serving
    assert result.exit_code == 0, result.stderr
    assert result.stdout.count("SUCCESS") == 2
    assert registrar.contacts("alice") == []
    assert PASSWORD not in result.stdout + result.stderr


async def test_answer_that_finds_no_common_ground_exits_1(make_endpoint):
    alice = await make_endpoint("alice")
    process = await asyncio.create_subprocess_exec(
        *PROGRAM,
        *("answer", "--bind", "127.0.0.1:0", "--srtp", "sdes"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    port = await read_port(process)
    call = await alice.invite(f"sip:bob@127.0.0.1:{port}")
    async with asyncio.timeout(PATIENCE):
        await call.ended()
        _, told = await process.communicate()
    assert process.returncode == 1
    assert told.decode().splitlines()[-1].startswith("callmeter: SrtpRequired: ")


# register


async def test_registering_says_for_how_long(registrar, tmp_path):
    trace = tmp_path / "trace.txt"
    result = await command_beside(
        *("register", "--aor", registrar.aor("alice"), "--expires", "60", "--trace", trace),
        CALLMETER_PASSWORD=PASSWORD,
    )
    assert result.exit_code == 0, result.stderr
    assert result.stdout.startswith(f"registered {registrar.aor('alice')} at sip:alice@127.0.0.1:")
    assert result.stdout.endswith(" for 60 s\n")
    text = trace.read_text()
    assert text.count("REGISTER sip:") >= 3
    assert PASSWORD not in text
    assert "Authorization: Digest" in text
    assert re.search(r'response="?[0-9a-f]{16}', text) is None
    assert registrar.contacts("alice") == []


async def test_registering_as_json_is_one_object(registrar):
    result = await command_beside(
        *("register", "--aor", registrar.aor("alice"), "--json", "--user", "alice"),
        *("--password", PASSWORD),
    )
    told = only_object(result.stdout)
    assert told["aor"] == registrar.aor("alice")
    assert told["contact"].startswith("sip:alice@127.0.0.1:")
    assert (told["expires"], told["refreshes"]) == (600, 0)
    assert result.stderr == ""


async def test_a_wrong_password_exits_1_without_showing_it(registrar):
    result = await command_beside(
        "register", "--json", "--aor", registrar.aor("alice"), "--password", "looking-glass"
    )
    assert result.exit_code == 1
    assert result.stderr.startswith("callmeter: AuthenticationFailed: ")
    assert len(result.stderr.splitlines()) == 1
    assert only_object(result.stdout)["error"]["type"] == "AuthenticationFailed"
    assert "looking-glass" not in result.stdout + result.stderr


async def test_a_binding_that_is_lost_meanwhile_exits_1():
    from callmeter.testing.registrar import Registrar  # noqa: PLC0415

    async with Registrar({"alice": PASSWORD}, min_expires=1) as registrar:
        running = asyncio.get_running_loop().create_task(
            command_beside(
                *("register", "--aor", registrar.aor("alice"), "--password", PASSWORD),
                *("--expires", "2", "--duration", "4"),
            )
        )
        async with asyncio.timeout(PATIENCE):
            while not registrar.contacts("alice"):
                assert not running.done(), running.result().stderr
                await asyncio.sleep(0.01)
        registrar.core.accounts["alice"] = "changed"
        result = await running
    assert result.exit_code == 1
    assert "AuthenticationFailed" in result.stderr


# options


async def test_options_prints_what_the_peer_can_do(bob):
    result = await command_beside("options", bob.contact)
    assert result.exit_code == 0, result.stderr
    lines = dict(line.split(maxsplit=1) for line in result.stdout.splitlines())
    assert lines["Status"] == "200 OK"
    assert "INVITE" in lines["Allow"]


async def test_options_as_json_is_one_object(bob):
    result = await command_beside("options", bob.contact, "--json")
    told = only_object(result.stdout)
    assert set(told) == {"status", "reason", "round_trip_ms", "headers"}
    assert told["status"] == 200
    assert told["round_trip_ms"] > 0


async def test_options_that_are_refused_exit_1_with_one_line(registrar):
    result = await command_beside("options", f"sip:bob@127.0.0.1:{registrar.address[1]}")
    assert result.exit_code == 1
    assert "Status      480 " in result.stdout
    assert result.stderr.splitlines() == [
        f"callmeter: sip:bob@127.0.0.1:{registrar.address[1]} answered 480 Temporarily Unavailable"
    ]


# the rest


def test_options_of_a_call_become_settings():
    from callmeter.cli.settings import CallOptions, Policy, Srtp  # noqa: PLC0415

    given = CallOptions(bind="[::1]:5062", srtp=Srtp.DUAL, suites="AEAD_AES_128_GCM", avpf=True)
    assert (given.stack_config().bind, given.stack_config().port) == ("::1", 5062)
    assert given.media_config().srtp.method.name == "DUAL"
    assert given.media_config().srtp.policy is SrtpPolicy.REQUIRED
    assert given.media_config().feedback
    assert not given.media_config().ice
    assert CallOptions(ice=True).media_config().ice
    assert given.endpoint_config(peer_host="::1").aor == "sip:callmeter@[::1]"
    assert CallOptions().media_config().srtp.policy is SrtpPolicy.DISABLED
    falls_back = CallOptions(srtp=Srtp.SDES, srtp_policy=Policy.OFFERED)
    assert falls_back.media_config().srtp.policy is SrtpPolicy.OFFERED
    assert CallOptions(bind="::1").stack_config().port == 0


def test_every_source_has_a_name(tmp_path):
    assert repr(source_of("tone")) == repr(Tone(440))
    assert source_of("echo") is None
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"RIFF")
    with pytest.raises(ConfigurationError):
        source_of(str(broken))


def test_the_version_is_that_of_the_package():
    result = command("--version")
    assert result.exit_code == 0
    assert result.stdout == f"callmeter {version('callmeter')}\n"


async def interrupted(process, signal_number):
    """The signal, once the call of the command has media; its output and its errors."""
    async with asyncio.timeout(PATIENCE):
        while b"media from" not in await process.stderr.readline():
            pass
        process.send_signal(signal_number)
        out, complaint = await process.communicate()
    assert process.returncode == 1
    return out.decode(), complaint.decode()


@pytest.mark.parametrize(
    ("signal_number", "word"), [(signal.SIGINT, "interrupted"), (signal.SIGTERM, "terminated")]
)
async def test_a_call_that_is_interrupted_is_hung_up_and_reported(
    bob, serve, tmp_path, signal_number, word
):
    trace, page = tmp_path / "call.txt", tmp_path / "call.html"
    process = await asyncio.create_subprocess_exec(
        *PROGRAM,
        *("call", str(bob.contact), "--srtp", "sdes", "--duration", "60"),
        *("--trace", trace, "--report", page),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(serve(bob))
        out, complaint = await interrupted(process, signal_number)
    assert "SUCCESS" in out
    assert complaint.splitlines()[-1] == f"callmeter: {word}"
    assert "BYE sip:" in trace.read_text()
    assert "<html" in page.read_text()


async def test_a_scenario_that_is_interrupted_leaves_the_report_of_its_call(bob, serve, tmp_path):
    plan = tmp_path / "plan.json"
    plan.write_text('{"steps": [{"on": "hold-received", "do": "hang-up"}]}')
    process = await asyncio.create_subprocess_exec(
        *PROGRAM,
        *("call", str(bob.contact), "--srtp", "sdes", "--duration", "60", "--scenario", plan),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(serve(bob))
        out, complaint = await interrupted(process, signal.SIGINT)
    assert "SUCCESS" in out
    assert complaint.splitlines()[-1] == "callmeter: interrupted"


async def test_answer_that_is_interrupted_reports_the_call_it_is_in(make_endpoint, tmp_path):
    page = tmp_path / "call.html"
    alice = await make_endpoint("alice", media=SECURE)
    process = await asyncio.create_subprocess_exec(
        *PROGRAM,
        *("answer", "--bind", "127.0.0.1:0", "--srtp", "sdes", "--report", page),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    port = await read_port(process)
    async with alice.call(f"sip:bob@127.0.0.1:{port}") as call:
        call.media.echo()
        out, complaint = await interrupted(process, signal.SIGINT)
        await call.ended()
    assert "SUCCESS" in out
    assert complaint.splitlines()[-1] == "callmeter: interrupted"
    assert "<html" in page.read_text()


def test_an_interrupt_exits_1(capsys):
    async def broken_off() -> int:
        raise KeyboardInterrupt

    with pytest.raises(BaseException) as caught:
        run(broken_off())
    assert caught.value.exit_code == 1
    assert "interrupted" in capsys.readouterr().err


def test_a_mistake_of_ours_is_not_hidden():
    async def broken() -> int:
        raise ExceptionGroup("two", [ZeroDivisionError(), ValueError()])

    with pytest.raises(ExceptionGroup):
        run(broken())


def test_without_typer_it_says_what_to_install(tmp_path):
    (tmp_path / "typer.py").write_text("raise ModuleNotFoundError(name='typer')")
    path = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
    done = subprocess.run(
        [*PROGRAM, "demo"],
        capture_output=True,
        timeout=PATIENCE,
        check=False,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert done.returncode == 1
    assert done.stderr.decode().strip() == (
        "callmeter: the command line needs typer: pip install 'callmeter[cli]'"
    )


def test_another_module_that_is_missing_is_no_hint_to_install_typer(monkeypatch):
    from callmeter.cli import main  # noqa: PLC0415

    monkeypatch.setitem(sys.modules, "callmeter.cli.app", None)
    with pytest.raises(ModuleNotFoundError):
        main()
