"""Quality of a stream: loss, jitter, round trip, scores."""

from __future__ import annotations

from typing import Final

from callmeter.metrics.sections.row import BOTH, COUNTER, GAUGE, RECEIVE, REPORTS, RTP, stream

__all__ = ["QUALITY"]

QUALITY: Final = (
    stream(
        "mos",
        "1-5",
        GAUGE,
        BOTH,
        "ITU-T G.107 annex B",
        "Mean opinion score, 1 to 4.5, by the E-model from loss, jitter and round trip.",
        (3.5, 2.5),
        inverted=True,
    ),
    stream(
        "r_factor",
        "0-100",
        GAUGE,
        BOTH,
        "ITU-T G.107",
        "Transmission rating, 0 to 100, of which the score is made.",
        (70, 60),
        inverted=True,
    ),
    stream(
        "jitter_ms",
        "ms",
        GAUGE,
        BOTH,
        REPORTS,
        "Interarrival jitter; sent streams: as the peer reported it.",
        (20, 40),
    ),
    stream(
        "rtt_ms",
        "ms",
        GAUGE,
        BOTH,
        REPORTS,
        "Round-trip time by sender and receiver reports.",
        (200, 400),
    ),
    stream(
        "packets_lost",
        "packets",
        COUNTER,
        BOTH,
        REPORTS,
        "Packets that never came; sent streams: as the peer reported it.",
    ),
    stream(
        "fraction_lost",
        "%",
        GAUGE,
        BOTH,
        REPORTS,
        "Share of the expected packets that were lost.",
        (1, 5),
    ),
    stream(
        "timestamp_jumps",
        "count",
        COUNTER,
        RECEIVE,
        RTP,
        "Timestamps that left real time by more than a second.",
    ),
    stream(
        "ssrc_switches",
        "count",
        COUNTER,
        RECEIVE,
        "RFC 3550 section 8.2",
        "Changes of the synchronisation source.",
        (0, 1),
    ),
    stream(
        "srtp_decrypt_failures",
        "count",
        COUNTER,
        RECEIVE,
        "RFC 3711",
        "Packets that failed authentication or decryption; 0 on clear calls.",
        (0, 5),
    ),
    stream(
        "rtcp_sr_rr_interval_ms",
        "ms",
        GAUGE,
        BOTH,
        "RFC 3550 section 6.2",
        "Time between the last two reports of the peer; 5000 is nominal.",
    ),
)
