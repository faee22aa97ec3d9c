"""`callmeter register`: bind an address of record once and say how it went."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from callmeter.cli.output import console, print_json, run, write_trace
from callmeter.cli.settings import CommonOptions, with_options
from callmeter.endpoint import Endpoint
from callmeter.errors import ConfigurationError
from callmeter.stack import Stack

__all__ = ["register"]


@with_options(CommonOptions)
def register(
    options: CommonOptions,
    duration: Annotated[
        float, typer.Option(help="Seconds to stay registered before unbinding.", min=0.0)
    ] = 0.0,
    expires: Annotated[int, typer.Option(help="Seconds of binding to ask for.", min=1)] = 600,
) -> None:
    """Register --aor, keep the binding for a while, remove it."""
    run(bind(options, duration, expires))


async def bind(options: CommonOptions, duration: float, expires: int) -> int:
    """Do it; returns the exit status."""
    if options.aor is None:
        raise ConfigurationError("register needs --aor sip:user@domain")
    config = options.endpoint_config()
    async with Stack(options.stack_config()) as stack, Endpoint(config, stack) as endpoint:
        try:
            async with endpoint.registered(expires) as binding:
                granted = binding.expires
                if not options.json:
                    console.print(
                        f"registered [bold]{config.aor}[/bold] at {endpoint.contact} "
                        f"for {granted} s"
                    )
                await asyncio.sleep(duration)
                refreshes = binding.refreshes
        finally:
            write_trace(endpoint, options)
        if options.json:
            print_json(
                {
                    "aor": config.aor,
                    "contact": str(endpoint.contact),
                    "expires": granted,
                    "refreshes": refreshes,
                }
            )
    return 0
