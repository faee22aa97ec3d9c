"""What somebody at a terminal gets: colours, a bar, examples, completion, and what to do."""

from __future__ import annotations

import io
import os
import pty
import re
import subprocess
import sys

import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

from callmeter.cli.app import app
from callmeter.cli.remedies import remedy_of
from callmeter.cli.terminal import TalkBar
from callmeter.errors import (
    AuthenticationFailed,
    CallRejected,
    CallTimedOut,
    ConnectionFailed,
    MessageTooLarge,
    NoCommonSuite,
    RegistrationFailed,
    TlsError,
)
from callmeter.metrics.phases import Phase
from callmeter.metrics.report import CallReport, Finding, FindingStatus

PROGRAM = [sys.executable, "-P", "-m", "callmeter"]
PATIENCE = 60
COMMANDS = sorted(typer.main.get_command(app).commands)
GREEN = "\x1b[1;32m"


def on_a_terminal(*arguments, **environment):
    """Run a command whose output is a terminal; what it shows."""
    ours, theirs = pty.openpty()
    plain = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    with subprocess.Popen(
        [*PROGRAM, *arguments],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=plain | {"TERM": "xterm-256color"} | environment,
    ) as running:
        os.close(theirs)
        shown = bytearray()
        try:
            while octets := os.read(ours, 65536):
                shown += octets
        except OSError:  # Linux says so when the other end is closed
            pass
        finally:
            os.close(ours)
        assert running.wait(PATIENCE) == 0
    return shown.decode()


def test_a_report_has_colours_on_a_terminal_and_none_elsewhere():
    shown = on_a_terminal("demo", "--seconds", "0.5")
    assert f"{GREEN}Call with sip:bob@" in shown
    assert f"{GREEN}SECURE: " in shown
    plain = on_a_terminal("demo", "--seconds", "0.5", NO_COLOR="1")
    assert "SECURE: SDES" in plain
    assert GREEN not in plain
    piped = CliRunner().invoke(app, ["demo", "--seconds", "0.5"])
    assert "\x1b" not in piped.output


def bar(*, terminal, seconds=60.0, begun=True):
    file = io.StringIO()
    console = Console(file=file, force_terminal=terminal, width=80)
    with TalkBar(console, seconds) as shown:
        if begun:
            shown.begin()
            shown.begin()
        console.print("a digit came")
    return file.getvalue()


@pytest.mark.parametrize("seconds", [60.0, None])
def test_a_bar_shows_how_far_a_call_is(seconds):
    shown = bar(terminal=True, seconds=seconds)
    assert "talking" in shown
    assert "a digit came\n" in shown
    assert "0:00:00" in shown


@pytest.mark.parametrize("how", [{"terminal": False}, {"terminal": True, "begun": False}])
def test_there_is_no_bar_in_a_file_nor_before_the_answer(how):
    assert bar(**how) == "a digit came\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_each_command_has_examples_that_can_be_typed(name):
    command = typer.main.get_command(app).commands[name]
    assert "For example:" in command.help
    examples = re.findall(r"^(?:\w+=\S+ )*callmeter (.*)$", command.help, re.MULTILINE)
    assert examples
    for example in examples:
        words = example.split()
        assert words[0] == name
        with command.make_context(name, words[1:]) as context:
            assert context.command is command


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["de"], {"demo"}),
        (["call", "--sr"], {"--srtp", "--srtp-policy"}),
        (["call", "--srtp", "d"], {"dtls", "dual"}),
        (["call", "--rep"], {"--report"}),
    ],
)
def test_the_shell_completes_commands_options_and_values(words, expected, tmp_path):
    # The program's name is that of its script; here it is the one Python gives it.
    script = tmp_path / "callmeter"
    script.write_text(f"#!{sys.executable}\nfrom callmeter.cli import main\nmain()\n")
    script.chmod(0o755)
    done = subprocess.run(
        [script],
        capture_output=True,
        timeout=PATIENCE,
        check=True,
        env=os.environ
        | {
            "_CALLMETER_COMPLETE": "complete_bash",
            "COMP_WORDS": " ".join(["callmeter", *words]),
            "COMP_CWORD": str(len(words)),
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        },
    )
    assert set(done.stdout.decode().split()) == expected


def report(*findings):
    return CallReport(phase=Phase.CLOSED, diagnosis=findings)


def test_what_the_diagnosis_says_is_nearest_to_the_cause():
    failed = Finding("port_reachable", FindingStatus.FAIL, "nothing came", "open the port")
    warned = Finding("tls_verified", FindingStatus.WARN, "", "give the CA")
    error = CallTimedOut("no answer", timer="B")
    assert remedy_of(error, report(warned, failed)) == "open the port"
    assert "check address, port" in remedy_of(error, report(warned))


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (CallRejected(status=404, reason="Not Found"), "registered"),
        (CallRejected(status=499, reason="?"), ""),
        (CallTimedOut("no answer", timer="B"), "callmeter options"),
        (RegistrationFailed("no answer", status=408), "callmeter options"),
        (AuthenticationFailed("refused", status=403), "--password"),
        (RegistrationFailed("refused", status=403), "--outbound-proxy"),
        (ConnectionFailed("refused"), "--transport"),
        (ConnectionFailed("cannot listen on UDP 192.0.2.1:5060: in use"), "--bind"),
        (MessageTooLarge("1500 octets"), "tcp or tls"),
        (NoCommonSuite("none"), "--suites"),
        (TlsError("expired", kind="expired"), ""),
        (OSError("no"), ""),
        (None, ""),
    ],
)
def test_an_error_has_its_remedy_in_options_of_the_command_line(error, words):
    remedy = remedy_of(error)
    assert words in remedy
    assert bool(remedy) is bool(words)
