"""What is told of a call, and when."""

from __future__ import annotations

from callmeter import events
from callmeter.call_journal import CallJournal


async def test_times_count_from_the_invite():
    journal = CallJournal("sip:bob@example.com", lambda: 12.0)
    assert journal.now == 12.0
    assert journal.at() == 0.0
    journal.record.times.invite_sent_at = 10.0
    assert journal.at() == 2.0
    assert journal.at(10.5) == 0.5


async def test_what_was_told_is_read_until_the_end():
    journal = CallJournal("sip:bob@example.com", lambda: 0.0)
    journal.tell(events.Held(1.0, by_peer=True))
    journal.close()
    assert [event async for event in journal.read()] == [events.Held(1.0, by_peer=True)]
