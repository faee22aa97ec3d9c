"""Write a DTLS-SRTP call into a capture that Wireshark opens, its media decrypted.

python capture.py [FILE]
"""

import asyncio
import sys

from callmeter import (
    CaptureConfig,
    Endpoint,
    EndpointConfig,
    MediaConfig,
    SrtpConfig,
    SrtpMethod,
    SrtpPolicy,
    Tone,
)

MEDIA = MediaConfig(
    srtp=SrtpConfig(method=SrtpMethod.DTLS, policy=SrtpPolicy.REQUIRED), capture=CaptureConfig()
)


async def answer(bob: Endpoint) -> None:
    call = await (await bob.next_call()).answer()
    call.media.echo()
    await call.ended()


async def main(path: str) -> None:
    async with (
        Endpoint(EndpointConfig("sip:alice@127.0.0.1", media=MEDIA)) as alice,
        Endpoint(EndpointConfig("sip:bob@127.0.0.1", media=MEDIA)) as bob,
        asyncio.TaskGroup() as tasks,
    ):
        tasks.create_task(answer(bob))
        async with alice.call(str(bob.contact)) as call:
            await call.media.play(Tone(440), seconds=2)
    call.trace(path)
    print(f"{path}: {call.report().outcome}")


asyncio.run(main((sys.argv[1:] or ["call.pcapng"])[0]))
