"""Register with a server and place a call; the server chosen by its DNS records.

python register_and_call.py sip:alice@example.com PASSWORD sip:600@example.com
"""

import asyncio
import sys

from callmeter import (
    CallmeterError,
    Credentials,
    Endpoint,
    EndpointConfig,
    MediaConfig,
    Tone,
    Transport,
)


async def main(aor: str, password: str, target: str) -> int:
    user = aor.partition(":")[2].partition("@")[0]
    config = EndpointConfig(
        aor,
        credentials=Credentials(user, password),
        transport=Transport.AUTO,
        media=MediaConfig.unknown_peer(),  # SRTP offered, by SDES and DTLS at once
    )
    try:
        async with Endpoint(config) as phone, phone.registered() as binding:
            print("registered until", binding.expires, "s from now")
            async with phone.call(target) as call:
                await call.media.play(Tone(440), seconds=3)
    except CallmeterError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    print(call.report())
    return 0


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    sys.exit(asyncio.run(main(*sys.argv[1:])))
