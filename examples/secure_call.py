"""A secure call between two endpoints of this program, and its report.

python secure_call.py [sdes|dtls|dual]
"""

import asyncio
import sys

from callmeter import (
    Endpoint,
    EndpointConfig,
    MediaConfig,
    SrtpConfig,
    SrtpMethod,
    SrtpPolicy,
    Tone,
)


async def answer(bob: Endpoint) -> None:
    call = await (await bob.next_call()).answer()
    call.media.echo()
    await call.ended()


async def main(method: SrtpMethod) -> None:
    secure = MediaConfig(srtp=SrtpConfig(method=method, policy=SrtpPolicy.REQUIRED))
    async with (
        Endpoint(EndpointConfig("sip:alice@127.0.0.1", media=secure)) as alice,
        Endpoint(EndpointConfig("sip:bob@127.0.0.1", media=secure)) as bob,
        asyncio.TaskGroup() as tasks,
    ):
        tasks.create_task(answer(bob))
        async with alice.call(str(bob.contact)) as call:
            await call.media.play(Tone(440), seconds=2)
    print(call.report())


asyncio.run(main(SrtpMethod[(sys.argv[1:] or ["sdes"])[0].upper()]))
