"""run_calls and answer_calls: calls with media, many at a steady rate."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from callmeter.errors import CallmeterError, ConfigurationError
from callmeter.load.frozen_heap import frozen_heap
from callmeter.load.runner import run_scenario
from callmeter.media.sources import AudioSource, LiveSource, Tone
from callmeter.metrics.aggregate import summarize

if TYPE_CHECKING:
    from callmeter.call_report import CallReport
    from callmeter.config import MediaConfig
    from callmeter.endpoint import Endpoint
    from callmeter.incoming_call import IncomingCall
    from callmeter.load.plan import ScenarioPlan
    from callmeter.metrics.aggregate import CallSummary

__all__ = ["CallLoad", "LoadResult", "answer_calls", "on_shared_port", "run_calls"]


@dataclass(frozen=True, kw_only=True)
class CallLoad:
    """How many calls, how fast, and what happens in each.

    Attributes:
        target: Whom to call.
        calls: How many calls.
        rate: New calls a second.
        seconds: Seconds that each is talked in.
        concurrent: Calls at once; a new one waits for an old one to end. None sets no bound.
        source: What is played in each of them.
        media: Settings of the calls; None takes the endpoint's with a port that all calls
            share, where RTCP may share it too.
        scenario: What to do in each call besides.

    Raises:
        ConfigurationError: A figure that makes no load.
    """

    target: str
    calls: int = 1
    rate: float = 10.0
    seconds: float = 5.0
    concurrent: int | None = None
    source: AudioSource = field(default_factory=Tone)
    media: MediaConfig | None = None
    scenario: ScenarioPlan | None = None

    def __post_init__(self) -> None:
        if self.calls < 1 or (self.concurrent is not None and self.concurrent < 1):
            raise ConfigurationError("calls and concurrent are 1 at least")
        # NaN is neither.
        if not (self.rate > 0 and self.seconds >= 0):
            raise ConfigurationError("rate is above 0, and seconds are not below 0")
        source: object = self.source
        if not isinstance(source, (AudioSource, LiveSource)):
            given = type(source).__name__
            raise ConfigurationError(f"source takes a Tone, a WavFile or the like, not a {given}")


@dataclass(kw_only=True)
class LoadResult:
    """What became of the calls of a load.

    Attributes:
        reports: Of the calls that were placed, in the order in which they ended.
        errors: How many were not answered or broke off, by the name of the error.
        unplaced: How many could not be placed, so that there is no report of them: the target
            was not found, or no port was free. They are among the errors.
        unplaced_errors: Why, one for each of them.
        latest: Seconds by which the latest call was placed after its time: of this machine, or
            because `concurrent` calls were there already.
    """

    reports: list[CallReport] = field(default_factory=list, repr=False)
    errors: Counter[str] = field(default_factory=Counter)
    unplaced: int = 0
    unplaced_errors: list[CallmeterError] = field(default_factory=list, repr=False)
    latest: float = 0.0

    def __str__(self) -> str:
        errors = ", ".join(f"{name} {count:,}" for name, count in self.errors.most_common())
        lines = [str(self.summary)]
        lines += [f"  {'not placed':<24}{self.unplaced:,}"] if self.unplaced else []
        lines += [f"  {'latest call':<24}{self.latest * 1000:.1f} ms after its time"]
        lines += [f"  {'errors':<24}{errors}"] if errors else []
        return "\n".join(lines)

    @property
    def summary(self) -> CallSummary:
        """Ratios, outcomes and percentiles of the reports."""
        return summarize(self.reports)

    def to_dict(self) -> dict[str, Any]:
        """Without the single reports, ready for JSON."""
        return self.summary.to_dict() | {
            "unplaced": self.unplaced,
            "errors": dict(self.errors),
            "latest_s": round(self.latest, 3),
        }


async def run_calls(
    endpoint: Endpoint, load: CallLoad, result: LoadResult | None = None
) -> LoadResult:
    """Place the calls of a load and wait until the last has ended.

    A call that fails is counted and the others go on. Cancelled, it hangs up those that live.

    Args:
        endpoint: Who calls.
        load: What to do.
        result: Filled in the meantime, for who wants to look before the end, or has to end early;
            None makes one.
    """
    result = LoadResult() if result is None else result
    loop = asyncio.get_running_loop()
    places = asyncio.Semaphore(load.concurrent or load.calls)
    media = load.media or on_shared_port(endpoint.config.media)
    with frozen_heap():
        begun = loop.time()
        async with asyncio.TaskGroup() as calls:
            for number in range(load.calls):
                due = begun + number / load.rate
                await asyncio.sleep(max(0.0, due - loop.time()))
                await places.acquire()
                result.latest = max(result.latest, loop.time() - due)
                placed = calls.create_task(_place(endpoint, load, media, result))
                placed.add_done_callback(lambda _: places.release())
    return result


async def _place(
    endpoint: Endpoint, load: CallLoad, media: MediaConfig, result: LoadResult
) -> None:
    try:
        call = await endpoint.invite(load.target, media=media)
    except CallmeterError as error:
        result.errors[type(error).__name__] += 1
        result.unplaced += 1
        result.unplaced_errors.append(error)
        return
    try:
        async with asyncio.TaskGroup() as tasks:
            if load.scenario is not None:
                tasks.create_task(run_scenario(call, load.scenario))
            async with call:
                try:
                    await call.answered()
                    await call.media.play(load.source, seconds=load.seconds)
                except Exception as error:  # noqa: BLE001  a source raises what it wants to
                    result.errors[type(error).__name__] += 1
    finally:
        result.reports.append(call.report())


async def answer_calls(endpoint: Endpoint) -> None:
    """Answer every call that can be answered, and return what is heard, until cancelled.

    Args:
        endpoint: Who answers.
    """
    async with asyncio.TaskGroup() as calls:
        async for incoming in endpoint.incoming():
            calls.create_task(_echo(incoming))


async def _echo(incoming: IncomingCall) -> None:
    # Refused, cancelled, gone in the moment of the answer: the next one is answered all the same.
    with contextlib.suppress(CallmeterError):
        async with await incoming.answer() as call:
            call.media.echo()
            await call.ended()


def on_shared_port(media: MediaConfig) -> MediaConfig:
    """Media of many calls on one port, unless RTCP is to have a port of its own.

    Args:
        media: Their settings.
    """
    return media if media.rtcp_mux is False else replace(media, shared_port=True)
