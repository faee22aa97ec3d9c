"""What the documentation tells to type can be typed, and its JSON can be read."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
import typer

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
