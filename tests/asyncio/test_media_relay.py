"""The relay that stands in session descriptions in place of either end."""

from __future__ import annotations

import asyncio
import re
import socket

import pytest

from callmeter.errors import ConnectionFailed
from callmeter.testing import media_relay
from callmeter.testing.media_relay import MediaRelay

LOOPBACK = "127.0.0.1"
PATIENCE = 20


class User:
    """Somebody with two ports."""

    def __init__(self):
        self.rtp, self.rtcp = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
        for each in (self.rtp, self.rtcp):
            each.bind((LOOPBACK, 0))
            each.settimeout(0)

    @property
    def sdp(self):
        return (
            f"v=0\r\no=- 1 1 IN IP4 {LOOPBACK}\r\ns=-\r\nc=IN IP4 {LOOPBACK}\r\nt=0 0\r\n"
            f"m=audio {self.rtp.getsockname()[1]} RTP/AVP 0\r\n"
            f"a=rtcp:{self.rtcp.getsockname()[1]}\r\n"
            f"a=candidate:1 1 udp 2130706431 {LOOPBACK} {self.rtp.getsockname()[1]} typ host\r\n"
            "a=candidate:odd\r\na=sendrecv\r\n"
        ).encode()

    async def receive(self, bound):
        async with asyncio.timeout(PATIENCE):
            return await asyncio.get_running_loop().sock_recvfrom(bound, 2000)


def ports(body):
    text = body.decode()
    return int(re.search(r"m=audio (\d+)", text)[1]), int(re.search(r"a=rtcp:(\d+)", text)[1])


@pytest.fixture
def users():
    pair = User(), User()
    yield pair
    for user in pair:
        user.rtp.close()
        user.rtcp.close()


@pytest.fixture
async def relay():
    carried = []

    def carry(data, source, destination, deliver):
        carried.append((data, source, destination))
        deliver(data)

    made = MediaRelay(LOOPBACK, carry)
    made.carried = carried
    yield made
    made.close()


@pytest.fixture
async def told(relay, users):
    """What either is told of the other: its ports."""
    alice, bob = users
    offer = relay.rewrite(alice.sdp, "call", "alice", "bob")
    answer = relay.rewrite(bob.sdp, "call", "bob", "alice")
    return ports(answer), ports(offer)


async def test_media_goes_both_ways_and_comes_from_where_the_description_says(relay, users, told):
    (alice, bob), (to_bob, to_alice) = users, told
    for sender, bound, port, receiver, heard, expected in (
        (alice, alice.rtp, to_bob[0], bob, bob.rtp, to_alice[0]),
        (bob, bob.rtp, to_alice[0], alice, alice.rtp, to_bob[0]),
        (alice, alice.rtcp, to_bob[1], bob, bob.rtcp, to_alice[1]),
    ):
        bound.sendto(b"packet", (LOOPBACK, port))
        assert await receiver.receive(heard) == (b"packet", (LOOPBACK, expected))
        del sender
    assert relay.carried == [
        (b"packet", "alice", "bob"),
        (b"packet", "bob", "alice"),
        (b"packet", "alice", "bob"),
    ]


async def test_the_port_for_rtcp_is_the_one_above(told):
    for rtp, rtcp in told:
        assert rtcp == rtp + 1


async def test_candidates_lead_to_the_relay_too(relay, users):
    body = relay.rewrite(users[0].sdp, "call", "alice", "bob")
    rtp, _ = ports(body)
    assert f"a=candidate:1 1 udp 2130706431 {LOOPBACK} {rtp} typ host".encode() in body
    assert b"a=candidate:odd" in body


async def test_the_same_description_gets_the_same_ports_again(relay, users):
    alice, _ = users
    first = relay.rewrite(alice.sdp, "call", "alice", "bob")
    assert relay.rewrite(alice.sdp, "call", "alice", "bob") == first
    assert relay.rewrite(alice.sdp, "another", "alice", "bob") != first


async def test_what_has_no_stream_or_one_party_is_left_alone(relay, users):
    alice, _ = users
    assert relay.rewrite(alice.sdp, "call", "alice", "alice") == alice.sdp
    for body in (
        b"v=0\r\ns=-\r\n",
        b"v=0\r\nm=audio 0 RTP/AVP 0\r\n",
        b"v=0\r\nm=audio 4000 RTP/AVP 0\r\n",
    ):
        assert relay.rewrite(body, "call", "alice", "bob") == body


async def test_without_an_attribute_rtcp_is_expected_above_the_rtp_port(relay):
    offer = b"v=0\r\nm=audio 4000 RTP/AVP 0\r\nc=IN IP4 192.0.2.1/127\r\n"
    relay.rewrite(offer, "call", "alice", "bob")
    ((rtp, rtcp),) = relay._streams.values()
    assert rtp.sides["alice"].remote == ("192.0.2.1", 4000)
    assert rtcp.sides["alice"].remote == ("192.0.2.1", 4001)


async def test_what_comes_before_the_answer_is_counted(relay, users, until):
    alice, _ = users
    rtp, _ = ports(relay.rewrite(alice.sdp, "call", "bob", "alice"))
    relay.rewrite(alice.sdp, "call", "bob", "alice")
    users[1].rtp.sendto(b"early", (LOOPBACK, rtp))
    await until(lambda: relay.carried)
    ((_, source, destination),) = relay.carried
    assert (source, destination) == ("alice", "bob")
    relay.rewrite(alice.sdp, "call", "alice", "bob")


async def test_nobody_has_a_home_who_did_not_tell_it(relay, users, until):
    alice, bob = users
    offer = relay.rewrite(alice.sdp, "call", "alice", "bob")
    (streams,) = relay._streams.values()
    facing_alice = streams[0].sides["alice"].bound.getsockname()
    alice.rtp.sendto(b"to bob, who has not answered", facing_alice)
    await until(lambda: relay.homeless == 1)
    bob.rtp.sendto(b"early media", (LOOPBACK, ports(offer)[0]))
    assert (await alice.receive(alice.rtp))[0] == b"early media"


async def test_a_rebound_user_sends_from_new_ports_and_the_old_ones_take_nothing(
    relay, users, told
):
    (alice, bob), (to_bob, to_alice) = users, told
    relay.rebind("alice")
    relay.rebind("nobody")
    alice.rtp.sendto(b"packet", (LOOPBACK, to_bob[0]))
    _, source = await bob.receive(bob.rtp)
    assert source != (LOOPBACK, to_alice[0])
    bob.rtp.sendto(b"to the old address", (LOOPBACK, to_alice[0]))
    bob.rtp.sendto(b"to the new one", source)
    assert (await alice.receive(alice.rtp))[0] == b"to the new one"


async def test_a_port_without_a_neighbour_is_given_back(relay, users, monkeypatch):
    bound = media_relay._bound

    def taken(host, port):
        if port:
            raise OSError("taken")
        return bound(host, port)

    monkeypatch.setattr(media_relay, "_bound", taken)
    with pytest.raises(ConnectionFailed, match="no two ports in a row"):
        relay.rewrite(users[0].sdp, "call", "alice", "bob")


async def test_an_address_that_is_not_here_cannot_be_bound(users):
    relay = MediaRelay("192.0.2.1", lambda *_: None)
    with pytest.raises(OSError, match="assign requested address"):
        relay.rewrite(users[0].sdp, "call", "alice", "bob")
