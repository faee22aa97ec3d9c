"""An attended transfer: bob puts alice on hold, asks carol, and connects the two.

python transfer.py
"""

import asyncio

from callmeter import Endpoint, EndpointConfig, Tone, TransferPolicy, events


async def answer(endpoint: Endpoint) -> None:
    async with asyncio.TaskGroup() as calls:
        async for incoming in endpoint.incoming():
            call = await incoming.answer()
            call.media.echo()
            calls.create_task(call.ended())


async def main() -> None:
    follow = TransferPolicy.FOLLOW
    async with (
        Endpoint(EndpointConfig("sip:alice@127.0.0.1", transfers=follow)) as alice,
        Endpoint(EndpointConfig("sip:bob@127.0.0.1")) as bob,
        Endpoint(EndpointConfig("sip:carol@127.0.0.1", transfers=follow)) as carol,
        asyncio.TaskGroup() as tasks,
    ):
        answering = [tasks.create_task(answer(end)) for end in (bob, carol)]
        call = await alice.invite(str(bob.contact))
        await call.answered()
        with_alice = bob.calls[0]
        async with bob.call(str(carol.contact)) as with_carol:
            await with_alice.hold()
            await with_carol.media.play(Tone(440), seconds=0.5)
            print("transfer:", await with_alice.transfer_to(with_carol))
        async for event in call.events():
            if isinstance(event, events.Transferred) and event.call is not None:
                successor = event.call
        await successor.media.play(Tone(440), seconds=0.5)
        await successor.bye()
        print("alice spoke to", successor.report().to_dict()["signaling"]["remote"])
        for task in answering:
            task.cancel()


asyncio.run(main())
