"""MESSAGE with baresip and sipp, SUBSCRIBE and NOTIFY with sipp in both roles."""

from __future__ import annotations

import asyncio

import pytest

PATIENCE = 15
SUMMARY = "application/simple-message-summary"


async def next_of(iterator):
    async with asyncio.timeout(PATIENCE):
        return await anext(aiter(iterator))


@pytest.mark.interop("baresip")
async def test_baresip_takes_our_message(phone, baresip):
    bob = baresip()
    async with phone() as alice:
        response = await alice.message(bob.uri, "good morning")
    assert response.status == 200
    assert "good morning" in bob.tail()


@pytest.mark.interop("sipp")
async def test_we_take_the_message_of_sipp(phone, sipp):
    async with phone("service") as bob:
        arriving = bob.incoming_messages()
        sender = sipp("uac_message", target=f"127.0.0.1:{bob.contact.port}")
        message = await next_of(arriving)
        verdict = await sender.result()
    assert (verdict.status, verdict.successful, verdict.failed) == (0, 1, 0)
    assert message.text.strip() == "good evening"


@pytest.mark.interop("sipp")
async def test_sipp_notifies_us_until_we_leave(phone, sipp):
    notifier = sipp("uas_subscribe")
    async with phone() as alice:
        async with alice.subscribe(f"sip:service@{notifier.address}") as subscription:
            notification = await next_of(subscription)
            assert subscription.expires == 120
        told = [notification async for notification in subscription]
        verdict = await notifier.result()
    assert (verdict.status, verdict.successful, verdict.failed) == (0, 1, 0)
    assert (notification.content_type, notification.state) == (SUMMARY, "active")
    assert "Messages-Waiting: yes" in notification.text
    assert [(n.state, n.reason) for n in told] == [("terminated", "timeout")]
    assert subscription.end == "unsubscribed"


@pytest.mark.interop("sipp")
async def test_sipp_is_notified_until_it_leaves(phone, sipp):
    async with phone("service") as bob:
        arriving = bob.incoming_subscriptions("message-summary")
        subscriber = sipp("uac_subscribe", target=f"127.0.0.1:{bob.contact.port}")
        incoming = await next_of(arriving)
        incoming.accept(b"Messages-Waiting: no\r\n", SUMMARY)
        async with asyncio.timeout(PATIENCE):
            await incoming.ended()
        verdict = await subscriber.result()
    assert (verdict.status, verdict.successful, verdict.failed) == (0, 1, 0)
    assert incoming.end == "unsubscribed"
    assert "Messages-Waiting: no" in verdict.messages
