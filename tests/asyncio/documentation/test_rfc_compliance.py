"""The table of RFC compliance names what is there."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import callmeter

ROOT = Path(__file__).resolve().parents[3]
PAGE = ROOT / "docs" / "reference" / "rfc-compliance.md"


def rows():
    """The cells of each row: RFC, requirement, modules, tests, status."""
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| ") and len(cells) == 5 and cells[0] != "RFC":
            yield cells


def test_every_row_that_is_implemented_names_modules_and_tests_that_exist():
    package = Path(callmeter.__path__[0])
    checked = 0
    for rfc, _, modules, tests, status in rows():
        if status == "planned" or status.startswith("excepted"):
            continue
        assert status.startswith(("implemented", "deviates")), rfc
        for module in re.findall(r"`([\w.]+)`", modules):
            path = package.joinpath(*module.split("."))
            assert path.is_dir() or path.with_suffix(".py").is_file(), (rfc, module)
        named = re.findall(r"`(tests/[^`]+)`", tests)
        assert named, rfc
        for test in named:
            assert (ROOT / test).exists(), (rfc, test)
        checked += 1
    assert checked > 30


def test_citations_are_read_from_docstrings():
    found = runpy.run_path(str(ROOT / "scripts" / "docs_hooks.py"))["citations"]()
    assert "8.1.1.8" in found[3261]["endpoint"]
    assert len(found) > 30
