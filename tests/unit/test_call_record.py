"""What is noted of a call, and the report it becomes."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from callmeter.call_record import CallRecord
from callmeter.config import MediaConfig, SrtpConfig, SrtpPolicy
from callmeter.errors import CallRejected
from callmeter.metrics.catalogue import CATALOGUE
from callmeter.metrics.phases import Outcome, Phase
from callmeter.metrics.series import StreamSeries
from callmeter.rtp.jitter_buffer import JitterBufferStatistics
from callmeter.sip.server_location import Location
from callmeter.trace.message_log import LoggedMessage


class Media:
    """A media session that says what it is told to."""

    config = MediaConfig(srtp=SrtpConfig(policy=SrtpPolicy.REQUIRED))
    codec = "PCMU"
    ptime_ms = 20
    rehandshakes = ice_restarts = 0
    rehandshakes = 0
    rekeys_sent = 0
    rekeys_received = 0
    warnings: tuple[str, ...] = ()
    profile = "RTP/SAVP"
    keying = "sdes"
    suite = "AES_CM_128_HMAC_SHA1_80"
    rtcp_mux = True
    feedback = ice = False
    direction = "sendrecv"
    local = "192.0.2.1:40000"
    remote = "192.0.2.2:40000"

    kind = "audio"
    video = None
    video_refused = ""

    def __init__(self, statistics, *others):
        self._statistics = statistics
        self.tracks = (None, *others)

    def statistics(self):
        return self._statistics

    def keyed_after(self, answered_at):
        return None

    def series(self):
        return StreamSeries(at_ms=(1000.0,), send={}, receive={"jitter_ms": (2.5,)})


def bad_findings(report):
    return [one for one in report["diagnosis"] if one["status"] in {"warn", "fail"}]


class NoMedia(Media):
    keying = "none"
    codec = None

    def __init__(self):
        super().__init__(None)

    def statistics(self):
        return None


@pytest.mark.parametrize(
    ("found", "told"),
    [
        ({"source": None}, None),
        ({"source": ("192.0.2.7", 4000), "source_locked": False}, None),
        ({"source": ("192.0.2.7", 4000), "source_locked": True}, "192.0.2.7:4000"),
        ({"source": ("2001:db8::7", 4000), "source_locked": True}, "[2001:db8::7]:4000"),
    ],
)
def test_the_source_of_media_is_where_it_came_from_and_not_where_it_was_expected(
    record, stream_statistics, found, told
):
    report = record.report(101.0, Media(stream_statistics(**found)), ()).to_dict()
    assert report["media"][0]["source"] == told


def test_what_the_jitter_buffer_did_is_in_the_report(record, stream_statistics):
    assert receive_of(record, Media(stream_statistics()))["jitter_buffer_pushed"] is None
    buffer = JitterBufferStatistics(
        target_delay_ms=60.0,
        current_delay_ms=55.5,
        average_jitter_ms=2.25,
        pushed=40,
        lost=3,
        late=2,
        early=1,
        duplicates=4,
        restarts=5,
    )
    found = receive_of(record, Media(stream_statistics(jitter_buffer=buffer)))
    own = {key: value for key, value in found.items() if key.startswith("jitter_buffer_")}
    assert own == {
        "jitter_buffer_target_delay_ms": 60.0,
        "jitter_buffer_current_delay_ms": 55.5,
        "jitter_buffer_average_jitter_ms": 2.25,
        "jitter_buffer_pushed": 40,
        "jitter_buffer_lost": 3,
        "jitter_buffer_late": 2,
        "jitter_buffer_early": 1,
        "jitter_buffer_duplicates": 4,
        "jitter_buffer_restarts": 5,
        "jitter_buffer_rtx_requests": 0,
        "jitter_buffer_rtx_success": 0,
    }
    assert set(own) <= set(CATALOGUE)


def receive_of(record, media):
    return record.report(101.0, media, ()).to_dict()["media"][0]["receive"]


def test_the_course_of_the_stream_is_in_the_report(record, stream_statistics):
    media = record.report(101.0, Media(stream_statistics()), ()).to_dict()["media"][0]
    assert media["series"]["receive"] == {"at_ms": [1000.0], "jitter_ms": [2.5]}


@pytest.fixture
def record() -> CallRecord:
    record = CallRecord("sip:bob@example.com")
    record.times.invite_sent_at = 100.0
    record.life.enter(Phase.CALLING)
    return record


def test_keys_are_in_time_or_late_for_each_stream_alone(record, stream_statistics):
    class Keyed(Media):
        keying = "dtls"
        agreed = True
        keys = SimpleNamespace(warnings=())

        def __init__(self, after, statistics, video=None):
            super().__init__(statistics)
            self.after, self.video = after, video

        def keyed_after(self, answered_at):
            assert answered_at == 101.0
            return self.after

    record.times.answer_at, record.keyed_at = 101.0, 104.0
    media = Keyed(0.25, stream_statistics(), Keyed(2.6, stream_statistics()))
    told = {each.check: each for each in record.diagnosis(105.0, media, ())}
    assert told["keys_in_time"].detail == "audio: the DTLS handshake ended 0.25 s after the answer"
    assert told["video_keys_in_time"].status.value == "warn"
    assert "2.6 s after the answer" in told["video_keys_in_time"].detail


def test_a_call_that_runs_has_no_outcome(record):
    report = record.report(101.0, NoMedia(), ()).to_dict()
    assert report["outcome"] is None
    assert report["phase"] == "CALLING"
    assert report["media"] == []
    assert report["signaling"]["transport"] == ""


def test_the_normal_end_is_a_success_with_its_duration(record, stream_statistics):
    record.times.answer_at = 101.0
    record.final_status = 200
    record.finish(104.0, None, None, warned=False)
    report = record.report(999.0, Media(stream_statistics()), ()).to_dict()
    assert report["outcome"] == "SUCCESS"
    assert report["phase"] == "CLOSED"
    assert report["call_result"] == "answered"
    assert report["timing"]["call_duration_ms"] == 3000.0


def test_the_duration_ends_with_the_bye_and_not_with_its_answer(record):
    record.times.answer_at, record.times.bye_at = 101.0, 102.0
    record.finish(104.0, None, None, warned=False)
    assert record.report(104.0, NoMedia(), ()).to_dict()["timing"]["call_duration_ms"] == 1000.0


def test_a_call_never_answered_has_no_duration(record):
    record.final_status = 486
    record.finish(104.0, CallRejected(486, "Busy"), Outcome.CALL_FAILED, warned=True)
    report = record.report(104.0, NoMedia(), ()).to_dict()
    assert report["timing"]["call_duration_ms"] is None
    assert report["outcome"] == "CALL_FAILED"
    assert report["error"] == {"type": "CallRejected", "message": "486 Busy"}


def test_what_was_given_up_makes_a_success_one_with_warnings(record):
    record.finish(104.0, None, None, warned=True)
    assert record.report(104.0, NoMedia(), ()).outcome is Outcome.COMPLETED_WITH_WARNINGS


def test_an_outcome_settled_before_the_end_stays(record):
    record.life.settle(Outcome.TIMEOUT)
    record.finish(104.0, None, Outcome.CALL_FAILED, warned=False)
    assert record.report(104.0, NoMedia(), ()).outcome is Outcome.TIMEOUT


def test_the_stream_says_what_the_media_session_says(record, stream_statistics):
    (stream,) = record.report(101.0, Media(stream_statistics()), ()).to_dict()["media"]
    assert stream["suite"] == "AES_CM_128_HMAC_SHA1_80"
    assert stream["keying"] == "sdes"
    assert stream["rtcp_mux"] is True
    assert stream["send"]["packets_sent"] == 500
    assert stream["send"]["rtt_ms"] == 12.5
    assert stream["send"]["packets_lost"] == 1
    assert stream["send"]["jitter_ms"] == 0.5
    assert stream["send"]["rtcp_packets_sent"] == 4
    assert stream["send"]["late_ticks"] == 3
    assert stream["receive"]["audio_packetization_ms"] == 20
    assert stream["receive"]["srtp_replayed"] == 6
    assert (stream["receive"]["nack_count"], stream["receive"]["pli_count"]) == (2, 0)
    assert (stream["send"]["nack_count"], stream["send"]["pli_count"]) == (0, 1)
    assert stream["receive"]["packets_received"] == 490
    assert stream["receive"]["srtp_decrypt_failures"] == 3
    assert stream["receive"]["rtcp_sr_rr_interval_ms"] == 5000.0


def test_the_first_packet_is_taken_from_the_stream_unless_an_event_told(record, stream_statistics):
    record.times.answer_at = 101.0
    report = record.report(103.0, Media(stream_statistics(first_packet_at=101.25)), ())
    assert report.to_dict()["timing"]["time_to_first_media_ms"] == 250.0
    report = record.report(103.0, Media(stream_statistics(first_packet_at=102.0)), ())
    assert report.to_dict()["timing"]["time_to_first_media_ms"] == 250.0


def test_a_hold_that_lasts_is_counted_up_to_now_and_ends_with_the_call(record):
    record.hold.begin(101.0)
    counters = record.report(103.0, NoMedia(), ()).to_dict()["counters"]
    assert (counters["hold_count"], counters["total_hold_duration_ms"]) == (1, 2000.0)
    record.finish(104.0, None, None, warned=False)
    counters = record.report(500.0, NoMedia(), ()).to_dict()["counters"]
    assert counters["total_hold_duration_ms"] == 3000.0


@pytest.mark.parametrize(
    ("by_rtp", "by_info", "method", "sent", "received"),
    [
        ((0, 0), (), None, 0, 0),
        ((2, 1), (), "rtp", 2, 1),
        ((0, 0), ("sent", "received", "received"), "info", 1, 2),
        ((1, 0), ("received",), "both", 1, 1),
    ],
)
def test_digits_are_counted_by_how_they_came(
    record, stream_statistics, by_rtp, by_info, method, sent, received
):
    for direction in by_info:
        record.digit(direction)
    media = Media(stream_statistics(dtmf_digits_sent=by_rtp[0], dtmf_digits_received=by_rtp[1]))
    counters = record.report(101.0, media, ()).to_dict()["counters"]
    assert counters["dtmf_method"] == method
    assert (counters["dtmf_digits_sent"], counters["dtmf_digits_received"]) == (sent, received)


def test_the_path_is_that_of_the_first_message(record):
    messages = [
        LoggedMessage(
            1.0, "sent", "UDP", "192.0.2.1:5060", f"192.0.2.{last}:5060", b"", wall=1e9 + last
        )
        for last in (2, 3)
    ]
    record.call_id = "one@example.com"
    signaling = record.report(101.0, NoMedia(), messages).to_dict()["signaling"]
    assert signaling == {
        "transport": "UDP",
        "local": "192.0.2.1:5060",
        "remote": "192.0.2.2:5060",
        "tls": None,
        "resolution": None,
        "party": "sip:bob@example.com",
        "call_id": "one@example.com",
        "begun_at": "2001-09-09T01:46:42.000Z",
    }


def test_a_call_of_which_nothing_was_sent_has_no_beginning_and_still_its_party(record):
    signaling = record.report(101.0, NoMedia(), ()).to_dict()["signaling"]
    assert (signaling["party"], signaling["begun_at"]) == ("sip:bob@example.com", None)


def test_where_the_dns_sent_the_call_is_kept_from_the_first_time(record):
    assert not record.fell_back
    record.note_location(Location("example.com", (), fell_back=True))
    record.note_location(Location("example.net", ()))
    assert record.fell_back
    report = record.report(101.0, NoMedia(), ()).to_dict()
    assert report["signaling"]["resolution"]["domain"] == "example.com"
    (finding,) = bad_findings(report)
    assert (finding["check"], finding["status"]) == ("auto_fell_back", "warn")
    assert "example.com" in finding["detail"]


def test_what_was_given_up_is_a_finding(record):
    media = NoMedia()
    media.warnings = ("the media is not encrypted",)
    (finding,) = bad_findings(record.report(101.0, media, ()).to_dict())
    assert finding["check"] == "srtp_fallback"
    assert finding["detail"] == "the media is not encrypted"
    assert finding["remedy"]


@pytest.mark.parametrize("before", [True, False])
def test_an_action_of_a_scenario_that_failed_is_a_warning_before_the_end_and_after(record, before):
    if before:
        record.note_scenario(2, 1)
    record.finish(104.0, None, None, warned=False)
    report = record.report(104.0, NoMedia(), ())
    if not before:
        assert report.outcome is Outcome.SUCCESS
        record.note_scenario(2, 1)
        report = record.amended(report)
    assert report.outcome is Outcome.COMPLETED_WITH_WARNINGS
    counters = report.to_dict()["counters"]
    assert (counters["scenario_actions_executed"], counters["scenario_actions_failed"]) == (2, 1)


def test_a_scenario_that_went_well_leaves_a_success(record):
    record.finish(104.0, None, None, warned=False)
    report = record.report(104.0, NoMedia(), ())
    record.note_scenario(2, 0)
    assert record.amended(report).outcome is Outcome.SUCCESS


def test_an_action_that_failed_makes_no_failure_better(record):
    record.finish(104.0, None, Outcome.TEARDOWN_ERROR, warned=False)
    record.note_scenario(0, 1)
    assert record.life.outcome is Outcome.TEARDOWN_ERROR


def test_the_figures_of_a_running_call_are_those_of_its_report(record, stream_statistics):
    media = Media(stream_statistics(first_packet_at=101.5))
    record.times.answer_at = 101.0
    found = record.statistics(103.0, media)
    assert found.phase is Phase.CALLING
    report = record.report(103.0, media, ())
    assert found.send == report.media[0].send
    assert found.receive == report.media[0].receive
    assert found.counters == report.counters
    assert found.timing == report.timing
    assert found.timing.time_to_first_media_ms == 500.0
    assert record.statistics(103.0, NoMedia()).media == ()


def test_each_track_that_has_figures_is_in_report_and_snapshot(record, stream_statistics):
    video, silent = Media(stream_statistics()), NoMedia()
    video.kind, video.codec = "video", "VP8"
    media = Media(stream_statistics(), video, silent)
    report = record.report(5.0, media, ())
    assert [(one.kind, one.codec) for one in report.media] == [("audio", "PCMU"), ("video", "VP8")]
    snapshot = record.statistics(5.0, media)
    assert [one.kind for one in snapshot.media] == ["audio", "video"]
