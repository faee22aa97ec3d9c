"""What a command prints: progress on a terminal, one JSON object, one line of error."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any, NoReturn

import typer
from rich.console import Console
from rich.markup import escape

from callmeter.cli.remedies import remedy_of
from callmeter.cli.terminal import TalkBar, print_colored
from callmeter.errors import CallmeterError, ConfigurationError
from callmeter.events import Answered
from callmeter.metrics.report import FindingStatus

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable, Iterator, Sequence
    from pathlib import Path
    from types import FrameType

    from callmeter.call import Call
    from callmeter.call_report import CallReport
    from callmeter.cli.settings import CallOptions, CommonOptions
    from callmeter.endpoint import Endpoint
    from callmeter.load import ScenarioResult
    from callmeter.metrics.report import Finding

__all__ = [
    "complain",
    "complain_of_checks",
    "fail",
    "failed_checks",
    "follow",
    "print_json",
    "print_report",
    "progress",
    "reason_of",
    "run",
    "show_report",
    "write_page",
    "write_report",
    "write_trace",
]

USAGE = 2
INTERRUPTED_TWICE = 130
"""What a shell says of a program that SIGINT ended."""
WAITING = "interrupted: waiting for the peer, to leave in order; a second Ctrl-C leaves at once"
HURRY_S = 0.1
"""How long each step of leaving may take after a second Ctrl-C."""
SOON_S = 0.5
"""Who is done by then after Ctrl-C says nothing of waiting."""


def run(work: Coroutine[Any, Any, int], *, as_json: bool = False, command: str = "") -> NoReturn:
    """Run a command to its exit status; errors become one line on stderr.

    Args:
        work: The command.
        as_json: Whether stdout gets the error as an object, too.
        command: Its name, where a remedy depends on it.
    """
    interrupts: list[int] = []
    try:
        raise typer.Exit(asyncio.run(_until_terminated(work, interrupts)))
    except KeyboardInterrupt:
        fail("interrupted", INTERRUPTED_TWICE if len(interrupts) > 1 else 1)
    except asyncio.CancelledError:
        fail("terminated", 1)
    except (CallmeterError, OSError, ExceptionGroup) as caught:
        error = _leaf(caught)
        if isinstance(error, ConfigurationError):
            fail(str(error), USAGE)
        if not isinstance(error, CallmeterError | OSError):
            raise
        if as_json:
            print_json({"error": {"type": type(error).__name__, "message": str(error)}})
        fail(reason_of(error, command=command), 1)


async def _until_terminated(work: Coroutine[Any, Any, int], interrupts: list[int]) -> int:
    """SIGTERM ends it as Ctrl-C does: calls are hung up, bindings removed, reports written.

    Args:
        work: The command.
        interrupts: Gets an item for each Ctrl-C.
    """
    task = asyncio.current_task()
    if task is None or threading.current_thread() is not threading.main_thread():
        return await work
    loop = asyncio.get_running_loop()
    with contextlib.suppress(NotImplementedError):  # no Unix, or no such loop
        loop.add_signal_handler(signal.SIGTERM, task.cancel)
    with _told_of_waiting(loop, task, interrupts):
        return await work


@contextlib.contextmanager
def _told_of_waiting(
    loop: asyncio.AbstractEventLoop, task: asyncio.Task[Any], interrupts: list[int]
) -> Iterator[None]:
    """Say what Ctrl-C waits for, if it takes a while: a peer that is silent may take 32 s."""
    known = signal.getsignal(signal.SIGINT)  # that of asyncio: it cancels, then it raises
    if not callable(known):  # a shell starts what is in the background with SIGINT ignored
        yield
        return
    waiting: list[asyncio.TimerHandle] = []

    def tell() -> None:
        if len(interrupts) == 1:
            progress(WAITING)

    def hurry() -> None:
        # What is left hangs up once more, and would wait for the same peer.
        if not task.done():
            task.cancel()
            loop.call_later(HURRY_S, hurry)

    def note(number: int, frame: FrameType | None) -> None:
        interrupts.append(number)
        if len(interrupts) == 1:
            loop.call_soon_threadsafe(
                lambda: waiting.append(loop.call_later(SOON_S, tell)),
            )
        else:
            loop.set_exception_handler(_without_interrupts)
            loop.call_soon_threadsafe(hurry)
        known(number, frame)

    signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        # asyncio puts back what was there before, if it finds its own.
        signal.signal(signal.SIGINT, known)
        for handle in waiting:
            handle.cancel()


def _without_interrupts(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """What tasks died of at a second Ctrl-C is known, and no trace of ours."""
    if not isinstance(context.get("exception"), KeyboardInterrupt):
        loop.default_exception_handler(context)


def reason_of(error: BaseException, report: CallReport | None = None, *, command: str = "") -> str:
    """An error and what to do about it, as one line.

    Args:
        error: What ended the command or the call.
        report: Of the call.
        command: The name of the command.
    """
    reason = f"{type(error).__name__}: {error}"
    remedy = remedy_of(error, report, command=command)
    return f"{reason}. What to do: {remedy}" if remedy else reason


def _leaf(error: Exception) -> Exception:
    """The one error in a task group's; the group itself where there are several."""
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def fail(text: str, status: int) -> NoReturn:
    """Print the reason and leave."""
    complain(text)
    raise typer.Exit(status)


