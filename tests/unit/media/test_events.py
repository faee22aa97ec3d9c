"""The log of events and its readers."""

from __future__ import annotations

import asyncio

import pytest

from callmeter.media.events import MAX_KEPT, EventLog, FirstPacket, Silent


def event(number):
    return Silent(at=float(number), seconds=5.0)


@pytest.fixture
async def log():
    return EventLog(asyncio.get_running_loop().create_future)


async def test_a_reader_gets_what_was_before_it_and_what_comes_after(log):
    log.append(event(1))
    reader = log.read()
    assert (await anext(reader)).at == 1
    waiting = asyncio.get_running_loop().create_task(anext(reader))
    await asyncio.sleep(0)
    log.append(event(2))
    assert (await waiting).at == 2
    log.append(event(3))
    log.close()
    assert [each.at async for each in reader] == [3]


async def test_every_reader_gets_every_event(log):
    readers = [log.read(), log.read()]
    log.append(event(1))
    log.close()
    for reader in readers:
        assert [each.at async for each in reader] == [1]


async def test_a_slow_reader_loses_the_oldest_and_nobody_waits_for_it(log):
    for number in range(MAX_KEPT + 10):
        log.append(event(number))
    log.close()
    events = [each async for each in log.read()]
    assert len(events) == MAX_KEPT
    assert events[0].at == 10


async def test_a_reader_that_gave_up_does_not_stop_the_others(log):
    loop = asyncio.get_running_loop()
    first, second = loop.create_task(anext(log.read())), loop.create_task(anext(log.read()))
    await asyncio.sleep(0)
    first.cancel()
    log.append(event(1))
    assert (await second).at == 1
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_a_reader_is_not_woken_by_what_it_does_not_wait_for(log):
    started = FirstPacket(at=1.0, source=("192.0.2.1", 4000), ssrc=7)
    reader = log.read(unmoved_by=(Silent,))
    waiting = asyncio.get_running_loop().create_task(anext(reader))
    other = asyncio.get_running_loop().create_task(anext(log.read()))
    await asyncio.sleep(0)
    log.append(event(1))
    assert (await other).at == 1
    assert not waiting.done()
    log.append(started)
    assert (await waiting).at == 1
    log.close()
    assert [each async for each in reader] == [started]
