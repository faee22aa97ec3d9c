"""`callmeter load URI`: many calls at a steady rate, summed up."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path  # noqa: TC003  read at run time by typer
from typing import TYPE_CHECKING, Annotated

import typer

from callmeter.cli.call import DURATION, RingTimeout, source_of
from callmeter.cli.output import (
    complain,
    complain_of_checks,
    failed_checks,
    print_json,
    progress,
    reason_of,
    run,
)
from callmeter.cli.remedies import remedy_of_report
from callmeter.cli.settings import CallOptions, check_folder, target_of, with_options
from callmeter.config import LimitConfig
from callmeter.endpoint import Endpoint
from callmeter.errors import ConfigurationError
from callmeter.load import CallLoad, LoadResult, run_calls
from callmeter.metrics import write_csv, write_json_lines
from callmeter.stack import Stack

if TYPE_CHECKING:
    from collections.abc import Sequence

    from callmeter.call_report import CallReport
    from callmeter.config import StackConfig

__all__ = ["load", "tell"]

NOT_TAKEN = ("record", "dtmf", "report", "trace", "trace_secrets")
"""What is of a single call; `--scenario` dials in each."""
TOLD_EVERY_S = 5.0
SPARE = 100
"""Dialogs beside those of the calls."""


@with_options(CallOptions, without=NOT_TAKEN)
def load(
    uri: Annotated[str, typer.Argument(help="Whom to call: sip:600@pbx.example.com.")],
    options: CallOptions,
    calls: Annotated[int, typer.Option(help="How many calls.", min=1)] = 10,
    rate: Annotated[float, typer.Option(help="New calls a second.", min=0.001)] = 1.0,
    concurrent: Annotated[
        int | None,
        typer.Option(help="Calls at once; a new one waits for an old one to end.", min=1),
    ] = None,
    ring_timeout: RingTimeout = None,
    success: Annotated[
        float,
        typer.Option(help="Share of the calls that has to end well, else the status is 1.", max=1),
    ] = 1.0,
    strict: Annotated[  # noqa: FBT002  a command line flag
        bool,
        typer.Option(
            "--strict", help="A call of which a check of the diagnosis failed did not end well."
        ),
    ] = False,
    register: Annotated[  # noqa: FBT002  a command line flag
        bool, typer.Option("--register", help="Register --aor first.")
    ] = False,
    csv: Annotated[
        Path | None, typer.Option(metavar="FILE.csv", help="Write a row for each media stream.")
    ] = None,
    json_lines: Annotated[
        Path | None, typer.Option(metavar="FILE.jsonl", help="Write the report of each call.")
    ] = None,
) -> None:
    """Place many calls with media at a steady rate, and sum up what became of them.

    For example:

    callmeter load sip:600@pbx.example.com --calls 100 --rate 5 --duration 10 --srtp sdes

    callmeter load sip:600@pbx.example.com --calls 1000 --concurrent 50 --success 0.99 --csv run.csv
    """
    files = {"--csv": csv, "--json-lines": json_lines}
    run(
        place(
            uri,
            options,
            (calls, rate, concurrent),
            success,
            files,
            ring_timeout=ring_timeout,
            register=register,
            strict=strict,
        ),
        as_json=options.json,
    )


async def place(
    uri: str,
    options: CallOptions,
    amount: tuple[int, float, int | None],
    success: float,
    files: dict[str, Path | None],
    *,
    ring_timeout: float | None,
    register: bool,
    strict: bool,
) -> int:
    """Do it; returns the exit status."""
    if register and options.aor is None:
        raise ConfigurationError("--register needs --aor sip:user@domain")
    for option, path in files.items():
        check_folder(option, path)
    target = target_of(uri)
    config = options.endpoint_config(peer_host=target.host, media=options.media_config())
    source = source_of(options.play)
    if source is None:
        raise ConfigurationError("--play echo: a load plays a tone, silence or a file")
    calls, rate, concurrent = amount
    asked = CallLoad(
        target=str(target),
        calls=calls,
        rate=rate,
        seconds=DURATION if options.duration is None else options.duration,
        concurrent=concurrent,
        source=source,
        scenario=options.scenario_plan(),
    )
    result = LoadResult()
    async with AsyncExitStack() as entered:
        settings = _patient(_roomy(options.stack_config(), calls), ring_timeout)
        stack = await entered.enter_async_context(Stack(settings))
        endpoint = await entered.enter_async_context(Endpoint(config, stack))
        if register:
            await entered.enter_async_context(endpoint.registered())
        try:
            async with asyncio.TaskGroup() as tasks:
                telling = tasks.create_task(tell(endpoint, result.reports, quiet=options.json))
                await run_calls(endpoint, asked, result)
                telling.cancel()
        finally:
            # Whoever interrupts a load wants to see what was measured until then.
            _write(result, options, files["--csv"], files["--json-lines"])
    complain_of_errors(result, calls)
    return judge(result.reports, calls, success, strict=strict)


def complain_of_errors(result: LoadResult, calls: int) -> None:
    """Print each kind of error that calls ended with once, and what to do about the first.

    Args:
        result: What became of them.
        calls: How many were asked for.
    """
    reasons: dict[str, str] = {}
    counts: Counter[str] = Counter()
    for error in result.unplaced_errors:
        name = type(error).__name__
        counts[name] += 1
        reasons.setdefault(name, reason_of(error, error.report))
    for report in result.reports:
        if report.error is None:
            continue
        name = report.error.type
        counts[name] += 1
        if name not in reasons:
            remedy = remedy_of_report(report)
            advice = f". What to do: {remedy}" if remedy else ""
            reasons[name] = f"{name}: {report.error.message}{advice}"
    for name, count in counts.most_common():
        text = reasons[name].removeprefix(f"{name}: ")
        complain(f"{name} in {count:,} of {calls:,} calls: {text}")


def judge(
    reports: Sequence[CallReport], calls: int, success: float | None = None, *, strict: bool
) -> int:
    """The exit status of many calls, and on stderr why it is not 0.

    Args:
        reports: What became of them.
        calls: How many were asked for.
        success: Share of them that has to end well; None is all, without a word of it.
        strict: Whether a check of the diagnosis that failed is no good end.
    """
    if strict:
        complain_of_checks(reports)
    good = sum(
        report.outcome is not None
        and report.outcome.good
        and not (strict and failed_checks(report))
        for report in reports
    )
    if good >= (1.0 if success is None else success) * calls:
        return 0
    asked = "" if success is None else f", {success:.1%} are asked for"
    complain(f"{good:,} of {calls:,} calls ended well{asked}")
    return 1


def _roomy(config: StackConfig, calls: int) -> StackConfig:
    """Settings under which so many calls can live at once."""
    known = LimitConfig()
    dialogs = max(known.dialogs, calls + SPARE)
    return replace(config, limits=replace(known, dialogs=dialogs))


def _patient(config: StackConfig, ring_timeout: float | None) -> StackConfig:
    """Settings under which calls ring for so long."""
    if ring_timeout is None:
        return config
    return replace(config, timers=replace(config.timers, ring_timeout=ring_timeout))


async def tell(endpoint: Endpoint, reports: Sequence[CallReport], *, quiet: bool) -> None:
    """Say every few seconds how many calls are up, and how many have ended.

    Args:
        endpoint: Whose calls.
        reports: Of those that have ended.
        quiet: Nothing is said.
    """
    loop = asyncio.get_running_loop()
    begun = loop.time()
    while not quiet:
        await asyncio.sleep(TOLD_EVERY_S)
        up, ended = len(endpoint.calls), len(reports)
        progress(f"{loop.time() - begun:8.1f} s  {up:,} calls up, {ended:,} ended")


def _write(
    result: LoadResult, options: CallOptions, csv: Path | None, json_lines: Path | None
) -> None:
    if csv is not None:
        with csv.open("w", encoding="utf-8", newline="") as rows:
            write_csv(result.reports, rows)
    if json_lines is not None:
        with json_lines.open("w", encoding="utf-8") as lines:
            write_json_lines(result.reports, lines)
    if options.json:
        print_json(result.to_dict())
    else:
        sys.stdout.write(f"{result}\n")
