"""sipp: its exit status and its own counters are the verdict."""

from __future__ import annotations

import asyncio

import pytest

from callmeter import CallRejected, SrtpConfig, SrtpPolicy, events
from callmeter.errors import NegotiationError
from peers.conversation import hear

pytestmark = pytest.mark.interop("sipp")


@pytest.fixture(params=["udp", "tcp"])
def transport(request):
    return request.param


def uri(callee):
    return f"sip:service@{callee.address};transport={callee.transport}"


async def serve(incoming):
    incoming.ring()
    call = await incoming.answer()
    async with asyncio.timeout(20):
        await call.ended()
    return call.report().to_dict()


async def ringing(call):
    async with asyncio.timeout(20):
        async for event in call.events():
            if isinstance(event, events.Ringing):
                return


async def place(endpoint, target):
    async with endpoint.call(target):
        pytest.fail("the call was answered")


def address(endpoint):
    return f"127.0.0.1:{endpoint.contact.port}"


async def test_calls_of_sipp_are_answered(phone, sipp, transport):
    number = 5
    async with phone("service", transport=transport) as bob, asyncio.TaskGroup() as tasks:
        calling = sipp("uac", transport=transport, target=address(bob), calls=number, hold=800)
        serving = [tasks.create_task(serve(await bob.next_call(20))) for _ in range(number)]
        verdict = await calling.result()
    assert (verdict.status, verdict.successful, verdict.failed) == (0, number, 0)
    assert verdict.retransmissions == 0
    for task in serving:
        assert task.result()["outcome"] == "SUCCESS"


async def test_hold_and_resume_of_sipp_are_answered(phone, sipp, transport):
    async with phone("service", transport=transport) as bob, asyncio.TaskGroup() as tasks:
        calling = sipp("uac_hold", transport=transport, target=address(bob), hold=300)
        serving = tasks.create_task(serve(await bob.next_call(20)))
        verdict = await calling.result()
    assert (verdict.status, verdict.successful, verdict.failed) == (0, 1, 0)
    assert serving.result()["counters"]["hold_count"] == 1
    assert "a=recvonly" in verdict.messages


async def test_a_rejected_call_of_sipp_gets_its_486(phone, sipp, transport):
    async with phone("service", transport=transport) as bob:
        calling = sipp("uac_486", transport=transport, target=address(bob))
        incoming = await bob.next_call(20)
        incoming.reject(486)
        verdict = await calling.result()
    assert (verdict.status, verdict.successful, verdict.failed) == (0, 1, 0)
    assert verdict.retransmissions == 0


async def test_a_cancelled_call_of_sipp_gets_its_200_and_its_487(phone, sipp, transport):
    async with phone("service", transport=transport) as bob:
        calling = sipp("uac_cancel", transport=transport, target=address(bob), hold=200)
        incoming = await bob.next_call(20)
        incoming.ring()
        async with asyncio.timeout(20):
            await incoming.ended()
        verdict = await calling.result()
    assert (verdict.status, verdict.successful, verdict.failed) == (0, 1, 0)
    assert verdict.retransmissions == 0


async def test_sipp_is_told_what_the_endpoint_can_do(phone, sipp, transport):
    async with phone("service", transport=transport) as bob:
        verdict = await sipp("uac_options", transport=transport, target=address(bob)).result()
    assert (verdict.status, verdict.successful) == (0, 1)
    assert "Allow:" in verdict.messages


async def test_a_call_to_sipp_follows_its_scenario(phone, sipp, transport):
    callee = sipp("uas", transport=transport)
    async with phone(transport=transport) as alice:
        async with alice.call(uri(callee)) as call:
            await hear(call, 40)
        report = call.report().to_dict()
        verdict = await callee.result()
    assert (verdict.status, verdict.successful, verdict.failed) == (0, 1, 0)
    assert verdict.retransmissions == 0
    assert report["outcome"] == "SUCCESS"
    # sipp sends back what it hears
    assert report["media"][0]["receive"]["packets_lost"] == 0


async def test_a_bye_of_sipp_ends_the_call(phone, sipp, transport):
    callee = sipp("uas_bye", transport=transport, hold=400)
    async with phone(transport=transport) as alice:
        async with alice.call(uri(callee)) as call, asyncio.timeout(20):
            await call.ended()
        verdict = await callee.result()
    assert (verdict.status, verdict.successful, verdict.failed) == (0, 1, 0)
    assert call.report().to_dict()["outcome"] == "SUCCESS"


async def test_a_486_of_sipp_is_acknowledged_and_raised(phone, sipp, transport):
    callee = sipp("uas_486", transport=transport)
    async with phone(transport=transport) as alice:
        with pytest.raises(CallRejected) as caught:
            async with alice.call(uri(callee)):
                pass
        verdict = await callee.result()
    assert caught.value.status == 486
    assert (verdict.status, verdict.successful, verdict.failed) == (0, 1, 0)
    assert verdict.retransmissions == 0


async def test_leaving_while_sipp_rings_cancels_the_call(phone, sipp, transport):
    callee = sipp("uas_cancel", transport=transport)
    async with phone(transport=transport) as alice:
        call = await alice.invite(uri(callee))
        async with call:
            await ringing(call)
        verdict = await callee.result()
    assert (verdict.status, verdict.successful, verdict.failed) == (0, 1, 0)
    assert verdict.retransmissions == 0
    assert call.report().to_dict()["final_status_code"] == 487


async def test_a_cancelled_task_cancels_the_ringing_call(phone, sipp, transport):
    callee = sipp("uas_cancel", transport=transport)
    async with phone(transport=transport) as alice:
        calling = asyncio.get_running_loop().create_task(place(alice, uri(callee)))
        async with asyncio.timeout(20):
            while not alice.calls:  # noqa: ASYNC110  placed a moment later
                await asyncio.sleep(0)
        await ringing(alice.calls[0])
        calling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await calling
        verdict = await callee.result()
    assert (verdict.status, verdict.successful, verdict.failed) == (0, 1, 0)


async def test_the_reason_of_a_bye_of_sipp_is_told(phone, sipp, transport):
    async with phone("service", transport=transport) as bob, asyncio.TaskGroup() as tasks:
        calling = sipp("uac_reason", transport=transport, target=address(bob), hold=300)
        serving = tasks.create_task(serve(await bob.next_call(20)))
        verdict = await calling.result()
    assert (verdict.status, verdict.successful) == (0, 1)
    found = {each["check"]: each for each in serving.result()["diagnosis"]}["hung_up_normally"]
    assert found["status"] == "warn"
    assert 'Q.850;cause=41;text="Temporary failure"' in found["detail"]


async def test_sipp_is_told_why_its_answer_ends_the_call(phone, sipp, transport):
    callee = sipp("uas", transport=transport)
    required = SrtpConfig(policy=SrtpPolicy.REQUIRED)
    async with phone(transport=transport, srtp=required) as alice:
        # It answers the offer of SRTP in clear.
        with pytest.raises(NegotiationError):
            await place(alice, uri(callee))
        verdict = await callee.result()
    assert (verdict.status, verdict.successful) == (0, 1)
    assert 'Reason: SIP;cause=488;text="' in verdict.messages
