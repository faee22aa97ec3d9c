"""What the documentation tells to type can be typed, and its JSON can be read."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import shlex
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from callmeter import CallFailed, MediaConfig, events
from callmeter.cli.app import app

ROOT = Path(__file__).resolve().parents[3]
PAGES = sorted([*(ROOT / "docs").rglob("*.md"), ROOT / "README.md"])


def blocks(page, languages):
    text = page.read_text(encoding="utf-8")
    found = re.findall(rf"^ *```(?:{languages})\n(.*?)^ *```$", text, re.DOTALL | re.MULTILINE)
    return [block.replace("\\\n", " ") for block in found]


def command_lines():
    """Each `callmeter ...` of a block of shell or between back-ticks, with its page."""
    for page in PAGES:
        lines = [line for block in blocks(page, "sh|console") for line in block.splitlines()]
        lines += re.findall(r"`(callmeter [^`]*)`", page.read_text(encoding="utf-8"))
        for line in lines:
            for part in line.split("&&"):
                words = shlex.split(" ".join(part.split()), comments=True)
                if words and words[0].endswith("callmeter") and not {"...", "COMMAND"} & {*words}:
                    yield pytest.param(words[1:], id=f"{page.name}: {' '.join(words[1:])}")


@pytest.mark.parametrize("words", list(command_lines()))
def test_the_command_is_one(words):
    group = typer.main.get_command(app)
    if not words:
        return
    if words[0].startswith("-"):
        # What it does it does while it is parsed.
        assert {*words} <= {name for option in group.params for name in option.opts}
        return
    command = group.commands[words[0]]
    if words[1:] in ([], ["--json"]):
        return  # the command's name, in running text
    with command.make_context(words[0], words[1:]) as context:
        assert context.command is command


def test_json_of_the_pages_is_json():
    found = [block for page in PAGES for block in blocks(page, "json")]
    assert found
    for block in found:
        assert json.loads(block)


def lines_with(word):
    """The `callmeter WORD ...` lines that stand in blocks of shell."""
    found = [block for page in PAGES for block in blocks(page, "sh|console")]
    lines = [line for block in found for line in block.splitlines()]
    return [shlex.split(line)[1:] for line in lines if line.startswith(f"callmeter {word} ")]


async def run(words):
    """Run a command in a thread, for it has an event loop of its own."""
    return await asyncio.to_thread(CliRunner().invoke, app, words)


async def test_the_doctors_first_line_finds_nothing_wrong(open_world):
    line, with_account = lines_with("doctor")
    async with asyncio.timeout(60), open_world("pbx.example.com") as world:
        await world.answers("600", media=MediaConfig.unknown_peer())
        result = await run([*line, "--duration", "0.3"])
    assert result.exit_code == 0, result.output
    assert "Nothing failed." in result.stdout
    assert "--tls-ca" in with_account  # of a server that a test has in tests/interop/test_doctor.py


async def test_the_lines_of_resolve_name_where_requests_go(open_world):
    lines = lines_with("resolve")
    async with asyncio.timeout(60), open_world() as world:
        host, port = world.registrar.address
        auto, tls = [await run(line) for line in lines]
    assert (auto.exit_code, tls.exit_code) == (0, 0)
    assert host in auto.stdout
    assert str(port) in auto.stdout
    assert json.loads(tls.stdout)["targets"][0]["transport"] == "TLS"


async def answer_hash_with_5(endpoint):
    call = await (await endpoint.next_call()).answer()
    async for event in call.events():
        if isinstance(event, events.DtmfReceived) and event.digit == "#":
            with contextlib.suppress(CallFailed):  # the call ends with the digit
                await call.send_dtmf("5")


async def test_the_scenario_of_the_guide_runs_from_its_file(open_world, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (line,) = lines_with("call")
    (plan,) = blocks(ROOT / "docs" / "how-to" / "scenario.md", "json")
    (tmp_path / "hold.json").write_text(plan, encoding="utf-8")
    async with asyncio.timeout(60), open_world("pbx.example.com") as world:
        world.meanwhile(answer_hash_with_5(await world.endpoint("600")))
        result = await run([*line, "--json"])
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert (told["scenario"]["executed"], told["scenario"]["failed"]) == (4, 0)
