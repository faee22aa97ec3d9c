"""After any mix of good and bad calls everything is back where it was."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
from pathlib import Path

import pytest

from callmeter.config import (
    EndpointConfig,
    MediaConfig,
    SrtpConfig,
    SrtpPolicy,
    StackConfig,
    TimerConfig,
)
from callmeter.endpoint import Endpoint
from callmeter.errors import CallmeterError
from callmeter.stack import Stack

LOOPBACK = "127.0.0.1"
CALLS = 1_000 if os.environ.get("CALLMETER_LONG") else 80
AT_ONCE = 20
SECURE = MediaConfig(srtp=SrtpConfig(policy=SrtpPolicy.REQUIRED))
PATIENCE = 20
HASTY = TimerConfig(t1=5 / 64, t2=0.1, t4=0.1)
"""Timer B ends a call to nobody after five seconds, which a busy machine does not take to answer.

When it ends another one, no provisional response has come, there is no CANCEL, and it rings on.
"""


def descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


async def serve(bob: Endpoint) -> None:
    """Answer, refuse or ignore, as the called name says."""
    async with asyncio.TaskGroup() as tasks:
        async for incoming in bob.incoming():
            match str(incoming.request.headers.get("X-Wish")):
                case "answer":
                    tasks.create_task(answer(incoming))
                case "busy":
                    incoming.reject(486)


async def answer(incoming) -> None:
    try:
        await incoming.answer()
    except CallmeterError:
        return
    await incoming.ended()


async def one_call(alice: Endpoint, bob: Endpoint, wish: str, nowhere: str) -> str:
    target = nowhere if wish == "timeout" else str(bob.contact)
    patience = 0.2 if wish == "cancel" else PATIENCE
    try:
        async with alice.call(target, ring_timeout=patience, headers={"X-Wish": wish}) as call:
            await call.media.play(seconds=0.05)
    except CallmeterError as error:
        return type(error).__name__
    return "answered"


@pytest.mark.slow
async def test_a_mix_of_calls_leaves_no_task_socket_timer_or_dialog_behind(silent_port):
    nowhere = f"sip:nobody@{LOOPBACK}:{silent_port}"
    async with (
        Stack(StackConfig(bind=LOOPBACK, timers=HASTY)) as stack,
        Endpoint(EndpointConfig(f"sip:alice@{LOOPBACK}", media=SECURE), stack) as alice,
        Endpoint(EndpointConfig(f"sip:bob@{LOOPBACK}", media=SECURE), stack) as bob,
        asyncio.TaskGroup() as tasks,
    ):
        serving = tasks.create_task(serve(bob))
        await one_call(alice, bob, "answer", nowhere)
        await settle(stack)
        before = (len(asyncio.all_tasks()), descriptors(), len(stack.transactions))
        results: dict[str, int] = {}
        limit = asyncio.Semaphore(AT_ONCE)

        async def limited(wish: str) -> None:
            # Those that nobody answers do nothing but wait: all at once.
            async with contextlib.nullcontext() if wish == "timeout" else limit:
                result = await one_call(alice, bob, wish, nowhere)
            results[f"{wish}: {result}"] = results.get(f"{wish}: {result}", 0) + 1

        async with asyncio.TaskGroup() as calling:
            for number in range(CALLS):
                wish = ("answer", "busy", "cancel", "timeout")[number % 4]
                calling.create_task(limited(wish))
        await settle(stack)
        after = (len(asyncio.all_tasks()), descriptors(), len(stack.transactions))
        assert results == {
            "answer: answered": CALLS // 4,
            "busy: CallRejected": CALLS // 4,
            "cancel: CallTimedOut": CALLS // 4,
            "timeout: CallTimedOut": CALLS // 4,
        }
        assert after == before
        assert alice.calls == []
        assert bob.calls == []
        assert len(alice.core) == 0
        assert len(bob.core) == 0
        assert stack.idle, (list(stack._dispatch._owners), stack._dispatch._tokens)
        serving.cancel()
    gc.collect()


async def settle(stack: Stack) -> None:
    """Wait until every transaction has run its last timer."""
    async with asyncio.timeout(60):
        while len(stack.transactions) or stack.media.streams:  # noqa: ASYNC110  nobody tells
            await asyncio.sleep(0.05)
    gc.collect()  # What earlier tests left is no business of a count.
