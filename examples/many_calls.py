"""Fifty secure calls, ten new ones a second, and what they were like together.

python many_calls.py
"""

import asyncio

from callmeter import CallReport, Endpoint, EndpointConfig, MediaConfig, Tone
from callmeter.metrics import summarize

CALLS, RATE, SECONDS = 50, 10, 2
TRUNK = MediaConfig.sip_trunk()


async def answer_all(bob: Endpoint) -> None:
    async with asyncio.TaskGroup() as calls:
        async for incoming in bob.incoming():
            call = await incoming.answer()
            call.media.echo()
            calls.create_task(call.ended())


async def place(alice: Endpoint, target: str) -> CallReport:
    async with alice.call(target) as call:
        await call.media.play(Tone(440), seconds=SECONDS)
    return call.report()


async def main() -> None:
    async with (
        Endpoint(EndpointConfig("sip:alice@127.0.0.1", media=TRUNK)) as alice,
        Endpoint(EndpointConfig("sip:bob@127.0.0.1", media=TRUNK)) as bob,
        asyncio.TaskGroup() as tasks,
    ):
        answering = tasks.create_task(answer_all(bob))
        placed = []
        for _ in range(CALLS):
            placed.append(tasks.create_task(place(alice, str(bob.contact))))
            await asyncio.sleep(1 / RATE)
        summary = summarize([await call for call in placed])
        answering.cancel()
    print(f"answered {summary.asr:.0%}, {dict(summary.outcomes)}")
    print(f"set-up p95 {summary.timings['call_setup_time_ms'].p95:.1f} ms")


asyncio.run(main())
