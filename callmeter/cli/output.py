"""What a command prints: progress on a terminal, one JSON object, one line of error."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import TYPE_CHECKING, Any, NoReturn

import typer
from rich.console import Console

from callmeter.errors import CallmeterError, ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from callmeter.call import Call
    from callmeter.cli.settings import CommonOptions
    from callmeter.endpoint import Endpoint

__all__ = ["Console", "fail", "follow", "print_report", "run", "write_trace"]

USAGE = 2
GOOD_OUTCOMES = {"SUCCESS", "COMPLETED_WITH_WARNINGS"}

console = Console(stderr=True, highlight=False)


def run(work: Coroutine[Any, Any, int]) -> NoReturn:
    """Run a command to its exit status; errors become one line on stderr."""
    try:
        status = asyncio.run(work)
    except ConfigurationError as error:
        fail(str(error), USAGE)
    except CallmeterError as error:
        fail(f"{type(error).__name__}: {error}", 1)
    except KeyboardInterrupt:
        fail("interrupted", 1)
    raise typer.Exit(status)


def fail(text: str, status: int) -> NoReturn:
    """Print the reason and leave."""
    console.print(f"[red]callmeter:[/red] {text}", markup=True, soft_wrap=True)
    raise typer.Exit(status)


def print_json(value: dict[str, Any]) -> None:
    """One JSON object on stdout."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")


def print_report(call: Call, options: CommonOptions, error: CallmeterError | None = None) -> int:
    """Print the report of a call that has ended; returns the exit status."""
    report = call.report()
    if options.json:
        print_json(report.to_dict())
    else:
        sys.stdout.write(f"{report}\n")
    if report.to_dict()["outcome"] in GOOD_OUTCOMES and error is None:
        return 0
    if error is not None:
        console.print(f"[red]callmeter:[/red] {type(error).__name__}: {error}", soft_wrap=True)
    return 1


async def follow(call: Call, options: CommonOptions) -> None:
    """Print what happens in a call while it happens."""
    async for event in call.events():
        if not options.json:
            console.print(f"[dim]{event.at:8.3f} s[/dim]  {_words(event)}", soft_wrap=True)


def _words(event: object) -> str:
    fields = {
        name: value
        for name in getattr(event, "__slots__", ())
        if name != "at" and (value := getattr(event, name)) not in {"", None}
    }
    detail = "  ".join(f"{name}={value}" for name, value in fields.items())
    return f"{type(event).__name__:<18} {detail}".rstrip()


def write_trace(endpoint: Endpoint, options: CommonOptions) -> None:
    """Write the ladder and the messages where `--trace` says."""
    if options.trace is not None:
        options.trace.write_text(endpoint.messages.to_text(), encoding="utf-8")
