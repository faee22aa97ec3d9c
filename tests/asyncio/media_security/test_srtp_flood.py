"""Packets that nobody's key made: a secure call under a flood of them, a plain one beside others.

By default 20,000 packets; with CALLMETER_LONG=1 a million. Each test prints its figure (`-s`).
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import socket
import sys
import time
from array import array
from collections import Counter
from pathlib import Path

import pytest

from callmeter.config import MediaConfig, SrtpConfig, SrtpMethod, SrtpPolicy
from callmeter.media.analysis import recorded_frequency

LONG = bool(os.environ.get("CALLMETER_LONG"))
PACKETS = 1_000_000 if LONG else 20_000
RATE = 20_000
WARM_UP = 20_000
"""After it every buffer has been as large as it will be."""
GROWTH_KIB = 1024
SSRC = 0x5EC0DE
"""Of the peer."""
PATIENCE = 60 + PACKETS / RATE * 4
LOOPBACK = "127.0.0.1"
SECURE = MediaConfig(
    srtp=SrtpConfig(method=SrtpMethod.DUAL, policy=SrtpPolicy.REQUIRED), rtcp_mux=True
)

FLOODER = r"""
import json, os, socket, sys, time

given = json.load(sys.stdin)
target, ssrc, rate = (given["host"], given["port"]), given["ssrc"].to_bytes(4, "big"), given["rate"]
replayed = [bytes.fromhex(text) for text in given["replayed"]]
peer = socket.socket(fileno=given["descriptor"])
stranger = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
stranger.bind((given["host"], 0))

def forged(number):
    header = b"\x80\x00" + (number & 0xFFFF).to_bytes(2, "big") + os.urandom(4)
    return header + ssrc + os.urandom(170)

def forged_rtcp(number):
    return b"\x81\xc8\x00\x0c" + ssrc + os.urandom(44) + b"\x80\x00\x00\x01" + os.urandom(10)

