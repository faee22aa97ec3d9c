"""A voice menu that answers, waits for a digit and hangs up, and a caller who dials it.

python voice_menu.py
"""

import asyncio

from callmeter import Endpoint, EndpointConfig, IncomingCall, Tone, events

TONES = {"1": Tone(523), "2": Tone(659)}


async def serve(menu: Endpoint) -> None:
    """One task for each caller."""
    async with asyncio.TaskGroup() as callers:
        async for incoming in menu.incoming():
            callers.create_task(attend(incoming))


async def attend(incoming: IncomingCall) -> None:
    async with await incoming.answer() as call:
        async for event in call.events():
            if isinstance(event, events.DtmfReceived):
                print("menu heard", event.digit)
                if event.digit not in TONES:
                    break
                await call.media.play(TONES[event.digit], seconds=0.5)


async def main() -> None:
    async with (
        Endpoint(EndpointConfig("sip:menu@127.0.0.1")) as menu,
        Endpoint(EndpointConfig("sip:caller@127.0.0.1")) as caller,
        asyncio.TaskGroup() as tasks,
    ):
        serving = tasks.create_task(serve(menu))
        async with caller.call(str(menu.contact)) as call:
            heard = call.media.record("heard.wav")
            await call.send_dtmf("12#")
            await call.ended()
        print(f"recorded {heard.path}")
        serving.cancel()


asyncio.run(main())
