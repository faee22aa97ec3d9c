"""The edges of the packet lane as events of a call."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from callmeter import events as call_events
from callmeter.errors import MediaSecurityError
from callmeter.media import events as media_events
from callmeter.sip.next_hop import host_port

if TYPE_CHECKING:
    from callmeter.call_journal import CallJournal
    from callmeter.media.rtp_stream import RtpStream
    from callmeter.media_session import MediaSession

__all__ = ["tell_early_media", "watch_media"]


async def tell_early_media(media: MediaSession, journal: CallJournal, status: int) -> None:
    """Tell that media runs before the answer, once its keys are there.

    Args:
        media: Of the call.
        journal: Of the call.
        status: Of the provisional response that agreed on it.
    """
    with suppress(MediaSecurityError):  # It is an error of the answer, if there will be one.
        await media.keyed()
        if journal.record.times.answer_at is None:
            journal.tell(call_events.EarlyMedia(journal.at(), status))


async def watch_media(stream: RtpStream, journal: CallJournal) -> None:
    """Tell what happens to a stream until it is stopped."""
    # Reports are told to nobody, and a thousand calls have hundreds of them in a second.
    async for event in stream.events(unmoved_by=(media_events.ReportReceived,)):
        _tell(event, journal)


def _tell(event: object, journal: CallJournal) -> None:
    match event:
        case media_events.FirstPacket():
            times = journal.record.times
            times.first_rtp_at = times.first_rtp_at or event.at
            journal.tell(call_events.MediaStarted(journal.at(event.at), host_port(event.source)))
        case media_events.SourceChanged():
            journal.tell(
                call_events.MediaSourceChanged(journal.at(event.at), host_port(event.source))
            )
        case media_events.SsrcChanged():
            journal.tell(call_events.MediaSourceChanged(journal.at(event.at), ssrc=event.ssrc))
        case media_events.Silent():
            journal.tell(call_events.MediaSilent(journal.at(), event.seconds))
        case media_events.ConsentExpired():
            peer = host_port(event.peer)
            journal.tell(call_events.ConsentExpired(journal.at(event.at), peer, event.seconds))
        case media_events.AuthenticationFailing():
            journal.tell(
                call_events.MediaUnreadable(journal.at(), event.count, event.looks_like_plain_rtp)
            )
        case media_events.DigitReceived():
            journal.tell(
                call_events.DtmfReceived(
                    journal.at(event.at), event.digit, round(event.duration_ms), "rtp"
                )
            )
