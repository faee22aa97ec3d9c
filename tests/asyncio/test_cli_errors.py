"""What the commands say of what failed, and what to do about it."""

from __future__ import annotations

import asyncio
import json

import pytest
from typer.testing import CliRunner

from callmeter.cli.app import app
from callmeter.cli.remedies import remedy_of, remedy_of_report
from callmeter.config import MediaConfig, SrtpConfig, SrtpPolicy
from callmeter.errors import AuthenticationFailed, ConnectionFailed, RegistrationFailed
from callmeter.load import answer_calls
from callmeter.metrics.phases import Phase
from callmeter.metrics.report import CallReport, ErrorReport, Finding, FindingStatus

PATIENCE = 60
ASK = "callmeter options asks whether anybody answers"


async def command(*arguments):
    """Run it in a thread, so that this loop can be its peer."""
    async with asyncio.timeout(PATIENCE):
        return await asyncio.to_thread(CliRunner().invoke, app, [str(item) for item in arguments])


# a call that cannot be placed


@pytest.mark.parametrize("transport", ["udp", "tcp", "tls"])
async def test_a_closed_port_is_reported_alike_by_every_transport(closed_port, tmp_path, transport):
    page, trace = tmp_path / "page.html", tmp_path / "trace.txt"
    asked = ("call", f"sip:bob@127.0.0.1:{closed_port}", "--transport", transport)
    result = await command(*asked, "--json", "--report", page, "--trace", trace)
    assert result.exit_code == 1
    report = json.loads(result.stdout)
    assert (report["phase"], report["outcome"]) == ("CLOSED", "OSERROR")
    assert report["error"]["type"] == "ConnectionFailed"
    assert {"signaling", "timing", "media", "counters", "diagnosis"} <= set(report)
    assert report["error"]["message"] in page.read_text()
    assert trace.exists()
    assert result.stderr.count("callmeter: ConnectionFailed: ") == 1


async def test_a_name_that_is_unknown_has_a_report_for_people():
    result = await command("call", "sip:bob@nowhere.invalid")
    assert result.exit_code == 1
    assert result.stdout.startswith("Call with sip:bob@nowhere.invalid: OSERROR\n")
    assert "ResolutionFailed: no address for nowhere.invalid" in result.stdout
    assert result.stderr.startswith("callmeter: ResolutionFailed: no address for nowhere.invalid")
    assert "What to do: check the name" in result.stderr


# many calls


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_a_load_names_the_closed_port_and_what_to_do_once(closed_port, transport):
    asked = ("--transport", transport, "--calls", 3, "--rate", 50)
    result = await command("load", f"sip:bob@127.0.0.1:{closed_port}", *asked)
    assert result.exit_code == 1
    told, share = result.stderr.splitlines()
    assert told.startswith(
        f"callmeter: ConnectionFailed in 3 of 3 calls: {transport.upper()} "
        f"127.0.0.1:{closed_port}: Connection refused. What to do: check address, port"
    )
    assert share.startswith("callmeter: 0 of 3 calls ended well")


async def test_a_load_names_the_unknown_name_and_keeps_json_on_one_line():
    result = await command(
        *("load", "sip:bob@nowhere.invalid", "--calls", 2, "--rate", 50, "--json")
    )
    assert result.exit_code == 1
    assert len(result.stdout.splitlines()) == 1
    assert json.loads(result.stdout)["errors"] == {"ResolutionFailed": 2}
    told = result.stderr.splitlines()[0]
    assert told.startswith("callmeter: ResolutionFailed in 2 of 2 calls: no address for nowhere")
    assert told.endswith("callmeter resolve shows what the DNS was asked")


async def test_a_load_says_what_to_do_where_the_suites_do_not_fit(make_endpoint):
    media = MediaConfig(srtp=SrtpConfig(policy=SrtpPolicy.REQUIRED, suites=("AEAD_AES_256_GCM",)))
    bob = await make_endpoint("bob", media=media)
    async with asyncio.TaskGroup() as tasks:
        answering = tasks.create_task(answer_calls(bob))
        asked = ("--srtp", "sdes", "--suites", "AES_CM_128_HMAC_SHA1_80")
        result = await command("load", bob.contact, *asked, "--calls", 2, "--rate", 50)
        answering.cancel()
    assert result.exit_code == 1
    told = result.stderr.splitlines()[0]
    assert told.startswith("callmeter: NoCommonSuite in 2 of 2 calls: 488 ")
    assert "AEAD_AES_256_GCM" in told
    assert "What to do: " in told


def report_of(kind, message, *findings, status=None):
    return CallReport(
        phase=Phase.CLOSED,
        final_status_code=status,
        error=ErrorReport(kind, message),
        diagnosis=findings,
    )


@pytest.mark.parametrize(
    ("report", "words"),
    [
        (report_of("ConnectionFailed", "TCP 127.0.0.1:9: refused"), ASK),
        (report_of("CallTimedOut", "no final response to the INVITE"), ASK),
        (report_of("CallRejected", "404 Not Found", status=404), "registered"),
        (report_of("NoCommonSuite", "488"), "--suites"),
        (report_of("ZeroDivisionError", "a source of one's own"), ""),
        (report_of("annotations", "no error, but a name in that module"), ""),
        (CallReport(phase=Phase.CLOSED), ""),
    ],
)
def test_the_error_of_a_report_has_its_remedy(report, words):
    remedy = remedy_of_report(report)
    assert words in remedy
    assert bool(remedy) is bool(words)


def test_the_diagnosis_in_a_report_is_nearer_to_the_cause_than_its_error():
    failed = Finding("port_reachable", FindingStatus.FAIL, "nothing came", "open the port")
    assert remedy_of_report(report_of("ConnectionFailed", "refused", failed)) == "open the port"


# remedies that fit


async def test_options_to_a_closed_port_does_not_send_its_user_to_itself(closed_port):
    result = await command("options", f"sip:127.0.0.1:{closed_port}")
    assert result.exit_code == 1
    assert "callmeter: ConnectionFailed: " in result.stderr
    assert result.stderr.endswith("and that no firewall is in between\n")
    assert remedy_of(ConnectionFailed("refused")).endswith(ASK)


async def test_register_at_a_closed_port_does_not_speak_of_an_answer(closed_port):
    result = await command("register", "--aor", f"sip:bob@127.0.0.1:{closed_port}")
    assert result.exit_code == 1
    assert "cannot be reached: UDP 127.0.0.1" in result.stderr
    assert "check address, port and --transport" in result.stderr
    assert "--trace" not in result.stderr


async def test_register_without_a_password_is_told_to_give_one(registrar):
    result = await command("register", "--aor", registrar.aor("alice"))
    assert result.exit_code == 1
    assert "asks for credentials, and there are none: 401" in result.stderr
    assert result.stderr.endswith("What to do: give --user and --password\n")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (RegistrationFailed("x refused the registration: 403 No", status=403), "the answer is in"),
        (
            RegistrationFailed("x cannot be reached: no address for x: A x: none", status=503),
            "callmeter resolve",
        ),
        (AuthenticationFailed("x refused the credentials: 401", status=401), "its realm is in"),
    ],
)
def test_an_error_with_several_causes_has_the_remedy_of_its_own(error, words):
    assert words in remedy_of(error)
