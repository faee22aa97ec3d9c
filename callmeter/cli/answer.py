"""`callmeter answer`: answer calls and report on each."""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING, Annotated

import typer

from callmeter.cli.call import act, source_of, talk
from callmeter.cli.load import judge, tell
from callmeter.cli.output import (
    follow,
    print_json,
    print_report,
    progress,
    run,
    show_report,
    write_report,
    write_trace,
)
from callmeter.cli.settings import CallOptions, with_options
from callmeter.config import Transport
from callmeter.endpoint import Endpoint
from callmeter.errors import CallmeterError, ConfigurationError
from callmeter.load.calls import on_shared_port
from callmeter.metrics import summarize
from callmeter.stack import Stack

if TYPE_CHECKING:
    from callmeter.call import Call
    from callmeter.call_report import CallReport
    from callmeter.incoming_call import IncomingCall
    from callmeter.load import ScenarioPlan

__all__ = ["answer"]

OF_ONE_CALL = ("record", "report", "trace")
TRACED_CALLS = 16
"""Calls whose media `--trace` keeps, the last ones."""


@with_options(CallOptions)
def answer(
    options: CallOptions,
    calls: Annotated[int, typer.Option(help="Leave after this many calls; 0: never.", min=0)] = 1,
    register: Annotated[  # noqa: FBT002  a command line flag
        bool, typer.Option("--register", help="Register --aor first.")
    ] = False,
    together: Annotated[  # noqa: FBT002  a command line flag
        bool,
        typer.Option(
            "--together", help="Answer calls while others are up, and sum them up at the end."
        ),
    ] = False,
    strict: Annotated[  # noqa: FBT002  a command line flag
        bool,
        typer.Option("--strict", help="Status 1 when a check of the diagnosis of a call failed."),
    ] = False,
) -> None:
    """Answer calls one after the other, play or echo, and print what was measured.

    For example:

    callmeter answer --bind 192.0.2.7:5060 --srtp sdes --play echo

    CALLMETER_PASSWORD=... callmeter answer --aor sip:100@pbx.example.com --register --calls 0

    callmeter answer --bind 192.0.2.7:5060 --srtp sdes --play echo --together --calls 1000
    """
    work = serve_together if together else serve
    run(work(options, calls, register=register, strict=strict), as_json=options.json)


async def listen(
    entered: AsyncExitStack, options: CallOptions, *, register: bool, together: bool = False
) -> Endpoint:
    """An endpoint that takes calls; where, is told."""
    if register and options.aor is None:
        raise ConfigurationError("--register needs --aor sip:user@domain")
    secure = options.transport in {Transport.TLS, Transport.WSS}
    if secure and options.tls_cert is None and not register:
        # Calls come in by the connection of a registration, or by one that the caller makes.
        raise ConfigurationError(
            f"--transport {options.transport} takes calls with --tls-cert and --tls-key, "
            "or with --register"
        )
    media = options.media_config()
    config = options.endpoint_config(media=on_shared_port(media) if together else media)
    source_of(options.play)
    stack = await entered.enter_async_context(Stack(options.stack_config()))
    endpoint = await entered.enter_async_context(Endpoint(config, stack))
    if register:
        await entered.enter_async_context(endpoint.registered())
    for transport in stack.config.transports:
        host, port = stack.transport.listening(transport.name)
        progress(f"listening on {transport.name} {host} port {port} as {config.aor}")
    return endpoint


async def serve(options: CallOptions, calls: int, *, register: bool, strict: bool) -> int:
    """Do it; returns the exit status of the worst call."""
    plan = options.scenario_plan()
    worst = 0
    async with AsyncExitStack() as entered:
        endpoint = await listen(entered, options, register=register)
        done = 0
        recent: deque[Call] = deque(maxlen=TRACED_CALLS)
        async for incoming in endpoint.incoming():
            error: CallmeterError | None = None
            acting = None
            recent.append(incoming)
            done += 1
            try:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(follow(incoming, options, options.duration))
                    acting = act(tasks, incoming, plan)
                    async with incoming:
                        try:
                            await incoming.answer()
                            await talk(incoming, options, options.duration)
                        except CallmeterError as failure:
                            error = failure
            except asyncio.CancelledError:
                show_report(incoming.report(), options, acting)
                write_trace(endpoint, options, recent)
                write_report(incoming.report(), options, done)
                raise
            report = incoming.report()
            worst = max(worst, print_report(report, options, error, acting, strict=strict))
            write_trace(endpoint, options, recent)
            write_report(report, options, done)
            if done == calls:
                break
    return worst


async def serve_together(options: CallOptions, calls: int, *, register: bool, strict: bool) -> int:
    """Answer whoever calls, whoever else is on the line; returns the exit status."""
    for option in OF_ONE_CALL:
        if getattr(options, option) is not None:
            raise ConfigurationError(f"--{option} is of one call: it does not go with --together")
    plan = options.scenario_plan()
    reports: list[CallReport] = []
    async with AsyncExitStack() as entered:
        endpoint = await listen(entered, options, register=register, together=True)
        try:
            async with asyncio.TaskGroup() as tasks:
                telling = tasks.create_task(tell(endpoint, reports, quiet=options.json))
                async with asyncio.TaskGroup() as answering:
                    taken = 0
                    async for incoming in endpoint.incoming():
                        answering.create_task(_take(incoming, options, plan, reports))
                        taken += 1
                        if taken == calls:
                            break
                telling.cancel()
        finally:
            # Whoever interrupts wants to see what was measured until then.
            summary = summarize(reports)
            if options.json:
                print_json(summary.to_dict())
            else:
                sys.stdout.write(f"{summary}\n")
    return judge(reports, len(reports), strict=strict)


async def _take(
    incoming: IncomingCall,
    options: CallOptions,
    plan: ScenarioPlan | None,
    reports: list[CallReport],
) -> None:
    try:
        async with asyncio.TaskGroup() as tasks:
            act(tasks, incoming, plan)
            # What goes wrong in one call is in its report, and the others go on.
            with suppress(CallmeterError):
                async with incoming:
                    await incoming.answer()
                    await talk(incoming, options, options.duration)
    finally:
        reports.append(incoming.report())
