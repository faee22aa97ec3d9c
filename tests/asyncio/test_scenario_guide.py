"""The examples of docs/how-to/scenario.md do what the page says."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from callmeter import events
from callmeter.load import ScenarioEvent, ScenarioPlan
from callmeter.load.plan import _ACTIONS

PATIENCE = 20
GUIDE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "scenario.md"


def blocks(language):
    text = GUIDE.read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def program():
    (source,) = blocks("python")
    names = {}
    exec(compile(source, str(GUIDE), "exec"), names)
    return names


async def answer_digit_with_5(endpoint):
    """Say 5 when the last digit has come; returns what was dialled."""
    incoming = await endpoint.next_call(PATIENCE)
    await incoming.answer()
    dialled = ""
    async for event in incoming.events():
        if isinstance(event, events.DtmfReceived):
            dialled += event.digit
            if event.digit == "#":
                await incoming.send_dtmf("5", method="info")
    return dialled


async def test_the_program_of_the_guide_runs(make_endpoint, capsys):
    bob = await make_endpoint("bob")
    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as tasks:
        answering = tasks.create_task(answer_digit_with_5(bob))
        await program()["main"](str(bob.contact))
    assert answering.result() == "42#"
    assert "Scenario hold and dial: 4 done, 0 failed, 0 not triggered" in capsys.readouterr().out


def test_the_file_of_the_guide_says_the_same_as_its_program():
    (text,) = blocks("json")
    assert ScenarioPlan.from_json(text) == program()["PLAN"]


@pytest.mark.parametrize("word", [*ScenarioEvent, *_ACTIONS])
def test_the_guide_names_what_a_file_can_say(word):
    assert f'"{word}"' in GUIDE.read_text(encoding="utf-8")
