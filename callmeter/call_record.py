"""What is noted of a call while it runs, and the report made of it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from callmeter.call_evidence import media_facts, signaling_facts, video_facts
from callmeter.call_report import CallReport
from callmeter.diagnosis import CallEvidence, VideoEvidence, diagnose
from callmeter.media.stream_metrics import audio_path, receive_metrics, send_metrics
from callmeter.metrics.call_statistics import CallStatistics, StreamSnapshot
from callmeter.metrics.phases import LifeCycle, Outcome, Phase
from callmeter.metrics.report import (
    ErrorReport,
    Keying,
    SignalingReport,
    StreamReport,
)
from callmeter.metrics.signaling import CallTimestamps, HoldTimes
from callmeter.sip.next_hop import host_port

if TYPE_CHECKING:
    from collections.abc import Sequence

    from callmeter.errors import CallmeterError
    from callmeter.media.statistics import StreamStatistics
    from callmeter.media_session import MediaSession
    from callmeter.media_track import MediaTrack
    from callmeter.metrics.report import Finding, TlsReport
    from callmeter.sip.server_location import Location
    from callmeter.trace.message_log import LoggedMessage

__all__ = ["CallRecord"]

Value = int | float | str | None


class CallRecord:
    """The notes of one call.

    Attributes:
        times: When the milestones happened.
        hold: How often and how long it was on hold.
        life: Phase and outcome.
        final_status: The last definitive response to the INVITE, or None.
        call_id: The Call-ID of the last INVITE.
        tls: TLS of the signalling, or None.
        keyed_at: When its media had keys or needed none, or None.
        refreshes: Refreshes of the session by either end (RFC 4028).
        expired: Whether the session once expired.
    """

    def __init__(self, remote: str) -> None:
        self.times = CallTimestamps()
        self.hold = HoldTimes()
        self.life = LifeCycle()
        self.final_status: int | None = None
        self.call_id = ""
        self.tls: TlsReport | None = None
        self.keyed_at: float | None = None
        self._location: Location | None = None
        self._remote = remote
        self._error: CallmeterError | None = None
        self.refreshes = 0
        self.expired = False
        self._info_digits = {"sent": 0, "received": 0}
        self._rehandshakes = 0
        self._ice_restarts = 0
        self._rekeys = 0, 0
        self._scenario = 0, 0
        self._ended_at: float | None = None

    @property
    def fell_back(self) -> bool:
        """Whether AUTO found no records and took UDP."""
        return self._location is not None and self._location.fell_back

    def note_location(self, location: Location) -> None:
        """Where the DNS sent the INVITE."""
        self._location = self._location or location

    def digit(self, direction: str) -> None:
        """A DTMF digit went by INFO; those of RFC 4733 the stream counts."""
        self._info_digits[direction] += 1

    def note_scenario(self, executed: int, failed: int) -> None:
        """How many actions of a scenario were done and failed; one that failed is a warning."""
        self._scenario = executed, failed
        if failed and self.life.outcome is not None:
            self.life.settle(Outcome.COMPLETED_WITH_WARNINGS)

    def amended(self, report: CallReport) -> CallReport:
        """The report of a call that has ended with what a scenario says afterwards."""
        counters = {**report.counters, **self._scenario_counters()}
        return replace(report, outcome=self.life.outcome, counters=counters)

    def _scenario_counters(self) -> dict[str, Value]:
        executed, failed = self._scenario
        return {"scenario_actions_executed": executed, "scenario_actions_failed": failed}

    def finish(
        self, now: float, error: CallmeterError | None, outcome: Outcome | None, *, warned: bool
    ) -> None:
        """The call is over.

        Args:
            now: Loop time.
            error: What ended it, or None.
            outcome: How it ended; None for the normal end.
            warned: Whether something was given up on the way.
        """
        self._ended_at = now
        self._error = error
        self.hold.end(now)
        if self.times.answer_at is not None and self.times.bye_at is None:
            self.times.bye_at = now
        warned = warned or self._scenario[1] > 0
        self.life.settle(Outcome.COMPLETED_WITH_WARNINGS if warned else Outcome.SUCCESS)
        if outcome is not None:
            self.life.settle(outcome)
        self.life.enter(Phase.CLOSED)

    def report(
        self, now: float, media: MediaSession, messages: Sequence[LoggedMessage]
    ) -> CallReport:
        """All of it as one value."""
        statistics = self._measure(media)
        measured = _measured(media, statistics)
        return CallReport(
            phase=self.life.phase,
            outcome=self.life.outcome,
            final_status_code=self.final_status,
            error=None if self._error is None else ErrorReport.of(self._error),
            signaling=self._signaling(messages),
            timing=self.times.timing(),
            media=tuple(_stream(track, found) for track, found in measured),
            counters=self._counters(now, statistics),
            diagnosis=self.diagnosis(now, media, messages),
            party=self._remote,
            messages=tuple(messages),
        )

    def statistics(self, now: float, media: MediaSession) -> CallStatistics:
        """The figures alone, which is cheap: no message is looked at and no check is made."""
        statistics = self._measure(media)
        streams = tuple(
            StreamSnapshot(
                kind=track.kind,
                codec=track.codec or "",
                send=send_metrics(found),
                receive=receive_metrics(found),
            )
            for track, found in _measured(media, statistics)
        )
        return CallStatistics(
            phase=self.life.phase,
            timing=self.times.timing(),
            media=streams,
            counters=self._counters(now, statistics),
        )

    def _measure(self, media: MediaSession) -> StreamStatistics | None:
        statistics = media.statistics()
        if self.times.first_rtp_at is None and statistics is not None:
            self.times.first_rtp_at = statistics.first_packet_at
        self._rehandshakes = media.rehandshakes
        self._ice_restarts = media.ice_restarts
        self._rekeys = media.rekeys_sent, media.rekeys_received
        return statistics

    def _signaling(self, messages: Sequence[LoggedMessage]) -> SignalingReport:
        resolution = None if self._location is None else self._location.to_dict()
        found = SignalingReport(call_id=self.call_id, resolution=resolution)
        if not messages:
            return found
        first = messages[0]
        return replace(
            found,
            begun_at=first.wall,
            transport=first.transport,
            local=first.local,
            remote=first.peer,
            tls=self.tls,
        )

    def diagnosis(
        self, now: float, media: MediaSession, messages: Sequence[LoggedMessage]
    ) -> tuple[Finding, ...]:
        """What the checks find so far."""
        location, answered_at = self._location, self.times.answer_at
        began_at = None if answered_at is None else self.keyed_at or answered_at
        error = self._error
        of_video = error is not None and error.stream == "video"
        answered: dict[str, Any] = {
            "answered": answered_at is not None,
            "final_status": self.final_status,
        }
        evidence = CallEvidence(
            **answered,
            error=None if of_video else error,
            seconds=0.0 if began_at is None else (self.times.bye_at or now) - began_at,
            tls=self.tls,
            fell_back=location.domain if location is not None and location.fell_back else None,
            **signaling_facts(messages),
            **media_facts(media, answered_at),
        )
        video = video_facts(media, messages, answered_at)
        if video is None:
            return diagnose(evidence)
        if of_video:
            video |= {"agreed": True, "error": error}
        return diagnose(evidence, VideoEvidence(**answered, transport=evidence.transport, **video))

    def _counters(self, now: float, statistics: StreamStatistics | None) -> dict[str, Value]:
        sent = received = 0
        if statistics is not None:
            sent, received = statistics.dtmf_digits_sent, statistics.dtmf_digits_received
        by_rtp, by_info = sent + received, sum(self._info_digits.values())
        method = None
        if by_rtp or by_info:
            method = "both" if by_rtp and by_info else ("rtp" if by_rtp else "info")
        return {
            "hold_count": self.hold.count,
            "total_hold_duration_ms": self.hold.total_ms(self._ended_at or now),
            "session_timer_refreshes": self.refreshes,
            "dtls_rehandshakes": self._rehandshakes,
            "ice_restarts": self._ice_restarts,
            "rekeys_sent": self._rekeys[0],
            "rekeys_received": self._rekeys[1],
            "dtmf_digits_sent": sent + self._info_digits["sent"],
            "dtmf_digits_received": received + self._info_digits["received"],
            "dtmf_method": method,
            "audio_path": None if statistics is None else audio_path(statistics),
            **self._scenario_counters(),
        }


def _measured(
    media: MediaSession, statistics: StreamStatistics | None
) -> list[tuple[MediaTrack, StreamStatistics]]:
    """The tracks that have figures; those of the audio are there already."""
    found: list[tuple[MediaTrack, StreamStatistics | None]] = [(media, statistics)]
    found += [(track, track.statistics()) for track in media.tracks[1:]]
    return [(track, figures) for track, figures in found if figures is not None]


def _source(statistics: StreamStatistics) -> str | None:
    """Where the first packet, or the peer since it moved, came from."""
    if statistics.source is None or not statistics.source_locked:
        return None
    return host_port(statistics.source)


def _stream(media: MediaTrack, statistics: StreamStatistics) -> StreamReport:
    return StreamReport(
        kind=media.kind,
        codec=media.codec or "",
        profile=media.profile or "",
        keying=Keying(media.keying),
        suite=media.suite,
        rtcp_mux=media.rtcp_mux,
        feedback=media.feedback,
        ice=media.ice,
        direction=media.direction,
        local=media.local or "",
        remote=media.remote or "",
        source=_source(statistics),
        send=send_metrics(statistics),
        receive=receive_metrics(statistics),
        series=media.series(),
    )
