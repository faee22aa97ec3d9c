"""The peers against each other: what fails here is not callmeter's fault."""

from __future__ import annotations

import asyncio

import pytest

from peers.tone import loudest
from peers.tshark import decode


@pytest.mark.interop("sipp")
@pytest.mark.parametrize("transport", ["udp", "tcp"])
@pytest.mark.parametrize(
    ("caller", "callee"),
    [("uac", "uas"), ("uac_486", "uas_486"), ("uac_cancel", "uas_cancel")],
)
async def test_sipp_callers_and_callees_fit_each_other(sipp, transport, caller, callee):
    listening = sipp(callee, transport=transport)
    calling = sipp(caller, target=listening.address, transport=transport)
    called, answered = await asyncio.gather(calling.result(), listening.result())
    assert (called.status, called.successful, called.failed) == (0, 1, 0)
    assert (answered.successful, answered.failed) == (1, 0)


@pytest.mark.interop("sipp")
async def test_a_sipp_scenario_that_is_not_followed_is_a_failure(sipp):
    listening = sipp("uas_486")
    called = await sipp("uac", target=listening.address).result()
    assert (called.status, called.successful, called.failed) == (1, 0, 1)


@pytest.mark.interop("kamailio", "sipp")
async def test_sipp_registers_at_kamailio(kamailio, sipp):
    proxy = kamailio()
    keys = {"domain": "example.test"}
    registered = await sipp("register", target=proxy.address, user="alice", keys=keys).result()
    assert registered.status == 0
    assert len(proxy.contacts("alice")) == 1


@pytest.mark.interop("kamailio", "sipp")
async def test_kamailio_refuses_a_wrong_password(kamailio, sipp):
    proxy = kamailio()
    options = {"user": "alice", "password": "wrong", "keys": {"domain": "example.test"}}
    refused = await sipp("register", target=proxy.address, **options).result()
    assert refused.status == 1
    assert proxy.contacts("alice") == []


@pytest.mark.interop("baresip", "kamailio", "tshark")
async def test_two_baresips_hear_each_other_through_kamailio(baresip, kamailio, capture):
    proxy = kamailio()
    bob = baresip("bob", tone=880, encryption="srtp-mand", registrar=proxy.address)
    carol = baresip("carol", tone=1320, encryption="srtp-mand", registrar=proxy.address)
    ranges = [f"udp portrange {one.media_port}-{one.media_port + 19}" for one in (bob, carol)]
    recorded = capture(" or ".join([f"udp port {proxy.port}", *ranges]))
    control = await bob.control()
    try:
        await proxy.bound("bob", "carol")
        await control.command("dial", "sip:carol@example.test")
        await control.event("CALL_ESTABLISHED")
        await asyncio.sleep(1.5)
        await control.command("hangup")
    finally:
        await control.close()
    await asyncio.sleep(0.3)
    for listener, expected in ((bob, 1320), (carol, 880)):
        hertz, share = loudest(await listener.heard())
        assert hertz == pytest.approx(expected, abs=5)
        assert share > 0.9
    recorded.stop()
    decoded = decode(recorded.file, [proxy.port])
    assert decoded.malformed() == []
    assert {"INVITE", "ACK", "BYE", "407"} <= set(decoded.methods())
    assert sorted(stream["lost"] for stream in decoded.rtp_streams()) == [0, 0]
