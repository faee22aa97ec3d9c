"""`callmeter resolve DOMAIN`: where requests to a domain go, and why."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from callmeter.cli.output import fail, print_json, progress, run
from callmeter.cli.settings import target_of
from callmeter.config import Transport
from callmeter.transport.resolver import Resolver

if TYPE_CHECKING:
    from collections.abc import Sequence

    from callmeter.sip.server_location import Location

__all__ = ["resolve"]


def resolve(
    domain: Annotated[str, typer.Argument(help="Domain, host or SIP URI: example.com.")],
    transport: Annotated[Transport, typer.Option(help="How SIP travels.")] = Transport.AUTO,
    nameserver: Annotated[
        list[str] | None,
        typer.Option(
            help="host[:port] of a name server; repeat it for more. Default: the system's.",
            metavar="HOST[:PORT]",
        ),
    ] = None,
    *,
    json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Ask the DNS as a call would (RFC 3263): what was asked, answered and chosen.

    For example:

    callmeter resolve example.com

    callmeter resolve example.com --transport tls --nameserver 192.0.2.53 --json
    """
    run(find(domain, transport, nameserver or (), as_json=json), as_json=json)


async def find(
    domain: str, transport: Transport, name_servers: Sequence[str], *, as_json: bool
) -> int:
    """Do it; returns the exit status."""
    uri = target_of(domain)
    async with asyncio.TaskGroup() as tasks:
        resolver = Resolver(tasks, name_servers=name_servers)
        try:
            location, error = await resolver.explain(uri, transport)
        finally:
            resolver.close()
    if as_json:
        print_json(location.to_dict() | ({"error": error} if error else {}))
    else:
        show(location)
    if error is not None:
        fail(f"ResolutionFailed: {error}", 1)
    if location.fell_back:
        progress(
            "warning: AUTO fell back: the domain has neither NAPTR nor SRV records. "
            "Add them, or name the transport."
        )
    return 0


def show(location: Location) -> None:
    """Print what was asked and answered, then what is chosen, in order."""
    output = Console(highlight=False, markup=False)
    if location.asked:
        asked = Table(box=None, pad_edge=False)
        for column in ("Asked", "Name", "Answered"):
            asked.add_column(column, overflow="fold")
        for answer in location.asked:
            said = "\n".join(map(str, answer.records)) or str(answer).partition(": ")[2]
            asked.add_row(answer.question.type, answer.question.name, said)
        output.print(asked)
        output.print()
    chosen = Table(box=None, pad_edge=False)
    for column in ("Chosen", "Transport", "Address", "Port", "Host"):
        chosen.add_column(column, overflow="fold")
    for number, target in enumerate(location.targets, 1):
        chosen.add_row(
            str(number), target.transport.name, target.address, str(target.port), target.host
        )
    if location.targets:
        output.print(chosen)
