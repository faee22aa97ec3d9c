"""`callmeter demo`: a registrar, two endpoints and a secure call between them, on loopback."""

from __future__ import annotations

import asyncio
import sys
from contextlib import AsyncExitStack
from typing import Annotated

import typer

from callmeter.cli.output import GOOD_OUTCOMES, console, print_json, run
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

__all__ = ["demo"]

LOOPBACK = "127.0.0.1"
ACCOUNTS = {"alice": "wonderland", "bob": "builder"}


def demo(
    seconds: Annotated[float, typer.Option(help="Length of the call.", min=0.5)] = 3.0,
    json: Annotated[  # noqa: FBT002  a command line flag
        bool, typer.Option("--json", help="The report as one JSON object on stdout.")
    ] = False,
) -> None:
    """Register two endpoints, call with SDES-SRTP between them, print report and ladder."""
    run(show(seconds, as_json=json))


async def show(seconds: float, *, as_json: bool) -> int:
    """Do it; returns the exit status."""
    media = MediaConfig(srtp=SrtpConfig(method=SrtpMethod.SDES, policy=SrtpPolicy.REQUIRED))
    async with AsyncExitStack() as entered:
        registrar = await entered.enter_async_context(Registrar(ACCOUNTS, realm="demo"))
        console.print(f"[dim]registrar on {LOOPBACK}:{registrar.address[1]}, digest on[/dim]")
        stack = await entered.enter_async_context(Stack(StackConfig(bind=LOOPBACK)))
        ends = []
        for user, password in ACCOUNTS.items():
            config = EndpointConfig(registrar.aor(user), Credentials(user, password), media=media)
            end = await entered.enter_async_context(Endpoint(config, stack))
            await entered.enter_async_context(end.registered())
            console.print(f"[dim]{user} registered as[/dim] {end.contact}")
            ends.append(end)
        alice, bob = ends
        console.print(f"[dim]alice calls bob over SDES-SRTP for {seconds:g} s ...[/dim]")
        async with asyncio.TaskGroup() as tasks:
            answering = tasks.create_task(_answer_and_echo(bob))
            async with alice.call(bob.aor) as call:
                await call.media.play(Tone(440), seconds=seconds)
            await answering
        report = call.report()
        if as_json:
            print_json(report.to_dict())
        else:
            drawing = ladder(alice.messages.of_call(call.call_id))
            sys.stdout.write(f"{report}\n\n{drawing}\n")
    return 0 if report.to_dict()["outcome"] in GOOD_OUTCOMES else 1


async def _answer_and_echo(bob: Endpoint) -> None:
    incoming = await bob.next_call()
    await incoming.answer()
    incoming.media.echo()
    await incoming.ended()
