"""The shared vectors: none lies there unread."""

from __future__ import annotations

from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
FILES = sorted(path.name for path in (TESTS / "vectors").iterdir() if path.suffix != ".md")


@pytest.mark.parametrize("name", [name for name in FILES if not name.startswith(".")])
def test_every_file_of_vectors_is_read_by_a_test(name):
    readers = [
        path
        for path in TESTS.rglob("test_*.py")
        if path != Path(__file__) and f'"{name}"' in path.read_text(encoding="utf-8")
    ]
    assert readers
