"""Fifty secure calls, ten new ones a second, and what they were like together.

python many_calls.py
"""

import asyncio

from callmeter import Endpoint, EndpointConfig, MediaConfig
from callmeter.load import CallLoad, answer_calls, run_calls

TRUNK = MediaConfig.sip_trunk()  # SRTP with SDES keys, required


async def main() -> None:
    async with (
        Endpoint(EndpointConfig("sip:alice@127.0.0.1", media=TRUNK)) as alice,
        Endpoint(EndpointConfig("sip:bob@127.0.0.1", media=TRUNK)) as bob,
        asyncio.TaskGroup() as tasks,
    ):
        answering = tasks.create_task(answer_calls(bob))
        load = CallLoad(target=str(bob.contact), calls=50, rate=10, seconds=2)
        result = await run_calls(alice, load)
        answering.cancel()
    print(result)


asyncio.run(main())
