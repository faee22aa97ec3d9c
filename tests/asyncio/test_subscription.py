"""Subscriptions between endpoints of ours, and with a notifier that is a script."""

from __future__ import annotations

import asyncio

import pytest

from callmeter import (
    CallTimedOut,
    Endpoint,
    EndpointConfig,
    LocalProtocolError,
    RequestRejected,
    TransportError,
)

PATIENCE = 20
SUMMARY = "application/simple-message-summary"


@pytest.fixture
async def bob(make_endpoint):
    return await make_endpoint("bob")


async def next_of(iterator):
    async with asyncio.timeout(PATIENCE):
        return await anext(aiter(iterator))


async def test_a_state_is_told_at_once_when_it_changes_and_at_the_end(alice, bob):
    arriving = bob.incoming_subscriptions("message-summary")
    seen = []

    async def serve():
        incoming = await next_of(arriving)
        assert incoming.event == "message-summary"
        assert incoming.subscriber == alice.aor
        assert incoming.request.headers.get("X-Mark") == "1"
        incoming.accept(b"Messages-Waiting: no\r\n", SUMMARY, expires=90, headers={"X-Mark": "2"})
        incoming.notify(b"Messages-Waiting: yes\r\n", SUMMARY)
        await incoming.ended()
        assert incoming.over
        return incoming.end

    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as tasks:
        serving = tasks.create_task(serve())
        async with alice.subscribe(str(bob.contact), headers={"X-Mark": "1"}) as subscription:
            async for notification in subscription:
                seen.append(notification)
                if "yes" in notification.text:
                    break
            assert subscription.expires == 90
            assert subscription.end is None
    assert serving.result() == "unsubscribed"
    assert subscription.end == "unsubscribed"
    assert seen[0].body == b"Messages-Waiting: no\r\n"
    assert (seen[0].content_type, seen[0].state, seen[0].expires) == (SUMMARY, "active", 90)
    [last] = [notification async for notification in subscription]
    assert (last.state, last.reason) == ("terminated", "timeout")
    assert last.request.method == "NOTIFY"


async def test_a_subscription_that_is_not_entered_says_how_it_is_written(alice, bob):
    with pytest.warns(RuntimeWarning, match="Subscription was never entered: write `async with"):
        alice.subscribe(str(bob.contact))
    with pytest.raises(LocalProtocolError, match="nothing to await: write `async with"):
        await alice.subscribe(str(bob.contact))
    with pytest.raises(LocalProtocolError, match="within its block: write `async with"):
        await next_of(alice.subscribe(str(bob.contact)))


async def test_a_refresh_asks_for_the_state_again(alice, bob):
    arriving = bob.incoming_subscriptions("dialog")

    async def serve():
        (await next_of(arriving)).accept(b"<dialog-info/>", "application/dialog-info+xml")

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(serve())
        subscription = alice.subscribe(str(bob.contact), "dialog")
        with pytest.raises(LocalProtocolError, match="enter"):
            await subscription.refresh()
        async with subscription:
            assert (await next_of(subscription)).text == "<dialog-info/>"
            await subscription.refresh()
            assert (await next_of(subscription)).text == "<dialog-info/>"
            with pytest.raises(LocalProtocolError, match="anew"):
                await subscription.__aenter__()


async def test_the_end_by_the_notifier_ends_the_iteration(alice, bob):
    arriving = bob.incoming_subscriptions("presence")

    async def serve():
        incoming = await next_of(arriving)
        incoming.accept(pending=True)
        incoming.terminate(reason="rejected", body=b"closed", content_type="text/plain")

    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as tasks:
        tasks.create_task(serve())
        async with alice.subscribe(str(bob.contact), "presence") as subscription:
            told = [notification async for notification in subscription]
    assert [n.state for n in told] == ["pending", "terminated"]
    assert told[0].content_type == ""
    assert told[1].reason == "rejected"
    assert subscription.end == "terminated"


async def test_a_package_that_nobody_asked_for_is_refused(alice, bob):
    with pytest.raises(RequestRejected, match="405") as caught:
        async with alice.subscribe(str(bob.contact)):
            pytest.fail("it was accepted")
    assert caught.value.status == 405
    bob.incoming_subscriptions("dialog")
    with pytest.raises(RequestRejected, match="489"):
        async with alice.subscribe(str(bob.contact)):
            pytest.fail("it was accepted")


async def test_a_subscription_may_be_rejected(alice, bob):
    arriving = bob.incoming_subscriptions("dialog")

    async def serve():
        incoming = await next_of(arriving)
        incoming.reject(403)
        assert incoming.end == "rejected"

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(serve())
        with pytest.raises(RequestRejected, match="403"):
            async with alice.subscribe(str(bob.contact), "dialog"):
                pytest.fail("it was accepted")


async def test_a_subscription_that_nobody_takes_is_answered_in_time(make_endpoint, hasty_stack):
    alice = await make_endpoint("alice", on=hasty_stack)
    bob = await make_endpoint("bob", on=hasty_stack)
    bob.incoming_subscriptions("dialog")
    with pytest.raises(RequestRejected, match="480"):
        async with alice.subscribe(str(bob.contact), "dialog"):
            pytest.fail("it was accepted")


async def test_more_subscriptions_than_may_wait_are_refused(alice, bob, monkeypatch):
    arriving = bob.incoming_subscriptions("dialog")
    monkeypatch.setattr(arriving, "_limit", 0)
    with pytest.raises(RequestRejected, match="480"):
        async with alice.subscribe(str(bob.contact), "dialog"):
            pytest.fail("it was accepted")


async def test_silence_is_a_time_out(make_endpoint, hasty_stack, silent_port):
    alice = await make_endpoint("alice", on=hasty_stack)
    with pytest.raises(CallTimedOut):
        async with alice.subscribe(f"sip:nobody@127.0.0.1:{silent_port}"):
            pytest.fail("it was accepted")


async def test_who_cannot_be_reached_is_a_transport_error(make_endpoint, hasty_stack, closed_port):
    alice = await make_endpoint("alice", on=hasty_stack)
    with pytest.raises(TransportError):
        async with alice.subscribe(f"sip:nobody@127.0.0.1:{closed_port};transport=tcp"):
            pytest.fail("it was accepted")
    with pytest.raises(TransportError):
        async with alice.subscribe(f"sip:nobody@127.0.0.1:{closed_port}"):
            pytest.fail("it was accepted")


async def test_a_cancelled_entry_leaves_nothing_behind(alice, bob, until):
    arriving = bob.incoming_subscriptions("dialog")

    async def enter():
        async with alice.subscribe(str(bob.contact), "dialog"):
            pytest.fail("it was accepted")

    entering = asyncio.ensure_future(enter())  # noqa: TID251
    incoming = await next_of(arriving)
    entering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await entering
    incoming.accept(b"x", "text/plain")
    async with asyncio.timeout(PATIENCE):
        await incoming.ended()
    await until(lambda: len(alice.core) == 0 and len(bob.core) == 0)


async def test_an_iteration_ends_when_the_endpoint_is_left(stack):
    async with Endpoint(EndpointConfig("sip:carol@127.0.0.1"), stack) as carol:
        arriving = carol.incoming_subscriptions("dialog")
    assert [item async for item in arriving] == []
    assert carol.core.capabilities.events == ()


async def test_leaving_a_subscription_that_was_not_entered_does_nothing(alice):
    with pytest.warns(RuntimeWarning, match="never entered"):
        await alice.subscribe("sip:bob@127.0.0.1").__aexit__(None, None, None)
