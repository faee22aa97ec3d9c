"""mkdocs hooks: tables of checks and of RFC sections are made from the code itself."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import callmeter
from callmeter.diagnosis import CHECKS, VIDEO_CHECKS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from callmeter.diagnosis import Check

DIAGNOSIS = "<!-- diagnosis checks -->"
VIDEO_DIAGNOSIS = "<!-- diagnosis checks of video alone -->"
CITATIONS = "<!-- rfc citations -->"
CITATION = re.compile(r"RFC (\d{3,4})(?:,? (?:sections? )?(\d+(?:\.\d+)*))?")
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def on_page_markdown(markdown: str, **_: object) -> str:
    """Put the tables where a page asks for them."""
    if DIAGNOSIS in markdown:
        markdown = markdown.replace(DIAGNOSIS, "\n".join(_checks(CHECKS)))
    if VIDEO_DIAGNOSIS in markdown:
        markdown = markdown.replace(VIDEO_DIAGNOSIS, "\n".join(_checks(_of_video_alone())))
    if CITATIONS in markdown:
        markdown = markdown.replace(CITATIONS, "\n".join(_citations()))
    return markdown


def _of_video_alone() -> list[Check[Any]]:
    """Those that have no question in common with a check of every stream."""
    asked = {check.question for check in CHECKS}
    return [check for check in VIDEO_CHECKS if check.question not in asked]


def citations() -> dict[int, dict[str, set[str]]]:
    """By RFC and module, the sections that its docstrings name."""
    found: dict[int, dict[str, set[str]]] = {}
    root = Path(callmeter.__path__[0])
    for path in sorted(root.rglob("*.py")):
        module = ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            text = ast.get_docstring(node) if isinstance(node, DOCUMENTED) else None
            for number, section in CITATION.findall(" ".join((text or "").split())):
                found.setdefault(int(number), {}).setdefault(module, set()).add(section)
    return found


def _citations() -> Iterator[str]:
    yield "| RFC | Section | Module |"
    yield "|---|---|---|"
    for number, modules in sorted(citations().items()):
        link = f"[{number}](https://www.rfc-editor.org/rfc/rfc{number})"
        for module, sections in sorted(modules.items()):
            named = sorted(filter(None, sections), key=lambda text: [*map(int, text.split("."))])
            yield f"| {link} | {', '.join(named)} | `{module}` |"


def _checks(checks: Iterable[Check[Any]]) -> Iterator[str]:
    yield "| Check | Question | What to do when it fails |"
    yield "|---|---|---|"
    for check in checks:
        yield f"| `{check.identifier}` | {check.question} | {check.remedy} |"