MALFORMED = [
    b"\x80\x00" + bytes(10),                                   # no room for a tag
    b"\x8f\x00\x00\x01" + bytes(4) + ssrc + bytes(20),         # fifteen CSRCs
    b"\x90\x00\x00\x01" + bytes(4) + ssrc + b"\xbe\xde\xff\xff" + bytes(20),
    b"\x80\xc8\x00\x06" + ssrc,                                # SRTCP without its end
    b"\x80",
    b"\xff" * 2000,
]
KINDS = {
    "from the peer": lambda number: (peer, forged(number)),
    "from a stranger": lambda number: (stranger, forged(number)),
    "RTCP from the peer": lambda number: (peer, forged_rtcp(number)),
    "RTCP from a stranger": lambda number: (stranger, forged_rtcp(number)),
    "replayed": lambda number: (stranger, replayed[number % len(replayed)]),
    "malformed": lambda number: (stranger, MALFORMED[number % len(MALFORMED)]),
}
makers = list(KINDS.items())
sent = dict.fromkeys(KINDS, 0)
octets, begin = 0, time.monotonic()
for number in range(given["count"]):
    kind, make = makers[number % len(makers)]
    sender, packet = make(number // len(makers))
    while True:
        try:
            sender.sendto(packet, target)
            break
        except BlockingIOError:
            time.sleep(0.001)
    sent[kind] += 1
    if number % 20 == 19:
        ahead = begin + (number + 1) / rate - time.monotonic()
        if ahead > 0:
            time.sleep(ahead)
print(json.dumps({"sent": sent, "seconds": time.monotonic() - begin}), flush=True)
"""

CONTROL = r"""
import sys, time
due = begin = time.monotonic()
late = []
while due < begin + float(sys.argv[1]):
    due = max(due + 0.005, time.monotonic())
    time.sleep(due - time.monotonic() if due > time.monotonic() else 0)
    late.append(time.monotonic() - due)
print(sorted(late)[int(0.99 * (len(late) - 1))] * 1000)
"""
"""The same timer in a process that does nothing else: what it suffers is the machine's."""


async def flood(peer, count):
    """Let another process send so many packets, half of them from the peer's own port."""
    descriptor = peer.rtp._socket.fileno()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", FLOODER,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, pass_fds=[descriptor],
    )  # fmt: skip
    given = {
        "host": LOOPBACK,
        "port": peer.rtp.remote[1],
        "ssrc": int.from_bytes(peer.first_sent[0][8:12], "big"),
        "rate": RATE,
        "count": count,
        "descriptor": descriptor,
        "replayed": [packet.hex() for packet in peer.first_sent],
    }
    control = await asyncio.create_subprocess_exec(
        sys.executable, "-c", CONTROL, str(count / RATE), stdout=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(PATIENCE):
        printed, _ = await process.communicate(json.dumps(given).encode())
        idle, _ = await control.communicate()
    assert process.returncode == control.returncode == 0
    return json.loads(printed) | {"control_ms": float(idle)}


class Lateness:
    """How late a timer of 5 ms fires on this loop."""

    def __init__(self):
        self.seen = array("f")

    async def watch(self):
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            due = max(due + 0.005, loop.time())
            await asyncio.sleep(due - loop.time())
            self.seen.append(loop.time() - due)

    def share(self, share):
        return sorted(self.seen)[int(share * (len(self.seen) - 1))] * 1000


def resident_kib():
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 1024


def accounted(statistics):
    """Every datagram of the media port, whatever became of it."""
    return (
        statistics.receive.packets_received
        + statistics.rtcp_packets_received
        + sum(statistics.dropped.values())
        + statistics.socket_overflows
    )


async def established(peer, endpoint, tasks, *lines):
    """A call of the peer's, in which it speaks."""
    profile = "RTP/SAVP" if lines else "RTP/AVP"
    peer.request("INVITE", endpoint, peer.describe(profile, "a=rtcp-mux", *lines))
    incoming = await endpoint.next_call(PATIENCE)
    answering = tasks.create_task(incoming.answer())
    await peer.final()
    peer.request("ACK", endpoint)
    if peer.theirs.inline:
        peer.use_sdes()
    if peer.theirs.fingerprints:
        peer.rtp.begin_dtls(peer.certificate, "client")
    await answering
    return incoming


@pytest.mark.slow
@pytest.mark.parametrize("keying", ["sdes", "dtls"])
async def test_a_call_goes_on_under_a_flood_and_every_packet_of_it_is_counted(
    make_peer, make_endpoint, until, tmp_path, keying
):
    endpoint, peer = await make_endpoint("bob", media=SECURE), make_peer()
    lines = {
        "sdes": [peer.crypto()],
        "dtls": [f"a=fingerprint:{peer.certificate.fingerprint()}", "a=setup:active"],
    }[keying]
    lateness = Lateness()
    async with asyncio.TaskGroup() as tasks:
        incoming = await established(peer, endpoint, tasks, *lines)
        media = incoming.media
        background = [tasks.create_task(peer.speak()), tasks.create_task(lateness.watch())]
        recorder = media.record(tmp_path / "heard.wav")
        await until(lambda: peer.sent > 100)
        peer.rtp.drain()
        assert all(keys.authenticates(datagram) for datagram, keys in peer.media())
        peer.rtp.keeps = False
        held_up = asyncio.get_running_loop().call_later(0.5, time.sleep, 0.2)
        sent = Counter((await flood(peer, WARM_UP))["sent"])
        assert held_up.when() < asyncio.get_running_loop().time(), "a backlog belongs to it"
        lateness.seen = array("f")
        resident = resident_kib()
        result = await flood(peer, PACKETS)
        growth = resident_kib() - resident
        sent.update(result["sent"])
        forged = sent.total()
        await until(lambda: accounted(media.statistics()) >= forged + peer.sent - 5)
        for task in background:
            task.cancel()
        await until(lambda: accounted(media.statistics()) == forged + peer.sent)
        statistics = media.statistics()
        background.append(tasks.create_task(peer.serve()))
        await incoming.bye()
        await incoming.ended()
        background[-1].cancel()
    lost = statistics.socket_overflows
    dropped = statistics.dropped
    heard = statistics.receive.packets_received
    print(
        f"{keying}: {forged:,} forged packets, {PACKETS / result['seconds']:,.0f} a second;"
        f" {heard:,} of {peer.sent:,} genuine ones heard; {sum(dropped.values()):,} refused"
        f" {dropped}, {lost:,} lost in the kernel, together"
        f" {heard + sum(dropped.values()) + lost:,} of {forged + peer.sent:,};"
        f" memory {growth:+} KiB; a timer is late by p50 {lateness.share(0.5):.1f}, p99"
        f" {lateness.share(0.99):.1f}, max {lateness.share(1):.1f} ms, in an idle process p99"
        f" {result['control_ms']:.1f} ms"
    )
    # A forged packet with an old number is a replay already before its tag is looked at.
    assert sum(dropped.values()) == forged - (lost - (peer.sent - heard))
    if not lost:
        forged_rtp = sent["from the peer"] + sent["from a stranger"] + sent["replayed"]
        assert dropped["authentication"] + dropped["replay"] == forged_rtp
        cut = sent["malformed"] // 6 - 1
        forged_rtcp = sent["RTCP from the peer"] + sent["RTCP from a stranger"]
        assert dropped["rtcp_authentication"] >= forged_rtcp + cut
    assert growth <= GROWTH_KIB
    assert statistics.srtp_failure is None
    assert statistics.source == (LOOPBACK, peer.rtp.port)
    assert heard > 0.9 * peer.sent
    assert recorded_frequency(recorder.path) == pytest.approx(440, abs=5)
    assert incoming.report().to_dict()["outcome"] == "SUCCESS"
    peer.rtp.drain()
    assert peer.rtp.judged[True] > 0
    assert not peer.rtp.judged[False]


class Attacker:
    """Sockets off the path that know the port, the SSRC and the payload type."""

    def __init__(self, hosts):
        self.sockets = []
        for host in hosts:
            bound = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            bound.bind((host, 0))
            bound.setblocking(False)  # noqa: FBT003  the socket's own signature
            self.sockets.append(bound)
        self.sent = 0

    async def spray(self, target, ssrc, count):
        """Send packets that look right, in bursts that the socket of the victim can hold."""
        for number in range(count):
            header = b"\x80\x00" + (number & 0xFFFF).to_bytes(2, "big")
            packet = header + (160 * number).to_bytes(4, "big") + ssrc + bytes(160)
            self.sockets[number % len(self.sockets)].sendto(packet, target)
            self.sent += 1
            if number % 100 == 99:
                await asyncio.sleep(0.01)

    def received(self):
        """Datagrams that came back."""
        got = []
        for bound in self.sockets:
            with contextlib.suppress(BlockingIOError):
                while True:
                    got.append(bound.recv(65_535))
        return got


@pytest.fixture
def attacker():
    made = Attacker([LOOPBACK, "127.0.0.2"])
    yield made
    for bound in made.sockets:
        bound.close()


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["before the peer speaks", "while the peer speaks"])
async def test_plain_rtp_goes_to_no_stranger_and_none_of_theirs_is_heard(
    make_peer, make_endpoint, until, attacker, moment
):
    endpoint, peer = await make_endpoint("bob", media=MediaConfig(rtcp_mux=True)), make_peer()
    count = 100_000 if LONG else 10_000
    ssrc = SSRC.to_bytes(4, "big")
    async with asyncio.TaskGroup() as tasks:
        incoming = await established(peer, endpoint, tasks)
        speaking = None
        if moment == "while the peer speaks":
            speaking = tasks.create_task(peer.speak())
            await until(lambda: incoming.media.statistics().source_locked)
        await attacker.spray(peer.rtp.remote, ssrc, count)
        speaking = speaking or tasks.create_task(peer.speak())
        await until(lambda: peer.sent > 20)
        speaking.cancel()
        await until(lambda: accounted(incoming.media.statistics()) == attacker.sent + peer.sent)
        statistics = incoming.media.statistics()
        serving = tasks.create_task(peer.serve())
        await incoming.bye()
        await incoming.ended()
        serving.cancel()
    heard = statistics.receive.packets_received
    back = attacker.received()
    print(
        f"{count:,} packets of strangers {moment}: {len(back)} packets sent to them,"
        f" {heard - peer.sent} of theirs heard, {statistics.dropped} refused"
    )
    assert back == []
    assert heard == peer.sent
    assert statistics.dropped == {"source": count}
    assert statistics.source == (LOOPBACK, peer.rtp.port)
    peer.drain()
    assert peer.rtp.of_kind("rtp")
