"""docs/how-to/pytest.md and docs/how-to/impaired-network.md: each block is a file of tests."""

from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path

import pytest

GUIDES = Path(__file__).resolve().parents[2] / "docs" / "how-to"
PAGES = ("pytest.md", "impaired-network.md")
INSTALLED = any(
    point.value == "callmeter.testing.plugin" for point in metadata.entry_points(group="pytest11")
)


def blocks():
    for page in PAGES:
        text = (GUIDES / page).read_text(encoding="utf-8")
        found = re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
        for number, block in enumerate(found, 1):
            yield pytest.param(block, id=f"{page}-{number}")


@pytest.mark.parametrize("block", list(blocks()))
def test_every_test_of_the_guide_passes(pytester, block):
    pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function\n")
    pytester.makepyfile(block)
    loaded = () if INSTALLED else ("-p", "callmeter.testing.plugin")
    # Apart from this process, in which the plug-in may have been imported before.
    outcomes = pytester.runpytest_subprocess(*loaded).parseoutcomes()
    # There is no system under test here.
    assert set(outcomes) <= ({"skipped"} if "(target)" in block else {"passed"})
    assert sum(outcomes.values()) >= block.count("async def test_")
