"""Change the media keys three times in a call and see that nothing is lost.

python rekey.py
"""

import asyncio

from callmeter import Endpoint, EndpointConfig, MediaConfig, Tone

TRUNK = MediaConfig.sip_trunk()  # SRTP with SDES keys, required


async def answer(bob: Endpoint) -> None:
    call = await (await bob.next_call()).answer()
    call.media.echo()
    await call.ended()


async def main() -> None:
    async with (
        Endpoint(EndpointConfig("sip:alice@127.0.0.1", media=TRUNK)) as alice,
        Endpoint(EndpointConfig("sip:bob@127.0.0.1", media=TRUNK)) as bob,
        asyncio.TaskGroup() as tasks,
    ):
        tasks.create_task(answer(bob))
        async with alice.call(str(bob.contact)) as call:
            for _ in range(3):
                await call.media.play(Tone(440), seconds=0.5)
                await call.rekey()
            await call.media.play(Tone(440), seconds=0.5)
    received = call.report().to_dict()["media"][0]["receive"]
    print("lost", received["packets_lost"], "unreadable", received["srtp_decrypt_failures"])


asyncio.run(main())
