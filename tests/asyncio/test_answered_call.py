"""The block that `endpoint.call` gives."""

from __future__ import annotations

import asyncio

import pytest

from callmeter.errors import CallRejected, LocalProtocolError

PATIENCE = 20


async def test_a_call_is_no_coroutine(make_endpoint):
    alice = await make_endpoint("alice")
    with pytest.raises(LocalProtocolError, match=r"async with endpoint\.call"):
        await alice.call("bob")
    with pytest.warns(RuntimeWarning, match="AnsweredCall was never entered"):
        alice.call("bob")
    with pytest.warns(RuntimeWarning, match="Registration was never entered"):
        alice.registered()
    assert alice.calls == []


async def test_leaving_the_block_hangs_up_even_by_an_error(make_endpoint):
    alice, bob = await make_endpoint("alice"), await make_endpoint("bob")

    async def answer():
        await (await bob.next_call(PATIENCE)).answer()

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(answer())
        with pytest.raises(ZeroDivisionError):
            async with alice.call(bob.contact) as call:
                raise ZeroDivisionError
    assert call.over
    assert call.report().final_status_code == 200


async def test_the_block_is_not_reached_by_a_call_that_is_refused(make_endpoint):
    alice, bob = await make_endpoint("alice"), await make_endpoint("bob")

    async def refuse():
        (await bob.next_call(PATIENCE)).reject(486)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(refuse())
        with pytest.raises(CallRejected, match="486"):
            async with alice.call(bob.contact):
                pytest.fail("a refused call was entered")
    assert alice.calls == []


async def test_a_block_that_was_not_entered_is_left_at_once(make_endpoint):
    alice = await make_endpoint("alice")
    with pytest.warns(RuntimeWarning, match="never entered"):
        assert await alice.call("bob").__aexit__(None, None, None) is None


async def test_a_peer_that_hangs_up_between_two_lines_makes_no_error(make_endpoint, tmp_path):
    alice, bob = await make_endpoint("alice"), await make_endpoint("bob")

    async def hang_up_at_once():
        async with alice.call(bob.contact):
            pass

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(hang_up_at_once())
        async with await (await bob.next_call(PATIENCE)).answer() as call:
            await call.ended()
            call.media.echo()
            recorder = call.media.record(tmp_path / "heard.wav")
            assert await call.media.play(seconds=PATIENCE) == 0.0
    assert recorder.seconds == 0.0
    assert call.report().final_status_code == 200
