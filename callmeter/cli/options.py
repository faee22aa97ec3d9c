"""`callmeter options URI`: ask a server or phone what it can do."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from callmeter.cli.output import print_json, run, write_trace
from callmeter.cli.settings import CommonOptions, with_options
from callmeter.endpoint import Endpoint
from callmeter.errors import ConfigurationError
from callmeter.sip.uri import SipUri, parse_uri
from callmeter.stack import Stack

__all__ = ["options"]

SHOWN = ("Server", "User-Agent", "Allow", "Accept", "Supported", "Contact", "Warning")


@with_options(CommonOptions)
def options(
    uri: Annotated[str, typer.Argument(help="Whom to ask: sip:example.com.")],
    options: CommonOptions,
) -> None:
    """Send OPTIONS and print status, round-trip time and capabilities."""
    run(ask(uri, options))


async def ask(uri: str, options: CommonOptions) -> int:
    """Do it; returns the exit status."""
    target = parse_uri(uri if uri.lower().startswith(("sip:", "sips:")) else f"sip:{uri}")
    if not isinstance(target, SipUri):
        raise ConfigurationError(f"{uri!r} is not a SIP URI")
    config = options.endpoint_config(peer_host=target.host)
    async with Stack(options.stack_config()) as stack, Endpoint(config, stack) as endpoint:
        begun = stack.now
        try:
            response = await endpoint.options(str(target))
        finally:
            write_trace(endpoint, options)
        elapsed_ms = (stack.now - begun) * 1000
    headers = {name: response.headers.get_all(name) for name in SHOWN if name in response.headers}
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
        table = Table(show_header=False, box=None)
        table.add_row("Status", f"{response.status} {response.reason}")
        table.add_row("Round trip", f"{elapsed_ms:.1f} ms")
        for name, values in headers.items():
            table.add_row(name, ", ".join(values))
        Console(highlight=False).print(table)
    return 0 if 200 <= response.status < 300 else 1  # noqa: PLR2004  success class
