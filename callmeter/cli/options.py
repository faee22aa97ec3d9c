"""`callmeter options URI`: ask a server or phone what it can do."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from callmeter.cli.output import fail, print_json, run, write_trace
from callmeter.cli.settings import CommonOptions, target_of, with_options
from callmeter.endpoint import Endpoint
from callmeter.stack import Stack

__all__ = ["options"]

SHOWN = ("Server", "User-Agent", "Allow", "Accept", "Supported", "Contact", "Warning")


@with_options(CommonOptions)
def options(
    uri: Annotated[str, typer.Argument(help="Whom to ask: sip:example.com.")],
    options: CommonOptions,
) -> None:
    """Send OPTIONS and print status, round-trip time and capabilities.

    For example:

    callmeter options sip:pbx.example.com --transport tcp

    callmeter options sips:pbx.example.com --transport tls --tls-ca ca.pem --json
    """
    run(ask(uri, options), as_json=options.json, command="options")


async def ask(uri: str, options: CommonOptions) -> int:
    """Do it; returns the exit status."""
    target = target_of(uri)
    config = options.endpoint_config(peer_host=target.host)
    async with Stack(options.stack_config()) as stack, Endpoint(config, stack) as endpoint:
        begun = stack.now
        try:
            response = await endpoint.options(str(target))
        finally:
            write_trace(endpoint, options)
        elapsed_ms = (stack.now - begun) * 1000
    headers = {
        name: found
        for name in SHOWN
        if (found := [value for value in response.headers.get_all(name) if value])
    }
    if options.json:
        print_json(
            {
                "status": response.status,
                "reason": response.reason,
                "round_trip_ms": round(elapsed_ms, 3),
                "headers": headers,
            }
        )
    else:
        rows = {
            "Status": f"{response.status} {response.reason}",
            "Round trip": f"{elapsed_ms:.1f} ms",
            **{name: ", ".join(values) for name, values in headers.items()},
        }
        for name, value in rows.items():
            sys.stdout.write(f"{name:<12}{value}\n")
    if not 200 <= response.status < 300:  # noqa: PLR2004  success class
        fail(f"{target} answered {response.status} {response.reason}".rstrip(), 1)
    return 0
