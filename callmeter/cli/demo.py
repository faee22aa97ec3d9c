"""`callmeter demo`: a registrar, two endpoints and a secure call between them, on loopback."""

from __future__ import annotations

import asyncio
import sys
from contextlib import AsyncExitStack
from pathlib import Path  # noqa: TC003  read at run time by typer
from typing import TYPE_CHECKING, Annotated

import typer

from callmeter.cli.output import print_json, progress, run, write_page
from callmeter.cli.settings import check_folder
from callmeter.cli.terminal import print_colored
from callmeter.config import (
    Credentials,
    EndpointConfig,
    MediaConfig,
    SrtpConfig,
    SrtpMethod,
    SrtpPolicy,
    StackConfig,
)
from callmeter.endpoint import Endpoint
from callmeter.media.sources import Tone
from callmeter.stack import Stack
from callmeter.testing.registrar import Registrar
from callmeter.trace.ladder import ladder

if TYPE_CHECKING:
    from callmeter.call import Call
    from callmeter.metrics.report import CallReport

__all__ = ["demo"]

LOOPBACK = "127.0.0.1"
ACCOUNTS = {"alice": "wonderland", "bob": "builder"}


def demo(
    seconds: Annotated[float, typer.Option(help="Length of the call.", min=0.5)] = 3.0,
    report: Annotated[
        Path | None,
        typer.Option(metavar="FILE.html", help="Write the report as a page to this file."),
    ] = None,
    json: Annotated[  # noqa: FBT002  a command line flag
        bool, typer.Option("--json", help="The report as one JSON object on stdout.")
    ] = False,
) -> None:
    """Register two endpoints, call with SDES-SRTP between them, print report and ladder.

    For example:

    callmeter demo --seconds 10 --report demo.html
    """
    run(show(seconds, page=report, as_json=json), as_json=json)


async def show(seconds: float, *, page: Path | None = None, as_json: bool = False) -> int:
    """Do it; returns the exit status."""
    check_folder("--report", page)

    def say(text: str) -> None:
        if not as_json:
            progress(text)

    media = MediaConfig(srtp=SrtpConfig(method=SrtpMethod.SDES, policy=SrtpPolicy.REQUIRED))
    async with AsyncExitStack() as entered:
        registrar = await entered.enter_async_context(Registrar(ACCOUNTS, realm="demo"))
        names = {f"{LOOPBACK}:{registrar.address[1]}": "registrar"}
        say(f"registrar on {LOOPBACK}:{registrar.address[1]}, with digest authentication")
        ends = []
        for user, password in ACCOUNTS.items():
            # A stack each, so that each has an address of its own in the ladder.
            stack = await entered.enter_async_context(Stack(StackConfig(bind=LOOPBACK)))
            config = EndpointConfig(registrar.aor(user), Credentials(user, password), media=media)
            end = await entered.enter_async_context(Endpoint(config, stack))
            await entered.enter_async_context(end.registered())
            names[end.contact.host_port] = user
            say(f"{user} registered as {end.contact}")
            ends.append(end)
        alice, bob = ends
        say(f"alice calls bob over SDES-SRTP for {seconds:g} s ...")
        call = await _talk(alice, bob, seconds)
        report = call.report()
        if page is not None:
            write_page(page, report)
        if as_json:
            print_json(report.to_dict())
        else:
            print_colored(str(report))
            sys.stdout.write(f"\n{_drawing(alice, bob, call, names)}\n")
    return _status(report)


async def _talk(alice: Endpoint, bob: Endpoint, seconds: float) -> Call:
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_answer_and_echo(bob))
        async with alice.call(bob.aor) as call:
            await call.media.play(Tone(440), seconds=seconds)
    return call


async def _answer_and_echo(bob: Endpoint) -> None:
    incoming = await bob.next_call()
    await incoming.answer()
    incoming.media.echo()
    await incoming.ended()


def _drawing(alice: Endpoint, bob: Endpoint, call: Call, names: dict[str, str]) -> str:
    """The call as both ends saw it: each logged its own side of the registrar."""
    messages = [*alice.messages.of_call(call.call_id), *bob.messages.of_call(call.call_id)]
    return ladder(sorted(messages, key=lambda entry: entry.time), names=names)


def _status(report: CallReport) -> int:
    return 0 if report.outcome is not None and report.outcome.good else 1
