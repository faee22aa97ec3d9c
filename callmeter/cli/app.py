"""The application object: one module per command."""

from __future__ import annotations

import sys
from importlib.metadata import version
from typing import Annotated

import typer

from callmeter.cli.answer import answer
from callmeter.cli.call import call
from callmeter.cli.demo import demo
from callmeter.cli.doctor import doctor
from callmeter.cli.load import load
from callmeter.cli.options import options
from callmeter.cli.register import register
from callmeter.cli.resolve import resolve

__all__ = ["app"]

app = typer.Typer(
    name="callmeter",
    help="Place, answer and meter real SIP calls - and learn why a secure one is silent.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (demo, call, answer, load, register, options, resolve, doctor):
    app.command()(command)


def _print_version(wanted: bool) -> None:  # noqa: FBT001  typer calls it so
    if wanted:
        sys.stdout.write(f"callmeter {version('callmeter')}\n")
        raise typer.Exit


@app.callback()
def callmeter(
    *,
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            "-V",
            help="Show the version and exit.",
            callback=_print_version,
            is_eager=True,
        ),
    ] = False,
) -> None:
    """Place, answer and meter real SIP calls - and learn why a secure one is silent."""
