"""aiortc: pairs of connections in one process, PCMU both ways, DTLS-SRTP; says CPU by packet pair.

python benchmarks/far_end/aiortc_pairs.py --calls 20 --seconds 5
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time

from aiortc import RTCPeerConnection, RTCRtpSender
from aiortc.contrib.media import MediaBlackhole
from aiortc.mediastreams import AudioStreamTrack


async def connect() -> tuple[RTCPeerConnection, RTCPeerConnection]:
    ends = RTCPeerConnection(), RTCPeerConnection()
    connected = asyncio.Event()

    def on_state() -> None:
        if all(end.connectionState == "connected" for end in ends):
            connected.set()

    for end in ends:
        end.addTrack(AudioStreamTrack())
        end.on("connectionstatechange", on_state)
    codecs = RTCRtpSender.getCapabilities("audio").codecs
    pcmu = [codec for codec in codecs if codec.mimeType == "audio/PCMU"]
    ends[0].getTransceivers()[0].setCodecPreferences(pcmu)
    await ends[0].setLocalDescription(await ends[0].createOffer())
    await ends[1].setRemoteDescription(ends[0].localDescription)
    await ends[1].setLocalDescription(await ends[1].createAnswer())
    await ends[0].setRemoteDescription(ends[1].localDescription)
    for end in ends:
        # Its frames are decoded, as ours are metered, and thrown away.
        hole = MediaBlackhole()
        hole.addTrack(end.getReceivers()[0].track)
        await hole.start()
    await connected.wait()
    return ends


async def packets(ends: list[RTCPeerConnection]) -> int:
    total = 0
    for end in ends:
        for entry in (await end.getStats()).values():
            if entry.type == "inbound-rtp":
                total += entry.packetsReceived
            elif entry.type == "outbound-rtp":
                total += entry.packetsSent
    return total


async def measure(given: argparse.Namespace) -> dict:
    ends: list[RTCPeerConnection] = []
    for _ in range(given.calls):
        ends += await connect()
    await asyncio.sleep(1)
    before = await packets(ends)
    cpu, wall = time.process_time(), time.monotonic()
    await asyncio.sleep(given.seconds)
    cpu, wall = time.process_time() - cpu, time.monotonic() - wall
    moved = await packets(ends) - before
    return {
        "calls": given.calls,
        "us_by_pair": 2e6 * cpu / moved,
        "core_percent": 100 * cpu / wall,
        "expected_percent": 100 * moved / (4 * given.calls * 50 * wall),
    }


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--calls", type=int, default=20)
    options.add_argument("--seconds", type=float, default=5)
    options.add_argument("--core", type=int, help="pin this process")
    given = options.parse_args()
    if given.core is not None:
        os.sched_setaffinity(0, {given.core})
    sys.stdout.write(json.dumps(asyncio.run(measure(given))) + "\n")
    sys.stdout.flush()
    # Closing that many connections takes longer than measuring them.
    os._exit(0)


if __name__ == "__main__":
    main()
