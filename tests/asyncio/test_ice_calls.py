"""Negotiations with ICE: with a full agent of three lines, and with that of aioice."""

from __future__ import annotations

import asyncio
import secrets
import socket
from datetime import UTC, datetime

import pytest
from aioice import Candidate, Connection, stun

from callmeter.config import MediaConfig, SrtpConfig, SrtpMethod, SrtpPolicy
from callmeter.errors import DtlsTimeout
from callmeter.media.dtls_keying import DtlsKeying
from callmeter.media.sources import Tone
from callmeter.media_session import MediaSession
from callmeter.rtp.demux import PacketKind, classify
from callmeter.sdp.parser import parse_description
from callmeter.sdp.remote_track import read_tracks
from callmeter.srtp.dtls_certificate import DtlsCertificate
from callmeter.srtp.dtls_endpoint import DtlsTransport
from callmeter.srtp.dtls_records import client_random

LOOPBACK = "127.0.0.1"
PATIENCE = 20
CLEAR = MediaConfig(ice=True, rtcp_mux=True)


class FullAgent:
    """Checks, nominates and counts what comes; its credentials are `ufrag` and `password`."""

    def __init__(self):
        self.loop = asyncio.get_running_loop()
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((LOOPBACK, 0))
        self.socket.settimeout(0)
        self.address = self.socket.getsockname()
        self.renew()

    def renew(self):
        self.ufrag, self.password = secrets.token_hex(4), secrets.token_hex(12)

    def description(self, *, mux=True, profile="RTP/AVP", more=()):
        """What a browser says, but for the codecs: the default address is a placeholder."""
        lines = [
            "v=0",
            "o=- 1 1 IN IP4 127.0.0.1",
            "s=-",
            "t=0 0",
            "a=group:BUNDLE 0",
            f"m=audio 9 {profile} 0",
            "c=IN IP4 0.0.0.0",
            "a=rtcp:9 IN IP4 0.0.0.0",
            f"a=ice-ufrag:{self.ufrag}",
            f"a=ice-pwd:{self.password}",
            "a=ice-options:trickle",
            "a=mid:0",
            *(("a=rtcp-mux", "a=rtcp-rsize") if mux else ()),
            "a=msid:stream track",
            "a=ssrc:1 msid:stream track",
            *more,
        ]
        return "".join(f"{line}\r\n" for line in lines).encode()

    async def check(self, body, *, component=1, nominate=True):
        """One check of a candidate of this description; the answer."""
        [track] = read_tracks(parse_description(body))
        ice = track.ice_description
        candidate = next(each for each in ice.candidates if each.component == component)
        attributes = {"USERNAME": f"{ice.ufrag}:{self.ufrag}", "ICE-CONTROLLING": 1, "PRIORITY": 1}
        if nominate:
            attributes["USE-CANDIDATE"] = None
        message = stun.Message(stun.Method.BINDING, stun.Class.REQUEST, attributes=attributes)
        message.add_message_integrity(ice.password.encode())
        self.socket.sendto(bytes(message), (candidate.address, candidate.port))
        return stun.parse_message(await self.receive(PacketKind.STUN))

    async def receive(self, kind):
        """The next datagram of this kind; others are thrown away."""
        async with asyncio.timeout(PATIENCE):
            while True:
                data = await self.loop.sock_recv(self.socket, 2048)
                if classify(data) is kind:
                    return data

    def close(self):
        self.socket.close()


@pytest.fixture
async def browser():
    agent = FullAgent()
    yield agent
    agent.close()


@pytest.fixture
def make(stack):
    opened = []

    def negotiation(config=CLEAR, **more):
        session = MediaSession(stack.media, config, LOOPBACK, entropy=secrets.token_bytes, **more)
        opened.append(session)
        return session

    yield negotiation
    for one in opened:
        one.close()
    assert stack.media.streams == []


def attributes(body, name):
    description = parse_description(body)
    parts = (description, *description.media)
    return [value for part in parts for value in part.attributes_named(name)]


async def test_an_answer_to_a_browser_says_what_a_lite_agent_says(make, browser):
    answer = make().accept_offer(browser.description())
    description = parse_description(answer)
    assert description.has_attribute("ice-lite")
    assert attributes(answer, "group") == ["BUNDLE 0"]
    assert attributes(answer, "mid") == ["0"]
    assert attributes(answer, "msid") == ["callmeter audio"]
    assert len(attributes(answer, "candidate")) == 1
    assert attributes(answer, "end-of-candidates") == [""]


