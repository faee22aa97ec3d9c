"""Two phones answer one offer of DTLS: whose keys the media has, and when."""

from __future__ import annotations

import asyncio

import pytest

from callmeter import events
from callmeter.config import MediaConfig, SrtpConfig, SrtpMethod, SrtpPolicy
from callmeter.errors import FingerprintMismatch

PATIENCE = 60
HEARD = 10
MEDIA = MediaConfig(srtp=SrtpConfig(method=SrtpMethod.DTLS, policy=SrtpPolicy.REQUIRED))


def answer_of(peer, setup, certificate=None):
    digest = (certificate or peer.certificate).fingerprint()
    return peer.describe(
        "UDP/TLS/RTP/SAVP", "a=rtcp-mux", f"a=setup:{setup}", f"a=fingerprint:{digest}"
    )


def begin(peer, setup):
    role = "client" if setup == "active" else "server"
    peer.rtp.begin_dtls(peer.certificate, role)


async def until(condition):
    while not condition():  # noqa: ASYNC110  there is no event
        await asyncio.sleep(0.005)


async def heard_early(call, count):
    """Wait until early media was told so often."""
    async for event in call.events():
        count -= isinstance(event, events.EarlyMedia)
        if not count:
            return


@pytest.fixture
async def forked(make_peer, make_endpoint, certificates):
    """A call that two phones have; the first of them answers early."""
    alice = await make_endpoint("alice", media=MEDIA)
    one, other = make_peer(), make_peer(certificates[1])

    async def call(setup, *, keyed):
        placed = await alice.invite(one.uri)
        invite = await one.invited()
        other.learn(invite.body)
        one.respond(invite, 183, answer_of(one, setup), tag="one")
        if keyed:
            begin(one, setup)
            await heard_early(placed, 1)
        else:
            await until(lambda: placed.media.keys_pending)
        return placed, invite, one, other

    return call


async def end(call, peer):
    async with asyncio.TaskGroup() as tasks:
        serving = tasks.create_task(peer.serve())
        await call.bye()
        serving.cancel()


@pytest.mark.parametrize("hello", ["before the 200", "after the 200"])
@pytest.mark.parametrize("setup", ["active", "passive"])
@pytest.mark.parametrize("keyed", [True, False])
async def test_media_waits_for_the_handshake_of_the_phone_that_picks_up(
    forked, setup, keyed, hello
):
    async with asyncio.timeout(PATIENCE):
        call, invite, one, other = await forked(setup, keyed=keyed)
        other.rtp.on_keys = lambda: other.send_media(5)
        if hello == "before the 200":
            begin(other, setup)
            await until(lambda: other.rtp.received or setup == "passive")
        one.respond(invite, 200, answer_of(other, setup), tag="other")
        if hello == "after the 200":
            await until(lambda: call.media.remote is None or call.media.keys_pending)
            begin(other, setup)
        await call.answered(PATIENCE)
        await until(lambda: len(other.rtp.of_kind("rtp")) >= HEARD)
        await end(call, one)
    other.drain()
    assert all(keys.authenticates(datagram) for datagram, keys in other.media())
    if keyed:
        one.drain()
        assert one.rtp.dtls.closed_by_peer
    report = call.report().to_dict()
    assert report["outcome"] == "SUCCESS"
    assert report["counters"]["dtls_rehandshakes"] == 0
    received = report["media"][0]["receive"]
    assert (received["packets_received"], received["srtp_decrypt_failures"]) == (5, 0)


@pytest.mark.parametrize("setup", ["active", "passive"])
async def test_keys_of_the_phone_before_do_not_stand_in_for_those_that_fail(
    forked, certificates, setup
):
    async with asyncio.timeout(PATIENCE):
        call, invite, one, other = await forked(setup, keyed=True)
        wrong = answer_of(other, setup, certificates[0]).replace(
            certificates[0].digest()[-2:], "00" if certificates[0].digest()[-2:] != "00" else "01"
        )
        one.respond(invite, 200, wrong, tag="other")
        await until(lambda: call.media.keys_pending)
        begin(other, setup)
        serving = asyncio.get_running_loop().create_task(one.serve())
        with pytest.raises(FingerprintMismatch):
            await call.answered(PATIENCE)
        await call.ended()
        serving.cancel()
    assert call.report().to_dict()["outcome"] == "NEGOTIATION_FAILED"
    other.drain()
    assert other.media() == []


@pytest.mark.parametrize("setup", ["active", "passive"])
async def test_early_media_of_the_second_phone_is_heard_under_keys_of_its_own(forked, setup):
    async with asyncio.timeout(PATIENCE):
        call, invite, one, other = await forked(setup, keyed=True)
        other.rtp.on_keys = lambda: other.send_media(5)
        one.respond(invite, 183, answer_of(other, setup), tag="other")
        await until(lambda: call.media.keys_pending)
        begin(other, setup)
        await heard_early(call, 2)
        await until(lambda: call.media.statistics().receive.packets_received == 5)
        # The first one has its keys from before, and makes no others.
        one.respond(invite, 200, answer_of(other, setup), tag="other")
        await call.answered(PATIENCE)
        await end(call, one)
    report = call.report().to_dict()
    assert report["media"][0]["receive"]["srtp_decrypt_failures"] == 0
    assert report["counters"]["dtls_rehandshakes"] == 0
