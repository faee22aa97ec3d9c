"""`callmeter call URI`: place one call and report on it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from callmeter.cli.output import follow, print_report, run, write_trace
from callmeter.cli.settings import CallOptions, with_options
from callmeter.endpoint import Endpoint
from callmeter.errors import CallmeterError, ConfigurationError
from callmeter.media.sources import Silence, Tone, WavFile
from callmeter.sip.uri import SipUri, parse_uri
from callmeter.stack import Stack

if TYPE_CHECKING:
    from callmeter.call import Call
    from callmeter.media.sources import AudioSource

__all__ = ["call"]


@with_options(CallOptions)
def call(
    uri: Annotated[str, typer.Argument(help="Whom to call: sip:bob@example.com.")],
    options: CallOptions,
) -> None:
    """Place a call, play, listen, hang up, and print what was measured.

    For example:

    callmeter call sip:bob@192.0.2.7 --srtp sdes --duration 10

    CALLMETER_PASSWORD=... callmeter call sip:600@pbx.example.com --aor sip:100@pbx.example.com
    """
    run(place(uri, options))


async def place(uri: str, options: CallOptions) -> int:
    """Do it; returns the exit status."""
    target = parse_uri(uri if uri.lower().startswith(("sip:", "sips:")) else f"sip:{uri}")
    if not isinstance(target, SipUri):
        raise ConfigurationError(f"{uri!r} is not a SIP URI")
    config = options.endpoint_config(peer_host=target.host, media=options.media_config())
    source_of(options.play)
    async with Stack(options.stack_config()) as stack, Endpoint(config, stack) as endpoint:
        placed = await endpoint.invite(str(target))
        error: CallmeterError | None = None
        async with asyncio.TaskGroup() as tasks:
            watching = tasks.create_task(follow(placed, options))
            async with placed:
                try:
                    await placed.answered()
                    await talk(placed, options)
                except CallmeterError as failure:
                    error = failure
            await watching
        write_trace(endpoint, options)
        return print_report(placed, options, error)


async def talk(placed: Call, options: CallOptions) -> None:
    """What `--play`, `--record`, `--dtmf` and `--duration` say."""
    if options.record is not None:
        placed.media.record(options.record)
    async with asyncio.timeout(None) as limit:
        limit.reschedule(asyncio.get_running_loop().time() + options.duration + 5)
        if options.dtmf:
            await placed.send_dtmf(options.dtmf)
        if options.play == "echo":
            placed.media.echo()
            await _until_over(placed, options.duration)
        else:
            await placed.media.play(source_of(options.play), seconds=options.duration)


async def _until_over(placed: Call, seconds: float) -> None:
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
