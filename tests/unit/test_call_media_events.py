"""Edges of the packet lane become events of the call."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from callmeter import events as call_events
from callmeter.call_journal import CallJournal
from callmeter.call_media_events import watch_media
from callmeter.media import events as media_events
from callmeter.media.events import EventLog
from callmeter.srtp.trial import FailureCause

SOURCE = ("2001:db8::1", 4000)


@pytest.mark.parametrize(
    ("edge", "told"),
    [
        (
            media_events.FirstPacket(at=11.0, source=SOURCE, ssrc=1),
            call_events.MediaStarted(1.0, "[2001:db8::1]:4000"),
        ),
        (
            media_events.SourceChanged(at=12.0, previous=SOURCE, source=("192.0.2.1", 4000)),
            call_events.MediaSourceChanged(2.0, "192.0.2.1:4000"),
        ),
        (
            media_events.SsrcChanged(at=13.0, previous=1, ssrc=2),
            call_events.MediaSourceChanged(3.0, ssrc=2),
        ),
        (media_events.Silent(at=14.0, seconds=5.0), call_events.MediaSilent(10.0, 5.0)),
        (
            media_events.ConsentExpired(at=14.5, peer=SOURCE, seconds=30.0),
            call_events.ConsentExpired(4.5, "[2001:db8::1]:4000", 30.0),
        ),
        (
            media_events.AuthenticationFailing(at=15.0, count=100, cause=FailureCause.PLAIN_RTP),
            call_events.MediaUnreadable(10.0, 100, looks_like_plain_rtp=True),
        ),
        (
            media_events.DigitReceived(at=16.0, digit="5", duration_ms=159.9),
            call_events.DtmfReceived(6.0, "5", 160, "rtp"),
        ),
    ],
)
async def test_each_edge_becomes_the_event_of_its_kind(edge, told):
    journal = CallJournal("sip:bob@example.com", lambda: 20.0)
    journal.record.times.invite_sent_at = 10.0
    log = EventLog(asyncio.get_running_loop().create_future)
    log.append(edge)
    log.close()
    await watch_media(SimpleNamespace(events=log.read), journal)
    journal.close()
    assert [event async for event in journal.read()] == [told]


async def test_only_the_first_packet_of_all_sets_the_time_of_the_first():
    journal = CallJournal("sip:bob@example.com", lambda: 20.0)
    journal.record.times.first_rtp_at = 3.0
    log = EventLog(asyncio.get_running_loop().create_future)
    log.append(media_events.FirstPacket(at=11.0, source=SOURCE, ssrc=1))
    log.close()
    await watch_media(SimpleNamespace(events=log.read), journal)
    assert journal.record.times.first_rtp_at == 3.0
