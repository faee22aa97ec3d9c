"""kamailio: forking to two contacts, Path, Service-Route and GRUU; heard at both ends."""

from __future__ import annotations

import asyncio

import pytest

from peers.conversation import converse
from peers.kamailio_edge import KamailioEdge, edge_port
from peers.tone import loudest

pytestmark = pytest.mark.interop("kamailio")

PATIENCE = 15


def assert_heard(recording, hertz):
    found, share = loudest(recording)
    assert found == pytest.approx(hertz, abs=5)
    assert share > 0.9


async def talk(call, hertz, recording):
    await converse(call, hertz, recording)


async def answer(endpoint, recording):
    incoming = await endpoint.next_call(PATIENCE)
    await incoming.answer()
    await talk(incoming, 880, recording)
    async with asyncio.timeout(PATIENCE):
        await incoming.ended()
    return incoming


async def test_of_two_phones_that_ring_one_answers_and_the_other_is_told(phone, kamailio, tmp_path):
    proxy = kamailio()

    async def ring(endpoint):
        incoming = await endpoint.next_call(PATIENCE)
        incoming.ring()
        return incoming

    async with (
        phone("alice", proxy=proxy.address) as alice,
        phone("bob", proxy=proxy.address) as desk,
        phone("bob", proxy=proxy.address) as mobile,
        desk.registered(),
        mobile.registered(),
    ):
        assert len(proxy.contacts("bob")) == 2
        call = await alice.invite("sip:bob@example.test")
        async with asyncio.timeout(PATIENCE), call, asyncio.TaskGroup() as tasks:
            ringing = [tasks.create_task(ring(endpoint)) for endpoint in (desk, mobile)]
            first, second = [await task for task in ringing]
            await second.answer()
            await call.answered()
            await first.ended()
            tasks.create_task(talk(second, 880, tmp_path / "bob.wav"))
            await talk(call, 440, tmp_path / "alice.wav")
    assert first.report().to_dict()["error"]["type"] == "CallCancelled"
    assert call.report().to_dict()["outcome"] == "SUCCESS"
    assert [m for m in first.messages if m.text.startswith("CANCEL ")]
    assert_heard(tmp_path / "alice.wav", 880)
    assert_heard(tmp_path / "bob.wav", 440)


async def test_calls_go_by_the_path_and_by_the_service_route(phone, kamailio, run, tmp_path):
    port = edge_port()
    registrar = kamailio(edge=f"127.0.0.1:{port}")
    edge = run(KamailioEdge(tmp_path / "edge", registrar.address, port))
    ways = {"domain": "example.test", "registrar": f"sip:{edge.address}"}
    async with (
        phone("alice", **ways) as alice,
        phone("bob", **ways) as bob,
        alice.registered() as binding,
        bob.registered(),
        asyncio.TaskGroup() as tasks,
    ):
        assert binding.path == (f"sip:{edge.address};lr",)
        assert binding.service_route == (f"sip:{edge.address};lr", f"sip:{registrar.address};lr")
        answering = tasks.create_task(answer(bob, tmp_path / "bob.wav"))
        async with alice.call("sip:bob@example.test") as call:
            await talk(call, 440, tmp_path / "alice.wav")
    vias = answering.result().request.headers.values("Via")
    assert [via.partition(" ")[2].partition(";")[0] for via in vias[:2]] == [
        edge.address,
        registrar.address,
    ]
    assert call.report().to_dict()["outcome"] == "SUCCESS"
    assert_heard(tmp_path / "alice.wav", 880)
    assert_heard(tmp_path / "bob.wav", 440)


@pytest.mark.parametrize("hanging_up", ["caller", "callee"])
async def test_two_phones_call_each_other_by_their_gruu(phone, kamailio, tmp_path, hanging_up):
    proxy = kamailio()
    async with (
        phone("alice", proxy=proxy.address, gruu=True) as alice,
        phone("bob", proxy=proxy.address, gruu=True) as bob,
        alice.registered(),
        bob.registered() as binding,
    ):
        assert ";gr=urn:uuid:" in binding.public_gruu
        async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as tasks:
            answering = tasks.create_task(answer(bob, tmp_path / "bob.wav"))
            async with alice.call(binding.public_gruu) as call:
                assert str(call.session.remote_target) == binding.public_gruu
                await talk(call, 440, tmp_path / "alice.wav")
                if hanging_up == "callee":
                    [incoming] = bob.calls
                    await incoming.bye()
                    await call.ended()
            await answering
    assert call.report().to_dict()["outcome"] == "SUCCESS"
    assert_heard(tmp_path / "alice.wav", 880)
    assert_heard(tmp_path / "bob.wav", 440)
