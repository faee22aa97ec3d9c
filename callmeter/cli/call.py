"""`callmeter call URI`: place one call and report on it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from callmeter.cli.output import (
    follow,
    print_report,
    run,
    show_report,
    write_report,
    write_trace,
)
from callmeter.cli.settings import CallOptions, target_of, with_options
from callmeter.endpoint import Endpoint
from callmeter.errors import CallmeterError, ConfigurationError
from callmeter.load import run_scenario
from callmeter.media.sources import Silence, Tone, WavFile
from callmeter.stack import Stack

if TYPE_CHECKING:
    from callmeter.call import Call
    from callmeter.load import ScenarioPlan, ScenarioResult
    from callmeter.media.sources import AudioSource

__all__ = ["RingTimeout", "call"]

DURATION = 5.0
"""Seconds of a call when nobody says how long."""

RingTimeout = Annotated[
    float | None,
    typer.Option(
        help="Seconds to let it ring before the call is given up.",
        metavar="SECONDS",
        min=0.1,
        show_default="180",
    ),
]


@with_options(CallOptions)
def call(
    uri: Annotated[str, typer.Argument(help="Whom to call: sip:bob@example.com.")],
    options: CallOptions,
    ring_timeout: RingTimeout = None,
    strict: Annotated[  # noqa: FBT002  a command line flag
        bool, typer.Option("--strict", help="Status 1 when a check of the diagnosis failed.")
    ] = False,
) -> None:
    """Place a call, play, listen, hang up, and print what was measured.

    For example:

    callmeter call sip:bob@192.0.2.7 --srtp sdes --duration 10 --strict

    CALLMETER_PASSWORD=... callmeter call sip:600@pbx.example.com --aor sip:100@pbx.example.com

    callmeter call sip:600@pbx.example.com --scenario hold.json --report call.html
    """
    run(place(uri, options, ring_timeout, strict=strict), as_json=options.json)


async def place(uri: str, options: CallOptions, ring_timeout: float | None, *, strict: bool) -> int:
    """Do it; returns the exit status."""
    target = target_of(uri)
    config = options.endpoint_config(peer_host=target.host, media=options.media_config())
    source_of(options.play)
    plan = options.scenario_plan()
    seconds = options.duration
    if seconds is None:
        seconds = DURATION + (0.0 if plan is None else plan.seconds)
    async with Stack(options.stack_config()) as stack, Endpoint(config, stack) as endpoint:
        try:
            placed = await endpoint.invite(str(target))
        except CallmeterError as unplaced:
            if unplaced.report is None:
                raise
            # No connection, or no address: there is a report all the same.
            write_trace(endpoint, options)
            write_report(unplaced.report, options)
            return print_report(unplaced.report, options, unplaced, strict=strict)
        error: CallmeterError | None = None
        acting = None
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(follow(placed, options, seconds))
                acting = act(tasks, placed, plan)
                async with placed:
                    try:
                        await placed.answered(ring_timeout)
                        await talk(placed, options, seconds)
                    except CallmeterError as failure:
                        error = failure
        except asyncio.CancelledError:
            # Whoever interrupts a call wants to see what was measured until then.
            write_trace(endpoint, options, [placed])
            write_report(placed.report(), options)
            show_report(placed.report(), options, acting)
            raise
        write_trace(endpoint, options, [placed])
        write_report(placed.report(), options)
        return print_report(placed.report(), options, error, acting, strict=strict)


def act(
    tasks: asyncio.TaskGroup, call: Call, plan: ScenarioPlan | None
) -> asyncio.Task[ScenarioResult] | None:
    """Run the scenario of `--scenario` beside the call."""
    return None if plan is None else tasks.create_task(run_scenario(call, plan))


async def talk(placed: Call, options: CallOptions, seconds: float | None) -> None:
    """What `--play`, `--record` and `--dtmf` say, for so many seconds or until the call ends.

    A file that is shorter ends the call, unless `--duration` was given: then silence follows.
    """
    if options.record is not None:
        placed.media.record(options.record)
    if options.dtmf:
        await placed.send_dtmf(options.dtmf)
    source = source_of(options.play)
    if source is not None:
        played = await placed.media.play(source, seconds=seconds)
        left = 0.0 if options.duration is None else options.duration - played
        if isinstance(source, WavFile) and left > 0:
            # Where the call has ended it returns at once.
            await placed.media.play(Silence(), seconds=left)
        return
    placed.media.echo()
    try:
        async with asyncio.timeout(seconds):
            await placed.ended()
    except TimeoutError:
        return


def source_of(text: str) -> AudioSource | None:
    """The source that `--play` names; None for echo.

    Raises:
        ConfigurationError: No such source or file.
    """
    kind, _, detail = text.partition(":")
    match kind:
        case "echo":
            return None
        case "silence":
            return Silence()
        case "tone":
            if detail and not (detail.isascii() and detail.isdigit()):
                raise ConfigurationError(f"--play {text!r}: the tone's frequency is a number")
            return Tone(int(detail) if detail else 440)
    if not Path(text).is_file():
        raise ConfigurationError(f"--play {text!r}: no such file, nor tone, silence or echo")
    return WavFile(text)
