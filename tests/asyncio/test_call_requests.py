"""INFO in a call; REFER is in test_call_transfer.py."""

from __future__ import annotations

import pytest

from callmeter import LocalProtocolError, RequestRejected, events

PATIENCE = 20


@pytest.fixture
async def bob(make_endpoint):
    return await make_endpoint("bob")


async def test_an_info_is_answered_and_told(make_endpoint, alice, bob):
    call = await alice.invite(str(bob.contact))
    incoming = await bob.next_call(PATIENCE)
    await incoming.answer()
    await call.answered(PATIENCE)
    response = await call.send_info("application/x-thing", b"body", headers={"X-Mark": "1"})
    assert response.status == 200
    async for event in incoming.events():
        if isinstance(event, events.InfoReceived):
            assert (event.content_type, event.body) == ("application/x-thing", b"body")
            break
    with pytest.raises(RequestRejected, match="469"):
        await call.send_info("application/x-thing", b"", headers={"Info-Package": "unknown"})


async def test_an_info_needs_an_answered_call(alice, bob):
    call = await alice.invite(str(bob.contact))
    with pytest.raises(LocalProtocolError):
        await call.send_info("a/b", b"")
