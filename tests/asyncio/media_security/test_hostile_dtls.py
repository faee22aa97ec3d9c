"""Calls whose media port gets one hostile DTLS datagram: each connects, talks and ends well.

By default a few of each kind; with CALLMETER_LONG=1 a thousand before, between and after the true
flights. Each test prints its figure (`-s`).
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections import Counter
from random import Random

import pytest

from callmeter.config import MediaConfig, SrtpConfig, SrtpMethod, SrtpPolicy
from callmeter.testing.hostile import HOSTILE_DTLS

LONG = bool(os.environ.get("CALLMETER_LONG"))
CALLS = 1_000 if LONG else 4 * len(HOSTILE_DTLS)
LANES = 8
HEARD = 2
PATIENCE = 60
LOOPBACK = "127.0.0.1"
ALERT = 21
MEDIA = MediaConfig(
    srtp=SrtpConfig(method=SrtpMethod.DTLS, policy=SrtpPolicy.REQUIRED), rtcp_mux=True
)


class HostileCall:
    """A call of the peer's with one datagram more than it should have."""

    def __init__(self, peer, endpoint, stranger, position, number):
        random = Random(f"{position} {number}")
        self.kind = list(HOSTILE_DTLS)[number % len(HOSTILE_DTLS)]
        self.datagram = HOSTILE_DTLS[self.kind](random)
        self.setup = random.choice(("active", "passive"))
        self.from_peer = random.random() < 0.5
        self.peer, self.endpoint, self.stranger = peer, endpoint, stranger
        self.position = position

    def strike(self):
        if self.from_peer:
            self.peer.rtp.send(self.datagram)
        else:
            self.stranger.sendto(self.datagram, self.peer.rtp.remote)

    async def run(self):
        peer = self.peer
        fingerprint = f"a=fingerprint:{peer.certificate.fingerprint()}"
        lines = ("a=rtcp-mux", fingerprint, f"a=setup:{self.setup}")
        peer.request("INVITE", self.endpoint, peer.describe("UDP/TLS/RTP/SAVP", *lines))
        async with asyncio.TaskGroup() as tasks:
            incoming = await self.endpoint.next_call(PATIENCE)
            answering = tasks.create_task(incoming.answer())
            await peer.final()
            peer.request("ACK", self.endpoint)
            if self.position == "before":
                self.strike()
            elif self.position == "between":
                peer.rtp.before_dtls = self.strike
            peer.rtp.begin_dtls(peer.certificate, "client" if self.setup == "active" else "server")
            await answering
            await self.heard()
            if self.position == "after":
                self.strike()
                await self.heard()
            alerts = [each for each in peer.rtp.of_kind("dtls") if each[0] == ALERT]
            serving = tasks.create_task(peer.serve())
            await incoming.bye()
            await incoming.ended()
            serving.cancel()
        await self.silent()
        peer.drain()
        report = incoming.report().to_dict()
        case = f"{self.kind} {self.position}, the peer {self.setup}"
        assert report["outcome"] == "SUCCESS", case
        assert report["counters"]["dtls_rehandshakes"] == 0, case
        for datagram, keys in peer.media():
            assert keys is not None, f"{case}: {datagram.hex()}"
            assert keys.authenticates(datagram), case
        assert alerts == [], case
        assert peer.requests == ["BYE"], case
        assert peer.rtp.dtls.error is None, case

    async def silent(self):
        """Nothing leaves any more, which the next owner of the peer's ports could get."""
        streams = self.peer.stack.media
        async with asyncio.timeout(PATIENCE):
            while any(  # noqa: ASYNC110  there is no event
                stream.port == self.peer.theirs.port for stream in streams.streams
            ):
                await asyncio.sleep(0.01)

    async def heard(self):
        """Some more packets from the endpoint, and the peer's at the other end."""
        enough = len(self.peer.rtp.of_kind("rtp")) + HEARD
        async with asyncio.timeout(PATIENCE):
            while len(self.peer.rtp.of_kind("rtp")) < enough:
                self.peer.send_media()
                await asyncio.sleep(0.02)


@pytest.mark.slow
@pytest.mark.parametrize("position", ["before", "between", "after"])
async def test_every_call_with_a_hostile_datagram_connects_and_ends_well(
    make_peer, make_endpoint, position
):
    numbers, connected = iter(range(CALLS)), Counter()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.bind((LOOPBACK, 0))

        async def lane(endpoint):
            for number in numbers:
                peer = make_peer()
                call = HostileCall(peer, endpoint, stranger, position, number)
                await call.run()
                connected[call.kind] += 1
                peer.close()

        async with asyncio.TaskGroup() as lanes:
            for name in range(LANES):
                lanes.create_task(lane(await make_endpoint(f"lane{name}", media=MEDIA)))
    print(
        f"one hostile DTLS datagram of {len(connected)} kinds {position} the true flights:"
        f" {connected.total()}/{CALLS} calls connect, talk and end well"
    )
    assert connected.total() == CALLS
    assert set(connected) == set(HOSTILE_DTLS)
