"""Every metric of the catalogue moves when what it is about does.

A row that is added without a mover fails here.
"""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest

from callmeter.call_record import CallRecord
from callmeter.media.decoding import DecodingStatistics
from callmeter.media.extended_reports import ExtendedReportStatistics
from callmeter.media.levels import LevelStatistics
from callmeter.media.stream_metrics import receive_metrics, send_metrics
from callmeter.metrics.aggregate import summarize
from callmeter.metrics.burst_gap import burst_gap
from callmeter.metrics.catalogue import CATALOGUE, Direction, Scope
from callmeter.metrics.phases import Outcome, Phase
from callmeter.metrics.quality import Speech
from callmeter.metrics.report import CallReport, StreamReport
from callmeter.metrics.signaling import CallTiming
from callmeter.rtp.feedback import FeedbackCounts
from callmeter.rtp.jitter_buffer import JitterBufferStatistics
from callmeter.rtp.xr import VoipMetrics

LEVELS = LevelStatistics(packets=9, mean=-11.0, signal=-12.0, noise=-13.0, speech_share=14.0)
BURSTS = burst_gap([3, 5, 200, 201], 500, ptime_ms=20)
FEEDBACK = FeedbackCounts(nack=7, pli=8, fir=9, sli=6)
DECODING = DecodingStatistics(
    codec="OPUS",
    packets=90,
    plc_events=4,
    plc_duration_ms=80.0,
    lost_packets=10,
    last_packet_ms=20.0,
    decoder_gain_db=1.5,
)
BUFFER = JitterBufferStatistics(
    target_delay_ms=61.0,
    current_delay_ms=51.0,
    average_jitter_ms=1.5,
    pushed=460,
    lost=31,
    late=21,
    early=11,
    duplicates=3,
    restarts=2,
    rtx_requests=5,
    rtx_success=4,
)
VOIP = VoipMetrics(
    ssrc=1,
    loss_rate=11,
    discard_rate=12,
    burst_density=13,
    gap_density=14,
    burst_duration=15,
    gap_duration=16,
    round_trip_delay=17,
    end_system_delay=18,
    signal_level=-19,
    noise_level=-20,
    r_factor=81,
    mos_lq=42,
    mos_cq=41,
    nominal_delay=62,
    maximum_delay=63,
)

RECEIVE = {
    "mos": {"burst_ratio": 9.0},
    "r_factor": {"burst_ratio": 9.0},
    "rtt_ms": {"rtt_ms": 99.0},
    "clock_drift_estimate": {"clock_drift_ppm": 99.0},
    "clock_skew_estimate": {"clock_skew_ppm": 99.0},
    "srtp_decrypt_failures": {"srtp_decrypt_failures": 99},
    "rtcp_sr_rr_interval_ms": {"rtcp_sr_rr_interval_ms": 99.0},
    "audio_packetization_ms": {"speech": Speech.of("PCMU", 60)},
    "srtp_replayed": {"srtp_replayed": 99},
    "srtp_old_key_packets": {"srtp_old_key_packets": 99},
    "srtp_early_packets": {"srtp_early_packets": 99},
    "srtp_roc_kept": {"srtp_roc_kept": 99},
    "srtp_roc_resets": {"srtp_roc_resets": 99},
    "rtcp_packets_received": {"rtcp_packets_received": 99},
    "socket_overflows": {"socket_overflows": 99},
    "comfort_noise_packets": {"comfort_noise_packets": 99},
    "xr_reports": {"xr": ExtendedReportStatistics(sent=99)},
    "xr_rtt_ms": {"xr": ExtendedReportStatistics(rtt_ms=99.0)},
    **{
        key: {"levels": LEVELS}
        for key in ("audio_level_rms", "signal_level", "noise_level", "speech_share")
    },
    **{
        key: {"bursts": BURSTS}
        for key in ("burst_density", "gap_density", "burst_duration", "gap_duration")
    },
    **{
        key: {"decoding": DECODING}
        for key in (
            "plc_events",
            "plc_duration_ms",
            "opus_packet_loss",
            "opus_decoder_gain",
            "opus_last_packet_duration_ms",
        )
    },
    **{f"{kind}_count": {"feedback_sent": FEEDBACK} for kind in ("nack", "pli", "fir", "sli")},
}
SEND = {
    "mos": {"reported_fraction_lost": 30.0},
    "r_factor": {"reported_fraction_lost": 30.0},
    "rtt_ms": {"rtt_ms": 99.0},
    "jitter_ms": {"reported_jitter_ms": 99.0},
    "packets_lost": {"reported_packets_lost": 99},
    "fraction_lost": {"reported_fraction_lost": 99.0},
    "rtcp_sr_rr_interval_ms": {"rtcp_sr_rr_interval_ms": 99.0},
    "audio_packetization_ms": {"sent_speech": Speech.of("PCMU", 60)},
    "rtcp_packets_sent": {"rtcp_packets_sent": 99},
    "srtp_protect_failures": {"srtp_protect_failures": 99},
    "late_ticks": {"late_ticks": 99},
    "xr_reports": {"xr": ExtendedReportStatistics(received=99)},
    **{f"{kind}_count": {"feedback_received": FEEDBACK} for kind in ("nack", "pli", "fir", "sli")},
}
VIDEO = (
    "frame_rate_fps",
    "frames_sent",
    "frames_received",
    "keyframes_sent",
    "keyframes_received",
    "keyframe_interval_ms",
    "keyframe_requests_sent",
    "keyframe_requests_received",
    "freeze_count",
    "freeze_duration_ms",
    "resolution_megapixels",
)


