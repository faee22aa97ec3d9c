"""Signalling load with sipp at the other end: its status and its counters are the verdict."""

from __future__ import annotations

import asyncio

import pytest

from callmeter import StackConfig, Transport
from callmeter.load import SignalingAnswerer, SignalingCaller
from callmeter.transport.udp import UdpTransport

pytestmark = pytest.mark.interop("sipp")

CALLS = 200
LOOPBACK = "127.0.0.1"


@pytest.fixture(params=["udp", "tcp"])
def transport(request):
    return request.param


def listening(name):
    return StackConfig(bind=LOOPBACK, transports=(Transport[name.upper()],))


def address(answerer, name):
    return f"{LOOPBACK}:{answerer.transport.listening(name.upper())[1]}"


async def test_calls_of_sipp_are_answered(sipp, transport):
    async with asyncio.timeout(60), SignalingAnswerer(listening(transport)) as answerer:
        calling = sipp(
            "uac",
            transport=transport,
            target=address(answerer, transport),
            calls=CALLS,
            rate=200,
            hold=0,
        )
        counters = await answerer.ended(CALLS)
        verdict = await calling.result()
    assert (verdict.status, verdict.successful, verdict.failed) == (0, CALLS, 0)
    assert (counters.confirmed, counters.ended, counters.unacknowledged) == (CALLS, CALLS, 0)


async def test_a_cancelled_call_of_sipp_gets_its_200_and_its_487(sipp, transport):
    settings = listening(transport)
    async with asyncio.timeout(60), SignalingAnswerer(settings, answer_after=60) as answerer:
        calling = sipp(
            "uac_cancel", transport=transport, target=address(answerer, transport), hold=200
        )
        counters = await answerer.ended(1)
        verdict = await calling.result()
    assert (verdict.status, verdict.successful, verdict.failed) == (0, 1, 0)
    assert counters.cancelled == 1


async def test_calls_to_sipp_are_placed(sipp, transport):
    callee = sipp("uas", transport=transport, calls=CALLS)
    target = f"sip:service@{callee.address};transport={transport}"
    async with asyncio.timeout(60), SignalingCaller(target, listening("udp")) as caller:
        counters = await caller.run(CALLS, rate=400)
        verdict = await callee.result()
    assert (verdict.status, verdict.successful, verdict.failed) == (0, CALLS, 0)
    assert (counters.ended, counters.failed, counters.refused) == (CALLS, 0, 0)


async def test_calls_that_leave_in_bursts_reach_sipp(sipp, monkeypatch):
    together = []
    send = UdpTransport.send_alike

    def noted(transport, datagrams, hop):
        together.append(send(transport, datagrams, hop))
        return together[-1]

    monkeypatch.setattr(UdpTransport, "send_alike", noted)
    callee = sipp("uas", transport="udp", calls=CALLS)
    target = f"sip:service@{callee.address}"
    async with asyncio.timeout(60), SignalingCaller(target, listening("udp")) as caller:
        counters = await caller.run(CALLS, rate=2000)
        verdict = await callee.result()
    assert sum(together) > CALLS / 2
    assert (verdict.status, verdict.successful, verdict.failed) == (0, CALLS, 0)
    assert (counters.ended, counters.failed, counters.refused) == (CALLS, 0, 0)


async def test_a_call_that_sipp_refuses_is_counted(sipp):
    callee = sipp("uas_486")
    target = f"sip:service@{callee.address}"
    async with asyncio.timeout(60), SignalingCaller(target, listening("udp")) as caller:
        counters = await caller.run(1, rate=1)
        verdict = await callee.result()
    assert (verdict.status, verdict.successful, verdict.failed) == (0, 1, 0)
    assert counters.statuses == {486: 1}


async def test_a_call_that_sipp_ends_is_over(sipp):
    callee = sipp("uas_bye")
    target = f"sip:service@{callee.address}"
    async with asyncio.timeout(60), SignalingCaller(target, listening("udp"), hold=60) as caller:
        counters = await caller.run(1, rate=1)
        verdict = await callee.result()
    assert (verdict.status, verdict.successful, verdict.failed) == (0, 1, 0)
    assert counters.ended == 1