async def test_media_goes_to_the_pair_that_was_nominated_and_not_before(make, browser):
    media = make()
    answer = media.accept_offer(browser.description())
    assert media.ice
    playing = media.stream.play(Tone(440), seconds=60)
    checked = await browser.check(answer, nominate=False)
    assert checked.attributes["XOR-MAPPED-ADDRESS"] == browser.address
    await asyncio.sleep(0.1)
    assert media.statistics().send.packets_sent == 0
    await browser.check(answer)
    await browser.receive(PacketKind.RTP)
    assert media.remote == f"{LOOPBACK}:{browser.address[1]}"
    assert not playing.done()


async def test_only_the_nominated_source_is_heard_in_clear(make, browser):
    media = make()
    await browser.check(media.accept_offer(browser.description()))
    packet = bytes.fromhex("80000001000000a000000007") + bytes(160)
    stranger = FullAgent()
    for sender in (stranger, browser):
        for _ in range(5):
            sender.socket.sendto(packet, (LOOPBACK, media.stream.port))
    async with asyncio.timeout(PATIENCE):
        while not media.statistics().receive.packets_received:  # noqa: ASYNC110  a socket
            await asyncio.sleep(0.01)
    assert media.statistics().dropped["source"] == 5
    assert media.statistics().source == browser.address
    stranger.close()


async def test_an_ice_restart_is_counted_and_media_moves(make, browser):
    media = make()
    first = media.accept_offer(browser.description())
    await browser.check(first)
    playing = media.stream.play(Tone(440), seconds=60)
    await browser.receive(PacketKind.RTP)
    again = media.accept_offer(browser.description())
    assert attributes(again, "ice-ufrag") == attributes(first, "ice-ufrag")
    assert media.ice_restarts == 0
    browser.renew()
    other = FullAgent()
    other.ufrag, other.password = browser.ufrag, browser.password
    restarted = media.accept_offer(browser.description())
    assert attributes(restarted, "ice-pwd") != attributes(first, "ice-pwd")
    assert media.ice_restarts == 1
    await browser.receive(PacketKind.RTP)
    await other.check(restarted)
    await other.receive(PacketKind.RTP)
    assert media.remote == f"{LOOPBACK}:{other.address[1]}"
    assert not playing.done()
    other.close()


async def test_without_mux_each_port_has_a_pair_of_its_own(make, browser):
    media = make(MediaConfig(ice=True))
    answer = media.accept_offer(browser.description(mux=False))
    assert len(attributes(answer, "candidate")) == 2
    reports = FullAgent()
    reports.ufrag, reports.password = browser.ufrag, browser.password
    await browser.check(answer)
    await reports.check(answer, component=2)
    await reports.receive(PacketKind.RTCP)
    reports.close()


async def test_an_offer_is_answered_by_a_browser(make, browser):
    media = make()
    offer = media.create_offer()
    assert attributes(offer, "group") == ["BUNDLE 0"]
    assert len(attributes(offer, "candidate")) == 2
    await browser.check(offer)
    media.accept_answer(browser.description())
    assert media.ice
    playing = media.stream.play(Tone(440), seconds=60)
    await browser.receive(PacketKind.RTP)
    assert not playing.done()
    assert attributes(media.create_offer(), "mid") == ["0"]


@pytest.mark.parametrize("components", [1, 2])
@pytest.mark.parametrize("controlling", [True, False])
@pytest.mark.parametrize("offerer", ["callmeter", "aioice"])
async def test_the_full_agent_of_aioice_connects_in_either_role(
    make, browser, monkeypatch, offerer, controlling, components
):
    # It leaves loopback out, and there may be nothing else.
    monkeypatch.setattr("aioice.ice.get_host_addresses", lambda *_, **__: [LOOPBACK])
    agent = Connection(ice_controlling=controlling, components=components)
    agent.remote_is_lite = controlling  # who is wrong about its role is told so
    await agent.gather_candidates()
    browser.ufrag, browser.password = agent.local_username, agent.local_password
    media = make(MediaConfig(ice=True, rtcp_mux=components == 1))
    described = browser.description(mux=components == 1)
    if offerer == "callmeter":
        ours = media.create_offer()
        media.accept_answer(described)
    else:
        ours = media.accept_offer(described)
    [agent.remote_username] = attributes(ours, "ice-ufrag")
    [agent.remote_password] = attributes(ours, "ice-pwd")
    for line in attributes(ours, "candidate"):
        await agent.add_remote_candidate(Candidate.from_sdp(line))
    await agent.add_remote_candidate(None)
    async with asyncio.timeout(PATIENCE):
        await agent.connect()
        playing = media.stream.play(Tone(440), seconds=60)
        data, component = await agent.recvfrom()
        while component != components:
            data, component = await agent.recvfrom()
    assert classify(data) is (PacketKind.RTP if components == 1 else PacketKind.RTCP)
    assert not playing.done()
    assert (media._ice.agent.statistics.conflicts > 0) is not controlling
    await agent.close()


