"""ICE between the ports of a stream and its DTLS."""

from __future__ import annotations

import asyncio
import secrets
from types import SimpleNamespace

import pytest
from aioice import stun

from callmeter.errors import DtlsTimeout, TransportError
from callmeter.media.events import ConsentExpired
from callmeter.media.ice_session import RTCP, RTP, IceSession, peer_of, runs_checks
from callmeter.rtp.demux import PacketKind
from callmeter.sdp.ice import IceDescription

HERE, THERE = ("192.0.2.7", 7000), ("192.0.2.8", 8000)
PEER = IceDescription("peer", "p" * 22)
HELLO = b"\x16" * 20


class Stream:
    """Takes the place of a stream."""

    port, rtcp_port = 4000, 4001

    def __init__(self):
        self.controls = {}
        self.sent = []
        self.told = []
        self.broken = False

    def set_control(self, control, *, rtcp=False):
        self.controls[rtcp] = control

    def send_datagram(self, datagram, destination, *, rtcp=False):
        if self.broken:
            raise TransportError("the network is down")
        self.sent.append((datagram, destination, rtcp))
        return True

    def tell(self, event):
        self.told.append(event)


def track(description=PEER):
    return SimpleNamespace(ice_description=description)


def check(ice, *, nominate=False):
    local = ice.agent.local
    attributes = {"USERNAME": f"{local.ufrag}:peer", "PRIORITY": 7, "ICE-CONTROLLING": 1}
    if nominate:
        attributes["USE-CANDIDATE"] = None
    message = stun.Message(stun.Method.BINDING, stun.Class.REQUEST, bytes(12), attributes)
    message.add_message_integrity(local.key)
    return bytes(message)


@pytest.fixture
async def made():
    stream, pairs, heard = Stream(), [], []
    ice = IceSession(stream, secrets.token_bytes, lambda: pairs.append(ice.destination(RTP)))

    def control(kind, data, source):
        heard.append((kind, data, source))

    ice.set_control(control)
    ice.set_control(control, rtcp=True)
    yield SimpleNamespace(
        ice=ice, stream=stream, pairs=pairs, heard=heard, take=lambda *one: take(stream, *one)
    )
    ice.close()


def take(stream, kind, data, source, component=RTP):
    stream.controls[component == RTCP](kind, data, source)


def lines(attributes, name):
    return [each.value for each in attributes if each.name == name]


async def test_an_offer_has_a_candidate_for_each_port_and_an_answer_with_mux_one(made):
    offered = lines(made.ice.describe("192.0.2.1", rtcp_mux=False), "candidate")
    assert [line.split()[1:6] for line in offered] == [
        ["1", "udp", "2130706431", "192.0.2.1", "4000"],
        ["2", "udp", "2130706430", "192.0.2.1", "4001"],
    ]
    assert len(lines(made.ice.describe("192.0.2.1", rtcp_mux=True), "candidate")) == 1
    made.stream.rtcp_port = 4000
    assert len(lines(made.ice.describe("192.0.2.1", rtcp_mux=False), "candidate")) == 1


async def test_the_credentials_described_are_those_of_the_agent(made):
    described = made.ice.describe("192.0.2.1", rtcp_mux=True)
    assert lines(described, "ice-ufrag") == [made.ice.agent.local.ufrag]
    assert lines(described, "ice-pwd") == [made.ice.agent.local.password]
    assert lines(described, "end-of-candidates") == [None]


@pytest.mark.parametrize(
    ("description", "speaks", "checks"),
    [
        (None, False, False),
        (PEER, True, True),
        (IceDescription("peer", "p" * 22, lite=True), True, False),
        (IceDescription("peer", "p" * 22, mismatch=True), False, False),
    ],
)
async def test_what_an_offer_says_of_ice_decides_whether_there_is(
    made, description, speaks, checks
):
    assert made.ice.accept_offer(track(description)) is speaks
    assert made.ice.active is checks
    assert runs_checks(track(description)) is checks


async def test_checks_are_answered_on_their_port_and_the_choice_is_told_once(made):
    made.ice.accept_offer(track())
    made.take(PacketKind.STUN, check(made.ice), THERE)
    assert made.pairs == []
    made.take(PacketKind.STUN, check(made.ice, nominate=True), THERE)
    made.take(PacketKind.STUN, check(made.ice, nominate=True), THERE)
    assert made.pairs == [THERE]
    made.take(PacketKind.STUN, check(made.ice, nominate=True), HERE, RTCP)
    assert made.ice.destination(RTCP) == HERE
    assert [(where, rtcp) for _, where, rtcp in made.stream.sent] == [
        (THERE, False),
        (THERE, False),
        (THERE, False),
        (HERE, True),
    ]


async def test_rubbish_gets_no_answer(made):
    made.take(PacketKind.STUN, bytes(20), THERE)
    made.take(PacketKind.TURN_CHANNEL, b"\x40" * 20, THERE)
    assert made.stream.sent == made.heard == []


