"""A meter does not measure its own scheduler: the jitter of a stream while the loop is busy."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import time

import pytest

from callmeter.media import MediaEngine, StreamParameters

LOOPBACK = "127.0.0.1"
PATIENCE = 60
PACKETS = 120
HELD_UP_S = 0.03
# Its timestamps tell when it really sent, so what it is late by itself is no jitter.
SENDER = """
import socket, struct, sys, time
address = ("127.0.0.1", int(sys.argv[1]))
with socket.socket(fileno=int(sys.argv[2])) as sender:
    due = time.monotonic()
    for number in range(int(sys.argv[3])):
        time.sleep(max(0.0, due - time.monotonic()))
        due += 0.02
        stamp = int(time.monotonic() * 8000) & 0xFFFFFFFF
        sender.sendto(struct.pack("!BBHII", 0x80, 0, number, stamp, 7) + bytes(160), address)
"""


def hold_up(loop, until):
    """Keep the loop busy, with hardly a gap for its timers."""
    begun = time.perf_counter()
    while time.perf_counter() - begun < HELD_UP_S:
        pass
    if not until.done():
        loop.call_soon(hold_up, loop, until)


@pytest.mark.parametrize("shared", [False, True], ids=["own port", "shared port"])
async def test_jitter_is_that_of_the_network_while_the_loop_is_busy(shared, entered, standstill):
    loop = asyncio.get_running_loop()
    peer = entered.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    peer.bind((LOOPBACK, 0))
    async with MediaEngine(entropy=os.urandom, wall_clock=time.time) as engine:  # noqa: TID251  kernel stamps are wall time
        stream = engine.open_stream(LOOPBACK, rtcp_mux=True, shared=shared)
        remote = peer.getsockname()
        stream.start(StreamParameters(codec="PCMU", payload_type=0, remote=remote, send=False))
        sender = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", SENDER, str(stream.port), str(peer.fileno()), str(PACKETS)),
            pass_fds=[peer.fileno()],
        )
        done = loop.create_task(sender.wait())
        hold_up(loop, done)
        jitter = []
        async with asyncio.timeout(PATIENCE):
            while (received := stream.statistics().receive).packets_received < PACKETS:
                if received.packets_received > PACKETS / 3:
                    jitter.append(received.jitter_ms)
                await asyncio.sleep(0)
            assert await done == 0
        assert engine.late_ticks > (PACKETS - standstill.packets) / 4
        assert received.packets_lost == 0
        # The machine may hold up the sender itself between its stamp and its packet; most of the
        # time it does not, whereas the loop here is busy all the time.
        assert sorted(jitter)[len(jitter) // 10] < 0.3
