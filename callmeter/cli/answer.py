"""`callmeter answer`: answer calls and report on each."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Annotated

import typer

from callmeter.cli.call import act, source_of, talk
from callmeter.cli.output import (
    follow,
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
from callmeter.stack import Stack

if TYPE_CHECKING:
    from callmeter.call import Call

__all__ = ["answer"]

TRACED_CALLS = 16
"""Calls whose media `--trace` keeps, the last ones."""


@with_options(CallOptions)
def answer(
    options: CallOptions,
    calls: Annotated[int, typer.Option(help="Leave after this many calls; 0: never.", min=0)] = 1,
    register: Annotated[  # noqa: FBT002  a command line flag
        bool, typer.Option("--register", help="Register --aor first.")
    ] = False,
) -> None:
    """Answer calls one after the other, play or echo, and print what was measured.

    For example:

    callmeter answer --bind 192.0.2.7:5060 --srtp sdes --play echo

    CALLMETER_PASSWORD=... callmeter answer --aor sip:100@pbx.example.com --register --calls 0
    """
    run(serve(options, calls, register=register), as_json=options.json)


async def serve(options: CallOptions, calls: int, *, register: bool) -> int:
    """Do it; returns the exit status of the worst call."""
    if register and options.aor is None:
        raise ConfigurationError("--register needs --aor sip:user@domain")
    secure = options.transport in {Transport.TLS, Transport.WSS}
    if secure and options.tls_cert is None and not register:
        # Calls come in by the connection of a registration, or by one that the caller makes.
        raise ConfigurationError(
            f"--transport {options.transport} takes calls with --tls-cert and --tls-key, "
            "or with --register"
        )
    config = options.endpoint_config(media=options.media_config())
    source_of(options.play)
    plan = options.scenario_plan()
    worst = 0
    async with AsyncExitStack() as entered:
        stack = await entered.enter_async_context(Stack(options.stack_config()))
        endpoint = await entered.enter_async_context(Endpoint(config, stack))
        if register:
            await entered.enter_async_context(endpoint.registered())
        for transport in stack.config.transports:
            host, port = stack.transport.listening(transport.name)
            progress(f"listening on {transport.name} {host} port {port} as {config.aor}")
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
                show_report(incoming, options, acting)
                write_trace(endpoint, options, recent)
                write_report(incoming, options, done)
                raise
            worst = max(worst, print_report(incoming, options, error, acting))
            write_trace(endpoint, options, recent)
            write_report(incoming, options, done)
            if done == calls:
                break
    return worst