@pytest.mark.parametrize("component", [RTP, RTCP])
async def test_dtls_of_who_proved_nothing_is_dropped(made, component):
    made.ice.accept_offer(track())
    made.take(PacketKind.DTLS, HELLO, THERE, component)
    assert made.heard == []
    assert made.ice.stray_datagrams == 1
    made.take(PacketKind.STUN, check(made.ice), THERE, component)
    made.take(PacketKind.DTLS, HELLO, THERE, component)
    assert made.heard == [(PacketKind.DTLS, HELLO, peer_of(component))]


async def test_before_the_answer_and_without_ice_dtls_comes_from_where_it_comes_from(made):
    made.take(PacketKind.DTLS, HELLO, THERE)
    assert made.heard == [(PacketKind.DTLS, HELLO, THERE)]
    assert made.ice.send_datagram(HELLO, THERE)
    assert made.stream.sent == [(HELLO, THERE, False)]
    made.ice.accept_answer(track(None))
    assert made.ice.send_datagram(HELLO, THERE, rtcp=True)
    made.ice.accept_answer(track())
    assert not made.ice.send_datagram(HELLO, THERE)


async def test_dtls_follows_the_peer_from_pair_to_pair(made):
    made.ice.accept_offer(track())
    for place in (THERE, HERE):
        made.take(PacketKind.STUN, check(made.ice, nominate=True), place)
        made.stream.sent.clear()
        assert made.ice.send_datagram(HELLO, peer_of(RTP))
        assert made.stream.sent == [(HELLO, place, False)]


async def test_dtls_is_answered_before_a_pair_is_nominated(made):
    made.ice.accept_offer(track())
    made.take(PacketKind.STUN, check(made.ice), THERE)
    made.take(PacketKind.DTLS, HELLO, THERE)
    made.stream.sent.clear()
    assert made.ice.send_datagram(HELLO, peer_of(RTP))
    assert made.stream.sent == [(HELLO, THERE, False)]


async def test_a_hello_waits_for_the_pair(made):
    made.ice.accept_offer(track())
    assert not made.ice.send_datagram(b"\x16first", peer_of(RTP))
    assert not made.ice.send_datagram(HELLO, peer_of(RTP))
    made.take(PacketKind.STUN, check(made.ice, nominate=True), THERE)
    assert made.stream.sent[-1] == (HELLO, THERE, False)
    assert len(made.stream.sent) == 2


async def test_a_hello_waits_for_the_answer_when_the_checks_overtook_it(made):
    made.take(PacketKind.STUN, check(made.ice, nominate=True), THERE)
    assert made.pairs == []
    assert not made.ice.send_datagram(HELLO, peer_of(RTP))
    made.ice.accept_answer(track())
    assert made.ice.destination(RTP) == THERE
    assert made.stream.sent[-1] == (HELLO, THERE, False)


async def test_a_network_that_refuses_loses_the_answer_and_nothing_else(made):
    made.ice.accept_offer(track())
    made.stream.broken = True
    made.take(PacketKind.STUN, check(made.ice, nominate=True), THERE)
    assert made.pairs == [THERE]


async def test_without_a_callback_dtls_goes_nowhere(made):
    made.ice.set_control(None)
    made.ice.set_control(None, rtcp=True)
    made.take(PacketKind.DTLS, HELLO, THERE)
    assert made.heard == []


async def test_a_handshake_without_answer_says_whether_the_peer_found_a_way(made):
    made.ice.accept_offer(track())
    error = made.ice.explained(DtlsTimeout("no DTLS handshake within 30 s", evidence={"role": "x"}))
    assert "chose no way by ICE (0 checks came)" in str(error)
    assert error.evidence == {"role": "x", "peer": None, "ice_checks": 0}
    made.take(PacketKind.STUN, check(made.ice, nominate=True), THERE)
    error = made.ice.explained(DtlsTimeout("no DTLS handshake within 30 s"))
    assert str(error) == "no DTLS handshake within 30 s"
    assert error.evidence == {"peer": THERE, "ice_checks": 1}


async def test_a_peer_that_stops_to_check_is_told(made, monkeypatch):
    monkeypatch.setattr("callmeter.stun.ice_lite.CONSENT_SECONDS", 0.05)
    made.ice.accept_offer(track())
    made.take(PacketKind.STUN, check(made.ice, nominate=True), THERE)
    made.take(PacketKind.STUN, check(made.ice), THERE)
    made.take(PacketKind.STUN, check(made.ice), THERE)
    async with asyncio.timeout(10):
        while not made.stream.told:  # noqa: ASYNC110  the clock is the subject
            await asyncio.sleep(0.01)
    [event] = made.stream.told
    assert isinstance(event, ConsentExpired)
    assert event.peer == THERE
    made.ice.close()
    made.ice.close()