def change_of(metric, direction):
    """What has to change in the statistics of a stream, for this key to move."""
    key, received = metric.key, direction is Direction.RECEIVE
    known = (RECEIVE if received else SEND).get(key)
    if known is not None:
        return known
    if key.startswith("xr_"):
        return {"xr": ExtendedReportStatistics(**{"told" if received else "remote": VOIP})}
    if key.startswith("jitter_buffer_"):
        return {"jitter_buffer": BUFFER}
    if key in VIDEO:
        return {"receive_measures" if received else "send_measures": {key: 99}}
    # The rest are figures of the packets themselves.
    return {"receive" if received else "send": {key: 99}}


STREAMS = [
    (metric, side)
    for metric in CATALOGUE.values()
    for side in (Direction.SEND, Direction.RECEIVE)
    if metric.scope is Scope.STREAM and metric.direction in {side, Direction.BOTH}
]


@pytest.mark.parametrize(
    ("metric", "side"), STREAMS, ids=[f"{side.value}-{metric.key}" for metric, side in STREAMS]
)
def test_a_figure_of_a_stream_moves(stream_statistics, metric, side):
    metrics = receive_metrics if side is Direction.RECEIVE else send_metrics
    before = metrics(stream_statistics()).get(metric.key)
    after = metrics(stream_statistics(**change_of(metric, side))).get(metric.key)
    assert after is not None
    assert after != before


def media_of(statistics, **changes):
    values = {
        "statistics": lambda: statistics,
        "series": lambda: None,
        "rehandshakes": 0,
        "ice_restarts": 0,
        "rekeys_sent": 0,
        "rekeys_received": 0,
        "codec": "PCMU",
        "kind": "audio",
        "tracks": (None,),
    }
    return SimpleNamespace(**values | changes)


def hold(record):
    record.hold.begin(5.0)


def note(name, value):
    return lambda record: setattr(record, name, value)


def at(name, seconds):
    return lambda record: setattr(record.times, name, seconds)


CALL = {
    "time_to_trying_ms": (at("trying_at", 2.0), {}),
    "post_dial_delay_ms": (at("ringing_at", 2.0), {}),
    "call_setup_time_ms": (at("answer_at", 2.0), {}),
    "time_to_first_media_ms": (at("first_rtp_at", 3.0), {}),
    "call_duration_ms": (at("bye_at", 9.0), {}),
    "hold_count": (hold, {}),
    "total_hold_duration_ms": (hold, {}),
    "session_timer_refreshes": (note("refreshes", 3), {}),
    "dtls_rehandshakes": (None, {"rehandshakes": 2}),
    "ice_restarts": (None, {"ice_restarts": 2}),
    "rekeys_sent": (None, {"rekeys_sent": 2}),
    "rekeys_received": (None, {"rekeys_received": 2}),
    "dtmf_digits_sent": (lambda record: record.digit("sent"), {}),
    "dtmf_digits_received": (lambda record: record.digit("received"), {}),
    "dtmf_method": (lambda record: record.digit("sent"), {}),
    "scenario_actions_executed": (lambda record: record.note_scenario(3, 0), {}),
    "scenario_actions_failed": (lambda record: record.note_scenario(0, 3), {}),
    "audio_path": (None, {"silent": True}),
}


def measured(stream_statistics, mover, changes):
    record = CallRecord("sip:bob@example.com")
    record.times.invite_sent_at, record.times.answer_at = 1.0, 1.5
    record.times.first_rtp_at, record.times.bye_at = 1.6, 8.0
    if mover is not None:
        mover(record)
    changes = dict(changes)
    receive = {"packets_received": 0} if changes.pop("silent", False) else {}
    statistics = record.statistics(9.0, media_of(stream_statistics(receive=receive), **changes))
    return {**statistics.timing.metrics(), **statistics.counters}


@pytest.mark.parametrize(
    "key",
    [
        metric.key
        for metric in CATALOGUE.values()
        if metric.scope is Scope.CALL and metric.key not in {"call_result", "final_status_code"}
    ],
)
def test_a_figure_of_a_call_moves(stream_statistics, key):
    before = measured(stream_statistics, None, {})[key]
    after = measured(stream_statistics, *CALL[key])[key]
    assert after is not None
    assert after != before


@pytest.mark.parametrize("key", ["call_result", "final_status_code"])
def test_the_result_of_a_call_moves(key):
    before, after = (
        CallReport(phase=Phase.CLOSED, final_status_code=status).to_dict()[key]
        for status in (200, 486)
    )
    assert (before, after) in {("answered", "busy"), (200, 486)}


ANSWERED = CallReport(
    phase=Phase.CLOSED,
    outcome=Outcome.SUCCESS,
    final_status_code=200,
    timing=CallTiming(call_duration_ms=60_000.0),
    media=(StreamReport(receive={"packets_received": 50, "audio_level_rms": -20.0}),),
)
RUN = {
    "asr": replace(ANSWERED, final_status_code=500),
    "ner": replace(ANSWERED, final_status_code=500),
    "zero_audio_rate": replace(
        ANSWERED,
        media=(StreamReport(receive={"packets_received": 50, "audio_level_rms": -90.0}),),
    ),
    "rejected_488_rate": replace(ANSWERED, final_status_code=488),
    "short_call_rate": replace(ANSWERED, timing=CallTiming(call_duration_ms=14_000.0)),
}


@pytest.mark.parametrize(
    "key", [metric.key for metric in CATALOGUE.values() if metric.scope is Scope.RUN]
)
def test_a_figure_of_a_run_moves(key):
    before = summarize([ANSWERED, ANSWERED]).metrics()[key]
    after = summarize([ANSWERED, RUN[key]]).metrics()[key]
    assert {before, after} in ({1.0, 0.5}, {0.0, 0.5})