def complain(text: str) -> None:
    """Print a reason, as one line on stderr."""
    # What a peer sent may be in it: no markup, no second line.
    _stderr().print(f"[red]callmeter:[/red] {escape(' '.join(text.split()))}", soft_wrap=True)


def failed_checks(report: CallReport) -> dict[str, Finding]:
    """The checks of the diagnosis of a call that failed, by name."""
    return {
        finding.check: finding
        for finding in report.diagnosis
        if finding.status is FindingStatus.FAIL
    }


def complain_of_checks(reports: Sequence[CallReport]) -> None:
    """Print the checks that failed in any of these calls, one line each."""
    failed: dict[str, list[Finding]] = {}
    for report in reports:
        for check, finding in failed_checks(report).items():
            failed.setdefault(check, []).append(finding)
    for check, findings in failed.items():
        where = f" in {len(findings):,} of {len(reports):,} calls" if len(reports) > 1 else ""
        complain(f"check {check} failed{where}: {findings[0].detail}")


def progress(text: str) -> None:
    """One line on stderr about what happens."""
    _tell(_stderr(), text)


def _tell(console: Console, text: str) -> None:
    console.print(f"[dim]{escape(text)}[/dim]", soft_wrap=True)


def _stderr() -> Console:
    return Console(stderr=True, highlight=False, emoji=False)


def print_json(value: dict[str, Any]) -> None:
    """One JSON object on stdout."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")


def show_report(
    report: CallReport, options: CommonOptions, acting: asyncio.Task[ScenarioResult] | None = None
) -> ScenarioResult | None:
    """Print the report of a call that has ended, and judge nothing; returns its scenario.

    Args:
        report: It.
        options: What was asked for.
        acting: The scenario beside the call; one that was interrupted has no result.
    """
    scenario = None if acting is None or acting.cancelled() else acting.result()
    if options.json:
        added = {} if scenario is None else {"scenario": scenario.to_dict()}
        print_json(report.to_dict() | added)
    else:
        print_colored(str(report))
        if scenario is not None:
            sys.stdout.write(f"\n{scenario}\n")
    return scenario


def print_report(
    report: CallReport,
    options: CommonOptions,
    error: CallmeterError | None = None,
    acting: asyncio.Task[ScenarioResult] | None = None,
    *,
    strict: bool,
) -> int:
    """Print the report of a call that has ended; returns the exit status.

    Args:
        report: It.
        options: What was asked for.
        error: What the call failed with.
        acting: The scenario beside the call.
        strict: Whether a check of the diagnosis that failed is no good end.
    """
    scenario = show_report(report, options, acting)
    if error is not None:
        complain(reason_of(error, report))
    elif report.outcome is None or not report.outcome.good:
        name = "UNKNOWN" if report.outcome is None else report.outcome.value
        reason = "" if report.error is None else f": {report.error.message}"
        complain(f"the call ended as {name}{reason}")
    elif scenario is not None and scenario.failed:
        complain(f"{scenario.failed} of {len(scenario.steps)} actions of the scenario failed")
    elif strict and failed_checks(report):
        complain_of_checks([report])
    else:
        return 0
    return 1


async def follow(call: Call, options: CommonOptions, seconds: float | None = None) -> None:
    """Print what happens in a call while it happens, and on a terminal how far it is.

    Args:
        call: Whose events are told.
        options: With `--json` nothing is told.
        seconds: How long it lasts, if known.
    """
    console = _stderr()
    with TalkBar(console, seconds) as bar:
        async for event in call.events():
            if options.json:
                continue
            if isinstance(event, Answered):
                bar.begin()
            _tell(console, f"{event.at:8.3f} s  {event}")


def write_trace(endpoint: Endpoint, options: CommonOptions, calls: Iterable[Call] = ()) -> None:
    """Write what `--trace` asks for: ladder and messages, or packets."""
    if options.trace is not None:
        endpoint.trace(options.trace, *calls)


def write_report(report: CallReport, options: CallOptions, number: int = 1) -> None:
    """Write the page that `--report` asks for; each call but the first has its number in its name.

    Args:
        report: Of a call that has ended.
        options: What was asked for.
        number: Which call it is, from 1.
    """
    path = options.report
    if path is None:
        return
    if number > 1:
        path = path.with_stem(f"{path.stem}-{number}")
    write_page(path, report)


def write_page(path: Path, report: CallReport) -> None:
    """Write the page of a report."""
    path.write_text(report.to_html(), encoding="utf-8")
