"""`callmeter doctor URI`: what is wrong between here and there."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path  # noqa: TC003  read at run time by typer
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.text import Text

from callmeter.cli.output import print_json, run
from callmeter.cli.settings import CallOptions, Srtp, check_folder, target_of, with_options
from callmeter.doctor import Examination, Keys
from callmeter.metrics.report import FindingStatus

if TYPE_CHECKING:
    from callmeter.metrics.report import Finding

__all__ = ["doctor"]

SECONDS = 2.0
NOT_TAKEN = (
    # `--keys` decides on encryption, the calls are made of a tone, and `--html` is their page.
    "srtp",
    "srtp_policy",
    "play",
    "record",
    "dtmf",
    "scenario",
    "report",
    "trace",
    "trace_secrets",
)
COLOURS = {
    FindingStatus.PASS: "green",
    FindingStatus.WARN: "yellow",
    FindingStatus.FAIL: "bold red",
    FindingStatus.SKIP: "dim",
}


@with_options(CallOptions, without=NOT_TAKEN)
def doctor(
    uri: Annotated[str, typer.Argument(help="Whom to call: sip:600@pbx.example.com.")],
    options: CallOptions,
    keys: Annotated[
        list[Keys] | None,
        typer.Option(help="Calls to make: none, sdes, dtls, dual; repeat it. Default: all."),
    ] = None,
    patience: Annotated[
        float, typer.Option(help="Seconds to wait for each answer.", min=1.0)
    ] = 10.0,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE.html", help="Write the findings as a page.")
    ] = None,
) -> None:
    """Check a server: DNS, connection, TLS, OPTIONS, registration, a call with each kind of keys.

    For example:

    callmeter doctor sip:600@pbx.example.com

    CALLMETER_PASSWORD=... callmeter doctor sip:600@pbx.example.com --aor sip:100@pbx.example.com
    --transport tls --tls-ca company-root.pem
    """
    run(check(uri, options, keys, patience, html), as_json=options.json)


async def check(
    uri: str, options: CallOptions, keys: list[Keys] | None, patience: float, html: Path | None
) -> int:
    """Do it; returns the exit status."""
    target = target_of(uri)
    check_folder("--html", html)
    # Which keys a call has, and whether any, is `--keys`; the suites are for those that have them.
    keyed = replace(options, srtp=Srtp.DUAL)
    config = options.endpoint_config(peer_host=target.host, media=keyed.media_config())
    seconds = SECONDS if options.duration is None else options.duration
    async with Examination(
        str(target),
        config,
        options.stack_config(),
        keys=tuple(dict.fromkeys(keys or Keys)),
        seconds=seconds,
        patience=patience,
    ) as examination:
        output = Console(highlight=False, emoji=False)
        async for finding in examination:
            if not options.json:
                show(output, finding)
    result = examination.result
    if html is not None:
        html.write_text(result.to_html(), encoding="utf-8")  # noqa: ASYNC240  all calls are over
    if options.json:
        print_json(result.to_dict())
    elif result.healthy:
        sys.stdout.write("\nNothing failed.\n")
    else:
        failures = sum(finding.status is FindingStatus.FAIL for finding in result.findings)
        sys.stdout.write(f"\n{failures} of {len(result.findings)} checks failed.\n")
    return 0 if result.healthy else 1


def show(output: Console, finding: Finding) -> None:
    """One finding: its status, its name, the evidence, and the remedy below."""
    line = Text.assemble(
        (f"{finding.status.value.upper():<5}", COLOURS[finding.status]),
        (f" {finding.check:<10} ", "bold"),
    )
    output.print(line, end="")
    output.print(Text(finding.detail), soft_wrap=True)
    if finding.remedy and finding.status is not FindingStatus.PASS:
        output.print(Text(f"{'':17}-> {finding.remedy}", style="italic"), soft_wrap=True)
