"""Check what no linter knows: module sizes, and that modules and unit tests mirror each other.

Run from anywhere: `python scripts/check_tree.py`. Prints each breach, exits 1 when there is one.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "callmeter"
UNIT = ROOT / "tests" / "unit"
ASYNCIO = ROOT / "tests" / "asyncio"

LINES_MAX = 600

UNPAIRED = {
    "__main__.py": "every test of the commands runs it",
    "cli": "the commands are run as programs in tests/asyncio and by the demo session",
    "dispatch_parties.py": "protocols, which mypy checks, and two values without behaviour",
    "metrics/sections": "rows of data, tested one by one through the catalogue",
    "transport/base.py": "protocols, which mypy checks, and one value without behaviour",
}
"""Packages and modules that need no test file of their own, each with the reason."""


def module_paths() -> list[Path]:
    """Every module of the package, relative to it, without the `__init__` files."""
    found = (path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py"))
    return sorted(path for path in found if path.name != "__init__.py")


def oversized() -> list[str]:
    """Modules over the size cap."""
    breaches = []
    for path in sorted(PACKAGE.rglob("*.py")):
        lines = len(path.read_text(encoding="utf-8").splitlines())
        if lines > LINES_MAX:
            breaches.append(f"{path.relative_to(ROOT)}: {lines} lines, at most {LINES_MAX}")
    return breaches


def untested(modules: list[Path]) -> list[str]:
    """Modules without a test file: tests/unit mirrors the package, shells may use tests/asyncio."""
    breaches = []
    for module in modules:
        if not UNPAIRED.keys().isdisjoint(map(Path.as_posix, (module, *module.parents))):
            continue
        mirrored = UNIT / module.parent / f"test_{module.stem}.py"
        if not mirrored.exists() and not _in_asyncio(module):
            breaches.append(f"callmeter/{module}: no {mirrored.relative_to(ROOT)}")
    return breaches


def _in_asyncio(module: Path) -> bool:
    """Whether a shell has its test file in tests/asyncio, flat or mirrored."""
    name = f"test_{module.stem}.py"
    flat = "_".join(("test", *module.parent.parts, module.name))
    places = (ASYNCIO / module.parent / name, ASYNCIO / name, ASYNCIO / flat)
    return any(place.exists() for place in places)


def strays(modules: list[Path]) -> list[str]:
    """Unit test files that mirror no module; `test_uri_comparison.py` may stand beside uri.py."""
    by_folder: dict[Path, set[str]] = {}
    for module in modules:
        by_folder.setdefault(module.parent, set()).add(module.stem)
    for package in PACKAGE.rglob("__init__.py"):
        folder = package.parent.relative_to(PACKAGE)
        if folder != Path():
            by_folder.setdefault(folder.parent, set()).add(folder.name)
    breaches = []
    for path in sorted(UNIT.rglob("test_*.py")):
        subject = path.stem.removeprefix("test_")
        names = by_folder.get(path.parent.relative_to(UNIT), set())
        if not any(subject == name or subject.startswith(f"{name}_") for name in names):
            breaches.append(f"{path.relative_to(ROOT)}: mirrors no module of callmeter")
    return breaches


def main() -> int:
    """Print every breach; 0 when there is none."""
    modules = module_paths()
    breaches = oversized() + untested(modules) + strays(modules)
    for breach in breaches:
        print(breach)
    return 1 if breaches else 0


if __name__ == "__main__":
    sys.exit(main())
