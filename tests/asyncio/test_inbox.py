"""What arrives and waits for its reader."""

from __future__ import annotations

from callmeter.inbox import Inbox


async def test_what_waits_is_given_before_the_end_is_told():
    inbox = Inbox(2)
    assert inbox.put(1)
    assert inbox.put(2)
    assert not inbox.put(3)
    inbox.close()
    inbox.close()
    assert [item async for item in inbox] == [1, 2]
    assert [item async for item in inbox] == []
    assert not inbox.put(4)