async def test_a_peer_without_ice_is_sent_to_as_ever(make):
    caller, callee = make(), make(MediaConfig(rtcp_mux=True))
    answer = callee.accept_offer(caller.create_offer())
    assert attributes(answer, "ice-ufrag") == []
    caller.accept_answer(answer)
    assert not caller.ice
    assert not callee.ice
    assert caller.remote == callee.local


async def test_a_peer_that_gives_ice_up_is_sent_to_as_ever(make, browser):
    media = make()
    await browser.check(media.accept_offer(browser.description()))
    playing = media.stream.play(Tone(440), seconds=60)
    await browser.receive(PacketKind.RTP)
    other = FullAgent()
    lines = [
        line
        for line in browser.description().decode().splitlines()
        if not line.startswith(("a=ice", "a=group", "a=mid"))
    ]
    moved = "\r\n".join([*lines, ""]).replace("IP4 0.0.0.0", "IP4 127.0.0.1")
    moved = moved.replace("audio 9", f"audio {other.address[1]}")
    assert attributes(media.accept_offer(moved.encode()), "ice-ufrag") == []
    assert not media.ice
    await other.receive(PacketKind.RTP)
    assert media.remote == f"{LOOPBACK}:{other.address[1]}"
    assert not playing.done()
    other.close()


async def test_two_lite_agents_need_no_checks(make):
    caller, callee = make(), make()
    answer = callee.accept_offer(caller.create_offer())
    caller.accept_answer(answer)
    assert len(attributes(answer, "ice-ufrag")) == 1
    for one, other in ((caller, callee), (callee, caller)):
        assert not one.ice
        assert one.remote == other.local


async def test_without_the_setting_ice_is_not_answered(make, browser):
    media = make(MediaConfig(rtcp_mux=True))
    answer = media.accept_offer(browser.description())
    assert attributes(answer, "ice-ufrag") == attributes(answer, "candidate") == []
    assert not media.ice
    assert media.ice_restarts == 0


async def test_a_handshake_that_waits_for_ice_says_so(make, browser, monkeypatch):
    monkeypatch.setattr(
        DtlsKeying, "_transport", lambda keying: DtlsTransport(keying._certificate, timeout=0.05)
    )
    certificate = DtlsCertificate.generate(datetime.now(tz=UTC))
    srtp = SrtpConfig(method=SrtpMethod.DTLS, policy=SrtpPolicy.REQUIRED)
    media = make(MediaConfig(ice=True, srtp=srtp), certificate=certificate)
    keys = (f"a=fingerprint:{certificate.fingerprint()}", "a=setup:actpass")
    answer = media.accept_offer(browser.description(profile="UDP/TLS/RTP/SAVPF", more=keys))
    assert attributes(answer, "setup") == ["active"]
    with pytest.raises(DtlsTimeout, match="chose no way by ICE"):
        await media.keyed()


async def test_a_handshake_that_ice_would_have_helped_says_so(make, browser, monkeypatch):
    monkeypatch.setattr(
        DtlsKeying, "_transport", lambda keying: DtlsTransport(keying._certificate, timeout=0.05)
    )
    certificate = DtlsCertificate.generate(datetime.now(tz=UTC))
    srtp = SrtpConfig(method=SrtpMethod.DTLS, policy=SrtpPolicy.REQUIRED)
    keys = (f"a=fingerprint:{certificate.fingerprint()}", "a=setup:active")
    offer = browser.description(profile="UDP/TLS/RTP/SAVPF", more=keys)
    media = make(MediaConfig(srtp=srtp), certificate=certificate)
    media.accept_offer(offer.replace(b"IP4 0.0.0.0", b"IP4 127.0.0.1"))
    with pytest.raises(DtlsTimeout, match=r"the peer has ICE, which MediaConfig\(ice=True\)"):
        await media.keyed()


async def test_a_hello_goes_to_the_pair_as_soon_as_there_is_one(make, browser):
    certificate = DtlsCertificate.generate(datetime.now(tz=UTC))
    srtp = SrtpConfig(method=SrtpMethod.DTLS, policy=SrtpPolicy.REQUIRED)
    media = make(MediaConfig(ice=True, srtp=srtp), certificate=certificate)
    keys = (f"a=fingerprint:{certificate.fingerprint()}", "a=setup:actpass")
    answer = media.accept_offer(browser.description(profile="UDP/TLS/RTP/SAVPF", more=keys))
    await browser.check(answer)
    hello = await browser.receive(PacketKind.DTLS)
    assert client_random(hello) is not None
    assert media.keys_pending
