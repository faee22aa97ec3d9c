"""The command line: a thin face of the API. Needs `pip install 'callmeter[cli]'`."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the `callmeter` command."""
    try:
        from callmeter.cli.app import app  # noqa: PLC0415  typer is an extra
    except ModuleNotFoundError as error:
        if error.name not in {"typer", "rich"}:
            raise
        sys.exit(f"callmeter: the command line needs {error.name}: pip install 'callmeter[cli]'")
    app()
