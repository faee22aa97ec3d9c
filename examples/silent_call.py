"""A call that is answered and stays silent, and what the diagnosis says of it.

The callee keys its SRTP with another tag length than the one it agreed to.

    python silent_call.py
"""

import asyncio

from callmeter import Endpoint, EndpointConfig, MediaConfig, SrtpConfig, SrtpPolicy, Tone
from callmeter.testing.misbehaviour import MisbehavingEndpoint, Misbehaviour

SECURE = MediaConfig(srtp=SrtpConfig(policy=SrtpPolicy.REQUIRED))


async def answer(mallory: MisbehavingEndpoint) -> None:
    call = await (await mallory.next_call()).answer()
    await call.media.play(Tone(440))


async def main() -> None:
    mallory_config = EndpointConfig("sip:mallory@127.0.0.1", media=SECURE)
    async with (
        Endpoint(EndpointConfig("sip:alice@127.0.0.1", media=SECURE)) as alice,
        MisbehavingEndpoint(mallory_config, Misbehaviour.OTHER_TAG_LENGTH) as mallory,
        asyncio.TaskGroup() as tasks,
    ):
        tasks.create_task(answer(mallory))
        async with alice.call(str(mallory.contact)) as call:
            await call.media.play(Tone(440), seconds=2)
    for finding in call.diagnosis():
        if finding.status == "fail":
            print(f"{finding.check}: {finding.detail}\n  -> {finding.remedy}")


asyncio.run(main())
