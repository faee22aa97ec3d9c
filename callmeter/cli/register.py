"""`callmeter register`: bind an address of record once and say how it went."""

from __future__ import annotations

import asyncio
import sys
from typing import Annotated

import typer

from callmeter.cli.output import print_json, run, write_trace
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
    """Register --aor, keep the binding for a while, remove it.

    For example:

    CALLMETER_PASSWORD=... callmeter register --aor sip:100@pbx.example.com

    CALLMETER_PASSWORD=... callmeter register --aor sip:100@pbx.example.com --duration 3600
    """
    run(bind(options, duration, expires), as_json=options.json)


async def bind(options: CommonOptions, duration: float, expires: int) -> int:
    """Do it; returns the exit status."""
    if options.aor is None:
        raise ConfigurationError("register needs --aor sip:user@domain")
    config = options.endpoint_config()
    async with Stack(options.stack_config()) as stack, Endpoint(config, stack) as endpoint:
        try:
            async with endpoint.registered(expires) as binding:
                granted, contact = binding.expires, str(endpoint.contact)
                if not options.json:
                    sys.stdout.write(f"registered {config.aor} at {contact} for {granted} s\n")
                    sys.stdout.flush()
                await asyncio.sleep(duration)
                if binding.error is not None:
                    raise binding.error
                refreshes = binding.refreshes
        finally:
            write_trace(endpoint, options)
        if options.json:
            print_json(
                {
                    "aor": config.aor,
                    "contact": contact,
                    "expires": granted,
                    "refreshes": refreshes,
                }
            )
    return 0
