"""Figures of streams, as if they had been measured."""

from __future__ import annotations

import pytest

from callmeter.media.levels import LevelStatistics
from callmeter.media.statistics import StreamStatistics
from callmeter.metrics.burst_gap import BurstGap
from callmeter.metrics.quality import Speech
from callmeter.rtp.feedback import FeedbackCounts
from callmeter.rtp.reception import ReceptionStatistics, SenderStatistics

RECEIVED = {
    "sampled_at": 10.0,
    "packets_expected": 500,
    "packets_received": 490,
    "bytes_received": 78_400,
    "packets_lost": 10,
    "fraction_lost": 2.0,
    "jitter_ms": 4.0,
    "duplicate_packets": 1,
    "out_of_order_packets": 2,
    "sequence_number_resets": 0,
    "sequence_number_gaps": 3,
    "sequence_number_jumps": 0,
    "timestamp_jumps": 0,
    "ssrc_switches": 0,
    "avg_packet_spacing": 20.0,
    "min_packet_spacing": 15.0,
    "max_packet_spacing": 80.0,
    "packets_recv_rate_ps": 49.0,
    "bytes_recv_rate_bps": 62_720.0,
}
SENT = {
    "sampled_at": 10.0,
    "packets_sent": 500,
    "bytes_sent": 80_000,
    "packets_sent_rate_ps": 50.0,
    "bytes_sent_rate_bps": 64_000.0,
}
STREAM = {
    "sampled_at": 10.0,
    "ssrc": 1,
    "remote_ssrc": 2,
    "source": ("192.0.2.2", 40_000),
    "source_locked": True,
    "first_packet_at": 0.1,
    "srtp_decrypt_failures": 3,
    "srtp_replayed": 6,
    "srtp_old_key_packets": 0,
    "srtp_unfollowed": 0,
    "srtp_early_packets": 0,
    "srtp_roc_kept": 0,
    "srtp_roc_resets": 0,
    "srtp_failure": None,
    "srtp_protect_failures": 0,
    "payload_octets": 160,
    "levels": LevelStatistics(packets=30, mean=-20.0, signal=-18.0, noise=-60.0, speech_share=70.0),
    "comfort_noise_packets": 0,
    "decoding": None,
    "speech": Speech.of("PCMU", 20),
    "sent_speech": Speech.of("PCMU", 20),
    "bursts": BurstGap(
        bursts=1,
        gaps=2,
        burst_packets=10,
        gap_packets=490,
        burst_lost=5,
        gap_lost=5,
        ptime_ms=20.0,
    ),
    "burst_ratio": 1.5,
    "mean_jitter_ms": 5.0,
    "clock_drift_ppm": 12.0,
    "clock_skew_ppm": -8.0,
    "rtt_ms": 12.5,
    "rtcp_sr_rr_interval_ms": 5000.0,
    "reported_fraction_lost": 2.0,
    "reported_packets_lost": 1,
    "reported_jitter_ms": 0.5,
    "rtcp_packets_sent": 4,
    "rtcp_packets_received": 5,
    "feedback_sent": FeedbackCounts(nack=2),
    "feedback_received": FeedbackCounts(pli=1),
    "rtcp_in_clear": 0,
    "rtcp_encryption_mismatches": 0,
    "rtcp_short_tags": 0,
    "dtmf_digits_sent": 0,
    "dtmf_digits_received": 0,
    "jitter_buffer": None,
    "dropped": {},
    "socket_overflows": 0,
    "late_ticks": 3,
}


@pytest.fixture(name="stream_statistics")
def stream_statistics_factory():
    """Makes `StreamStatistics`; `send` and `receive` are changes to their figures."""

    def make(*, send=None, receive=None, **changes):
        return StreamStatistics(
            send=SenderStatistics(**SENT | (send or {})),
            receive=ReceptionStatistics(**RECEIVED | (receive or {})),
            **STREAM | changes,
        )

    return make
